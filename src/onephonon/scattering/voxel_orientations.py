"""Voxels asked for under several ways of indexing, shared so that none is computed twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onephonon.crystal.reindexing import Reindexing

Float64 = NDArray[np.float64]

#: Miller indices closer than this are the same voxel's.
SAME_HKL = 1e-6


@dataclass(frozen=True, eq=False)
class Frame:
    """Voxels of some shape and direction, and what may be asked for in them.

    A voxel is a box along the axes of the data. Averages over a box that is turned otherwise, as
    in a hexagonal cell, are not averages over the box, so turned ones form frames of their own.

    Parameters
    ----------
    turn : ndarray, shape (3, 3)
        On rows of hkl: the model is averaged over ``box @ turn``.
    moves : list of (Reindexing, ndarray)
        Ways of indexing that this frame serves: at ``hkl @ move`` of the data's hkl.
    """

    turn: Float64
    moves: list[tuple[Reindexing, Float64]] = field(default_factory=list)


def find_frames(
    reindexings: Sequence[Reindexing], laue: Float64, step: Sequence[float] | None
) -> list[Frame]:
    """Share the ways of indexing among as few frames as possible.

    ``f_R(hkl)``, the mean of I(x @ R) over the box of hkl, is ``f_T(hkl @ P)`` where
    ``R = P T L`` with L of the Laue group and P such that it takes boxes to boxes.
    """
    frames: list[Frame] = []
    for reindexing in reindexings:
        found = _serve(frames, reindexing, laue, step)
        if not found:
            turn = reindexing.operator
            frames.append(Frame(turn, [(reindexing, np.eye(3))]))
    return frames


def unique_voxels(hkl: Float64, operators: Sequence[Float64]) -> tuple[Float64, NDArray[np.int64]]:
    """One of each set of equivalent hkl, shape (M, 3), and which stands for each, shape (N,)."""
    best = np.rint(hkl / SAME_HKL).astype(np.int64)
    for operator in operators:
        other = np.rint((hkl @ operator) / SAME_HKL).astype(np.int64)
        ahead = _later(other, best)
        best = np.where(ahead[:, None], other, best)
    _, first, back = np.unique(best, axis=0, return_index=True, return_inverse=True)
    return hkl[first], back.reshape(-1)


def alike(frame: Frame, laue: Float64, step: Sequence[float] | None) -> list[Float64]:
    """Operators on rows of hkl that take a frame's voxels to equivalent ones, boxes to boxes."""
    inverse = np.linalg.inv(frame.turn)
    turned = [_tidy(frame.turn @ L @ inverse) for L in laue]
    return [operator for operator in turned if _keeps_box(operator, step)]


def _serve(
    frames: list[Frame], reindexing: Reindexing, laue: Float64, step: Sequence[float] | None
) -> bool:
    """Add a way of indexing to a frame that can serve it, if there is one."""
    for frame in frames:
        for L in laue:
            move = reindexing.operator @ L @ np.linalg.inv(frame.turn)
            if _keeps_box(move, step):
                frame.moves.append((reindexing, _tidy(move)))
                return True
    return False


def _keeps_box(operator: Float64, step: Sequence[float] | None) -> bool:
    """Whether boxes stay boxes along the same axes; points always do."""
    if step is None:
        return True
    extent, size = np.asarray(step), np.abs(operator)
    permutes = ((size > 0.5).sum(axis=0) == 1).all() and ((size > 0.5).sum(axis=1) == 1).all()
    return bool(permutes and np.allclose(extent @ size, extent, rtol=1e-6, atol=0))


def _tidy(operator: Float64) -> Float64:
    """Without the rounding of an inverse: entries are multiples of 1/24."""
    return np.asarray(np.rint(operator * 24) / 24)


def _later(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of a that come after those of b in order of h, k, l."""
    (a_h, a_k, a_l), (b_h, b_k, b_l) = a.T, b.T
    after_k = (a_k > b_k) | ((a_k == b_k) & (a_l > b_l))
    return np.asarray((a_h > b_h) | ((a_h == b_h) & after_k))
