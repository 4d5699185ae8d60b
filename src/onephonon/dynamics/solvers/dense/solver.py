"""`DenseSolver`: a dense Cholesky factorization of K at each wavevector.

Fastest for few degrees of freedom; derivatives of any order, also inside torch.func.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from onephonon.core.progress import Progress

from ...bloch import BlochSum, bloch_sum
from ...stiffness_matrix import factorize, inverse_factor, zone_chunk
from ..base import Solver
from .form import quadratic_form, shares_inverse, solve_form, squared_lengths
from .zone_mean import solve_at_gamma, zone_mean_inverse


@dataclass(frozen=True)
class DenseFactors:
    """Cholesky factors of K at some zone points, shape (n_k, D, D)."""

    factor: Tensor

    @cached_property
    def inverse(self) -> Tensor:
        """``L^-1``: a product with it costs half as much as a triangular solve."""
        return inverse_factor(self.factor)

    @torch.no_grad()
    def quadratic_form(self, G: Tensor) -> Tensor:
        """``G^H K^-1 G`` of many G, shape (n_k, m)."""
        return squared_lengths(self.inverse @ G.mT)

    @torch.no_grad()
    def solve(self, G: Tensor) -> tuple[Tensor, Tensor]:
        """``G^H K^-1 G`` and ``K^-1 G``, shapes (n_k, m) and (n_k, m, D)."""
        if shares_inverse(*G.shape[1:]):
            half = self.inverse @ G.mT
            return squared_lengths(half), half.mT @ self.inverse.conj()
        return solve_form(self.factor, G)


@dataclass(frozen=True)
class DenseSolver(Solver):
    """``K(k)^-1`` by a dense factorization at each wavevector."""

    @property
    def zone_batch(self) -> int:
        """Number of zone points per batch."""
        return zone_chunk(self.bodies.n_dof)

    @property
    def q_batch(self) -> int:
        """All q at once: they are divided into batches of the cache's size later."""
        return sys.maxsize

    @cached_property
    def _sum(self) -> BlochSum:
        c = self.constants
        return bloch_sum(c.onsite, c.coupling, c.a, c.b, c.cell, self.bodies.dof)

    def quadratic_form(
        self, k_frac: Tensor, hkl: Tensor, G: Tensor, points: Tensor | None = None
    ) -> Tensor:
        """``G^H K(k)^-1 G``; see `Solver`."""
        return quadratic_form(self.bodies, self.constants, k_frac, hkl, G, points)

    def at(self, k_frac: Tensor) -> DenseFactors:
        """K factored at zone points (n_k, 3)."""
        with torch.no_grad():
            return DenseFactors(factorize(self._sum.stiffness(k_frac)))

    def zone_mean(self, samples: Sequence[int], progress: Progress | None = None) -> Tensor:
        """Mean of each body's diagonal block of ``K(k)^-1``; see `Solver`."""
        return zone_mean_inverse(self.bodies, self.constants, samples, progress)

    def solve_at_gamma(self, loads: Tensor) -> Tensor:
        """Solve ``K(0) X = loads``; see `Solver`."""
        return solve_at_gamma(self.bodies, self.constants, loads)
