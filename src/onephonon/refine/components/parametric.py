"""Fit of a sum of components to the voxels of a map.

``I(q) = sum_c a_c I_c(q; p_c) + background(|q|)``: terms of a share of 1 each, with amplitudes
``a_c = scale * share_c`` that are not negative. Independent motions add in the covariance, so
that to first order their intensities add. Amplitudes and background are eliminated exactly at every
step; only the shapes p_c are searched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress, ProgressLike

from .folds import NEVER, make_folds
from .inference import Inference, infer, upper_limit
from .minimization import Minimum, minimize, shapes_at, split
from .parametric_result import AmplitudeRow, ParameterRow, ParametricFit
from .preparation import MapProblem
from .projection import Measurements
from .terms import Term

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class ParametricSettings:
    """Settings of a fit of components.

    Parameters
    ----------
    amplitudes : {'free', 'shares'}
        'shares': with intensities on an absolute scale the shares of the mean U add up to 1 at
        most; what they leave moves independently from atom to atom. Without an absolute scale
        only their ratios are known, and both mean the same.
    folds : int
        Number of parts of the voxels that are held out in turn.
    seed : int
        Random seed for the parts.
    max_steps : int
        Maximum number of evaluations of a minimization.
    tolerance : float
        A minimization ends when the parameters, logarithms mostly, change by less.
    prior : float
        Weight of the squared changes of the parameters from the start, relative to chi-square:
        one over the variance expected of them. It keeps springs that the data do not determine from
        running away: 0.01 is a factor e^10.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    amplitudes: str = "free"
    folds: int = 5
    seed: int = 0
    max_steps: int = 100
    tolerance: float = 1e-4
    prior: float = 0.01

    def __post_init__(self) -> None:
        if self.amplitudes not in ("free", "shares"):
            raise InputError(f"amplitudes {self.amplitudes!r} is neither 'free' nor 'shares'")
        if self.folds < 2 or self.folds != int(self.folds):
            raise InputError(f"{self.folds} folds: give a whole number, 2 or more")
        if self.max_steps < 1:
            raise InputError(f"max_steps {self.max_steps}: give 1 or more")
        if not 1e-12 <= self.tolerance <= 0.1:
            raise InputError(f"tolerance {self.tolerance}: give a small number, such as 0.0001")
        if not (math.isfinite(self.prior) and self.prior >= 0):
            raise InputError(f"prior {self.prior}: give a weight, 0 or more")


def fit_parametric(
    terms: Sequence[Term],
    problem: MapProblem,
    settings: ParametricSettings | None = None,
    *,
    fold: Index | None = None,
    progress: ProgressLike | None = None,
) -> ParametricFit:
    """Fit amplitudes and parameters of a sum of components.

    Parameters
    ----------
    terms : sequence of Term
        All at the voxels of the problem.
    problem : MapProblem
        Voxels, data and background; see `prepare`.
    settings : ParametricSettings, optional
    fold : ndarray, shape (N,), int64, optional
        The part in which each voxel is held out, from 0, or -1 for never; by default
        `make_folds` of the settings.
    progress : Progress or callable, optional

    Returns
    -------
    ParametricFit

    Raises
    ------
    InputError
        If there is no term, two have the same name, or there are too few blocks of voxels.
    """
    settings, progress = settings or ParametricSettings(), Progress.of(progress)
    names = [term.name for term in terms]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"components {' + '.join(names) or '(none)'}: give at least one, and each once"
        )
    voxels = problem.voxels
    fold = make_folds(voxels, settings.folds, settings.seed) if fold is None else fold
    measured = problem.measurements()
    if settings.amplitudes == "shares" and problem.absolute:
        measured = Measurements(
            measured.data, measured.weight, measured.used, measured.background, max_total=1.0
        )
    start = shapes_at(terms, measured.data.new_zeros(sum(term.n for term in terms)))

    def fitted(part: Measurements, task: str) -> Minimum:
        return minimize(
            terms,
            part,
            start,
            max_steps=settings.max_steps,
            tolerance=settings.tolerance,
            prior=settings.prior,
            progress=progress,
            task=task,
        )

    best = fitted(measured, "fit")
    predicted, background = np.full((2, voxels.n), np.nan)
    converged = best.converged
    for number in range(int(fold.max()) + 1):
        kept = torch.from_numpy(fold != number).to(measured.used.device)
        part = measured.using(kept)
        without = fitted(part, f"fold {number + 1}")
        converged &= without.converged
        out = fold == number
        predicted[out] = without.model.cpu().numpy()[out]
        background[out] = part.background_of(without.model).cpu().numpy()[out]
    inference = infer(best, measured, voxels.orbit, settings.prior)
    amplitudes = _amplitude_rows(names, best, inference, measured, voxels.orbit)
    labels, parameters, correlation = _numbers(terms, best, inference, problem.absolute)
    return ParametricFit(
        text=" + ".join(term.text for term in terms),
        absolute=problem.absolute,
        parameters=parameters,
        amplitudes=amplitudes,
        names=labels,
        correlation=correlation,
        errors=inference.method,
        voxels=voxels,
        fold=np.where(fold < 0, NEVER, fold),
        fitted=best.model.cpu().numpy(),
        background=measured.background_of(best.model).cpu().numpy(),
        held_out=predicted,
        held_out_background=background,
        converged=converged,
        reason=best.reason,
    )


def _amplitude_rows(
    names: Sequence[str], at: Minimum, inference: Inference, measured: Measurements, block: Index
) -> tuple[AmplitudeRow, ...]:
    values = at.projection.amplitudes
    total = float(values.sum())
    sigma = inference.covariance.diagonal().sqrt()
    rows = []
    for i, name in enumerate(names):
        value, known = float(values[i]), bool(inference.known[i])
        limit = math.nan if value > 0 else upper_limit(at, i, measured, block)
        share = value / total if total > 0 else math.nan
        error = float(sigma[i]) if value > 0 and known else math.nan
        rows.append(AmplitudeRow(name, value, error, limit, share))
    return tuple(rows)


def _numbers(
    terms: Sequence[Term], at: Minimum, inference: Inference, absolute: bool
) -> tuple[tuple[str, ...], tuple[ParameterRow, ...], Float64]:
    """Labels and correlation of amplitudes and reported parameters, and rows of the latter."""
    amplitudes, n_terms = at.projection.amplitudes, len(terms)
    present = [i for i in range(n_terms) if float(amplitudes[i]) > 0]
    limited = [bool(own.any()) for own in at.at_limit.split([t.n for t in terms])]

    def numbers(whole: Tensor) -> Tensor:
        a, x = whole[:n_terms], split(whole[n_terms:], terms)
        shares = a if absolute else a / a.sum()
        return torch.cat([a, *(terms[i].report(x[i], shares[i]) for i in present)])

    whole = torch.cat([amplitudes, at.shapes.x])
    with torch.enable_grad():
        chain = torch.autograd.functional.jacobian(numbers, whole)
    values = numbers(whole).detach().cpu().numpy()
    covariance = (chain @ inference.covariance @ chain.T).cpu().numpy()
    sigma = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
    # A number without any uncertainty is one that the data do not say.
    sigma = np.where(sigma > 1e-12 * np.abs(values), sigma, np.nan)
    labels, rows, place = [f"amplitude of {t.name}" for t in terms], [], n_terms
    kept = list(range(n_terms))
    for i, term in enumerate(terms):
        for name, unit in term.reported:
            if i not in present:
                rows.append(ParameterRow(name, math.nan, math.nan, unit))
                continue
            rows.append(ParameterRow(name, values[place], sigma[place], unit, limited[i]))
            labels.append(name)
            kept.append(place)
            place += 1
    correlation = covariance[np.ix_(kept, kept)] / np.outer(sigma[kept], sigma[kept])
    return tuple(labels), tuple(rows), np.asarray(correlation)
