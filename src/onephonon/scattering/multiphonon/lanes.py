"""Compiled loops that arrange the data of several q side by side, in lanes.

Inner loops of the pair sums run over `LANES` q's, so that they become vector instructions. Unused
lanes repeat the last q; their results are not read.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.compiled import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Number of q handled together.
LANES = 8


@compiled
def workspace(moments: Floats, cells: Floats, order: int, tables: Any) -> Any:
    """Arrays for the data of some q's, and for one pair's exponents and coefficients.

    Returns
    -------
    projection, mu, y, phase
        See `load`.
    c, B, e, E, scratch
        See `coefficients.exponent` and `coefficients.fill`.
    """
    top = tables[0]
    n_plane = tables[6][top + 1]
    return (
        np.zeros((tables[8][top + 1], LANES)),
        np.zeros((moments.shape[1], n_plane, 2, LANES)),
        np.zeros((3, 3, LANES)),
        np.zeros((len(cells), 2, LANES)),
        np.zeros((3, 3, LANES)),
        np.zeros((n_plane, LANES)),
        np.zeros((max(order, 0) + 1, LANES)),
        np.zeros((n_plane, n_plane, LANES)),
        np.zeros((6, LANES)),
    )


@compiled
def load(
    begin: int,
    last: int,
    Y: Floats,
    across: Floats,
    hkl: Floats,
    moments: Floats,
    cells: Floats,
    tables: Any,
    y: Floats,
    phase: Floats,
    projection: Floats,
    mu: Floats,
) -> None:
    """Arrange the data of some q's in lanes, and project the moments across q."""
    top = tables[0]
    # Zeros in unused lanes: their results are not read.
    for u in range(LANES):
        at = min(begin + u, last - 1)
        for i in range(3):
            for j in range(3):
                y[i, j, u] = Y[at, i, j]
    _phases(begin, last, hkl, cells, phase)
    _projection(begin, last, across, tables, projection)
    rows, columns, start = tables[6], tables[7], tables[8]
    raw = np.zeros((2, LANES))
    mu[:] = 0.0
    for b in range(moments.shape[1]):
        for d in range(top + 1):
            n_c = columns[d + 1] - columns[d]
            for k in range(n_c):
                for u in range(LANES):
                    at = min(begin + u, last - 1)
                    raw[0, u] = moments[at, b, columns[d] + k, 0]
                    raw[1, u] = moments[at, b, columns[d] + k, 1]
                for i in range(d + 1):
                    s = start[d] + i * n_c + k
                    for u in range(LANES):
                        mu[b, rows[d] + i, 0, u] += projection[s, u] * raw[0, u]
                        mu[b, rows[d] + i, 1, u] += projection[s, u] * raw[1, u]


@compiled
def _phases(begin: int, last: int, hkl: Floats, cells: Floats, phase: Floats) -> None:
    """``exp(2 pi i hkl.R)`` of each cell, as products of powers along the axes."""
    far = int(np.abs(cells).max())
    powers = np.zeros((3, 2 * far + 1, 2, LANES))
    for i in range(3):
        for u in range(LANES):
            h = hkl[min(begin + u, last - 1), i]
            # Whole turns are removed first, for accuracy.
            angle = 2.0 * math.pi * (h - np.rint(h))
            x, z = math.cos(angle), math.sin(angle)
            powers[i, far, 0, u] = 1.0
            for n in range(1, far + 1):
                s, w = powers[i, far + n - 1, 0, u], powers[i, far + n - 1, 1, u]
                powers[i, far + n, 0, u] = s * x - w * z
                powers[i, far + n, 1, u] = s * z + w * x
                powers[i, far - n, 0, u] = powers[i, far + n, 0, u]
                powers[i, far - n, 1, u] = -powers[i, far + n, 1, u]
    for r in range(len(cells)):
        h, k, l = far + int(cells[r, 0]), far + int(cells[r, 1]), far + int(cells[r, 2])  # noqa: E741
        for u in range(LANES):
            x = powers[0, h, 0, u] * powers[1, k, 0, u] - powers[0, h, 1, u] * powers[1, k, 1, u]
            z = powers[0, h, 0, u] * powers[1, k, 1, u] + powers[0, h, 1, u] * powers[1, k, 0, u]
            phase[r, 0, u] = x * powers[2, l, 0, u] - z * powers[2, l, 1, u]
            phase[r, 1, u] = x * powers[2, l, 1, u] + z * powers[2, l, 0, u]


@compiled
def _projection(begin: int, last: int, across: Floats, tables: Any, projection: Floats) -> None:
    """Coefficients of ``(e_1.rho)^m (e_2.rho)^n`` in x, y and z; degree by degree."""
    top, lower_space, columns, start = tables[0], tables[5], tables[7], tables[8]
    axis, parent, rows = tables[2], tables[1], tables[6]
    e = np.zeros((2, 3, LANES))
    for u in range(LANES):
        at = min(begin + u, last - 1)
        for i in range(2):
            for j in range(3):
                e[i, j, u] = across[at, i, j]
    projection[0, :] = 1.0
    for d in range(1, top + 1):
        n_c, n_before = columns[d + 1] - columns[d], columns[d] - columns[d - 1]
        for i in range(d + 1):
            which = axis[rows[d] + i]
            above = start[d - 1] + (parent[rows[d] + i] - rows[d - 1]) * n_before
            for k in range(n_c):
                s = start[d] + i * n_c + k
                projection[s, :] = 0.0
                for j in range(3):
                    l = lower_space[columns[d] + k, j]  # noqa: E741
                    if l >= 0:
                        for u in range(LANES):
                            projection[s, u] += e[which, j, u] * projection[above + l, u]


@compiled
def store(
    begin: int,
    n_here: int,
    projection: Floats,
    g_mu: Floats,
    moments: Floats,
    tables: Any,
    across: Floats,
    g_moments: Floats,
    g_across: Floats,
) -> None:
    """Derivatives by the moments and by the directions across q."""
    top, lower_space, columns, start = tables[0], tables[5], tables[7], tables[8]
    axis, parent, rows = tables[2], tables[1], tables[6]
    g = np.zeros_like(projection)
    raw = np.zeros((2, LANES))
    back = np.zeros((2, LANES))
    for b in range(moments.shape[1]):
        for d in range(top + 1):
            n_c = columns[d + 1] - columns[d]
            for k in range(n_c):
                for u in range(n_here):
                    raw[0, u] = moments[begin + u, b, columns[d] + k, 0]
                    raw[1, u] = moments[begin + u, b, columns[d] + k, 1]
                back[:] = 0.0
                for i in range(d + 1):
                    s = start[d] + i * n_c + k
                    for u in range(LANES):
                        x, z = g_mu[b, rows[d] + i, 0, u], g_mu[b, rows[d] + i, 1, u]
                        back[0, u] += projection[s, u] * x
                        back[1, u] += projection[s, u] * z
                        g[s, u] += x * raw[0, u] + z * raw[1, u]
                for u in range(n_here):
                    g_moments[begin + u, b, columns[d] + k, 0] = back[0, u]
                    g_moments[begin + u, b, columns[d] + k, 1] = back[1, u]
    for d in range(top, 0, -1):
        n_c, n_before = columns[d + 1] - columns[d], columns[d] - columns[d - 1]
        for i in range(d + 1):
            which = axis[rows[d] + i]
            above = start[d - 1] + (parent[rows[d] + i] - rows[d - 1]) * n_before
            for k in range(n_c):
                s = start[d] + i * n_c + k
                for j in range(3):
                    l = lower_space[columns[d] + k, j]  # noqa: E741
                    if l >= 0:
                        for u in range(n_here):
                            g_across[begin + u, which, j] += g[s, u] * projection[above + l, u]
                            g[above + l, u] += g[s, u] * across[begin + u, which, j]
