"""Pearson's correlation, weighted or not, of values or of sums accumulated in parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

#: A variance this small beside the mean square is rounding: sums of N values lose about N^(1/2)
#: of the last of 16 digits.
ROUNDING = 1e-12


def pearson(x: Float64, y: Float64, weight: Float64 | None = None) -> float:
    """Pearson's correlation coefficient, weighted.

    Parameters
    ----------
    x, y : ndarray, shape (N,)
    weight : ndarray, shape (N,), optional
        All one if not given.

    Returns
    -------
    float
        NaN for fewer than two values, or if x or y is the same everywhere.
    """
    w = np.ones(len(x)) if weight is None else weight
    x, y = centred(x, y, w)
    wx, wy = w * x, w * y
    sums = np.array([w.sum(), wx.sum(), wy.sum(), wx @ x, wy @ y, wx @ y])
    return float(correlation_of_sums(sums))


def centred(x: Float64, y: Float64, weight: Float64) -> tuple[Float64, Float64]:
    """Subtract the weighted means, so that the squares do not cancel."""
    total = weight.sum()
    if not total > 0:
        return x, y
    return x - (weight @ x) / total, y - (weight @ y) / total


def correlation_of_sums(sums: Float64) -> Float64:
    """Correlation from the sums of w, w x, w y, w x^2, w y^2 and w x y, over the first axis.

    Parameters
    ----------
    sums : ndarray, shape (6, ...)

    Returns
    -------
    ndarray, shape (...)
        NaN where x or y does not vary.
    """
    w, x, y, xx, yy, xy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        var_x, var_y = xx - x * x / w, yy - y * y / w
        cc = (xy - x * y / w) / np.sqrt(var_x * var_y)
        # A variance at the level of rounding counts as zero.
        real = (var_x > ROUNDING * xx) & (var_y > ROUNDING * yy)
    return np.where(real, np.clip(cc, -1.0, 1.0), np.nan)
