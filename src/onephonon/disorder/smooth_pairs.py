"""Sums over distant pairs of atoms of a crystal: the Patterson function times a smooth correlation.

The Patterson function of the whole cell, with the scattering factors at one length of q, comes from
the structure factors; its product with the correlation, on a mesh of the cell, has the intensities
at all q of one phonon wavevector as its Fourier transform.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import finufft
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import ifftn, irfftn, next_fast_len
from scipy.special import factorial, gammainc

from onephonon.core.units import TWO_PI

from .correlation import Correlation
from .radial_nodes import chebyshev_nodes, interpolation
from .radial_waves import RadialWaves

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Flatness of the window at r = 0, where the correlation has a cusp: 1 - window grows as r^8.
FLATNESS = 4

#: Bytes of the correlations on the mesh for the wavevectors that are done together.
MESH_BYTES = 500_000_000

#: Numbers of one array of distances.
DISTANCES_AT_A_TIME = 2_000_000


@dataclass(frozen=True)
class Window:
    """Divides pairs: near ones by the window, distant ones by what it leaves.

    ``exp(-t) sum_{i<4} t^i/i!`` with ``t = steepness r^2``.

    Parameters
    ----------
    reach : float
        Distance at which the window is `tolerance`, Å.
    steepness : float
        1/Å^2.
    """

    reach: float
    steepness: float

    @classmethod
    def to(cls, reach: float, tolerance: float) -> Window:
        """The window that falls to a tolerance at a distance."""
        t = np.linspace(0.0, 100.0, 100_001)
        first = int(np.argmax(gammainc(FLATNESS, t) > 1 - tolerance))
        return cls(reach, float(t[first]) / reach**2)

    def distant(self, r: Float64) -> Float64:
        """One less the window."""
        return np.asarray(gammainc(FLATNESS, self.steepness * r * r))


def bandwidth(window: Window, correlation: Correlation, tolerance: float) -> float:
    """Wavenumber (1/Å) beyond which a smooth correlation has no more than a tolerance.

    The Fourier transform of ``(1 - window) Gamma`` is integrated from there, relative to the
    correlation at r = 0.
    """
    end = correlation.reach(1e-12)
    r = np.arange(0.005, end, 0.01)
    law = correlation(torch.from_numpy(r)).detach().numpy()
    values = r * window.distant(r) * law
    # The transform is smooth on the scale of the window; its tail is sampled at 0.25 of it.
    k = np.arange(0.4, 40.0, 2.0) / window.reach * 2.5
    step = k[1] - k[0]
    transform = np.array([4 * np.pi / x * (values @ np.sin(x * r)) * 0.01 for x in k])
    tail = np.cumsum((k * k * np.abs(transform))[::-1])[::-1] * step / (2 * np.pi**2)
    return float(k[np.argmax(tail < tolerance)]) if (tail < tolerance).any() else math.inf


@dataclass(frozen=True)
class SmoothSums:
    """Sums over distant pairs on a mesh of the cell.

    Parameters
    ----------
    radial : RadialWaves
    correlation : Correlation
    window : Window
    matrix : ndarray, shape (3, 3)
        Columns are the axes of the cell, Å.
    frac : ndarray, shape (n_cell_atoms, 3)
    band : float
        Bandwidth of the correlation, 1/Å.
    n_nodes : int
        Of the interpolation in |q|^2.
    accuracy : float
        Of structure factors, correlations and orders.
    """

    radial: RadialWaves
    correlation: Correlation
    window: Window
    matrix: Float64
    frac: Float64
    band: float
    n_nodes: int
    accuracy: float

    def mesh(self, q_max: float) -> tuple[int, int, int]:
        """Mesh points along each axis, so that no product of waves is mistaken for another.

        Structure factors reach to ``q_max + band`` (`q_max` includes the wavevector twice), the
        correlation's waves to `band`.
        """
        lengths = 1 / np.linalg.norm(np.linalg.inv(self.matrix), axis=1)
        n = [math.ceil((2 * q_max + 2 * self.band) * x / TWO_PI) + 2 for x in lengths]
        a, b, c = (int(next_fast_len(2 * math.ceil(m / 2), real=False)) for m in n)
        return a, b, c

    def at(self, q: Float64, k_frac: Float64, zone: Index) -> Float64:
        """The sums at a list of q.

        Parameters
        ----------
        q : ndarray, shape (n_q, 3)
        k_frac : ndarray, shape (n_k, 3)
            The distinct wavevectors in reciprocal lattice units.
        zone : ndarray, shape (n_q,), int
            The wavevector of each q.

        Returns
        -------
        ndarray, shape (n_q,)
        """
        x = (q * q).sum(1)
        low, high = float(x.min()), float(x.max())
        nodes = chebyshev_nodes(low, high, self.n_nodes)
        k_length = np.linalg.norm(k_frac @ np.linalg.inv(self.matrix), axis=1).max() * TWO_PI
        limit = math.sqrt(high) + k_length
        shape = self.mesh(limit)
        orders = self._orders(nodes)
        factors = self._structure_factors(nodes, orders, shape, limit + self.band)
        whole = np.rint(q @ self.matrix / TWO_PI - k_frac[zone]).astype(np.int64)
        place = np.ravel_multi_index(tuple((whole % shape).T), shape)
        weights = interpolation(x, low, high, self.n_nodes)
        total = np.zeros(len(q))
        at_a_time = max(1, MESH_BYTES // (16 * orders * math.prod(shape)))
        for first in range(0, len(k_frac), at_a_time):
            some = slice(first, first + at_a_time)
            laws = self._correlations(k_frac[some], orders, shape)
            members = [np.flatnonzero(zone == first + i) for i in range(len(laws))]
            for i, node in enumerate(nodes):
                pattersons = list(factors.pattersons(i, orders))
                for law, index in zip(laws, members, strict=True):
                    product = np.zeros(shape, dtype=law.dtype)
                    for n, patterson in enumerate(pattersons, start=1):
                        product += (node ** (n - 1) / factorial(n)) * patterson * law[n - 1]
                    values = ifftn(product, workers=torch.get_num_threads(), overwrite_x=True)
                    total[index] += weights[index, i] * values.reshape(-1)[place[index]].real
        return total * x

    def _orders(self, nodes: Float64) -> int:
        """Orders that distant pairs need; they are few, since the correlation is less than 1."""
        most = self.radial.order
        if most == 1:
            return 1
        r = np.linspace(0.0, 3 * self.window.reach, 61)[1:]
        law = self.correlation(torch.from_numpy(r)).detach().numpy()
        window = self.window.distant(r)
        atoms = np.unique(np.stack([self.radial.U, self.radial.root**2], axis=1), axis=0)
        U, square = atoms[:, 0, None], atoms[:, 1, None]
        x = np.unique(np.concatenate([nodes, [nodes.max() * 1.02]]))
        largest = max(float((np.exp(-y * U) * np.expm1(y * square)).max()) for y in x)
        for n in range(1, 60 if most is None else most):
            rest = 0.0
            for y in x:
                exponent = y * square * law
                terms = np.exp(exponent - y * U) * gammainc(n + 1, exponent)
                rest = max(rest, float((terms * window).max()))
            if rest <= self.accuracy * largest:
                return n
        return 60 if most is None else most

    def _structure_factors(
        self, nodes: Float64, orders: int, shape: tuple[int, int, int], limit: float
    ) -> _StructureFactors:
        """Structure factors of all nodes and orders, as sums of a few."""
        z = self.radial.amplitudes(nodes)
        powers = [z * self.radial.root**n for n in range(1, orders + 1)]
        table = np.concatenate(powers)  # order by order, node by node
        scale = np.linalg.norm(table, axis=1, keepdims=True)
        scale[scale == 0] = 1.0
        _, size, vectors = np.linalg.svd(table / scale, full_matrices=False)
        rank = max(1, int((size > 0.3 * self.accuracy * size[0]).sum()))
        basis = vectors[:rank]
        x = [np.ascontiguousarray(axis) for axis in (TWO_PI * (self.frac % 1.0)).T]
        sums = finufft.nufft3d1(
            *x,
            np.ascontiguousarray(basis, dtype=np.complex128),
            shape,
            eps=max(0.3 * self.accuracy, 1e-13),
            isign=1,
            modeord=1,
            upsampfac=1.25 if self.accuracy > 1e-8 else 2.0,  # the coarser one has 9 digits
            nthreads=torch.get_num_threads(),
        )
        sums = np.asarray(sums).reshape(rank, *shape)
        half = shape[2] // 2 + 1
        index = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij")
        h = np.stack([axis[..., :half] for axis in index], axis=-1)
        length = np.linalg.norm(TWO_PI * (h @ np.linalg.inv(self.matrix)), axis=-1)
        inside = length <= limit
        return _StructureFactors(
            np.ascontiguousarray(sums[..., :half]) * inside, table @ basis.T, shape, len(nodes)
        )

    def _correlations(
        self, k_frac: Float64, orders: int, shape: tuple[int, int, int]
    ) -> NDArray[Any]:
        """``sum_R (1 - window) Gamma^n exp(i k.(r + R))`` on the mesh, (n_k, orders, *shape).

        Real for k = 0 alone.
        """
        still = not k_frac.any()
        kind = np.float64 if still else np.complex128
        found = np.zeros((len(k_frac), orders, math.prod(shape)), dtype=kind)
        grid = np.indices(shape).reshape(3, -1).T / shape
        grid -= np.round(grid)
        cells = self._cells()
        size = max(1, DISTANCES_AT_A_TIME // len(cells))
        between_cells = np.exp(TWO_PI * 1j * (k_frac @ cells.T))
        for start in range(0, len(grid), size):
            some = slice(start, start + size)
            places = grid[some]
            vectors = (places[None] + cells[:, None]) @ self.matrix.T
            r = np.sqrt(np.einsum("cgx,cgx->cg", vectors, vectors))
            law = self.correlation(torch.from_numpy(r)).detach().numpy()
            power = law * self._window_of(r)
            within = np.exp(TWO_PI * 1j * (k_frac @ places.T))
            for n in range(orders):
                if still:
                    found[:, n, some] = power.sum(0)
                else:
                    both = between_cells.real @ power + 1j * (between_cells.imag @ power)
                    found[:, n, some] = both * within
                power = power * law
        return found.reshape(len(k_frac), orders, *shape)

    def _window_of(self, r: Float64) -> Float64:
        """One less the window; it differs from one within reach only."""
        values = np.ones_like(r)
        near = r < 1.3 * self.window.reach
        values[near] = self.window.distant(r[near])
        return values

    def _cells(self) -> Float64:
        """Cells within reach of a cell about the origin."""
        reach = self.correlation.reach(self.accuracy)
        corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) @ self.matrix.T
        reach += float(np.linalg.norm(corners, axis=1).max())
        planes = np.linalg.norm(np.linalg.inv(self.matrix), axis=1)
        ranges = (range(-m, m + 1) for m in (math.ceil(reach * p) for p in planes))
        every = np.array(list(itertools.product(*ranges)), dtype=np.float64)
        return every[np.linalg.norm(every @ self.matrix.T, axis=1) <= reach]


@dataclass(frozen=True)
class _StructureFactors:
    """A few structure factors on half of the mesh, and the shares of each in all of them."""

    basis: NDArray[np.complex128]
    shares: Float64
    shape: tuple[int, int, int]
    n_nodes: int

    def pattersons(self, node: int, orders: int) -> Iterator[Float64]:
        """The Patterson function of every order at one node, on the mesh."""
        for n in range(orders):
            shares = self.shares[n * self.n_nodes + node]
            F = np.tensordot(shares, self.basis, axes=1)
            square = F.real**2 + F.imag**2
            # irfftn divides by the number of points; the Patterson function is a plain sum.
            yield irfftn(square, self.shape, workers=torch.get_num_threads()) * math.prod(
                self.shape
            )
