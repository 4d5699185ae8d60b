"""Minimization over the shapes of the terms, with amplitudes and background always at their best.

Levenberg-Marquardt in a trust region (`scipy.optimize.least_squares`), which keeps to limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from onephonon.core.progress import Progress

from .projection import Measurements, Projection, project, projected_slopes
from .terms import Term

Float64 = NDArray[np.float64]

#: A parameter this close to its limit, relative to the limit, is at it.
AT_LIMIT = 1e-3


@dataclass(frozen=True, eq=False)
class Shapes:
    """Intensities of all terms at free parameters, and derivatives of each by its own.

    Parameters
    ----------
    x : Tensor, shape (n,)
        Free parameters of all terms, one term after the other.
    intensities : Tensor, shape (N, n_terms)
    slopes : tuple of Tensor, shapes (N, n_c)
    """

    x: Tensor
    intensities: Tensor
    slopes: tuple[Tensor, ...]

    def weighted(self, amplitudes: Tensor) -> Tensor:
        """Derivatives of the sum with given amplitudes, shape (N, n)."""
        pairs = zip(amplitudes, self.slopes, strict=True)
        return torch.cat([a * slopes for a, slopes in pairs], dim=1)


def split(x: Tensor, terms: Sequence[Term]) -> tuple[Tensor, ...]:
    """The free parameters of each term."""
    return x.split([term.n for term in terms])


def shapes_at(terms: Sequence[Term], x: Tensor) -> Shapes:
    """Evaluate all terms, with derivatives."""
    each = [term.slopes(own) for term, own in zip(terms, split(x, terms), strict=True)]
    return Shapes(x, torch.stack([e[0] for e in each], dim=1), tuple(e[1] for e in each))


@dataclass(frozen=True, eq=False)
class Minimum:
    """Result of a minimization.

    Parameters
    ----------
    shapes : Shapes
    projection : Projection
    at_limit : Tensor, shape (n,), bool
        Free parameters that ended at a limit.
    converged : bool
    reason : str
        Why it ended.
    """

    shapes: Shapes
    projection: Projection
    at_limit: Tensor
    converged: bool
    reason: str

    @property
    def model(self) -> Tensor:
        """Sum of the terms at every voxel, on the data's scale, shape (N,)."""
        return self.shapes.intensities @ self.projection.amplitudes


@dataclass
class _Recent:
    """The last evaluation: value and Jacobian are asked for at the same place in turn."""

    terms: Sequence[Term]
    shapes: Shapes
    progress: Progress
    task: str
    max_steps: int
    count: int = field(default=0)

    def at(self, x: Float64) -> Shapes:
        new = torch.from_numpy(np.array(x)).to(self.shapes.x)
        if not torch.equal(new, self.shapes.x):
            self.shapes = shapes_at(self.terms, new)
            self.count += 1
            self.progress.step(self.task, min(self.count, self.max_steps), self.max_steps)
        return self.shapes


def minimize(
    terms: Sequence[Term],
    measured: Measurements,
    start: Shapes,
    *,
    max_steps: int,
    tolerance: float,
    prior: float = 0.0,
    progress: Progress | None = None,
    task: str = "fit",
) -> Minimum:
    """Minimize chi-square and the prior from a start that is evaluated already.

    Parameters
    ----------
    terms : sequence of Term
    measured : Measurements
    start : Shapes
    max_steps : int
        Maximum number of evaluations.
    tolerance : float
        It ends when a step changes the parameters by less, relative to their size, or chi-square by
        less than the square.
    prior : float
        Weight of the squared free parameters, relative to chi-square.
    progress : Progress, optional
    task : str
        Its name in reports of progress.
    """
    recent = _Recent(terms, start, progress or Progress(), task, max_steps)
    limits = np.repeat([t.max_change for t in terms], [t.n for t in terms])
    at_limit = torch.zeros(len(limits), dtype=torch.bool)
    if not len(limits):
        return Minimum(start, project(start.intensities, measured), at_limit, True, "linear")

    def residuals(x: Float64) -> Float64:
        at = project(recent.at(x).intensities, measured)
        return np.concatenate([at.residual.cpu().numpy(), np.sqrt(prior) * x])

    def jacobian(x: Float64) -> Float64:
        shapes = recent.at(x)
        at = project(shapes.intensities, measured)
        slopes = shapes.weighted(at.amplitudes)
        by_data = projected_slopes(at, slopes, measured).cpu().numpy()
        return np.concatenate([by_data, np.sqrt(prior) * np.eye(len(x))])

    found = least_squares(
        residuals,
        start.x.cpu().numpy(),
        jacobian,
        bounds=(-limits, limits),
        xtol=tolerance,
        ftol=tolerance**2,
        gtol=1e-12,
        max_nfev=max_steps,
    )
    shapes = recent.at(found.x)
    at_limit = torch.from_numpy(np.abs(found.x) >= (1 - AT_LIMIT) * limits)
    projection = project(shapes.intensities, measured)
    return Minimum(shapes, projection, at_limit, found.status > 0, str(found.message))
