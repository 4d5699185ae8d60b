"""Copies of the molecules of a file by non-crystallographic symmetry (MTRIX, _struct_ncs_oper)."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial import KDTree

from onephonon.core.errors import StructureError
from onephonon.core.text import counted
from onephonon.crystal.remarks import Remark

#: What to do with copies that are declared and not in the file.
NCS = ("apply", "ignore")

#: A copy is already in the file if this part of its atoms is within this distance (Å) of others:
#: no bond is that short, and few atoms lie on the axis of an operator.
SAME_PLACE = 0.6
SAME_PART = 0.1

#: Largest coordinate of which copies are made, Å: a search over more space would fill memory.
MAX_COORDINATE = 1e5

#: An operator is a rotation if its matrix times the transposed one is the identity within this.
ROTATION = 0.01


def add_copies(structure: gemmi.Structure, ncs: str, path: Path) -> list[Remark]:
    """Add to the structure the copies that its operators make and its file does not hold.

    Raises
    ------
    StructureError
        If the copies lie on atoms of the file.
    """
    missing = [op for op in structure.ncs if not (op.given or op.tr.is_identity())]
    if not missing:
        return []
    what = f"{counted(len(missing), 'copy', 'copies')} by non-crystallographic symmetry"
    if ncs == "ignore":
        return [Remark("ignored", f"{what} (MTRIX, _struct_ncs_oper), as asked")]
    positions = np.array([found.atom.pos.tolist() for found in structure[0].all()])
    if not (np.abs(positions) < MAX_COORDINATE).all():
        raise StructureError(
            f"{path}: some coordinates are not finite, or over {MAX_COORDINATE:g} Å, so that no "
            "copies can be made; correct or remove these atoms"
        )
    tree = KDTree(positions)
    for operator in missing:
        matrix = np.array(operator.tr.mat.tolist())
        off = np.abs(matrix @ matrix.T - np.eye(3)).max()
        # NaN fails each of these.
        if not (
            off < ROTATION
            and np.linalg.det(matrix) > 0
            and operator.tr.vec.length() < MAX_COORDINATE
        ):
            raise StructureError(
                f"{path}: the operator {operator.id} of non-crystallographic symmetry is no "
                "rotation with a shift; correct it, or leave it out: ncs='ignore' (--ncs ignore)"
            )
        if _are_there(operator, tree):
            raise StructureError(
                f"{path}: the copy by operator {operator.id} of non-crystallographic symmetry lies "
                "on atoms of the file; mark it there as given, or read the file with "
                "ncs='ignore' (--ncs ignore)"
            )
    structure.ncs = gemmi.NcsOpList(missing)
    before = structure[0].count_atom_sites()
    structure.expand_ncs(gemmi.HowToNameCopiedChain.AddNumber)
    added = structure[0].count_atom_sites() - before
    text = f"{what} added (MTRIX, _struct_ncs_oper): {counted(added, 'atom')}"
    return [Remark("changed", f"{text} to the file's {before}")]


def _are_there(operator: gemmi.NcsOp, tree: KDTree) -> bool:
    """Whether atoms of a copy are within `SAME_PLACE` of atoms of the file."""
    moved = tree.data @ np.array(operator.tr.mat.tolist()).T + operator.tr.vec.tolist()
    distance, _ = tree.query(moved, distance_upper_bound=SAME_PLACE)
    return bool(np.isfinite(distance).mean() > SAME_PART)
