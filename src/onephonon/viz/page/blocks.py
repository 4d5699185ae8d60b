"""Reduction of maps for the browser, by averaging over blocks of voxels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.grid import HklGrid
from onephonon.maps.diffuse import Array

#: Maximum voxels along an axis: all graphics drivers support 3-D textures of this length.
MAX_AXIS_LENGTH = 1024

Factors = tuple[int, int, int]


def block_factors(grid: HklGrid, cell: tuple[float, ...], voxels: int) -> Factors:
    """Choose the number of voxels along h, k and l that are combined.

    The axis with the shortest voxels in 1/Å is coarsened first, so that blocks become roughly
    isometric.

    Parameters
    ----------
    grid : HklGrid
    cell : tuple of six float
    voxels : int
        Maximum number of blocks.
    """
    lengths = np.linalg.norm(numpy_cell(cell).inverse, axis=1) * np.array(grid.step)
    factors = np.array([math.ceil(n / MAX_AXIS_LENGTH) for n in grid.shape])
    shape = np.array(grid.shape)
    while math.prod(blocks := np.ceil(shape / factors).astype(int)) > max(voxels, 1):
        factors[np.argmin(np.where(blocks > 1, lengths * factors, np.inf))] += 1
    h, k, l = (int(f) for f in factors)  # noqa: E741
    return h, k, l


def block_grid(grid: HklGrid, factors: Factors) -> HklGrid:
    """Grid of the centres of the blocks."""
    if factors == (1, 1, 1):
        return grid
    placed = zip(grid.origin, grid.step, grid.shape, factors, strict=True)
    origin, step, shape = zip(
        *((o + s * (f - 1) / 2, s * f, math.ceil(n / f)) for o, s, n, f in placed), strict=True
    )
    return HklGrid(origin, step, shape)


def block_means(values: Array, factors: Factors) -> NDArray[np.float64]:
    """Mean of the valid voxels of each block, NaN where a block has none.

    Parameters
    ----------
    values : ndarray, shape (n_h, n_k, n_l)
        NaN where missing.
    factors : tuple of three int
        Number of voxels per block along h, k and l; the last blocks may have fewer.

    Notes
    -----
    Works one row of blocks at a time, so that a map of 1e8 voxels is not copied.
    """
    starts = [np.arange(0, n, f) for n, f in zip(values.shape, factors, strict=True)]
    means = np.empty([len(s) for s in starts])
    for row, start in enumerate(starts[0]):
        slab = values[start : start + factors[0]]
        valid = ~np.isnan(slab)
        filled = np.where(valid, slab, 0.0).sum(axis=0, dtype=np.float64)
        count = valid.sum(axis=0, dtype=np.float64)
        for axis in (0, 1):
            filled = np.add.reduceat(filled, starts[axis + 1], axis=axis)
            count = np.add.reduceat(count, starts[axis + 1], axis=axis)
        with np.errstate(invalid="ignore"):
            means[row] = filled / count
    return means
