"""How well predictions of a model agree with data that were left out of its fit.

A diffuse map is smooth on the scale of one over the size of a molecule, so a voxel can be predicted
from its neighbours without any model of motion. What a model explains shows only in voxels that
are far from all fitted ones, and beside a baseline that knows nothing but smoothness. Hence three
ways of leaving out: small blocks, wide blocks, and small blocks with a guard around them that is
not fitted either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.compare.statistics import BlockSums, jackknife_error

from ..quality import ISOTROPIC, MIN_VOXELS_PER_SHELL
from ..second_map import SecondMap
from ..voxels import FitVoxels

Float64 = NDArray[np.float64]

#: Ways of leaving out, and what they are.
WAYS = {
    "small": "small blocks left out",
    "wide": "wide blocks left out",
    "guarded": "small blocks and all voxels near them left out",
}


@dataclass(frozen=True)
class Correlation:
    """A correlation of anisotropic parts.

    Parameters
    ----------
    cc, error : float
        With its standard error, by leaving out blocks of voxels; NaN if unknown.
    n : int
        Number of voxels.
    """

    cc: float
    error: float
    n: int


@dataclass(frozen=True, eq=False)
class Judgement:
    """Agreement of the predictions of one model.

    Parameters
    ----------
    fitted : Correlation
        Of the fit to all voxels, with the data themselves: flexible models fit anything.
    held_out : mapping of str to Correlation
        By the way of leaving out.
    second : mapping of str to Correlation
        The same predictions with the second map; empty without one.
    shells : mapping of str to ndarray, shape (n_shells,)
        Correlation in shells of resolution, by the way of leaving out.
    sums : mapping of str to BlockSums
        From which differences of models follow.
    """

    fitted: Correlation
    held_out: Mapping[str, Correlation]
    second: Mapping[str, Correlation]
    shells: Mapping[str, Float64]
    sums: Mapping[str, BlockSums]

    def gain_over(self, other: Judgement, way: str) -> tuple[float, float]:
        """Difference of two models' correlations, and its error from the same blocks."""
        ours, theirs = self.sums[way], other.sums[way]
        error = jackknife_error(ours.left_out - theirs.left_out)
        return ours.cc - theirs.cc, error


def judge(
    voxels: FitVoxels,
    fitted: Float64,
    held_out: Mapping[str, Float64],
    second: SecondMap | None = None,
    n_shells: int = 8,
) -> Judgement:
    """Judge the predictions of a model.

    Parameters
    ----------
    voxels : FitVoxels
    fitted : ndarray, shape (N,)
        Of the fit to all voxels.
    held_out : mapping of str to ndarray of shape (N,)
        Prediction of each voxel by a fit that left it out, by the way of leaving out; NaN for
        voxels that were never left out.
    second : SecondMap, optional
    n_shells : int
    """
    agreement = {way: sums_of(voxels, values, voxels.data) for way, values in held_out.items()}
    others = {}
    if second is not None:
        others = {
            way: correlation_of(sums_of(voxels, values, second.values))
            for way, values in held_out.items()
        }
    return Judgement(
        fitted=correlation_of(sums_of(voxels, fitted, voxels.data)),
        held_out={way: correlation_of(sums) for way, sums in agreement.items()},
        second=others,
        shells={
            way: shell_correlations(voxels, values, voxels.data, n_shells)
            for way, values in held_out.items()
        },
        sums=agreement,
    )


def correlation_of(sums: BlockSums) -> Correlation:
    """The correlation of sums over blocks."""
    return Correlation(sums.cc, sums.error, round(float(sums.sums[0].sum())))


def sums_of(voxels: FitVoxels, a: Float64, b: Float64) -> BlockSums:
    """Sums over blocks for the correlation of the anisotropic parts of two maps (N,).

    Voxels where one is NaN are left out. Every voxel keeps its own block, so that sums of several
    models over the same voxels have the same blocks.
    """
    known, x, y = _anisotropic(voxels, a, b)
    return BlockSums.of(x, y, None, voxels.orbit[known], int(voxels.orbit.max()) + 1)


def shell_edges(voxels: FitVoxels, n_shells: int) -> Float64:
    """Edges of shells of equal width in 1/d, shape (n_shells + 1,), 1/Å."""
    return np.linspace(float(voxels.s.min()), float(voxels.s.max()), n_shells + 1)


def shell_correlations(voxels: FitVoxels, a: Float64, b: Float64, n_shells: int) -> Float64:
    """Correlation of the anisotropic parts of two maps (N,) in shells; NaN for too few voxels."""
    known, x, y = _anisotropic(voxels, a, b)
    edges = shell_edges(voxels, n_shells)
    shell = np.clip(np.searchsorted(edges, voxels.s[known], side="right") - 1, 0, n_shells - 1)
    found = np.full(n_shells, math.nan)
    for i in range(n_shells):
        inside = shell == i
        if inside.sum() >= MIN_VOXELS_PER_SHELL:
            found[i] = np.corrcoef(x[inside], y[inside])[0, 1]
    return found


def _anisotropic(
    voxels: FitVoxels, a: Float64, b: Float64
) -> tuple[NDArray[np.int64], Float64, Float64]:
    """Which voxels both maps have, and their anisotropic parts there."""
    known = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
    rule = ISOTROPIC
    n_shells = max(1, min(rule.n_shells, len(known) // MIN_VOXELS_PER_SHELL))
    rule = type(rule)(rule.kind, n_shells)
    limits, one = (float(voxels.s.min()), float(voxels.s.max())), np.ones(len(known))
    x, y = (rule.remove(values[known], voxels.s[known], limits, one) for values in (a, b))
    both = np.isfinite(x) & np.isfinite(y)
    return known[both], x[both], y[both]


def best_of(judgements: Sequence[Judgement], way: str) -> int:
    """Index of the model that predicts best; the first of those that are as good.

    A later model is chosen only if its gain is clear of its standard error.
    """
    best = 0
    for i in range(1, len(judgements)):
        gain, error = judgements[i].gain_over(judgements[best], way)
        if gain > (error if math.isfinite(error) else 0.0):
            best = i
    return best
