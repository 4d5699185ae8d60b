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
from onephonon.scattering.jacobian import (
    SpringBasis,
    SpringDependence,
    spring_basis,
    spring_jacobian,
    spring_normal_equations,
)


def jacobian(
    bound: BoundModel,
    springs: nn.Module | None,
    *,
    G: Tensor | None = None,
    hold: Collection[str] = (),
) -> tuple[Tensor, Tensor]:
    """Intensity with the ADPs of the crystal, and its derivatives for all spring constants.

    Columns are the elements of ``springs.values()``: constants, not their logarithms.

    Parameters
    ----------
    bound : BoundModel
    springs : ClassSprings or InterfaceStiffness
    G : Tensor, optional
        Stored amplitudes.
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
        If the springs are plain constants or a user's function, if orders beyond the first are
        summed, or if the motion is not classical.
    """
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
    return spring_normal_equations(
        _dependence(bound, springs, hold),
        residual=residual,
        weights=weights,
        columns=columns,
        G=G,
        progress=Progress.of(progress),
        **_options(bound),
    )


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
    bound.orders.check_first_only("spring_jacobian")
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
    slope = None
    if lattice.fixed_scale is None and "scale" not in hold:
        with torch.enable_grad():
            leaf = flat.clone().requires_grad_()
            scaled = lattice.with_force_constants(basis.constants(leaf)).thermal_scale
            slope = torch.autograd.grad(scaled, leaf)[0]
    return SpringDependence(
        lattice.bodies, basis, flat, bound.points, lattice.bodies.U, scale, slope
    )
