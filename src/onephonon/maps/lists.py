"""Conversion of lists to grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.grid import HklGrid

from .diffuse import DiffuseMap

#: Tolerance between the q-vectors of a list and those of the grid, in Miller indices.
SAME_HKL = 1e-3


def gridded(
    listed: DiffuseMap, shape: tuple[int, int, int], hkl: NDArray[Any] | None = None
) -> DiffuseMap:
    """Convert a list whose points form a grid of hkl, l fastest, to a map on that grid.

    Parameters
    ----------
    listed : DiffuseMap
    shape : tuple of three int
        Points along h, k and l.
    hkl : ndarray, shape (N, 3), optional
        Computed from q-vectors and cell if not given.

    Returns
    -------
    DiffuseMap
        On the grid; or the unchanged list, with the reason in its history.
    """
    if listed.cell is None:
        return _kept(listed, f"map_shape {shape} but no cell")
    try:
        grid = HklGrid.from_points(listed.hkl if hkl is None else hkl, shape)
    except InputError as error:
        return _kept(listed, str(error))
    if not q_agree(grid, listed.cell, listed.q_vectors):
        return _kept(listed, "q_vectors are not those of hkl and cell")
    return DiffuseMap.on_grid(
        listed.intensity,
        grid,
        listed.cell,
        spacegroup=listed.spacegroup,
        sigma=listed.sigma,
        counts=listed.counts,
        halves=listed.halves,
        units=listed.units,
        history=listed.history,
        parameters=listed.parameters,
        version=listed.version,
        remarks=listed.remarks,
    )


def _kept(listed: DiffuseMap, why: str) -> DiffuseMap:
    """Return the list with the reason for keeping it in its history, once."""
    line = f"kept as a list: {why}"
    return listed if line in listed.history else listed.changed(line)


def q_agree(grid: HklGrid, cell: Sequence[float], q: NDArray[Any]) -> bool:
    """Whether q-vectors (N, 3) are those of a grid and cell, to a thousandth of an index."""
    unit_cell = numpy_cell(cell)
    axes, matrix = TWO_PI * unit_cell.inverse, unit_cell.matrix / TWO_PI
    row = grid.shape[1] * grid.shape[2]
    for part in grid.slabs():
        difference = q[part.start * row : part.stop * row] - grid.slab_hkl(part) @ axes
        if not (np.abs(difference @ matrix) <= SAME_HKL).all():
            return False
    return True
