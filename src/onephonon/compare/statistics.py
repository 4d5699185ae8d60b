"""Statistics of agreement between two lists of intensities: weighted, and by blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.core.correlation import centred, correlation_of_sums
from onephonon.core.correlation import pearson as pearson

Float64 = NDArray[np.float64]

#: Minimum number of blocks for a standard error.
MIN_BLOCKS = 8


def cc_star(cc_half: float) -> float:
    """Correlation of merged data with the true signal, from that of their half-sets.

    ``CC* = sqrt(2 CC_half / (1 + CC_half))``: the CC of a perfect model. Karplus and
    Diederichs, Science 336 (2012) 1030. NaN if the half-sets do not agree at all.
    """
    return math.sqrt(2 * cc_half / (1 + cc_half)) if cc_half >= 0 else math.nan


def least_squares_scale(model: Float64, data: Float64, weight: Float64 | None = None) -> float:
    """Scale factor k that minimizes ``sum w (data - k model)^2``; NaN for a model of zero."""
    w = np.ones(len(model)) if weight is None else weight
    square = float((w * model) @ model)
    return float((w * model) @ data) / square if square > 0 else math.nan


def r_factor(model: Float64, data: Float64, weight: Float64 | None = None) -> float:
    """``R = sum w |data - model| / sum w |data|``, of a model on the data's scale."""
    w = np.ones(len(model)) if weight is None else weight
    size = float(w @ np.abs(data))
    return float(w @ np.abs(data - model)) / size if size > 0 else math.nan


def weighted_r(model: Float64, data: Float64, weight: Float64 | None = None) -> float:
    """``wR = sqrt(sum w (data - model)^2 / sum w data^2)``, of a model on the data's scale."""
    w = np.ones(len(model)) if weight is None else weight
    size = float((w * data) @ data)
    return math.sqrt(float((w * (data - model)) @ (data - model)) / size) if size > 0 else math.nan


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Weighted sums over blocks of values, from which a correlation and its error follow.

    Parameters
    ----------
    sums : ndarray, shape (6, n_blocks)
        Of w, w x, w y, w x^2, w y^2 and w x y, where x and y are deviations from their means.
    """

    sums: Float64

    @classmethod
    def of(
        cls,
        x: Float64,
        y: Float64,
        weight: Float64 | None,
        block: NDArray[np.int64],
        n_blocks: int,
    ) -> BlockSums:
        """Sum over blocks; `block` is the block index of each value, shape (N,), from 0."""
        w = np.ones(len(x)) if weight is None else weight
        x, y = centred(x, y, w)
        terms = (w, w * x, w * y, w * x * x, w * y * y, w * x * y)
        return cls(np.array([np.bincount(block, t, n_blocks) for t in terms]))

    @property
    def cc(self) -> float:
        """Correlation over all blocks."""
        return float(correlation_of_sums(self.sums.sum(axis=1)))

    @property
    def left_out(self) -> Float64:
        """Correlation with each non-empty block left out in turn."""
        held = self.sums[:, self.sums[0] > 0]
        return correlation_of_sums(self.sums.sum(axis=1)[:, None] - held)

    @property
    def error(self) -> float:
        """Standard error of the correlation; see `jackknife_error`."""
        return jackknife_error(self.left_out)


def jackknife_error(left_out: Float64) -> float:
    """Standard error of a statistic from its values with each block left out in turn.

    ``sqrt((n - 1)/n sum (value - mean)^2)``, the delete-one jackknife. Blocks
    much larger than the correlation length of the errors make it valid for dependent voxels.
    NaN for fewer than `MIN_BLOCKS` blocks.
    """
    n = len(left_out)
    if n < MIN_BLOCKS:
        return math.nan
    return math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
