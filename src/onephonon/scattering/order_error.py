"""How far a sum of orders is from the intensity of every order on an endless mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.caching import ObjectCache, ValueCache
from onephonon.crystal.zone import symmetric_mesh

from .amplitudes.direct import DirectEngine
from .bound_model import BoundModel
from .diffuse import displacements_and_scale
from .multiphonon.higher_orders import HigherOrders, largest_q
from .multiphonon.pairs import BodyPairs, body_pairs
from .points import QPoints

#: Number of q at which errors are estimated.
N_TRIALS = 48

#: The error of a mesh falls as this power of the number of its points along each axis: the
#: covariances fall as 1/R, their squares as 1/R^2.
POWER = 2.0

#: Errors below this are not told apart, percent.
SMALLEST = 0.001

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
    degree : int
        Highest power of librations in their series.
    """

    order: float
    mesh: float
    n_pairs: int
    n_left_out: int
    degree: int

    def __str__(self) -> str:
        left_out = "high orders"
        if self.n_left_out:
            left_out += f" and {self.n_left_out} of {self.n_pairs} pairs of bodies"
        return (
            f"{_percent(self.order)} left out with {left_out}, "
            f"{_percent(self.mesh)} from the mesh of the covariances"
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
        Without gradient. Errors are zero if there is no valid point.
    """
    points, scale = trial_points(bound), bound.lattice.thermal_scale
    settings = (bound.orders, use_data_adp, bound.numerics.rtol)
    lattice = bound.lattice
    return bound.cache.get(
        "order error",
        [*lattice.tensors, scale, points.q],
        lambda: _estimate(bound, points, use_data_adp),
        (*settings, lattice.mesh, lattice.zone_average),
    )


def _estimate(bound: BoundModel, points: QPoints, use_data_adp: bool) -> OrderError:
    """Errors at some points; zero if none is valid."""
    lattice, orders = bound.lattice, bound.orders
    U, scale = displacements_and_scale(lattice, use_data_adp)
    q_max, rtol = largest_q(points.q, points.valid), bound.numerics.rtol
    pairs = bound.pairs(replace(orders, number=None))
    assert pairs is not None
    prepared = HigherOrders.prepare(pairs, orders.number, q_max, rtol)
    counts = pairs.n_pairs, prepared.truncation.n_left_out, prepared.degree
    if not bool(points.valid.any()):
        return OrderError(0.0, 0.0, *counts)

    def beyond(higher: HigherOrders) -> Tensor:
        return higher.at_points(DirectEngine(), points, U)[points.valid]

    def on_mesh(pairs: BodyPairs, rtol: float) -> Tensor:
        return beyond(HigherOrders.prepare(pairs, None, q_max, rtol))

    first = replace(bound.at(points), orders=replace(orders, number=1))
    intensity = first.intensity(use_data_adp=use_data_adp)[points.valid]
    own, every = beyond(prepared), on_mesh(pairs, REFERENCE * rtol)
    total = float((intensity + every).mean())
    # A supercell may be less symmetric than the crystal.
    n = symmetric_mesh(tuple(orders.mesh or lattice.mesh), lattice.crystal.rotations)
    crystal = replace(lattice, zone_average="crystal", fixed_scale=scale, _results=ObjectCache())
    coarser = tuple((x + 1) // 2 for x in n) if max(n) > 1 else (2, 2, 2)
    is_crystal = lattice.zone_average == "crystal"
    fine = on_mesh(pairs if is_crystal else body_pairs(crystal, n), rtol)
    coarse = on_mesh(body_pairs(crystal, coarser), rtol)
    ratio = (math.prod(n) / math.prod(coarser)) ** (POWER / 3.0)
    mesh = _rms(fine - coarse) / abs(ratio - 1.0) + _rms(fine - every)
    return OrderError(_rms(every - own) / total, mesh / total, *counts)


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
    """A relative error to one digit: an estimate is no better."""
    if 100 * x < SMALLEST:
        return f"less than {SMALLEST:g} %"
    return f"about {float(f'{100 * x:.1g}'):g} %"
