"""Interpolation in |q|^2: of a few lengths of q, waves of any length follow.

Scattering factors, isotropic Debye-Waller factors and powers of |q| are smooth functions of |q|^2.
At one length they are constants of the atoms, so that pairs of atoms have a Fourier transform.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

#: Nodes beyond which no accuracy is gained in double precision.
MAX_NODES = 40

#: Points at which the interpolation is compared with the function.
TRIALS = 101


def chebyshev_nodes(low: float, high: float, n: int) -> Float64:
    """The n Chebyshev nodes of an interval, shape (n,)."""
    angle = np.pi * (np.arange(n) + 0.5) / n
    return 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angle)


def interpolation(x: Float64, low: float, high: float, n: int) -> Float64:
    """Weights of the values at `chebyshev_nodes` in the interpolation at x, shape (len(x), n)."""
    angle = np.pi * (np.arange(n) + 0.5) / n
    degree = np.arange(n)
    width = high - low
    t = np.clip((2 * x - low - high) / width, -1, 1) if width > 0 else np.zeros_like(x)
    polynomials = np.cos(np.outer(np.arccos(t), degree))
    at_nodes = np.cos(np.outer(degree, angle)) * np.where(degree == 0, 1, 2)[:, None] / n
    return polynomials @ at_nodes


def number_of_nodes(
    function: Callable[[Float64], Float64], low: float, high: float, tolerance: float
) -> int:
    """Number of nodes with which a function is interpolated within a tolerance of its maximum.

    Parameters
    ----------
    function : callable
        Of x (n,), with values (n, m) of m functions.
    low, high : float
    tolerance : float
    """
    x = np.linspace(low, high, TRIALS)
    exact = function(x)
    largest = np.abs(exact).max()
    for n in range(2, MAX_NODES):
        found = interpolation(x, low, high, n) @ function(chebyshev_nodes(low, high, n))
        if np.abs(found - exact).max() <= tolerance * largest:
            return n
    return MAX_NODES
