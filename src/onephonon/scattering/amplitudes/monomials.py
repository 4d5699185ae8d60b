"""Monomials of the atoms' offsets, the weights in the moments of a body."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.network.bodies import Bodies


@lru_cache
def exponents(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents (a, b, c) of all monomials ``x^a y^b z^c`` up to a degree, in their order.

    By total degree; within a degree a descends first, then b: 1; x, y, z; xx, xy, xz, yy, yz, zz;
    and so on. The monomials of a smaller degree come first.

    Parameters
    ----------
    degree : int
        Largest a + b + c.

    Returns
    -------
    tuple of three int, length ``n_monomials(degree)``
    """
    return tuple(
        (a, b, total - a - b)
        for total in range(degree + 1)
        for a in range(total, -1, -1)
        for b in range(total - a, -1, -1)
    )


def n_monomials(degree: int) -> int:
    """Number of monomials up to a degree, ``(M + 1)(M + 2)(M + 3)/6``."""
    return math.comb(degree + 3, 3)


def monomials(x: Tensor, degree: int) -> Tensor:
    """All monomials of the coordinates of points, in the order of `exponents`.

    Parameters
    ----------
    x : Tensor, shape (n, 3)
        In units that make its components about 1, so that high powers stay comparable.
    degree : int

    Returns
    -------
    Tensor, shape (n, n_monomials(degree))
        Differentiable to any order, also at zero.
    """
    powers = [torch.ones_like(x)]
    for _ in range(degree):
        powers.append(powers[-1] * x)
    a, b, c = torch.tensor(exponents(degree), device=x.device).unbind(1)
    X, Y, Z = torch.stack(powers, dim=1).unbind(2)
    return X[:, a] * Y[:, b] * Z[:, c]


def amplitude_degree(bodies: Bodies) -> int:
    """Degree of the moments that amplitudes need: 0 if no body has a libration, else 1."""
    return 0 if bodies.width == 3 else 1


def check_moments(degree: int, length: float) -> None:
    """Raise `InputError` for moments that are not defined."""
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise InputError(
            f"degree={degree!r}: moments have a degree of 0 (the waves alone), 1, 2, ..."
        )
    if not (math.isfinite(length) and length > 0):
        raise InputError(
            f"length={length!r}: offsets are divided by a positive length in Å; give about the "
            "radius of a body, or 1.0"
        )
