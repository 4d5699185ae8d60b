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
from .residues import read_residues
from .riding import RIDING, add_riding
from .selection import CONFORMERS, choose_models, nothing_selected_message, select, summary
from .structure_file import open_structure
from .tls_motion import add_tls_motion
from .whole_molecules import make_whole


def read_crystal(
    path: str | os.PathLike[str],
    *,
    hydrogens: bool | str = False,
    waters: bool = False,
    ligands: bool = False,
    conformers: str = "highest",
    anisotropic: bool = True,
    model_number: int | str | None = None,
    radiation: str = "xray",
    expand_p1: bool = True,
    ncs: str = "apply",
) -> Crystal:
    """Read a structure file.

    The operators of the space group come from tables, by the symbol and the cell in the file. A
    file that contradicts itself (two cells, numbers that are none) is refused. B-factors that the
    file calls residual get the TLS motion that it lists. Molecules that were torn by periodic
    wrapping are made whole.

    Parameters
    ----------
    path : path
        PDB or mmCIF, plain or .gz.
    hydrogens : bool or 'riding'
        Whether to keep them. 'riding': keep them, and add those that amino acids lack, by geometry
        (`reading.riding`), with the displacements, occupancies and conformers of their parents.
    waters, ligands : bool
        Whether to keep them; hydrogens, waters and ligands are removed by default. Residues are
        told apart by name: standard residues are polymer wherever they stand; modified ones, and
        groups that cap a chain, where they are bonded to it or the file says so. Sugars and ions
        are ligands.
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
    if hydrogens not in (True, False, RIDING):
        raise InputError(f"hydrogens {hydrogens!r} is not True, False or '{RIDING}'")
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
    models, found = choose_models(structure, model_number, not expand_p1, path)
    remarks += found
    remarks += correct_elements(structure)
    remarks += add_tls_motion(structure, opened.declared.b_factors)
    if hydrogens and radiation == "neutron":
        join_shared_sites(structure)
    remarks += add_copies(structure, ncs, path)
    residues = read_residues(models, structure, lattice.matrix)
    selected, found = select(
        residues,
        hydrogens=bool(hydrogens),
        waters=waters,
        ligands=ligands,
        which=conformers,
        hydrogens_matter=radiation == "neutron",
    )
    remarks += found
    if not selected:
        raise StructureError(nothing_selected_message(residues, path))
    if hydrogens == RIDING:
        selected, found = add_riding(selected)
        remarks += found
    kept = [(s.label, s.atom) for s in selected]
    remarks += check_atoms(kept, np.linalg.norm(lattice.matrix, axis=0).tolist(), path)
    fractional = lattice.fractional(np.array([atom.pos.tolist() for _, atom in kept]))
    labels = [label for label, _ in kept]
    fractional, found = make_whole(fractional, labels, lattice.matrix)
    remarks += found
    U, found = read_displacements(kept, anisotropic)
    remarks = [summary(selected), *remarks, *found]
    crystal = Crystal.from_atoms(
        UnitCell(torch.from_numpy(lattice.matrix)),
        spacegroup,
        [label.element for label in labels],
        torch.from_numpy(fractional),
        U=U,
        occupancies=[s.occupancy for s in selected],
        labels=labels,
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
