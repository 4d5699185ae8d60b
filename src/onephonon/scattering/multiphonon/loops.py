"""The compiled loops of the pair sums, for several q at a time.

For each pair of bodies the exponent is ``x = (1, rho_j)^T c (1, rho_k)``, where rho_j are the two
components of an atom's position in its body across q, and the coefficients of ``exp(x)`` in powers
of rho_j and rho_k follow from each other: the derivative of the first n orders by a component of
rho_j is ``(a_i + sum_j c_ij rho_kj)`` times the first n - 1 orders, with ``a_i = c_i0``. They are
contracted with the moments of the two bodies. Inner loops run over `LANES` q's, so that they become
vector instructions.
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

#: Numbers of the products of 1, x and y among the monomials of x and y.
_SQUARES = ((0, 1, 2), (1, 3, 4), (2, 4, 5))


@compiled
def sum_pairs(
    first: int,
    last: int,
    out: Floats,
    Y: Floats,
    across: Floats,
    hkl: Floats,
    moments: Floats,
    pairs: Integers,
    cells: Floats,
    weight: Floats,
    blocks: Floats,
    degrees: Integers,
    order: int,
    tables: Any,
) -> None:
    """Add the pairs' sums for q number `first` to `last`; see `pair_sums.pair_sums`."""
    top = tables[0]
    n_b, n_plane = moments.shape[1], tables[6][top + 1]
    projection = np.zeros((tables[8][top + 1], LANES))
    mu = np.zeros((n_b, n_plane, 2, LANES))
    y = np.zeros((3, 3, LANES))
    phase = np.zeros((len(cells), 2, LANES))
    c = np.zeros((3, 3, LANES))
    E = np.zeros((n_plane, n_plane, LANES))
    B = np.zeros((n_plane, LANES))
    e = np.zeros((max(order, 0) + 1, LANES))
    v = np.zeros((2, LANES))
    re, im, total = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    scratch = np.zeros((6, LANES))
    for begin in range(first, last, LANES):
        _load(begin, last, Y, across, hkl, moments, cells, tables, y, phase, projection, mu)
        total[:] = 0.0
        for p in range(len(pairs)):
            if degrees[p] < 0:
                continue
            a, b, r = pairs[p]
            degree = degrees[p]
            _exponent(blocks[p], y, degree, scratch, c)
            if order == 2 and degree == 2:
                _second_order(c, mu[a], mu[b], scratch, re, im)
                for u in range(LANES):
                    total[u] += weight[p] * (phase[r, 0, u] * re[u] - phase[r, 1, u] * im[u])
                continue
            re[:] = 0.0
            im[:] = 0.0
            for chain in range(_n_chains(order, degree)):
                low, high, base = _chain(order, degree, chain)
                _fill(c, high, degree, base, tables, B, e, E)
                columns = tables[6][degree + 1]
                for i in range(tables[6][low], tables[6][high + 1]):
                    v[:] = 0.0
                    for j in range(columns):
                        for u in range(LANES):
                            v[0, u] += E[i, j, u] * mu[b, j, 0, u]
                            v[1, u] += E[i, j, u] * mu[b, j, 1, u]
                    for u in range(LANES):
                        re[u] += mu[a, i, 0, u] * v[0, u] + mu[a, i, 1, u] * v[1, u]
                        im[u] += mu[a, i, 0, u] * v[1, u] - mu[a, i, 1, u] * v[0, u]
            # Without the terms of order 0 and 1.
            few = 3 if degree else 1
            for i in range(few):
                for j in range(few):
                    for u in range(LANES):
                        k = c[i, j, u] + (1.0 if i + j == 0 else 0.0)
                        re[u] -= k * (
                            mu[a, i, 0, u] * mu[b, j, 0, u] + mu[a, i, 1, u] * mu[b, j, 1, u]
                        )
                        im[u] -= k * (
                            mu[a, i, 0, u] * mu[b, j, 1, u] - mu[a, i, 1, u] * mu[b, j, 0, u]
                        )
            for u in range(LANES):
                total[u] += weight[p] * (phase[r, 0, u] * re[u] - phase[r, 1, u] * im[u])
        for u in range(min(LANES, last - begin)):
            out[begin + u] = total[u]


@compiled
def sum_pairs_backward(
    first: int,
    last: int,
    grad: Floats,
    g_Y: Floats,
    g_across: Floats,
    g_hkl: Floats,
    g_moments: Floats,
    g_blocks: Floats,
    Y: Floats,
    across: Floats,
    hkl: Floats,
    moments: Floats,
    pairs: Integers,
    cells: Floats,
    weight: Floats,
    blocks: Floats,
    degrees: Integers,
    order: int,
    tables: Any,
) -> None:
    """Derivatives of `sum_pairs`, weighted by `grad` and summed over q for the blocks."""
    top = tables[0]
    n_b, n_plane = moments.shape[1], tables[6][top + 1]
    projection = np.zeros((tables[8][top + 1], LANES))
    mu = np.zeros((n_b, n_plane, 2, LANES))
    g_mu = np.zeros((n_b, n_plane, 2, LANES))
    y = np.zeros((3, 3, LANES))
    g_y = np.zeros((3, 3, LANES))
    phase = np.zeros((len(cells), 2, LANES))
    c = np.zeros((3, 3, LANES))
    g_c = np.zeros((3, 3, LANES))
    E = np.zeros((n_plane, n_plane, LANES))
    g_E = np.zeros((n_plane, n_plane, LANES))
    B = np.zeros((n_plane, LANES))
    g_B = np.zeros((n_plane, LANES))
    e = np.zeros((max(order, 0) + 1, LANES))
    v = np.zeros((2, LANES))
    g_re = np.zeros(LANES)
    g_im = np.zeros(LANES)
    re, im, along = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    scratch = np.zeros((6, LANES))
    g_hkl_here = np.zeros((3, LANES))
    for begin in range(first, last, LANES):
        _load(begin, last, Y, across, hkl, moments, cells, tables, y, phase, projection, mu)
        g_mu[:] = 0.0
        g_y[:] = 0.0
        g_hkl_here[:] = 0.0
        n_here = min(LANES, last - begin)
        for p in range(len(pairs)):
            if degrees[p] < 0:
                continue
            a, b, r = pairs[p]
            degree = degrees[p]
            _exponent(blocks[p], y, degree, scratch, c)
            g_c[:] = 0.0
            re[:] = 0.0
            im[:] = 0.0
            for u in range(LANES):
                here = grad[begin + u] * weight[p] if u < n_here else 0.0
                g_re[u] = here * phase[r, 0, u]
                g_im[u] = -here * phase[r, 1, u]
            for chain in range(_n_chains(order, degree)):
                low, high, base = _chain(order, degree, chain)
                _fill(c, high, degree, base, tables, B, e, E)
                columns = tables[6][degree + 1]
                g_E[: tables[6][high + 1], :columns] = 0.0
                for i in range(tables[6][low], tables[6][high + 1]):
                    v[:] = 0.0
                    for j in range(columns):
                        for u in range(LANES):
                            x, z = mu[b, j, 0, u], mu[b, j, 1, u]
                            v[0, u] += E[i, j, u] * x
                            v[1, u] += E[i, j, u] * z
                            # d(re) and d(im) by E[i, j]
                            g_E[i, j, u] = g_re[u] * (
                                mu[a, i, 0, u] * x + mu[a, i, 1, u] * z
                            ) + g_im[u] * (mu[a, i, 0, u] * z - mu[a, i, 1, u] * x)
                            g_mu[b, j, 0, u] += E[i, j, u] * (
                                g_re[u] * mu[a, i, 0, u] - g_im[u] * mu[a, i, 1, u]
                            )
                            g_mu[b, j, 1, u] += E[i, j, u] * (
                                g_re[u] * mu[a, i, 1, u] + g_im[u] * mu[a, i, 0, u]
                            )
                    for u in range(LANES):
                        re[u] += mu[a, i, 0, u] * v[0, u] + mu[a, i, 1, u] * v[1, u]
                        im[u] += mu[a, i, 0, u] * v[1, u] - mu[a, i, 1, u] * v[0, u]
                        g_mu[a, i, 0, u] += g_re[u] * v[0, u] + g_im[u] * v[1, u]
                        g_mu[a, i, 1, u] += g_re[u] * v[1, u] - g_im[u] * v[0, u]
                _fill_backward(c, high, degree, base, tables, B, e, E, g_c, g_B, g_E)
            few = 3 if degree else 1
            for i in range(few):
                for j in range(few):
                    for u in range(LANES):
                        k = c[i, j, u] + (1.0 if i + j == 0 else 0.0)
                        x, z = mu[b, j, 0, u], mu[b, j, 1, u]
                        s, w = mu[a, i, 0, u], mu[a, i, 1, u]
                        value_re, value_im = s * x + w * z, s * z - w * x
                        re[u] -= k * value_re
                        im[u] -= k * value_im
                        g_c[i, j, u] -= g_re[u] * value_re + g_im[u] * value_im
                        g_mu[b, j, 0, u] -= k * (g_re[u] * s - g_im[u] * w)
                        g_mu[b, j, 1, u] -= k * (g_re[u] * w + g_im[u] * s)
                        g_mu[a, i, 0, u] -= k * (g_re[u] * x + g_im[u] * z)
                        g_mu[a, i, 1, u] -= k * (g_re[u] * z - g_im[u] * x)
            for u in range(LANES):
                here = grad[begin + u] * weight[p] if u < n_here else 0.0
                along[u] = -here * (phase[r, 1, u] * re[u] + phase[r, 0, u] * im[u])
            for axis in range(3):
                for u in range(LANES):
                    g_hkl_here[axis, u] += 2.0 * math.pi * cells[r, axis] * along[u]
            _exponent_backward(blocks[p], y, degree, g_c, g_y, g_blocks[p])
        _store(begin, n_here, projection, g_mu, moments, tables, across, g_moments, g_across)
        for u in range(n_here):
            for i in range(3):
                g_hkl[begin + u, i] = g_hkl_here[i, u]
                for j in range(3):
                    g_Y[begin + u, i, j] = g_y[i, j, u]


@compiled
def _second_order(
    c: Floats, mu_a: Floats, mu_b: Floats, scratch: Floats, re: Floats, im: Floats
) -> None:
    """The second order alone, ``tr(m_a^H c m_b c^T) / 2`` of the second moments of (1, rho).

    m is the symmetric matrix of the moments 1, x, y, xx, xy and yy.
    """
    re[:] = 0.0
    im[:] = 0.0
    for i in range(3):
        # Row i of c m_b.
        for k in range(3):
            for part in range(2):
                for u in range(LANES):
                    scratch[2 * k + part, u] = (
                        c[i, 0, u] * mu_b[_SQUARES[0][k], part, u]
                        + c[i, 1, u] * mu_b[_SQUARES[1][k], part, u]
                        + c[i, 2, u] * mu_b[_SQUARES[2][k], part, u]
                    )
        for j in range(3):
            s = _SQUARES[i][j]
            for u in range(LANES):
                x = (
                    scratch[0, u] * c[j, 0, u]
                    + scratch[2, u] * c[j, 1, u]
                    + scratch[4, u] * c[j, 2, u]
                )
                z = (
                    scratch[1, u] * c[j, 0, u]
                    + scratch[3, u] * c[j, 1, u]
                    + scratch[5, u] * c[j, 2, u]
                )
                re[u] += 0.5 * (mu_a[s, 0, u] * x + mu_a[s, 1, u] * z)
                im[u] += 0.5 * (mu_a[s, 0, u] * z - mu_a[s, 1, u] * x)


@compiled
def _n_chains(order: int, degree: int) -> int:
    """Number of recursions: one for all orders, one for each degree of rho_j for the first n."""
    return 1 if order < 0 else min(order, degree) + 1


@compiled
def _chain(order: int, degree: int, chain: int) -> tuple[int, int, int]:
    """Degrees of rho_j that a recursion is used for, and the order at which it starts."""
    if order < 0:
        return 0, degree, -1
    return chain, chain, order - chain


@compiled
def _load(
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
def _exponent(block: Floats, y: Floats, degree: int, scratch: Floats, c: Floats) -> None:
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
def _exponent_backward(
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
def _fill(
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
def _fill_backward(
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


@compiled
def _store(
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
