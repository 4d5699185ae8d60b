"""Index tables of monomials of two and of three variables, for the series over moments.

Monomials of two variables ``x^m y^n`` are numbered by degree d = m + n, then by n:
``d (d + 1)/2 + n``. Those of three, ``x^a y^b z^c``, as `monomials` numbers them: by degree, then
by descending a and b.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """Tables for monomials up to one degree.

    Parameters
    ----------
    degree : int
    parent, axis, power : ndarray, shape (n_plane,), int64
        Of each monomial of two variables except the first: the one that `axis` (x, else y)
        multiplies to give it, and the power of that variable.
    lower : ndarray, shape (n_plane, 2), int64
        Number of the monomial divided by x and by y; -1 if it does not contain the variable.
    lower_space : ndarray, shape (n_space, 3), int64
        The same of three variables, counted from the first of the next lower degree.
    rows : ndarray, shape (degree + 2,), int64
        First monomial of two variables of each degree.
    columns : ndarray, shape (degree + 2,), int64
        First monomial of three variables of each degree.
    start : ndarray, shape (degree + 2,), int64
        First element of each degree's matrix from three variables to two, row after row.
    """

    degree: int
    parent: Integers
    axis: Integers
    power: Integers
    lower: Integers
    lower_space: Integers
    rows: Integers
    columns: Integers
    start: Integers


@lru_cache
def tables(degree: int) -> Tables:
    """Tables for monomials up to a degree."""
    plane = [(d - n, n) for d in range(degree + 1) for n in range(d + 1)]
    number = {powers: i for i, powers in enumerate(plane)}
    parent, axis, power, lower = [], [], [], []
    for m, n in plane:
        of_x, of_y = number.get((m - 1, n), -1), number.get((m, n - 1), -1)
        lower.append((of_x, of_y))
        axis.append(0 if m else 1)
        parent.append(of_x if m else of_y)
        power.append(m or n)
    space = [
        (a, b, d - a - b)
        for d in range(degree + 1)
        for a in range(d, -1, -1)
        for b in range(d - a, -1, -1)
    ]
    first = [d * (d + 1) * (d + 2) // 6 for d in range(degree + 2)]
    index = {powers: i - first[sum(powers)] for i, powers in enumerate(space)}
    lower_space = [
        (
            index.get((a - 1, b, c), -1),
            index.get((a, b - 1, c), -1),
            index.get((a, b, c - 1), -1),
        )
        for a, b, c in space
    ]
    sizes = [(d + 1) * (first[d + 1] - first[d]) for d in range(degree + 1)]
    return Tables(
        degree,
        _integers(parent),
        _integers(axis),
        _integers(power),
        _integers(lower),
        _integers(lower_space),
        _integers([d * (d + 1) // 2 for d in range(degree + 2)]),
        _integers(first),
        _integers([0, *np.cumsum(sizes)]),
    )


def _integers(values: object) -> Integers:
    return np.asarray(values, dtype=np.int64)
