"""Result of a fit of a sum of components."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from onephonon.compare.statistics import BlockSums

from ..quality import anisotropic_sums
from ..voxels import FitVoxels

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Amplitudes of a stronger correlation are not told apart, and an amplitude differs from zero from
#: this many standard errors: the fitted shapes of a component that is absent follow the noise,
#: which makes two frequent.
TOO_CORRELATED, SIGNIFICANT = 0.95, 3.0


@dataclass(frozen=True)
class ParameterRow:
    """A fitted number of a component.

    Parameters
    ----------
    name : str
        As in ``liquid:gamma``.
    value, sigma : float
        NaN where the data say nothing: the component's amplitude is zero. Sigma is also NaN at a
        limit.
    unit : str
    at_limit : bool
        Whether a parameter of the component ended at a limit of the search.
    """

    name: str
    value: float
    sigma: float
    unit: str
    at_limit: bool = False


@dataclass(frozen=True)
class AmplitudeRow:
    """How much of a component there is.

    Parameters
    ----------
    name : str
    value, sigma : float
        Scale of the map times the component's share of the mean U; on an absolute scale the share.
        Sigma is NaN where the value is zero.
    upper_limit : float
        At 95 % probability, for a value of zero; else NaN.
    share : float
        Of the sum of all amplitudes.
    """

    name: str
    value: float
    sigma: float
    upper_limit: float
    share: float

    def __str__(self) -> str:
        if self.value > 0:
            return f"{self.name} {self.value:.4g} ± {self.sigma:.2g}"
        return f"{self.name} 0, below {self.upper_limit:.2g} (95 %)"


@dataclass(frozen=True, eq=False)
class ParametricFit:
    """A sum of components fitted to the voxels of a map.

    Parameters
    ----------
    text : str
        The components, as they are written.
    absolute : bool
        Whether amplitudes are shares of the file's mean U.
    parameters : tuple of ParameterRow
    amplitudes : tuple of AmplitudeRow
    names : tuple of str, length n
        Of the rows of `correlation`: amplitudes, then parameters.
    correlation : ndarray, shape (n, n)
        NaN for numbers without an uncertainty.
    errors : str
        How uncertainties were estimated.
    voxels : FitVoxels
    fold : ndarray, shape (N,), int64
        The part in which each voxel was held out; -1 if never.
    fitted, background : ndarray, shape (N,)
        Sum of the components on the data's scale, and background, of the fit to all voxels.
    held_out, held_out_background : ndarray, shape (N,)
        The same, predicted by the fit to the other folds; NaN for voxels never held out.
    converged : bool
        Of all minimizations.
    reason : str
        Why the fit to all voxels ended.
    """

    text: str
    absolute: bool
    parameters: tuple[ParameterRow, ...]
    amplitudes: tuple[AmplitudeRow, ...]
    names: tuple[str, ...]
    correlation: Float64
    errors: str
    voxels: FitVoxels
    fold: Index
    fitted: Float64
    background: Float64
    held_out: Float64
    held_out_background: Float64
    converged: bool
    reason: str

    @property
    def chi2(self) -> float:
        """Chi-square per voxel of the fit to all voxels."""
        return float(self.loss.mean())

    @property
    def loss(self) -> Float64:
        """Squared residuals over sigma^2 of the fit to all voxels, shape (N,)."""
        return self._squares(self.fitted + self.background)

    @property
    def loss_held_out(self) -> Float64:
        """The same of predictions, shape (N,); NaN for voxels never held out."""
        return self._squares(self.held_out + self.held_out_background)

    @property
    def chi2_held_out(self) -> float:
        """Chi-square per voxel of predictions."""
        return float(np.nanmean(self.loss_held_out))

    @property
    def cc(self) -> float:
        """Correlation of the anisotropic parts of data and fit."""
        return self._sums(self.fitted).cc

    @property
    def cc_held_out(self) -> float:
        """Correlation of the anisotropic parts of data and predictions."""
        return self._sums(self.held_out).cc

    @property
    def cc_held_out_error(self) -> float:
        """Its standard error by leaving out blocks of voxels; NaN for too few."""
        return self._sums(self.held_out).error

    @property
    def told_apart(self) -> tuple[str, ...]:
        """For each pair of components a sentence whether these data tell them apart."""
        pairs = combinations(range(len(self.amplitudes)), 2)
        return tuple(self._sentence(i, j) for i, j in pairs)

    def _sentence(self, i: int, j: int) -> str:
        a, b = self.amplitudes[i], self.amplitudes[j]
        for zero, other in ((a, b), (b, a)):
            if zero.value == 0:
                return (
                    f"{zero.name} is not needed beside {other.name}: its amplitude is zero, below "
                    f"{zero.upper_limit:.2g} at 95 % probability"
                )
        r = float(self.correlation[i, j])
        if not abs(r) <= TOO_CORRELATED:
            return (
                f"{a.name} and {b.name} are not told apart by these data: the correlation of "
                f"their amplitudes is {r:.2f}"
            )
        weak = [row.name for row in (a, b) if not row.value >= SIGNIFICANT * row.sigma]
        if weak:
            return (
                f"{a.name} and {b.name} are not both needed by these data: the amplitude of "
                f"{' and of '.join(weak)} is within {SIGNIFICANT:g} standard errors of zero"
            )
        return (
            f"{a.name} and {b.name} are told apart by these data: the correlation of their "
            f"amplitudes is {r:.2f}, and both differ from zero by more than {SIGNIFICANT:g} "
            "standard errors"
        )

    def summary(self) -> tuple[str, ...]:
        """The numbers in a few lines."""
        held_out = _with_error(self.cc_held_out, self.cc_held_out_error)
        lines = [
            f"{self.text}: CC aniso held out {held_out}, fitted {self.cc:.3f}; chi-square held out "
            f"{self.chi2_held_out:.4g}"
        ]
        lines += [str(row) for row in self.amplitudes]
        lines += [
            f"{row.name} {row.value:.4g} ± {row.sigma:.2g} {row.unit}"
            + (" (at the limit of the search)" if row.at_limit else "")
            for row in self.parameters
        ]
        return (*lines, *self.told_apart, f"errors: {self.errors}")

    def _squares(self, prediction: Float64) -> Float64:
        return np.asarray(((self.voxels.data - prediction) / self.voxels.sigma) ** 2)

    def _sums(self, model: Float64) -> BlockSums:
        return anisotropic_sums(self.voxels, model, self.voxels.data)


def _with_error(value: float, error: float) -> str:
    return f"{value:.3f}" if math.isnan(error) else f"{value:.3f} ± {error:.3f}"
