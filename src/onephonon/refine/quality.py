"""Agreement of a fit: overall and by shell, for fitted and held-out voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.compare.statistics import BlockSums, pearson, r_factor
from onephonon.maps.isotropic import Isotropic

from .voxels import FitVoxels

Float64 = NDArray[np.float64]

#: Isotropic part, as removed by `compare`; with fewer shells for few voxels.
ISOTROPIC = Isotropic("line", 50)

#: Minimum voxels per shell of the isotropic part.
MIN_VOXELS_PER_SHELL = 20


@dataclass(frozen=True)
class Quality:
    """Agreement over some voxels.

    Parameters
    ----------
    d_max, d_min : float
        Limits of resolution, Å.
    n : int
    chi2 : float
        Mean of rho of the normalized residuals: chi-square per voxel.
    cc : float
        Pearson's correlation of the data with model and background.
    cc_anisotropic : float
        Correlation of the anisotropic parts of data and model, without the background.
    r : float
        ``sum |y - fit| / sum |y|``.
    background : float
        Fraction of the background in the summed fit.
    """

    d_max: float
    d_min: float
    n: int
    chi2: float
    cc: float
    cc_anisotropic: float
    r: float
    background: float


@dataclass(frozen=True, eq=False)
class VoxelResults:
    """Results of a fit for every voxel.

    Parameters
    ----------
    data, model, background : ndarray, shape (N,)
        The model on the data's scale.
    loss : ndarray, shape (N,)
        rho of the normalized residuals.
    data_anisotropic, model_anisotropic : ndarray, shape (N,)
        Without isotropic parts; NaN in shells with too few voxels.
    """

    data: Float64
    model: Float64
    background: Float64
    loss: Float64
    data_anisotropic: Float64
    model_anisotropic: Float64

    @classmethod
    def of(
        cls, voxels: FitVoxels, model: Float64, background: Float64, loss: Float64
    ) -> VoxelResults:
        """Create, removing the isotropic parts over all voxels together."""
        rule = isotropic_rule(voxels.n)
        limits = (float(voxels.s.min()), float(voxels.s.max()))
        one = np.ones(voxels.n)
        rest = [rule.remove(x, voxels.s, limits, one) for x in (voxels.data, model)]
        return cls(voxels.data, model, background, loss, *rest)

    def over(self, keep: NDArray[np.bool_], s: Float64) -> Quality:
        """Agreement over the voxels kept, with s of all voxels."""
        data, model, background = self.data[keep], self.model[keep], self.background[keep]
        fit = model + background
        a, b = self.data_anisotropic[keep], self.model_anisotropic[keep]
        known = np.isfinite(a) & np.isfinite(b)
        whole = float(np.abs(fit).sum())
        here = s[keep]
        return Quality(
            d_max=1 / float(here.min()) if len(here) else math.nan,
            d_min=1 / float(here.max()) if len(here) else math.nan,
            n=len(here),
            chi2=float(self.loss[keep].mean()) if len(here) else math.nan,
            cc=pearson(fit, data),
            cc_anisotropic=pearson(a[known], b[known]),
            r=r_factor(fit, data),
            background=float(np.abs(background).sum()) / whole if whole > 0 else math.nan,
        )


def shells(
    voxel_results: VoxelResults, keep: NDArray[np.bool_], s: Float64, n_shells: int
) -> tuple[Quality, ...]:
    """Agreement in shells of equal width in s over the voxels kept; empty shells included."""
    edges = np.linspace(float(s.min()), float(s.max()), n_shells + 1)
    number = np.clip(np.searchsorted(edges, s, side="right") - 1, 0, n_shells - 1)
    found = []
    for i in range(n_shells):
        q = voxel_results.over(keep & (number == i), s)
        limits = {"d_max": 1 / edges[i], "d_min": 1 / edges[i + 1]}
        found.append(Quality(**(vars(q) | limits)))
    return tuple(found)


def isotropic_rule(n: int) -> Isotropic:
    """Definition of the isotropic part for n voxels."""
    return Isotropic(ISOTROPIC.kind, max(1, min(ISOTROPIC.n_shells, n // MIN_VOXELS_PER_SHELL)))


def anisotropic_parts(
    voxels: FitVoxels, a: Float64, b: Float64
) -> tuple[NDArray[np.int64], Float64, Float64]:
    """Which voxels two maps (N,) both have a value at, and their anisotropic parts there."""
    known = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
    rule, one = isotropic_rule(len(known)), np.ones(len(known))
    limits = (float(voxels.s.min()), float(voxels.s.max()))
    x, y = (rule.remove(values[known], voxels.s[known], limits, one) for values in (a, b))
    both = np.isfinite(x) & np.isfinite(y)
    return known[both], x[both], y[both]


def anisotropic_sums(voxels: FitVoxels, a: Float64, b: Float64) -> BlockSums:
    """Sums over blocks for the correlation of the anisotropic parts of two maps (N,).

    Voxels where one is NaN are left out. Every voxel keeps its own block, so that sums of several
    models over the same voxels have the same blocks.
    """
    known, x, y = anisotropic_parts(voxels, a, b)
    return BlockSums.of(x, y, None, voxels.orbit[known], int(voxels.orbit.max()) + 1)


@dataclass(frozen=True)
class Gain:
    """Improvement of one fit over another on the held-out halos.

    Parameters
    ----------
    value : float
        Decrease of chi-square per voxel.
    error : float
        Its standard error, from halo to halo.
    """

    value: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether the gain exceeds its standard error; False if that is unknown."""
        return self.value > max(self.error, 0.0)


def gain(before: Float64, after: Float64, halo: NDArray[np.int64]) -> Gain:
    """Gain of one fit over another on held-out voxels, and its error.

    Parameters
    ----------
    before, after : ndarray, shape (n,)
        rho of the voxels held out.
    halo : ndarray, shape (n,), int64
        Independent group of each voxel: halos of one orbit share a number.
    """
    drop = before - after
    _, number = np.unique(halo, return_inverse=True)
    sums = np.bincount(number.reshape(-1), drop)
    n = len(sums)
    mean = float(drop.mean())
    if n < 2:
        return Gain(mean, math.nan)
    return Gain(mean, math.sqrt(n / (n - 1) * float(((sums - sums.mean()) ** 2).sum())) / len(drop))
