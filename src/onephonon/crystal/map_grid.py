"""Regular grids of Miller indices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError

Float64 = NDArray[np.float64]

#: A step or an origin this close to a small fraction is that fraction, so that Bragg points are
#: exact integers.
EXACT = 1e-9

#: Largest denominator of such a fraction: more samples per Miller index than any map has.
LARGEST_DENOMINATOR = 1000

#: Points closer than this, in voxels, are one: coordinates in files have four or five decimals.
SAME_POINT = 1e-2

#: Voxels handled at a time: 32 MB in double precision.
SLAB = 4_000_000


@dataclass(frozen=True)
class MapGrid:
    """A regular grid of Miller indices: ``hkl = origin + index * step``; h slowest, l fastest.

    Parameters
    ----------
    origin : tuple of three float
        hkl of voxel (0, 0, 0), which is the voxel's centre.
    step : tuple of three float
        Miller indices per voxel along h, k and l, positive: 1/13 for 13 voxels per index.
    shape : tuple of three int
        Voxels along h, k and l.

    Raises
    ------
    InputError
        If a number is not finite, a step not positive, or a shape not whole and positive.

    Notes
    -----
    A step within 1e-9 of a fraction p/n (n up to 1000) is taken as that fraction, and an origin
    within 1e-9 of a multiple of 1/n as that multiple; `axes` are then whole numbers over n.
    """

    origin: tuple[float, float, float]
    step: tuple[float, float, float]
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        origin, step = _three_floats("origin", self.origin), _three_floats("step", self.step)
        if min(step) <= 0:
            raise InputError(f"step {step} of a grid must be positive; turn the axis round")
        shape = tuple(self.shape)
        if len(shape) != 3 or any(n != int(n) or n < 1 for n in shape):
            raise InputError(f"shape {shape} of a grid is three whole numbers, each 1 or more")
        placed = [_place(o, s) for o, s in zip(origin, step, strict=True)]
        object.__setattr__(self, "origin", tuple(o for o, _ in placed))
        object.__setattr__(self, "step", tuple(s for _, s in placed))
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))

    @classmethod
    def from_sampling(
        cls,
        h: Sequence[float],
        k: Sequence[float],
        l: Sequence[float],  # noqa: E741
    ) -> MapGrid:
        """Grid from (min, max, samples per Miller index) along each axis, both ends included.

        A min within a hundredth of a step of a multiple of the step is put on it.

        Raises
        ------
        InputError
            If a sampling is not three finite numbers with min <= max and samples > 0.
        """
        origin, step, shape = [], [], []
        for name, sampling in zip("hkl", (h, k, l), strict=True):
            low, high, n = _three_floats(f"sampling of {name}", sampling)
            if high < low or n <= 0:
                raise InputError(
                    f"sampling of {name} {tuple(sampling)} is (min, max, samples per index) with "
                    "min <= max and samples > 0"
                )
            on_step = round(low * n)
            low = on_step / n if abs(low * n - on_step) <= SAME_POINT else low
            origin.append(low)
            step.append(1 / n)
            shape.append(math.floor((high - low) * n + SAME_POINT) + 1)
        return cls(tuple(origin), tuple(step), tuple(shape))  # type: ignore[arg-type]

    @classmethod
    def from_axes(cls, h: ArrayLike, k: ArrayLike, l: ArrayLike) -> MapGrid:  # noqa: E741
        """Grid from the h, k and l values along its axes; an axis of one value gets step 1.

        Values a little off (a hundredth of a step, as in rounded or float32 files) are put on the
        nearest fraction.

        Raises
        ------
        InputError
            If the values of an axis are not finite, or do not rise in equal steps.
        """
        lines = [_line(name, values) for name, values in zip("hkl", (h, k, l), strict=True)]
        origin, step, shape = zip(*lines, strict=True)
        return cls(origin, step, shape)

    @classmethod
    def from_points(cls, hkl: NDArray[Any], shape: Sequence[int]) -> MapGrid:
        """Grid that a list of hkl (N, 3) runs along, l fastest.

        Raises
        ------
        InputError
            If the list does not run along a grid of this shape, or an axis as `from_axes` says.
        """
        if len(shape) != 3 or math.prod(shape) != len(hkl):
            raise InputError(
                f"map_shape {tuple(shape)} stands for {math.prod(shape)} points, the list has "
                f"{len(hkl)}"
            )
        block = np.asarray(hkl).reshape(*shape, 3)
        grid = cls.from_axes(block[:, 0, 0, 0], block[0, :, 0, 1], block[0, 0, :, 2])
        for rows in grid.slabs():
            difference = np.abs(grid.slab_hkl(rows) - block[rows].reshape(-1, 3))
            if not (difference <= SAME_POINT * np.array(grid.step)).all():
                raise InputError(f"hkl do not run along a grid of shape {tuple(shape)}, l fastest")
        return grid

    @property
    def axes(self) -> tuple[Float64, Float64, Float64]:
        """The h, k and l values along the three axes, float64."""
        h, k, l = (  # noqa: E741
            _axis(*line) for line in zip(self.origin, self.step, self.shape, strict=True)
        )
        return h, k, l

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def end(self) -> tuple[float, float, float]:
        """Miller indices of the last voxel."""
        h, k, l = (float(axis[-1]) for axis in self.axes)  # noqa: E741
        return h, k, l

    @property
    def hkl(self) -> Float64:
        """Miller indices of every voxel, flat, shape (size, 3), l fastest; 24 bytes a voxel."""
        return self.slab_hkl(slice(None))

    def slab_hkl(self, rows: slice) -> Float64:
        """Miller indices of the voxels of some rows of the first axis, flat, shape (n, 3)."""
        h, k, l = self.axes  # noqa: E741
        grids = np.meshgrid(h[rows], k, l, indexing="ij")
        return np.stack([axis.reshape(-1) for axis in grids], axis=1)

    def slabs(self, voxels: int = SLAB) -> Iterator[slice]:
        """Slices of the first axis, each of about so many voxels (one row at least)."""
        rows = max(1, voxels // (self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], rows):
            yield slice(start, min(start + rows, self.shape[0]))

    def index_of(self, hkl: ArrayLike) -> Float64:
        """Voxel indices of Miller indices, not rounded, shape (..., 3)."""
        given = np.asarray(hkl, dtype=np.float64)
        return (given - np.array(self.origin)) / np.array(self.step)

    def contains(self, hkl: ArrayLike) -> NDArray[np.bool_]:
        """Tell which hkl (..., 3) lie in a voxel; a voxel reaches half a step to each side."""
        index = self.index_of(hkl)
        inside = (index >= -0.5 - EXACT) & (index <= np.array(self.shape) - 0.5 + EXACT)
        return np.asarray(inside.all(axis=-1))

    def sub(self, slices: tuple[slice, slice, slice]) -> MapGrid:
        """Grid of a block of voxels.

        Raises
        ------
        InputError
            If a slice holds no voxel or runs backwards.
        """
        lines = []
        for name, part, n, axis, step in zip(
            "hkl", slices, self.shape, self.axes, self.step, strict=True
        ):
            taken = range(n)[part]
            if not len(taken) or taken.step < 1:
                raise InputError(f"slice {part} along {name} holds none of the grid's {n} voxels")
            lines.append((float(axis[taken.start]), step * taken.step, len(taken)))
        origin, step_, shape = zip(*lines, strict=True)
        return MapGrid(origin, step_, shape)

    def matches(self, other: MapGrid) -> bool:
        """Whether two grids have the same points, to a hundredth of a voxel."""
        ends = ((self.origin, other.origin), (self.end, other.end))
        steps = np.array(self.step)
        return self.shape == other.shape and all(
            bool((np.abs(np.subtract(a, b)) <= SAME_POINT * steps).all()) for a, b in ends
        )

    def offset_of(self, other: MapGrid) -> tuple[int, int, int] | None:
        """Voxel of this grid at which another's voxel (0, 0, 0) lies, if both share a lattice.

        Returns
        -------
        tuple of three int or None
            May lie outside this grid. None if the steps differ or the points fall between.
        """
        shift = self.index_of(other.origin)
        whole = np.rint(shift)
        stretch = np.abs(np.divide(other.step, self.step) - 1) * np.array(other.shape)
        if (np.abs(shift - whole) > SAME_POINT).any() or (stretch > SAME_POINT).any():
            return None
        return int(whole[0]), int(whole[1]), int(whole[2])

    def __str__(self) -> str:
        parts = (
            f"{name} {low:.6g} to {high:.6g} in {n}"
            for name, low, high, n in zip("hkl", self.origin, self.end, self.shape, strict=True)
        )
        return ", ".join(parts)


def _three_floats(name: str, values: Any) -> tuple[float, float, float]:
    try:
        a, b, c = (float(x) for x in values)
    except (TypeError, ValueError):
        a = b = c = math.nan
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        raise InputError(f"{name} {values} of a grid is not three finite numbers")
    return a, b, c


def _fraction(step: float, tolerance: float = EXACT) -> Fraction | None:
    """The small fraction that a step is, if it is one."""
    near = Fraction(step).limit_denominator(LARGEST_DENOMINATOR)
    return near if near > 0 and abs(float(near) - step) <= tolerance else None


def _place(origin: float, step: float) -> tuple[float, float]:
    """Origin and step of one axis, on the fractions that they are close to."""
    fraction = _fraction(step)
    if fraction is None:
        return origin, step
    on = round(origin * fraction.denominator) / fraction.denominator
    return on if abs(on - origin) <= EXACT else origin, float(fraction)


def _axis(origin: float, step: float, n: int) -> Float64:
    """Values along one axis, exact where origin and step are fractions of one denominator."""
    index = np.arange(n, dtype=np.float64)
    fraction = _fraction(step)
    if fraction is None:
        return origin + index * step
    start = round(origin * fraction.denominator)
    if start / fraction.denominator == origin:
        return (start + index * fraction.numerator) / fraction.denominator
    return origin + index * fraction.numerator / fraction.denominator


def _line(name: str, given: ArrayLike) -> tuple[float, float, int]:
    """Origin, step and number of the values along one axis."""
    values = np.asarray(given, dtype=np.float64).reshape(-1)
    n = len(values)
    if not n or not np.isfinite(values).all():
        raise InputError(f"the {name} values of a grid are not finite numbers")
    if n == 1:
        return float(values[0]), 1.0, 1
    step = float(values[-1] - values[0]) / (n - 1)
    even = values[0] + step * np.arange(n)
    if step <= 0 or (np.abs(values - even) > SAME_POINT * step).any():
        raise InputError(f"the {name} values of a grid do not rise in equal steps")
    # An error of the step adds up along the axis, one of the origin does not.
    fraction = _fraction(step, SAME_POINT * step / n)
    if fraction is None:
        return float(values[0]), step, n
    on = round(float(values[0]) * fraction.denominator) / fraction.denominator
    close = abs(on - values[0]) <= SAME_POINT * step
    return on if close else float(values[0]), float(fraction), n
