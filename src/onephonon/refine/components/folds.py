"""Voxels that are held out together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError

from ..voxels import FitVoxels

Index = NDArray[np.int64]

#: Of voxels that are never held out.
NEVER = -1


def make_folds(voxels: FitVoxels, n: int = 5, seed: int = 0) -> Index:
    """Split the voxels into n parts, each held out in turn, shape (N,), from 0.

    Symmetry-equivalent halos, or the voxels in a block of hkl, stay together.

    Raises
    ------
    InputError
        If there are fewer blocks than parts, or fewer than two parts.
    """
    return spread_over_folds(voxels.orbit, voxels.s, n, seed)


def spread_over_folds(block: Index, s: NDArray[np.float64], n: int, seed: int) -> Index:
    """Distribute blocks of voxels over n folds; the fold of each voxel, shape (N,), from 0.

    Neighbours in |q| go to different folds, so that no background has to be extrapolated far.

    Raises
    ------
    InputError
        If there are fewer blocks than folds, or fewer than two folds.
    """
    blocks, number = np.unique(block, return_inverse=True)
    number = number.reshape(-1)
    if not 2 <= n <= len(blocks):
        raise InputError(
            f"{n} folds of {len(blocks)} independent blocks of voxels: give 2 to {len(blocks)}, or "
            "fit a wider range of resolution"
        )
    rng = np.random.default_rng(seed)
    order = np.argsort(np.bincount(number, s) / np.bincount(number), kind="stable")
    fold = np.empty(len(blocks), dtype=np.int64)
    for start in range(0, len(blocks), n):
        some = order[start : start + n]
        fold[some] = rng.permutation(n)[: len(some)]
    return fold[number]


def single_fold(voxels: FitVoxels) -> Index:
    """The voxels of `FitVoxels.held_out` as the only part that is held out, shape (N,)."""
    return np.where(voxels.held_out, 0, NEVER).astype(np.int64)
