"""How sure a fit is: covariance, and which directions of the springs the data determine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Certainty:
    """Gauss and Newton's second derivatives at a minimum, of data and prior.

    Everything is in the free numbers of the springs: logarithms of ratios to the start.

    Parameters
    ----------
    information : Tensor, shape (n, n)
        Of the data: ``J^T W J / phi`` with scale and background eliminated.
    prior : float
        Of the prior, the same in every direction: lambda.
    """

    information: Tensor
    prior: float

    @property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of `information`, the largest first, and directions in columns.

        1/sqrt(value) is how well the data alone know a direction: the sloppiness spectrum.
        """
        values, vectors = torch.linalg.eigh(self.information)
        return values.flip(0).clamp(min=0.0), vectors.flip(1)

    @property
    def covariance(self) -> Tensor:
        """Of the free numbers, by data and prior, shape (n, n).

        Without a prior, directions that the data do not determine at all get the largest variance
        that rounding lets through.
        """
        total, vectors = self.precision()
        return vectors / total @ vectors.T

    def precision(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues of data and prior together, none zero, and directions in columns."""
        values, vectors = self.spectrum
        return (values + self.prior).clamp(min=max(_rounding(values), 1e-300)), vectors

    @property
    def sigma(self) -> Tensor:
        """Standard uncertainty of each free number, shape (n,)."""
        return self.covariance.diagonal().sqrt()

    @property
    def n_determined(self) -> int:
        """Directions of which the data know more than the prior."""
        values, _ = self.spectrum
        return int((values > max(self.prior, _rounding(values))).sum())

    @property
    def n_effective(self) -> float:
        """Parameters that the data set, ``tr F (F + lambda)^-1`` (Gull and Skilling)."""
        values, _ = self.spectrum
        total = values + self.prior
        return float(torch.where(total > 0, values / torch.where(total > 0, total, 1.0), 0.0).sum())

    def fitting_prior(self, x: Tensor) -> float:
        """Weight of the prior that agrees with how far springs went from the start.

        ``n_effective / |x|^2``: where the evidence of the data is largest (MacKay, Neural Comput.
        4 (1992) 415).
        """
        return max(self.n_effective, 1e-6) / max(float(x.square().sum()), 1e-6)

    @property
    def by_data(self) -> Tensor:
        """Share of what is known of each free number that comes from the data, in [0, 1]."""
        return (1 - self.prior * self.covariance.diagonal()).clamp(0.0, 1.0)

    def draw(self, x: Tensor, n: int, seed: int = 0) -> Tensor:
        """Draw free numbers as likely as data and prior make them, shape (n, len(x))."""
        total, vectors = self.precision()
        generator = torch.Generator().manual_seed(seed)
        normal = torch.randn(n, len(x), generator=generator, dtype=torch.float64).to(x)
        return x + (normal / total.sqrt()) @ vectors.T


def _rounding(values: Tensor) -> float:
    """What is left of an eigenvalue that is zero, beside the largest, which comes first."""
    return 1e-12 * float(values[0]) if len(values) else 0.0
