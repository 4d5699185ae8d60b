"""Terms of a sum of components: the first-order intensity of each at the voxels of a fit.

To first order a component's intensity is proportional to its covariance. Every term is computed
for a share of 1: its mean ``tr(U)/3`` is that of the file. Its amplitude in a fit is then the scale
of the map times its share of the file's mean U, and on an absolute scale the share itself. The
parameters of a term are those that change the shape of its intensity. Debye-Waller factors are
the file's throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import mean_square
from onephonon.disorder.component import Component, Parameter
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.model.one_phonon import OnePhonon
from onephonon.network.bodies import Bodies
from onephonon.scattering.jacobian import SpringBasis

from ..forward import VoxelModel
from ..parametrization import (
    Level,
    LogSprings,
    find_levels,
    make_parametrization,
    parametrization_basis,
)

#: Largest change of the logarithm of a ratio of springs, and of any other free parameter, from the
#: start: factors of 3000 and 20. Beyond them nothing changes in the intensity of springs, and
#: lengths are out of proportion to any molecule.
MAX_LOG_SPRING, MAX_CHANGE = 8.0, 3.0

#: Parameters of components that only multiply the intensity of the first order.
MULTIPLIERS = ("share", "sigma")


class Term(Protocol):
    """The intensity of one component at the voxels of a fit, as a function of its parameters."""

    @property
    def name(self) -> str:
        """Name in tables: 'lattice', 'liquid', ..."""

    @property
    def text(self) -> str:
        """The component with its options, as it is written."""

    @property
    def n(self) -> int:
        """Number of free parameters."""

    @property
    def max_change(self) -> float:
        """Largest change of a free parameter from its start, zero."""

    @property
    def reported(self) -> tuple[tuple[str, str], ...]:
        """Name and unit of each number of `report`."""

    def report(self, x: Tensor, share: Tensor) -> Tensor:
        """Numbers for tables at free parameters (n,) and a share of the mean U; differentiable."""

    def intensity(self, x: Tensor) -> Tensor:
        """Intensity for a share of 1 at each voxel, shape (N,), e^2 per cell."""

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Intensity (N,) and its derivatives by the free parameters, (N, n)."""


@dataclass(frozen=True, eq=False)
class LatticeTerm:
    """Vibrations of the lattice, with springs shared within classes of contacts.

    A common factor of all springs is the share's business, so the free parameters are logarithms of
    springs orthogonal to it: one fewer than springs.

    Parameters
    ----------
    forward : VoxelModel
    parametrization : LogSprings
    lattice : LatticeModel
        Its springs are not used.
    """

    forward: VoxelModel
    parametrization: LogSprings
    lattice: LatticeModel
    name: str = "lattice"

    @property
    def text(self) -> str:
        """As it is written, with the level of the springs."""
        return f"lattice:springs={self.parametrization.level.name}"

    @property
    def n(self) -> int:
        """Number of ratios of springs."""
        return self.parametrization.n - 1

    @property
    def max_change(self) -> float:
        """Largest change of the logarithm of a ratio."""
        return MAX_LOG_SPRING

    @property
    def reported(self) -> tuple[tuple[str, str], ...]:
        """The springs."""
        return tuple((f"lattice:{name}", "kT/Å²") for name in self.parametrization.names)

    @cached_property
    def ratios(self) -> Tensor:
        """Orthonormal directions in which springs change relative to one another."""
        common = self.parametrization.common
        complete, _ = torch.linalg.qr(
            torch.cat([common[:, None], torch.eye(len(common)).to(common)], dim=1)
        )
        return complete[:, 1:]

    @cached_property
    def basis(self) -> SpringBasis:
        """Derivatives of the force constants by each spring."""
        return parametrization_basis(self.parametrization)

    def values(self, x: Tensor) -> Tensor:
        """Springs in the unit of the start, shape (n + 1,); differentiable."""
        return self.parametrization.values(self.ratios @ x)

    def thermal_scale(self, values: Tensor) -> Tensor:
        """The scale at which springs have the file's mean B; differentiable."""
        constants = self.parametrization.constants(values)
        return self.lattice.with_force_constants(constants).thermal_scale

    def report(self, x: Tensor, share: Tensor) -> Tensor:
        """Springs with which the lattice has its share of the mean B, kT/Å^2."""
        values = self.values(x)
        return values / (self.thermal_scale(values) * share)

    def intensity(self, x: Tensor) -> Tensor:
        """Intensity at each voxel; differentiable."""
        values = self.values(x)
        constants = self.parametrization.constants(values)
        if self.forward.higher is not None:  # at the thermal scale of the file's mean B already
            return self.forward.intensity(constants)
        return self.thermal_scale(values) * self.forward.intensity(constants)

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Intensity and derivatives by the ratios, by one solve for each node."""
        if self.forward.higher is not None:
            values = self.values(x).detach()
            every = [(i, v) for _, i, v in self.forward.slopes(self.basis, values)]
            chain = values[:, None] * self.ratios
            gather = self.forward.gather
            return gather([i for i, _ in every]), gather([v for _, v in every]) @ chain
        with torch.enable_grad():
            leaf = self.values(x.detach()).detach().requires_grad_()
            scale = self.thermal_scale(leaf)
            (by_scale,) = torch.autograd.grad(scale, leaf)
        values, scale = leaf.detach(), scale.detach()
        found, slopes = [], []
        for _, intensity, by_value in self.forward.slopes(self.basis, values):
            found.append(scale * intensity)
            slopes.append(scale * by_value + intensity[:, None] * by_scale)
        # The parametrization's values are start * exp, so each is its own derivative.
        chain = values[:, None] * self.ratios
        return self.forward.gather(found), self.forward.gather(slopes) @ chain


def lattice_term(model: OnePhonon, forward: VoxelModel, level: str = "interface") -> LatticeTerm:
    """The vibrations of a model's lattice, with the springs of a level.

    Parameters
    ----------
    model : OnePhonon
    forward : VoxelModel
        Of this model; with orders beyond the first, of a lattice that has the file's whole mean B.
    level : {'global', 'interface', 'hybrid', 'residue'}

    Raises
    ------
    InputError
        If the level is unknown or not one of spring constants.
    """
    found: Level = find_levels((level,))[0]
    parametrization = make_parametrization(found, model.bodies, model.contacts, 1.0)
    if not isinstance(parametrization, LogSprings):
        raise InputError(
            f"level {level!r} has stiffness matrices; give one of spring constants, such as "
            "'interface'"
        )
    return LatticeTerm(forward, parametrization, model.lattice)


@dataclass(frozen=True, eq=False)
class ComponentTerm:
    """A component of `onephonon.disorder`.

    Parameters
    ----------
    component : Component
        Its parameters are the start. Those named share or sigma are not free: the amplitude
        replaces them.
    forward : VoxelModel
        Defines the voxels and their nodes.
    fixed : tuple of str
        Parameters that are not fitted, such as ``('gamma',)``.
    """

    component: Component
    forward: VoxelModel
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.fixed if name not in self.component.parameters]
        if unknown:
            raise InputError(
                f"{self.component.text} has no parameter {', '.join(unknown)}; it has "
                f"{', '.join(self.component.parameters) or 'none'}"
            )

    @property
    def name(self) -> str:
        """The component's."""
        return self.component.name

    @property
    def text(self) -> str:
        """The component's."""
        return self.component.text

    @cached_property
    def free(self) -> Mapping[str, Parameter]:
        """The parameters that are fitted."""
        left_out = (*MULTIPLIERS, *self.fixed)
        return {k: p for k, p in self.component.parameters.items() if k not in left_out}

    @property
    def n(self) -> int:
        """Number of free parameters."""
        return len(self.free)

    @property
    def max_change(self) -> float:
        """Largest change of a free parameter."""
        return MAX_CHANGE

    @property
    def reported(self) -> tuple[tuple[str, str], ...]:
        """The free parameters."""
        return tuple((f"{self.name}:{name}", p.unit) for name, p in self.free.items())

    def report(self, x: Tensor, share: Tensor) -> Tensor:  # noqa: ARG002  (as in the interface)
        """Values of the free parameters."""
        values = list(self.values(x).values())
        return torch.stack(values) if values else x.new_zeros(0)

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Values at free parameters; differentiable."""
        pairs = zip(self.free.items(), x, strict=True)
        return {name: _moved(parameter, change) for (name, parameter), change in pairs}

    def at(self, x: Tensor) -> Component:
        """The component at free parameters."""
        values = self.values(x)
        return self.component.with_parameters(values) if values else self.component

    def intensity(self, x: Tensor) -> Tensor:
        """Intensity at each voxel; differentiable as the component's is."""
        return self.forward.gather([part() for part in self._parts(x)])

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Intensity and derivatives by automatic differentiation, some voxels at a time."""
        found, slopes = [], []
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            for part in self._parts(leaf):
                values, by_parameter = forward_slopes(part(), leaf)
                found.append(values)
                slopes.append(by_parameter)
        return self.forward.gather(found), self.forward.gather(slopes)

    def _parts(self, x: Tensor) -> list[Callable[[], Tensor]]:
        bodies = self.forward.bodies

        def part_of(i: int) -> Callable[[], Tensor]:
            def compute() -> Tensor:
                component, part = self.at(x), self.forward.parts[i]
                share = share_of(component.displacements(bodies), bodies)
                values = component.intensity(bodies, part.points, bodies.U, 1)
                return part.average(values) / share

            return compute

        return [part_of(i) for i in range(len(self.forward.parts))]


@dataclass(frozen=True, eq=False)
class FixedTerm:
    """A component without parameters, computed already.

    Parameters
    ----------
    name, text : str
    values : Tensor, shape (N,)
        Intensity for a share of 1 at each voxel.
    """

    name: str
    text: str
    values: Tensor
    n: int = 0
    max_change: float = 0.0
    reported: tuple[tuple[str, str], ...] = ()

    def report(self, x: Tensor, share: Tensor) -> Tensor:  # noqa: ARG002  (as in the interface)
        """Nothing: there are no parameters."""
        return x.new_zeros(0)

    def intensity(self, x: Tensor) -> Tensor:  # noqa: ARG002  (as in the interface)
        """Intensity at each voxel."""
        return self.values

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002  (as in the interface)
        """Intensity, and no derivative."""
        return self.values, self.values.new_zeros(len(self.values), 0)


def share_of(displacements: Tensor, bodies: Bodies) -> Tensor:
    """Mean ``tr(U)/3`` of displacements (n_cell_atoms, 3, 3) relative to the file's."""
    return bodies.mean(mean_square(displacements)) / bodies.mean(mean_square(bodies.U))


def forward_slopes(values: Tensor, leaf: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives (N, n) of values (N,) by few numbers (n,), by differentiating a gradient.

    The gradient of ``v . values`` is linear in v, and its derivative by v is the Jacobian: n + 1
    backward passes instead of N.
    """
    if not len(leaf) or not values.requires_grad:
        return values.detach(), values.new_zeros(len(values), len(leaf))
    v = torch.zeros_like(values, requires_grad=True)
    (gradient,) = torch.autograd.grad(values, leaf, v, create_graph=True)
    columns = [torch.autograd.grad(g, v, retain_graph=True)[0] for g in gradient]
    return values.detach(), torch.stack(columns, dim=1).detach()


def _moved(parameter: Parameter, change: Tensor) -> Tensor:
    """A parameter changed by a free number: logarithm, logit or difference, by its limits."""
    start, low, high = parameter.value.detach(), parameter.low, parameter.high
    if math.isfinite(low) and math.isfinite(high):
        return low + (high - low) * torch.sigmoid(
            torch.logit((start - low) / (high - low)) + change
        )
    if math.isfinite(low):
        return low + (start - low) * torch.exp(change)
    if math.isfinite(high):
        return high - (high - start) * torch.exp(-change)
    return start + change
