"""Uncertainty of a fit: covariance, and which directions of the springs the data determine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Gauss-Newton Hessian at a minimum, of data and prior.

    All quantities refer to the free parameters: logarithms of ratios to the starting springs.

    Parameters
    ----------
    information : Tensor, shape (n, n)
        Fisher information of the data, ``J^T W J / phi``, with scale and background eliminated.
    prior : float
        Information of the prior, the same in every direction: lambda.
    """

    information: Tensor
    prior: float

    @property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of `information`, the largest first, and directions in columns.

        1/sqrt(value) is the uncertainty of a direction by the data alone.
        """
        values, vectors = torch.linalg.eigh(self.information)
        return values.flip(0).clamp(min=0.0), vectors.flip(1)

    @property
    def covariance(self) -> Tensor:
        """Covariance of the free parameters, by data and prior, shape (n, n).

        Without a prior, directions that the data do not determine get the largest variance that
        rounding allows.
        """
        total, vectors = self.precision()
        return vectors / total @ vectors.T

    def precision(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of data and prior together, none zero, and directions in columns."""
        values, vectors = self.spectrum
        return (values + self.prior).clamp(min=max(_rounding(values), 1e-300)), vectors

    @property
    def sigma(self) -> Tensor:
        """Standard uncertainty of each free parameter, shape (n,)."""
        return self.covariance.diagonal().sqrt()

    @property
    def n_determined(self) -> int:
        """Number of directions with more information from the data than from the prior."""
        values, _ = self.spectrum
        return int((values > max(self.prior, _rounding(values))).sum())

    @property
    def n_effective(self) -> float:
        """Effective number of parameters, ``tr F (F + lambda)^-1`` (Gull and Skilling)."""
        values, _ = self.spectrum
        total = values + self.prior
        return float(torch.where(total > 0, values / torch.where(total > 0, total, 1.0), 0.0).sum())

    def fitting_prior(self, x: Tensor) -> float:
        """Weight of the prior that maximizes the evidence, given the fitted springs.

        ``n_effective / |x|^2`` (MacKay, Neural Comput. 4 (1992) 415).
        """
        return max(self.n_effective, 1e-6) / max(float(x.square().sum()), 1e-6)

    @property
    def by_data(self) -> Tensor:
        """Fraction of the information on each free parameter that is from the data, in [0, 1]."""
        return (1 - self.prior * self.covariance.diagonal()).clamp(0.0, 1.0)

    def draw(self, x: Tensor, n: int, seed: int = 0) -> Tensor:
        """Draw free parameters from the posterior distribution, shape (n, len(x))."""
        total, vectors = self.precision()
        generator = torch.Generator().manual_seed(seed)
        normal = torch.randn(n, len(x), generator=generator, dtype=torch.float64).to(x)
        return x + (normal / total.sqrt()) @ vectors.T


def _rounding(values: Tensor) -> float:
    """Rounding level of zero eigenvalues, relative to the largest (first)."""
    return 1e-12 * float(values[0]) if len(values) else 0.0
