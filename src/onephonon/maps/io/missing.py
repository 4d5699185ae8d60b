"""Values that stand for 'no data' although the file does not say so: -32768, -9999, 1e30."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.crystal.remarks import Remark

from ..diffuse import Array, DiffuseMap

#: Values by which programs mark what was not measured: detectors, lunus, GIS, netCDF, Fortran.
MARKS = (
    -999.0, -9999.0, -32768.0, -99999.0, -2147483648.0, -1e10, -1e20, -1e30, -3.4028234663852886e38,
    65535.0, 99999.0, 2147483647.0, 4294967295.0, 1e10, 1e20, 1e30, 1e32, 1e35,
    9.969209968386869e36, 3.4028234663852886e38,
)  # fmt: skip

#: A mark is one only if at least so many voxels hold it ...
MIN_VOXELS = 2

#: ... and it is so many times further from zero than all other values of its sign.
FAR = 5.0

#: Values that are a mark, but not so far out, are pointed out if so many voxels hold them.
MANY_VOXELS = 10


def without_marks(diffuse: DiffuseMap) -> DiffuseMap:
    """The map with voxels missing that hold a known mark far outside of all other values.

    The remark on them is a warning, since it is a guess.
    """
    values, remarks = diffuse.intensity, list(diffuse.remarks)
    for sign in (-1.0, 1.0):
        while (mark := _extreme(values, sign)) is not None:
            here = values == mark
            n = int(np.count_nonzero(here))
            others = np.where(here, np.nan, values)
            next_one = max(0.0, sign * _largest(others, sign))
            if n < MIN_VOXELS or (abs(mark) <= FAR * next_one and n < MANY_VOXELS):
                break
            if abs(mark) <= FAR * next_one:
                text = (
                    f"{n} voxels of exactly {mark:g} as intensities, though it often means 'none'"
                )
                remarks.append(Remark("read", text, matters=True))
                break
            text = f"{n} voxels of {mark:g} are missing values, all others within {next_one:.4g}"
            remarks.append(Remark("assumed", text, matters=True))
            values = others
    if len(remarks) == len(diffuse.remarks):
        return diffuse
    return replace(diffuse, intensity=values, remarks=tuple(remarks))


def _extreme(values: Array, sign: float) -> Any | None:
    """The lowest (sign -1) or highest (1) value, if it is a mark in the values' precision."""
    largest = sign * _largest(values, sign)
    if largest <= 0:
        return None
    with np.errstate(over="ignore"):
        marks = np.asarray(MARKS).astype(values.dtype)
    found = values.dtype.type(sign * largest)
    return found if found in marks else None


def _largest(values: NDArray[Any], sign: float) -> float:
    """Highest value (sign 1), or lowest (-1); 0 if there is none."""
    if not values.size:
        return 0.0
    reduce = np.fmax.reduce if sign > 0 else np.fmin.reduce  # without a copy, unlike nanmax
    found = float(reduce(values, axis=None))
    return 0.0 if math.isnan(found) else found
