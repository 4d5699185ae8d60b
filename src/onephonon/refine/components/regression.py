"""Gaussian regression: intensities predicted from prior covariances and other voxels.

Intensities of independent kinds of motion add, so their prior covariances add:
``y = sum_m f_m + noise`` with ``Cov(f_m) = w_m K_m``. The mean of all f given y is linear in y, and
so is the prediction of voxels that are left out, which follows from one inverse matrix (Rasmussen &
Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2). Only anisotropic parts are
considered: what a line in |q| in each shell explains is projected out of y and of every K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress

from .left_out import LeftOut

Float64 = NDArray[np.float64]

#: Part of the mean variance that is added to the noise, so that the inverse is accurate; as much as
#: the last where kernels, in single precision, need it to be positive definite.
JITTER = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)

#: Weights and the noise are searched within these limits; kernels have unit mean variance, as the
#: data have.
WEIGHT_LIMITS, NOISE_LIMITS = (1e-4, 100.0), (1e-3, 100.0)

#: Weight of the squared logarithms of weights relative to their starts, for those that nothing
#: determines.
PULL = 2e-4


@dataclass(frozen=True, eq=False)
class AnisotropicPart:
    """The projection onto the complement of lines in |q| in shells.

    Parameters
    ----------
    isotropic : Tensor, shape (N, k)
        Orthonormal columns that are projected out.
    """

    isotropic: Tensor

    @classmethod
    def of(cls, s: Tensor, n_shells: int) -> AnisotropicPart:
        """Lines in shells of equal width between the smallest and the largest s."""
        edges = torch.linspace(float(s.min()), float(s.max()), n_shells + 1).to(s)
        shell = torch.bucketize(s, edges[1:-1].contiguous())
        columns = []
        for i in range(n_shells):
            inside = (shell == i).to(s)
            n = float(inside.sum())
            if n >= 1:
                columns.append(inside / n**0.5)
            if n >= 3:
                slope = inside * (s - (inside @ s) / n)
                size = float(slope.norm())
                if size > 1e-9 * float(s.max()) * n**0.5:
                    columns.append(slope / size)
        return cls(torch.stack(columns, dim=1))

    def of_values(self, values: Tensor) -> Tensor:
        """Project values (N,) or columns (N, m)."""
        Q = self.isotropic.to(values.dtype)
        return values - Q @ (Q.T @ values)

    def of_kernel(self, kernel: Tensor) -> Tensor:
        """Project a covariance (N, N) from both sides, and scale it to unit mean variance."""
        found = self.of_values(self.of_values(kernel).T)
        size = float(found.diagonal().double().mean())
        if not size > 0:
            raise InputError("a component has no anisotropic intensity at the voxels of the fit")
        return found / size


@dataclass(frozen=True, eq=False)
class Solution:
    """A regression with given weights.

    Parameters
    ----------
    weights : tuple of float
        Of the kernels.
    noise : float
        Variance of the noise, relative to that of the data.
    inverse : Tensor, shape (N, N)
        Of the covariance of the data.
    alpha : Tensor, shape (N,)
        ``inverse @ y``.
    y : Tensor, shape (N,)
        Anisotropic part of the data, of unit variance.
    """

    weights: tuple[float, ...]
    noise: float
    inverse: Tensor
    alpha: Tensor
    y: Tensor

    @property
    def fitted(self) -> Tensor:
        """Mean of the sum of components at the voxels, given all data; shape (N,)."""
        return self.y - self.noise * self.alpha

    @property
    def n_effective(self) -> float:
        """Number of parameters that the data determine: the trace of the smoothing matrix."""
        return len(self.y) - self.noise * float(self.inverse.diagonal().sum())

    def left_out(self, parts: LeftOut) -> Tensor:
        """Prediction of each voxel from data without those left out with it; NaN if never."""
        found = torch.full_like(self.y, torch.nan)
        for removed, wanted in zip(parts.removed, parts.predicted, strict=True):
            S = torch.from_numpy(removed).to(self.y.device)
            block = self.inverse[S][:, S]
            rest = torch.linalg.solve(block, self.alpha[S])
            place = torch.from_numpy(np.searchsorted(removed, wanted)).to(self.y.device)
            at = torch.from_numpy(wanted).to(self.y.device)
            found[at] = self.y[at] - rest[place]
        return found


def solve(kernels: Sequence[Tensor], weights: Sequence[float], noise: float, y: Tensor) -> Solution:
    """Solve a regression.

    Parameters
    ----------
    kernels : sequence of Tensor, shape (N, N)
    weights : sequence of float
    noise : float
    y : Tensor, shape (N,), float64
    """
    total = torch.zeros(len(y), len(y), dtype=torch.float64, device=y.device)
    for weight, kernel in zip(weights, kernels, strict=True):
        total.add_(kernel, alpha=float(weight))
    size, added = float(total.diagonal().mean()), 0.0
    for jitter in JITTER:
        change = float(noise + jitter * size) - added
        total.diagonal().add_(change)
        added += change
        factor, failed = torch.linalg.cholesky_ex(total)
        if not int(failed):
            break
    else:
        raise InputError(
            "the prior covariances of the components are not positive definite: a component does "
            "not suit these voxels; fit fewer components or another range of resolution"
        )
    inverse = torch.cholesky_inverse(factor)
    return Solution(tuple(map(float, weights)), added, inverse, inverse @ y, y)


def tune(
    kernels: Sequence[Tensor],
    y: Tensor,
    parts: Sequence[tuple[LeftOut, float]],
    start: Sequence[float],
    *,
    max_steps: int = 15,
    progress: Progress | None = None,
    task: str = "weights",
) -> tuple[float, ...]:
    """Weights of kernels and noise that predict voxels that are left out best.

    Parameters
    ----------
    kernels : sequence of Tensor, shape (N, N)
    y : Tensor, shape (N,)
    parts : sequence of (LeftOut, float)
        Ways of leaving out, and the weight of the mean squared error of each.
    start : sequence of float
        Weights of the kernels, then the noise.
    max_steps : int
    progress : Progress, optional
    task : str

    Returns
    -------
    tuple of float
        Of the kernels, then of the noise.
    """
    origin = np.log(np.asarray(start, dtype=np.float64))
    count = 0

    def value_and_slope(log_weights: Float64) -> tuple[float, Float64]:
        nonlocal count
        count += 1
        if progress:
            progress.step(task, min(count, max_steps), max_steps)
        weights = np.exp(log_weights)
        loss, slope = left_out_error(kernels, y, parts, weights)
        away = log_weights - origin
        return loss + PULL * float(away @ away), slope * weights + 2 * PULL * away

    found = minimize(
        value_and_slope,
        origin,
        jac=True,
        method="L-BFGS-B",
        bounds=np.log([WEIGHT_LIMITS] * (len(origin) - 1) + [NOISE_LIMITS]),
        options={"maxfun": max_steps, "maxiter": max_steps},
    )
    if progress:
        progress.step(task, max_steps, max_steps)
    return tuple(float(w) for w in np.exp(found.x))


def left_out_error(
    kernels: Sequence[Tensor],
    y: Tensor,
    parts: Sequence[tuple[LeftOut, float]],
    weights: Float64,
) -> tuple[float, Float64]:
    """Weighted mean squared error of predictions, and its derivative by all weights and noise.

    With ``r = B^-1 alpha`` of a part, B its block of the inverse, ``d r = -B^-1 [A dM (alpha - A
    r)]`` where A are the columns of the inverse of the part, so that one product of every kernel
    with a vector for each part gives all derivatives.
    """
    solution = solve(kernels, weights[:-1].tolist(), float(weights[-1]), y)
    inverse, alpha, n = solution.inverse, solution.alpha, len(y)
    loss, left, right = 0.0, [], []
    for ways, factor in parts:
        for removed, wanted in zip(ways.removed, ways.predicted, strict=True):
            S = torch.from_numpy(removed)
            columns = inverse[:, S]
            block = torch.linalg.cholesky(columns[S])
            r = torch.cholesky_solve(alpha[S, None], block)[:, 0]
            keep = torch.zeros_like(r)
            keep[torch.from_numpy(np.searchsorted(removed, wanted))] = 1.0
            loss += factor * float((keep * r) @ r) / n
            g = torch.cholesky_solve((keep * r)[:, None], block)[:, 0]
            left.append(columns @ g * (-2 * factor / n))
            right.append(alpha - columns @ r)
    U, V = torch.stack(left, dim=1), torch.stack(right, dim=1)
    slopes = [float((U * (kernel @ V.to(kernel.dtype)).double()).sum()) for kernel in kernels]
    return loss, np.array([*slopes, float((U * V).sum())])
