"""Derivatives of a model's intensity by the constants of its spring classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import mean_square
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.dynamics.solvers.solver import displacement_covariance
from onephonon.network.force_constants import ForceConstants, force_constants
from onephonon.network.interface_stiffness import InterfaceStiffness
from onephonon.network.springs import ClassSprings
from onephonon.scattering.jacobian import SpringBasis, spring_basis


def class_springs(springs: nn.Module | None) -> ClassSprings | InterfaceStiffness:
    """The springs, if they are classes with constants.

    Raises
    ------
    InputError
        If they are plain constants or a user's function.
    """
    if not isinstance(springs, ClassSprings | InterfaceStiffness):
        raise InputError("spring_jacobian is by class of spring; give springs=SpringPlan(...)")
    return springs


def make_basis(lattice: LatticeModel, springs: ClassSprings | InterfaceStiffness) -> SpringBasis:
    """What a unit of each constant adds to the force constants; depends on the crystal alone."""
    flat = springs.values().detach().reshape(-1)
    with torch.no_grad():
        return spring_basis(constants_from(lattice, springs), flat)


def constants_from(
    lattice: LatticeModel, springs: ClassSprings | InterfaceStiffness
) -> Callable[[Tensor], ForceConstants]:
    """Force constants as a function of the flattened constants of the classes."""
    shape = springs.values().shape

    def constants(flat: Tensor) -> ForceConstants:
        values = flat.reshape(shape)
        if isinstance(springs, InterfaceStiffness):
            return springs.constants(lattice.bodies, values)
        return force_constants(lattice.bodies, lattice.contacts, springs.springs(values))

    return constants


def derivative_arguments(
    lattice: LatticeModel,
    springs: ClassSprings | InterfaceStiffness,
    basis: SpringBasis,
    hold_scale: bool = False,
) -> dict[str, Any]:
    """Arguments of `spring_jacobian` and `spring_normal_equations`, but for the points.

    Parameters
    ----------
    lattice : LatticeModel
    springs : ClassSprings or InterfaceStiffness
    basis : SpringBasis
        Of these springs.
    hold_scale : bool
        Leave the thermal scale's own dependence on the springs out.
    """
    flat = springs.values().detach().reshape(-1)
    with torch.no_grad():
        scale = lattice.thermal_scale
    slope = None
    if lattice.fixed_scale is None and not hold_scale:
        with torch.enable_grad():
            leaf = flat.clone().requires_grad_()
            U = displacement_covariance(
                lattice.bodies, basis.constants(leaf), lattice.mesh, None, lattice.solver
            )
            target = mean_square(lattice.crystal.U).mean().detach()
            slope = torch.autograd.grad(target / mean_square(U).mean(), leaf)[0]
    return {
        "bodies": lattice.bodies,
        "basis": basis,
        "springs": flat,
        "U": lattice.bodies.U,
        "scale": scale,
        "scale_slope": slope,
    }
