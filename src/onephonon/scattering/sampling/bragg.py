"""Distance of q from the nearest Bragg peak, exact for any cell angles.

Distances are lengths in 1/Å, 2*pi included as in q; `crystal.zone` lists all conventions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.zone import is_bragg

#: Lattice vectors that could bring a q nearer by less than this fraction of their squared length
#: are omitted: the gain is the rounding of a right angle (cos 90° = 6e-17).
TIE_TOLERANCE = 1e-12


def nearest_bragg(cell: UnitCell, q: Tensor) -> Tensor:
    """Find the reciprocal lattice point nearest to each q.

    Rounding the indices is not sufficient for oblique reciprocal axes; all lattice vectors that
    can be nearer than the rounded one are tried, so the result is exact for any cell.

    Parameters
    ----------
    cell : UnitCell
    q : Tensor, shape (..., 3)
        1/Å, 2*pi included.

    Returns
    -------
    Tensor, shape (..., 3), int64
        Miller indices; not differentiable. On a tie, any of the nearest.
    """
    with torch.no_grad():
        hkl = cell.hkl_from_q(q)
        rounded = torch.round(hkl)
        rest = hkl - rounded
        best = cell.q_from_hkl(rest).square().sum(-1)
        shift = torch.zeros_like(rest)
        for step in _steps(cell):
            distance = cell.q_from_hkl(rest - step).square().sum(-1)
            shift = torch.where((distance < best)[..., None], step, shift)
            best = torch.minimum(best, distance)
        return (rounded + shift).to(torch.int64)


def bragg_distance(cell: UnitCell, q: Tensor) -> Tensor:
    """Distance of each q from the nearest reciprocal lattice point.

    Parameters
    ----------
    cell : UnitCell
    q : Tensor, shape (..., 3)
        1/Å, 2*pi included.

    Returns
    -------
    Tensor, shape (...)
        1/Å, 2*pi included. Differentiable in q and the cell if one lattice point is nearest; on a
        Bragg point, where there is no derivative, the gradient is zero.
    """
    return torch.linalg.vector_norm(q - cell.q_from_hkl(nearest_bragg(cell, q).to(q)), dim=-1)


def near_bragg(cell: UnitCell, q: Tensor, bragg_radius: float | None = None) -> Tensor:
    """Whether each q is a Bragg point or too close to one.

    Parameters
    ----------
    cell : UnitCell
    q : Tensor, shape (..., 3)
        1/Å, 2*pi included.
    bragg_radius : float, optional
        Smallest distance from a Bragg peak, 1/Å, 2*pi included; for data, half the width of a
        measured peak is a good choice. By default only points where the model is undefined: all
        three indices within `crystal.zone.BRAGG_TOLERANCE` of integers (1e-6 in float64). Those
        are always included.

    Returns
    -------
    Tensor, shape (...), bool

    Raises
    ------
    InputError
        If the radius is negative or not finite.
    """
    with torch.no_grad():
        near = is_bragg(cell.hkl_from_q(q))
        if bragg_radius is None:
            return near
        if not (math.isfinite(bragg_radius) and bragg_radius >= 0):
            raise InputError(
                f"bragg_radius {bragg_radius} is not a distance from a Bragg peak; give 1/Å (2*pi "
                "included), 0 or more"
            )
        return near | (bragg_distance(cell, q) < bragg_radius)


def bragg_strata(cell: UnitCell, q: Tensor, edges: Sequence[float]) -> Tensor:
    """Divide q into strata by distance from the nearest Bragg peak.

    Parameters
    ----------
    cell : UnitCell
    q : Tensor, shape (N, 3)
        1/Å, 2*pi included.
    edges : sequence of float, length n - 1
        Distances in 1/Å, 2*pi included, ascending, that separate the n strata: below the first
        edge, from the first to the second, ..., from the last on.

    Returns
    -------
    Tensor, shape (N,), int64
        Index of each q's stratum, 0 the nearest; not differentiable.

    Raises
    ------
    InputError
        If the edges are not positive and ascending, or a stratum is empty.
    """
    values = [float(e) for e in edges]
    ascending = all(a < b for a, b in zip([0.0, *values], values, strict=False))
    if not values or not ascending or not math.isfinite(values[-1]):
        raise InputError(
            f"edges {values} do not divide the distances from the Bragg peaks; give positive "
            "numbers in ascending order, in 1/Å"
        )
    with torch.no_grad():
        distance = bragg_distance(cell, q)
        strata = torch.bucketize(distance, distance.new_tensor(values), right=True)
    count = torch.bincount(strata, minlength=len(values) + 1)
    if not bool((count > 0).all()):
        raise InputError(
            f"edges {values} leave strata of {count.tolist()} points; the distances range from "
            f"{float(distance.min()):.3g} to {float(distance.max()):.3g} 1/Å, so move the edges "
            "until none is empty"
            if len(q)
            else "there are no q to divide into strata"
        )
    return strata


def _steps(cell: UnitCell) -> Tensor:
    """Lattice vectors that can be nearer to a q than its rounded indices, shape (n, 3).

    With g the metric of the reciprocal lattice and x the indices' distance from integers, a step
    D is nearer than 0 if ``2 x.g D > D.g D``; x lies in a cube of side 1, so this needs
    ``|g D|_1 > D.g D``. No such D is longer than twice the half diagonal of the reciprocal cell.
    """
    matrix = cell.matrix.detach().to("cpu", torch.float64)
    reciprocal = TWO_PI * torch.linalg.inv(matrix)  # rows
    g = reciprocal @ reciprocal.T
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5], dtype=torch.float64)] * 3)
    half_diagonal = torch.linalg.vector_norm(corners @ reciprocal, dim=1).max()
    lengths = torch.linalg.vector_norm(matrix, dim=0)
    reach = torch.floor(2 * half_diagonal * lengths / TWO_PI).tolist()
    steps = torch.cartesian_prod(*(torch.arange(-r, r + 1, dtype=torch.float64) for r in reach))
    g_steps = steps @ g
    gain = g_steps.abs().sum(1) - (g_steps * steps).sum(1) * (1 + TIE_TOLERANCE)
    return steps[gain > 0].to(cell.matrix)
