"""Halos: a whole zone around each of the strongest Bragg peaks, for fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.zone import ZonePoints
from onephonon.network.bodies import Bodies, gather_bodies

from ..amplitudes.direct import structure_factor
from .base import QSample, check_count, check_resolution_range
from .bragg import near_bragg

#: Symmetry-equivalent peaks to keep: one per Laue orbit, one per Friedel pair, or all.
UNIQUE = ("laue", "friedel", "all")

#: Relative tolerance of the ends of the resolution range, so that equivalent peaks exactly at a
#: limit (2.0 Å) are treated alike.
RANGE_TOLERANCE = 1e-6

#: Waves (atoms x q) per batch: arrays of 2 MB, near the cache size.
WAVES_AT_A_TIME = 250_000


@dataclass(frozen=True)
class BraggPeaks:
    """Bragg peaks, the strongest first.

    Parameters
    ----------
    hkl : Tensor, shape (n_peaks, 3), int64
    strength : Tensor, shape (n_peaks,)
        ``|F|^2`` of the cell, e^2 (X-rays); NaN if not known.
    """

    hkl: Tensor
    strength: Tensor

    @property
    def n_peaks(self) -> int:
        """Number of peaks."""
        return int(self.hkl.shape[0])


@dataclass(frozen=True)
class HaloSample(QSample):
    """A zone around each peak; `shape` is (n_peaks, n_h, n_k, n_l).

    Parameters
    ----------
    peaks : BraggPeaks
        The peaks, in the order of the first index.
    offset : Tensor, shape (n_h n_k n_l, 3)
        Distance of the points from their peak in Miller indices, in (-1/2, 1/2]: the wavevectors,
        the same around every peak.
    """

    peaks: BraggPeaks
    offset: Tensor

    def zone_points(self) -> ZonePoints:
        """Wavevectors of one zone, which all peaks share."""
        index = torch.arange(len(self.offset), device=self.offset.device)
        return ZonePoints(self.offset, index.repeat(self.peaks.n_peaks))


def halos(
    cell: UnitCell,
    peaks: BraggPeaks | Tensor | Sequence[Sequence[int]],
    samples: Sequence[int] = (13, 11, 11),
    *,
    bragg_radius: float | None = None,
) -> HaloSample:
    """Sample a whole zone around each peak.

    Along each index the offsets from the peak are ``i/n`` in (-1/2, 1/2], n of them, so that the
    zone (the reciprocal cell centred on the peak) is covered once. All peaks have the same
    wavevectors, so that K is factorized once for each of them.

    Parameters
    ----------
    cell : UnitCell
        Differentiable.
    peaks : BraggPeaks or array of int, shape (n_peaks, 3)
        From `strongest_peaks`, or Miller indices chosen by the user.
    samples : three int
        Points per Miller index.
    bragg_radius : float, optional
        Points nearer to a Bragg peak (1/Å, 2*pi included) are not valid; see `near_bragg`. The
        peaks themselves are never valid.

    Returns
    -------
    HaloSample

    Raises
    ------
    InputError
        If there is no peak, an index is not whole, or a number of samples is not positive.

    Examples
    --------
    >>> around = halos(crystal.cell, strongest_peaks(crystal, 400, 2.0, 2.5), (13, 11, 11))
    """
    like = cell.matrix
    if not isinstance(peaks, BraggPeaks):
        peaks = _own_peaks(torch.as_tensor(peaks, device=like.device), like)
    counts = [check_count("samples", n) for n in samples]
    if len(counts) != 3:
        raise InputError(f"samples {tuple(samples)}: give three, along h, k and l")
    offset = _zone_offsets(counts).to(like)
    hkl = (peaks.hkl.to(like)[:, None, :] + offset).reshape(-1, 3)
    q = cell.q_from_hkl(hkl)
    shape = (peaks.n_peaks, *counts)
    return HaloSample(q, hkl, ~near_bragg(cell, q, bragg_radius), shape, peaks, offset)


def strongest_peaks(
    crystal: Crystal,
    n_peaks: int = 400,
    d_min: float = 2.0,
    d_max: float = 2.5,
    *,
    unique: str = "laue",
) -> BraggPeaks:
    """Choose the Bragg peaks with the largest ``|F|^2`` in a resolution range.

    F is computed from the atoms of the crystal with their U, without bulk solvent. The diffuse
    intensity has Laue symmetry, so peaks of one Laue orbit have the same halo, rotated.

    Parameters
    ----------
    crystal : Crystal
    n_peaks : int
    d_min, d_max : float
        Resolution range in Å, both included; d_max may be infinite.
    unique : {'laue', 'friedel', 'all'}
        Keep one peak of each Laue orbit, one of each Friedel pair, or every peak.

    Returns
    -------
    BraggPeaks
        Strongest first; not differentiable.

    Raises
    ------
    InputError
        If the range is empty, contains fewer peaks than requested, or `unique` is invalid.
    """
    if unique not in UNIQUE:
        raise InputError(f"unique {unique!r} is not one of {', '.join(UNIQUE)}")
    wanted = check_count("n_peaks", n_peaks)
    check_resolution_range(d_min, d_max)
    with torch.no_grad():
        hkl = _indices_between(crystal.cell, d_min, d_max)
        hkl = hkl[~_absent(crystal, hkl)]
        if unique == "laue":
            hkl = hkl[(hkl == _representatives(crystal, hkl)).all(dim=1)]
        elif unique == "friedel":
            hkl = hkl[_first_of_pair(hkl)]
        if len(hkl) < wanted:
            raise InputError(
                f"n_peaks {wanted}: there are {len(hkl)} peaks (unique={unique!r}) between "
                f"d = {d_min:g} and {d_max:g} Å; request fewer or widen the range"
            )
        # Exactly equal for equivalent peaks, so that the order does not depend on rounding.
        orbits, orbit = torch.unique(_representatives(crystal, hkl), dim=0, return_inverse=True)
        strength = _strengths(gather_bodies(crystal), orbits)[orbit]
        best = torch.argsort(strength, descending=True, stable=True)[:wanted]
    return BraggPeaks(hkl[best], strength[best])


def peak_strengths(crystal: Crystal, hkl: Tensor) -> Tensor:
    """``|F|^2`` of Bragg peaks as in `strongest_peaks`; zero for systematic absences.

    Parameters
    ----------
    crystal : Crystal
    hkl : Tensor, shape (n, 3), int64

    Returns
    -------
    Tensor, shape (n,), e^2 (X-rays)
        Not differentiable.
    """
    with torch.no_grad():
        hkl = hkl.to(crystal.cell.matrix.device)
        strength = _strengths(gather_bodies(crystal), hkl)
        return torch.where(_absent(crystal, hkl), 0.0, strength)


def _own_peaks(hkl: Tensor, like: Tensor) -> BraggPeaks:
    """Check Bragg peaks chosen by the user."""
    if hkl.ndim != 2 or hkl.shape[1] != 3 or len(hkl) == 0:
        raise InputError(
            f"peaks have shape {tuple(hkl.shape)}; give the three Miller indices of one or more "
            "Bragg peaks"
        )
    whole = hkl.to(torch.int64)
    fractional = (whole != hkl).any(dim=1)
    if bool(fractional.any()):
        raise InputError(
            f"peak {hkl[fractional][0].tolist()} is not a Bragg peak; give whole Miller indices"
        )
    return BraggPeaks(whole, like.new_full((len(hkl),), math.nan))


def _zone_offsets(samples: Sequence[int]) -> Tensor:
    """Offsets i/n in (-1/2, 1/2] along each index, combined, shape (n_h n_k n_l, 3), float64."""
    axes = [
        torch.arange(-((n - 1) // 2), n // 2 + 1, dtype=torch.int64).to(torch.float64) / n
        for n in samples
    ]
    return torch.cartesian_prod(*axes).reshape(-1, 3)


def _indices_between(cell: UnitCell, d_min: float, d_max: float) -> Tensor:
    """Miller indices in a resolution range, in ascending order, shape (n, 3), int64."""
    # An index is the projection of 1/d on an axis of the cell: at most the axis' length / d_min.
    cell = cell.to(None, torch.float64)
    low, high = d_min * (1 - RANGE_TOLERANCE), d_max * (1 + RANGE_TOLERANCE)
    lengths = torch.linalg.vector_norm(cell.matrix, dim=0)
    reach = [math.floor(x) for x in (lengths / low).tolist()]
    device = cell.matrix.device
    k, l = (torch.arange(-n, n + 1, device=device) for n in reach[1:])  # noqa: E741
    layers = []
    for h in range(-reach[0], reach[0] + 1):
        layer = torch.cartesian_prod(torch.tensor([h], device=device), k, l)
        d = cell.resolution(cell.q_from_hkl(layer.to(cell.matrix)))
        layers.append(layer[(d >= low) & (d <= high) & (layer != 0).any(dim=1)])
    return torch.cat(layers)


def _absent(crystal: Crystal, hkl: Tensor) -> Tensor:
    """True for the systematic absences.

    A peak is absent if an operator maps it onto itself with another phase.
    """
    indices = hkl.to(crystal.rotations)
    absent = torch.zeros(len(hkl), dtype=torch.bool, device=hkl.device)
    for rotation, translation in zip(crystal.rotations, crystal.translations, strict=True):
        same = (torch.round(indices @ rotation) == indices).all(dim=1)
        phase = indices @ translation
        # Phases are multiples of 1/24 of a cycle.
        absent |= same & ((phase - torch.round(phase)).abs() > 0.01)
    return absent


def _representatives(crystal: Crystal, hkl: Tensor) -> Tensor:
    """Representative of each hkl's Laue orbit, the last in order of h, k, l, (n, 3), int64."""
    if len(hkl) == 0:
        return hkl
    indices = hkl.to(crystal.rotations)
    operators = torch.from_numpy(crystal.laue_operators).to(indices)
    images = torch.einsum("ni,oij->noj", indices, operators).to(torch.int64)
    base = 2 * int(images.abs().max()) + 1
    rank = (images[..., 0] * base + images[..., 1]) * base + images[..., 2]
    best = rank.argmax(dim=1)
    return images[torch.arange(len(hkl), device=hkl.device), best]


def _first_of_pair(hkl: Tensor) -> Tensor:
    """True for the one of hkl and -hkl whose first nonzero index is positive."""
    h, k, l = hkl.unbind(1)  # noqa: E741
    return (h > 0) | ((h == 0) & ((k > 0) | ((k == 0) & (l > 0))))


def _strengths(bodies: Bodies, hkl: Tensor) -> Tensor:
    """``|F|^2`` at Bragg peaks, in batches, shape (n,)."""
    q = bodies.crystal.cell.q_from_hkl(hkl.to(bodies.positions))
    step = max(1, WAVES_AT_A_TIME // bodies.n_cell_atoms)
    parts = [structure_factor(bodies, some, bodies.U).abs().square() for some in q.split(step)]
    return torch.cat(parts)
