"""Profile likelihood of a spring: the objective as a function of one spring constant."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from onephonon.core.errors import InputError, NetworkError
from onephonon.core.progress import Progress, ProgressLike

from .model_series import LevelFit
from .objective import Evaluation, Objective
from .parametrization import find_levels, make_parametrization
from .result import Fit
from .settings import FitSettings
from .table import MIN_SQUARED_SLOPE, log_slope, root, row_names, row_title

if TYPE_CHECKING:
    from onephonon.model.one_phonon import OnePhonon

Float64 = NDArray[np.float64]

#: Springs named in an error about a name.
MAX_TITLES = 12

#: Range of a profile in standard uncertainties, and maximum factor.
SIGMA_RANGE, MAX_FACTOR = 3.0, 100.0

#: Convergence of a point: predicted decrease of the objective in dispersions, a thousandth of the
#: rise at the ends of a 68 % interval.
MIN_PREDICTED_DECREASE = 1e-3

#: Maximum steps per point.
MAX_STEPS = 50

#: Penalty for springs that do not stabilize the crystal, in dispersions, times 1 + |u|^2.
UNSTABLE_PENALTY = 1e6

#: Exceptions raised for springs that do not stabilize the crystal.
UNSTABLE_ERRORS = (NetworkError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]

#: Tolerance of the fixed logarithm, and maximum number of rounds.
LOG_TOLERANCE, MAX_ROUNDS = 1e-10, 20


@dataclass(frozen=True, eq=False)
class Profile:
    """The objective as a function of one spring, minimized over all other parameters.

    Parameters
    ----------
    name : str
        Name of a row of the spring table.
    x : ndarray, shape (n,)
        Logarithm of the spring constant in kT/Å^2 (kT/rad^2), from the lowest.
    value : ndarray, shape (n,)
        The spring constant.
    chi2 : ndarray, shape (n,)
        Increase of chi-square and prior above the minimum, divided by the dispersion; infinite
        where no stable springs were found.
    data_chi2 : ndarray, shape (n,)
        The part of it that is chi-square.
    parabola : ndarray, shape (n,)
        The increase by the Gauss-Newton quadratic.
    best : float
        The spring constant of the fit.
    sigma_log : float
        Gauss-Newton standard uncertainty of its logarithm.
    interval_68, interval_95 : (float, float)
        Where the increase is 1 and 4; 0 or infinite if it does not get there.
    converged : bool
        Whether all points converged.
    """

    name: str
    x: Float64
    value: Float64
    chi2: Float64
    data_chi2: Float64
    parabola: Float64
    best: float
    sigma_log: float
    interval_68: tuple[float, float]
    interval_95: tuple[float, float]
    converged: bool


def check_profile_names(model: OnePhonon, settings: FitSettings, names: Iterable[str]) -> None:
    """Check, before a fit, that springs whose profiles are wanted can come out of it.

    Raises
    ------
    InputError
        If no level of the fit has a spring of that name.
    """
    names = tuple(names)
    if not names:
        return
    titles: dict[str, None] = {}
    for level in find_levels(settings.levels):
        with suppress(InputError):  # the fit leaves such a level out
            made = make_parametrization(level, model.bodies, model.contacts, 1.0)
            titles |= dict.fromkeys(row_title(group, way) for group, _, way in row_names(made))
    for name in names:
        if name not in titles:
            first = ", ".join(repr(title) for title in list(titles)[:MAX_TITLES])
            more = f" and {len(titles) - MAX_TITLES} more" if len(titles) > MAX_TITLES else ""
            raise InputError(
                f"spring {name!r} is at no level of this fit, so it has no profile; its springs "
                f"are {first}{more}"
            )


def profile(
    fit: Fit,
    name: str,
    level: LevelFit | None = None,
    n_points: int = 13,
    progress: ProgressLike | None = None,
) -> Profile:
    """Fix one spring constant at a series of values, and refit everything else at each.

    The logarithm of the constant in kT/Å^2 is fixed: if a scale was fitted, a common factor of all
    springs does not affect it.

    Parameters
    ----------
    fit : Fit
    name : str
        Name of a row of the spring table.
    level : LevelFit, optional
        By default the chosen level.
    n_points : int
        Number of points, with the best value in the middle. They cover three standard
        uncertainties to both sides, or factors of 100 if those are smaller.
    progress : Progress or callable, optional

    Raises
    ------
    InputError
        If there is no such spring, if the number of points is even or less than 5, or if the mean
        B-factor alone determines the spring.
    """
    level = level or fit.best
    titles = [row_title(group, way) for group, _, way in row_names(level.parametrization)]
    if name not in titles:
        raise InputError(f"spring {name!r} is not one of {', '.join(titles)}")
    if n_points < 5 or n_points % 2 == 0:
        raise InputError(f"n_points {n_points}: give an odd number, 5 or more")
    objective = replace(
        fit.objective,
        parametrization=level.parametrization,
        basis=None,
        prior=level.uncertainty.prior,
        dispersion=level.dispersion,
    ).suited_to(level.x)
    fixed = _FixedSpring(fit, level, titles.index(name), objective)
    log, slope = fixed.log(level.x.detach())
    if float(slope.square().sum()) < MIN_SQUARED_SLOPE:
        raise InputError(
            f"spring {name!r} has no profile, since the mean B-factor alone determines it"
        )
    sigma = float(torch.linalg.vector_norm(fixed.root.T @ slope))
    offsets = np.linspace(-1, 1, n_points) * min(SIGMA_RANGE, np.log(MAX_FACTOR) / sigma)
    x = log + sigma * offsets
    points = fixed.trace(level.x.detach(), x, Progress.of(progress))
    both = np.array([point.rises(objective) for point in points])
    total, data = both.T
    rise = total - total.min()
    return Profile(
        name=name,
        x=x,
        value=np.exp(x),
        chi2=rise,
        data_chi2=data - data[int(total.argmin())],
        parabola=offsets**2,
        best=float(np.exp(log)),
        sigma_log=sigma,
        interval_68=crossings(x, rise, 1.0),
        interval_95=crossings(x, rise, 4.0),
        converged=all(point.converged for point in points),
    )


def crossings(x: Float64, rise: Float64, level: float) -> tuple[float, float]:
    """``exp(x)`` on both sides of the minimum where the rise reaches a level; 0 or inf if not.

    The root of the rise, nearly straight, is interpolated.
    """
    lowest, root_of = int(rise.argmin()), np.sqrt(rise)
    ends = [0.0, np.inf]
    for side, step in enumerate((-1, 1)):
        i = lowest
        while 0 <= i + step < len(x):
            i += step
            if rise[i] >= level:
                j = i - step
                if not np.isfinite(rise[i]):
                    break
                part = (np.sqrt(level) - root_of[j]) / (root_of[i] - root_of[j])
                ends[side] = float(np.exp(x[j] + part * (x[i] - x[j])))
                break
    return ends[0], ends[1]


@dataclass(frozen=True, eq=False)
class _Point:
    """The minimum with a spring fixed; None if no springs stabilize the crystal."""

    at: Evaluation | None
    converged: bool

    def rises(self, objective: Objective) -> tuple[float, float]:
        """The objective and the data's part of it, in dispersions."""
        if self.at is None:
            return np.inf, np.inf
        data = self.at.objective - float(objective.penalty(self.at.x))
        return self.at.objective / objective.dispersion, data / objective.dispersion


class _FixedSpring:
    """The objective with one spring fixed.

    Springs change by ``R u``, with R R^T the covariance, in which the objective is nearly a
    sphere, and then along ``v = R R^T a`` until the spring has its fixed value; a is the gradient
    of its logarithm.
    """

    def __init__(self, fit: Fit, level: LevelFit, row: int, objective: Objective) -> None:
        self.fit, self.level, self.row, self.objective = fit, level, row, objective
        self.root = root(fit, level)
        slope = self.log(level.x.detach())[1]
        along = self.root @ (self.root.T @ slope)
        self.along = along / (slope @ along)

    def log(self, x: Tensor) -> tuple[float, Tensor]:
        """Logarithm of the spring constant, and its slope."""
        value, slope = log_slope(self.fit, self.level, self.row, x)
        return float(value), slope

    def place(self, x: Tensor, log: float) -> tuple[Tensor, Tensor]:
        """Free parameters with the spring at a logarithm, and the slope there."""
        for _ in range(MAX_ROUNDS):
            value, slope = self.log(x)
            if abs(log - value) <= LOG_TOLERANCE:
                break
            x = x + (log - value) / (slope @ self.along) * self.along
        return x, slope

    def trace(self, best: Tensor, logs: Float64, progress: Progress) -> list[_Point]:
        """Points from the middle to both sides, each started from the previous one."""
        n, middle = len(logs), len(logs) // 2
        found: dict[int, _Point] = {}
        for indices in (range(middle, n), range(middle - 1, -1, -1)):
            start = found[middle].at if found else None
            x = best if start is None else start.x
            for i in indices:
                progress.step("profile", len(found), n)
                found[i] = self.minimize(x, logs[i])
                at = found[i].at
                x = x if at is None else at.x
        progress.step("profile", n, n)
        return [found[i] for i in range(n)]

    def minimize(self, start: Tensor, log: float) -> _Point:
        """Minimize over everything else."""
        phi, n = self.objective.dispersion, self.root.shape[1]
        try:
            start, _ = self.place(start, log)
            first = self.objective.evaluate(start).objective
        except UNSTABLE_ERRORS:
            return _Point(None, False)

        def function(u: Float64) -> tuple[float, Float64]:
            try:
                x, slope = self.place(start + self.root @ torch.from_numpy(u).to(start), log)
                at, g = self.objective.gradient(x)
            except UNSTABLE_ERRORS:
                return UNSTABLE_PENALTY * (1 + float(u @ u)), 2 * UNSTABLE_PENALTY * u
            g = g - slope * ((g @ self.along) / (slope @ self.along))
            return (at.objective - first) / phi, (self.root.T @ g).numpy(force=True) / phi

        # The remaining decrease is a quarter of the squared gradient.
        end = 2 * np.sqrt(MIN_PREDICTED_DECREASE / n)
        options = {"maxiter": MAX_STEPS, "ftol": 0.0, "gtol": end, "maxcor": 20}
        found = minimize(function, np.zeros(n), jac=True, method="L-BFGS-B", options=options)
        if not found.fun <= 0:
            return _Point(self.objective.evaluate(start), False)
        x, _ = self.place(start + self.root @ torch.from_numpy(np.asarray(found.x)).to(start), log)
        return _Point(self.objective.evaluate(x), bool(found.success))
