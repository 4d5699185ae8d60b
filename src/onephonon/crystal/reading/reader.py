"""Reading a structure file into a `Crystal`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import torch

from onephonon.core.errors import InputError, StructureError
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.remarks import Remark

from .atoms import check_atom, check_displacements, displacement
from .declarations import spacegroup as declared_spacegroup
from .declarations import unit_cell
from .residues import read_residues
from .selection import CONFORMERS, choose_models, nothing_selected_message, select, summary
from .structure_file import open_structure
from .whole_molecules import make_whole


def read_crystal(
    path: str | os.PathLike[str],
    *,
    hydrogens: bool = False,
    waters: bool = False,
    ligands: bool = False,
    conformers: str = "highest",
    anisotropic: bool = True,
    model_number: int | str | None = None,
    radiation: str = "xray",
    expand_p1: bool = True,
) -> Crystal:
    """Read a structure file.

    The operators of the space group come from tables, by the symbol and the cell in the file;
    REMARK records are ignored.

    Parameters
    ----------
    path : path
        PDB or mmCIF, plain or .gz.
    hydrogens, waters, ligands : bool
        Whether to keep them; all three are removed by default. Residues are told apart by name:
        standard residues are polymer wherever they stand; modified ones, and groups that cap a
        chain, where they are bonded to it or the file says so. Sugars and ions are ligands.
    conformers : {'highest', 'all'}
        Alternative conformers to keep: in each residue the one with the highest occupancy (the
        first on a tie), which stands for the residue at the sum of the occupancies of its
        alternatives, so that no electrons are lost; or all, as in the file.
    anisotropic : bool
        Use anisotropic displacements where the file has them; otherwise B only.
    model_number : int or 'all', optional
        Which model of the file, counted from 1. By default the first, with a warning if there are
        others; without `expand_p1`, that is an error. 'all': all together, as in files that hold
        the copies in a cell as models.
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
    models, remarks = choose_models(structure, model_number, not expand_p1, path)
    matrix = cell.matrix
    residues = read_residues(models, structure, matrix.numpy())
    selected, said = select(
        residues,
        hydrogens=hydrogens,
        waters=waters,
        ligands=ligands,
        which=conformers,
        hydrogens_matter=radiation == "neutron",
    )
    if not selected:
        raise StructureError(nothing_selected_message(residues, path))
    kept = [(s.label, s.atom) for s in selected]
    for label, atom in kept:
        check_atom(label, atom, path)
    # Converted by gemmi, which includes an origin shift given in SCALE records.
    fractional = np.array([structure.cell.fractionalize(atom.pos).tolist() for _, atom in kept])
    fractional, moved = make_whole(fractional, [label for label, _ in kept], matrix.numpy())
    U = torch.tensor([displacement(a, anisotropic) for _, a in kept], dtype=matrix.dtype)
    check_displacements(U, [label for label, _ in kept], path)
    remarks = [summary(selected), *remarks, *said, *moved]
    crystal = Crystal.from_atoms(
        cell,
        spacegroup,
        [label.element for label, _ in kept],
        torch.from_numpy(fractional),
        U=U,
        occupancies=[s.occupancy for s in selected],
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
