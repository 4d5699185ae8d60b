"""What depends on |q| alone, taken out of intensities: named, and the same for model and data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError

Float64 = NDArray[np.float64]

#: What can be taken out of each shell, and how many numbers it takes from it.
KINDS = {"none": 0, "mean": 1, "line": 2}


@dataclass(frozen=True)
class Isotropic:
    """What is taken for the isotropic part of a map.

    Parameters
    ----------
    kind : {'line', 'mean', 'none'}
        In each shell: a straight line in |q|, fitted by (weighted) least squares; the (weighted)
        mean; or nothing at all.
    shells : int
        Shells of equal width in |q| between the limits of what is compared.

    Raises
    ------
    InputError
        If the kind is unknown or there is no shell.
    """

    kind: str = "line"
    shells: int = 50

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"isotropic part {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.shells < 1 or self.shells != int(self.shells):
            raise InputError(f"{self.shells} shells: give a whole number, 1 or more")

    def __str__(self) -> str:
        if self.kind == "none":
            return "nothing taken out"
        what = "a line in |q|" if self.kind == "line" else "the mean"
        return f"{what} taken out of each of {self.shells} shells in |q|"

    def remove(
        self, values: Float64, s: Float64, limits: tuple[float, float], weight: Float64
    ) -> Float64:
        """Values without their isotropic part.

        Parameters
        ----------
        values, s, weight : ndarray, shape (N,)
            Intensities, 1/d = |q|/2*pi in 1/Å, and weights (not negative).
        limits : (float, float)
            Lowest and highest s of the shells.

        Returns
        -------
        ndarray, shape (N,)
            NaN in shells with no more values than were fitted: nothing would be left of them.
        """
        if self.kind == "none":
            return values.copy()
        shell = shell_of(s, limits, self.shells)

        def total(terms: Float64) -> Float64:
            return np.bincount(shell, terms, self.shells).astype(np.float64)

        with np.errstate(divide="ignore", invalid="ignore"):
            sum_w = total(weight)
            mean = total(weight * values) / sum_w
            left = values - mean[shell]
            enough = np.bincount(shell[weight > 0], minlength=self.shells) > KINDS[self.kind]
            if self.kind == "line":
                away = s - (total(weight * s) / sum_w)[shell]
                spread = total(weight * away**2)
                slope = total(weight * away * left) / spread
                flat = spread <= 1e-24 * sum_w  # all at one |q|: the mean is the line
                left = left - np.where(flat, 0.0, slope)[shell] * away
        return np.where(enough[shell], left, np.nan)


def shell_of(s: Float64, limits: tuple[float, float], shells: int) -> NDArray[np.int64]:
    """Shell of equal width that each s lies in, shape (N,); the outermost holds its upper edge."""
    low, high = limits
    width = (high - low) / shells
    if width <= 0:
        return np.zeros(len(s), dtype=np.int64)
    return np.clip(np.floor((s - low) / width), 0, shells - 1).astype(np.int64)
