"""A map made ready for its Fourier transform: averaged, without gaps or isotropic part."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from onephonon.core.errors import InputError
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.isotropic import Isotropic
from onephonon.maps.symmetrizing import symmetrize

Float64 = NDArray[np.float64]

#: How missing voxels are filled.
FILLS = ("neighbours", "share", "zero")

#: How the map is tapered towards its finest resolution.
TAPERS = ("hann", "gaussian", "none")

#: Width of the weights of neighbours, voxels, and where they end.
NEIGHBOUR_SIGMA, NEIGHBOUR_REACH = 1.0, 2.0

#: A Gaussian taper has fallen to exp(-4.5) at the finest resolution.
GAUSSIAN_WIDTHS = 3.0

#: Shells of |q| in which the share of known voxels is counted.
N_SHARE_SHELLS = 30


@dataclass(frozen=True)
class Preparation:
    """How a map is made ready for its Fourier transform.

    Parameters
    ----------
    d_min, d_max : float
        Range of resolution, Å; voxels outside do not take part.
    isotropic : Isotropic
        Isotropic part to subtract; by default the profile, a curve without steps, in 50 shells.
    fill : {'neighbours', 'share', 'zero'}
        Missing voxels in the range, after the isotropic part is removed: the mean of known
        neighbours within two voxels, with Gaussian weights, or zero if there are none; zero, and
        all others of the same shell of |q| divided by its share of known voxels; or zero.
    taper : {'hann', 'gaussian', 'none'}
        Factor that falls towards the finest resolution s_max = 1/d_min, against ripples in real
        space: ``cos^2(pi s / (2 s_max))``, ``exp(-s^2 / (2 (s_max/3)^2))``, or 1.
    symmetric : bool
        Average over the Laue group first, which also fills what has an equivalent. Without a
        space group, over Friedel mates.

    Raises
    ------
    InputError
        If a value is not possible.
    """

    d_min: float = 0.0
    d_max: float = math.inf
    isotropic: Isotropic = field(default_factory=lambda: Isotropic("profile"))
    fill: str = "neighbours"
    taper: str = "hann"
    symmetric: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.d_min < self.d_max:
            raise InputError(
                f"d_min {self.d_min:g} and d_max {self.d_max:g}: give lengths in Å, the first "
                "smaller"
            )
        for name, value, known in (("fill", self.fill, FILLS), ("taper", self.taper, TAPERS)):
            if value not in known:
                raise InputError(f"{name} {value!r} is not one of {', '.join(known)}")


def prepare(diffuse: DiffuseMap, how: Preparation | None = None) -> DiffuseMap:
    """Make a map ready for its Fourier transform.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    how : Preparation, optional

    Returns
    -------
    DiffuseMap
        Zero outside the range of resolution, no voxel missing, without sigma and counts.

    Raises
    ------
    InputError
        For a list, or if no voxel of the range has a value.
    """
    how = how or Preparation()
    diffuse.require_grid()
    plain = diffuse.changed("intensity alone", {"intensity": diffuse.intensity.astype(np.float64)})
    averaged = _averaged(plain) if how.symmetric else plain
    s = lengths(averaged)
    values = averaged.intensity.copy()
    lowest = 0.0 if math.isinf(how.d_max) else 1.0 / how.d_max
    highest = 1.0 / (how.d_min or averaged.d_min)
    inside = (s >= lowest) & (s <= highest)
    known = inside & ~np.isnan(values)
    if not known.any():
        raise InputError(
            f"no voxel between {how.d_max:g} and {how.d_min:g} Å has a value; choose another range"
        )
    limits = (float(s[known].min()), float(s[known].max()))
    # The origin belongs to no shell: it is the beam.
    left = how.isotropic.remove(values[known], s[known], limits, np.ones(int(known.sum())))
    values[:] = np.nan
    values[known] = left
    known &= ~np.isnan(values)
    filled, lacking = _filled(values, known, inside, s, how.fill)
    filled *= _taper(s / highest, how.taper)
    step = (
        f"prepared for its transform: {how.isotropic}; {lacking} of {int(inside.sum())} voxels in "
        f"the range missing, filled by {how.fill}; taper {how.taper} to {1 / highest:.3g} Å"
    )
    return averaged.changed(step, {"intensity": filled})


def _averaged(diffuse: DiffuseMap) -> DiffuseMap:
    """Averaged over the Laue group, on a grid that holds all equivalents."""
    symmetry = diffuse.spacegroup or "P 1"
    try:
        return symmetrize(diffuse, symmetry, fill=True).map
    except InputError:
        # Voxels that the operators move between voxels.
        return symmetrize(diffuse, symmetry, fill=True, interpolate=True).map


def lengths(diffuse: DiffuseMap) -> Float64:
    """1/d of every voxel of a map, 1/Å, shape of its intensity."""
    s = np.empty(diffuse.intensity.shape)
    for part, values in diffuse.slabs():
        s[part] = values
    return s


def _filled(
    values: Float64, known: NDArray[np.bool_], inside: NDArray[np.bool_], s: Float64, fill: str
) -> tuple[Float64, int]:
    """Values without gaps, zero outside the range, and how many were missing."""
    missing = inside & ~known
    found = np.where(known, values, 0.0)
    if fill == "neighbours" and missing.any():
        options = {"mode": "constant", "sigma": NEIGHBOUR_SIGMA}
        truncate = NEIGHBOUR_REACH / NEIGHBOUR_SIGMA
        total = gaussian_filter(found, truncate=truncate, **options)
        weight = gaussian_filter(known.astype(np.float64), truncate=truncate, **options)
        near = missing & (weight > 0)
        found[near] = total[near] / weight[near]
    elif fill == "share" and missing.any():
        edges = np.linspace(0.0, float(s[inside].max()) * (1 + 1e-9), N_SHARE_SHELLS + 1)
        shell = np.digitize(s, edges) - 1
        every = np.bincount(shell[inside], minlength=N_SHARE_SHELLS)[:N_SHARE_SHELLS]
        some = np.bincount(shell[known], minlength=N_SHARE_SHELLS)[:N_SHARE_SHELLS]
        factor = every / np.maximum(some, 1)
        found[known] *= factor[shell[known]]
    return found, int(missing.sum())


def _taper(x: Float64, kind: str) -> Float64:
    """Factor at x = s / s_max; zero beyond 1."""
    inside = x <= 1.0 + 1e-12
    if kind == "none":
        return inside.astype(np.float64)
    if kind == "hann":
        return np.where(inside, np.cos(0.5 * np.pi * np.minimum(x, 1.0)) ** 2, 0.0)
    return np.where(inside, np.exp(-0.5 * (GAUSSIAN_WIDTHS * x) ** 2), 0.0)
