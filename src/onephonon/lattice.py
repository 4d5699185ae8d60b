"""The lattice: unit cell, reciprocal space, zone points and regular hkl grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InputError
from .tensors import first_of_each, rank_rows
from .units import TWO_PI

#: Grid bounds this close (in Miller indices) to a multiple of the step are put on it, so that
#: a bound typed with four decimals (-22.4615 for -292/13) means the fraction it stands for.
BOUND_TOLERANCE = 1e-4

#: Two k closer than this (in Miller indices) are the same zone point. A float64 q carries hkl to
#: about 1e-14, and an error e in k changes I by 2 e/|k| at most, here 1e-9 at |k| = 0.02.
ZONE_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}

#: A q whose three indices are all this close to integers is a Bragg point: closer, rounding in K
#: (1e-16 of its largest entry) reaches the acoustic eigenvalues, which vanish as |k|^2.
BRAGG_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}

#: Largest number of points of a grid.
MAX_POINTS = 1_000_000_000

#: A cell this flat (height of c over the ab plane, relative and squared) spans no volume.
FLAT = 1e-8


@dataclass(frozen=True)
class UnitCell:
    """A unit cell.

    Parameters
    ----------
    matrix : Tensor, shape (3, 3)
        Columns are the cell axes in Å: ``x_cart = matrix @ x_frac``. Everything computed from it
        is differentiable in it.
    """

    matrix: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor | Sequence[float]) -> UnitCell:
        """Build the cell from (a, b, c, alpha, beta, gamma), with a along x and b in the xy plane.

        Parameters
        ----------
        parameters : Tensor or sequence of float, shape (6,)
            Lengths in Å and angles in degrees; differentiable.

        Raises
        ------
        InputError
            If the six numbers do not span a cell.
        """
        if isinstance(parameters, Tensor) and parameters.is_floating_point():
            p = parameters
        else:
            p = torch.as_tensor(parameters, dtype=torch.float64)
        if p.shape != (6,):
            raise InputError(
                f"cell parameters are six numbers (a, b, c, alpha, beta, gamma), "
                f"got shape {tuple(p.shape)}"
            )
        a, b, c = p[0], p[1], p[2]
        cos_a, cos_b, cos_g = torch.cos(torch.deg2rad(p[3:])).unbind()
        sin_g = torch.sin(torch.deg2rad(p[5]))
        c_y = (cos_a - cos_b * cos_g) / sin_g
        c_z_squared = 1 - cos_b**2 - c_y**2
        if not bool((p > 0).all() & (c_z_squared > FLAT)):
            raise InputError(
                f"cell parameters {p.tolist()} do not span a cell: lengths must be "
                "positive and each angle smaller than the sum of the other two"
            )
        zero = torch.zeros_like(a)
        rows = [
            torch.stack([a, b * cos_g, c * cos_b]),
            torch.stack([zero, b * sin_g, c * c_y]),
            torch.stack([zero, zero, c * torch.sqrt(c_z_squared)]),
        ]
        return cls(torch.stack(rows))

    @property
    def inverse(self) -> Tensor:
        """Inverse matrix; its rows are the reciprocal axes without 2*pi, shape (3, 3), 1/Å."""
        return torch.linalg.inv(self.matrix)

    @property
    def volume(self) -> Tensor:
        """Cell volume in Å^3."""
        return torch.linalg.det(self.matrix).abs()

    @property
    def parameters(self) -> tuple[float, float, float, float, float, float]:
        """(a, b, c, alpha, beta, gamma) in Å and degrees, as plain numbers."""
        axes = self.matrix.detach().to(torch.float64)
        lengths = torch.linalg.vector_norm(axes, dim=0)
        cosines = (axes.T @ axes) / torch.outer(lengths, lengths)
        angles = torch.rad2deg(torch.acos(cosines.clamp(-1.0, 1.0)))
        return (
            *(float(x) for x in lengths),
            float(angles[1, 2]),
            float(angles[0, 2]),
            float(angles[0, 1]),
        )  # type: ignore[return-value]

    @property
    def spacings(self) -> Tensor:
        """Distances between the lattice planes (100), (010), (001) in Å, shape (3,)."""
        return 1.0 / torch.linalg.vector_norm(self.inverse, dim=1)

    def q_from_hkl(self, hkl: Tensor) -> Tensor:
        """Scattering vectors ``q = 2*pi hkl @ matrix^-1`` (1/Å, 2*pi included), shape (..., 3)."""
        return TWO_PI * (hkl @ self.inverse)

    def hkl_from_q(self, q: Tensor) -> Tensor:
        """Miller indices (fractional) of scattering vectors, shape (..., 3)."""
        return (q @ self.matrix) / TWO_PI

    def resolution(self, q: Tensor) -> Tensor:
        """Resolution ``d = 2*pi/|q|`` in Å, infinite at the origin, shape (...)."""
        return TWO_PI / torch.linalg.vector_norm(q, dim=-1)

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> UnitCell:
        """Return the same cell on another device or in another dtype."""
        return UnitCell(self.matrix.to(device=device, dtype=dtype))


def fold(hkl: Tensor) -> Tensor:
    """Fold Miller indices into the first zone, each into [-1/2, 1/2]."""
    return hkl - torch.round(hkl)


def is_bragg(hkl: Tensor, tolerance: float | None = None) -> Tensor:
    """Tell which hkl are Bragg points, shape (...), bool.

    Parameters
    ----------
    hkl : Tensor, shape (..., 3)
    tolerance : float, optional
        How far from an integer each index may be; by default `BRAGG_TOLERANCE` of the dtype.
    """
    if tolerance is None:
        tolerance = BRAGG_TOLERANCE[hkl.dtype]
    return (fold(hkl.detach()).abs() < tolerance).all(dim=-1)


@dataclass(frozen=True)
class ZonePoints:
    """The distinct phonon wavevectors behind a list of q.

    Parameters
    ----------
    k_frac : Tensor, shape (n_k, 3)
        Distinct wavevectors in reciprocal lattice units, folded into the first zone. They are
        taken from the hkl given and differentiable in them.
    index : Tensor, shape (n_q,), int64
        The zone point of each q.
    """

    k_frac: Tensor
    index: Tensor

    @property
    def n_k(self) -> int:
        """Number of distinct zone points."""
        return int(self.k_frac.shape[0])


def find_zone_points(hkl: Tensor) -> ZonePoints:
    """Find the distinct k behind a list of hkl: k that differ by a lattice vector are one.

    Parameters
    ----------
    hkl : Tensor, shape (n_q, 3)
        Not rounded: each zone point is the folded hkl of the first q that has it.
    """
    tolerance = ZONE_TOLERANCE[hkl.dtype]
    n = round(1.0 / tolerance)
    keys = torch.round(fold(hkl.detach()).to(torch.float64) * n).to(torch.int64).remainder(n)
    index = rank_rows(keys)
    n_k = int(index.max()) + 1 if index.numel() else 0
    first = first_of_each(index, n_k)
    return ZonePoints(fold(hkl[first]), index)


def zone_mesh(samples: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Gamma-centred mesh of the Brillouin zone, halved by time reversal.

    Since ``K(-k)`` is the complex conjugate of ``K(k)``, one of each pair (k, -k) is enough for
    real lattice sums.

    Parameters
    ----------
    samples : three int
        Mesh points along each reciprocal axis (n_h, n_k, n_l).
    like : Tensor
        Gives dtype and device.

    Returns
    -------
    k_frac : Tensor, shape (n, 3)
        Wavevectors in reciprocal lattice units; the first is Gamma.
    weight : Tensor, shape (n,)
        How many mesh points each stands for (1 or 2); they sum to n_h n_k n_l.
    """
    n = torch.tensor(samples, dtype=torch.int64)
    index = torch.cartesian_prod(*(torch.arange(int(m)) for m in n)).reshape(-1, 3)
    mirrored = (-index).remainder(n)
    stride = torch.tensor([int(n[1] * n[2]), int(n[2]), 1])
    own, other = (index * stride).sum(1), (mirrored * stride).sum(1)
    keep = own <= other
    weight = torch.where(own == other, 1.0, 2.0)[keep]
    k_frac = fold(index[keep].to(torch.float64) / n)
    return k_frac.to(like), weight.to(like)


@dataclass(frozen=True)
class HklGrid:
    """A regular grid in reciprocal space, h slowest and l fastest.

    Parameters
    ----------
    axes : tuple of three Tensor
        The h, k and l values, float64.
    samples : tuple of three int
        Samples per Miller index along each axis.
    """

    axes: tuple[Tensor, Tensor, Tensor]
    samples: tuple[int, int, int]

    @classmethod
    def from_sampling(
        cls,
        hsampling: Sequence[float],
        ksampling: Sequence[float],
        lsampling: Sequence[float],
    ) -> HklGrid:
        """Grid from (min, max, samples per Miller index) along h, k and l.

        The points along an axis are ``min, min + 1/n, ...`` up to and including max; min and max
        may be fractions. A min within 1e-4 of a multiple of 1/n is put on it.

        Raises
        ------
        InputError
            If a sampling is not a positive whole number, a bound is not finite, or max < min.
        """
        given = (("hsampling", hsampling), ("ksampling", ksampling), ("lsampling", lsampling))
        named = [(name, _three_numbers(name, sampling)) for name, sampling in given]
        for name, (low, high, n) in named:
            if n * (high - low) > MAX_POINTS:
                raise InputError(
                    f"{name} = ({low:g}, {high:g}, {n:g}) asks for {n * (high - low):.2g} points "
                    "along one axis; narrow the range or sample more coarsely"
                )
        axes, samples = zip(*(_grid_axis(name, s) for name, s in named), strict=True)
        total = math.prod(len(axis) for axis in axes)
        if total > MAX_POINTS:
            raise InputError(
                f"the three samplings ask for {total:.3g} points, whose q alone would fill "
                f"{24e-9 * total:.0f} GB; narrow the ranges or sample more coarsely"
            )
        return cls(axes, samples)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of points along h, k and l."""
        h, k, l = self.axes  # noqa: E741
        return (len(h), len(k), len(l))

    @property
    def hkl(self) -> Tensor:
        """Miller indices of every point, flat, shape (n_h n_k n_l, 3), float64."""
        return torch.cartesian_prod(*self.axes).reshape(-1, 3)

    def zone_points(self) -> ZonePoints:
        """Distinct wavevectors of the grid: those of each axis, combined."""
        values, index = zip(*(_fold_axis(axis) for axis in self.axes), strict=True)
        k_frac = torch.cartesian_prod(*values).reshape(-1, 3)
        i, j, l = index  # noqa: E741
        n_k, n_l = len(values[1]), len(values[2])
        combined = (i[:, None, None] * n_k + j[None, :, None]) * n_l + l
        return ZonePoints(k_frac, combined.reshape(-1))


def _fold_axis(axis: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct folded values along one axis, and which of them each point has."""
    n = round(1.0 / ZONE_TOLERANCE[axis.dtype])
    keys = torch.round(axis * n).to(torch.int64).remainder(n)
    unique, index = torch.unique(keys, return_inverse=True)
    first = first_of_each(index, len(unique))
    return fold(axis[first]), index


def _three_numbers(name: str, sampling: Sequence[float]) -> tuple[float, float, float]:
    """(min, max, samples per index), finite."""
    try:
        low, high, n = (float(x) for x in sampling)
    except (TypeError, ValueError):
        low = high = n = math.nan
    if not all(math.isfinite(x) for x in (low, high, n)):
        raise InputError(
            f"{name} is (min, max, samples per Miller index), three finite numbers; got {sampling}"
        )
    return low, high, n


def _grid_axis(name: str, sampling: tuple[float, float, float]) -> tuple[Tensor, int]:
    """Points along one axis and the samples per index."""
    low, high, n = sampling
    if n < 1 or n != round(n):
        raise InputError(
            f"{name} asks for {n:g} samples per Miller index; give a whole number, 1 or more"
        )
    if high < low:
        raise InputError(f"{name} has max {high:g} below min {low:g}; swap them")
    on_step = round(low * n)
    if abs(low - on_step / n) < BOUND_TOLERANCE:
        count = math.floor((high + BOUND_TOLERANCE) * n - on_step) + 1
        return (on_step + torch.arange(count, dtype=torch.float64)) / n, int(n)
    count = math.floor((high - low + BOUND_TOLERANCE) * n) + 1
    return low + torch.arange(count, dtype=torch.float64) / n, int(n)
