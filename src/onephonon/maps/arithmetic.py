"""Scaling and subtracting maps, and their half-sets."""

from __future__ import annotations

import math

import numpy as np

from onephonon.core.errors import InputError

from .diffuse import DiffuseMap

#: Lists with q closer than this (1/Å) are at the same points.
SAME_Q = 1e-6


def scale(diffuse: DiffuseMap, factor: float) -> DiffuseMap:
    """Multiply intensity, sigma and half-sets by a factor; counts do not change.

    Raises
    ------
    InputError
        If the factor is zero or not finite.
    """
    if not math.isfinite(factor) or factor == 0:
        raise InputError(f"a map cannot be scaled by {factor}; give a finite number other than 0")
    factors = {"sigma": abs(factor), "counts": 1.0}
    arrays = {
        name: values * float(factors.get(name, factor)) for name, values in diffuse.arrays.items()
    }
    return diffuse.changed(f"scaled by {factor:.6g}", arrays)


def subtract(a: DiffuseMap, b: DiffuseMap) -> DiffuseMap:
    """Subtract map b from map a, voxel by voxel; missing in either is missing.

    Sigmas add in quadrature; a map without them is taken as exact. From each half-set of a the
    same half-set of b is subtracted, or b if it has none. Counts are those of a if b has none,
    and are dropped otherwise. Cell, space group and parameters are those of a.

    Raises
    ------
    InputError
        If the two are not at the same points.
    """
    check_same_points(a, b)
    arrays = {"intensity": a.intensity - b.intensity}
    if a.sigma is not None and b.sigma is not None:
        arrays["sigma"] = np.hypot(a.sigma, b.sigma)
    else:
        one = a.sigma if b.sigma is None else b.sigma
        arrays |= {} if one is None else {"sigma": one}
    if a.counts is not None and b.counts is None:
        arrays["counts"] = a.counts
    if a.halves is not None:
        other = b.halves or (b.intensity, b.intensity)
        arrays["half1"], arrays["half2"] = a.halves[0] - other[0], a.halves[1] - other[1]
    what = b.history[-1] if b.history else "another map"
    units = a.units if a.units == b.units else ""
    return a.changed(f"subtracted: {what}", arrays, units=units)


def half_sets(diffuse: DiffuseMap) -> tuple[DiffuseMap, DiffuseMap]:
    """Return the two random halves of the data as maps, without sigma and counts.

    Raises
    ------
    InputError
        If the map has none.
    """
    if diffuse.halves is None:
        raise InputError(
            "the map has no half-sets; they are made when data are merged, so read a file that "
            "has them"
        )
    first, second = (
        diffuse.changed(f"half-set {n}", {"intensity": half})
        for n, half in enumerate(diffuse.halves, 1)
    )
    return first, second


def check_same_points(a: DiffuseMap, b: DiffuseMap) -> None:
    """Raise `InputError` unless two maps are at the same points."""
    if a.grid is not None and b.grid is not None:
        if not a.grid.matches(b.grid):
            raise InputError(
                f"the maps are on different grids, {a.grid} and {b.grid}; resample one to the other"
            )
        return
    if (a.grid is None) != (b.grid is None):
        raise InputError("one map is on a grid and the other a list; they have no voxels in common")
    p, q = a.q_vectors, b.q_vectors
    if p.shape != q.shape or not (np.abs(p - q) <= SAME_Q).all():
        raise InputError(f"the lists of {len(p)} and {len(q)} q-vectors are not the same points")
