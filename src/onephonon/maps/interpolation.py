"""Values between voxels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .diffuse import Array, DiffuseMap

Float64 = NDArray[np.float64]

#: Points closer to a voxel than this (in voxels) are on it: hkl computed from q are rounded.
ON_VOXEL = 1e-6


def interpolate(diffuse: DiffuseMap, hkl: ArrayLike) -> Float64:
    """Intensity at any hkl, trilinear between the eight voxels around it.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    hkl : ndarray, shape (..., 3)

    Returns
    -------
    ndarray, shape (...)
        NaN outside the grid and where a voxel of nonzero weight is missing. Exactly on a voxel
        only that voxel has weight.

    Raises
    ------
    InputError
        For a list.
    """
    index = diffuse.require_grid()[0].index_of(hkl)
    return trilinear(diffuse.intensity, (index[..., 0], index[..., 1], index[..., 2]))


def sample_plane(
    diffuse: DiffuseMap,
    origin: Sequence[float],
    along: Sequence[float],
    up: Sequence[float],
    x: ArrayLike,
    y: ArrayLike,
) -> Float64:
    """Intensity on a plane of any direction: at ``origin + x * along + y * up``.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    origin, along, up : three float
        In Miller indices; convert Cartesian directions by the cell matrix.
    x : ndarray, shape (n_x,)
    y : ndarray, shape (n_y,)

    Returns
    -------
    ndarray, shape (n_y, n_x)
        NaN as in `interpolate`.
    """
    columns = np.asarray(x, dtype=np.float64)[None, :, None] * np.asarray(along, dtype=np.float64)
    rows = np.asarray(y, dtype=np.float64)[:, None, None] * np.asarray(up, dtype=np.float64)
    return interpolate(diffuse, np.asarray(origin, dtype=np.float64) + columns + rows)


def trilinear(values: Array, index: Sequence[NDArray[Any]], sigma: bool = False) -> Float64:
    """Interpolate an array at voxel indices.

    Parameters
    ----------
    values : ndarray, shape (n_h, n_k, n_l)
    index : three ndarray
        Voxel indices along the axes, not rounded, broadcast together.
    sigma : bool
        The values are standard uncertainties of independent voxels: add their squares.

    Returns
    -------
    ndarray of the index arrays' common shape
        NaN outside and wherever a voxel of nonzero weight is missing.
    """
    axes = [_neighbours(i, n) for i, n in zip(index, values.shape, strict=True)]
    total = np.zeros(np.broadcast_shapes(*(i.shape for i in index)))
    for corner in itertools.product((0, 1), repeat=3):
        (i, w_i), (j, w_j), (k, w_k) = (axis[c] for axis, c in zip(axes, corner, strict=True))
        weight = w_i * w_j * w_k
        share = values[i, j, k] * weight
        # A missing voxel of weight zero is ignored; NaN * 0 would be NaN.
        total += np.where(weight == 0, 0.0, share**2 if sigma else share)
    return np.sqrt(total) if sigma else total


def _neighbours(index: NDArray[Any], n: int) -> list[tuple[NDArray[np.intp], Float64]]:
    """The voxels below and above along one axis with their weights, NaN outside."""
    index = np.asarray(index, dtype=np.float64)
    nearest = np.rint(index)
    index = np.where(np.abs(index - nearest) <= ON_VOXEL, nearest, index)
    inside = (index >= 0) & (index <= n - 1)
    index = np.where(inside, index, 0.0)
    below = np.floor(index)
    above = index - below
    weights = [np.where(inside, w, np.nan) for w in (1.0 - above, above)]
    return [
        (np.minimum(below + step, n - 1).astype(np.intp), weight)
        for step, weight in enumerate(weights)
    ]
