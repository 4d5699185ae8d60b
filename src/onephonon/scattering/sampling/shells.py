"""Spherical shells of evenly spread q."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import UnitCell

from .base import QSample, Vector, check_count, check_resolution_range, check_vector
from .bragg import near_bragg

#: Longitude step of the spiral, in revolutions; the golden ratio covers the circle evenly for any
#: number of points.
GOLDEN_FRACTION = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class ShellSample(QSample):
    """Points on spherical shells; `shape` is (n_shells, n_per_shell).

    Parameters
    ----------
    radius : Tensor, shape (n_shells,)
        ``|q|`` of each shell, 1/Å.
    weight : Tensor, shape (N,)
        Fraction of the shell's area that a point represents; sums to 1 on each shell.
    """

    radius: Tensor
    weight: Tensor

    def average(self, values: Tensor) -> Tensor:
        """Average over the valid points of each shell.

        Parameters
        ----------
        values : Tensor, shape (N,)
            In the order of q; differentiable. Values at invalid points, NaN included, do
            not reach the average or a gradient.

        Returns
        -------
        Tensor, shape (n_shells,)
            NaN where no point of the shell is valid.
        """
        valued = self.restore_shape(torch.where(self.valid, values, 0.0))
        weight = self.restore_shape(torch.where(self.valid, self.weight, 0.0))
        return (weight * valued).sum(1) / weight.sum(1)


def shells(
    cell: UnitCell,
    radii: Vector,
    n_per_shell: int = 1000,
    *,
    bragg_radius: float | None = None,
) -> ShellSample:
    """Spread points evenly over spherical shells.

    The points of a shell lie on a golden-angle spiral (Fibonacci lattice; Swinbank & Purser,
    Q. J. R. Meteorol. Soc. 132 (2006) 1769), the same on all shells: heights in steps of 2/n, so
    that each represents the same area, the k-th rotated by k golden angles.

    Parameters
    ----------
    cell : UnitCell
    radii : Tensor or sequence of float, shape (n_shells,)
        ``|q|`` in 1/Å, 2*pi included (``2*pi/d``); differentiable. `shell_radii` computes them
        from a resolution range.
    n_per_shell : int
    bragg_radius : float, optional
        Points nearer to a Bragg peak (1/Å, 2*pi included) are not valid; see `near_bragg`.

    Returns
    -------
    ShellSample

    Raises
    ------
    InputError
        If there is no shell, no point on it, or a radius is not positive.
    """
    n = check_count("n_per_shell", n_per_shell)
    like = cell.matrix
    radius = check_vector("radii", radii, like, len(radii))
    if len(radius) == 0 or not bool((radius > 0).all()):
        raise InputError(
            f"radii {radius.tolist()} are not radii of shells; give |q| above zero, in 1/Å"
        )
    directions = fibonacci_sphere(n).to(like)
    q = (radius[:, None, None] * directions).reshape(-1, 3)
    weight = torch.full((len(q),), 1.0 / n, dtype=like.dtype, device=like.device)
    valid = ~near_bragg(cell, q, bragg_radius)
    return ShellSample(q, cell.hkl_from_q(q), valid, (len(radius), n), radius, weight)


def shell_radii(d_max: float, d_min: float, n_shells: int) -> Tensor:
    """Mean radii of shells of equal thickness in ``|q|`` between two resolutions.

    Parameters
    ----------
    d_max, d_min : float
        Resolution range in Å, d_max the coarser (it may be infinite).
    n_shells : int

    Returns
    -------
    Tensor, shape (n_shells,), float64
        1/Å, ascending.

    Raises
    ------
    InputError
        If the range is empty or there is no shell.
    """
    check_resolution_range(d_min, d_max)
    n = check_count("n_shells", n_shells)
    low, high = TWO_PI / d_max, TWO_PI / d_min
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n


def fibonacci_sphere(n: int) -> Tensor:
    """Unit vectors of `n` points spread evenly over the sphere, shape (n, 3), float64."""
    index = torch.arange(n, dtype=torch.float64)
    z = 1.0 - (2.0 * index + 1.0) / n
    longitude = TWO_PI * (index * GOLDEN_FRACTION).remainder(1.0)
    ring = torch.sqrt(1.0 - z * z)
    return torch.stack([ring * torch.cos(longitude), ring * torch.sin(longitude), z], dim=1)
