"""Selection of the voxels to fit and to hold out, and their uncertainties."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onephonon.compare.target import hkl_of_voxels
from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.reindexing import Reindexing
from onephonon.crystal.symmetry import laue_operators
from onephonon.maps.diffuse import DiffuseMap
from onephonon.scattering.quadrature import (
    MixedQuadrature,
    choose_quadrature,
    holds_bragg,
    is_coarse,
)
from onephonon.scattering.sampling.halos import peak_strengths
from onephonon.scattering.voxel_orientations import (
    equivalent_operators,
    find_orientations,
    unique_voxels,
)

from .settings import FitSettings

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Default resolution range of the peaks of halos, Å.
HALO_RANGE = (2.0, 2.5)

#: Minimum number of voxels of a halo, relative to the most complete one.
MIN_COVERED = 0.5

#: Equivalent voxels that differ by less (relative) are copies, not independent measurements.
COPY_TOLERANCE = 1e-6

#: Halos of fewer voxels than this on average (maps with one voxel per hkl) are held out in blocks
#: of so many hkl along each axis: wider than one over a molecule's size, within which
#: residuals are correlated.
MIN_HALO_VOXELS, BLOCK_SIZE = 8, 4

#: Shells of |q| in which the standard deviation is used as sigma for data without sigma.
N_SHELLS = 50

#: Minimum number of voxels for a fit.
MIN_VOXELS = 20


@dataclass(frozen=True, eq=False)
class FitVoxels:
    """Symmetry-unique voxels of data, in the order of their halos.

    Parameters
    ----------
    hkl : ndarray, shape (N, 3)
        Centres, in the model's indices.
    voxel_index : ndarray, shape (N,), int64
        Flat index of the voxel in the map.
    data, sigma : ndarray, shape (N,)
        Means over equivalents, and their standard uncertainties.
    s : ndarray, shape (N,)
        1/d, 1/Å.
    halo : ndarray, shape (N,), int64
        Number of the halo, from 0.
    peaks : ndarray, shape (n_halos, 3), int64
        The Bragg peak of each halo.
    orbit : ndarray, shape (N,), int64
        Number of the set that is held out as a whole: symmetry-equivalent halos or, where halos are
        single voxels, those in a block of hkl.
    held_out : ndarray, shape (N,), bool
    averaging : MixedQuadrature
        How the model is averaged over each voxel.
    order : ndarray, shape (N,), int64
        Order of each voxel's average; 1 evaluates the model at the centre.
    rotation : ndarray, shape (3, 3)
        Voxels are boxes along the axes of the data: ``box @ rotation`` in the model's indices.
    sigma_known : bool
    messages : tuple of str
        Assumptions and decisions.
    equivalent_place, equivalent_of : ndarray, shape (M,), int64
        Flat indices of all voxels considered, and the unique voxel that represents each.
    """

    hkl: Float64
    voxel_index: Index
    data: Float64
    sigma: Float64
    s: Float64
    halo: Index
    peaks: Index
    orbit: Index
    held_out: NDArray[np.bool_]
    averaging: MixedQuadrature
    order: Index
    rotation: Float64
    sigma_known: bool
    messages: tuple[str, ...]
    equivalent_place: Index
    equivalent_of: Index

    @property
    def n(self) -> int:
        """Number of voxels."""
        return len(self.data)

    @property
    def n_halos(self) -> int:
        """Number of halos."""
        return len(self.peaks)

    def to_map_shape(self, values: Float64, data: DiffuseMap) -> Float64:
        """Values (N,) at all equivalent voxels, in the shape of the map; NaN elsewhere."""
        whole = np.full(data.intensity.size, np.nan)
        whole[self.equivalent_place] = values[self.equivalent_of]
        return whole.reshape(data.intensity.shape)


def select_voxels(
    data: DiffuseMap, crystal: Crystal, reindexing: Reindexing, settings: FitSettings
) -> FitVoxels:
    """Choose the voxels to fit.

    Unless `settings.average` gives the order of their averages, it is provisional: `fit_springs`
    chooses it with the model (`averaging.choose_orders`).

    Parameters
    ----------
    data : DiffuseMap
        On a grid.
    crystal : Crystal
    reindexing : Reindexing
        From the data's indices to the model's.
    settings : FitSettings

    Returns
    -------
    FitVoxels

    Raises
    ------
    InputError
        If the resolution range contains too few voxels or halos, or if the data have no cell.
    """
    if data.grid is None:
        raise InputError("the data are a list of q-vectors; give a map on a grid of hkl")
    whole = fits_all_voxels(data, settings)
    quadrature = choose_quadrature(data.grid, settings.average, settings.leave_out)
    messages: list[str] = []
    laue = laue_operators(crystal.spacegroup, crystal.cell.parameters).astype(np.float64)
    voxel_index, hkl, peak, s = _in_range(data, crystal, reindexing, settings, whole, messages)
    if not whole:
        voxel_index, hkl, peak, s = _strongest(
            crystal, settings, laue, voxel_index, hkl, peak, s, messages
        )
    keep = _away_from_bragg(data, crystal, hkl, settings, quadrature is not None, messages)
    voxel_index, hkl, peak, s = voxel_index[keep], hkl[keep], peak[keep], s[keep]
    if len(voxel_index) < MIN_VOXELS:
        raise InputError(
            f"only {len(voxel_index)} voxels are left to fit, fewer than {MIN_VOXELS}; widen the "
            "resolution range or increase n_peaks"
        )
    averaging = MixedQuadrature(data.grid.step, settings.leave_out)
    same = _equivalents(data, voxel_index, hkl, laue, reindexing, settings)
    merged = _merge(data, voxel_index, hkl, same, messages)
    rule = (averaging, 1 if quadrature is None else quadrature.order)
    return _split(merged, hkl, peak, s, laue, rule, reindexing, settings, messages)


def fits_all_voxels(data: DiffuseMap, settings: FitSettings) -> bool:
    """Whether all voxels are fitted instead of halos: as requested, or if voxels are coarse."""
    return settings.voxels == "all" or (settings.voxels == "auto" and is_coarse(data.grid))


def resolution_range(data: DiffuseMap, settings: FitSettings) -> tuple[float, float]:
    """Smallest and largest d, Å, from the settings or by default."""
    low, high = (0.0, math.inf) if fits_all_voxels(data, settings) else HALO_RANGE
    low = low if settings.d_min is None else settings.d_min
    high = high if settings.d_max is None else settings.d_max
    if low >= high:
        raise InputError(
            f"the resolution range d = {low:g} to {high:g} Å is empty; give both d_min and d_max"
        )
    return low, high


def _away_from_bragg(
    data: DiffuseMap,
    crystal: Crystal,
    hkl: Float64,
    settings: FitSettings,
    averaged: bool,
    messages: list[str],
) -> NDArray[np.bool_]:
    """Voxels that are fitted; those too close to a Bragg point are not, shape (n,).

    By default they are the voxels that may hold the Bragg peak. Of coarse voxels these are the
    ones that contain the point: no average over the 1/k^2 in them is accurate enough. All are kept
    if each contains a Bragg point, or if the peaks were removed from the data.
    """
    assert data.grid is not None
    offset = hkl - np.rint(hkl)
    if settings.bragg_radius is None and averaged and settings.leave_out > 0:
        return np.ones(len(hkl), dtype=bool)
    if settings.bragg_radius is None and averaged and is_coarse(data.grid):
        outside = ~holds_bragg(hkl, data.grid.step)
        if outside.any():
            messages.append(f"{int((~outside).sum())} voxels that hold a Bragg point are excluded")
            return outside
        return np.ones(len(hkl), dtype=bool)
    radius = _half_diagonal(data)
    if settings.bragg_radius is not None:
        radius = settings.bragg_radius / TWO_PI
    if radius <= 0:
        return np.ones(len(hkl), dtype=bool)
    keep: NDArray[np.bool_] = (
        np.linalg.norm(offset @ numpy_cell(crystal.cell.parameters).inverse, axis=1) >= radius
    )
    messages.append(
        f"{int((~keep).sum())} voxels within {TWO_PI * radius:.4g} 1/Å (including 2*pi) "
        "of a Bragg point are excluded"
    )
    return keep


def _half_diagonal(data: DiffuseMap) -> float:
    assert data.grid is not None
    assert data.cell is not None
    edges = np.asarray(data.grid.step)[:, None] * numpy_cell(data.cell).inverse
    signs = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]])
    return 0.5 * float(np.linalg.norm(signs @ edges, axis=1).max())


def _in_range(
    data: DiffuseMap,
    crystal: Crystal,
    reindexing: Reindexing,
    settings: FitSettings,
    whole: bool,
    messages: list[str],
) -> tuple[Index, Float64, Index, Float64]:
    """Voxels with data in the resolution range: flat indices, hkl, Bragg peaks and s."""
    low, high = resolution_range(data, settings)
    good = data.mask
    if data.sigma is not None:
        good = good & np.isfinite(data.sigma) & (data.sigma > 0)
    voxel_index = np.flatnonzero(good)
    hkl = hkl_of_voxels(data, voxel_index) @ reindexing.operator
    peak = np.rint(hkl).astype(np.int64)
    axes = numpy_cell(crystal.cell.parameters).inverse
    s = np.linalg.norm(hkl @ axes, axis=1)
    # Halos are complete: the resolution of the peak decides.
    limit = s if whole else np.linalg.norm(peak @ axes, axis=1)
    with np.errstate(divide="ignore"):
        keep = (limit >= (1 / high) * (1 - 1e-6)) & (limit <= np.divide(1, low) * (1 + 1e-6))
    keep &= s > 0
    if not keep.any():
        reach = (
            f"{1 / s.max():.3g} to {1 / max(s.min(), 1e-9):.3g} Å" if len(s) else "no resolution"
        )
        raise InputError(
            f"the data have no voxel between d = {low:g} and {high:g} Å; they cover {reach}: "
            "give d_min and d_max in that range"
        )
    limits = f"d >= {low:g} Å" if math.isinf(high) else f"{low:g} <= d <= {high:g} Å"
    messages.append(f"resolution {limits}{'' if whole else ' (of the Bragg peak)'}")
    return voxel_index[keep], hkl[keep], peak[keep], s[keep]


def _orbit(peak: Index, laue: Float64) -> tuple[Float64, Index]:
    """One of each set of equivalent Bragg peaks, and which set each belongs to."""
    return unique_voxels(peak.astype(np.float64), list(laue))


def _strongest(
    crystal: Crystal,
    settings: FitSettings,
    laue: Float64,
    voxel_index: Index,
    hkl: Float64,
    peak: Index,
    s: Float64,
    messages: list[str],
) -> tuple[Index, Float64, Index, Float64]:
    """Voxels of the halos with the strongest Bragg peaks."""
    orbits, orbit = _orbit(peak, laue)
    _, inverse, count = np.unique(peak, axis=0, return_inverse=True, return_counts=True)
    covered = np.zeros(len(orbits), dtype=np.int64)
    np.maximum.at(covered, orbit, count[inverse.reshape(-1)])
    usable = covered >= MIN_COVERED * covered.max()
    strength = peak_strengths(crystal, torch.as_tensor(np.rint(orbits).astype(np.int64))).numpy()
    strength = np.where(usable & (strength > 0), strength, -1.0)
    best = np.argsort(-strength, kind="stable")[: settings.n_peaks]
    best = best[strength[best] > 0]
    chosen = np.zeros(len(orbits), dtype=bool)
    chosen[best] = True
    keep = chosen[orbit]
    fewer = "" if len(best) == settings.n_peaks else f" (of {settings.n_peaks} requested)"
    messages.append(f"halos around the {len(best)} strongest Bragg peaks{fewer}")
    return voxel_index[keep], hkl[keep], peak[keep], s[keep]


def _equivalents(
    data: DiffuseMap,
    voxel_index: Index,
    hkl: Float64,
    laue: Float64,
    reindexing: Reindexing,
    settings: FitSettings,
) -> list[Float64]:
    """Operators on rows of hkl between voxels that measure the same.

    Averages over boxes of other orientations are other quantities, except in a map where they are
    copies of one another: those are one measurement, not several.
    """
    assert data.grid is not None
    orientation = find_orientations([reindexing], laue, None)[0]
    every = equivalent_operators(orientation, laue, None)
    if settings.average == 0:
        return every
    values = data.intensity.reshape(-1)[voxel_index].astype(np.float64)
    _, back = unique_voxels(hkl, every)
    n = int(back.max()) + 1
    mean = np.bincount(back, values, n) / np.bincount(back, minlength=n)
    if _are_copies(values, mean[back]):
        return every
    return equivalent_operators(orientation, laue, data.grid.step)


def _are_copies(values: Float64, mean: Float64) -> bool:
    """Whether equivalent voxels have the same values."""
    spread = float(np.sqrt(np.mean((values - mean) ** 2)))
    return spread <= COPY_TOLERANCE * float(np.std(values))


@dataclass(frozen=True, eq=False)
class _Merged:
    voxel_index: Index
    back: Index
    index: Index
    data: Float64
    sigma: Float64 | None


def _merge(
    data: DiffuseMap, voxel_index: Index, hkl: Float64, same: list[Float64], messages: list[str]
) -> _Merged:
    """Average equivalent voxels; `index` gives the original voxel that represents each."""
    _, back = unique_voxels(hkl, same)
    n = int(back.max()) + 1
    first = np.full(n, len(back))
    np.minimum.at(first, back, np.arange(len(back)))
    values = data.intensity.reshape(-1)[voxel_index].astype(np.float64)
    sigma = None if data.sigma is None else data.sigma.reshape(-1)[voxel_index].astype(np.float64)
    weight = np.ones(len(voxel_index)) if sigma is None else sigma**-2.0
    total = np.bincount(back, weight, n)
    mean = np.bincount(back, weight * values, n) / total
    repeats = len(voxel_index) / n
    if repeats > 1.001:
        copies = _are_copies(values, mean[back])
        how = "identical copies" if copies else "averaged"
        messages.append(
            f"{len(voxel_index)} voxels reduce to {n} by symmetry: equivalents are {how}"
        )
        if copies and sigma is not None:
            return _Merged(voxel_index, back, first, mean, sigma[first])
    merged = None if sigma is None else np.asarray(total**-0.5, dtype=np.float64)
    return _Merged(voxel_index, back, first, mean, merged)


def _split(
    merged: _Merged,
    hkl: Float64,
    peak: Index,
    s: Float64,
    laue: Float64,
    rule: tuple[MixedQuadrature, int],
    reindexing: Reindexing,
    settings: FitSettings,
    messages: list[str],
) -> FitVoxels:
    """Number the halos, choose those held out, and sort all voxels by halo."""
    averaging, order_of_average = rule
    hkl, peak, s = hkl[merged.index], peak[merged.index], s[merged.index]
    orbits, orbit = _orbit(peak, laue)
    what = "halos"
    if len(peak) < MIN_HALO_VOXELS * len(orbits):
        blocks, block = np.unique(np.rint(orbits / BLOCK_SIZE), axis=0, return_inverse=True)
        orbits, orbit, what = blocks, block.reshape(-1)[orbit], f"blocks of {BLOCK_SIZE}^3 hkl"
    if len(orbits) < 2:
        raise InputError("there is only one halo, and some must be held out; increase n_peaks")
    generator = np.random.default_rng(settings.seed)
    n_held = min(len(orbits) - 1, max(1, round(settings.held_out * len(orbits))))
    out = np.zeros(len(orbits), dtype=bool)
    out[generator.permutation(len(orbits))[:n_held]] = True
    # A halo's slope is along its own axes: each peak is a halo, held out with its equivalents.
    peaks, halo = np.unique(peak, axis=0, return_inverse=True)
    order = np.argsort(halo.reshape(-1), kind="stable")
    sigma = merged.sigma
    if sigma is None:
        sigma = shell_standard_deviation(merged.data, s)
        messages.append("the data have no sigma: their standard deviation in shells of |q| is used")
    messages.append(f"{n_held} of {len(orbits)} {what} are held out (seed {settings.seed})")
    return FitVoxels(
        hkl=hkl[order],
        voxel_index=merged.voxel_index[merged.index][order],
        data=merged.data[order],
        sigma=sigma[order],
        s=s[order],
        halo=halo.reshape(-1)[order],
        peaks=peaks,
        orbit=orbit[order],
        held_out=out[orbit][order],
        averaging=averaging,
        order=np.full(len(order), order_of_average),
        rotation=reindexing.operator,
        sigma_known=merged.sigma is not None,
        messages=tuple(messages),
        equivalent_place=merged.voxel_index,
        equivalent_of=np.argsort(order)[merged.back],
    )


def shell_standard_deviation(values: Float64, s: Float64, shells: int = N_SHELLS) -> Float64:
    """Standard deviation of values in shells of equal number, about a line in s, shape (N,)."""
    order = np.argsort(s, kind="stable")
    found = np.empty(len(values))
    for part in np.array_split(order, max(1, min(shells, len(values) // MIN_VOXELS))):
        x = s[part] - s[part].mean()
        y = values[part] - values[part].mean()
        spread = x @ x
        left = y - (x @ y / spread if spread > 0 else 0.0) * x
        found[part] = np.sqrt(np.mean(left**2))
    smallest = found[found > 0]
    if not len(smallest):
        raise InputError("the data do not vary within any shell of |q|; there is nothing to fit")
    return np.maximum(found, 1e-6 * float(np.median(smallest)))
