"""Planes through reciprocal space: names and geometry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import numpy_cell

Float64 = NDArray[np.float64]
Triple = tuple[float, float, float]

AXES = "hkl"

#: One of the three places of a plane's name: a letter or a number, with a sign.
_PLACE = re.compile(r"([+-]?)(?:([hkl])|(\d+/\d+|\d*\.?\d+|½))")

_HELP = "use hk0, h0l, hk0.5, hhl, or three triples origin:along:up such as 0,0,0:1,1,0:0,0,1"

#: Indices are written as fractions up to this denominator.
MAX_DENOMINATOR = 24

#: Minimum sine of the angle between two directions that span a plane.
FLAT = 1e-6


@dataclass(frozen=True)
class Plane:
    """A plane of points ``hkl = origin + x along + y up``.

    Create planes with `Plane.named`, `Plane.through` and `Plane.cartesian`.

    Parameters
    ----------
    origin : tuple of three float
        Miller indices of the point x = y = 0.
    along, up : tuple of three float
        Directions drawn to the right and (its perpendicular part) upwards;
        Miller indices per unit of x and y.
    labels : pair of str
        Labels of x and y.
    title : str
        Title of the plane.
    indexed : bool
        Whether x and y are Miller indices; otherwise they are in 1/Å.
    note : str
        Remark for the caption.
    """

    origin: Triple
    along: Triple
    up: Triple
    labels: tuple[str, str]
    title: str
    indexed: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        values = np.array([self.origin, self.along, self.up], dtype=np.float64)
        if values.shape != (3, 3) or not np.isfinite(values).all():
            raise InputError(f"plane {self.title}: origin and directions are three numbers each")
        lengths = np.linalg.norm(values[1:], axis=1)
        normal = np.linalg.norm(np.cross(values[1], values[2]))
        if not normal > FLAT * lengths.prod():
            raise InputError(
                f"directions {_triple(self.along)} and {_triple(self.up)} do not span a plane; "
                "give two that are not parallel"
            )

    @classmethod
    def named(cls, name: str) -> Plane:
        """Plane from its name: two letters for the variable indices, the rest fixed.

        Parameters
        ----------
        name : str
            ``hk0``, ``h0l``, ``1kl``, ``hk0.5``, ``hk1/2``, ``hk-3``, ``hhl``, ``h-hl``, ...; or
            three triples of Miller indices, ``origin:along:up``.

        Raises
        ------
        InputError
            If the name is not that of a plane.
        """
        if ":" in name:
            return cls.through(*_triples(name))
        text = re.sub(r"[\s,()]", "", name.lower())
        places = list(_PLACE.finditer(text))
        if len(places) != 3 or "".join(m[0] for m in places) != text:
            raise InputError(f"plane {name!r} is invalid; {_HELP}")
        letters = list(dict.fromkeys(m[2] for m in places if m[2]))
        if len(letters) != 2:
            raise InputError(f"plane {name!r} must have two variable indices; {_HELP}")
        origin, directions = np.zeros(3), {letter: np.zeros(3) for letter in letters}
        for i, (sign, letter, number) in enumerate(m.groups() for m in places):
            value = -1.0 if sign == "-" else 1.0
            if letter:
                directions[letter][i] = value
            else:
                origin[i] = value * _number(number)
        if any(m[2] and m[2] != axis for m, axis in zip(places, AXES, strict=True)):
            title = "(" + " ".join(m[0].replace("-", "−") for m in places) + ")"
        else:
            fixed = next(i for i, m in enumerate(places) if not m[2])
            title = f"{AXES[fixed]} = {tidy(origin[fixed])}"
        along, up = (_check_triple(directions[letter]) for letter in letters)
        return cls(_check_triple(origin), along, up, (letters[0], letters[1]), title)

    @classmethod
    def normal_to(cls, axis: int, value: float) -> Plane:
        """Plane of one constant index: ``normal_to(2, 0.5)`` is hk0.5."""
        origin = np.zeros(3)
        origin[axis] = value
        across, up = (i for i in range(3) if i != axis)
        unit = np.eye(3)
        return cls(
            _check_triple(origin),
            _check_triple(unit[across]),
            _check_triple(unit[up]),
            (AXES[across], AXES[up]),
            f"{AXES[axis]} = {tidy(value)}",
        )

    @classmethod
    def through(cls, origin: Sequence[float], along: Sequence[float], up: Sequence[float]) -> Plane:
        """Plane through a point and along two directions, all in Miller indices."""
        places = zip(origin, along, up, strict=True)
        title = "(" + ", ".join(_sum(a, (("x", x), ("y", y))) for a, x, y in places) + ")"
        return cls(
            _check_triple(origin), _check_triple(along), _check_triple(up), ("x", "y"), title
        )

    @classmethod
    def cartesian(
        cls,
        origin: ArrayLike,
        along: ArrayLike,
        up: ArrayLike,
        cell: Sequence[float],
    ) -> Plane:
        """Plane through a point and along two directions, all Cartesian.

        Parameters
        ----------
        origin : array, shape (3,)
            A point of the plane, 1/Å, 2*pi included, in the frame of the cell: a along x, b in
            the xy plane.
        along, up : array, shape (3,)
            Directions of any length; of the second, the part perpendicular to the first is used.
        cell : sequence of six float
            a, b, c in Å; alpha, beta, gamma in degrees.

        Raises
        ------
        InputError
            If the directions do not span a plane.
        """
        q, e, f = (np.asarray(v, dtype=np.float64).reshape(-1) for v in (origin, along, up))
        if not all(v.shape == (3,) and np.isfinite(v).all() for v in (q, e, f)):
            raise InputError("origin and directions of a plane are three finite numbers each")
        sine = np.linalg.norm(np.cross(e, f))
        if not sine > FLAT * np.linalg.norm(e) * np.linalg.norm(f):
            raise InputError(f"directions {_triple(e)} and {_triple(f)} do not span a plane")
        e = e / np.linalg.norm(e)
        f = f - (f @ e) * e
        f = f / np.linalg.norm(f)
        to_hkl = numpy_cell(cell).matrix / TWO_PI
        return cls(
            _check_triple(q @ to_hkl),
            _check_triple(e @ to_hkl),
            _check_triple(f @ to_hkl),
            ("u / Å⁻¹", "v / Å⁻¹"),
            f"through q = {_triple(q)}",
            indexed=False,
            note=f"u along {_triple(e.round(3))}, v along {_triple(f.round(3))}, Cartesian",
        )

    @property
    def fixed(self) -> tuple[int, float] | None:
        """The constant index and its value, if x and y are the other two indices; else None."""
        unit = np.eye(3)
        for axis in range(3):
            across, up = (i for i in range(3) if i != axis)
            if np.array_equal(self.along, unit[across]) and np.array_equal(self.up, unit[up]):
                return axis, self.origin[axis]
        return None

    def hkl(self, x: ArrayLike, y: ArrayLike) -> Float64:
        """Miller indices of points of the plane, shape (..., 3)."""
        x, y = (np.asarray(v, dtype=np.float64)[..., None] for v in (x, y))
        return np.array(self.origin) + x * np.array(self.along) + y * np.array(self.up)

    def shear(self, cell: Sequence[float]) -> Float64:
        """Matrix from plane to drawing coordinates: ``(X, Y, 1) = matrix @ (x, y, 1)``.

        X and Y are Cartesian, 1/Å with 2*pi; X is parallel to `along`. Their zero is the point of
        the plane closest to the origin of reciprocal space, the centre of circles of equal
        resolution.

        Returns
        -------
        ndarray, shape (3, 3)
        """
        start, e, f = self._cartesian(cell)
        right = e / np.linalg.norm(e)
        upward = f - (f @ right) * right
        upward = upward / np.linalg.norm(upward)
        rows = [[v @ axis for v in (e, f, start)] for axis in (right, upward)]
        matrix = np.array([*rows, [0.0, 0.0, 1.0]])
        matrix[1, 0] = 0.0
        return matrix

    def _cartesian(self, cell: Sequence[float]) -> Float64:
        """Origin and both directions in rows, Cartesian, 1/Å with 2*pi, shape (3, 3)."""
        in_hkl = np.array([self.origin, self.along, self.up])
        return np.asarray((TWO_PI * in_hkl) @ numpy_cell(cell).inverse)

    def height(self, cell: Sequence[float]) -> float:
        """Distance of the plane from the origin, 1/Å with 2*pi."""
        start, e, f = self._cartesian(cell)
        normal = np.cross(e, f)
        return float(abs(start @ normal) / np.linalg.norm(normal))


def parse_plane(text: str, cell: Sequence[float] | None = None) -> Plane:
    """Plane from a command line: a name, ``origin:along:up``, or ``q=origin:along:up``.

    The last is Cartesian: the origin in 1/Å with 2*pi, and two directions.

    Raises
    ------
    InputError
        If it is invalid, or Cartesian and there is no cell.
    """
    if not text.startswith("q="):
        return Plane.named(text)
    if cell is None:
        raise InputError(f"plane {text!r} is Cartesian, which needs a cell")
    return Plane.cartesian(*_triples(text.removeprefix("q=")), cell)


def _triples(text: str) -> tuple[Triple, Triple, Triple]:
    try:
        origin, along, up = (
            tuple(float(x) for x in part.replace(",", " ").split()) for part in text.split(":")
        )
        if not len(origin) == len(along) == len(up) == 3:
            raise ValueError("not three numbers each")
        if not np.isfinite([origin, along, up]).all():
            raise ValueError("not finite")
    except ValueError as error:
        raise InputError(f"plane {text!r} is invalid ({error}); {_HELP}") from error
    return origin, along, up


def _number(text: str) -> float:
    if text == "½":
        return 0.5
    top, _, bottom = text.partition("/")
    if bottom and not float(bottom):
        raise InputError(f"{text} is not a number")
    return float(top) / float(bottom or 1)


def _check_triple(values: ArrayLike) -> Triple:
    a, b, c = (float(x) for x in np.asarray(values, dtype=np.float64))
    return a, b, c


def tidy(value: float) -> str:
    """Format a Miller index: 0.5, 2, 6/13."""
    text = f"{value + 0.0:.4g}"
    near = Fraction(value).limit_denominator(MAX_DENOMINATOR)
    if abs(float(text) - value) > 1e-9 and abs(float(near) - value) < 1e-9:
        text = str(near)
    return text.replace("-", "−")


def _sum(constant: float, terms: Sequence[tuple[str, float]]) -> str:
    """Format a linear expression: x + 2y − 1/2."""
    parts = [(factor, name) for name, factor in terms if factor]
    parts += [(constant, "")] if constant or not parts else []
    text = ""
    for factor, name in parts:
        size = "" if name and abs(factor) == 1 else tidy(abs(factor))
        sign = "−" if factor < 0 else "+" if text else ""
        text += (f" {sign} " if text else sign) + size + name
    return text


def _triple(values: ArrayLike) -> str:
    return "(" + ", ".join(tidy(float(x)) for x in np.asarray(values).reshape(-1)) + ")"
