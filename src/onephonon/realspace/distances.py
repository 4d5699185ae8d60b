"""What Patterson maps say at each distance, and what two of them have in common."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.core.correlation import pearson
from onephonon.core.errors import InputError

from .patterson_map import PattersonMap
from .preparation import lengths
from .transform import intensity

Float64 = NDArray[np.float64]

#: Rounding of transforms, relative to the largest intensity.
ROUNDING = 1e-10

#: Most shells of |r|.
MAX_SHELLS = 1000


@dataclass(frozen=True)
class DistanceShell:
    """Values of a Patterson map, or of two, in a shell of |r|.

    Parameters
    ----------
    r_min, r_max : float
        Å.
    n : int
        Points of the grid.
    deviation : float
        Standard deviation of the values.
    other_deviation : float
        Of the second map; NaN if there is none.
    cc : float
        Correlation of the two; NaN if there is one only.
    """

    r_min: float
    r_max: float
    n: int
    deviation: float
    other_deviation: float = math.nan
    cc: float = math.nan


@dataclass(frozen=True)
class ResolutionShell:
    """Correlation of intensities that come from distances within a radius.

    Parameters
    ----------
    d_max, d_min : float
        Å.
    r_min, r_max : float
        Range of |r|, Å, to which both Patterson maps were limited.
    n : int
        Voxels.
    cc : float
    """

    d_max: float
    d_min: float
    r_min: float
    r_max: float
    n: int
    cc: float


def distance_shells(
    found: PattersonMap, other: PattersonMap | None = None, *, width: float = 2.0
) -> tuple[DistanceShell, ...]:
    """Standard deviation in shells of |r|, and the correlation with another map.

    Parameters
    ----------
    found, other : PattersonMap
        On the same points.
    width : float
        Of a shell, Å.

    Returns
    -------
    tuple of DistanceShell
        From the origin to `r_max`, beyond which shells are not complete.

    Raises
    ------
    InputError
        If the points differ, or the width is not positive or makes too many shells.
    """
    if other is not None and not found.matches(other):
        raise InputError("the two Patterson maps are on different points; compute both alike")
    if not (math.isfinite(width) and width > 0 and found.r_max / width <= MAX_SHELLS):
        raise InputError(
            f"width {width:g} Å of shells: give a length between {found.r_max / MAX_SHELLS:.2g} "
            f"and {found.r_max:.3g} Å"
        )
    n_shells = max(1, math.floor(found.r_max / width))
    shell = np.floor(found.distances() / width).astype(np.int64).reshape(-1)
    order = np.argsort(shell, kind="stable")
    edges = np.searchsorted(shell[order], np.arange(n_shells + 1))
    x = found.values.reshape(-1)
    y = None if other is None else other.values.reshape(-1)
    shells = []
    for i in range(n_shells):
        at = order[edges[i] : edges[i + 1]]
        if not len(at):
            continue
        more = () if y is None else (float(y[at].std()), pearson(x[at], y[at]))
        shells.append(DistanceShell(i * width, (i + 1) * width, len(at), float(x[at].std()), *more))
    return tuple(shells)


def resolution_shells(
    found: PattersonMap,
    other: PattersonMap,
    radii: Sequence[float],
    *,
    n_shells: int = 10,
) -> tuple[ResolutionShell, ...]:
    """Correlation of intensities by resolution, of what comes from each range of distances.

    Parameters
    ----------
    found, other : PattersonMap
        On the same points.
    radii : sequence of float
        Increasing, Å; ranges are between neighbours, and beyond the last.
    n_shells : int
        Of equal volume in reciprocal space.

    Raises
    ------
    InputError
        If the points differ or the radii do not increase.
    """
    if not found.matches(other):
        raise InputError("the two Patterson maps are on different points; compute both alike")
    edges = [0.0, *map(float, radii), math.inf]
    if any(a >= b for a, b in itertools.pairwise(edges)):
        raise InputError(f"radii {list(radii)}: give increasing distances in Å")
    whole = intensity(found)
    # Beyond the finest resolution transforms leave rounding.
    held = np.abs(whole.intensity) > ROUNDING * np.abs(whole.intensity).max()
    s = lengths(whole)
    limits = np.linspace(0.0, float(s[held].max()) ** 3, n_shells + 1) ** (1 / 3)
    shells = []
    for low, high in itertools.pairwise(edges):
        parts = [intensity(m.within(low, high)).intensity for m in (found, other)]
        for a, b in itertools.pairwise(limits):
            at = held & (s > a) & (s <= b)
            cc = pearson(parts[0][at], parts[1][at]) if at.any() else math.nan
            d_max = 1 / a if a > 0 else math.inf
            shells.append(ResolutionShell(d_max, 1 / b, low, high, int(at.sum()), cc))
    return tuple(shells)
