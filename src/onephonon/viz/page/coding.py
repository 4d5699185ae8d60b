"""Quantization of intensities to 16-bit integers, with known precision."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Codes of values are from 1 to this; 0 is a missing value.
MAX_CODE = 65535

#: Fraction of the median below which steps are equal; above it, ratios are equal.
WIDTH = 0.1


@dataclass(frozen=True)
class QuantizedValues:
    """Values quantized in equal steps of their inverse hyperbolic sine.

    ``value = width * sinh(low + (code - 1) / 65534 * (high - low))``; code 0 is missing.

    Parameters
    ----------
    codes : ndarray of uint16
    width : float
        Value at which equal steps become equal ratios, in the unit of the values.
    low, high : float
        asinh(value / width) of the smallest and the largest value.
    """

    codes: NDArray[np.uint16]
    width: float
    low: float
    high: float

    @property
    def precision(self) -> float:
        """Largest error of a value, relative to ``sqrt(value**2 + width**2)``."""
        return (self.high - self.low) / (MAX_CODE - 1) / 2

    def values(self) -> NDArray[np.float64]:
        """Decode, as the page does."""
        scaled = self.low + (self.codes.astype(np.float64) - 1) / (MAX_CODE - 1) * (
            self.high - self.low
        )
        return np.where(self.codes == 0, np.nan, self.width * np.sinh(scaled))


def encode(values: ArrayLike) -> QuantizedValues:
    """Quantize values, of which at least one is not NaN; NaN becomes 0."""
    numbers = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(numbers)
    size = np.abs(numbers[present])
    width = WIDTH * float(np.median(size[size > 0])) if size.any() else 1.0
    scaled = np.arcsinh(numbers / width)
    low, high = float(np.nanmin(scaled)), float(np.nanmax(scaled))
    fraction = (scaled - low) / ((high - low) or 1.0)
    codes = np.where(present, 1 + np.rint(np.where(present, fraction, 0.0) * (MAX_CODE - 1)), 0)
    return QuantizedValues(codes.astype(np.uint16), width, low, high)


def packed(codes: NDArray[np.uint16]) -> str:
    """Codes as text: all low bytes, then all high bytes (compresses better), zlib, base64."""
    octets = codes.astype("<u2").reshape(-1).view(np.uint8).reshape(-1, 2)
    shuffled = np.ascontiguousarray(octets.T).tobytes()
    return base64.b64encode(zlib.compress(shuffled, 6)).decode("ascii")
