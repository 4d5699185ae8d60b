"""Unit cell and space group of a structure file, where its declarations agree."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError, StructureError
from onephonon.crystal.cell import UnitCell, check_cell, numpy_cell
from onephonon.crystal.remarks import Remark
from onephonon.crystal.symmetry import (
    check_symmetry,
    find_spacegroup,
    spacegroup_name,
    symmetry_operators,
)

from .declarations import Declarations
from .structure_file import read_declarations

Float64 = NDArray[np.float64]

#: SCALE agrees with CRYST1 if it changes no length by more than this part, and by what its
#: decimals leave open.
SCALE_TOLERANCE = 1e-3

#: Error of the elements of SCALE, which have six decimals, rounded or cut, 1/Å.
SCALE_DECIMALS = 1e-6

#: A symbol of a monoclinic group that does not name its axis, such as "P 21".
_SHORT_MONOCLINIC = re.compile(r"([PABCIF]) ?(21?|[abcnm]|21?/[abcnm])", re.IGNORECASE)


@dataclass(frozen=True)
class Lattice:
    """The unit cell, and where the coordinates of the file are in it.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        Columns are the cell axes in the Cartesian axes of the file, Å.
    shift : ndarray, shape (3,)
        Fractional: ``x_frac = inverse(matrix) @ x + shift``.
    remarks : tuple of Remark
    """

    matrix: Float64
    shift: Float64
    remarks: tuple[Remark, ...] = ()

    def fractional(self, positions: Float64) -> Float64:
        """Fractional coordinates of Cartesian ones in Å, shape (n, 3)."""
        return np.asarray(positions @ np.linalg.inv(self.matrix).T + self.shift)


def read_lattice(path: Path) -> tuple[tuple[float, ...], str, tuple[Remark, ...]]:
    """Cell parameters, symbol of the space group ("" if there is none), and remarks on both.

    The same cell as that of `read_crystal`; the file need not hold atoms.

    Raises
    ------
    StructureError
        If there is no cell, or the file contradicts itself.
    """
    declared = read_declarations(path)
    declared_lattice(declared, path)
    assert declared.cell is not None
    if not (declared.symbol or declared.number or declared.operators):
        return declared.cell, "", declared.remarks
    group, found = declared_spacegroup(declared, path)
    return declared.cell, group, (*declared.remarks, *found)


def declared_lattice(declared: Declarations, path: Path) -> Lattice:
    """The cell of CRYST1 or _cell, in the orientation that SCALE records give it.

    Raises
    ------
    StructureError
        If there is none, or SCALE is of another cell.
    """
    parameters = declared.cell
    if parameters is not None and not all(math.isfinite(p) for p in parameters):
        raise StructureError(f"{path}: the unit cell {parameters} is not finite; correct CRYST1")
    if parameters is None or parameters[:3] == (1, 1, 1) or not all(parameters):
        held = f", only the placeholder {parameters[:3]}" if parameters else ""
        raise StructureError(
            f"{path}: there is no unit cell{held}, as in files "
            "from NMR or electron microscopy; add a CRYST1 record (PDB) or _cell items (mmCIF)"
        )
    try:
        check_cell(parameters)
    except InputError as error:
        raise StructureError(f"{path}: {error}") from error
    matrix = numpy_cell(parameters).matrix
    scale = declared.scale
    if scale is None or not np.any(scale[:, :3] - np.eye(3)):  # the identity is a placeholder
        return Lattice(matrix, np.zeros(3))
    # Orthogonal, up to rounding, if both are the same cell.
    turn = matrix @ scale[:, :3]
    left, stretch, right = np.linalg.svd(turn)
    tolerance = SCALE_TOLERANCE + 3 * SCALE_DECIMALS * np.linalg.norm(matrix, 2)
    if np.abs(stretch - 1).max() > tolerance:
        raise StructureError(
            f"{path}: CRYST1 (or _cell) says {_shown(parameters)} and SCALE (or _atom_sites) "
            f"{_cell_of(scale)}; they differ by more than {100 * SCALE_TOLERANCE:g} %; correct "
            "the wrong one, or remove SCALE, so that CRYST1 is used"
        )
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        raise StructureError(
            f"{path}: SCALE (or _atom_sites) makes the cell left-handed; correct or remove it"
        )
    remarks = []
    if np.abs(rotation - np.eye(3)).max() > tolerance:
        remarks.append(Remark("read", "cell axes oriented by SCALE, not a along x"))
        matrix = rotation.T @ matrix
    shift = scale[:, 3]
    if shift.any():
        shown = ", ".join(f"{x:g}" for x in shift)
        remarks.append(Remark("read", f"origin shifted by SCALE by ({shown}) of the cell"))
    return Lattice(matrix, shift, tuple(remarks))


def declared_spacegroup(declared: Declarations, path: Path) -> tuple[str, list[Remark]]:
    """Symbol of the space group in gemmi's spelling, and how it was found.

    The symbol decides, in the setting that the cell has; the operators listed in the file decide
    where the symbol leaves the origin open.

    Raises
    ------
    StructureError
        If it is unknown or ambiguous, contradicts its number, or does not fit the cell.
    """
    remarks: list[Remark] = []
    listed = _listed(declared, path)
    symbol = declared.symbol
    if symbol.isdecimal():
        group = _by_number(int(symbol), declared.cell, remarks)
    elif symbol:
        group = _by_symbol(symbol, declared.cell, remarks)
    elif declared.number is not None:
        group = _by_number(declared.number, declared.cell, remarks)
    else:
        group = None if listed is None else gemmi.find_spacegroup_by_ops(listed)
    if group is None:
        raise StructureError(
            f"{path}: space group {symbol!r} is unknown; write a Hermann-Mauguin "
            "symbol such as 'P 1 21 1' into CRYST1 (PDB) or _symmetry.space_group_name_H-M (mmCIF)"
        )
    if declared.number not in (None, group.number):
        raise StructureError(
            f"{path}: space group {symbol!r} has number {group.number}, but the file says "
            f"{declared.number}; correct one of the two"
        )
    group = _as_listed(group, listed, symbol, path, remarks)
    name = str(group.xhm())
    if declared.cell is not None:
        try:
            check_symmetry(numpy_cell(declared.cell), name, symmetry_operators(name)[0])
        except StructureError as error:
            raise StructureError(f"{path}: {error}") from error
    return name, remarks


def _by_symbol(symbol: str, cell: tuple[float, ...] | None, remarks: list[Remark]) -> Any:
    """The group of a symbol; None if unknown."""
    group = find_spacegroup(symbol, cell)
    if group is None:
        return None
    if group.ext in ("H", "R") and ":" not in symbol:
        axes = "hexagonal" if group.ext == "H" else "rhombohedral"
        remarks.append(Remark("read", f"{symbol!r} on {axes} axes, as the cell has them"))
    short = _SHORT_MONOCLINIC.fullmatch(symbol.strip())
    if short and cell is not None and not _fits(group, cell):
        # Full symbols of the other two axes, as "P 1 1 21" and "P 21 1 1".
        others = [
            gemmi.find_spacegroup_by_name(f"{short[1]} {one}")
            for one in (f"1 {short[2]} 1", f"1 1 {short[2]}", f"{short[2]} 1 1")
        ]
        fitting = [other for other in others if other is not None and _fits(other, cell)]
        if len(fitting) == 1:
            group = fitting[0]
            remarks.append(Remark("assumed", f"{symbol!r} is {group.xhm()!r}, by the cell"))
    return group


def _by_number(number: int, cell: tuple[float, ...] | None, remarks: list[Remark]) -> Any:
    """The group of a number in its usual setting; None if there is none."""
    group = find_spacegroup(spacegroup_name(number, cell)) if 1 <= number <= 230 else None
    if group is not None:
        remarks.append(
            Remark("assumed", f"space group {group.xhm()!r}, the usual setting of number {number}")
        )
    return group


def _as_listed(group: Any, listed: Any, symbol: str, path: Path, remarks: list[Remark]) -> Any:
    """The group in the setting of the operators that the file lists, if it is the same group."""
    if listed is None:
        if group.ext in ("1", "2") and ":" not in symbol:
            raise StructureError(
                f"{path}: space group {symbol!r} has two origins; write '{group.hm}:1' or "
                f"'{group.hm}:2'"
            )
        return group
    if _triplets(listed) == _triplets(group.operations()):
        return group
    other = gemmi.find_spacegroup_by_ops(listed)
    if other is not None and other.number == group.number:
        open_origin = group.ext in ("1", "2") and ":" not in symbol
        text = f"space group {other.xhm()!r}, whose operators the file lists, for {symbol!r}"
        remarks.append(Remark("changed", text, matters=not open_origin))
        return other
    theirs = "" if other is None else f", those of {other.xhm()!r}"
    text = f"{len(listed)} operators listed in the file{theirs}; {group.xhm()!r} is used"
    remarks.append(Remark("ignored", text, matters=True))
    return group


def _listed(declared: Declarations, path: Path) -> Any:
    """Operators listed in the file, as gemmi's ``GroupOps``; None without any."""
    if not declared.operators:
        return None
    try:
        return gemmi.GroupOps([gemmi.Op(text) for text in declared.operators])
    except (RuntimeError, ValueError) as error:
        raise StructureError(
            f"{path}: the symmetry operators {', '.join(declared.operators)} cannot be read "
            f"({error}); correct or remove them"
        ) from error


def _triplets(operations: Any) -> set[str]:
    return {op.wrap().triplet() for op in operations}


def _fits(group: Any, cell: tuple[float, ...]) -> bool:
    name = group.xhm()
    try:
        check_symmetry(numpy_cell(cell), name, symmetry_operators(name)[0])
    except StructureError:
        return False
    return True


def _cell_of(scale: Float64) -> str:
    """Cell of SCALE records as text."""
    try:
        return _shown(UnitCell(np.linalg.inv(scale[:, :3])).parameters)
    except np.linalg.LinAlgError:
        return "no cell"


def _shown(cell: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{x:.6g}" for x in cell) + ")"
