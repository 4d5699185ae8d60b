"""User settings of a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from onephonon.core.errors import InputError
from onephonon.maps.isotropic import MAX_SHELLS
from onephonon.maps.isotropic import Isotropic as Isotropic

#: Weightings of voxels, and their descriptions.
WEIGHTINGS = {
    "unit": "all voxels equally",
    "sigma": "by 1/sigma^2",
    "counts": "by the number of observations",
}


@dataclass(frozen=True)
class Settings:
    """Settings of a comparison.

    Parameters
    ----------
    d_min, d_max : float
        Resolution range, Å.
    n_shells : int
        Number of shells of equal width in 1/d to report.
    isotropic : Isotropic
        The part of both maps that is subtracted for the anisotropic statistics.
    weighting : {'unit', 'sigma', 'counts'}
        'sigma': 1/sigma^2; voxels without a positive sigma are excluded.
    reindex : str
        'auto': try all indexings of the lattice and use the best if it is clearly better; 'best':
        use the best in any case; 'none': keep the indexing of the data and try no other; or
        an operator such as 'k,h,-l', from the data's indices to the model's.
    clearly : float
        'auto' changes the indexing of the data only if another is better than all others by this
        many standard errors of the difference.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    d_min: float = 0.0
    d_max: float = math.inf
    n_shells: int = 10
    isotropic: Isotropic = field(default_factory=Isotropic)
    weighting: str = "unit"
    reindex: str = "auto"
    clearly: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.d_min < self.d_max:
            raise InputError(
                f"d_min {self.d_min:g} Å and d_max {self.d_max:g} Å are not a resolution range; "
                "give 0 <= d_min < d_max"
            )
        if self.n_shells < 1 or self.n_shells != int(self.n_shells):
            raise InputError(f"{self.n_shells} shells: give a whole number, 1 or more")
        if self.n_shells > MAX_SHELLS:
            raise InputError(f"{self.n_shells} shells: give at most {MAX_SHELLS:,}")
        if self.weighting not in WEIGHTINGS:
            raise InputError(f"weighting {self.weighting!r} is not one of {', '.join(WEIGHTINGS)}")
        if not self.clearly >= 0:
            raise InputError(
                f"clearly {self.clearly}: must be a number of standard errors, 0 or more"
            )

    @property
    def s_limits(self) -> tuple[float, float]:
        """Range of 1/d, 1/Å; the upper end may be infinite."""
        return 1 / self.d_max, 1 / self.d_min if self.d_min else math.inf

    @property
    def range_text(self) -> str:
        """The resolution range as text."""
        return f"d of {self.d_max:.4g} and {self.d_min:.4g} Å"
