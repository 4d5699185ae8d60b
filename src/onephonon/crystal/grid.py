"""Regular grids of Miller indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.tensors import first_of_each

from .zone import ZONE_TOLERANCE, ZonePoints, fold

#: Grid bounds this close (in Miller indices) to a multiple of the step are put on it, so that
#: a bound typed with four decimals (-22.4615 for -292/13) means the fraction it stands for.
BOUND_TOLERANCE = 1e-4


#: Largest number of points of a grid.
MAX_POINTS = 1_000_000_000


@dataclass(frozen=True)
class HklGrid:
    """A regular grid in reciprocal space, h slowest and l fastest.

    Parameters
    ----------
    axes : tuple of three Tensor
        The h, k and l values, float64.
    samples : tuple of three int
        Samples per Miller index along each axis.
    """

    axes: tuple[Tensor, Tensor, Tensor]
    samples: tuple[int, int, int]

    @classmethod
    def from_sampling(
        cls,
        hsampling: Sequence[float],
        ksampling: Sequence[float],
        lsampling: Sequence[float],
    ) -> HklGrid:
        """Grid from (min, max, samples per Miller index) along h, k and l.

        The points along an axis are ``min, min + 1/n, ...`` up to and including max; min and max
        may be fractions. A min within 1e-4 of a multiple of 1/n is put on it.

        Raises
        ------
        InputError
            If a sampling is not a positive whole number, a bound is not finite, or max < min.
        """
        given = (("hsampling", hsampling), ("ksampling", ksampling), ("lsampling", lsampling))
        named = [(name, _three_numbers(name, sampling)) for name, sampling in given]
        for name, (low, high, n) in named:
            if n * (high - low) > MAX_POINTS:
                raise InputError(
                    f"{name} = ({low:g}, {high:g}, {n:g}) asks for {n * (high - low):.2g} points "
                    "along one axis; narrow the range or sample more coarsely"
                )
        axes, samples = zip(*(_grid_axis(name, s) for name, s in named), strict=True)
        total = math.prod(len(axis) for axis in axes)
        if total > MAX_POINTS:
            raise InputError(
                f"the three samplings ask for {total:.3g} points, whose q alone would fill "
                f"{24e-9 * total:.0f} GB; narrow the ranges or sample more coarsely"
            )
        return cls(axes, samples)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of points along h, k and l."""
        h, k, l = self.axes  # noqa: E741
        return (len(h), len(k), len(l))

    @property
    def hkl(self) -> Tensor:
        """Miller indices of every point, flat, shape (n_h n_k n_l, 3), float64."""
        return torch.cartesian_prod(*self.axes).reshape(-1, 3)

    def zone_points(self) -> ZonePoints:
        """Distinct wavevectors of the grid: those of each axis, combined."""
        values, index = zip(*(_fold_axis(axis) for axis in self.axes), strict=True)
        k_frac = torch.cartesian_prod(*values).reshape(-1, 3)
        i, j, l = index  # noqa: E741
        n_k, n_l = len(values[1]), len(values[2])
        combined = (i[:, None, None] * n_k + j[None, :, None]) * n_l + l
        return ZonePoints(k_frac, combined.reshape(-1))


def _fold_axis(axis: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct folded values along one axis, and which of them each point has."""
    n = round(1.0 / ZONE_TOLERANCE[axis.dtype])
    keys = torch.round(axis * n).to(torch.int64).remainder(n)
    unique, index = torch.unique(keys, return_inverse=True)
    first = first_of_each(index, len(unique))
    return fold(axis[first]), index


def _three_numbers(name: str, sampling: Sequence[float]) -> tuple[float, float, float]:
    """(min, max, samples per index), finite."""
    try:
        low, high, n = (float(x) for x in sampling)
    except (TypeError, ValueError):
        low = high = n = math.nan
    if not all(math.isfinite(x) for x in (low, high, n)):
        raise InputError(
            f"{name} is (min, max, samples per Miller index), three finite numbers; got {sampling}"
        )
    return low, high, n


def _grid_axis(name: str, sampling: tuple[float, float, float]) -> tuple[Tensor, int]:
    """Points along one axis and the samples per index."""
    low, high, n = sampling
    if n < 1 or n != round(n):
        raise InputError(
            f"{name} asks for {n:g} samples per Miller index; give a whole number, 1 or more"
        )
    if high < low:
        raise InputError(f"{name} has max {high:g} below min {low:g}; swap them")
    on_step = round(low * n)
    if abs(low - on_step / n) < BOUND_TOLERANCE:
        count = math.floor((high + BOUND_TOLERANCE) * n - on_step) + 1
        return (on_step + torch.arange(count, dtype=torch.float64)) / n, int(n)
    count = math.floor((high - low + BOUND_TOLERANCE) * n) + 1
    return low + torch.arange(count, dtype=torch.float64) / n, int(n)
