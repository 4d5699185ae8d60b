"""Fourier sums over a list of pairs of atoms, at every q of a list."""

from __future__ import annotations

import finufft
import numpy as np
import torch
from numpy.typing import NDArray

from .near_pairs import PairList
from .radial_nodes import chebyshev_nodes, interpolation
from .radial_waves import RadialWaves

Float64 = NDArray[np.float64]

#: Pairs that are transformed together: with ten nodes their strengths take 160 MB.
PAIRS_AT_A_TIME = 1_000_000


def sum_of_pairs(
    pairs: PairList,
    correlation: Float64,
    window: Float64,
    radial: RadialWaves,
    q: Float64,
    n_nodes: int,
    accuracy: float,
) -> Float64:
    """``sum_p w_p f_j f_k cos(q.d_p) [exp(q^2 C_p) - 1]`` at every q, shape (n_q,).

    Parameters
    ----------
    pairs : PairList
    correlation, window : ndarray, shape (n_pairs,)
        Gamma of each pair, and a factor of it that does not depend on q.
    radial : RadialWaves
    q : ndarray, shape (n_q, 3)
        1/Å.
    n_nodes : int
        Of the interpolation in |q|^2.
    accuracy : float
        Of FINUFFT's transform (Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 41, C479,
        2019), relative.
    """
    x = (q * q).sum(1)
    low, high = float(x.min()), float(x.max())
    nodes = chebyshev_nodes(low, high, n_nodes)
    amplitudes = radial.amplitudes(nodes)
    weights = interpolation(x, low, high, n_nodes) * x[:, None]
    along = [np.ascontiguousarray(axis) for axis in q.T]
    total = np.zeros(len(q))
    for start in range(0, len(pairs.first), PAIRS_AT_A_TIME):
        part = slice(start, start + PAIRS_AT_A_TIME)
        j, k = pairs.first[part], pairs.second[part]
        square = radial.root[j] * radial.root[k] * correlation[part]
        strength = np.empty((n_nodes, len(j)), dtype=np.complex128)
        fixed = pairs.weight[part] * window[part]
        for i, node in enumerate(nodes):
            pair = amplitudes[i, j] * amplitudes[i, k] * fixed
            strength[i] = pair * radial.bracket(node, square)
        vector = [np.ascontiguousarray(axis) for axis in pairs.vector[part].T]
        sums = finufft.nufft3d3(
            *vector, strength, *along, eps=accuracy, isign=1, nthreads=torch.get_num_threads()
        )
        total += np.einsum("qn,nq->q", weights, np.atleast_2d(sums).real)
    return total
