"""The diffuse Patterson map (3D-delta-PDF): the Fourier transform of a map of diffuse scattering.

``P(r) = integral I(s) exp(2 pi i s.r) d^3s`` over reciprocal space, s = q/2 pi. It is the
autocorrelation of the deviations of the electron density from its average: positive where atoms
that are r apart are together more often, or move together more, than the average structure says,
negative where less. (Weber & Simonov, Z. Kristallogr. 227, 238 (2012).)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.cell import lengths_on_grid, numpy_cell
from onephonon.crystal.grid import HklGrid

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PattersonMap:
    """A diffuse Patterson map on a grid along the axes of the cell, the origin in its middle.

    Parameters
    ----------
    values : ndarray, shape (n_1, n_2, n_3)
        Point (i, j, k) is at ``(i - n_1//2) / n_1 * periods[0]`` cells along a, and so on. In
        intensity units per Å^3.
    periods : tuple of three float
        Cells after which the map repeats, along each axis: the samples per Miller index of the
        map it comes from. Nothing is known of longer distances.
    cell : tuple of six float
        Å and degrees.
    grid : HklGrid
        Of the map of intensity that it comes from, averaged over symmetry.
    units : str
    history : tuple of str
    """

    values: Float64
    periods: tuple[float, float, float]
    cell: tuple[float, ...]
    grid: HklGrid
    units: str = ""
    history: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[Float64, Float64, Float64]:
        """Fractional coordinates along each axis, in cells, zero in the middle."""
        x, y, z = (
            (np.arange(n) - n // 2) / n * period
            for n, period in zip(self.values.shape, self.periods, strict=True)
        )
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances of points along the axes, Å."""
        a, b, c = (
            float(length) * period / n
            for length, period, n in zip(self.cell, self.periods, self.values.shape, strict=False)
        )
        return a, b, c

    @property
    def r_max(self) -> float:
        """Radius of the largest sphere about the origin within one period, Å."""
        inverse = np.linalg.inv(self._matrix())
        widths = np.array(self.periods) / np.linalg.norm(inverse, axis=1)
        return float(0.5 * widths.min())

    def _matrix(self) -> Float64:
        return np.asarray(numpy_cell(self.cell).matrix, dtype=np.float64)

    def distances(self) -> Float64:
        """|r| of every point, Å, shape of `values`."""
        return lengths_on_grid(self._matrix(), *self.axes)

    def within(self, r_min: float = 0.0, r_max: float = math.inf) -> PattersonMap:
        """The same with zero at distances outside a range, Å: r_min <= |r| < r_max."""
        if not 0 <= r_min < r_max:
            raise InputError(
                f"r_min {r_min:g} and r_max {r_max:g}: give lengths in Å, r_min < r_max"
            )
        r = self.distances()
        kept = np.where((r >= r_min) & (r < r_max), self.values, 0.0)
        step = f"|r| from {r_min:g} to {r_max:g} Å"
        return replace(self, values=kept, history=(*self.history, step))

    def matches(self, other: PattersonMap) -> bool:
        """Whether two maps have the same points."""
        return self.values.shape == other.values.shape and np.allclose(self.periods, other.periods)
