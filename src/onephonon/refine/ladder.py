"""The ladder: more and more springs, for as long as the held-out data are better explained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .certainty import Certainty
from .families import Family, Rung, family_basis, find_rungs, make_family
from .objective import Evaluation, Objective
from .optimize import Minimum, minimize_objective
from .quality import Explained, Gain, Quality, gain, shells
from .settings import FitSettings
from .voxels import FitVoxels

Float64 = NDArray[np.float64]

#: Weights of the prior that are tried, from the strongest.
PRIORS = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)

#: Tried weights that are no better than an earlier one before the search ends.
PATIENCE = 2

#: While weights are tried, springs may still move by this factor's logarithm, and chi-square fall
#: by this much in dispersions.
ROUGH = (0.1, 0.3)

#: Shells of reports.
SHELLS = 10


@dataclass(frozen=True, eq=False)
class RungFit:
    """A rung of the ladder, fitted.

    Parameters
    ----------
    family : Family
    minimum : Minimum
    prior : float
        lambda.
    dispersion : float
        phi: chi-square per voxel that uncertainties are scaled to.
    certainty : Certainty
    explained : Explained
    used, held_out : Quality
    used_shells, held_out_shells : tuple of Quality
    tried : tuple of (float, float, float)
        Weights of the prior tried, with chi-square per voxel fitted and held out.
    gain : Gain or None
        Over the best rung below, on the held-out halos.
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
        """Which rung."""
        return self.family.rung

    @property
    def x(self) -> Tensor:
        """Free numbers, shape (n,)."""
        return self.minimum.at.x


@dataclass(frozen=True, eq=False)
class Ladder:
    """The rungs that were climbed.

    Parameters
    ----------
    untuned : RungFit
        The geometric start, not fitted.
    rungs : tuple of RungFit
    chosen : int
        The rung to believe.
    said : tuple of str
        Why the ladder ended, and what was left out.
    """

    untuned: RungFit
    rungs: tuple[RungFit, ...]
    chosen: int
    said: tuple[str, ...]

    @property
    def best(self) -> RungFit:
        """The rung to believe."""
        return self.rungs[self.chosen]


#: Told of each rung when it is done, so that it can be saved.
Done = Callable[[RungFit], None]

#: Told (rung, weight of the prior, steps, objective per voxel, longest move).
Watch = Callable[[str, float, int, float, float], None]


@dataclass(frozen=True, eq=False)
class Climb:
    """What every rung of a ladder shares.

    Parameters
    ----------
    voxels : FitVoxels
    objective : Objective
        Of the untuned model; rungs replace family, prior and dispersion.
    settings : FitSettings
    watch : callable, optional
    """

    voxels: FitVoxels
    objective: Objective
    settings: FitSettings
    watch: Watch | None = None

    def climb(self, done: Done | None = None, known: dict[str, Known] | None = None) -> Ladder:
        """Fit rung after rung.

        Parameters
        ----------
        done : callable, optional
        known : dict, optional
            Rungs fitted before, by name, that need not be fitted again.
        """
        untuned = self._untuned()
        rungs: list[RungFit] = []
        chosen, waited = 0, 0
        said: list[str] = []
        for rung in find_rungs(self.settings.ladder):
            try:
                family = self._family(rung, rungs)
            except InputError as error:
                said.append(f"{rung.said}: left out, for {error}")
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
                said.append("the ladder ends here")
                break
        if not rungs:
            raise InputError(f"no rung of the ladder suits this crystal: {'; '.join(said)}")
        return Ladder(untuned, tuple(rungs), chosen, tuple(said))

    def _untuned(self) -> RungFit:
        """The geometric start."""
        objective = self.objective
        at = objective.evaluate(torch.zeros(objective.family.n).to(objective.data))
        still = Minimum(at, 0, 0.0, True, "not fitted")
        return self._report(objective, still, (), None)

    def _family(self, rung: Rung, rungs: list[RungFit]) -> Family:
        """Springs of a rung, counted from the best single spring."""
        start = self.objective.family.start
        if rungs and rungs[0].rung.name == "global" and not self.objective.fit_scale:
            start *= math.exp(float(rungs[0].x[0]))
        own = self.objective.family
        return make_family(rung, own.bodies, own.contacts, start)

    def _fit(
        self, family: Family, below: RungFit, best: RungFit, known: dict[str, Known]
    ) -> RungFit:
        """Fit one rung, from the one below; its gain is over the best."""
        objective = replace(
            self.objective,
            family=family,
            basis=family_basis(family),
            dispersion=self._dispersion(below),
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
            minimum = self._minimize(objective, saved.x.to(start))
            tried = list(saved.tried)
        elif self.settings.prior is not None or family.n == 1:
            # One spring for all has no start to be drawn to.
            prior = 0.0 if family.n == 1 else float(self.settings.prior or 0.0)
            objective = replace(objective, prior=prior)
            minimum = self._minimize(objective, start)
            tried.append((prior, *self._both(minimum.at)))
        else:
            objective, minimum, tried = self._best_prior(objective, start)
        gained = gain(
            best.explained.loss[self.voxels.held_out],
            _numpy(minimum.at.loss)[self.voxels.held_out],
            self._independent(),
        )
        return self._report(objective, minimum, tuple(tried), gained)

    def _best_prior(
        self, objective: Objective, start: Tensor
    ) -> tuple[Objective, Minimum, list[tuple[float, float, float]]]:
        """Weaken the prior for as long as the held-out data gain."""
        best: tuple[float, Objective, Minimum] | None = None
        tried: list[tuple[float, float, float]] = []
        worse = 0
        for prior in PRIORS:
            objective = replace(objective, prior=prior)
            minimum = self._minimize(objective, start, *ROUGH)
            start = minimum.at.x
            both = self._both(minimum.at)
            tried.append((prior, *both))
            if best is None or both[1] < best[0]:
                best, worse = (both[1], objective, minimum), 0
            else:
                worse += 1
            if worse == PATIENCE:
                break
        assert best is not None
        return best[1], self._minimize(best[1], best[2].at.x), tried

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

    def _dispersion(self, fitted: RungFit) -> float:
        """Chi-square per voxel to expect: never less than 1 where sigma are known."""
        found = fitted.used.chi2
        return max(1.0, found) if self.voxels.sigma_known else max(found, 1e-12)

    def _independent(self) -> NDArray[np.int64]:
        return self.voxels.orbit[self.voxels.held_out]

    def _report(
        self,
        objective: Objective,
        minimum: Minimum,
        tried: tuple[tuple[float, float, float], ...],
        gained: Gain | None,
    ) -> RungFit:
        """Gather what is known of a rung at its minimum."""
        at, voxels = minimum.at, self.voxels
        explained = Explained.of(
            voxels,
            at.scale * _numpy(at.intensity),
            _numpy(at.background),
            _numpy(at.loss),
        )
        out = voxels.held_out
        used = explained.over(~out, voxels.s)
        dispersion = max(1.0, used.chi2) if voxels.sigma_known else used.chi2
        information = objective.slopes(at).hessian / dispersion
        return RungFit(
            family=objective.family,
            minimum=minimum,
            prior=objective.prior,
            dispersion=dispersion,
            certainty=Certainty(information, objective.prior * objective.dispersion / dispersion),
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
    """What is saved of a rung: enough to go on from there.

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
        f"chi-square of the held-out voxels changes by {-gained.value:+.3g} per voxel, with a "
        f"standard error of {gained.error:.2g}, which is no clear gain"
    )


def _numpy(x: Tensor) -> Float64:
    return np.asarray(x.detach().cpu().double().numpy())
