"""`LatticeModel`: bodies of a crystal connected by springs, without scattering vectors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from onephonon.core.caching import ObjectCache
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.crystal import Crystal, mean_square
from onephonon.crystal.zone import symmetric_mesh
from onephonon.network.bodies import Bodies
from onephonon.network.contacts import Contacts
from onephonon.network.force_constants import ForceConstants, Springs, force_constants
from onephonon.network.interfaces import ContactTable
from onephonon.network.springs import SpringClasses, SpringSource, contact_table

from .displacements import covariance, displacement_covariance
from .normal_modes import Modes, modes
from .occupation import Occupation, refuse_functorch
from .solvers.choice import (
    MAX_DENSE_DOF,
    OccupiedModes,
    SolverChoice,
    SolverLike,
    choose_solver,
)
from .thermal_scale import self_consistent_scale

#: The default mesh of the ADPs corresponds to a box of at least this many Å along each axis, and of
#: at least three cells, or five where there are few degrees of freedom: rigid copies of a large
#: asymmetric unit need them, and they cost little. The mean is within 0.2 % of the limit.
DEFAULT_BOX = 60.0
DEFAULT_CELLS, CELLS_OF_FEW = 3, 5


@dataclass(frozen=True, eq=False)
class LatticeModel:
    """A crystal of bodies connected by springs: everything except the scattering vectors.

    Parameters
    ----------
    bodies : Bodies
        The atoms of the unit cell, grouped into bodies, with their crystal.
    contacts : Contacts
        Pairs of atoms that springs may join.
    force_constants : ForceConstants
        Force-constant blocks between bodies: the sums over their springs.
    springs : Springs, optional
        Springs of each contact; None if interfaces have a stiffness instead.
    spring_classes : SpringClasses, optional
        Class of each contact's spring, for tables; by default contacts within a copy of the
        asymmetric unit form one class, those between copies another.
    mesh : tuple of three int
        Brillouin-zone mesh over which ADPs and covariances are averaged.
    zone_average : {'crystal', 'supercell'}
        Average over the zone of the crystal, or over the wavevectors of a finite supercell; see
        `dynamics.displacements`.
    fixed_scale : Tensor or float, optional
        Thermal scale s; by default such that the mean B of the model equals that of the crystal.
    solver : {'auto', 'dense', 'condensed'}
        How K(k) is inverted; see `choose_solver`.
    occupation : Occupation, optional
        Mean squares of the modes relative to classical motion; classical by default. Quantities
        "at s = 1" are then those at the model's own s, divided by it.

    Notes
    -----
    All results are differentiable in the tensors that the parts were made from. They are cached
    in the object: create a new one for each backward pass, as `OnePhonon` does.
    """

    bodies: Bodies
    contacts: Contacts
    force_constants: ForceConstants
    springs: Springs | None = None
    spring_classes: SpringClasses | None = None
    mesh: tuple[int, int, int] = (3, 3, 3)
    fixed_scale: Tensor | float | None = None
    solver: str = "auto"
    zone_average: str = "crystal"
    occupation: Occupation | None = None
    _results: ObjectCache = field(default_factory=ObjectCache, repr=False)

    @classmethod
    def build(
        cls,
        bodies: Bodies,
        contacts: Contacts,
        springs: SpringSource,
        mesh: tuple[int, int, int],
        scale: Tensor | float | None = None,
        solver: str = "auto",
        zone_average: str = "crystal",
        occupation: Occupation | None = None,
    ) -> LatticeModel:
        """Create the model from a source of springs.

        Parameters
        ----------
        bodies, contacts, mesh, solver, zone_average, occupation
            As for the class.
        springs : SpringSource
            Provides the springs of contacts, or force constants between bodies.
        scale : Tensor or float, optional
            Fixed thermal scale; see `fixed_scale`.
        """
        of_contacts = springs.contact_springs(bodies, contacts)
        if of_contacts is None:
            constants = springs.force_constants(bodies, contacts)
        else:
            constants = force_constants(bodies, contacts, of_contacts)
        classes = springs.classes()
        options = (mesh, scale, solver, zone_average, occupation)
        return cls(bodies, contacts, constants, of_contacts, classes, *options)

    @property
    def crystal(self) -> Crystal:
        """The crystal of the bodies."""
        return self.bodies.crystal

    def with_force_constants(
        self, constants: ForceConstants, scale: Tensor | float | None = None
    ) -> LatticeModel:
        """The same crystal with other force constants and, optionally, a fixed thermal scale."""
        return replace(
            self,
            force_constants=constants,
            springs=None,
            spring_classes=None,
            fixed_scale=scale,
            _results=ObjectCache(),
        )

    def with_springs(self, springs: Springs, scale: Tensor | float | None = None) -> LatticeModel:
        """The same crystal with other springs on its contacts."""
        constants = force_constants(self.bodies, self.contacts, springs)
        return replace(self.with_force_constants(constants, scale), springs=springs)

    def displacements_at_unit_scale(self, progress: Progress | None = None) -> Tensor:
        """U of every atom of the cell at s = 1, shape (n_cell_atoms, 3, 3), Å^2.

        With an occupation ``U/s``, which depends on s.
        """

        def compute() -> Tensor:
            self.check_mesh(self.mesh)
            return self._displacements(self.mesh, progress)

        return self._results.get("displacements", compute, self.tensors)

    def _displacements(
        self,
        mesh: Sequence[int],
        progress: Progress | None = None,
        zone_average: str = "",
        scale: Tensor | None = None,
    ) -> Tensor:
        average, solver = zone_average or self.zone_average, self.solving(scale)
        return displacement_covariance(
            self.bodies, self.force_constants, mesh, progress, solver, average
        )

    def solving(self, scale: Tensor | None = None) -> SolverLike:
        """How K(k) is inverted, with the occupation of the modes, for `make_solver`.

        Parameters
        ----------
        scale : Tensor, optional
            Thermal scale s of the occupation; by default that of the model.
        """
        if self.occupation is None:
            return self.solver
        refuse_functorch()
        scale = self.thermal_scale if scale is None else scale
        return OccupiedModes(self.occupation, scale, self.solver)

    def check_mesh(self, mesh: Sequence[int], name: str = "mesh") -> None:
        """Refuse a mesh that would give equivalent atoms different ADPs or covariances."""
        symmetric = symmetric_mesh(mesh, self.crystal.rotations)
        if symmetric == tuple(mesh):
            return
        message = (
            f"{name} {tuple(mesh)} is less symmetric than space group "
            f"{self.crystal.spacegroup}, so that equivalent atoms would have different "
            f"{'ADPs' if name == 'mesh' else 'covariances'}"
        )
        if self.zone_average == "crystal":
            raise InputError(f"{message}; give {name}={symmetric}")
        warnings.warn(
            f"{message}, as they do in such a supercell; {symmetric} has the full symmetry",
            stacklevel=2,
        )

    @torch.no_grad()
    def zone_average_error(self) -> float:
        """Estimated relative error of the mean ADP due to the finite mesh.

        The error of the crystal's average falls as the volume of the mesh's cell, so that the
        difference from a mesh with half the points along each axis tells it, or with one more where
        there is a single one. It is mostly within a factor of 3, but can be ten times too small for
        very soft librations. For the average of a supercell it includes the difference from the
        crystal. Without gradient.
        """
        own = crystal = self._mean(self.displacements_at_unit_scale())
        if self.zone_average == "supercell":
            crystal = self._mean(self._displacements(self.mesh, None, "crystal"))
        coarser = min(self.mesh) > 1
        # Halves, since small differences of meshes can vanish by chance.
        mesh = tuple((n + 1) // 2 if coarser else n + 1 for n in self.mesh)
        other = self._mean(self._displacements(mesh, None, "crystal"))
        error = abs((crystal - other) / (1.0 - math.prod(self.mesh) / math.prod(mesh)))
        return (error + abs(own - crystal)) / (crystal if coarser else other)

    def _mean(self, U: Tensor) -> float:
        return self.bodies.mean(mean_square(U)).item()

    @property
    def thermal_scale(self) -> Tensor:
        """Thermal scale s, a 0-d tensor."""
        return self._scale(None)

    def _scale(self, at_unit_scale: Tensor | None) -> Tensor:
        """Thermal scale, from the displacements at s = 1 if these are known."""
        like = self.crystal.U
        if self.fixed_scale is not None:
            fixed = self.fixed_scale
            return fixed.to(like) if isinstance(fixed, Tensor) else like.new_tensor(fixed)
        target = self.bodies.mean(mean_square(self.crystal.U))
        if not float(target.detach()) > 0:
            raise InputError(
                f"the mean U of the crystal is {float(target.detach()):g} Å^2, which does not "
                "determine the thermal scale; give thermal_scale"
            )
        gamma_alone = self.zone_average == "supercell" and self.mesh == (1, 1, 1)
        if gamma_alone and self.bodies.n_dof == 3:
            raise InputError(
                "a zone mesh of Gamma alone contains no motion of a single atom, so it does not "
                "determine the thermal scale; sample 2 or more along an axis, or give thermal_scale"
            )
        if self.occupation is not None:
            return self._results.get("scale", lambda: self._occupied_scale(target), self.tensors)
        if at_unit_scale is None:
            at_unit_scale = self.displacements_at_unit_scale()
        return target / self.bodies.mean(mean_square(at_unit_scale))

    def _occupied_scale(self, target: Tensor) -> Tensor:
        """Thermal scale at which the mean displacement of the occupied modes is the target."""
        refuse_functorch()
        self.check_mesh(self.mesh)

        def mean(scale: Tensor) -> Tensor:
            U = self._displacements(self.mesh, scale=scale)
            return scale * self.bodies.mean(mean_square(U))

        return self_consistent_scale(mean, target)

    def displacements_and_scale(
        self, use_data_adp: bool = False, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """U of every atom for the Debye-Waller factors, (n_cell_atoms, 3, 3) in Å^2, and s.

        Parameters
        ----------
        use_data_adp : bool
            Use the U of the crystal instead of the model's.
        progress : callable, optional
            Called with (stage, steps done, total).
        """
        if use_data_adp and self.fixed_scale is not None:
            return self.bodies.U, self.thermal_scale
        at_unit_scale = self.displacements_at_unit_scale(progress)
        scale = self._scale(at_unit_scale)
        return (self.bodies.U if use_data_adp else scale * at_unit_scale), scale

    @property
    def U(self) -> Tensor:
        """Mean-square displacements of the asymmetric unit's atoms, (n_atoms, 3, 3), Å^2."""
        return self.displacements_and_scale()[0][: self.crystal.n_atoms]

    @property
    def ADP(self) -> Tensor:
        """``tr(U)/3`` of each atom, shape (n_atoms,), Å^2; ``B = 8 pi^2 ADP``."""
        return mean_square(self.U)

    @property
    def covar(self) -> Tensor:
        """Covariance C(R) between bodies, shape (n_h, n_k, n_l, D, D), Å^2 for translations.

        Indexed by R in cell units, modulo the mesh.
        """

        def compute() -> Tensor:
            every = torch.cartesian_prod(*(torch.arange(n) for n in self.mesh)).reshape(-1, 3)
            return self.covariance(every).reshape(*self.mesh, self.bodies.n_dof, self.bodies.n_dof)

        return self.thermal_scale * self._results.get("covariance", compute, self.tensors)

    def covariance(
        self, cells: Tensor, mesh: Sequence[int] | None = None, name: str = "mesh"
    ) -> Tensor:
        """Covariance C(R) at s = 1 for lattice vectors R (n, 3) in cell units, shape (n, D, D).

        By default averaged over the mesh of the ADPs; `name` is what messages call the mesh. With
        an occupation ``C(R)/s``: in both cases `thermal_scale` times it is C(R).
        """
        cells, mesh = cells.to(self.crystal.U.device), tuple(mesh or self.mesh)
        self.check_mesh(mesh, name)
        average, solver = self.zone_average, self.solving()
        return covariance(self.bodies, self.force_constants, mesh, cells, None, average, solver)

    def modes(self, k_frac: Tensor, at_gamma: Tensor) -> Modes:
        """Normal modes at wavevectors (n_k, 3); at Gamma the acoustic modes are excluded."""
        if self.occupation is not None:
            refuse_functorch()
        return self.occupied(modes(self.bodies, self.force_constants, k_frac, at_gamma))

    def occupied(self, found: Modes) -> Modes:
        """Modes with the factors of the model's occupation."""
        if self.occupation is None:
            return found
        squared = found.w_squared / self.thermal_scale
        return replace(found, factor=self.occupation.factor(squared))

    @property
    def chosen_solver(self) -> SolverChoice:
        """The solver used for the stiffness matrices, and why."""
        with torch.no_grad():
            how = self.solving(self.crystal.U.new_ones(()))
            return choose_solver(self.bodies, self.force_constants, how)

    def contact_table(self) -> ContactTable:
        """Symmetry-unique contacts with atoms, operator, distance, class and spring constants.

        If interfaces have a stiffness, contacts are listed by interface, and constants are NaN.
        """
        return contact_table(self.bodies, self.contacts, self.springs, self.spring_classes)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that all results depend on; a fixed thermal scale only with an occupation."""
        constants = self.force_constants
        tensors = [constants.onsite, constants.coupling, *self.crystal.tensors()]
        if self.occupation is not None:
            tensors += self.occupation.tensors
            tensors += [x for x in (self.fixed_scale,) if isinstance(x, Tensor)]
        return tensors


class HasLattice(Protocol):
    """An object with a lattice model, such as `OnePhonon`."""

    @property
    def lattice(self) -> LatticeModel:
        """The lattice model."""
        ...


def lattice_of(model: LatticeModel | HasLattice) -> LatticeModel:
    """Return the lattice model, or the one that a model holds."""
    return model if isinstance(model, LatticeModel) else model.lattice


def default_mesh(crystal: Crystal, n_dof: int) -> tuple[int, int, int]:
    """Brillouin-zone mesh of a box of 60 Å and three cells, or more, along each axis.

    For up to 150 degrees of freedom, of five cells.
    """
    cells = CELLS_OF_FEW if n_dof <= MAX_DENSE_DOF else DEFAULT_CELLS
    # A ratio such as 60/19.999 is 3: the mesh must not change with a cell in its last digits.
    n = [max(cells, math.ceil(DEFAULT_BOX / x - 1e-3)) for x in crystal.cell.parameters[:3]]
    return symmetric_mesh(n, crystal.rotations)
