"""How far a sum of orders is from the intensity of every order on an endless mesh."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.caching import ObjectCache, ValueCache
from onephonon.crystal.zone import symmetric_mesh
from onephonon.dynamics.lattice_model import LatticeModel

from .amplitudes.choice import exact_engine
from .bound_model import BoundModel
from .diffuse import displacements_and_scale
from .grid_intensity import largest_q_of_grid
from .multiphonon.higher_orders import HigherOrders, SeriesError, SeriesWarning, largest_q
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
        librations, and pairs of bodies that hardly move together. At least what the truncation of
        the series is estimated to leave out at the largest q. NaN if not known: motions are too
        large for the sum of all orders, or no point is valid.
    mesh : float
        The same of the finite mesh of the covariances; NaN if not known.
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
        Without gradient.

    Raises
    ------
    SeriesError
        If motions are too large for the model's own sum of orders, which is refused then, too.
    """
    points, scale = trial_points(bound), bound.lattice.thermal_scale
    settings = (bound.orders, use_data_adp, bound.numerics.rtol)
    lattice, q_max = bound.lattice, largest_q_of(bound)
    return bound.cache.get(
        "order error",
        [*lattice.tensors, scale, points.q],
        lambda: _estimate(bound, points, q_max, use_data_adp),
        (*settings, q_max, lattice.mesh, lattice.zone_average),
    )


def _estimate(bound: BoundModel, points: QPoints, q_max: float, use_data_adp: bool) -> OrderError:
    """Errors at some points, of series for a largest |q|."""
    lattice, orders, rtol = bound.lattice, bound.orders, bound.numerics.rtol
    U, scale = displacements_and_scale(lattice, use_data_adp)
    pairs = bound.pairs(replace(orders, number=None))
    assert pairs is not None

    def series(pairs: BodyPairs, number: int | None, rtol: float) -> HigherOrders:
        with warnings.catch_warnings():  # what it warns of is in the result
            warnings.simplefilter("ignore", SeriesWarning)
            return HigherOrders.prepare(pairs, number, q_max, rtol)

    def beyond(higher: HigherOrders) -> Tensor:
        return higher.at_points(exact_engine(lattice.bodies), points, U)[points.valid]

    def on_mesh(lattice: LatticeModel, mesh: Sequence[int]) -> Tensor:
        return beyond(series(body_pairs(lattice, mesh), None, rtol))

    own = series(pairs, orders.number, rtol)
    counts = pairs.n_pairs, own.truncation.n_left_out, own.degree
    unknown = OrderError(math.nan, math.nan, *counts)
    if not bool(points.valid.any()):
        return unknown
    try:
        reference = series(pairs, None, REFERENCE * rtol)
    except SeriesError:
        return unknown
    first = replace(bound.at(points), orders=replace(orders, number=1))
    intensity = first.intensity(use_data_adp=use_data_adp)[points.valid]
    every = beyond(reference)
    total = float((intensity + every).mean())
    if not total > 0:
        return unknown
    left_out = _rms(every - beyond(own)) / total
    truncated = max(own.truncation.error, reference.truncation.error)
    # A supercell may be less symmetric than the crystal.
    n = symmetric_mesh(tuple(orders.mesh or lattice.mesh), lattice.crystal.rotations)
    crystal = replace(lattice, zone_average="crystal", fixed_scale=scale, _results=ObjectCache())
    coarser = tuple((x + 1) // 2 for x in n) if max(n) > 1 else (2, 2, 2)
    is_crystal = lattice.zone_average == "crystal"
    try:
        fine = beyond(series(pairs, None, rtol)) if is_crystal else on_mesh(crystal, n)
        coarse = on_mesh(crystal, coarser)
    except SeriesError:
        return OrderError(max(left_out, truncated), math.nan, *counts)
    ratio = (math.prod(n) / math.prod(coarser)) ** (POWER / 3.0)
    mesh = _rms(fine - coarse) / abs(ratio - 1.0) + _rms(fine - every)
    return OrderError(max(left_out, truncated), mesh / total, *counts)


def largest_q_of(bound: BoundModel) -> float:
    """Largest |q| for which a model's own series are chosen, 1/Å."""
    if bound.grid is not None and bound.engine.has_grid:
        return largest_q_of_grid(bound.grid, bound.lattice.crystal.cell, bound.res_limit)
    return largest_q(bound.points.q, bound.points.valid)


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
    if math.isnan(x):
        return "an unknown share"
    if 100 * x < SMALLEST:
        return f"less than {SMALLEST:g} %"
    return f"about {float(f'{100 * x:.1g}'):g} %"
