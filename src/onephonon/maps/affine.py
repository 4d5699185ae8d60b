"""Mapping of grids onto grids by matrices of Miller indices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.crystal.grid import SAME_POINT, HklGrid

from .diffuse import Array

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IndexMap:
    """Voxel of a source grid for each voxel of a target grid: ``i @ matrix + shift``.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        Whole numbers (int64) if exact, float64 otherwise.
    shift : ndarray, shape (3,)
        Of the same type.
    exact : bool
        Whether every target voxel falls on a point of the source's lattice.
    """

    matrix: NDArray[Any]
    shift: NDArray[Any]
    exact: bool

    def source(self, rows: slice, shape: tuple[int, int, int]) -> list[NDArray[Any]]:
        """Source indices along the three axes for some rows of a target of a given shape.

        The three arrays broadcast to the shape of the rows.
        """
        target = np.ogrid[rows, : shape[1], : shape[2]]
        return [
            sum((x * m for x, m in zip(target, column, strict=True) if m), np.zeros((1, 1, 1), int))
            + shift
            for column, shift in zip(self.matrix.T, self.shift, strict=True)
        ]


def index_map(target: HklGrid, source: HklGrid, operator: NDArray[Any]) -> IndexMap:
    """Map the points ``hkl @ operator`` of a target grid to voxels of the source.

    Parameters
    ----------
    target, source : HklGrid
    operator : ndarray, shape (3, 3)
        On rows of Miller indices.
    """
    steps = np.array(source.step)
    matrix = np.array(target.step)[:, None] * operator / steps
    shift = (np.array(target.origin) @ operator - np.array(source.origin)) / steps
    whole_matrix, whole_shift = np.rint(matrix), np.rint(shift)
    # An error of the matrix accumulates to the far end of the grid.
    error = np.abs(shift - whole_shift) + np.array(target.shape) @ np.abs(matrix - whole_matrix)
    if (error > SAME_POINT).any():
        return IndexMap(matrix, shift, exact=False)
    return IndexMap(whole_matrix.astype(np.int64), whole_shift.astype(np.int64), exact=True)


def pick(values: Array, index: list[NDArray[Any]]) -> Array:
    """Values at whole voxel indices that broadcast together, NaN outside."""
    inside: Any = True
    for i, n in zip(index, values.shape, strict=True):
        inside = inside & (i >= 0) & (i < n)
    i, j, k = (np.clip(i, 0, n - 1) for i, n in zip(index, values.shape, strict=True))
    return np.where(inside, values[i, j, k], values.dtype.type(np.nan))


def enclosing(grid: HklGrid, operators: NDArray[Any], like: HklGrid) -> HklGrid:
    """Grid on another's lattice that contains the images of a grid under operators.

    Parameters
    ----------
    grid : HklGrid
    operators : ndarray, shape (n, 3, 3)
        On rows of Miller indices.
    like : HklGrid
        Gives origin and step of the lattice.
    """
    corners = np.array(list(itertools.product(*zip(grid.origin, grid.end, strict=True))))
    index = like.index_of(corners @ operators).reshape(-1, 3)
    first = np.floor(index.min(axis=0) + SAME_POINT).astype(int)
    last = np.ceil(index.max(axis=0) - SAME_POINT).astype(int)
    origin = np.array(like.origin) + first * np.array(like.step)
    shape = (last - first + 1).tolist()
    return HklGrid(tuple(origin.tolist()), like.step, tuple(shape))
