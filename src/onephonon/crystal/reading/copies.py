"""Copies of the molecules of a file by non-crystallographic symmetry (MTRIX, _struct_ncs_oper)."""

from __future__ import annotations

from pathlib import Path

import gemmi

from onephonon.core.errors import StructureError
from onephonon.crystal.remarks import Remark

#: What to do with copies that are declared and not in the file.
NCS = ("apply", "ignore")

#: A copy is already in the file if most of its atoms are within this of others, Å; of two atoms,
#: no bond is that short.
SAME_PLACE = 0.6


def add_copies(structure: gemmi.Structure, ncs: str, path: Path) -> list[Remark]:
    """Add to the structure the copies that its operators make and its file does not hold.

    Raises
    ------
    StructureError
        If the copies lie on atoms of the file.
    """
    missing = [operator for operator in structure.ncs if not operator.given]
    if not missing:
        return []
    what = f"{len(missing)} copies by non-crystallographic symmetry (MTRIX, _struct_ncs_oper)"
    if ncs == "ignore":
        return [Remark("ignored", f"{what}, as asked")]
    for operator in missing:
        if abs(operator.tr.mat.determinant() - 1) > 0.01:
            raise StructureError(
                f"{path}: the operator {operator.id} of non-crystallographic symmetry is no "
                "rotation; correct it, or leave it out with ncs='ignore' (--ncs ignore)"
            )
        if _are_there(structure, operator):
            raise StructureError(
                f"{path}: the copy by operator {operator.id} of non-crystallographic symmetry lies "
                "on atoms of the file; mark it there as given, or read the file with "
                "ncs='ignore' (--ncs ignore)"
            )
    before = structure[0].count_atom_sites()
    structure.expand_ncs(gemmi.HowToNameCopiedChain.AddNumber)
    added = structure[0].count_atom_sites() - before
    return [Remark("changed", f"{what} added: {added} atoms to the file's {before}")]


def _are_there(structure: gemmi.Structure, operator: gemmi.NcsOp) -> bool:
    """Whether most atoms of a copy are within `SAME_PLACE` of atoms of the file."""
    model = structure[0]
    box = gemmi.UnitCell()  # without periodic images
    search = gemmi.NeighborSearch(model, box, 3 * SAME_PLACE).populate()
    atoms = [found.atom for found in model.all()]
    sample = atoms[:: max(1, len(atoms) // 500)]
    # An atom on the axis of the operator is at the place of its own copy.
    near = [
        search.find_nearest_atom(gemmi.Position(operator.tr.apply(atom.pos)), radius=SAME_PLACE)
        for atom in sample
    ]
    return 2 * sum(mark is not None for mark in near) > len(sample)
