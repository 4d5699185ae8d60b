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
    orbits, number = np.unique(voxels.orbit, return_inverse=True)
    number = number.reshape(-1)
    if not 2 <= n <= len(orbits):
        raise InputError(
            f"{n} folds of {len(orbits)} independent blocks of voxels: give 2 to {len(orbits)}"
        )
    rng = np.random.default_rng(seed)
    # Neighbours in |q| go to different folds, so that no background has to be extrapolated far.
    order = np.argsort(np.bincount(number, voxels.s) / np.bincount(number), kind="stable")
    fold = np.empty(len(orbits), dtype=np.int64)
    for start in range(0, len(orbits), n):
        some = order[start : start + n]
        fold[some] = rng.permutation(n)[: len(some)]
    return fold[number]


def single_fold(voxels: FitVoxels) -> Index:
    """The voxels of `FitVoxels.held_out` as the only part that is held out, shape (N,)."""
    return np.where(voxels.held_out, 0, NEVER).astype(np.int64)
