"""Minimizing the objective: Levenberg and Marquardt with few parameters, L-BFGS with many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from .objective import Evaluation, Objective

#: More parameters than this and slopes of all voxels cost more than many gradients.
FEW = 400

#: Longest step of any logarithm of a spring: a factor e^2.
LONGEST = 2.0

#: A minimization has settled when a step promises to lower chi-square by less, in dispersions: a
#: thousandth of what a move by one standard uncertainty costs.
PROMISE = 1e-3

#: Relative fall of the objective at which L-BFGS ends: rounding of a sum over many voxels.
LEAST_FALL = 1e-11

#: Damping is multiplied by this after a step that made things worse, and divided after a good one.
DAMPING = 4.0

#: Damping at the start, and where it gives up, relative to the diagonal.
FIRST_DAMPING, MOST_DAMPING = 1e-4, 1e10

#: Told (steps done, objective, longest move) after each step.
Watch = Callable[[int, float, float], None]


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a minimization ended, and why.

    Parameters
    ----------
    at : Evaluation
    steps : int
    moved : float
        How far the next step would move the logarithm of any spring.
    converged : bool
    why : str
    """

    at: Evaluation
    steps: int
    moved: float
    converged: bool
    why: str


def minimize_objective(
    objective: Objective,
    start: Tensor,
    max_steps: int = 50,
    tolerance: float = 1e-3,
    watch: Watch | None = None,
    promise: float = PROMISE,
) -> Minimum:
    """Find the springs that make the objective smallest.

    Parameters
    ----------
    objective : Objective
    start : Tensor, shape (n,)
    max_steps : int
    tolerance : float
        Converged when no logarithm of a spring would move by more, and the objective would not
        fall by more than a thousandth of the dispersion.
    watch : callable, optional
    promise : float
        The fall of chi-square, in dispersions, that is not worth a step.

    Returns
    -------
    Minimum
    """
    if objective.family.n <= FEW:
        return _levenberg_marquardt(objective, start, max_steps, tolerance, watch, promise)
    return _lbfgs(objective, start, max_steps, tolerance, watch)


def _levenberg_marquardt(
    objective: Objective,
    start: Tensor,
    max_steps: int,
    tolerance: float,
    watch: Watch | None,
    least: float,
) -> Minimum:
    """Damping follows the objective; the Jacobian is exact and never held."""
    at, damping, moved = objective.evaluate(start), FIRST_DAMPING, np.inf
    ridge = objective.prior * objective.dispersion
    for step in range(max_steps):
        slopes = objective.slopes(at)
        hessian = slopes.hessian + ridge * torch.eye(len(start)).to(slopes.hessian)
        gradient = slopes.gradient - ridge * at.x
        # Springs that nothing speaks for keep still: the floor is rounding of the others'.
        size = hessian.diagonal().clamp(
            min=1e-12 * float(hessian.diagonal().max().clamp(min=1e-300))
        )
        newton = _step(hessian, gradient, 1e-12 * size)
        moved = float(newton.abs().max())
        promise = float(newton @ (2 * gradient - hessian @ newton))
        if promise <= 0 or (moved <= tolerance and promise <= least * objective.dispersion):
            return Minimum(at, step, moved, True, "springs and objective have settled")
        better = None
        while better is None and damping < MOST_DAMPING:
            move = _step(hessian, gradient, damping * size)
            longest = float(move.abs().max())
            move = move * min(1.0, LONGEST / longest) if longest > 0 else move
            trial = objective.evaluate(at.x + move)
            if trial.objective < at.objective:
                better, damping = trial, max(damping / DAMPING, 1e-12)
            else:
                damping *= DAMPING
        if better is None:
            small = moved <= tolerance
            why = "no step lowers the objective any more"
            return Minimum(at, step, moved, small or promise <= 1e-8 * at.objective, why)
        at = better
        if watch:
            watch(step + 1, at.objective, moved)
    return Minimum(at, max_steps, moved, False, f"stopped after {max_steps} steps")


def _step(hessian: Tensor, gradient: Tensor, damping: Tensor) -> Tensor:
    """Solve the damped normal equations."""
    factor, info = torch.linalg.cholesky_ex(hessian + torch.diag(damping))
    if int(info) == 0:
        return torch.cholesky_solve(gradient[:, None], factor)[:, 0]
    values, vectors = torch.linalg.eigh(hessian + torch.diag(damping))
    floor = 1e-12 * float(values.abs().max().clamp(min=1e-300))
    good = values > floor
    along = torch.where(good, (vectors.T @ gradient) / torch.where(good, values, 1.0), 0.0)
    return vectors @ along


def _lbfgs(
    objective: Objective, start: Tensor, max_steps: int, tolerance: float, watch: Watch | None
) -> Minimum:
    """SciPy's L-BFGS with gradients from the adjoint."""
    steps, last = 0, start.numpy(force=True).copy()
    moved = np.inf
    scale = max(objective.evaluate(start).objective, 1e-300)

    def function(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        at, g = objective.gradient(torch.from_numpy(x).to(start))
        return at.objective / scale, g.numpy(force=True) / scale

    def after(x: NDArray[np.float64]) -> None:
        nonlocal steps, last, moved
        steps, moved, last = steps + 1, float(np.abs(x - last).max()), x.copy()
        if watch:
            watch(steps, function(x)[0] * scale, moved)

    found = minimize(
        function,
        last,
        jac=True,
        method="L-BFGS-B",
        callback=after,
        options={"maxiter": 10 * max_steps, "ftol": LEAST_FALL, "gtol": 1e-9, "maxcor": 20},
    )
    at = objective.evaluate(torch.from_numpy(np.asarray(found.x)).to(start))
    return Minimum(at, steps, moved, bool(found.success) and moved <= 10 * tolerance, found.message)
