"""Series of models, with more springs at each level as long as held-out data fit better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress

from .minimizations import Minimizations, SavedMinimum
from .objective import Evaluation, Objective
from .optimize import MIN_PREDICTED_DECREASE, Minimum, minimize_objective
from .parametrization import (
    Level,
    Parametrization,
    find_levels,
    make_parametrization,
    parametrization_basis,
)
from .quality import Gain, Quality, VoxelResults, gain, shells
from .settings import FitSettings
from .uncertainty import Uncertainty
from .voxels import FitVoxels

Float64 = NDArray[np.float64]

#: Weights of the prior to try, strongest first.
PRIORS = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)

#: The search ends after this many weights without improvement.
PRIOR_PATIENCE = 2

#: Convergence tolerances while weights are tried: change of the logarithm of a spring, and decrease
#: of chi-square in dispersions.
ROUGH_TOLERANCES = (0.1, 0.3)

#: Relative tolerance of the dispersion, and maximum number of rounds.
DISPERSION_TOLERANCE, MAX_DISPERSION_ROUNDS = 0.02, 4

#: Maximum rounds of a minimization whose springs need longer series of orders beyond the first.
MAX_SERIES_ROUNDS = 3

#: Step of the logarithm of the mean B-factor for a difference, which errs by its square.
B_STEP = 0.01

#: Number of resolution shells in reports.
N_SHELLS = 10


@dataclass(frozen=True, eq=False)
class LevelFit:
    """A fitted level of the series of models.

    Parameters
    ----------
    parametrization : Parametrization
    minimum : Minimum
    prior : float
        Weight of the prior, lambda.
    dispersion : float
        Chi-square per voxel to which uncertainties are scaled, phi.
    uncertainty : Uncertainty
    voxel_results : VoxelResults
    used, held_out : Quality
    used_shells, held_out_shells : tuple of Quality
    tried : tuple of (float, float, float)
        Weights of the prior tried, with chi-square per voxel fitted and held out.
    gain : Gain or None
        Gain on the held-out halos, relative to the level chosen before.
    b_shift : Tensor or None, shape (n,)
        Derivative of the free parameters by the logarithm of the file's mean B-factor, which
        sets the thermal scale of orders beyond the first if a scale is fitted; None otherwise.
    """

    parametrization: Parametrization
    minimum: Minimum
    prior: float
    dispersion: float
    uncertainty: Uncertainty
    voxel_results: VoxelResults
    used: Quality
    held_out: Quality
    used_shells: tuple[Quality, ...]
    held_out_shells: tuple[Quality, ...]
    tried: tuple[tuple[float, float, float], ...]
    gain: Gain | None
    b_shift: Tensor | None = None

    @property
    def level(self) -> Level:
        """The level that was fitted."""
        return self.parametrization.level

    @property
    def x(self) -> Tensor:
        """Free parameters, shape (n,)."""
        return self.minimum.at.x


@dataclass(frozen=True, eq=False)
class ModelSeries:
    """The fitted series of models.

    Parameters
    ----------
    start : LevelFit
        The starting model, not fitted.
    levels : tuple of LevelFit
    chosen : int
        Index of the chosen level.
    messages : tuple of str
        Why the series ended, and which levels were skipped.
    """

    start: LevelFit
    levels: tuple[LevelFit, ...]
    chosen: int
    messages: tuple[str, ...]

    @property
    def best(self) -> LevelFit:
        """The chosen level."""
        return self.levels[self.chosen]


@dataclass(frozen=True, eq=False)
class SeriesFitter:
    """Fits a series of models to the same voxels.

    Parameters
    ----------
    voxels : FitVoxels
    objective : Objective
        Of the starting model; each level replaces parametrization, prior and dispersion.
    settings : FitSettings
    progress : Progress
        Receives the steps of every minimization, and messages on every level.
    """

    voxels: FitVoxels
    objective: Objective
    settings: FitSettings
    progress: Progress = field(default_factory=Progress)

    def fit_levels(
        self,
        on_level: Callable[[LevelFit], None] | None = None,
        on_minimum: Callable[[SavedMinimum], None] | None = None,
        saved: Sequence[SavedMinimum] = (),
    ) -> ModelSeries:
        """Fit one level after the other.

        Parameters
        ----------
        on_level : callable, optional
            Called with each level as soon as it is fitted.
        on_minimum : callable, optional
            Called with the result of each minimization, for example to save it.
        saved : sequence of SavedMinimum
            Results of an interrupted fit, which are not computed again.

        Raises
        ------
        InputError
            If the crystal allows none of the levels.
        """
        first, minimizations = self._start(), Minimizations(saved, on_minimum)
        levels: list[LevelFit] = []
        chosen, waited = 0, 0
        messages: list[str] = []

        def record(message: str) -> None:
            messages.append(message)
            self.progress.message(message)

        for level in find_levels(self.settings.levels):
            try:
                parametrization = self._parametrization(level, levels)
            except InputError as error:
                record(f"{level.description}: skipped, because {error}")
                continue
            below = levels[chosen] if levels else first
            fitted = self._fit(
                parametrization, levels[-1] if levels else first, below, minimizations
            )
            levels.append(fitted)
            self.progress.message(_summary(fitted))
            if on_level:
                on_level(fitted)
            better = fitted.gain is not None and fitted.gain.clear
            if better or len(levels) == 1:
                chosen, waited = len(levels) - 1, 0
                continue
            record(f"{level.description}: {_no_gain(fitted)}")
            waited += 1
            if waited > self.settings.patience:
                record("no further levels are fitted")
                break
        if not levels:
            raise InputError(
                f"no level of the series can be used for this crystal: {'; '.join(messages)}"
            )
        return ModelSeries(first, tuple(levels), chosen, tuple(messages))

    def _start(self) -> LevelFit:
        """The starting model, not fitted."""
        objective = self.objective
        at = objective.evaluate(torch.zeros(objective.parametrization.n).to(objective.data))
        minimum = Minimum(at, 0, 0.0, True, "not fitted")
        return self._report(objective, minimum, (), None)

    def _parametrization(self, level: Level, levels: list[LevelFit]) -> Parametrization:
        """Parametrization of a level, relative to the best single spring."""
        start = self.objective.parametrization.start
        if levels and levels[0].level.name == "global" and not self.objective.fit_scale:
            start *= math.exp(float(levels[0].x[0]))
        own = self.objective.parametrization
        return make_parametrization(level, own.bodies, own.contacts, start)

    def _fit(
        self,
        parametrization: Parametrization,
        below: LevelFit,
        best: LevelFit,
        minimizations: Minimizations,
    ) -> LevelFit:
        """Fit one level, starting from the previous one; its gain is relative to the best."""
        objective = replace(
            self.objective,
            parametrization=parametrization,
            basis=parametrization_basis(parametrization),
            dispersion=self._dispersion(below.minimum.at),
        )
        start = parametrization.initial_values(below.parametrization, below.x)
        objective = objective.suited_to(start)
        tried: list[tuple[float, float, float]] = []
        if parametrization.n == 1 and objective.fit_scale:
            at = objective.evaluate(start)
            minimum = Minimum(at, 0, 0.0, True, "the only spring is determined by the scale")
        elif self.settings.prior is not None or parametrization.n == 1:
            # One spring for all is not restrained.
            prior = 0.0 if parametrization.n == 1 else float(self.settings.prior or 0.0)
            objective = replace(objective, prior=prior)
            objective, minimum = self._minimize_with_dispersion(objective, start, minimizations)
            tried.append((prior, *self._chi2(minimum.at)))
        else:
            objective, minimum, tried = self._best_prior(objective, start, minimizations)
        gained = self._gain(best.minimum.at.loss, minimum.at.loss)
        return self._report(objective, minimum, tuple(tried), gained)

    def _best_prior(
        self, objective: Objective, start: Tensor, minimizations: Minimizations
    ) -> tuple[Objective, Minimum, list[tuple[float, float, float]]]:
        """Weaken the prior as long as held-out data fit better, and use the best weight.

        If the held-out data do not distinguish several weights from the best, the one closest to
        maximal evidence is used (see `Uncertainty.fitting_prior`): the choice would otherwise be
        random, and a prior that is too strong makes uncertainties too small.
        """
        candidates: list[tuple[Objective, Minimum]] = []
        tried: list[tuple[float, float, float]] = []
        best = 0
        for prior in PRIORS:
            objective = replace(objective, prior=prior)
            objective, minimum = self._minimize(objective, start, minimizations, *ROUGH_TOLERANCES)
            start = minimum.at.x
            candidates.append((objective, minimum))
            objective = replace(objective, dispersion=self._dispersion(minimum.at))
            tried.append((prior, *self._chi2(minimum.at)))
            best = min(range(len(tried)), key=lambda i: tried[i][2])
            if len(tried) - 1 - best >= PRIOR_PATIENCE:
                break
        objective, minimum = candidates[best]
        expected = self._uncertainty(objective, minimum.at).fitting_prior(minimum.at.x)
        similar = [c for c in candidates if not self._gain(c[1].at.loss, minimum.at.loss).clear]
        objective, minimum = min(similar, key=lambda c: abs(math.log(c[0].prior / expected)))
        return *self._minimize_with_dispersion(objective, minimum.at.x, minimizations), tried

    def _minimize_with_dispersion(
        self, objective: Objective, start: Tensor, minimizations: Minimizations
    ) -> tuple[Objective, Minimum]:
        """Minimize with a dispersion consistent with the minimum."""
        for _ in range(MAX_DISPERSION_ROUNDS):
            objective, minimum = self._minimize(objective, start, minimizations)
            found, start = self._dispersion(minimum.at), minimum.at.x
            if abs(math.log(found / objective.dispersion)) < DISPERSION_TOLERANCE:
                break
            objective = replace(objective, dispersion=found)
        return objective, minimum

    def _uncertainty(self, objective: Objective, at: Evaluation) -> Uncertainty:
        """Information of data and prior, scaled by the dispersion at the minimum."""
        found = self._dispersion(at)
        information = objective.slopes(at).hessian / found
        if objective.fit_scale:
            # The scale compensates a common factor of all springs exactly; the rest is rounding.
            common = objective.parametrization.common.to(information)
            keep = torch.eye(len(common)).to(information) - torch.outer(common, common)
            information = keep @ information @ keep
        return Uncertainty(information, objective.prior * objective.dispersion / found)

    def _b_shift(
        self, objective: Objective, at: Evaluation, uncertainty: Uncertainty
    ) -> Tensor | None:
        """How the minimum moves with the mean B-factor: by the change of the gradient."""
        if objective.forward.higher is None or not objective.fit_scale:
            return None
        ends = []
        for sign in (1, -1):
            forward = objective.forward.with_b_factor(math.exp(sign * B_STEP))
            ends.append(replace(objective, forward=forward).gradient(at.x)[1])
        change = (ends[0] - ends[1]) / (2 * B_STEP)
        shift = -uncertainty.covariance @ change / (2 * self._dispersion(at))
        # A common factor of all springs changes nothing.
        common = objective.parametrization.common.to(shift)
        return shift - (shift @ common) * common

    def _gain(self, before: Tensor, after: Tensor) -> Gain:
        """Gain on the held-out voxels, from rho of every voxel."""
        out = self.voxels.held_out
        return gain(_numpy(before)[out], _numpy(after)[out], self.voxels.orbit[out])

    def _minimize(
        self,
        objective: Objective,
        start: Tensor,
        minimizations: Minimizations,
        tolerance: float | None = None,
        predicted_decrease: float = MIN_PREDICTED_DECREASE,
    ) -> tuple[Objective, Minimum]:
        """Minimize, again if the springs found need longer series of orders beyond the first."""
        for _ in range(MAX_SERIES_ROUNDS):
            minimum = self._minimize_once(
                objective, start, minimizations, tolerance, predicted_decrease
            )
            suited = objective.suited_to(minimum.at.x)
            if suited is objective:
                break
            objective, start = suited, minimum.at.x
        return objective, minimum

    def _minimize_once(
        self,
        objective: Objective,
        start: Tensor,
        minimizations: Minimizations,
        tolerance: float | None,
        predicted_decrease: float,
    ) -> Minimum:
        def minimize(start: Tensor) -> Minimum:
            return minimize_objective(
                objective,
                start,
                self.settings.max_steps,
                self.settings.tolerance if tolerance is None else tolerance,
                predicted_decrease,
                self.progress,
                f"{objective.parametrization.level.name}, prior {objective.prior:g}",
            )

        return minimizations.run(objective, start, self.settings.max_steps, minimize)

    def _chi2(self, at: Evaluation) -> tuple[float, float]:
        """Chi-square per voxel, fitted and held out."""
        loss, out = _numpy(at.loss), self.voxels.held_out
        return float(loss[~out].mean()), float(loss[out].mean())

    def _dispersion(self, at: Evaluation) -> float:
        """Chi-square per voxel to which uncertainties are scaled: at least 1 if sigma are known."""
        found = self._chi2(at)[0]
        return max(1.0, found) if self.voxels.sigma_known else max(found, 1e-12)

    def _report(
        self,
        objective: Objective,
        minimum: Minimum,
        tried: tuple[tuple[float, float, float], ...],
        gained: Gain | None,
    ) -> LevelFit:
        """Collect the results of a level at its minimum."""
        at, voxels = minimum.at, self.voxels
        voxel_results = VoxelResults.of(
            voxels,
            at.scale * _numpy(at.intensity),
            _numpy(at.background),
            _numpy(at.loss),
        )
        out = voxels.held_out
        used = voxel_results.over(~out, voxels.s)
        uncertainty = self._uncertainty(objective, at)
        return LevelFit(
            parametrization=objective.parametrization,
            minimum=minimum,
            prior=objective.prior,
            dispersion=self._dispersion(at),
            uncertainty=uncertainty,
            voxel_results=voxel_results,
            used=used,
            held_out=voxel_results.over(out, voxels.s),
            used_shells=shells(voxel_results, ~out, voxels.s, N_SHELLS),
            held_out_shells=shells(voxel_results, out, voxels.s, N_SHELLS),
            tried=tried,
            gain=gained,
            b_shift=self._b_shift(objective, at, uncertainty),
        )


def _summary(fitted: LevelFit) -> str:
    """Agreement of a fitted level with the data, in one line."""
    used, held_out = fitted.used, fitted.held_out
    text = (
        f"{fitted.level.description}: chi-square {used.chi2:.4g} per voxel, held out "
        f"{held_out.chi2:.4g}; anisotropic CC {used.cc_anisotropic:.3f}, held out "
        f"{held_out.cc_anisotropic:.3f}"
    )
    return text if fitted.minimum.converged else f"{text} (not converged: {fitted.minimum.reason})"


def _no_gain(fitted: LevelFit) -> str:
    assert fitted.gain is not None
    gained = fitted.gain
    return (
        f"chi-square of the held-out voxels changes by {0 - gained.value:+.3g} per voxel, with a "
        f"standard error of {gained.error:.2g}: no clear gain"
    )


def _numpy(x: Tensor) -> Float64:
    return np.asarray(x.detach().cpu().double().numpy())
