"""Minimization of the objective: Levenberg-Marquardt for few parameters, L-BFGS for many.

For a poor model the Gauss-Newton quadratic neglects much of the second derivative and converges
slowly. L-BFGS then continues in coordinates in which that quadratic is a sphere, and builds up the
remaining curvature from gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from onephonon.core.errors import NetworkError
from onephonon.core.progress import Progress, ProgressLike

from .objective import Evaluation, Objective

#: Maximum number of parameters for Levenberg-Marquardt; beyond it gradients are cheaper.
MAX_NEWTON_PARAMETERS = 400

#: Maximum step of the logarithm of a spring: a factor e^2.
MAX_LOG_STEP = 2.0

#: Convergence: predicted decrease of chi-square in dispersions, a thousandth of the effect of a
#: change by one standard uncertainty.
MIN_PREDICTED_DECREASE = 1e-3

#: Convergence is slow if the predicted decrease exceeds this fraction of the previous one.
SLOW_CONVERGENCE = 0.2

#: Steps of L-BFGS before the next Gauss-Newton step.
LBFGS_STEPS = 40

#: Number of gradients stored by L-BFGS.
LBFGS_MEMORY = 20

#: Damping is multiplied by this after a rejected step, and divided after an accepted one.
DAMPING_FACTOR = 4.0

#: Initial and maximum damping, relative to the diagonal.
INITIAL_DAMPING, MAX_DAMPING = 1e-4, 1e10

#: Relative rounding of the normal equations: directions below it are undetermined. They are sums
#: over many voxels from which scale and background have been eliminated.
ROUNDING = 1e-10

#: Relative decrease at which L-BFGS ends: rounding of the objective.
MIN_DECREASE = 1e-12

#: Penalty for springs that do not stabilize the crystal, in dispersions per voxel.
UNSTABLE_PENALTY = 1e3


@dataclass(frozen=True, eq=False)
class Minimum:
    """Result of a minimization.

    Parameters
    ----------
    at : Evaluation
    n_steps : int
    largest_change : float
        Largest change of the logarithm of a spring in the last step considered.
    converged : bool
    reason : str
        Why it ended.
    """

    at: Evaluation
    n_steps: int
    largest_change: float
    converged: bool
    reason: str


@dataclass(frozen=True, eq=False)
class Minimizer:
    """Minimizes an objective.

    Parameters
    ----------
    objective : Objective
    max_steps : int
    tolerance : float
        Converged if a further step would change no logarithm of a spring by more, and
    predicted_decrease : float
        would not decrease the objective by more, in dispersions.
    progress : Progress
    task : str
        Name of the minimization in reports of progress.
    """

    objective: Objective
    max_steps: int = 50
    tolerance: float = 1e-3
    predicted_decrease: float = MIN_PREDICTED_DECREASE
    progress: Progress = field(default_factory=Progress)
    task: str = "fit"

    def minimize(self, start: Tensor) -> Minimum:
        """Minimize by the method that suits the number of parameters."""
        few = self.objective.parametrization.n <= MAX_NEWTON_PARAMETERS
        minimum = self.levenberg_marquardt(start) if few else self.lbfgs(start)
        n_steps = max(1, minimum.n_steps)
        self.progress.step(self.task, n_steps, n_steps, minimum.reason)
        return minimum

    def is_converged(self, change: float, predicted_decrease: float) -> bool:
        """Whether a step is within the tolerances."""
        return (
            change <= self.tolerance
            and predicted_decrease <= self.predicted_decrease * self.objective.dispersion
        )

    def levenberg_marquardt(self, start: Tensor) -> Minimum:
        """Damped steps with the exact Jacobian, alternating with L-BFGS if convergence is slow."""
        objective = self.objective
        at, damping, last = objective.evaluate(start), INITIAL_DAMPING, np.inf
        step, change = 0, np.inf
        while step < self.max_steps:
            quadratic = Quadratic.at(objective, at)
            newton = quadratic.step(0.0)
            change, predicted_decrease = (
                float(newton.abs().max()),
                quadratic.predicted_decrease(newton),
            )
            if predicted_decrease <= 0 or self.is_converged(change, predicted_decrease):
                return Minimum(at, step, change, True, "springs and objective no longer change")
            if (
                predicted_decrease > SLOW_CONVERGENCE * last
                and predicted_decrease < objective.n_used * objective.dispersion
            ):
                better, taken = self._quasi_newton(at, quadratic, step)
                step, last = step + taken, np.inf
            else:
                better, damping = self._damped(at, quadratic, damping)
                step, last = step + 1, predicted_decrease
            if better is None:
                small = self.is_converged(change, 0.0) or predicted_decrease <= 1e-8 * at.objective
                reason = "no step decreases the objective any more"
                return Minimum(at, step, change, small, reason)
            at = better
            self._report(step, self.max_steps, at.objective, change)
        return Minimum(at, step, change, False, f"stopped after {self.max_steps} steps")

    def _damped(
        self, at: Evaluation, quadratic: Quadratic, damping: float
    ) -> tuple[Evaluation | None, float]:
        """A step that lowers the objective, and the damping for the next."""
        while damping < MAX_DAMPING:
            move = quadratic.step(damping)
            longest = float(move.abs().max())
            move = move * min(1.0, MAX_LOG_STEP / longest) if longest > 0 else move
            trial = self._evaluate(at.x + move)
            if trial is not None and trial.objective < at.objective:
                return trial, max(damping / DAMPING_FACTOR, ROUNDING)
            damping *= DAMPING_FACTOR
        return None, damping

    def _evaluate(self, x: Tensor) -> Evaluation | None:
        """The objective; None if the springs do not stabilize the crystal."""
        try:
            return self.objective.evaluate(x)
        except NetworkError:
            return None

    def _report(self, step: int, max_steps: int, value: float, change: float) -> None:
        detail = f"objective {value / self.objective.n_used:.6g} per voxel, "
        self.progress.step(self.task, step, max_steps, f"{detail}largest change {change:.2g}")

    def _quasi_newton(
        self, at: Evaluation, quadratic: Quadratic, step: int
    ) -> tuple[Evaluation | None, int]:
        """L-BFGS in coordinates in which the quadratic is a sphere, after a number of steps."""
        max_steps = min(LBFGS_STEPS, self.max_steps - step)
        scale = quadratic.root()
        # Half the objective, in dispersions: then the quadratic has unit curvature.
        unit = 2 * self.objective.dispersion
        scale = scale * self.objective.dispersion**0.5
        taken = 0

        def function(z: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            there = at.x + scale @ torch.from_numpy(z).to(at.x)
            try:
                found, g = self.objective.gradient(there)
            except NetworkError:
                return UNSTABLE_PENALTY * self.objective.n_used, np.zeros(len(z))
            fall = (found.objective - at.objective) / unit
            return fall, (scale.T @ g).numpy(force=True) / unit

        def after(intermediate_result: object) -> None:
            nonlocal taken
            taken += 1
            x = torch.from_numpy(np.asarray(intermediate_result.x)).to(at.x)  # type: ignore[attr-defined]
            value = at.objective + unit * float(intermediate_result.fun)  # type: ignore[attr-defined]
            self._report(step + taken, self.max_steps, value, float((scale @ x).abs().max()))

        found = minimize(
            function,
            np.zeros(len(at.x)),
            jac=True,
            method="L-BFGS-B",
            callback=after,
            options={
                "maxiter": max_steps,
                "maxcor": LBFGS_MEMORY,
                "ftol": 0.0,
                # The predicted decrease of a step is the squared gradient, over all coordinates.
                "gtol": 0.3 * (2 * self.predicted_decrease / len(at.x)) ** 0.5,
            },
        )
        trial = self._evaluate(at.x + scale @ torch.from_numpy(found.x).to(at.x))
        better = trial is not None and trial.objective < at.objective
        return (trial if better else None), max(1, taken)

    def lbfgs(self, start: Tensor) -> Minimum:
        """Gradients by the adjoint alone, for many parameters."""
        objective, taken, change = self.objective, 0, np.inf
        max_steps = 10 * self.max_steps
        last = start.numpy(force=True).astype(np.float64)
        unit = 2 * objective.dispersion

        def function(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            try:
                at, g = objective.gradient(torch.from_numpy(x).to(start))
            except NetworkError:
                return UNSTABLE_PENALTY * objective.n_used, np.zeros(len(x))
            return at.objective / unit, g.numpy(force=True).astype(np.float64) / unit

        def after(intermediate_result: object) -> None:
            nonlocal taken, change, last
            x = np.asarray(intermediate_result.x)  # type: ignore[attr-defined]
            taken, change, last = taken + 1, float(np.abs(x - last).max()), x.copy()
            value = unit * float(intermediate_result.fun)  # type: ignore[attr-defined]
            self._report(taken, max_steps, value, change)

        found = minimize(
            function,
            last.copy(),
            jac=True,
            method="L-BFGS-B",
            callback=after,
            options={
                "maxiter": max_steps,
                "maxcor": LBFGS_MEMORY,
                "ftol": MIN_DECREASE,
                "gtol": 0.3 * (2 * self.predicted_decrease / len(start)) ** 0.5 * self.tolerance,
            },
        )
        at = objective.evaluate(torch.from_numpy(found.x).to(start))
        small = bool(found.success) and change <= 10 * self.tolerance
        return Minimum(at, taken, change, small, str(found.message).lower())


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Gauss-Newton quadratic of half the objective around a point.

    Parameters
    ----------
    hessian : Tensor, shape (n, n)
    gradient : Tensor, shape (n,)
        Minus the gradient.
    """

    hessian: Tensor
    gradient: Tensor

    @classmethod
    def at(cls, objective: Objective, at: Evaluation) -> Quadratic:
        """The quadratic of data and prior."""
        slopes, ridge = objective.slopes(at), objective.prior * objective.dispersion
        eye = torch.eye(len(at.x)).to(slopes.hessian)
        return cls(slopes.hessian + ridge * eye, slopes.gradient - ridge * at.x)

    def step(self, damping: float) -> Tensor:
        """The step to the minimum with damping relative to the diagonal.

        Undetermined directions do not change.
        """
        diagonal = self.hessian.diagonal()
        # The floor is rounding of the others.
        floor = ROUNDING * float(diagonal.max().clamp(min=1e-300))
        values, vectors = torch.linalg.eigh(
            self.hessian + torch.diag(damping * diagonal.clamp(min=floor))
        )
        good = values > ROUNDING * values[-1].clamp(min=1e-300)
        along = vectors.T @ self.gradient
        return vectors @ torch.where(good, along / torch.where(good, values, 1.0), 0.0)

    def predicted_decrease(self, step: Tensor) -> float:
        """Predicted decrease of the objective for a step."""
        return float(step @ (2 * self.gradient - self.hessian @ step))

    def root(self) -> Tensor:
        """R with ``R^T H R = 1`` in determined directions, 0 elsewhere."""
        values, vectors = torch.linalg.eigh(self.hessian)
        good = values > ROUNDING * values[-1].clamp(min=1e-300)
        return vectors * torch.where(good, torch.where(good, values, 1.0).rsqrt(), 0.0)


def minimize_objective(
    objective: Objective,
    start: Tensor,
    max_steps: int = 50,
    tolerance: float = 1e-3,
    predicted_decrease: float = MIN_PREDICTED_DECREASE,
    progress: ProgressLike | None = None,
    task: str = "fit",
) -> Minimum:
    """Find the springs that minimize the objective.

    Parameters
    ----------
    objective : Objective
    start : Tensor, shape (n,)
        Free parameters to begin with.
    max_steps, tolerance, predicted_decrease, progress, task
        See `Minimizer`.

    Returns
    -------
    Minimum
    """
    how = (max_steps, tolerance, predicted_decrease, Progress.of(progress), task)
    return Minimizer(objective, *how).minimize(start)
