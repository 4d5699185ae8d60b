"""Orientations of voxels in several indexings, so that no intensity is computed twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.crystal.reindexing import Reindexing

Float64 = NDArray[np.float64]

#: Tolerance of the Miller indices of voxels.
SAME_HKL = 1e-6


@dataclass(frozen=True, eq=False)
class VoxelOrientation:
    """Orientation of the voxel boxes in the indices of the model, and the indexings that share it.

    A voxel is a box along the axes of the data. The average over a differently oriented box, as in
    a hexagonal cell, is a different quantity, so each orientation is computed separately.

    Parameters
    ----------
    rotation : ndarray, shape (3, 3)
        The model is averaged over ``box @ rotation``, with hkl as rows.
    reindexings_served : tuple of (Reindexing, ndarray)
        Indexings with this orientation, and for each the operator on rows of the data's hkl.
    """

    rotation: Float64
    reindexings_served: tuple[tuple[Reindexing, Float64], ...]


def find_orientations(
    reindexings: Sequence[Reindexing], laue: Float64, step: Sequence[float] | None
) -> tuple[VoxelOrientation, ...]:
    """Group indexings into as few orientations of voxels as possible.

    ``f_R(hkl)``, the mean of I(x @ R) over the box of hkl, is ``f_T(hkl @ P)`` where
    ``R = P T L`` with L of the Laue group and P such that it maps boxes onto boxes.

    Parameters
    ----------
    reindexings : sequence of Reindexing
    laue : ndarray, shape (n, 3, 3)
        Operators of the model's Laue group on rows of hkl.
    step : three float, optional
        Extent of the voxels; None for points.
    """
    found: list[tuple[Float64, list[tuple[Reindexing, Float64]]]] = []
    for reindexing in reindexings:
        for rotation, reindexings_served in found:
            operator_from_box = _move(reindexing, rotation, laue, step)
            if operator_from_box is not None:
                reindexings_served.append((reindexing, operator_from_box))
                break
        else:
            found.append((reindexing.operator, [(reindexing, np.eye(3))]))
    return tuple(
        VoxelOrientation(rotation, tuple(reindexings_served))
        for rotation, reindexings_served in found
    )


def equivalent_operators(
    orientation: VoxelOrientation, laue: Float64, step: Sequence[float] | None
) -> list[Float64]:
    """Operators on rows of hkl that map voxels onto equivalent voxels of the same orientation."""
    rotation = orientation.rotation
    carried = [_snap_to_fractions(rotation @ L @ np.linalg.inv(rotation)) for L in laue]
    return [operator for operator in carried if _keeps_box(operator, step)]


def unique_voxels(hkl: Float64, operators: Sequence[Float64]) -> tuple[Float64, NDArray[np.int64]]:
    """One hkl of each equivalent set, shape (M, 3), and the index of its set for each, (N,)."""
    best = np.rint(hkl / SAME_HKL).astype(np.int64)
    for operator in operators:
        other = np.rint((hkl @ operator) / SAME_HKL).astype(np.int64)
        ahead = _comes_later(other, best)
        best = np.where(ahead[:, None], other, best)
    _, first, back = np.unique(best, axis=0, return_index=True, return_inverse=True)
    return hkl[first], back.reshape(-1)


def _move(
    reindexing: Reindexing, rotation: Float64, laue: Float64, step: Sequence[float] | None
) -> Float64 | None:
    """Operator from hkl of the data to hkl in this orientation, or None."""
    for L in laue:
        operator_from_box = reindexing.operator @ L @ np.linalg.inv(rotation)
        if _keeps_box(operator_from_box, step):
            return _snap_to_fractions(operator_from_box)
    return None


def _keeps_box(operator: Float64, step: Sequence[float] | None) -> bool:
    """Whether boxes remain parallel to the axes; always true for points."""
    if step is None:
        return True
    extent, size = np.asarray(step), np.abs(operator)
    permutes = ((size > 0.5).sum(axis=0) == 1).all() and ((size > 0.5).sum(axis=1) == 1).all()
    return bool(permutes and np.allclose(extent @ size, extent, rtol=1e-6, atol=0))


def _snap_to_fractions(operator: Float64) -> Float64:
    """Round to multiples of 1/24, to remove rounding errors of an inverse."""
    return np.asarray(np.rint(operator * 24) / 24)


def _comes_later(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of a that come after those of b in order of h, k, l."""
    (a_h, a_k, a_l), (b_h, b_k, b_l) = a.T, b.T
    after_k = (a_k > b_k) | ((a_k == b_k) & (a_l > b_l))
    return np.asarray((a_h > b_h) | ((a_h == b_h) & after_k))
