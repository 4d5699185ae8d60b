"""Settings of a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onephonon.core.errors import InputError

from .parametrization import LEVELS, find_levels

VOXELS = ("auto", "halos", "all")
SCALES = ("auto", "absolute", "fitted")
BACKGROUNDS = ("auto", "isotropic", "halo", "none")
LOSSES = ("squares", "soft_l1")


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit.

    Parameters
    ----------
    voxels : {'auto', 'halos', 'all'}
        Whole zones around the strongest Bragg peaks, or all voxels of the resolution range. Auto
        takes halos if the map has more than one voxel in two indices along each axis.
    n_peaks : int
        Maximum number of halos, in order of |F|^2 of the model.
    d_min, d_max : float, optional
        Resolution range, Å (of the peaks, for halos). By default 2.0 to 2.5 for halos, and
        everything otherwise.
    bragg_radius : float, optional
        Voxels whose centre is nearer to a Bragg point are left out: a length in 1/Å, 2*pi
        included as in q. By default half the diagonal of a voxel, and none where voxels are
        averaged over.
    held_out : float
        Fraction of halos held out; symmetry-related halos stay together.
    seed : int
        Random seed of that choice.
    levels : tuple of str
        Names of the models to fit in turn, see `families.LEVELS`.
    patience : int
        Number of further models to fit without a clear gain on the held-out data before the series
        ends.
    prior : float, optional
        Weight of the squared log-ratios to the geometric start beside chi-square over its
        dispersion: one over the variance expected of them. By default the best of several on the
        held-out data.
    scale : {'auto', 'absolute', 'fitted'}
        Whether intensities are in e^2 per cell, or a factor is fitted. Auto looks at the units.
    background : {'auto', 'isotropic', 'halo', 'none'}
        A smooth function of |q|, a constant and a slope for each halo, or nothing. Auto takes
        the first with all voxels and the second with halos.
    knots : int
        Number of spline knots of the isotropic background, ends included.
    loss : {'squares', 'soft_l1'}
        soft_l1 is quadratic up to `outlier` sigma and linear beyond.
    outlier : float
    average : int, optional
        Order of voxel averages (see `scattering.Quadrature`); 0 takes the model at the centres. By
        default 2 for voxels of half an index or more.
    leave_out : float
        Share of each voxel around its Bragg point that is left out; see `scattering.Quadrature`.
    reindex : str
        'auto', 'best', 'none' or an operator such as k,h,-l; see `compare.Settings`.
    max_steps : int
        Maximum steps per minimization.
    tolerance : float
        Converged when no logarithm of a spring would change by more.

    Raises
    ------
    InputError
        If an option is unknown or a number is out of range.
    """

    voxels: str = "auto"
    n_peaks: int = 400
    d_min: float | None = None
    d_max: float | None = None
    bragg_radius: float | None = None
    held_out: float = 0.2
    seed: int = 0
    levels: tuple[str, ...] = tuple(level.name for level in LEVELS)
    patience: int = 1
    prior: float | None = None
    scale: str = "auto"
    background: str = "auto"
    knots: int = 12
    loss: str = "squares"
    outlier: float = 3.0
    average: int | None = None
    leave_out: float = 0.0
    reindex: str = "auto"
    max_steps: int = 200
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        for name, choices in (
            ("voxels", VOXELS),
            ("scale", SCALES),
            ("background", BACKGROUNDS),
            ("loss", LOSSES),
        ):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}"
                )
        object.__setattr__(self, "levels", tuple(self.levels))
        find_levels(self.levels)
        limits: tuple[tuple[str, float, float, str], ...] = (
            ("n_peaks", 1, math.inf, "a whole number, 1 or more"),
            ("held_out", 0.01, 0.9, "a fraction of the halos, 0.01 to 0.9"),
            ("patience", 0, 100, "a number of models, 0 or more"),
            ("knots", 2, 200, "2 to 200"),
            ("outlier", 1e-3, 1e6, "a positive number of sigma"),
            ("max_steps", 1, 10_000, "1 or more"),
            ("tolerance", 1e-8, 1.0, "a small positive number, such as 0.001"),
        )
        for name, minimum, maximum, fix in limits:
            value = getattr(self, name)
            if not (math.isfinite(value) and minimum <= value <= maximum):
                raise InputError(f"{name} {value}: give {fix}")
        if self.prior is not None and not (math.isfinite(self.prior) and self.prior >= 0):
            raise InputError(f"prior {self.prior}: give a weight, 0 or more")
        self._check_range()

    def _check_range(self) -> None:
        d_min, d_max = self.d_min, self.d_max
        for name, d in (("d_min", d_min), ("d_max", d_max)):
            if d is not None and not d > 0:
                raise InputError(f"{name} {d} is not a resolution; give Å")
        if d_min is not None and d_max is not None and d_min >= d_max:
            raise InputError(f"d_min {d_min:g} and d_max {d_max:g} leave nothing; swap them")
        radius = self.bragg_radius
        if radius is not None and not (math.isfinite(radius) and radius >= 0):
            raise InputError(
                f"bragg_radius {radius}: give a distance in 1/Å, 2*pi included, 0 or more"
            )
