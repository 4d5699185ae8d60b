"""Covariance of amplitudes and shapes together, by leaving out blocks of voxels.

Residuals of neighbouring voxels are correlated whenever a model is not perfect, so errors are not
taken from the noise of single voxels. Each block of voxels is left out in turn, and the change of
all parameters follows from the quadratic of chi-square at the minimum (one step of Gauss-Newton):
the delete-one jackknife, without a fit for each block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor

from .minimization import Minimum
from .projection import Measurements

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Fewer blocks than this give no useful error; that of independent noise is used instead.
MIN_BLOCKS = 8

#: Eigenvalues of the scaled normal matrix below this fraction of the largest are undetermined.
UNDETERMINED = 1e-11

#: Probability of the upper limit of an amplitude that is zero.
LIMIT_PROBABILITY = 0.95


@dataclass(frozen=True, eq=False)
class Inference:
    """Covariance of the numbers of a fit.

    Parameters
    ----------
    covariance : Tensor, shape (n_terms + n, n_terms + n)
        Of the amplitudes, then of the free parameters of all terms. Rows of amplitudes at zero, and
        of parameters that such terms or limits leave without meaning, are zero.
    known : Tensor, shape (n_terms + n,), bool
        Whether a number has an uncertainty.
    method : str
        How they were estimated.
    """

    covariance: Tensor
    known: Tensor
    method: str


def infer(at: Minimum, measured: Measurements, block: Index, prior: float = 0.0) -> Inference:
    """Covariance at a minimum.

    Parameters
    ----------
    at : Minimum
    measured : Measurements
    block : ndarray, shape (N,), int64
        Number of the independent block of each voxel.
    prior : float
        Weight of the squared free parameters in the minimization.
    """
    projection, shapes = at.projection, at.shapes
    n_terms, n = len(projection.amplitudes), len(shapes.x)
    meaningful = _meaningful(at)
    # From the coordinates that can change to all numbers.
    free = torch.zeros(n_terms + n, projection.directions.shape[1] + int(meaningful.sum()))
    free = free.to(projection.columns)
    k = projection.directions.shape[1]
    free[:n_terms, :k] = projection.directions
    free[n_terms:, k:] = torch.eye(n).to(free)[:, meaningful]
    slopes = shapes.weighted(projection.amplitudes)[:, meaningful]
    columns = torch.cat([shapes.intensities @ projection.directions, slopes], dim=1)
    weights = np.repeat([0.0, prior], [k, columns.shape[1] - k])
    small, method = _covariance(columns, projection.residual, measured, block, weights)
    covariance = free @ small @ free.T
    return Inference(covariance, covariance.diagonal() > 0, method)


def upper_limit(at: Minimum, term: int, measured: Measurements, block: Index) -> float:
    """Upper limit of an amplitude that ended at zero, at 95 % probability.

    The amplitude is freed, also to be negative, with all others that are not zero and with the
    shapes fixed. The limit is the quantile of that normal distribution cut off at zero.
    """
    projection = at.projection
    free = projection.amplitudes > 0
    free = free.clone()
    free[term] = True
    which = torch.nonzero(free)[:, 0]
    place = int((which == term).nonzero()[0, 0])
    columns = at.shapes.intensities[:, which]
    A = projection.columns[:, which]
    y = projection.residual + projection.columns @ projection.amplitudes
    best = torch.linalg.lstsq(A, y[:, None]).solution[:, 0]
    covariance, _ = _covariance(columns, y - A @ best, measured, block)
    value, sigma = float(best[place]), float(covariance[place, place].sqrt())
    if not sigma > 0:
        return float("inf")
    above = float(ndtr(value / sigma))
    if above < 1e-12:  # so far below zero that the tail is exponential
        return float(-np.log1p(-LIMIT_PROBABILITY) * sigma**2 / -value)
    return value + sigma * float(-ndtri((1 - LIMIT_PROBABILITY) * above))


def _meaningful(at: Minimum) -> Tensor:
    """Free parameters of terms that are not zero, away from limits, shape (n,), bool."""
    pairs = zip(at.projection.amplitudes, at.shapes.slopes, strict=True)
    present = [torch.full((s.shape[1],), bool(a > 0)) for a, s in pairs]
    whole = torch.cat(present) if present else torch.zeros(0, dtype=torch.bool)
    return whole & ~at.at_limit


def _covariance(
    columns: Tensor,
    residual: Tensor,
    measured: Measurements,
    block: Index,
    prior: Float64 | None = None,
) -> tuple[Tensor, str]:
    """Covariance of the coefficients of columns (N, p), with the background's eliminated.

    `prior` (p,) is the information that each coefficient has from elsewhere.
    """
    root, p = measured.root, columns.shape[1]
    if not p:
        return columns.new_zeros(0, 0), "nothing to estimate"
    if measured.background.shared:
        whole = root[:, None] * torch.cat([columns, measured.background.columns], dim=1)
    else:
        # Blocks consist of whole halos, each with its own background.
        whole = root[:, None] * measured.without_background(columns)
    size = torch.linalg.vector_norm(whole, dim=0)
    size = torch.where(size > 0, size, 1.0)
    design = (whole / size).cpu().numpy()
    r, used = residual.cpu().numpy(), measured.used.cpu().numpy()
    F = design.T @ design
    P = np.zeros(len(F))
    if prior is not None:
        P[:p] = prior / (size[:p].cpu().numpy() ** 2)
    F = F + np.diag(P)
    _, number = np.unique(block[used], return_inverse=True)
    n_blocks = int(number.max()) + 1
    if n_blocks < MIN_BLOCKS:
        left = max(1, int(used.sum()) - np.linalg.matrix_rank(F, tol=UNDETERMINED))
        found = _pinv(F) * max(1.0, float(r @ r) / left)
        method = f"noise of single voxels: {n_blocks} blocks are too few for a jackknife"
    else:
        found = _jackknife(design[used], r[used], F, number.reshape(-1), n_blocks)
        # What the prior says instead of the data is as uncertain as the prior.
        inverse = _pinv(F)
        found = found + (inverse * P) @ inverse
        method = f"jackknife over {n_blocks} blocks of voxels"
    scaled = torch.from_numpy(found).to(columns)[:p, :p] / (size[:p, None] * size[:p])
    return scaled, method


def _jackknife(
    design: Float64, residual: Float64, F: Float64, number: Index, n_blocks: int
) -> Float64:
    """Delete-one jackknife of linear least squares, exactly, from sums over each block."""
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(n_blocks + 1))
    moved = np.empty((n_blocks, len(F)))
    for b in range(n_blocks):
        rows = order[ends[b] : ends[b + 1]]
        D = design[rows]
        moved[b] = -_pinv(F - D.T @ D) @ (D.T @ residual[rows])
    away = moved - moved.mean(axis=0)
    return np.asarray((n_blocks - 1) / n_blocks * away.T @ away)


def _pinv(F: Float64) -> Float64:
    return np.asarray(np.linalg.pinv(F, rcond=UNDETERMINED, hermitian=True))
