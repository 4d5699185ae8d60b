"""Summary of a map: coverage, intensities and signal, by resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.correlation import correlation_of_sums, pearson

from .diffuse import Array, DiffuseMap
from .equivalents import MAX_VOXELS, MIN_PAIRS
from .radial import bin_of, shell_edges

Float64 = NDArray[np.float64]

#: Percentiles that describe the intensities.
PERCENTILES = (0.0, 1.0, 50.0, 99.0, 100.0)


@dataclass(frozen=True, eq=False)
class ShellSummary:
    """Shells of equal width in 1/d.

    Parameters
    ----------
    edges : ndarray, shape (n + 1,)
        1/Å.
    voxels, valid : ndarray of int, shape (n,)
        Number of voxels of the map in each shell: all, and those that have an intensity.
    mean : ndarray, shape (n,)
        Mean intensity.
    signal : ndarray, shape (n,)
        Mean of I/sigma over voxels with a positive sigma; NaN without sigmas.
    cc_half : ndarray, shape (n,)
        Correlation of the half-sets; NaN without them.
    """

    edges: Float64
    voxels: NDArray[np.int64]
    valid: NDArray[np.int64]
    mean: Float64
    signal: Float64
    cc_half: Float64


@dataclass(frozen=True, eq=False)
class MapSummary:
    """Summary statistics of a map.

    Parameters
    ----------
    percentiles : ndarray
        Intensities at `PERCENTILES`; all but the lowest and highest from at most a million voxels.
    mean : float
    negative : float
        Fraction of the valid intensities below zero.
    d_max, d_min : float
        Largest (of voxels off hkl = 0) and smallest d of a valid voxel, Å.
    shells : ShellSummary
    cc_half : float
        Correlation of the half-sets over all voxels; NaN without half-sets.
    """

    percentiles: Float64
    mean: float
    negative: float
    d_max: float
    d_min: float
    shells: ShellSummary
    cc_half: float


def summarize(diffuse: DiffuseMap, n_shells: int = 10) -> MapSummary:
    """Summarize a map on a grid or a list.

    Raises
    ------
    InputError
        If no voxel has an intensity.
    """
    edges = shell_edges(diffuse, n_shells)
    edges[0] = 0.0 if edges[0] < edges[-1] / n_shells else edges[0]
    edges = np.linspace(edges[0], edges[-1], n_shells + 1)
    valid = np.flatnonzero(diffuse.mask)
    intensity = diffuse.intensity.reshape(-1)
    some = intensity[valid[:: 1 + len(valid) // MAX_VOXELS]]
    percentiles = np.percentile(some, PERCENTILES)
    percentiles[[0, -1]] = np.nanmin(intensity), np.nanmax(intensity)
    closest = np.inf
    for part, s in diffuse.slabs():
        use = ~np.isnan(diffuse.intensity[part]) & (s > 0)
        closest = min(closest, float(s.min(initial=np.inf, where=use)))
    halves = diffuse.halves
    return MapSummary(
        percentiles=percentiles,
        mean=float(np.nanmean(intensity, dtype=np.float64)),
        negative=float(np.count_nonzero(intensity < 0) / len(valid)),
        d_max=1.0 / closest,
        d_min=diffuse.d_min,
        shells=_shells(diffuse, edges),
        cc_half=np.nan if halves is None else _cc(halves[0], halves[1]),
    )


def _cc(a: Array, b: Array) -> float:
    both = ~(np.isnan(a) | np.isnan(b))
    if np.count_nonzero(both) < MIN_PAIRS:
        return np.nan
    return pearson(a[both].astype(np.float64), b[both].astype(np.float64))


def _shells(diffuse: DiffuseMap, edges: Float64) -> ShellSummary:
    n = len(edges) - 1
    voxels, valid, with_sigma, paired = (np.zeros(n, dtype=np.int64) for _ in range(4))
    total, ratio = np.zeros(n), np.zeros(n)
    moments = np.zeros((5, n))
    for part, s in diffuse.slabs():
        shell = bin_of(s, edges)
        intensity = diffuse.intensity[part]
        voxels += _sum(shell, n)
        use = ~np.isnan(intensity)
        valid += _sum(shell[use], n)
        total += _sum(shell[use], n, intensity[use])
        if diffuse.sigma is not None:
            known = use & (diffuse.sigma[part] > 0)
            with_sigma += _sum(shell[known], n)
            ratio += _sum(shell[known], n, intensity[known] / diffuse.sigma[part][known])
        if diffuse.halves is not None:
            a, b = (half[part].astype(np.float64) for half in diffuse.halves)
            both = ~(np.isnan(a) | np.isnan(b))
            a, b = a[both], b[both]
            paired += _sum(shell[both], n)
            for moment, values in zip(moments, (a, b, a * a, b * b, a * b), strict=True):
                moment += _sum(shell[both], n, values)
    with np.errstate(divide="ignore", invalid="ignore"):  # empty shells: NaN
        cc = correlation_of_sums(np.stack([paired, *moments]))
        return ShellSummary(edges, voxels, valid, total / valid, ratio / with_sigma, cc)


def _sum(shell: NDArray[Any], n: int, values: Array | None = None) -> NDArray[Any]:
    """Count, or sum of values, in each shell; voxels outside all shells are ignored."""
    return np.bincount(shell.reshape(-1), values, n + 1)[:n]
