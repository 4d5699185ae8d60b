"""The isotropic part of intensities, which depends on |q| only, and the anisotropic rest.

Two definitions are used, and their anisotropic parts differ:

- maps and pictures (`split_isotropic`, `symmetry_agreement`) subtract the **profile**, the mean
  intensity of each shell interpolated between shells: a curve without steps, which can be drawn;
- comparisons and fits (`compare`, `refine`) subtract a **line** per shell, fitted by least
  squares, from both model and data: a common linear trend in |q| within a shell would correlate
  even unrelated maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError

from .diffuse import DiffuseMap
from .radial import RadialProfile, radial_average

Float64 = NDArray[np.float64]

#: Kinds of isotropic part, and number of parameters per shell. A profile is one
#: curve through all shells and has no parameters of its own in a shell.
KINDS = {"none": 0, "mean": 1, "line": 2, "profile": 0}

#: Most shells of resolution: more have no voxels, and a table of them would not be read.
MAX_SHELLS = 1000

#: Descriptions of the kinds.
DESCRIBED = {
    "mean": "the mean",
    "line": "a line in |q|",
    "profile": "the mean, interpolated between shells,",
}


@dataclass(frozen=True)
class Isotropic:
    """Definition of the isotropic part of a map.

    Parameters
    ----------
    kind : {'line', 'profile', 'mean', 'none'}
        A straight line in |q| in each shell, fitted by (weighted) least squares; the (weighted)
        means of the shells, interpolated between the mean |q| of each; the mean of each shell in
        steps; or nothing.
    n_shells : int
        Number of shells of equal width in |q| between the limits of the comparison.

    Raises
    ------
    InputError
        If the kind is unknown or there is no shell.
    """

    kind: str = "line"
    n_shells: int = 50

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"isotropic part {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.n_shells < 1 or self.n_shells != int(self.n_shells):
            raise InputError(f"{self.n_shells} shells: must be a whole number, 1 or more")
        if self.n_shells > MAX_SHELLS:
            raise InputError(f"{self.n_shells} shells: give at most {MAX_SHELLS:,}")

    def __str__(self) -> str:
        if self.kind == "none":
            return "nothing subtracted"
        return f"{DESCRIBED[self.kind]} subtracted in {self.n_shells} shells of |q|"

    def remove(
        self, values: Float64, s: Float64, limits: tuple[float, float], weight: Float64
    ) -> Float64:
        """Subtract the isotropic part from values.

        Parameters
        ----------
        values, s, weight : ndarray, shape (N,)
            Intensities, 1/d = |q|/2*pi in 1/Å, and weights (not negative).
        limits : (float, float)
            Lowest and highest s of the shells.

        Returns
        -------
        ndarray, shape (N,)
            NaN in shells with no more values than fitted parameters.
        """
        if self.kind == "none":
            return values.copy()
        if self.kind == "profile":
            return values - shell_profile(values, s, limits, weight, self.n_shells)
        shell = shell_of(s, limits, self.n_shells)

        def total(terms: Float64) -> Float64:
            return np.bincount(shell, terms, self.n_shells).astype(np.float64)

        with np.errstate(divide="ignore", invalid="ignore"):
            sum_w = total(weight)
            mean = total(weight * values) / sum_w
            left = values - mean[shell]
            enough = np.bincount(shell[weight > 0], minlength=self.n_shells) > KINDS[self.kind]
            if self.kind == "line":
                away = s - (total(weight * s) / sum_w)[shell]
                spread = total(weight * away**2)
                slope = total(weight * away * left) / spread
                flat = spread <= 1e-24 * sum_w  # all at one |q|: use the mean
                left = left - np.where(flat, 0.0, slope)[shell] * away
        return np.where(enough[shell], left, np.nan)


def shell_of(s: Float64, limits: tuple[float, float], shells: int) -> NDArray[np.int64]:
    """Index of the shell of each s, shape (N,); the outermost shell includes its upper edge."""
    low, high = limits
    width = (high - low) / shells
    if width <= 0:
        return np.zeros(len(s), dtype=np.int64)
    return np.clip(np.floor((s - low) / width), 0, shells - 1).astype(np.int64)


def shell_profile(
    values: Float64, s: Float64, limits: tuple[float, float], weight: Float64, shells: int
) -> Float64:
    """Means of shells, interpolated linearly between the mean s of each, shape (N,).

    Parameters
    ----------
    values, s, limits, weight
        As for `Isotropic.remove`.
    n_shells : int
        Number of shells of equal width in s; values beyond the limits belong to the first and last.
    """
    if not len(values):
        return values
    low, high = limits
    shell = ((s - low) / (high - low or 1.0) * shells).astype(np.intp).clip(0, shells - 1)
    total = np.bincount(shell, weight, shells)
    held = total > 0
    position = np.bincount(shell, weight * s, shells)[held] / total[held]
    mean = np.bincount(shell, weight * values, shells)[held] / total[held]
    return np.interp(s, position, mean)


def split_isotropic(
    diffuse: DiffuseMap,
    n_bins: int = 50,
    *,
    profile: RadialProfile | None = None,
    interpolate: bool = True,
    of: str = "mean",
) -> tuple[DiffuseMap, DiffuseMap]:
    """Split a map into a part that depends on |q| alone and the rest.

    By default the isotropic part is the map's radial profile, the kind 'profile' of `Isotropic`.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid or a list.
    n_bins : int
        See `radial_average`.
    profile : RadialProfile, optional
        Isotropic part to subtract instead of the map's own.
    interpolate : bool
        Interpolate between the bins, so that the isotropic part has no steps; see
        `RadialProfile.at`. Otherwise it is constant in each bin, and the mean of the rest is zero
        there.
    of : {'mean', 'median'}
        Statistic of each bin.

    Returns
    -------
    isotropic : DiffuseMap
        Missing where the map is. Without sigma, counts and halves.
    anisotropic : DiffuseMap
        The 'variational' part: intensity - isotropic, with the map's sigma and counts; the
        same isotropic part is subtracted from both half-sets.
    """
    taken = profile or radial_average(diffuse, n_bins)
    isotropic = np.empty_like(diffuse.intensity)
    for part, s in diffuse.slabs():
        line = taken.at(s, interpolate=interpolate, of=of)
        isotropic[part] = np.where(np.isnan(diffuse.intensity[part]), np.nan, line)
    arrays = dict(diffuse.arrays)
    for name in ("intensity", "half1", "half2"):
        if name in arrays:
            arrays[name] = arrays[name] - isotropic
    what = f"{of} in {len(taken.count)} shells of 1/d"
    return (
        diffuse.changed(f"isotropic part: {what}", {"intensity": isotropic}),
        diffuse.changed(f"anisotropic part: without the {what}", arrays),
    )
