"""Symmetry: space groups and Laue groups, their operators, centring, and operators as text.

In NumPy. Rotations R of a space group act on fractional coordinates as ``x' = R @ x`` and on rows
of Miller indices as ``hkl' = hkl @ R``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError, StructureError

from .cell import UnitCell, numpy_cell

Float64 = NDArray[np.float64]

#: A space group of each Laue class; 2/m with b unique, trigonal classes on hexagonal axes.
LAUE_CLASSES = {
    "-1": "P -1",
    "2/m": "P 1 2/m 1",
    "mmm": "P m m m",
    "4/m": "P 4/m",
    "4/mmm": "P 4/m m m",
    "-3": "P -3",
    "-3m1": "P -3 m 1",
    "-31m": "P -3 1 m",
    "6/m": "P 6/m",
    "6/mmm": "P 6/m m m",
    "m-3": "P m -3",
    "m-3m": "P m -3 m",
}

#: The identity and the inversion: Friedel's law, which holds for every intensity.
FRIEDEL = np.stack([np.eye(3, dtype=np.int64), -np.eye(3, dtype=np.int64)])

#: Relative tolerance of the metric of a map's cell under its symmetry: measured cells are not
#: always refined with it.
CELL_TOLERANCE = 0.02

#: Relative tolerance of the metric of a structure's cell under its space group: refined cells are
#: rounded.
METRIC_TOLERANCE = 1e-2

#: Tolerance of the elements of rotations and translations: exact twelfths in the precision of a
#: file or tensor.
SAME = 1e-6


def laue_operators(symmetry: str, cell: Sequence[float] | None = None) -> NDArray[np.int64]:
    """Rotations of a Laue group; ``hkl @ operator`` is equivalent to hkl.

    Parameters
    ----------
    symmetry : str
        A space group, or a Laue class (2/m has b unique; use -3m1 or -31m).
    cell : sequence of six float, optional
        Selects the setting of rhombohedral groups, and is checked for the symmetry.

    Returns
    -------
    ndarray, shape (n, 3, 3)
        The identity first; the inversion (Friedel's law) is always among them.

    Raises
    ------
    InputError
        If the symmetry is not known, or the cell does not have it.
    """
    group = find_group(symmetry, cell)
    rotations = np.array([op.rot for op in group.operations().sym_ops]) // gemmi.Op.DEN
    found = np.unique(laue_group(rotations), axis=0)
    order = np.argsort([not (op == np.eye(3)).all() for op in found], kind="stable")
    if cell is not None:
        axes = numpy_cell(cell).inverse
        metric = axes @ axes.T
        size = np.sqrt(np.outer(metric.diagonal(), metric.diagonal()))
        rotated_metric = found @ metric @ found.transpose(0, 2, 1)
        if (np.abs(rotated_metric - metric) > 2 * CELL_TOLERANCE * size).any():
            raise InputError(
                f"cell {tuple(cell)} does not have the symmetry of {symmetry!r}; give another "
                "space group or Laue class"
            )
    return found[order]


def find_group(symmetry: str, cell: Sequence[float] | None = None) -> Any:
    """Look up a space group or Laue class, as gemmi's ``SpaceGroup``.

    Raises
    ------
    InputError
        If it is not known.
    """
    name = LAUE_CLASSES.get(symmetry.replace(" ", ""), symmetry)
    group = find_spacegroup(name, cell)
    if group is None:
        raise InputError(
            f"{symmetry!r} is not a known space group or Laue class; Laue classes are "
            f"{', '.join(LAUE_CLASSES)}"
        )
    return group


def spacegroup_name(name: str | int, cell: Sequence[float] | None = None) -> str:
    """Hermann-Mauguin symbol in gemmi's spelling; unchanged if unknown to gemmi.

    Parameters
    ----------
    name : str or int
        A symbol, or the number in the International Tables.
    cell : sequence of six float, optional
        Selects the setting of rhombohedral groups; otherwise they are on hexagonal axes.
    """
    if isinstance(name, int):
        known = gemmi.find_spacegroup_by_number(name)
        name = str(name) if known is None else known.hm if known.ext == "H" else known.xhm()
    group = find_spacegroup(name, cell)
    return str(group.xhm()) if group is not None else str(name).strip()


def is_spacegroup(name: str) -> bool:
    """Whether a space group name is known."""
    return find_spacegroup(name) is not None


def find_spacegroup(name: str, cell: Sequence[float] | None = None) -> Any:
    """Space group of a symbol, in the spellings of the PDB and of programs; None if unknown.

    Beside gemmi's: 'P 1-' for 'P -1', and 'P 2(1)' for 'P 21'.
    """
    name = re.sub(r"\((\d)\)", r"\1", name.strip())
    name = re.sub(r"(\d)-", r"-\1", name)
    if not name:
        return None
    angles = (cell[3], cell[5]) if cell is not None else (0.0, 0.0)
    return gemmi.find_spacegroup_by_name(name, *angles)


def laue_group(rotations: NDArray[Any]) -> NDArray[np.int64]:
    """Rotations of the Laue group of a crystal: its own, and their products with the inversion.

    Parameters
    ----------
    rotations : ndarray, shape (n_ops, 3, 3)
        Rotation parts of all operators of the crystal.

    Returns
    -------
    ndarray, shape (n, 3, 3)
        Without duplicates, those of the crystal first and in their order.
    """
    own = np.rint(rotations).astype(np.int64)
    both = np.concatenate([own, -own])
    _, first = np.unique(both, axis=0, return_index=True)
    return both[np.sort(first)]


def symmetry_operators(spacegroup: str) -> tuple[Float64, Float64]:
    """Operators of a space group from gemmi's tables, centring included.

    Returns
    -------
    rotations : ndarray, shape (n_ops, 3, 3)
    translations : ndarray, shape (n_ops, 3)

    Raises
    ------
    StructureError
        If the symbol is unknown.
    """
    group = find_spacegroup(spacegroup)
    if group is None:
        raise StructureError(
            f"space group {spacegroup!r} is unknown; give a Hermann-Mauguin symbol such as 'P 21'"
        )
    ops = list(group.operations())
    rotations = np.array([op.rot for op in ops], dtype=np.float64) / gemmi.Op.DEN
    translations = np.array([op.tran for op in ops], dtype=np.float64) / gemmi.Op.DEN
    return rotations, translations


def check_symmetry(cell: UnitCell, spacegroup: str, rotations: Float64) -> None:
    """Check that the cell of a structure has the symmetry of a space group.

    Raises
    ------
    StructureError
        If an operator would change the cell's lengths or angles.
    """
    matrix = cell.numpy().matrix
    metric = matrix.T @ matrix
    size = np.sqrt(np.outer(metric.diagonal(), metric.diagonal()))
    rotated_metric = rotations.transpose(0, 2, 1) @ metric @ rotations
    if (np.abs(rotated_metric - metric) > METRIC_TOLERANCE * size).any():
        raise StructureError(
            f"space group {spacegroup!r} does not fit the cell {cell}: its operators would "
            "change the cell's lengths or angles; correct one of the two (CRYST1)"
        )


def pure_translations(rotations: Float64, translations: Float64) -> Float64:
    """Centring: translations of the operators without rotation, shape (n, 3), each in [0, 1)."""
    still = np.abs(rotations - np.eye(3)).max(axis=(1, 2)) < SAME
    found = translations[still]
    return np.asarray(found - np.floor(found + SAME))


def triplet(operator: NDArray[Any]) -> str:
    """Write an operator on rows of Miller indices as the resulting indices, such as ``-h,k,-l``.

    Parameters
    ----------
    operator : ndarray, shape (3, 3)
        ``hkl_new = hkl_old @ operator``; entries are multiples of 1/24.
    """
    op = gemmi.Op()
    op.rot = np.rint(np.asarray(operator) * gemmi.Op.DEN).astype(int).tolist()
    return str(op.as_hkl().triplet())


def parse_triplet(text: str) -> Float64 | None:
    """Operator on rows of Miller indices from its text, shape (3, 3); None if it is not one."""
    try:
        op = gemmi.Op(text)
    except (ValueError, RuntimeError):
        return None
    if any(op.tran):
        return None
    return np.array(op.rot, dtype=np.float64) / gemmi.Op.DEN
