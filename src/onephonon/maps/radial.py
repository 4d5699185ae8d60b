"""Averages over shells of resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError

from .diffuse import Array, DiffuseMap

Float64 = NDArray[np.float64]

#: Maximum number of bins of a profile.
MAX_BINS = 30_000


@dataclass(frozen=True, eq=False)
class RadialProfile:
    """Intensity against s = 1/d = |q|/2*pi, in bins.

    Parameters
    ----------
    edges : ndarray, shape (n + 1,)
        Edges of the bins, 1/Å. A bin includes its lower edge; the last also its upper edge.
    count : ndarray, shape (n,), int64
        Number of voxels with an intensity.
    position : ndarray, shape (n,)
        Mean s of these voxels, 1/Å; the middle of the bin if it is empty.
    mean, median : ndarray, shape (n,)
        Mean and median of their intensities; NaN if the bin is empty.
    std : ndarray, shape (n,)
        Their standard deviation (divided by n - 1); NaN for fewer than two.
    """

    edges: Float64
    count: NDArray[np.int64]
    position: Float64
    mean: Float64
    median: Float64
    std: Float64

    @property
    def centre(self) -> Float64:
        """Middle of each bin, 1/Å."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    @property
    def sem(self) -> Float64:
        """Standard error of the mean; NaN for fewer than two voxels."""
        return self.std / np.sqrt(np.maximum(self.count, 1))

    def at(self, s: ArrayLike, *, interpolate: bool = True, of: str = "mean") -> Float64:
        """Value of the profile at s (1/Å), in the shape of s.

        Parameters
        ----------
        s : ndarray
        interpolate : bool
            Interpolate linearly between the positions of the bins that are not empty, constant
            beyond the first and last; otherwise take the value of the bin of s, NaN outside.
        of : {'mean', 'median'}

        Raises
        ------
        InputError
            If every bin is empty, or `of` is neither.
        """
        if of not in ("mean", "median"):
            raise InputError(f"a profile has a mean and a median, not {of!r}")
        shape = np.shape(s)
        s = np.asarray(s, dtype=np.float64).reshape(-1)
        values: Float64 = self.median if of == "median" else self.mean
        held = self.count > 0
        if not held.any():
            raise InputError("every bin of the profile is empty")
        if interpolate:
            return np.interp(s, self.position[held], values[held]).reshape(shape)
        return np.append(values, np.nan)[bin_of(s, self.edges)].reshape(shape)


def radial_average(
    diffuse: DiffuseMap, n_bins: int = 50, edges: Sequence[float] | Float64 | None = None
) -> RadialProfile:
    """Average a map over directions, in bins of s = 1/d.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid or a list.
    n_bins : int
        Number of bins of equal width from the smallest to the largest s of a valid voxel.
    edges : sequence of float, optional
        Increasing edges of the bins to use instead, 1/Å.

    Raises
    ------
    InputError
        If no voxel has an intensity, or the edges do not increase.
    """
    bin_edges = shell_edges(diffuse, n_bins) if edges is None else _check_edges(edges)
    n = len(bin_edges) - 1
    shells: list[list[Array]] = [[] for _ in range(n)]
    s_total = np.zeros(n)
    for part, s in diffuse.slabs():
        intensity = diffuse.intensity[part]
        index = bin_of(s, bin_edges)
        use = ~np.isnan(intensity) & (index < n)
        index, intensity, s = index[use], intensity[use], s[use]
        s_total += np.bincount(index, weights=s, minlength=n)[:n]
        order = np.argsort(index, kind="stable")
        starts = np.searchsorted(index[order], np.arange(1, n))
        for shell, held in zip(shells, np.split(intensity[order], starts), strict=True):
            if len(held):
                shell.append(held)
    count = np.array([sum(len(part) for part in shell) for shell in shells], dtype=np.int64)
    mean, median, std = (np.full(n, np.nan) for _ in range(3))
    for i, shell in enumerate(shells):
        if shell:
            held = np.concatenate(shell)
            mean[i], median[i] = held.mean(dtype=np.float64), np.median(held)
            if len(held) > 1:
                std[i] = held.std(ddof=1, dtype=np.float64)
    centre = 0.5 * (bin_edges[1:] + bin_edges[:-1])
    position = np.where(count > 0, s_total / np.maximum(count, 1), centre)
    return RadialProfile(bin_edges, count, position, mean, median, std)


def shell_edges(diffuse: DiffuseMap, n_bins: int) -> Float64:
    """Edges of shells of equal width in 1/d over the valid voxels, shape (n_bins + 1,), 1/Å.

    Raises
    ------
    InputError
        If no voxel has an intensity, or the number of bins is not positive.
    """
    if not 1 <= n_bins <= MAX_BINS:
        raise InputError(f"{n_bins} bins: must be a whole number from 1 to {MAX_BINS}")
    low, high = np.inf, -np.inf
    for part, s in diffuse.slabs():
        valid = ~np.isnan(diffuse.intensity[part])
        low = min(low, float(s.min(initial=np.inf, where=valid)))
        high = max(high, float(s.max(initial=-np.inf, where=valid)))
    if not np.isfinite(low):
        raise InputError("no voxel of the map has an intensity, so there are no shells")
    if high <= low:  # a single shell, as of one point
        low, high = low * (1 - 1e-6), high * (1 + 1e-6) or 1e-6
    return np.linspace(low, high, int(n_bins) + 1)


def bin_of(s: Float64, edges: Float64) -> NDArray[np.int16]:
    """Bin of each s: as in NumPy's histogram; ``len(edges) - 1`` outside all bins."""
    n = len(edges) - 1
    index = np.searchsorted(edges, s, side="right") - 1
    index[s == edges[-1]] = n - 1
    index[(index < 0) | (s > edges[-1])] = n
    return index.astype(np.int16)


def _check_edges(edges: Sequence[float] | Float64) -> Float64:
    checked = np.asarray(edges, dtype=np.float64).reshape(-1)
    if not 2 <= len(checked) <= MAX_BINS or not (np.diff(checked) > 0).all():
        raise InputError(f"edges of shells are two or more increasing numbers (1/Å), got {edges}")
    return checked
