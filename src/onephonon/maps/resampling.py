"""Resampling of maps on other grids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.grid import SAME_POINT, HklGrid

from .diffuse import Array, DiffuseMap
from .interpolation import trilinear

Float64 = NDArray[np.float64]

METHODS = ("linear", "nearest", "average")

#: A map is averaged over the voxels of a grid if it is finer by this factor in every direction.
FINER = 1.5


def resample(diffuse: DiffuseMap, grid: HklGrid, method: str = "linear") -> DiffuseMap:
    """Resample a map on another grid of Miller indices.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    grid : HklGrid
    method : {'linear', 'nearest', 'average'}
        'linear' interpolates between the eight voxels around a point, and is missing where one
        with weight is. 'nearest' takes the voxel that contains the point. 'average' takes the
        mean of the voxels inside each new voxel, weighted by the fraction of their volume inside;
        missing ones are ignored. It is for coarser grids.

    Returns
    -------
    DiffuseMap
        Missing outside the old grid. Sigma is propagated for independent voxels. Counts are
        interpolated, or summed by an average; without counts, an average counts the voxels.

    Raises
    ------
    InputError
        If the method is none of the three.
    """
    old, _ = diffuse.require_grid()
    if method not in METHODS:
        raise InputError(f"method {method!r} is not one of {', '.join(METHODS)}")
    step = f"resampled ({method}) to {grid}"
    if method == "average":
        return diffuse.changed(step, _average(diffuse, old, grid), grid=grid)
    index = _indices(grid, old)
    arrays: dict[str, Array] = {}
    for name, values in diffuse.arrays.items():
        arrays[name] = np.empty(grid.shape, dtype=values.dtype)
        for part in grid.slabs():
            at = (index[0][part, None, None], index[1][None, :, None], index[2][None, None, :])
            arrays[name][part] = _sample(values, at, method, name == "sigma")
    return diffuse.changed(step, arrays, grid=grid)


def onto_coarser(diffuse: DiffuseMap, grid: HklGrid) -> DiffuseMap:
    """Average a map over a grid's voxels if its own are finer in every direction.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    grid : HklGrid

    Returns
    -------
    DiffuseMap
        On the grid's lattice, over the extent of the map; or the unchanged map, if it is not finer
        or lies between two voxels of the grid.
    """
    own, _ = diffuse.require_grid()
    fine, coarse = np.array(own.step), np.array(grid.step)
    if not (coarse >= FINER * fine).all():
        return diffuse
    first = np.ceil(grid.index_of(own.origin) - SAME_POINT)
    last = np.floor(grid.index_of(own.end) + SAME_POINT)
    if (last < first).any():
        return diffuse
    origin = np.array(grid.origin) + first * coarse
    shape = (last - first + 1).astype(int).tolist()
    return resample(diffuse, HklGrid(tuple(origin.tolist()), grid.step, tuple(shape)), "average")


def _indices(new: HklGrid, old: HklGrid) -> list[Float64]:
    """Voxel indices in the old grid of the new grid's points along each axis."""
    return [
        (axis - origin) / step
        for axis, origin, step in zip(new.axes, old.origin, old.step, strict=True)
    ]


def _sample(values: Array, at: tuple[Float64, ...], method: str, uncertain: bool) -> Float64:
    """Values at voxel indices that broadcast together."""
    if method == "linear":
        return trilinear(values, at, sigma=uncertain)
    index = [np.floor(i + 0.5) for i in at]
    inside = np.ones(np.broadcast_shapes(*(i.shape for i in at)), dtype=bool)
    for i, n in zip(index, values.shape, strict=True):
        inside &= (i >= 0) & (i < n)
    i, j, k = (
        np.clip(i, 0, n - 1).astype(np.intp) for i, n in zip(index, values.shape, strict=True)
    )
    return np.where(inside, values[i, j, k], np.nan)


def _average(diffuse: DiffuseMap, old: HklGrid, new: HklGrid) -> dict[str, Array]:
    """Mean over each new voxel of the old voxels inside it."""
    weights = [
        _overlaps(centres, new.step[a] / old.step[a], old.shape[a])
        for a, centres in enumerate(_indices(new, old))
    ]

    def total(values: Array, power: int = 1) -> Float64:
        """Weighted sum of values over each new voxel; missing ones are zero."""
        along = [w**power for w in weights]
        out = np.zeros(new.shape)
        for part in old.slabs():
            block = np.nan_to_num(values[part].astype(np.float64))
            block = np.matmul(along[1], block @ along[2].T)
            out += np.tensordot(along[0][:, part], block, axes=1)
        return out

    def missing_to_nan(values: Array, share: Float64) -> Array:
        return np.where(share > 0, values, np.nan)

    arrays: dict[str, Array] = {}
    share = total(diffuse.mask)
    for name in ("intensity", "half1", "half2"):
        values = diffuse.arrays.get(name)
        if values is not None:
            held = share if name == "intensity" else total(~np.isnan(values))
            with np.errstate(invalid="ignore"):
                mean = total(values) / held
            arrays[name] = missing_to_nan(mean, held).astype(values.dtype)
    if diffuse.sigma is not None:
        known = np.where(diffuse.mask, diffuse.sigma, 0)
        with np.errstate(invalid="ignore"):
            sigma = np.sqrt(total(known**2, power=2)) / share
        sigma = np.where(total(np.isnan(known)) > 0, np.nan, sigma)
        arrays["sigma"] = missing_to_nan(sigma, share).astype(diffuse.sigma.dtype)
    counts = diffuse.mask if diffuse.counts is None else np.where(diffuse.mask, diffuse.counts, 0)
    arrays["counts"] = total(counts).astype(diffuse.intensity.dtype)
    return arrays


def _overlaps(centres: Float64, width: float, n: int) -> Float64:
    """Fraction of each old voxel that lies in each new one along an axis, shape (n_new, n).

    Parameters
    ----------
    centres : ndarray, shape (n_new,)
        Centres of the new voxels, in old voxels.
    width : float
        Width of a new voxel, in old voxels.
    n : int
        Number of old voxels.
    """
    low, high = centres[:, None] - 0.5 * width, centres[:, None] + 0.5 * width
    old = np.arange(n)
    share = np.minimum(high, old + 0.5) - np.maximum(low, old - 0.5)
    return np.where(share > 1e-9, share, 0.0)
