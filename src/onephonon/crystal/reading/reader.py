"""Reading a structure file into a `Crystal`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch

from onephonon.core.errors import InputError, StructureError
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.remarks import Remark

from .atoms import check_atom, check_displacements, displacement
from .declarations import spacegroup as declared_spacegroup
from .declarations import unit_cell
from .selection import CONFORMERS, nothing_selected_message, residues_of_model, select
from .structure_file import open_structure


def read_crystal(
    path: str | os.PathLike[str],
    *,
    hydrogens: bool = False,
    waters: bool = False,
    ligands: bool = False,
    conformers: str = "highest",
    anisotropic: bool = True,
    model_number: int = 1,
    radiation: str = "xray",
    expand_p1: bool = True,
) -> Crystal:
    """Read a structure file.

    The operators of the space group come from tables, by the symbol and the cell in the file;
    REMARK records are ignored. Occupancies are those of the file, even where only one of several
    conformers is kept.

    Parameters
    ----------
    path : path
        PDB or mmCIF, plain or .gz.
    hydrogens, waters, ligands : bool
        Whether to keep them; all three are removed by default.
    conformers : {'highest', 'all'}
        Alternative conformers to keep: in each residue the one with the highest occupancy (the
        first on a tie), or all.
    anisotropic : bool
        Use anisotropic displacements where the file has them; otherwise B only.
    model_number : int
        Which model of the file, counted from 1.
    radiation : {'xray', 'electron', 'neutron'}
    expand_p1 : bool
        True: the file holds one asymmetric unit. False: it holds the whole cell, and no operator
        is applied.

    Returns
    -------
    Crystal
        On the CPU, in float64.

    Raises
    ------
    StructureError
        If the file is missing or unreadable, has no usable cell, space group, elements or
        coordinates, or if nothing is left after the selection.
    InputError
        If an option is not one of those named above.
    """
    if conformers not in CONFORMERS:
        raise InputError(f"conformers {conformers!r} is not one of {', '.join(CONFORMERS)}")
    path = Path(path)
    structure = open_structure(path)
    cell = unit_cell(structure, path)
    spacegroup = declared_spacegroup(structure, path) if expand_p1 else "P 1"
    residues = residues_of_model(structure, model_number, path)
    kept = list(
        select(residues, hydrogens=hydrogens, waters=waters, ligands=ligands, which=conformers)
    )
    if not kept:
        raise StructureError(nothing_selected_message(residues, path))
    for label, atom in kept:
        check_atom(label, atom, path)
    matrix = cell.matrix
    # Converted by gemmi, which includes an origin shift given in SCALE records.
    fractional = [structure.cell.fractionalize(atom.pos).tolist() for _, atom in kept]
    U = torch.tensor([displacement(a, anisotropic) for _, a in kept], dtype=matrix.dtype)
    check_displacements(U, [label for label, _ in kept], path)
    remarks = [Remark("read", f"{len(kept)} atoms of {path.name}")]
    crystal = Crystal.from_atoms(
        cell,
        spacegroup,
        [label.element for label, _ in kept],
        fractional,
        U=U,
        occupancies=[atom.occ for _, atom in kept],
        labels=[label for label, _ in kept],
        radiation=radiation,
    )
    _warn(remarks, path)
    return crystal.replace(remarks=tuple(remarks))


def _warn(remarks: list[Remark], path: Path) -> None:
    """Warn of everything that changes the intensity unasked."""
    for remark in remarks:
        if remark.matters:
            warnings.warn(f"{path}: {remark.kind}: {remark.text}", stacklevel=4)
