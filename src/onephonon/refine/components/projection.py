"""Amplitudes and background that are best for given shapes of the terms (variable projection).

Amplitudes are not negative (Lawson and Hanson's non-negative least squares); the background is
free. The Jacobian of the projected residuals is Kaufman's (BIT 15 (1975) 49): it neglects the
change of the projection, which does not change the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from ..background import Background


@dataclass(frozen=True, eq=False)
class Measurements:
    """Data, weights and background of a fit.

    Parameters
    ----------
    data, weight : Tensor, shape (N,)
        Weights are 1/sigma^2, at all voxels.
    used : Tensor, shape (N,), bool
        The voxels that are fitted.
    background : Background
    max_total : float, optional
        Largest sum of amplitudes: 1 where they are shares on an absolute scale.
    """

    data: Tensor
    weight: Tensor
    used: Tensor
    background: Background
    max_total: float | None = None

    def using(self, used: Tensor) -> Measurements:
        """The same with other voxels fitted, shape (N,), bool."""
        return replace(self, used=used)

    @property
    def root(self) -> Tensor:
        """1/sigma of the voxels that are fitted, else 0."""
        return self.weight.sqrt() * self.used

    def without_background(self, columns: Tensor) -> Tensor:
        """Columns (N, m) without what the background explains of them at the fitted voxels."""
        used = self.weight * self.used
        inverse = self.background.inverse_gram(used)
        moments = self.background.moments(used[:, None] * columns)
        return columns - self.background.evaluate(inverse @ moments)

    def background_of(self, model: Tensor) -> Tensor:
        """The best background with a model (N,), at all voxels.

        Halos have a background of their own, also where they are held out; one that is shared is
        that of the fitted voxels.
        """
        own = self.weight * self.used if self.background.shared else self.weight
        left = (self.data - model)[:, None]
        inverse = self.background.inverse_gram(own)
        moments = self.background.moments(own[:, None] * left)
        return self.background.evaluate(inverse @ moments)[:, 0]


@dataclass(frozen=True, eq=False)
class Projection:
    """The best amplitudes, and what is left.

    Parameters
    ----------
    amplitudes : Tensor, shape (n_terms,)
    directions : Tensor, shape (n_terms, n_free)
        Directions in which the amplitudes can still change: those at a limit cannot.
    columns : Tensor, shape (N, n_terms)
        Intensities of the terms over sigma, without background; zero at voxels not fitted.
    residual : Tensor, shape (N,)
        Over sigma; zero at voxels not fitted.
    """

    amplitudes: Tensor
    directions: Tensor
    columns: Tensor
    residual: Tensor

    @property
    def chi2(self) -> float:
        """Sum of squares."""
        return float(self.residual @ self.residual)


def project(intensities: Tensor, measured: Measurements) -> Projection:
    """Solve for amplitudes and background.

    Parameters
    ----------
    intensities : Tensor, shape (N, n_terms)
    measured : Measurements
    """
    together = torch.cat([measured.data[:, None], intensities], dim=1)
    reduced = measured.root[:, None] * measured.without_background(together)
    y, A = reduced[:, 0], reduced[:, 1:]
    size = torch.linalg.vector_norm(A, dim=0)
    size = torch.where(size > 0, size, 1.0)
    amplitudes = _non_negative(A / size, y) / size
    directions = torch.eye(A.shape[1]).to(A)[:, amplitudes > 0]
    if measured.max_total is not None and float(amplitudes.sum()) > measured.max_total:
        amplitudes = measured.max_total * _on_simplex(measured.max_total * A, y)
        directions = torch.eye(A.shape[1]).to(A)[:, amplitudes > 0]
        directions = directions @ _sum_kept(directions.shape[1]).to(A)
    return Projection(amplitudes, directions, A, y - A @ amplitudes)


def projected_slopes(at: Projection, slopes: Tensor, measured: Measurements) -> Tensor:
    """Kaufman's Jacobian of the residuals by the free parameters, shape (N, n).

    Parameters
    ----------
    at : Projection
    slopes : Tensor, shape (N, n)
        Derivatives of the sum of the terms, with the amplitudes of the projection.
    measured : Measurements
    """
    J = -measured.root[:, None] * measured.without_background(slopes)
    A = at.columns @ at.directions
    if A.shape[1] and J.shape[1]:
        Q, _ = torch.linalg.qr(A)
        J = J - Q @ (Q.T @ J)
    return J


def _non_negative(A: Tensor, y: Tensor) -> Tensor:
    """The a >= 0 that minimizes ``|A a - y|``."""
    Q, R = torch.linalg.qr(A)
    found, _ = nnls(R.cpu().numpy(), (Q.T @ y).cpu().numpy())
    return torch.from_numpy(found).to(A)


def _on_simplex(A: Tensor, y: Tensor) -> Tensor:
    """The a >= 0 of sum 1 that minimizes ``|A a - y|``.

    There ``A a - y = (A - y 1^T) a =: C a``. Minimizing ``|C u|^2 + (sum u - 1)^2`` over u = t a
    first in t leaves ``|C a|^2/(1 + |C a|^2)``, which grows with ``|C a|``: the direction of u is
    that of the wanted a. C is divided by its size, which changes no direction.
    """
    C = A - y[:, None]
    _, R = torch.linalg.qr(C)
    R = R / torch.linalg.vector_norm(R).clamp(min=1e-300)
    system = torch.cat([R, R.new_ones(1, R.shape[1])])
    target = np.zeros(len(system))
    target[-1] = 1.0
    found, _ = nnls(system.cpu().numpy(), target)
    return torch.from_numpy(found / found.sum()).to(A)


def _sum_kept(n: int) -> Tensor:
    """Orthonormal directions of n numbers that keep their sum, shape (n, n - 1)."""
    one = torch.ones(n, 1, dtype=torch.float64)
    complete, _ = torch.linalg.qr(torch.cat([one, torch.eye(n, dtype=torch.float64)], dim=1))
    return complete[:, 1:]
