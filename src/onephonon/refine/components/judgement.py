"""How well predictions of a model agree with data that were left out of its fit.

A diffuse map is smooth on the scale of one over the size of a molecule, so a voxel can be predicted
from its neighbours without any model of motion. What a model explains shows only in voxels that
are far from all fitted ones, and beside a baseline that knows nothing but smoothness. Hence three
ways of leaving out: small blocks, wide blocks, and small blocks with a guard around them that is
not fitted either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.compare.statistics import BlockSums
from onephonon.compare.trials import error_of_difference

from ..quality import MIN_VOXELS_PER_SHELL, anisotropic_parts, anisotropic_sums
from ..second_map import SecondMap
from ..voxels import FitVoxels

Float64 = NDArray[np.float64]


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
        return ours.cc - theirs.cc, error_of_difference(ours, theirs)


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
    agreement = {
        way: anisotropic_sums(voxels, values, voxels.data) for way, values in held_out.items()
    }
    others = {}
    if second is not None:
        others = {
            way: correlation_of(anisotropic_sums(voxels, values, second.values))
            for way, values in held_out.items()
        }
    return Judgement(
        fitted=correlation_of(anisotropic_sums(voxels, fitted, voxels.data)),
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


def shell_edges(voxels: FitVoxels, n_shells: int) -> Float64:
    """Edges of shells of equal width in 1/d, shape (n_shells + 1,), 1/Å."""
    return np.linspace(float(voxels.s.min()), float(voxels.s.max()), n_shells + 1)


def shell_correlations(voxels: FitVoxels, a: Float64, b: Float64, n_shells: int) -> Float64:
    """Correlation of the anisotropic parts of two maps (N,) in shells; NaN for too few voxels."""
    known, x, y = anisotropic_parts(voxels, a, b)
    edges = shell_edges(voxels, n_shells)
    shell = np.clip(np.searchsorted(edges, voxels.s[known], side="right") - 1, 0, n_shells - 1)
    found = np.full(n_shells, math.nan)
    for i in range(n_shells):
        inside = shell == i
        if inside.sum() >= MIN_VOXELS_PER_SHELL:
            found[i] = np.corrcoef(x[inside], y[inside])[0, 1]
    return found
