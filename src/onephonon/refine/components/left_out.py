"""Which voxels are left out of a fit together, and which of them are then predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.crystal import Crystal

from ..voxels import FitVoxels
from .folds import make_folds, spread_over_folds

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Edge of wide blocks, in Miller indices, unless they would be fewer than `MIN_WIDE`.
WIDE, MIN_WIDE = 10, 10

#: Width of the guard around a block, in steps of a reciprocal lattice of the cell's volume.
GUARD = 3.0

#: Maximum number of blocks with a guard that are left out, each by itself: a random selection.
MAX_GUARDED = 64

#: Number of parts in which blocks are left out.
FOLDS = 5


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Parts of the voxels, each left out in turn.

    Parameters
    ----------
    removed : tuple of ndarray of int64
        Voxels that are not fitted, sorted, for each part.
    predicted : tuple of ndarray of int64
        Those of them that are predicted, sorted.
    text : str
    """

    removed: tuple[Index, ...]
    predicted: tuple[Index, ...]
    text: str


def by_number(number: Index, text: str) -> LeftOut:
    """All voxels of the same number are one part."""
    parts = tuple(np.flatnonzero(number == i) for i in np.unique(number))
    return LeftOut(parts, parts, text)


def small_blocks(voxels: FitVoxels, folds: int = FOLDS, seed: int = 0) -> LeftOut:
    """A fifth of the blocks (or halos) that `FitVoxels` defines, at a time.

    Raises
    ------
    InputError
        If there are too few blocks.
    """
    return by_number(make_folds(voxels, folds, seed), "small blocks left out")


def wide_blocks(voxels: FitVoxels, crystal: Crystal, folds: int = FOLDS, seed: int = 0) -> LeftOut:
    """A fifth of wide blocks of hkl at a time; equivalent blocks are one.

    Raises
    ------
    InputError
        If the voxels cover too few blocks.
    """
    laue = crystal.laue_operators.astype(np.float64)
    width = WIDE
    while True:
        block = _equivalent_blocks(voxels.hkl, laue, width)
        if len(np.unique(block)) >= MIN_WIDE or width <= 2:
            break
        width -= 1
    number = spread_over_folds(block, voxels.s, folds, seed)
    return by_number(number, f"blocks of {width}^3 hkl left out")


def guarded_blocks(
    voxels: FitVoxels, crystal: Crystal, guard: float = GUARD, seed: int = 0
) -> LeftOut:
    """One small block at a time, with all voxels, or equivalents, within a guard around it.

    Of many blocks a random selection, since each takes a solution of its own.

    Parameters
    ----------
    voxels : FitVoxels
    crystal : Crystal
    guard : float
        Width, in steps of a cubic reciprocal lattice of the same volume.
    seed : int
        For the selection.
    """
    axes = numpy_cell(crystal.cell.parameters).inverse
    reach = guard * abs(np.linalg.det(axes)) ** (1 / 3)
    laue = crystal.laue_operators.astype(np.float64)
    images = np.concatenate([voxels.hkl @ operator @ axes for operator in laue])
    tree, own = cKDTree(images), voxels.hkl @ axes
    removed, predicted = [], []
    blocks = np.random.default_rng(seed).permutation(np.unique(voxels.orbit))[:MAX_GUARDED]
    for number in blocks:
        inside = np.flatnonzero(voxels.orbit == number)
        near = tree.query_ball_point(own[inside], reach * (1 + 1e-9))
        every = np.unique(np.concatenate([np.asarray(x, dtype=np.int64) for x in near]) % voxels.n)
        removed.append(np.union1d(every, inside))
        predicted.append(inside)
    text = f"small blocks and all voxels within {reach:.2g} 1/Å of them left out"
    return LeftOut(tuple(removed), tuple(predicted), text)


def _equivalent_blocks(hkl: Float64, laue: Float64, width: int) -> Index:
    """Number of each voxel's block; blocks of which one is an equivalent of the other are one."""
    images = np.stack([np.rint(hkl @ operator / width) for operator in laue], axis=1)
    keys = images @ np.array([1e8, 1e4, 1.0])
    return np.unique(keys.min(axis=1), return_inverse=True)[1].reshape(-1).astype(np.int64)
