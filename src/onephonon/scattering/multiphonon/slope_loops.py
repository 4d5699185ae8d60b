"""Compiled loop of the pair sums' derivatives by the covariance of every pair, at each q."""

from __future__ import annotations

from typing import Any

import numpy as np

from onephonon.core.compiled import compiled

from .coefficients import chain_of, exponent, fill, fill_backward, n_chains
from .lanes import LANES, Floats, Integers, load, workspace


@compiled
def sum_pairs_by_block(
    first: int,
    last: int,
    out: Floats,
    by_block: Floats,
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
    """Sums for q number `first` to `last`, and their derivatives by the covariances.

    Of pair p, whose sum is ``Re sum_ij E_ij P_ij`` with ``P_ij = w conj(mu_ai) mu_bj exp(i q.R)``,
    P is the derivative by the coefficients E, and those by the covariance follow from it.

    `out` has one sum for each of these q, `by_block` zeros of shape (last - first, n_pairs, w, w).
    """
    projection, mu, y, phase, c, B, e, E, scratch = workspace(moments, cells, order, tables)
    of_b = np.zeros_like(mu[0])
    g_c = np.zeros_like(c)
    g_E = np.zeros_like(E)
    g_B = np.zeros_like(B)
    total = np.zeros(LANES)
    for begin in range(first, last, LANES):
        load(begin, last, Y, across, hkl, moments, cells, tables, y, phase, projection, mu)
        total[:] = 0.0
        n_here = min(LANES, last - begin)
        for p in range(len(pairs)):
            degree = degrees[p]
            if degree < 0:
                continue
            a, b, r = pairs[p]
            columns = tables[6][degree + 1]
            for j in range(columns):
                for u in range(LANES):
                    x, z = mu[b, j, 0, u], mu[b, j, 1, u]
                    of_b[j, 0, u] = weight[p] * (phase[r, 0, u] * x - phase[r, 1, u] * z)
                    of_b[j, 1, u] = weight[p] * (phase[r, 0, u] * z + phase[r, 1, u] * x)
            exponent(blocks[p], y, degree, scratch, c)
            g_c[:] = 0.0
            for chain in range(n_chains(order, degree)):
                low, high, base = chain_of(order, degree, chain)
                fill(c, high, degree, base, tables, B, e, E)
                g_E[: tables[6][low], :columns] = 0.0
                for i in range(tables[6][low], tables[6][high + 1]):
                    for j in range(columns):
                        for u in range(LANES):
                            P = mu[a, i, 0, u] * of_b[j, 0, u] + mu[a, i, 1, u] * of_b[j, 1, u]
                            g_E[i, j, u] = P
                            total[u] += E[i, j, u] * P
                fill_backward(c, high, degree, base, tables, B, e, E, g_c, g_B, g_E)
            # Without the terms of order 0 and 1.
            few = 3 if degree else 1
            for i in range(few):
                for j in range(few):
                    for u in range(LANES):
                        P = mu[a, i, 0, u] * of_b[j, 0, u] + mu[a, i, 1, u] * of_b[j, 1, u]
                        total[u] -= (c[i, j, u] + (1.0 if i + j == 0 else 0.0)) * P
                        g_c[i, j, u] -= P
            for m in range(few):
                for k in range(few):
                    for i in range(3):
                        for j in range(3):
                            row, column = i + (3 if m else 0), j + (3 if k else 0)
                            for u in range(n_here):
                                by_block[begin - first + u, p, row, column] += (
                                    g_c[m, k, u] * y[m, i, u] * y[k, j, u]
                                )
        for u in range(n_here):
            out[begin - first + u] = total[u]
