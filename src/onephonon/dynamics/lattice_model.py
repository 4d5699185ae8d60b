"""`LatticeModel`: a crystal of bodies on springs, and what follows from it without any q."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from onephonon.core.caching import Results
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.crystal import Crystal, mean_square
from onephonon.network.bodies import Bodies
from onephonon.network.contacts import Contacts
from onephonon.network.force_constants import ForceConstants, Springs, force_constants
from onephonon.network.interfaces import ContactTable
from onephonon.network.springs import SpringClasses, SpringSource, contact_table

from .displacements import covariance, displacement_covariance
from .normal_modes import Modes, modes
from .solvers.choice import SolverChoice, choose_solver

#: The default mesh of the ADPs stands for a box of at least this many Å, and three cells along
#: each axis.
DEFAULT_BOX = 60.0


@dataclass(frozen=True, eq=False)
class LatticeModel:
    """A crystal of bodies on springs: everything but the scattering vectors.

    Parameters
    ----------
    bodies : Bodies
        The atoms of the unit cell by body; they know their crystal.
    contacts : Contacts
        Pairs of atoms that springs may join.
    force_constants : ForceConstants
        What the springs add up to, between bodies.
    springs : Springs, optional
        Of each contact; None where interfaces have a stiffness instead.
    spring_classes : SpringClasses, optional
        Which class each contact's spring belongs to, for tables; by default whether the contact
        is within a copy of the asymmetric unit or between two.
    mesh : tuple of three int
        Mesh of the Brillouin zone over which the ADPs and the covariance are averaged.
    fixed_scale : Tensor or float, optional
        Thermal scale s; by default such that the mean B of the model over the cell is the file's.
    solver : {'auto', 'dense', 'condensed'}
        How K(k) is inverted; see `choose_solver`.

    Notes
    -----
    Everything that follows is differentiable in the tensors behind the parts. Results are kept
    in the object: make a new one for each backward pass, as `OnePhonon` does.
    """

    bodies: Bodies
    contacts: Contacts
    force_constants: ForceConstants
    springs: Springs | None = None
    spring_classes: SpringClasses | None = None
    mesh: tuple[int, int, int] = (3, 3, 3)
    fixed_scale: Tensor | float | None = None
    solver: str = "auto"
    _results: Results = field(default_factory=Results, repr=False)

    @classmethod
    def build(
        cls,
        bodies: Bodies,
        contacts: Contacts,
        springs: SpringSource,
        mesh: tuple[int, int, int],
        scale: Tensor | float | None = None,
        solver: str = "auto",
    ) -> LatticeModel:
        """Sum springs up to force constants.

        Parameters
        ----------
        bodies, contacts, mesh, solver
            See above.
        springs : SpringSource
            Gives the springs of contacts, or force constants between bodies.
        scale : Tensor or float, optional
            Thermal scale, if it is to be fixed.
        """
        of_contacts = springs.contact_springs(bodies, contacts)
        if of_contacts is None:
            constants = springs.force_constants(bodies, contacts)
        else:
            constants = force_constants(bodies, contacts, of_contacts)
        classes = springs.classes()
        return cls(bodies, contacts, constants, of_contacts, classes, mesh, scale, solver)

    @property
    def crystal(self) -> Crystal:
        """The crystal of the bodies."""
        return self.bodies.crystal

    def with_force_constants(
        self, constants: ForceConstants, scale: Tensor | float | None = None
    ) -> LatticeModel:
        """The same crystal with other force constants, and a thermal scale if it is known."""
        return replace(
            self,
            force_constants=constants,
            springs=None,
            spring_classes=None,
            fixed_scale=scale,
            _results=Results(),
        )

    def with_springs(self, springs: Springs, scale: Tensor | float | None = None) -> LatticeModel:
        """The same crystal with other springs on its contacts."""
        constants = force_constants(self.bodies, self.contacts, springs)
        return replace(self.with_force_constants(constants, scale), springs=springs)

    def displacements_at_unit_scale(self, progress: Progress | None = None) -> Tensor:
        """U of every atom of the cell at s = 1, shape (n_cell_atoms, 3, 3), Å^2."""

        def compute() -> Tensor:
            return displacement_covariance(
                self.bodies, self.force_constants, self.mesh, progress, self.solver
            )

        return self._results.get("displacements", compute, self.tensors)

    @property
    def thermal_scale(self) -> Tensor:
        """Thermal scale s, a tensor without axes."""
        return self._scale(None)

    def _scale(self, at_unit_scale: Tensor | None) -> Tensor:
        """Thermal scale, from the displacements at s = 1 if they are known already."""
        like = self.crystal.U
        if self.fixed_scale is not None:
            fixed = self.fixed_scale
            return fixed.to(like) if isinstance(fixed, Tensor) else like.new_tensor(fixed)
        target = mean_square(self.crystal.U).mean()
        if not float(target.detach()) > 0:
            raise InputError(
                f"the file's mean U is {float(target.detach()):g} Å^2, so no thermal scale follows "
                "from it; give thermal_scale"
            )
        if self.mesh == (1, 1, 1) and self.bodies.n_dof == 3:
            raise InputError(
                "a zone mesh of Gamma alone holds no motion of a single atom, so no thermal scale "
                "follows from it; sample 2 or more along an axis, or give thermal_scale"
            )
        if at_unit_scale is None:
            at_unit_scale = self.displacements_at_unit_scale()
        return target / mean_square(at_unit_scale).mean()

    def displacements_and_scale(
        self, use_data_adp: bool = False, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """U of every atom for the Debye-Waller factors, (n_cell_atoms, 3, 3) in Å^2, and s.

        Parameters
        ----------
        use_data_adp : bool
            The file's U instead of the model's.
        progress : callable, optional
            Called with (what, steps done, steps in all).
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

        Indexed by R in cells, modulo the mesh.
        """

        def compute() -> Tensor:
            every = torch.cartesian_prod(*(torch.arange(n) for n in self.mesh)).reshape(-1, 3)
            return self.covariance(every).reshape(*self.mesh, self.bodies.n_dof, self.bodies.n_dof)

        return self.thermal_scale * self._results.get("covariance", compute, self.tensors)

    def covariance(self, cells: Tensor) -> Tensor:
        """Covariance C(R) at s = 1 for lattice vectors R in cells (n, 3), shape (n, D, D)."""
        cells = cells.to(self.crystal.U.device)
        return covariance(self.bodies, self.force_constants, self.mesh, cells)

    def modes(self, k_frac: Tensor, at_gamma: Tensor) -> Modes:
        """Normal modes at wavevectors (n_k, 3); at Gamma the acoustic ones are left out."""
        return modes(self.bodies, self.force_constants, k_frac, at_gamma)

    @property
    def chosen_solver(self) -> SolverChoice:
        """The solver used for the stiffness matrices, and why."""
        with torch.no_grad():
            return choose_solver(self.bodies, self.force_constants, self.solver)

    def contact_table(self) -> ContactTable:
        """Symmetry-unique contacts with atoms, operator, distance, class and spring constants.

        Where interfaces have a stiffness, contacts are listed by interface, with constants NaN.
        """
        return contact_table(self.bodies, self.contacts, self.springs, self.spring_classes)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that everything follows from, but for the thermal scale."""
        constants = self.force_constants
        return [constants.onsite, constants.coupling, *self.crystal.tensors()]


class HasLattice(Protocol):
    """What is bound to a lattice model, as `OnePhonon` is."""

    @property
    def lattice(self) -> LatticeModel:
        """The lattice model."""
        ...


def lattice_of(model: LatticeModel | HasLattice) -> LatticeModel:
    """The lattice model itself, or that of a model bound to scattering vectors."""
    return model if isinstance(model, LatticeModel) else model.lattice


def default_mesh(cell: UnitCell) -> tuple[int, int, int]:
    """Mesh of the Brillouin zone for a box of at least 60 Å and three cells along each axis."""
    n = [max(3, math.ceil(DEFAULT_BOX / length)) for length in cell.parameters[:3]]
    return n[0], n[1], n[2]
