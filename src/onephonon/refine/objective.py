"""The objective of a fit: chi-square minimized over linear parameters, plus the prior.

``Phi(x) = sum_used rho((y - c I(x) - B b)^2 / sigma^2) + lambda phi |x|^2``, minimal in the scale
c and the background's coefficients b at every x (variable projection). ``phi`` is the dispersion:
the chi-square per voxel expected of a good model. The derivatives are those of Gauss-Newton with
the linear part eliminated exactly (Kaufman, BIT 15 (1975) 49).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from onephonon.scattering.jacobian import SpringBasis

from .background import Background
from .forward import VoxelModel
from .parametrization import Parametrization, parametrization_basis

#: Maximum rounds of reweighting for a robust loss.
MAX_ROUNDS = 50

#: Reweighting ends when no weight changes by more.
WEIGHT_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Loss:
    """rho of squared normalized residuals z.

    Parameters
    ----------
    kind : {'squares', 'soft_l1'}
        z; or ``2 a^2 (sqrt(1 + z/a^2) - 1)``.
    outlier : float
        a.
    """

    kind: str = "squares"
    outlier: float = 3.0

    def value(self, z: Tensor) -> Tensor:
        """Return rho(z)."""
        if self.kind == "squares":
            return z
        a = self.outlier**2
        return 2 * a * z / (a * (1 + torch.sqrt(1 + z / a)))

    def weight(self, z: Tensor) -> Tensor:
        """Return rho'(z), by which the weight of a residual is multiplied."""
        if self.kind == "squares":
            return torch.ones_like(z)
        return 1 / torch.sqrt(1 + z / self.outlier**2)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The objective at given springs.

    Parameters
    ----------
    x : Tensor, shape (n,)
        Free parameters.
    intensity : Tensor, shape (N,)
        Intensity of the model; see `VoxelModel` for its thermal scale.
    scale : float
        c.
    background : Tensor, shape (N,)
    residual : Tensor, shape (N,)
        ``y - c I - B b``.
    weight : Tensor, shape (N,)
        ``rho'/sigma^2``, also at held-out voxels.
    loss : Tensor, shape (N,)
        rho of every voxel.
    objective : float
        Phi.
    """

    x: Tensor
    intensity: Tensor
    scale: float
    background: Tensor
    residual: Tensor
    weight: Tensor
    loss: Tensor
    objective: float


@dataclass(frozen=True, eq=False)
class Slopes:
    """Gauss-Newton quadratic of chi-square, with the linear part eliminated.

    Parameters
    ----------
    hessian : Tensor, shape (n, n)
        ``J^T W J``; half the second derivative of chi-square.
    gradient : Tensor, shape (n,)
        Minus half the gradient of chi-square.
    """

    hessian: Tensor
    gradient: Tensor


@dataclass(frozen=True, eq=False)
class Objective:
    """The objective that is minimized at each level.

    Parameters
    ----------
    forward : VoxelModel
    parametrization : Parametrization
    data, sigma : Tensor, shape (N,)
    used : Tensor, shape (N,), bool
    background : Background
    fit_scale : bool
    loss : Loss
    prior : float
        lambda.
    dispersion : float
        phi.
    """

    forward: VoxelModel
    parametrization: Parametrization
    data: Tensor
    sigma: Tensor
    used: Tensor
    background: Background
    fit_scale: bool
    loss: Loss
    prior: float = 0.0
    dispersion: float = 1.0
    basis: SpringBasis | None = field(default=None, repr=False)

    @property
    def n_used(self) -> int:
        """Number of voxels that are fitted."""
        return int(self.used.sum())

    def basis_of_springs(self) -> SpringBasis:
        """Derivatives of the force constants by each spring constant."""
        return self.basis or parametrization_basis(self.parametrization)

    def suited_to(self, x: Tensor) -> Objective:
        """With a model whose series of orders beyond the first suffice at x; itself if it is."""
        with torch.no_grad():
            values = self.parametrization.values(x.detach())
            forward = self.forward.suited_to(self.parametrization.constants(values))
        return self if forward is self.forward else replace(self, forward=forward)

    def penalty(self, x: Tensor) -> Tensor:
        """``lambda phi |x|^2``."""
        return self.prior * self.dispersion * x.square().sum()

    def evaluate(self, x: Tensor) -> Evaluation:
        """The objective at x, with optimal scale and background."""
        with torch.no_grad():
            intensity = self.forward.intensity(
                self.parametrization.constants(self.parametrization.values(x))
            )
            return self.project(x.detach(), intensity)

    def project(self, x: Tensor, intensity: Tensor) -> Evaluation:
        """Solve for scale and background, by reweighting where the loss is robust."""
        plain = self.sigma**-2.0
        weight = plain
        for _ in range(MAX_ROUNDS):
            scale, background = self._solve_linear(intensity, weight)
            residual = self.data - scale * intensity - background
            z = residual.square() * plain
            new = plain * self.loss.weight(z)
            converged = float(((new - weight).abs() / plain).max()) <= WEIGHT_TOLERANCE
            weight = new
            if converged:
                break
        loss = self.loss.value(z)
        objective = float(loss[self.used].sum() + self.penalty(x))
        return Evaluation(x, intensity, scale, background, residual, weight, loss, objective)

    def _solve_linear(self, intensity: Tensor, weight: Tensor) -> tuple[float, Tensor]:
        """Scale and background of weighted least squares over the voxels used."""
        used = weight * self.used
        both = torch.stack([self.data, intensity], dim=1)
        # Held-out halos have their own background, solved for with the scale fixed.
        own = used if self.background.shared else weight
        inverse = self.background.inverse_gram(own)
        coefficients = inverse @ self.background.moments(own[:, None] * both)
        left = both - self.background.evaluate(coefficients)
        scale = 1.0
        if self.fit_scale:
            square = float((used * left[:, 1]) @ left[:, 1])
            scale = float((used * left[:, 1]) @ left[:, 0]) / square if square > 0 else 0.0
        mixed = coefficients[:, :, 0] - scale * coefficients[:, :, 1]
        return scale, self.background.evaluate(mixed[:, :, None])[:, 0]

    def slopes(self, at: Evaluation) -> Slopes:
        """Gauss-Newton quadratic at an evaluation."""
        parametrization, x = self.parametrization, at.x
        basis = self.basis_of_springs()
        values, chain = parametrization.values(x).detach(), parametrization.slopes(x)
        weight = at.weight * self.used
        n = parametrization.n
        total = chain.new_zeros(n + 1, n + 2)
        inverse = self.background.inverse_gram(weight)
        crossed = chain.new_zeros(*inverse.shape[:2], n + 2)
        for part, intensity, by_value in self.forward.slopes(basis, values):
            rows = [at.scale * (by_value @ chain), intensity[:, None], at.residual[part, None]]
            joined = torch.cat(rows, dim=1)
            weighted = weight[part, None] * joined
            total += joined[:, : n + 1].T @ weighted
            crossed += self.background.moments(weighted, part)
        # The part of every column that the background explains.
        explained = torch.einsum("gwi,gwv,gvj->ij", crossed[:, :, : n + 1], inverse, crossed)
        total = total - explained
        if self.fit_scale and float(total[n, n]) > 0:
            total = total - total[:, n, None] * total[None, n] / total[n, n]
        return Slopes(_symmetric(total[:n, :n]), total[:n, n + 1])

    def gradient(self, x: Tensor) -> tuple[Evaluation, Tensor]:
        """The objective and its gradient by the adjoint, for many parameters.

        Scale and background are optimal, so they can be kept constant (envelope theorem).
        """
        leaf = x.detach().clone().requires_grad_()
        intensity = self.forward.intensity(
            self.parametrization.constants(self.parametrization.values(leaf))
        )
        at = self.project(x.detach(), intensity.detach())
        pull = -2 * at.scale * at.weight * self.used * at.residual
        (g,) = torch.autograd.grad(intensity @ pull + self.penalty(leaf), leaf)
        return at, g


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.T)
