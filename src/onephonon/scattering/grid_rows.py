"""A regular grid of hkl divided into rows that share zone points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid

from .points import SAME_RESOLUTION

Region = tuple[slice, slice, slice]

WHOLE: Region = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class GridRows:
    """The rows of a grid along its first axis, and which of their points are valid.

    Points that share a zone point differ by whole Miller indices, so along each axis the points
    of one residue class are computed together.

    Parameters
    ----------
    grid : HklGrid
    cell : UnitCell
    res_limit : float
        Points of smaller d (Å) are not valid.
    bragg_tolerance : float, optional
        See `is_bragg`.
    region : tuple of three slice
        The part of the grid to compute, in steps of one.
    """

    grid: HklGrid
    cell: UnitCell
    res_limit: float = 0.0
    bragg_tolerance: float | None = None
    region: Region = WHOLE

    @cached_property
    def axes(self) -> tuple[Tensor, ...]:
        """The grid's h, k and l values as tensors, float64."""
        return tuple(torch.from_numpy(axis) for axis in self.grid.axes)

    @property
    def q_max(self) -> float:
        """Largest |q| that can be valid, 1/Å."""
        if self.res_limit == 0:
            return math.inf
        return TWO_PI / self.res_limit * (1 + 2 * SAME_RESOLUTION)

    def largest_q(self) -> float:
        """Largest |q| of the grid within the resolution limit, 1/Å."""
        ends = torch.cartesian_prod(*(torch.from_numpy(axis[[0, -1]]) for axis in self.grid.axes))
        corners = UnitCell(self.cell.matrix.detach()).q_from_hkl(ends.to(self.cell.matrix))
        return min(self.q_max, float(torch.linalg.vector_norm(corners, dim=1).max()))

    def blocks(self, n_rows: int) -> list[slice]:
        """Blocks of at most `n_rows` rows, each of one residue class of h."""
        first, last, _ = self.region[0].indices(self.grid.shape[0])
        n = self.grid.samples[0]
        found = []
        for start in range(first, min(first + n, last)):
            rows = range(start, last, n)
            for i in range(0, len(rows), n_rows):
                part = rows[i : i + n_rows]
                found.append(slice(part[0], part[-1] + 1, n))
        return found

    def range_along_l(self, h: Tensor, k: Tensor) -> tuple[int, int]:
        """Range of indices along l that may be within q_max; starts at a whole period.

        Parameters
        ----------
        h, k : Tensor
            Values along the first two axes.
        """
        axis, n = self.axes[2], self.grid.samples[2]
        first, last, _ = self.region[2].indices(len(axis))
        if self.q_max == math.inf:
            return first, last
        reciprocal = TWO_PI * self.cell.inverse.detach().to(torch.float64)
        hk = torch.cartesian_prod(h, k).reshape(-1, 2).to(reciprocal)
        p = hk @ reciprocal[:2]
        c = reciprocal[2]
        along = (p @ c) / (c @ c)
        height = self.q_max**2 - (p * p).sum(1) + along**2 * (c @ c)
        inside = height >= 0
        if not bool(inside.any()):
            return first, first
        half = torch.sqrt(height[inside] / (c @ c))
        low, high = float((-along[inside] - half).min()), float((-along[inside] + half).max())
        begin = int(torch.searchsorted(axis, low - 1e-9))
        end = int(torch.searchsorted(axis, high + 1e-9, right=True))
        begin = first + (max(first, begin) - first) // n * n
        return begin, max(begin, min(last, end))
