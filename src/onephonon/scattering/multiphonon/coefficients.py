"""Compiled loops for the coefficients of a pair's series, and their derivatives.

The exponent of a pair is ``x = (1, rho_j)^T c (1, rho_k)``, where rho_j are the two components of
an atom's position in its body across q. The coefficients of ``exp(x)`` in powers of rho_j and rho_k
follow from each other: the derivative of the first n orders by a component of rho_j is
``(a_i + sum_j c_ij rho_kj)`` times the first n - 1 orders, with ``a_i = c_i0``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onephonon.core.compiled import compiled

from .lanes import LANES, Floats


@compiled
def n_chains(order: int, degree: int) -> int:
    """Number of recursions: one for all orders, one for each degree of rho_j for the first n."""
    return 1 if order < 0 else min(order, degree) + 1


@compiled
def chain_of(order: int, degree: int, chain: int) -> tuple[int, int, int]:
    """Degrees of rho_j that a recursion is used for, and the order at which it starts."""
    if order < 0:
        return 0, degree, -1
    return chain, chain, order - chain


@compiled
def exponent(block: Floats, y: Floats, degree: int, scratch: Floats, c: Floats) -> None:
    """``c_mn = y_m^T C y_n``: translations with m = 0, librations with m = 1, 2 if needed."""
    n = 3 if degree else 1
    for k in range(n):
        column = 3 if k else 0
        for i in range(6 if degree else 3):
            for u in range(LANES):
                scratch[i, u] = (
                    block[i, column] * y[k, 0, u]
                    + block[i, column + 1] * y[k, 1, u]
                    + block[i, column + 2] * y[k, 2, u]
                )
        for m in range(n):
            row = 3 if m else 0
            for u in range(LANES):
                c[m, k, u] = (
                    scratch[row, u] * y[m, 0, u]
                    + scratch[row + 1, u] * y[m, 1, u]
                    + scratch[row + 2, u] * y[m, 2, u]
                )


@compiled
def exponent_backward(
    block: Floats, y: Floats, degree: int, g_c: Floats, g_y: Floats, g_block: Floats
) -> None:
    """Derivatives of `_exponent`."""
    n = 3 if degree else 1
    for m in range(n):
        for k in range(n):
            for i in range(3):
                for j in range(3):
                    row, column = i + (3 if m else 0), j + (3 if k else 0)
                    value, total = block[row, column], 0.0
                    for u in range(LANES):
                        g = g_c[m, k, u]
                        total += g * y[m, i, u] * y[k, j, u]
                        g_y[m, i, u] += g * value * y[k, j, u]
                        g_y[k, j, u] += g * value * y[m, i, u]
                    g_block[row, column] += total


@compiled
def fill(
    c: Floats, high: int, degree: int, base: int, tables: Any, B: Floats, e: Floats, E: Floats
) -> None:
    """Coefficients of the sum of the first orders, for rho_j up to degree `high`.

    The row of degree d has the orders up to ``base + d``; all of them if `base` is negative.
    """
    parent, axis, power, lower, rows = tables[1], tables[2], tables[3], tables[4], tables[6]
    columns = rows[degree + 1]
    _exponentials(c, base, e)
    B[0, :] = 1.0
    for j in range(1, columns):
        x, n, above = axis[j], 1.0 / power[j], parent[j]
        for u in range(LANES):
            B[j, u] = n * c[0, 1 + x, u] * B[above, u]
    for d in range(degree + 1):
        for j in range(rows[d], rows[d + 1]):
            if base < 0:
                for u in range(LANES):
                    E[0, j, u] = B[j, u] * e[0, u]
            elif base >= d:
                for u in range(LANES):
                    E[0, j, u] = B[j, u] * e[base - d, u]
            else:
                E[0, j, :] = 0.0
    for i in range(1, rows[high + 1]):
        above, x, n = parent[i], 1 + axis[i], 1.0 / power[i]
        for j in range(columns):
            for u in range(LANES):
                E[i, j, u] = n * c[x, 0, u] * E[above, j, u]
            for k in range(2):
                left = lower[j, k]
                if left >= 0:
                    for u in range(LANES):
                        E[i, j, u] += n * c[x, 1 + k, u] * E[above, left, u]


@compiled
def _exponentials(c: Floats, base: int, e: Floats) -> None:
    """The exponential of the translations' part, or its first 0, 1, ..., `base` orders."""
    if base < 0:
        for u in range(LANES):
            e[0, u] = math.exp(c[0, 0, u])
        return
    term = np.ones(LANES)
    e[0, :] = 1.0
    for k in range(1, base + 1):
        for u in range(LANES):
            term[u] *= c[0, 0, u] / k
            e[k, u] = e[k - 1, u] + term[u]


@compiled
def fill_backward(
    c: Floats,
    high: int,
    degree: int,
    base: int,
    tables: Any,
    B: Floats,
    e: Floats,
    E: Floats,
    g_c: Floats,
    g_B: Floats,
    g_E: Floats,
) -> None:
    """Derivatives of `_fill`."""
    parent, axis, power, lower, rows = tables[1], tables[2], tables[3], tables[4], tables[6]
    columns = rows[degree + 1]
    for i in range(rows[high + 1] - 1, 0, -1):
        above, x, n = parent[i], 1 + axis[i], 1.0 / power[i]
        for j in range(columns):
            for u in range(LANES):
                g = n * g_E[i, j, u]
                g_c[x, 0, u] += g * E[above, j, u]
                g_E[above, j, u] += g * c[x, 0, u]
            for k in range(2):
                left = lower[j, k]
                if left >= 0:
                    for u in range(LANES):
                        g = n * g_E[i, j, u]
                        g_c[x, 1 + k, u] += g * E[above, left, u]
                        g_E[above, left, u] += g * c[x, 1 + k, u]
    for d in range(degree + 1):
        for j in range(rows[d], rows[d + 1]):
            if base < 0:
                for u in range(LANES):
                    g_B[j, u] = g_E[0, j, u] * e[0, u]
                    g_c[0, 0, u] += g_E[0, j, u] * E[0, j, u]
            elif base >= d:
                for u in range(LANES):
                    g_B[j, u] = g_E[0, j, u] * e[base - d, u]
                if base > d:
                    for u in range(LANES):
                        g_c[0, 0, u] += g_E[0, j, u] * B[j, u] * e[base - d - 1, u]
            else:
                g_B[j, :] = 0.0
    for j in range(columns - 1, 0, -1):
        x, n, above = axis[j], 1.0 / power[j], parent[j]
        for u in range(LANES):
            g_c[0, 1 + x, u] += n * g_B[j, u] * B[above, u]
            g_B[above, u] += n * g_B[j, u] * c[0, 1 + x, u]
