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
        Fit zones around the strongest Bragg peaks (halos), or all voxels of the resolution range.
        'auto' is 'halos' if voxels are smaller than half a Miller index along each axis, else
        'all'.
    n_peaks : int
        Maximum number of halos: those with the largest |F|^2 of the model.
    d_min, d_max : float, optional
        Resolution range, Å; for halos, of their Bragg peaks. By default 2.0 to 2.5 for halos, and
        unlimited otherwise.
    bragg_radius : float, optional
        Voxels whose centre is closer to a Bragg point are excluded: a length in 1/Å, including
        2*pi as in q. By default half the diagonal of a voxel. Of voxels of half an index or more,
        over which the model is averaged, by default those that contain a Bragg point, unless all
        do; none with `leave_out`.
    held_out : float
        Fraction of halos held out; symmetry-related halos stay together.
    seed : int
        Random seed for choosing the held-out halos.
    levels : tuple of str
        Names of the levels to fit in turn; see `parametrization.LEVELS`.
    patience : int
        Number of further levels to fit without a clear gain on the held-out data before the series
        ends.
    prior : float, optional
        Weight of the squared log-ratios to the starting springs, relative to chi-square divided by
        the dispersion: one over their expected variance. By default several weights are tried, and
        the best on the held-out data is used.
    scale : {'auto', 'absolute', 'fitted'}
        Whether intensities are in e^2 per cell, or a scale factor is fitted. 'auto' decides by the
        units of the map.
    background : {'auto', 'isotropic', 'halo', 'none'}
        A smooth function of |q|, a constant and a slope for each halo, or none. 'auto' is
        'isotropic' if all voxels are fitted, and 'halo' for halos.
    knots : int
        Number of spline knots of the isotropic background, including the ends.
    loss : {'squares', 'soft_l1'}
        Sum of squares; or soft_l1, which is robust to outliers: quadratic up to about `outlier`
        sigma and linear beyond.
    outlier : float
        In sigma.
    average : int, optional
        Order of voxel averages (see `scattering.Quadrature`); 0 evaluates the model at the centres
        of voxels. By default each voxel has the order that its estimated error requires; see
        `averaging.choose_orders`.
    leave_out : float
        Part of a voxel around its Bragg point that is excluded from the average, as a fraction of
        the distance from the point to the faces; see `scattering.Quadrature`.
    reindex : str
        'auto', 'best', 'none' or an operator such as k,h,-l; see `compare.Settings`.
    b_uncertainty : float
        Relative standard uncertainty of the file's mean B-factor, which sets the unit of the
        springs if a scale is fitted. An assumption: structures of one kind of crystal, refined
        by others or from other data, differ by about as much.
    max_steps : int
        Maximum steps per minimization.
    tolerance : float
        The fit has converged when a further step would change no logarithm of a spring by more.

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
    b_uncertainty: float = 0.2
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
            ("b_uncertainty", 0.0, 10.0, "a relative uncertainty, 0 or more, such as 0.2"),
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
                f"bragg_radius {radius}: give a distance in 1/Å, including 2*pi, 0 or more"
            )
