"""Regular grids of Miller indices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError

Float64 = NDArray[np.float64]

#: Bounds of a user's sampling this close (in Miller indices) to a multiple of the step are rounded
#: to it, so that a bound typed with four decimals (-22.4615 for -292/13) means that fraction.
BOUND_TOLERANCE = 1e-4

#: Largest number of points of a grid that a model is computed on.
MAX_POINTS = 1_000_000_000

#: A step or an origin this close to a simple fraction is rounded to it, so that Bragg points are
#: exact integers.
EXACT = 1e-9

#: Largest denominator of a fraction that a step is rounded to: more samples per Miller index than
#: any map has. A step that is 1/n to the last bit is that fraction for any n.
MAX_DENOMINATOR = 1000

#: Points closer than this, in voxels, are the same: files have four or five decimals.
SAME_POINT = 1e-2

#: Voxels handled at a time: 32 MB in double precision.
SLAB = 4_000_000


@dataclass(frozen=True)
class HklGrid:
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
    within 1e-9 of a multiple of 1/n as that multiple; `axes` are then whole numbers divided by n.
    `check_samplings` makes the grids that models are computed on.
    """

    origin: tuple[float, float, float]
    step: tuple[float, float, float]
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        origin, step = _three_floats("origin", self.origin), _three_floats("step", self.step)
        if min(step) <= 0:
            raise InputError(f"step {step} of a grid must be positive; reverse the axis")
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
    ) -> HklGrid:
        """Grid from (min, max, samples per Miller index) along each axis, both ends included.

        A min within a hundredth of a step of a multiple of the step is rounded to it.

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
    def from_axes(cls, h: ArrayLike, k: ArrayLike, l: ArrayLike) -> HklGrid:  # noqa: E741
        """Grid from the h, k and l values along its axes; an axis of one value gets step 1.

        Values within a hundredth of a step (as in rounded or float32 files) are rounded to the
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
    def from_points(cls, hkl: NDArray[Any], shape: Sequence[int]) -> HklGrid:
        """Grid of a list of hkl (N, 3), l fastest.

        Raises
        ------
        InputError
            If the list does not form a grid of this shape, or as `from_axes`.
        """
        if len(shape) != 3 or math.prod(shape) != len(hkl):
            raise InputError(
                f"map_shape {tuple(shape)} has {math.prod(shape)} points, the list has {len(hkl)}"
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
    def samples(self) -> tuple[int, int, int]:
        """Samples per Miller index along each axis.

        Raises
        ------
        InputError
            If a step is not 1/n with a whole number n.
        """
        n_h, n_k, n_l = (_samples(step) for step in self.step)
        if not (n_h and n_k and n_l):
            raise InputError(
                f"the grid's steps {self.step} are not 1/n with a whole number n of samples per "
                "Miller index; resample to a grid with such steps"
            )
        return n_h, n_k, n_l

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
        h = h[rows]
        hkl = np.empty((len(h), len(k), len(l), 3))
        hkl[..., 0], hkl[..., 1], hkl[..., 2] = h[:, None, None], k[:, None], l
        return hkl.reshape(-1, 3)

    def hkl_of_voxels(self, index: Iterable[NDArray[Any]]) -> Float64:
        """Miller indices of voxels by their whole indices along the three axes, shape (n, 3)."""
        return np.stack([axis[i] for axis, i in zip(self.axes, index, strict=True)], axis=1)

    def slabs(self, voxels: int = SLAB) -> Iterator[slice]:
        """Slices along the first axis of about `voxels` voxels each, and at least one row."""
        rows = max(1, voxels // (self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], rows):
            yield slice(start, min(start + rows, self.shape[0]))

    def index_of(self, hkl: ArrayLike) -> Float64:
        """Voxel indices of Miller indices, not rounded, shape (..., 3)."""
        values_in = np.asarray(hkl, dtype=np.float64)
        return (values_in - np.array(self.origin)) / np.array(self.step)

    def contains(self, hkl: ArrayLike) -> NDArray[np.bool_]:
        """Whether each hkl (..., 3) lies in a voxel; voxels extend half a step to each side."""
        index = self.index_of(hkl)
        inside = (index >= -0.5 - EXACT) & (index <= np.array(self.shape) - 0.5 + EXACT)
        return np.asarray(inside.all(axis=-1))

    def sub(self, slices: tuple[slice, slice, slice]) -> HklGrid:
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
        return HklGrid(origin, step_, shape)

    def matches(self, other: HklGrid) -> bool:
        """Whether two grids have the same points, to a hundredth of a voxel."""
        ends = ((self.origin, other.origin), (self.end, other.end))
        steps = np.array(self.step)
        return self.shape == other.shape and all(
            bool((np.abs(np.subtract(a, b)) <= SAME_POINT * steps).all()) for a, b in ends
        )

    def offset_of(self, other: HklGrid) -> tuple[int, int, int] | None:
        """Voxel of this grid at which voxel (0, 0, 0) of another lies, if their points coincide.

        Returns
        -------
        tuple of three int or None
            It may lie outside this grid. None if the steps differ or the points do not coincide.
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


#: Name of the same class where the grid is that of a map.
MapGrid = HklGrid


def check_samplings(
    hsampling: Sequence[float], ksampling: Sequence[float], lsampling: Sequence[float]
) -> HklGrid:
    """Grid of a user's (min, max, samples per Miller index) along h, k and l.

    The points along an axis are ``min, min + 1/n, ...`` up to and including max; min and max
    may be fractions. A min within 1e-4 of a multiple of 1/n is rounded to it. Stricter than
    `HklGrid.from_sampling`, which serves maps of any step: the zone points of a grid repeat only
    if there is a whole number of samples per Miller index.

    Raises
    ------
    InputError
        If a sampling is not a positive whole number, a bound is not finite, max < min, or there
        are more than 1e9 points.
    """
    values_in = {"hsampling": hsampling, "ksampling": ksampling, "lsampling": lsampling}
    checked = {name: _check_sampling(name, sampling) for name, sampling in values_in.items()}
    lines = [_sampled_line(low, high, n) for low, high, n in checked.values()]
    origin, step, shape = zip(*lines, strict=True)
    total = math.prod(shape)
    if total > MAX_POINTS:
        raise InputError(
            f"hsampling, ksampling and lsampling ask for {total:.3g} points, whose q alone would "
            f"fill {24e-9 * total:.0f} GB; narrow the ranges or sample more coarsely"
        )
    return HklGrid(origin, step, shape)


def _check_sampling(name: str, sampling: Sequence[float]) -> tuple[float, float, int]:
    """(min, max, samples per index) of one axis."""
    try:
        low, high, n = (float(x) for x in sampling)
    except (TypeError, ValueError):
        low = high = n = math.nan
    if not all(math.isfinite(x) for x in (low, high, n)):
        raise InputError(
            f"{name} is (min, max, samples per Miller index), three finite numbers; got {sampling}"
        )
    if n * (high - low) > MAX_POINTS:
        raise InputError(
            f"{name} = ({low:g}, {high:g}, {n:g}) asks for {n * (high - low):.2g} points "
            "along one axis; narrow the range or sample more coarsely"
        )
    if n < 1 or n != round(n):
        raise InputError(
            f"{name} asks for {n:g} samples per Miller index; give a whole number, 1 or more"
        )
    if high < low:
        raise InputError(f"{name} has max {high:g} below min {low:g}; swap them")
    return low, high, int(n)


def _sampled_line(low: float, high: float, n: int) -> tuple[float, float, int]:
    """Origin, step and number of points of one axis of a user's sampling."""
    on_step = round(low * n)
    if abs(low - on_step / n) < BOUND_TOLERANCE:
        return on_step / n, 1 / n, math.floor((high + BOUND_TOLERANCE) * n - on_step) + 1
    return low, 1 / n, math.floor((high - low + BOUND_TOLERANCE) * n) + 1


def _three_floats(name: str, values: Any) -> tuple[float, float, float]:
    try:
        a, b, c = (float(x) for x in values)
    except (TypeError, ValueError):
        a = b = c = math.nan
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        raise InputError(f"{name} {values} of a grid is not three finite numbers")
    return a, b, c


def _samples(step: float) -> int:
    """The n of a step that is 1/n to the last bit; 0 if it is not."""
    n = round(1 / step) if step * MAX_POINTS > 1 else 0
    return n if n and 1 / n == step else 0


def _fraction(step: float, tolerance: float = EXACT) -> Fraction | None:
    """The simple fraction equal to a step, or None."""
    n = _samples(step)
    if n:
        return Fraction(1, n)
    near = Fraction(step).limit_denominator(MAX_DENOMINATOR)
    return near if near > 0 and abs(float(near) - step) <= tolerance else None


def _place(origin: float, step: float) -> tuple[float, float]:
    """Origin and step of one axis, rounded to simple fractions if close."""
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


def _line(name: str, values_in: ArrayLike) -> tuple[float, float, int]:
    """Origin, step and number of the values along one axis."""
    values = np.asarray(values_in, dtype=np.float64).reshape(-1)
    n = len(values)
    if not n or not np.isfinite(values).all():
        raise InputError(f"the {name} values of a grid are not finite numbers")
    if n == 1:
        return float(values[0]), 1.0, 1
    step = float(values[-1] - values[0]) / (n - 1)
    even = values[0] + step * np.arange(n)
    if step <= 0 or (np.abs(values - even) > SAME_POINT * step).any():
        raise InputError(f"the {name} values of a grid do not rise in equal steps")
    # An error of the step accumulates along the axis, one of the origin does not.
    fraction = _fraction(step, SAME_POINT * step / n)
    if fraction is None:
        return float(values[0]), step, n
    on = round(float(values[0]) * fraction.denominator) / fraction.denominator
    close = abs(on - values[0]) <= SAME_POINT * step
    return on if close else float(values[0]), float(fraction), n
