"""How far a sum of orders is from the intensity of every order on an endless mesh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.caching import ObjectCache, ValueCache
from onephonon.dynamics.lattice_model import LatticeModel

from .amplitudes.direct import DirectEngine
from .bound_model import BoundModel
from .diffuse import displacements_and_scale
from .multiphonon.higher_orders import HigherOrders, largest_q
from .multiphonon.pairs import body_pairs
from .points import QPoints

#: Number of q at which errors are estimated.
N_TRIALS = 48

#: The error of a mesh falls as this power of the number of its points along each axis: the
#: covariances fall as 1/R, their squares as 1/R^2.
POWER = 2.0

#: Accuracy of the sum that others are compared with, in units of rtol.
REFERENCE = 0.01


@dataclass(frozen=True)
class OrderError:
    """Estimated errors of a sum of orders, relative to the mean intensity of every order.

    Parameters
    ----------
    order : float
        Root-mean-square error of what the sum leaves out: orders beyond the last, high powers of
        librations, and pairs of bodies that hardly move together.
    mesh : float
        The same of the finite mesh of the covariances.
    n_pairs, n_left_out : int
        Pairs of bodies within the mesh, and how many of them were left out.
    """

    order: float
    mesh: float
    n_pairs: int
    n_left_out: int

    def __str__(self) -> str:
        left_out = f"{self.n_left_out} of {self.n_pairs} pairs of bodies"
        return (
            f"about {_percent(self.order)} left out with high orders and {left_out}, "
            f"about {_percent(self.mesh)} from the mesh of the covariances"
        )


@torch.no_grad()
def order_error(bound: BoundModel, use_data_adp: bool = False) -> OrderError:
    """Estimate the errors of a sum of orders at a few of a model's scattering vectors.

    The error of the mesh is that of the orders beyond the first, from a mesh with half the points
    along each axis; it is mostly right within a factor of 3. Of the first order alone, it is that
    of all orders, which it lacks.

    Parameters
    ----------
    bound : BoundModel
    use_data_adp : bool
        Debye-Waller factors from the file's U.

    Returns
    -------
    OrderError
        Without gradient.
    """
    lattice, orders, points = bound.lattice, bound.orders, trial_points(bound)
    n = tuple(orders.mesh or lattice.mesh)
    U, scale = displacements_and_scale(lattice, use_data_adp)
    first = replace(bound.at(points), orders=replace(orders, number=1))
    intensity = first.intensity(use_data_adp=use_data_adp)
    q_max, rtol = largest_q(points.q, points.valid), bound.numerics.rtol

    def beyond(
        lattice: LatticeModel, mesh: Sequence[int], order: int | None, rtol: float
    ) -> Tensor:
        higher = HigherOrders.prepare(body_pairs(lattice, mesh), order, q_max, rtol)
        return higher.at_points(DirectEngine(), points, U)[points.valid]

    pairs = body_pairs(lattice, n)
    prepared = HigherOrders.prepare(pairs, orders.number, q_max, rtol)
    own = prepared.at_points(DirectEngine(), points, U)[points.valid]
    every = beyond(lattice, n, None, REFERENCE * rtol)
    total = float((intensity[points.valid] + every).mean())
    crystal = replace(lattice, zone_average="crystal", fixed_scale=scale, _results=ObjectCache())
    coarser = tuple((x + 1) // 2 for x in n) if max(n) > 1 else (2, 2, 2)
    fine, coarse = (beyond(crystal, mesh, None, rtol) for mesh in (n, coarser))
    ratio = (math.prod(n) / math.prod(coarser)) ** (POWER / 3.0)
    mesh = _rms(fine - coarse) / abs(ratio - 1.0) + _rms(fine - every)
    return OrderError(
        _rms(every - own) / total, mesh / total, pairs.n_pairs, prepared.truncation.n_left_out
    )


def trial_points(bound: BoundModel, n: int = N_TRIALS) -> QPoints:
    """A few valid points of a model, evenly spread over its list, or drawn from its grid."""
    grid, cell = bound.grid, bound.lattice.crystal.cell
    if grid is None:
        valid = bound.points.valid.nonzero().squeeze(1)
        at = torch.linspace(0, max(0, len(valid) - 1), min(n, len(valid)), device=valid.device)
        chosen = bound.points.q.detach()[valid[at.long()]]
    else:
        # Many more than needed, as most may be masked.
        generator = torch.Generator().manual_seed(0)
        drawn = torch.rand(100 * n, 3, generator=generator, dtype=torch.float64)
        axes = [torch.from_numpy(axis) for axis in grid.axes]
        hkl = [axis[(u * len(axis)).long()] for axis, u in zip(axes, drawn.unbind(1), strict=True)]
        q = cell.q_from_hkl(torch.stack(hkl, dim=1).to(cell.matrix)).detach()
        chosen = q[bound.at(q).points.valid][:n]
    return bound.at(chosen).source.points(cell, bound.limits, ValueCache())


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt()) if len(x) else 0.0


def _percent(x: float) -> str:
    """A relative error to one digit."""
    return f"{max(100 * x, 1e-6):.1g} %"
