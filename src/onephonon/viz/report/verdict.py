"""Assessment of a fit in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onephonon.refine.parametrization import LogSprings
from onephonon.refine.residuals import SIGNIFICANT, BChange, Diagnosis, Rings, Spikes, diagnose
from onephonon.refine.result import Fit
from onephonon.refine.table import spring_table

from .html import fixed, number, percent

#: Chi-square per voxel up to which data are nearly explained although it is significantly above 1.
MAX_CHI2_NEARLY_EXPLAINED = 3.0

#: Ratio of held-out to fitted chi-square from which held-out data are explained worse.
MIN_WORSE_RATIO = 1.25

#: Anisotropic correlation on held-out data below which model and data hardly agree.
MIN_CC = 0.2

#: Standard errors by which two indexings must differ to be distinguished.
MIN_STANDARD_ERRORS = 2.0

#: Fraction of the background in the intensity above which the model contributes little.
MAX_BACKGROUND_SHARE = 0.9

#: Minimum number of independent held-out sets for a reliable choice.
MIN_INDEPENDENT_SETS = 4

#: Bound of the shift of springs by inexact averages over voxels, in standard errors, from which it
#: is named. The shift itself is a third of it at most in tests.
MAX_AVERAGING_SHIFT = 3.0

#: Springs that differ from the start by a larger factor give a warning.
MAX_SPRING_FACTOR = 100.0


@dataclass(frozen=True)
class Verdict:
    """Sentences that assess a fit.

    Parameters
    ----------
    explained : str
        Whether the model explains the data.
    held_out : str
        Whether held-out data are explained as well as fitted data.
    gain : str
        Improvement over the starting model.
    warnings : tuple of str
        Possible problems.
    good : bool
        The data are explained, held-out data as well as fitted data, and there are no warnings.
    """

    explained: str
    held_out: str
    gain: str
    warnings: tuple[str, ...]
    good: bool

    @property
    def lines(self) -> tuple[str, ...]:
        """The whole verdict, a sentence or two each."""
        end = ("No problems were found.",) if self.good else self.warnings
        return (self.explained, self.held_out, self.gain, *end)


def assess_fit(fit: Fit, found: Diagnosis | None = None) -> Verdict:
    """Assess a fit.

    Parameters
    ----------
    fit : Fit
    found : Diagnosis, optional
        What the residuals of the chosen level say, if it is known already.
    """
    best, found = fit.best, found or diagnose(fit)
    explained, within_errors = _explained(fit, found)
    ratio = best.held_out.chi2 / best.used.chi2 if best.used.chi2 > 0 else math.nan
    as_well = ratio <= MIN_WORSE_RATIO
    held_out = (
        f"Held-out data are explained {'as well as' if as_well else 'worse than'} fitted data: "
        f"chi-square per voxel is {number(best.held_out.chi2)} held out and "
        f"{number(best.used.chi2)} fitted."
    )
    warnings = (*_indexing_warnings(fit), *_residual_warnings(found), *_fit_warnings(fit))
    good = within_errors and as_well and not warnings
    return Verdict(explained, held_out, _gain(fit), warnings, good)


def _explained(fit: Fit, found: Diagnosis) -> tuple[str, bool]:
    """Whether the model explains the data within their errors, by chi-square."""
    chi2 = fit.best.held_out.chi2
    if found.used is None or found.held_out is None:
        return (
            "The data have no sigma, so it is not known whether they are explained within their "
            "errors. Chi-square is relative to the variance of the data at equal |q|, of which the "
            f"model leaves {number(chi2)} unexplained.",
            False,
        )
    whole = found.used.with_others(found.held_out)
    numbers = (
        f"chi-square is {number(chi2)} per held-out voxel and {number(fit.best.used.chi2)} per "
        f"fitted voxel, where {number(found.held_out.expected)} and {number(found.used.expected)} "
        "are expected"
    )
    if whole.excess <= SIGNIFICANT:
        sentence = f"The model explains the data within their errors: {numbers}."
        if whole.excess < -SIGNIFICANT:
            sentence += (
                f" It is smaller than expected by {number(-whole.excess, 2)} standard deviations "
                f"for {whole.n} independent voxels: the sigma of the data are too large, or "
                "neighbouring voxels are not independent."
            )
        return sentence, True
    nearly = whole.value <= MAX_CHI2_NEARLY_EXPLAINED * whole.expected
    start = (
        "The model nearly explains the data, but not within their errors"
        if nearly
        else "The model does not explain the data within their errors"
    )
    larger = math.sqrt(whole.value / whole.expected) - 1
    return (
        f"{start}: {numbers}. It is larger by {number(whole.excess, 2)} standard deviations for "
        f"{whole.n} independent voxels. Either the model is incomplete, or sigma are too small by "
        f"{percent(larger)}; uncertainties of springs are lower limits.",
        False,
    )


def _residual_warnings(found: Diagnosis) -> tuple[str, ...]:
    """Warnings about faults that leave a pattern in the residuals."""
    lines = []
    if found.b_change is not None:
        lines.append(_b_warning(found.b_change))
    if found.rings is not None:
        lines.append(_ring_warning(found.rings))
    if found.spikes is not None:
        lines.append(_spike_warning(found.spikes))
    return tuple(lines)


def _b_warning(b: BChange) -> str:
    return (
        "B-factors disagree: residuals change with |q| as if all B of the crystal were "
        f"{number(abs(b.value))} ± {number(b.error, 2)} Å² "
        f"{'larger' if b.value > 0 else 'smaller'} than those of the file (mean "
        f"{number(b.mean_b)} Å²). Springs compensate for it and may be wrong by more than their "
        "uncertainties; check the temperature and the B of the structure, or refine them."
    )


def _ring_warning(rings: Rings) -> str:
    where = ", ".join(
        f"{d:.2f} Å ({'+' if h > 0 else '−'}{percent(abs(h))} of the mean intensity)"
        for d, h in zip(rings.d, rings.height, strict=True)
    )
    return (
        f"Rings: residuals depend on |q| alone, most at {where}; such shells hold "
        f"{percent(rings.share)} of the excess of chi-square ({number(rings.significance, 2)} "
        "standard deviations). Ice, water or powder does this: leave these resolutions out, "
        "subtract the isotropic part, or use a background with more knots."
    )


def _spike_warning(spikes: Spikes) -> str:
    hkl = ", ".join(f"{x:.3g}" for x in spikes.hkl)
    many = "voxel differs" if spikes.n == 1 else "voxels differ"
    return (
        f"Spikes: {spikes.n} isolated {many} from the fit and from the neighbours, at most by "
        f"{number(spikes.largest)} sigma at hkl {hkl}; they hold {percent(spikes.share)} of "
        "chi-square. Mask them, or fit with --loss soft_l1."
    )


def _gain(fit: Fit) -> str:
    """Improvement over the starting model, on held-out data."""
    start, best = fit.series.start.held_out, fit.best.held_out
    change = fixed(best.cc_anisotropic - start.cc_anisotropic, 3, True)
    sentence = (
        "The fit changes the anisotropic CC of held-out data from "
        f"{fixed(start.cc_anisotropic)} to {fixed(best.cc_anisotropic)} ({change}), "
        f"and chi-square from {number(start.chi2)} to {number(best.chi2)}."
    )
    first = fit.best.gain if fit.series.chosen == 0 else None
    if first is not None and not first.clear:
        sentence += " This is no clear gain over the starting model."
    return sentence


def _indexing_warnings(fit: Fit) -> tuple[str, ...]:
    """Warnings about the indexing."""
    matrix = fit.reindexing.matrix
    found = []
    trials = fit.indexing.trials if fit.indexing else ()
    used = next((t for t in trials if np.array_equal(t.reindexing.matrix, matrix)), None)
    others = [t for t in trials if t is not used and math.isfinite(t.cc_anisotropic)]
    if used is not None and others:
        rival = max(others, key=lambda t: t.cc_anisotropic)
        both = (
            f"with the starting model {used.reindexing.name} has anisotropic CC "
            f"{fixed(used.cc_anisotropic)} and "
            f"{rival.reindexing.name} {fixed(rival.cc_anisotropic)}"
        )
        if used.behind > MIN_STANDARD_ERRORS * used.behind_error:
            found.append(f"The indexing may be wrong: {both}. Fit again with --reindex best.")
        elif used.behind > 0 or rival.behind < MIN_STANDARD_ERRORS * rival.behind_error:
            found.append(f"The indexing is not certain: {both}.")
    cc = fit.best.held_out.cc_anisotropic
    if not cc >= MIN_CC:
        found.append(
            f"Model and data hardly agree: the anisotropic CC of held-out data is {fixed(cc)}. "
            "Check the indexing, hand, space group, cell and structure; or the scattering may have "
            "another origin than rigid-body motion."
        )
    return tuple(found)


def _fit_warnings(fit: Fit) -> tuple[str, ...]:
    """Warnings about the fit."""
    best, found = fit.best, []
    if not best.minimum.converged:
        found.append(f"The fit has not converged: {best.minimum.reason}.")
    share = best.held_out.background
    if share > MAX_BACKGROUND_SHARE:
        found.append(
            f"The background is {percent(share)} of the calculated intensity: the model explains "
            "little."
        )
    if fit.averaging is not None:
        shift = fit.averaging.shift / math.sqrt(best.dispersion)
        if shift > MAX_AVERAGING_SHIFT:
            found.append(
                "Averages over voxels are inexact: springs may be wrong by up to "
                f"{number(shift, 2)} standard errors. {_better_averages(fit)}"
            )
    sets = len(np.unique(fit.voxels.orbit[fit.voxels.held_out]))
    if sets < MIN_INDEPENDENT_SETS:
        few = f"Only {sets} independent set{'s were' if sets != 1 else ' was'} held out"
        found.append(f"{few}: the choice of the level is unreliable.")
    names = []
    if isinstance(best.parametrization, LogSprings):
        # Ratios of constants: with a fitted scale the free parameters share an arbitrary factor.
        far = math.log(MAX_SPRING_FACTOR)
        names = [row.name for row in spring_table(fit) if abs(math.log(row.ratio)) > far]
    if names:
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        found.append(
            f"Springs that differ from the start by more than a factor of {MAX_SPRING_FACTOR:g}: "
            f"{shown}. Such values are not physical."
        )
    return tuple(found)


def _better_averages(fit: Fit) -> str:
    """How to average more accurately."""
    if fit.settings.average is not None:
        return "Fit without --average, or with a higher order."
    order = int(fit.voxels.order.max()) + 2
    return f"Give a higher order to all voxels, --average {order}, which takes longer."
