"""Symmetry of reciprocal space: Laue groups and their operators on Miller indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError

from .cell_parameters import reciprocal_axes

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


#: How far, relative, a cell may be from the shape that its symmetry asks for: measured cells are
#: not always refined under it.
CELL_TOLERANCE = 0.02


def laue_operators(symmetry: str, cell: Sequence[float] | None = None) -> NDArray[np.int64]:
    """Rotations of a Laue group on rows of Miller indices: ``hkl @ operator`` is equivalent.

    Parameters
    ----------
    symmetry : str
        A space group, or a Laue class (2/m has b unique; say -3m1 or -31m).
    cell : sequence of six float, optional
        Decides between settings of rhombohedral groups, and is checked to have the symmetry.

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
    rotations = {tuple(map(tuple, op.rot)) for op in group.operations().sym_ops}
    found = np.array(sorted(rotations)) // gemmi.Op.DEN
    found = np.unique(np.concatenate([found, -found]), axis=0).astype(np.int64)
    order = np.argsort([not (op == np.eye(3)).all() for op in found], kind="stable")
    if cell is not None:
        axes = reciprocal_axes(cell)
        metric = axes @ axes.T
        size = np.sqrt(np.outer(metric.diagonal(), metric.diagonal()))
        turned = found @ metric @ found.transpose(0, 2, 1)
        if (np.abs(turned - metric) > 2 * CELL_TOLERANCE * size).any():
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
    angles = (cell[3], cell[5]) if cell is not None else (0.0, 0.0)
    group = gemmi.find_spacegroup_by_name(name, *angles) if name.strip() else None
    if group is None:
        raise InputError(
            f"{symmetry!r} is not a known space group or Laue class; Laue classes are "
            f"{', '.join(LAUE_CLASSES)}"
        )
    return group


def triplet(operator: NDArray[Any]) -> str:
    """Name an operator on rows of Miller indices by the indices that it gives: ``-h,k,-l``."""
    written = []
    for column in np.asarray(operator).T:
        terms = [
            f"{'-' if n < 0 else '+'}{abs(n) if abs(n) != 1 else ''}{name}"
            for n, name in zip(column.tolist(), "hkl", strict=True)
            if n
        ]
        written.append("".join(terms).removeprefix("+"))
    return ",".join(written)
