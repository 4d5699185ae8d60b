"""What a model is made of: crystal, bodies, contacts, springs and the q it is asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onephonon.core.caching import Memory
from onephonon.core.errors import InputError
from onephonon.core.tensors import map_tensors
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.grid import HklGrid, check_samplings
from onephonon.dynamics.rigidity import check_rigid
from onephonon.dynamics.solvers.solver import take_solver
from onephonon.network.bodies import Bodies, GroupBy, gather_bodies
from onephonon.network.contacts import (
    Contacts,
    check_connected,
    find_contacts,
    warn_of_coincidences,
)
from onephonon.network.force_constants import (
    ForceConstants,
    Springs,
    SpringValue,
    assign_springs,
    check_springs,
)
from onephonon.network.force_constants import force_constants as assemble
from onephonon.network.interfaces import ContactTable, contact_rows, find_interfaces
from onephonon.network.springs import FunctionSprings, SpringFunction, SpringPlan, classify
from onephonon.scattering.amplitudes.engines import take_engine, take_rtol
from onephonon.scattering.points import QPoints, grid_points, list_points, within

from .inputs import (
    check_points,
    default_mesh,
    follow,
    make_springs,
    resolution_limit,
    spring_parameter,
    take_batch_size,
    take_crystal,
    take_dtype,
    take_q,
    take_scale,
)

#: Parts of the crystal that may be given as tensors.
GIVEN = ("positions", "B", "U", "occupancies", "cell")

Sampling = Sequence[float]


class Assembly(nn.Module):
    """The parts of `OnePhonon`, each following the tensors it was given; no physics of its own.

    See `OnePhonon` for the parameters.
    """

    def __init__(
        self,
        pdb_path: str | os.PathLike[str] | Crystal,
        hsampling: Sampling | None = None,
        ksampling: Sampling | None = None,
        lsampling: Sampling | None = None,
        expand_p1: bool = True,
        group_by: GroupBy = "asu",
        res_limit: float = 0.0,
        model: str = "gnm",
        gnm_cutoff: float = 4.0,
        gamma_intra: float | Tensor = 1.0,
        gamma_inter: float | Tensor = 1.0,
        batch_size: int | None = None,
        *,
        q_vectors: Tensor | QPoints | None = None,
        k_par: SpringValue | None = None,
        k_perp: SpringValue | None = None,
        springs: SpringPlan | SpringFunction | nn.Module | None = None,
        thermal_scale: float | Tensor | None = None,
        positions: Tensor | None = None,
        B: Tensor | None = None,
        U: Tensor | None = None,
        occupancies: Tensor | None = None,
        cell: Tensor | None = None,
        bragg_tolerance: float | None = None,
        engine: str = "auto",
        solver: str = "auto",
        rtol: float = 1e-6,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        **structure_options: Any,
    ) -> None:
        super().__init__()
        self._memory = Memory()
        self._read = take_crystal(pdb_path, expand_p1, structure_options).to(
            device, take_dtype(dtype)
        )
        given = {"positions": positions, "B": B, "U": U, "occupancies": occupancies, "cell": cell}
        # The caller's own tensors: kept as they are, and never parameters of the module.
        self._given = {name: t for name, t in given.items() if t is not None}
        self._scale = {} if thermal_scale is None else {"s": take_scale(thermal_scale)}
        self._group_by = group_by
        self.model = model
        self.gnm_cutoff = gnm_cutoff
        self.res_limit = resolution_limit(res_limit)
        self.batch_size = take_batch_size(batch_size)
        self.bragg_tolerance = bragg_tolerance
        self.engine = take_engine(engine)
        self.solver = take_solver(solver)
        self.rtol = take_rtol(rtol)
        self._set_points(q_vectors, (hsampling, ksampling, lsampling))
        bodies = self.bodies
        self.contacts = find_contacts(bodies, gnm_cutoff)
        self._set_springs(springs, gamma_intra, gamma_inter, k_par, k_perp)
        self._check()

    def _set_points(self, q_vectors: Any, samplings: tuple[Sampling | None, ...]) -> None:
        """Fix which q the model is asked for, and the zone mesh of its ADPs."""
        self._asked: dict[str, Any] = {}
        self.grid: HklGrid | None = None
        names = ("hsampling", "ksampling", "lsampling")
        missing = [n for n, s in zip(names, samplings, strict=True) if s is None]
        if not missing:
            grid = check_samplings(*samplings)  # type: ignore[arg-type]
            self.mesh = grid.samples
        elif len(missing) < 3:
            raise InputError(f"{', '.join(missing)} missing: give all three samplings or none")
        else:
            self.mesh = default_mesh(self.crystal.cell)
        if q_vectors is not None:
            self.set_q(q_vectors)
        elif missing:
            raise InputError(
                "there is nothing to compute: give hsampling, ksampling and lsampling for a map, "
                "or q_vectors for a list"
            )
        else:
            self.grid = grid

    def set_q(self, q_vectors: Any) -> None:
        """Ask for other q from now on: a tensor (N, 3), used as it is, or points.

        Points keep their hkl; their q follow the model's cell.

        Raises
        ------
        InputError
            If the shape does not fit, a value is not finite, or points belong to another cell.
        """
        if hasattr(q_vectors, "points") and callable(q_vectors.points):
            q_vectors = q_vectors.points()
        if isinstance(q_vectors, QPoints) and not q_vectors.hkl.requires_grad:
            check_points(q_vectors, self.crystal.cell)
            self._asked = {"points": q_vectors}
        else:
            self._asked = {"q": take_q(getattr(q_vectors, "q", q_vectors))}
        self.grid = None

    @property
    def q_vectors(self) -> Tensor | None:
        """The q asked for, as given; None in grid mode."""
        points: QPoints | None = self._asked.get("points")
        return self._asked.get("q") if points is None else points.q

    @q_vectors.setter
    def q_vectors(self, value: Any) -> None:
        self.set_q(value)

    @property
    def group_by(self) -> GroupBy:
        """What moves as one body; fixed, since contacts are sorted by body."""
        return self._group_by

    def _set_springs(
        self,
        springs: SpringPlan | SpringFunction | nn.Module | None,
        gamma_intra: SpringValue,
        gamma_inter: SpringValue,
        k_par: SpringValue | None,
        k_perp: SpringValue | None,
    ) -> None:
        """Take springs as a submodule, or as plain constants of the chosen model."""
        self.gamma_intra: Any = None
        self.gamma_inter: Any = None
        self.k_par: Any = None
        self.k_perp: Any = None
        self.springs: Any = None
        if springs is not None:
            self.springs = make_springs(self.bodies, self.contacts, springs)
            return
        gammas: dict[str, SpringValue | None] = {
            "gamma_intra": gamma_intra,
            "gamma_inter": gamma_inter,
        }
        constants = {"k_par": k_par, "k_perp": k_perp}
        # Superfluous constants are kept, for `assign_springs` to refuse.
        used = constants if self.model == "hybrid" else gammas | constants
        for name, value in used.items():
            setattr(self, name, None if value is None else spring_parameter(value, self.crystal.U))

    def _check(self) -> None:
        """Name springs that cannot be, and bodies that hang loose, before anything is computed."""
        with torch.no_grad():
            springs = self.contact_springs()
            if springs is not None:
                check_springs(springs, "springs" if self.springs else f"model {self.model!r}")
            warn_of_coincidences(self.bodies, self.contacts)
            check_connected(self.bodies, self.contacts)
            longer = None if self.springs else self._assign
            check_rigid(self.bodies, self.contacts, self.force_constants(), springs, longer)

    @property
    def map_shape(self) -> tuple[int, int, int] | None:
        """Points along h, k, l in grid mode; None for a list of q."""
        return self.grid.shape if self.grid else None

    @property
    def points(self) -> QPoints:
        """The q-vectors, the zone points they share, and which are valid."""
        cell, limits = self.crystal.cell, (self.res_limit, self.bragg_tolerance)
        if self.grid is None and "points" not in self._asked:
            return self._listed(cell, limits)

        def find() -> QPoints:
            if self.grid is not None:
                return grid_points(cell, self.grid, *limits)
            known = map_tensors(self._asked["points"], lambda t: follow(t, cell.matrix))
            return known.in_cell(cell, *limits)

        tensors = [cell.matrix, *self._asked_tensors()]
        return self._memory.get("points", tensors, find, limits)

    def _listed(self, cell: UnitCell, limits: tuple[float, float | None]) -> QPoints:
        """Points of a list of q, sorted once for their values, whatever graph they carry."""
        q = self._asked["q"].to(cell.matrix)
        bare = UnitCell(cell.matrix.detach())
        tensors = [bare.matrix, q.detach()]
        known = self._memory.get(
            "points", tensors, lambda: list_points(bare, q.detach(), *limits), limits
        )
        return known.carrying(cell, q)

    def _asked_tensors(self) -> list[Tensor]:
        points: QPoints | None = self._asked.get("points")
        return [*self._asked.values()] if points is None else [points.hkl, points.valid]

    @property
    def hkl_grid(self) -> Tensor:
        """Miller indices of the points, shape (N, 3), l fastest."""
        return self.points.hkl

    @property
    def q_grid(self) -> Tensor:
        """Scattering vectors, shape (N, 3), 1/Å, 2*pi included."""
        return self.points.q

    @property
    def res_mask(self) -> Tensor:
        """True where a point is within the resolution limit, shape (N,)."""
        return within(self.crystal.cell, self.q_grid, self.res_limit)

    @property
    def valid(self) -> Tensor:
        """True where the intensity is defined: within the limit and not a Bragg point."""
        return self.points.valid

    @property
    def crystal(self) -> Crystal:
        """The crystal: the file's, with the tensors given in place of the file's."""
        if not self._given:
            return self._read
        # Anew for each graph: a caller's leaf serves many backward passes.
        return self._memory.get(
            "crystal",
            [*self._given.values(), *self._read.tensors()],
            lambda: self._crystal_with(self._given),
        )

    def _crystal_with(self, given: dict[str, Tensor]) -> Crystal:
        """The file's crystal with these tensors, moved to its device and dtype."""
        return self._read.with_tensors(**{n: follow(t, self._read.U) for n, t in given.items()})

    @property
    def bodies(self) -> Bodies:
        """The unit cell's atoms by body."""
        crystal = self.crystal
        return self._memory.get(
            "bodies", crystal.tensors(), lambda: gather_bodies(crystal, self.group_by)
        )

    def set_tensors(self, **tensors: Tensor) -> None:
        """Use other tensors from now on: positions, B, U, occupancies or cell.

        For values computed anew in every step of a fit, such as one B per residue spread over
        its atoms; a leaf changed in place needs no such call.

        Raises
        ------
        InputError
            If a name is none of these or a shape does not fit.
        """
        unknown = [name for name in tensors if name not in GIVEN]
        if unknown:
            raise InputError(f"{', '.join(unknown)}: not one of {', '.join(GIVEN)}")
        given = self._given | tensors
        for new, old in (("B", "U"), ("U", "B")):
            if new in tensors and old not in tensors:
                given.pop(old, None)  # one takes the other's place
        with torch.no_grad():
            self._crystal_with(given)  # refused here if a shape does not fit
        self._given = given

    def _assign(self, contacts: Contacts) -> Springs:
        return assign_springs(
            contacts,
            self.model,
            gamma_intra=self.gamma_intra,
            gamma_inter=self.gamma_inter,
            k_par=self.k_par,
            k_perp=self.k_perp,
        )

    def contact_springs(self) -> Springs | None:
        """Springs of each contact; None where interfaces have a stiffness instead."""
        if self.springs is None:
            return self._assign(self.contacts)
        if isinstance(self.springs, FunctionSprings):
            return self.springs.springs(self.bodies, self.contacts)
        return self.springs.springs() if hasattr(self.springs, "springs") else None

    def contact_table(self) -> ContactTable:
        """Symmetry-unique contacts with atoms, operator, distance, class and spring constants.

        Without spring classes they are listed as intra and inter; where interfaces have a
        stiffness, by interface, with constants NaN.
        """
        if hasattr(self.springs, "table"):
            table: ContactTable = self.springs.table(self.bodies, self.contacts)
            return table
        springs = self.contact_springs()
        by = "copy" if springs else "interface"
        classes = classify(self.bodies, self.contacts, by)
        found = find_interfaces(self.bodies, self.contacts)
        none = torch.full_like(self.contacts.distance, torch.nan)
        constants = {
            "k_par": springs.k_par if springs else none,
            "k_perp": springs.k_perp if springs else none,
        }
        return contact_rows(self.bodies, self.contacts, found, classes, constants)

    def force_constants(self) -> ForceConstants:
        """Force-constant blocks between bodies."""
        if self.springs is None:
            return assemble(self.bodies, self.contacts, self._assign(self.contacts))
        constants: ForceConstants = self.springs(self.bodies, self.contacts)
        return constants

    @property
    def n_points(self) -> int:
        """Number of q asked for."""
        return math.prod(self.grid.shape) if self.grid else self.points.n_q

    def extra_repr(self) -> str:
        """What is modelled, in a line."""
        bodies = self.bodies
        return (
            f"{self.crystal.spacegroup}, {self.crystal.n_atoms} atoms, {bodies.n_bodies} bodies, "
            f"{bodies.n_dof} degrees of freedom, {self.contacts.n_contacts} contacts, "
            f"{self.n_points} q"
        )

    def _remember(self, name: str, compute: Callable[[], Any], at_points: bool = False) -> Any:
        """Compute once for the present springs and crystal, and points where they matter."""
        if isinstance(self.springs, FunctionSprings):
            return compute()  # nobody knows all that a user's function looks at
        own = (self.gamma_intra, self.gamma_inter, self.k_par, self.k_perp)
        plain = [t for v in own for t in (v if isinstance(v, Sequence) else [v])]
        tensors = [*self.parameters(), *(t for t in plain if isinstance(t, Tensor))]
        tensors += self.crystal.tensors()
        settings: tuple[Any, ...] = (self.model, self.mesh)
        if at_points:
            tensors += self._asked_tensors()
            settings += (self.bragg_tolerance,)
        return self._memory.get(name, tensors, compute, settings)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Assembly:
        """Follow ``.to(device, dtype)`` with what is not a parameter; callers' tensors stay."""
        super()._apply(fn, recurse)
        self._memory.clear()
        self._read = map_tensors(self._read, fn)
        self.contacts = map_tensors(self.contacts, fn)
        return self
