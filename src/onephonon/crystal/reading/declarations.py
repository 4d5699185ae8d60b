"""What a structure file declares of the crystal: unit cell, space group, and copies."""

from __future__ import annotations

import math
from pathlib import Path

import gemmi
import torch

from onephonon.core.errors import InputError, StructureError
from onephonon.crystal.cell import UnitCell, check_cell


def unit_cell(structure: gemmi.Structure, path: Path) -> UnitCell:
    """The unit cell of the file."""
    cell = structure.cell
    parameters = cell.parameters
    if not all(math.isfinite(p) for p in parameters):
        raise StructureError(f"{path}: the unit cell {parameters} is not finite; correct CRYST1")
    if not cell.is_crystal():
        raise StructureError(
            f"{path}: there is no unit cell, only the placeholder {parameters[:3]}, as in files "
            "from NMR or electron microscopy; add a CRYST1 record (PDB) or _cell items (mmCIF)"
        )
    try:
        check_cell(parameters)
    except InputError as error:
        raise StructureError(f"{path}: {error}") from error
    # gemmi's matrix follows SCALE records that set another orientation than the usual one.
    return UnitCell(torch.tensor(cell.orth.mat.tolist(), dtype=torch.float64))


def spacegroup(structure: gemmi.Structure, path: Path) -> str:
    """Symbol of the space group of the file."""
    group = structure.find_spacegroup()
    if group is None:
        raise StructureError(
            f"{path}: space group {structure.spacegroup_hm!r} is unknown; write a Hermann-Mauguin "
            "symbol such as 'P 1 21 1' into CRYST1 (PDB) or _symmetry.space_group_name_H-M (mmCIF)"
        )
    return str(group.xhm())
