"""Reading a structure file into a `Crystal`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import torch

from onephonon.core.errors import InputError, StructureError
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.remarks import Remark

from .atoms import check_atoms, correct_elements, read_displacements
from .copies import NCS, add_copies
from .deuterium import join_shared_sites, with_deuterium
from .lattice import declared_lattice, declared_spacegroup
from .selection import CONFORMERS, nothing_selected_message, residues_of_model, select
from .structure_file import open_structure
from .tls_motion import add_tls_motion


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
    ncs: str = "apply",
) -> Crystal:
    """Read a structure file.

    The operators of the space group come from tables, by the symbol and the cell in the file. A
    file that contradicts itself (two cells, numbers that are none) is refused. B-factors that the
    file calls residual get the TLS motion that it lists. Occupancies are those of the file, even
    where only one of several conformers is kept.

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
    ncs : {'apply', 'ignore'}
        Whether copies of the molecules by non-crystallographic symmetry that the file declares
        (MTRIX, _struct_ncs_oper) and does not hold are added.

    Returns
    -------
    Crystal
        On the CPU, in float64. Its `remarks` say what was read, changed, dropped, assumed and
        ignored; what changes the intensity is also given as a warning.

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
    if ncs not in NCS:
        raise InputError(f"ncs {ncs!r} is not one of {', '.join(NCS)}")
    path = Path(path)
    opened = open_structure(path)
    structure = opened.structure
    lattice = declared_lattice(opened.declared, path)
    remarks = [*opened.remarks, *lattice.remarks]
    spacegroup = "P 1"
    if expand_p1:
        spacegroup, found = declared_spacegroup(opened.declared, path)
        remarks += found
    remarks += correct_elements(structure)
    remarks += add_tls_motion(structure, opened.declared.b_factors)
    if hydrogens and radiation == "neutron":
        join_shared_sites(structure)
    remarks += add_copies(structure, ncs, path)
    residues = residues_of_model(structure, model_number, path)
    kept = list(
        select(residues, hydrogens=hydrogens, waters=waters, ligands=ligands, which=conformers)
    )
    if not kept:
        raise StructureError(nothing_selected_message(residues, path))
    remarks += check_atoms(kept, np.linalg.norm(lattice.matrix, axis=0).tolist(), path)
    fractional = lattice.fractional(np.array([atom.pos.tolist() for _, atom in kept]))
    U, found = read_displacements(kept, anisotropic)
    remarks += found
    remarks.insert(0, Remark("read", f"{len(kept)} atoms of {path.name}"))
    crystal = Crystal.from_atoms(
        UnitCell(torch.from_numpy(lattice.matrix)),
        spacegroup,
        [label.element for label, _ in kept],
        torch.from_numpy(fractional),
        U=U,
        occupancies=[atom.occ for _, atom in kept],
        labels=[label for label, _ in kept],
        radiation=radiation,
    )
    if radiation == "neutron":
        crystal, found = with_deuterium(crystal, [atom.fraction for _, atom in kept])
        remarks += found
    _warn(remarks, path)
    return crystal.replace(remarks=tuple(remarks))


def _warn(remarks: list[Remark], path: Path) -> None:
    """Warn of everything that changes the intensity unasked."""
    for remark in remarks:
        if remark.matters:
            warnings.warn(f"{path}: {remark.kind}: {remark.text}", stacklevel=4)
