"""Series of models: more and more springs, as long as the fit to held-out data improves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.errors import InputError

from .objective import Evaluation, Objective
from .optimize import Minimum, minimize_objective
from .parametrization import Family, Rung, family_basis, find_rungs, make_family
from .quality import Explained, Gain, Quality, gain, shells
from .settings import FitSettings
from .uncertainty import Certainty
from .voxels import FitVoxels

Float64 = NDArray[np.float64]

#: Weights of the prior to try, strongest first.
PRIORS = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)

#: The search ends after this many weights without improvement.
PATIENCE = 2

#: Convergence tolerances while weights are tried: change of the logarithm of a spring, and decrease
#: of chi-square in dispersions.
ROUGH = (0.1, 0.3)

#: Relative tolerance of the dispersion, and maximum number of rounds.
SAME_DISPERSION, DISPERSIONS = 0.02, 4

#: Shells of reports.
SHELLS = 10


@dataclass(frozen=True, eq=False)
class RungFit:
    """A fitted model of the series.

    Parameters
    ----------
    family : Family
    minimum : Minimum
    prior : float
        lambda.
    dispersion : float
        phi: chi-square per voxel used to scale uncertainties.
    certainty : Certainty
    explained : Explained
    used, held_out : Quality
    used_shells, held_out_shells : tuple of Quality
    tried : tuple of (float, float, float)
        Weights of the prior tried, with chi-square per voxel fitted and held out.
    gain : Gain or None
        Gain over the best simpler model, on the held-out halos.
    """

    family: Family
    minimum: Minimum
    prior: float
    dispersion: float
    certainty: Certainty
    explained: Explained
    used: Quality
    held_out: Quality
    used_shells: tuple[Quality, ...]
    held_out_shells: tuple[Quality, ...]
    tried: tuple[tuple[float, float, float], ...]
    gain: Gain | None

    @property
    def rung(self) -> Rung:
        """The model that was fitted."""
        return self.family.rung

    @property
    def x(self) -> Tensor:
        """Free numbers, shape (n,)."""
        return self.minimum.at.x


@dataclass(frozen=True, eq=False)
class Ladder:
    """The fitted series of models.

    Parameters
    ----------
    untuned : RungFit
        The geometric start, not fitted.
    rungs : tuple of RungFit
    chosen : int
        Index of the chosen model.
    said : tuple of str
        Why the series ended, and which models were skipped.
    """

    untuned: RungFit
    rungs: tuple[RungFit, ...]
    chosen: int
    said: tuple[str, ...]

    @property
    def best(self) -> RungFit:
        """The rung to believe."""
        return self.rungs[self.chosen]


#: Called after each fitted model, so that it can be saved.
Done = Callable[[RungFit], None]

#: Called with (model name, prior weight, steps, objective per voxel, largest change).
Watch = Callable[[str, float, int, float, float], None]


@dataclass(frozen=True, eq=False)
class Climb:
    """Fits a series of models to the same voxels.

    Parameters
    ----------
    voxels : FitVoxels
    objective : Objective
        Of the untuned model; each model replaces parametrization, prior and dispersion.
    settings : FitSettings
    watch : callable, optional
    """

    voxels: FitVoxels
    objective: Objective
    settings: FitSettings
    watch: Watch | None = None

    def climb(self, done: Done | None = None, known: dict[str, Known] | None = None) -> Ladder:
        """Fit one model after the other.

        Parameters
        ----------
        done : callable, optional
        known : dict, optional
            Models fitted before, by name, that need not be fitted again.
        """
        untuned = self._untuned()
        rungs: list[RungFit] = []
        chosen, waited = 0, 0
        said: list[str] = []
        for rung in find_rungs(self.settings.ladder):
            try:
                family = self._family(rung, rungs)
            except InputError as error:
                said.append(f"{rung.said}: skipped, because {error}")
                continue
            below = rungs[chosen] if rungs else untuned
            fitted = self._fit(family, rungs[-1] if rungs else untuned, below, (known or {}))
            rungs.append(fitted)
            if done:
                done(fitted)
            better = fitted.gain is not None and fitted.gain.clear
            if better or len(rungs) == 1:
                chosen, waited = len(rungs) - 1, 0
                continue
            said.append(f"{rung.said}: {_no_gain(fitted)}")
            waited += 1
            if waited > self.settings.patience:
                said.append("no further models are fitted")
                break
        if not rungs:
            raise InputError(f"no model of the series can be used for this crystal: {'; '.join(said)}")
        return Ladder(untuned, tuple(rungs), chosen, tuple(said))

    def _untuned(self) -> RungFit:
        """The geometric start."""
        objective = self.objective
        at = objective.evaluate(torch.zeros(objective.family.n).to(objective.data))
        still = Minimum(at, 0, 0.0, True, "not fitted")
        return self._report(objective, still, (), None)

    def _family(self, rung: Rung, rungs: list[RungFit]) -> Family:
        """Parametrization of a model, relative to the best single spring."""
        start = self.objective.family.start
        if rungs and rungs[0].rung.name == "global" and not self.objective.fit_scale:
            start *= math.exp(float(rungs[0].x[0]))
        own = self.objective.family
        return make_family(rung, own.bodies, own.contacts, start)

    def _fit(
        self, family: Family, below: RungFit, best: RungFit, known: dict[str, Known]
    ) -> RungFit:
        """Fit one model, starting from the previous one; its gain is relative to the best."""
        objective = replace(
            self.objective,
            family=family,
            basis=family_basis(family),
            dispersion=self._expected(below.minimum.at),
        )
        rung = family.rung.name
        start = family.begin(below.family, below.x)
        tried: list[tuple[float, float, float]] = []
        if family.n == 1 and objective.fit_scale:
            at = objective.evaluate(start)
            minimum = Minimum(at, 0, 0.0, True, "one spring for all is the scale")
        elif rung in known and len(known[rung].x) == family.n:
            saved = known[rung]
            objective = replace(objective, prior=saved.prior)
            objective, minimum = self._settle(objective, saved.x.to(start))
            tried = list(saved.tried)
        elif self.settings.prior is not None or family.n == 1:
            # One spring for all has no start to be restrained to.
            prior = 0.0 if family.n == 1 else float(self.settings.prior or 0.0)
            objective = replace(objective, prior=prior)
            objective, minimum = self._settle(objective, start)
            tried.append((prior, *self._both(minimum.at)))
        else:
            objective, minimum, tried = self._best_prior(objective, start)
        gained = self._gain(best.minimum.at.loss, minimum.at.loss)
        return self._report(objective, minimum, tuple(tried), gained)

    def _best_prior(
        self, objective: Objective, start: Tensor
    ) -> tuple[Objective, Minimum, list[tuple[float, float, float]]]:
        """Weaken the prior as long as the fit to held-out data improves, and choose the best.

        Of weights that the held-out data do not distinguish from the best, the one closest to
        maximal evidence is used; see `Certainty.fitting_prior`. The held-out data alone would
        choose between those by chance, and a prior that is too strong understates uncertainties.
        """
        ways: list[tuple[Objective, Minimum]] = []
        tried: list[tuple[float, float, float]] = []
        best = 0
        for prior in PRIORS:
            objective = replace(objective, prior=prior)
            minimum = self._minimize(objective, start, *ROUGH)
            start = minimum.at.x
            ways.append((objective, minimum))
            objective = replace(objective, dispersion=self._expected(minimum.at))
            tried.append((prior, *self._both(minimum.at)))
            best = min(range(len(tried)), key=lambda i: tried[i][2])
            if len(tried) - 1 - best >= PATIENCE:
                break
        objective, minimum = ways[best]
        wanted = self._certainty(objective, minimum.at).fitting_prior(minimum.at.x)
        equals = [way for way in ways if not self._gain(way[1].at.loss, minimum.at.loss).clear]
        objective, minimum = min(equals, key=lambda w: abs(math.log(w[0].prior / wanted)))
        return *self._settle(objective, minimum.at.x), tried

    def _settle(self, objective: Objective, start: Tensor) -> tuple[Objective, Minimum]:
        """Minimize with a dispersion consistent with the minimum."""
        for _ in range(DISPERSIONS):
            minimum = self._minimize(objective, start)
            found, start = self._expected(minimum.at), minimum.at.x
            if abs(math.log(found / objective.dispersion)) < SAME_DISPERSION:
                break
            objective = replace(objective, dispersion=found)
        return objective, minimum

    def _certainty(self, objective: Objective, at: Evaluation) -> Certainty:
        """Information of data and prior, in units of the dispersion found."""
        found = self._expected(at)
        information = objective.slopes(at).hessian / found
        return Certainty(information, objective.prior * objective.dispersion / found)

    def _gain(self, before: Tensor, after: Tensor) -> Gain:
        """Gain on the held-out voxels, from rho of every voxel."""
        out = self.voxels.held_out
        return gain(_numpy(before)[out], _numpy(after)[out], self.voxels.orbit[out])

    def _minimize(self, objective: Objective, start: Tensor, *rough: float) -> Minimum:
        def watch(steps: int, value: float, moved: float) -> None:
            if self.watch:
                name = objective.family.rung.name
                self.watch(name, objective.prior, steps, value / objective.n_used, moved)

        settings = self.settings
        tolerance, *promise = rough or (settings.tolerance,)
        return minimize_objective(objective, start, settings.max_steps, tolerance, watch, *promise)

    def _both(self, at: Evaluation) -> tuple[float, float]:
        """Chi-square per voxel, fitted and held out."""
        loss, out = _numpy(at.loss), self.voxels.held_out
        return float(loss[~out].mean()), float(loss[out].mean())

    def _expected(self, at: Evaluation) -> float:
        """Expected chi-square per voxel: at least 1 if sigma are known."""
        found = self._both(at)[0]
        return max(1.0, found) if self.voxels.sigma_known else max(found, 1e-12)

    def _report(
        self,
        objective: Objective,
        minimum: Minimum,
        tried: tuple[tuple[float, float, float], ...],
        gained: Gain | None,
    ) -> RungFit:
        """Collect the results of a model at its minimum."""
        at, voxels = minimum.at, self.voxels
        explained = Explained.of(
            voxels,
            at.scale * _numpy(at.intensity),
            _numpy(at.background),
            _numpy(at.loss),
        )
        out = voxels.held_out
        used = explained.over(~out, voxels.s)
        return RungFit(
            family=objective.family,
            minimum=minimum,
            prior=objective.prior,
            dispersion=self._expected(at),
            certainty=self._certainty(objective, at),
            explained=explained,
            used=used,
            held_out=explained.over(out, voxels.s),
            used_shells=shells(explained, ~out, voxels.s, SHELLS),
            held_out_shells=shells(explained, out, voxels.s, SHELLS),
            tried=tried,
            gain=gained,
        )


@dataclass(frozen=True, eq=False)
class Known:
    """Saved result of a model, sufficient to continue from it.

    Parameters
    ----------
    x : Tensor, shape (n,)
    prior : float
    tried : tuple of (float, float, float)
    """

    x: Tensor
    prior: float
    tried: tuple[tuple[float, float, float], ...]

    @classmethod
    def of(cls, fitted: RungFit) -> Known:
        """What to save."""
        return cls(fitted.x, fitted.prior, fitted.tried)


def _no_gain(fitted: RungFit) -> str:
    assert fitted.gain is not None
    gained = fitted.gain
    return (
        f"chi-square of the held-out voxels changes by {0 - gained.value:+.3g} per voxel, with a "
        f"standard error of {gained.error:.2g}, which is no clear gain"
    )


def _numpy(x: Tensor) -> Float64:
    return np.asarray(x.detach().cpu().double().numpy())
