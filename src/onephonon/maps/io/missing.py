"""Values that stand for 'no data' although the file does not say so: -32768, -9999, 1e30."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onephonon.crystal.remarks import Remark

from ..diffuse import Array, DiffuseMap

#: Values by which programs mark what was not measured: detectors, lunus, GIS, netCDF, Fortran.
MARKS = (
    -32768.0, -9999.0, -99999.0, -999.0, -1e10, -1e20, -1e30, -2147483648.0, -3.4028234663852886e38,
    65535.0, 99999.0, 2147483647.0, 4294967295.0, 1e10, 1e20, 1e30, 1e32, 1e35,
    9.969209968386869e36, 3.4028234663852886e38,
)  # fmt: skip

#: A mark is one only if so many voxels hold it ...
MIN_VOXELS = 2

#: ... and it is so many times further out than all other values.
FAR = 5.0


def without_marks(diffuse: DiffuseMap) -> DiffuseMap:
    """The map with voxels missing that hold a known mark far outside of all other values.

    Their remark is a warning, since it is a guess.
    """
    values = diffuse.intensity
    found = [mark for mark in MARKS if np.count_nonzero(_equal(values, mark)) >= MIN_VOXELS]
    if not found:
        return diffuse
    marked = np.logical_or.reduce([_equal(values, mark) for mark in found])
    others = np.abs(values[~marked & ~np.isnan(values)])
    largest = float(others.max()) if others.size else 0.0
    found = [mark for mark in found if abs(mark) > FAR * largest]
    if not found:
        return diffuse
    remarks, intensity = list(diffuse.remarks), values.copy()
    for mark in found:
        here = _equal(values, mark)
        intensity[here] = np.nan
        remarks.append(
            Remark(
                "assumed",
                f"{int(np.count_nonzero(here))} voxels of {mark:g} are missing values, as all "
                f"others are within ±{largest:.3g}",
                matters=True,
            )
        )
    return replace(diffuse, intensity=intensity, remarks=tuple(remarks))


def _equal(values: Array, mark: float) -> np.ndarray:
    """Where values are a mark, in their own precision."""
    with np.errstate(over="ignore"):
        return np.asarray(values == values.dtype.type(mark))
