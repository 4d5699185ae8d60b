"""The compiled loops of the pair sums, and of their derivatives.

For each q and pair of bodies, the coefficients of the series are contracted with the moments of the
two bodies.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onephonon.core.compiled import compiled

from .coefficients import chain_of, exponent, exponent_backward, fill, fill_backward, n_chains
from .lanes import LANES, Floats, Integers, load, store, workspace

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
    projection, mu, y, phase, c, B, e, E, scratch = workspace(moments, cells, order, tables)
    v = np.zeros((2, LANES))
    re, im, total = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    for begin in range(first, last, LANES):
        load(begin, last, Y, across, hkl, moments, cells, tables, y, phase, projection, mu)
        total[:] = 0.0
        for p in range(len(pairs)):
            if degrees[p] < 0:
                continue
            a, b, r = pairs[p]
            degree = degrees[p]
            exponent(blocks[p], y, degree, scratch, c)
            if order == 2 and degree == 2:
                _second_order(c, mu[a], mu[b], scratch, re, im)
                for u in range(LANES):
                    total[u] += weight[p] * (phase[r, 0, u] * re[u] - phase[r, 1, u] * im[u])
                continue
            re[:] = 0.0
            im[:] = 0.0
            for chain in range(n_chains(order, degree)):
                low, high, base = chain_of(order, degree, chain)
                fill(c, high, degree, base, tables, B, e, E)
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
    projection, mu, y, phase, c, B, e, E, scratch = workspace(moments, cells, order, tables)
    g_mu = np.zeros_like(mu)
    g_y = np.zeros_like(y)
    g_c = np.zeros_like(c)
    g_E = np.zeros_like(E)
    g_B = np.zeros_like(B)
    v = np.zeros((2, LANES))
    g_re = np.zeros(LANES)
    g_im = np.zeros(LANES)
    re, im, along = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    g_hkl_here = np.zeros((3, LANES))
    for begin in range(first, last, LANES):
        load(begin, last, Y, across, hkl, moments, cells, tables, y, phase, projection, mu)
        g_mu[:] = 0.0
        g_y[:] = 0.0
        g_hkl_here[:] = 0.0
        n_here = min(LANES, last - begin)
        for p in range(len(pairs)):
            if degrees[p] < 0:
                continue
            a, b, r = pairs[p]
            degree = degrees[p]
            exponent(blocks[p], y, degree, scratch, c)
            g_c[:] = 0.0
            re[:] = 0.0
            im[:] = 0.0
            for u in range(LANES):
                here = grad[begin + u] * weight[p] if u < n_here else 0.0
                g_re[u] = here * phase[r, 0, u]
                g_im[u] = -here * phase[r, 1, u]
            for chain in range(n_chains(order, degree)):
                low, high, base = chain_of(order, degree, chain)
                fill(c, high, degree, base, tables, B, e, E)
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
                fill_backward(c, high, degree, base, tables, B, e, E, g_c, g_B, g_E)
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
            exponent_backward(blocks[p], y, degree, g_c, g_y, g_blocks[p])
        store(begin, n_here, projection, g_mu, moments, tables, across, g_moments, g_across)
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
