"""Comparison of the possible indexings, and the choice between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.crystal.reindexing import Reindexing

from .agreement import Trial
from .settings import Settings
from .statistics import BlockSums, jackknife_error, pearson
from .target import Target

Float64 = NDArray[np.float64]

#: Returns the model's values at a target's voxels under an indexing, shape (N,).
Values = Callable[[Reindexing], Float64]


def run_trials(
    target: Target,
    values: Values,
    candidates: Sequence[Reindexing],
    settings: Settings,
    operators: Sequence[Float64],
) -> tuple[Trial, ...]:
    """Correlate model and data under every indexing, in the given order.

    Parameters
    ----------
    target : Target
    values : callable
    candidates : sequence of Reindexing
    settings : Settings
    operators : sequence of ndarray, shape (3, 3)
        Operators on rows of hkl that relate equivalent, or possibly equivalent, voxels; see
        `Target.blocks`.
    """
    block = target.blocks(operators)
    n_blocks = int(block.max()) + 1
    found = []
    for candidate in candidates:
        model = values(candidate)
        pairs = target.pair(model, settings.isotropic)
        own = block[np.isfinite(model)]
        x, y = pairs.model_anisotropic, pairs.data_anisotropic
        known = np.isfinite(x) & np.isfinite(y)
        sums = BlockSums.of(x[known], y[known], pairs.weight[known], own[known], n_blocks)
        cc = pearson(pairs.model, pairs.data, pairs.weight)
        found.append(_Result(candidate, pairs.n, cc, sums))
    best = found[_best([r.sums.cc for r in found])]
    return tuple(
        Trial(
            reindexing=r.reindexing,
            n=r.n,
            cc=r.cc,
            cc_anisotropic=r.sums.cc,
            error=r.sums.error,
            behind=best.sums.cc - r.sums.cc,
            behind_error=error_of_difference(best.sums, r.sums),
        )
        for r in found
    )


def choose(trials: Sequence[Trial], settings: Settings) -> tuple[Trial, str]:
    """The indexing to use, and why; a requested operator is the last trial."""
    requested, own = settings.reindex, trials[0]
    if requested == "none":
        return own, "the data's own indices, as requested; no other was tried"
    if requested not in ("auto", "best"):
        return trials[-1], f"{trials[-1].reindexing.name}, as requested"
    if len(trials) == 1:
        return own, "the data's own indices; the lattice allows no other"
    best = trials[_best([t.cc_anisotropic for t in trials])]
    ways = f"of {len(trials)} indexings of the lattice"
    if math.isnan(best.cc_anisotropic):
        return own, f"the data's own indices; there are too few voxels to try all {ways}"
    if requested == "best":
        return best, f"{best.reindexing.name}, the one with the highest CC {ways}, as requested"
    rivals = [t for t in trials if t is not best]
    lead = min((_in_errors(t) for t in rivals), default=math.nan)
    closest = min(rivals, key=_in_errors)
    margin = (
        f"CC {best.cc_anisotropic:.3f} against {closest.cc_anisotropic:.3f} for "
        f"{closest.reindexing.name}, {lead:.1f} standard errors"
    )
    if best is own:
        return own, f"the data's own indices, the best {ways}: {margin}"
    if lead >= settings.clearly:
        return best, (
            f"{best.reindexing.name} instead of the data's own indices, clearly the best {ways}: "
            f"{margin} ({settings.clearly:g} are required)"
        )
    return own, (
        f"the data's own indices, although {best.reindexing.name} is better: {margin}, which is "
        f"not clear ({settings.clearly:g} are required); reindex='best' would use it"
    )


@dataclass(frozen=True, eq=False)
class _Result:
    reindexing: Reindexing
    n: int
    cc: float
    sums: BlockSums


def _best(values: Sequence[float]) -> int:
    """Index of the largest; the first if none is a number."""
    return int(np.argmax([-math.inf if math.isnan(x) else x for x in values]))


def _in_errors(trial: Trial) -> float:
    """Distance of a trial from the best in standard errors; 0 if unknown."""
    if not trial.behind_error >= 0:
        return 0.0
    return trial.behind / trial.behind_error if trial.behind_error else math.inf


def error_of_difference(a: BlockSums, b: BlockSums) -> float:
    """Standard error of the difference of two correlations over the same blocks."""
    if a is b:
        return 0.0
    both = (a.sums[0] > 0) & (b.sums[0] > 0)
    if not both.all() and not ((a.sums[0] > 0) == (b.sums[0] > 0)).all():
        a, b = BlockSums(a.sums[:, both]), BlockSums(b.sums[:, both])
    return jackknife_error(a.left_out - b.left_out)
