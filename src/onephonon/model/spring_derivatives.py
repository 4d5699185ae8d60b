"""Derivatives of the intensity with respect to the constants of spring classes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress, ProgressLike
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.network.force_constants import ForceConstants, force_constants
from onephonon.network.interface_stiffness import InterfaceStiffness
from onephonon.network.springs import ClassSprings
from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.diffuse import engine_for
from onephonon.scattering.jacobian import (
    SpringBasis,
    SpringDependence,
    scale_slope,
    spring_basis,
    spring_jacobian,
    spring_normal_equations,
)
from onephonon.scattering.multiphonon.higher_orders import HigherOrders, largest_q
from onephonon.scattering.multiphonon.pairs import pair_tangents
from onephonon.scattering.multiphonon.slopes import HigherSlopes


def jacobian(
    bound: BoundModel,
    springs: nn.Module | None,
    *,
    G: Tensor | None = None,
    hold: Collection[str] = (),
) -> tuple[Tensor, Tensor]:
    """Intensity with the ADPs of the crystal, and its derivatives for all spring constants.

    Of the orders of the model.

    Columns are the elements of ``springs.values()``: constants, not their logarithms.

    Parameters
    ----------
    bound : BoundModel
    springs : ClassSprings or InterfaceStiffness
    G : Tensor, optional
        Stored amplitudes, for the one-phonon intensity alone.
    hold : collection of {'scale'}
        Neglect the dependence of the thermal scale on the springs.

    Returns
    -------
    intensity : Tensor, shape (N,)
    jacobian : Tensor, shape (N, n)
        Rows are NaN where not valid. Without gradient.

    Raises
    ------
    InputError
        If the springs are plain constants or a user's function, the motion is not classical, or
        `G` is given with orders beyond the first.
    """
    bound.check_lattice_alone("the Jacobian by springs")
    _check_amplitudes(bound, G)
    return spring_jacobian(_dependence(bound, springs, hold), G=G, **_options(bound))


def normal_equations(
    bound: BoundModel,
    springs: nn.Module | None,
    residual: Tensor,
    weights: Tensor | None = None,
    columns: Tensor | None = None,
    G: Tensor | None = None,
    hold: Collection[str] = (),
    progress: ProgressLike | None = None,
) -> tuple[Tensor, Tensor]:
    """Normal equations of a step of the springs, without storing the Jacobian.

    Parameters
    ----------
    bound, springs, G, hold
        As for `jacobian`.
    residual : Tensor, shape (N,)
        Data minus the intensity of `jacobian`.
    weights, columns : Tensor, optional
        As for `spring_normal_equations`.
    progress : Progress or callable, optional

    Returns
    -------
    matrix : Tensor, shape (n, n)
    vector : Tensor, shape (n,)
        For the spring constants, then the columns.
    """
    bound.check_lattice_alone("the Jacobian by springs")
    _check_amplitudes(bound, G)
    return spring_normal_equations(
        _dependence(bound, springs, hold),
        residual=residual,
        weights=weights,
        columns=columns,
        G=G,
        progress=Progress.of(progress),
        **_options(bound),
    )


def _check_amplitudes(bound: BoundModel, G: Tensor | None) -> None:
    """Stored amplitudes are of the first order alone."""
    if G is not None:
        bound.orders.check_first_only("G")


def _make_basis(lattice: LatticeModel, springs: ClassSprings | InterfaceStiffness) -> SpringBasis:
    """Derivatives of the force constants, which depend on the crystal alone."""
    flat = springs.values().detach().reshape(-1)

    def constants(flat: Tensor) -> ForceConstants:
        values = flat.reshape(springs.values().shape)
        if isinstance(springs, InterfaceStiffness):
            return springs.constants(lattice.bodies, values)
        return force_constants(lattice.bodies, lattice.contacts, springs.springs(values))

    with torch.no_grad():
        return spring_basis(constants, flat)


def _options(bound: BoundModel) -> dict[str, Any]:
    """How the derivatives are computed."""
    return {"batch_size": bound.numerics.batch_size, "solver": bound.lattice.solver}


def _dependence(
    bound: BoundModel, springs: nn.Module | None, hold: Collection[str]
) -> SpringDependence:
    """What the intensity depends on."""
    if not isinstance(springs, ClassSprings | InterfaceStiffness):
        raise InputError("spring_jacobian needs classes of springs; give springs=SpringPlan(...)")
    if bound.lattice.occupation is not None:
        raise InputError(
            "spring_jacobian and the normal equations are for classical motion, where one solution "
            "per q gives all derivatives; with temperature or populations use torch.autograd"
        )
    lattice, flat = bound.lattice, springs.values().detach().reshape(-1)
    with torch.no_grad():
        tensors = lattice.crystal.tensors()
        basis = bound.cache.get("basis", tensors, lambda: _make_basis(lattice, springs))
        scale = lattice.thermal_scale
    slope = None if "scale" in hold else scale_slope(lattice, basis, flat)
    higher, engine = None, None
    if not bound.orders.first_only:
        engine = engine_for(lattice, bound.numerics, bound.points.n_q)
        higher = _higher_slopes(bound, basis, slope)
    how = bound.points, lattice.bodies.U, scale, slope, higher, engine
    return SpringDependence(lattice.bodies, basis, flat, *how)


@torch.no_grad()
def _higher_slopes(bound: BoundModel, basis: SpringBasis, slope: Tensor | None) -> HigherSlopes:
    """Orders beyond the first, with the derivatives of their covariances."""
    lattice, orders, points = bound.lattice, bound.orders, bound.points
    pairs = bound.pairs(orders)
    assert pairs is not None
    q_max = largest_q(points.q, points.valid)
    higher = HigherOrders.prepare(pairs, orders.number, q_max, bound.numerics.rtol)
    tangents = pair_tangents(lattice, pairs, basis.changes, orders.mesh, slope)
    return HigherSlopes(higher, tangents)
