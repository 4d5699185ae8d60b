"""Assessment of a fit in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onephonon.refine.parametrization import LogSprings
from onephonon.refine.result import Fit

from .html import fixed, number, percent

#: Chi-square per voxel up to which data are explained within their errors, and nearly so. An error
#: of sigma of ten percent changes it by twenty percent.
MAX_CHI2_EXPLAINED, MAX_CHI2_NEARLY_EXPLAINED = 1.25, 3.0

#: Ratio of held-out to fitted chi-square from which held-out data are explained worse.
MIN_WORSE_RATIO = 1.25

#: Anisotropic correlation on held-out data below which model and data hardly agree.
MIN_CC = 0.2

#: Standard errors that distinguish two indexings.
MIN_STANDARD_ERRORS = 2.0

#: Fraction of the background in the intensity above which the model contributes little.
MAX_BACKGROUND_SHARE = 0.9

#: Minimum number of independent held-out sets for a reliable choice.
MIN_INDEPENDENT_SETS = 4

#: Factor from the start beyond which springs are suspect.
MAX_SPRING_FACTOR = 100.0


@dataclass(frozen=True)
class Verdict:
    """Sentences that assess a fit.

    Parameters
    ----------
    explains : str
        Whether the model explains the data.
    holds : str
        Whether the held-out data support the fit.
    gains : str
        Improvement by the fit.
    warnings : tuple of str
        Possible problems.
    good : bool
        Data explained, held-out data agree, and no warnings.
    """

    explains: str
    holds: str
    gains: str
    warnings: tuple[str, ...]
    good: bool


def assess_fit(fit: Fit) -> Verdict:
    """Assess a fit."""
    best = fit.best
    explains, within = _explains(fit)
    ratio = best.held_out.chi2 / best.used.chi2 if best.used.chi2 > 0 else math.nan
    compared = (
        f"chi-square per voxel {number(best.held_out.chi2)} held out, {number(best.used.chi2)} "
        "fitted"
    )
    holds = (
        f"Held-out data are explained as well as those fitted: {compared}."
        if ratio <= MIN_WORSE_RATIO
        else f"Held-out data are explained worse than those fitted: {compared}."
    )
    warnings = (*_of_indexing(fit), *_of_fit(fit))
    return Verdict(
        explains, holds, _gains(fit), warnings, within and ratio <= MIN_WORSE_RATIO and not warnings
    )


def _explains(fit: Fit) -> tuple[str, bool]:
    """By chi-square of the held-out voxels."""
    chi2 = fit.best.held_out.chi2
    if not fit.voxels.sigma_known:
        return (
            "The data have no sigma, so whether they are explained to within their errors is not "
            f"known. Chi-square is counted in the spread of the data at equal |q|: the model "
            f"leaves {number(chi2)} of 1.",
            False,
        )
    if chi2 <= MAX_CHI2_EXPLAINED:
        sentence = "The model explains the data to within their errors"
    elif chi2 <= MAX_CHI2_NEARLY_EXPLAINED:
        sentence = "The model nearly explains the data to within their errors"
    else:
        sentence = "The model does not explain the data to within their errors"
    return (
        f"{sentence}: chi-square {number(chi2)} per held-out voxel (1 if it did).",
        chi2 <= MAX_CHI2_EXPLAINED,
    )


def _gains(fit: Fit) -> str:
    """Over the untuned model, on held-out data."""
    untuned, best = fit.series.untuned.held_out, fit.best.held_out
    rises = fixed(best.cc_anisotropic - untuned.cc_anisotropic, 3, True)
    sentence = (
        f"Over the untuned model, fitting takes the anisotropic CC of held-out data from "
        f"{fixed(untuned.cc_anisotropic)} to {fixed(best.cc_anisotropic)} ({rises}) "
        f"and chi-square from {number(untuned.chi2)} to {number(best.chi2)}."
    )
    first = fit.best.gain if fit.series.chosen == 0 else None
    if first is not None and not first.clear:
        sentence += " That is no clear gain: the untuned springs do as well."
    return sentence


def _of_indexing(fit: Fit) -> tuple[str, ...]:
    """Warnings about the indexing."""
    matrix = fit.reindexing.matrix
    found = []
    trials = fit.indexing.trials if fit.indexing else ()
    used = next((t for t in trials if np.array_equal(t.reindexing.matrix, matrix)), None)
    others = [t for t in trials if t is not used and math.isfinite(t.cc_anisotropic)]
    if used is not None and others:
        rival = max(others, key=lambda t: t.cc_anisotropic)
        both = (
            f"untuned, {used.reindexing.name} has anisotropic CC {fixed(used.cc_anisotropic)} and "
            f"{rival.reindexing.name} {fixed(rival.cc_anisotropic)}"
        )
        if used.behind > MIN_STANDARD_ERRORS * used.behind_error:
            found.append(f"Wrong indexing? {both}. Fit again with --reindex best.")
        elif used.behind > 0 or rival.behind < MIN_STANDARD_ERRORS * rival.behind_error:
            found.append(f"The indexing is not certain: {both}.")
    cc = fit.best.held_out.cc_anisotropic
    if not cc >= MIN_CC:
        found.append(
            f"Model and data hardly agree: anisotropic CC {fixed(cc)} on held-out data. Wrong "
            "indexing, hand, space group, cell or structure? Or another origin of the scattering?"
        )
    return tuple(found)


def _of_fit(fit: Fit) -> tuple[str, ...]:
    """Warnings about the fit."""
    best, found = fit.best, []
    if not best.minimum.converged:
        found.append(f"The fit has not converged: {best.minimum.why}.")
    share = best.held_out.background
    if share > MAX_BACKGROUND_SHARE:
        found.append(
            f"The background is {percent(share)} of the fitted intensity: the model explains "
            "little."
        )
    sets = len(np.unique(fit.voxels.orbit[fit.voxels.held_out]))
    if sets < MIN_INDEPENDENT_SETS:
        few = f"Only {sets} independent set{'s were' if sets != 1 else ' was'} held out"
        found.append(f"{few}: the choice of the model is unreliable.")
    far = best.x.abs() > math.log(MAX_SPRING_FACTOR)
    if bool(far.any()) and isinstance(best.parametrization, LogSprings):
        names = [n for n, f in zip(best.parametrization.names, far.tolist(), strict=True) if f]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        found.append(
            f"More than a factor of {MAX_SPRING_FACTOR:g} from the geometric start: {shown}. Such "
            "values do not represent contacts."
        )
    return tuple(found)
