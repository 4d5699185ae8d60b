"""`OnePhonon`: the user's model, a lattice model bound to scattering vectors."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onephonon.core.caching import ValueCache
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress, ProgressLike
from onephonon.core.tensors import inside_functorch, map_tensors
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.zone import check_mesh
from onephonon.disorder.disorder import Disorder
from onephonon.dynamics.displacements import check_zone_average
from onephonon.dynamics.lattice_model import LatticeModel, default_mesh
from onephonon.dynamics.normal_modes import Modes, mass_factor_inverse
from onephonon.dynamics.occupation import Occupation
from onephonon.dynamics.rigidity import check_lattice
from onephonon.dynamics.solvers.choice import SolverChoice, check_solver
from onephonon.maps.diffuse import DiffuseMap
from onephonon.network.bodies import Bodies, GroupBy
from onephonon.network.contacts import Contacts, find_contacts
from onephonon.network.force_constants import ForceConstants, Springs, SpringValue
from onephonon.network.interfaces import ContactTable
from onephonon.network.springs import (
    ConstantSprings,
    FunctionSprings,
    SpringFunction,
    SpringPlan,
    SpringSource,
)
from onephonon.scattering.amplitudes.base import AmplitudeEngine
from onephonon.scattering.amplitudes.choice import check_engine, check_rtol
from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.diffuse import displacements_and_scale
from onephonon.scattering.multiphonon.settings import Orders
from onephonon.scattering.numerics import Numerics, check_batch_size
from onephonon.scattering.one_phonon_share import OnePhononShare, one_phonon_share
from onephonon.scattering.order_error import OrderError, order_error
from onephonon.scattering.points import QPoints, within
from onephonon.scattering.q_source import QSource, Sampling

from . import inputs, map_writing, spring_derivatives
from .attributes import Checked, Delegated, Fixed
from .bound_sum import BoundSum, no_lattice
from .crystal_source import CrystalSource
from .disorder_plan import DisorderLike, DisorderPlan
from .measured_density import DensityLike, body_density


class OnePhonon(nn.Module):
    """Diffuse intensity of a crystal of bodies connected by springs, on a grid or at any q.

    Parameters
    ----------
    pdb_path : path or Crystal
        A structure file (PDB or mmCIF, optionally .gz), or a crystal already read.
    hsampling, ksampling, lsampling : (min, max, samples per Miller index), optional
        Grid mode: the map's range and sampling; a min within 1e-4 of a grid step is rounded to it.
    expand_p1 : bool
        True: the file holds one asymmetric unit. False: it holds the whole cell.
    group_by : {'asu', 'chain', 'residue', 'atom', None}, 'auto:N', ranges, or sequence of int
        The rigid bodies; None is 'atom'. 'auto:3' proposes 3 blocks of an asymmetric unit
        (`onephonon.network.domains`), which ``bodies.names`` gives as ranges. Ranges are text such
        as 'A:1-60 A:61-129,B' (`onephonon.network.residue_ranges`).
    res_limit : float
        Points of smaller d (Å) are masked.
    model : {'gnm', 'anm', 'hybrid'}
    gnm_cutoff : float
        Longest contact in Å.
    gamma_intra, gamma_inter : float or Tensor
        Springs within a copy of the asymmetric unit and between copies ('gnm', 'anm'), in
        kT/Å^2 up to the thermal scale. Numbers become parameters of the module; a tensor is used
        without copying and receives the gradient.
    batch_size : int, optional
        Maximum number of q per batch.
    q_vectors : Tensor, shape (N, 3), or QPoints, optional
        Arbitrary-q mode: scattering vectors in 1/Å, 2*pi included; may require grad. Points that
        already have their wavevectors (``halos(...).points()``) avoid the search for them.
        Without grid and q, give q in the call: ``model(q)``.
    k_par, k_perp : float, Tensor or pair, optional
        Springs along and across each contact, for 'hybrid'; a pair is (intra, inter).
    springs : SpringPlan, nn.Module or callable, optional
        Springs by class of contact, or from a function of `ContactFeatures`, instead of `model`
        and its constants. They become the submodule `springs`.
    mesh : three int, optional
        Mesh of the Brillouin zone for the ADPs (1 along all axes is Gamma and the acoustic waves
        around it); by default that of a box of at least 60 Å and three cells along each axis (five
        cells for up to 150 degrees of freedom). With ``zone_average='supercell'``, by default
        the samples per Miller index of the three samplings.
    zone_average : {'crystal', 'supercell'}
        What ADPs and the thermal scale are averages over: the zone of the crystal, or the
        wavevectors of a finite supercell, without those that move it as a whole
        (`onephonon.dynamics.displacements`).
    thermal_scale : float or Tensor, optional
        s; by default such that the mean B of the model equals that of the crystal.
    temperature : float, optional
        In K: modes move as in quantum mechanics at this temperature, instead of classically
        (`onephonon.dynamics.occupation`). Springs are then absolute, in kT/s: of
        ``thermal_scale``, 1.0 for springs in kT/Å^2, or by default such that the mean B of the
        modes at this temperature equals that of the crystal.
    populations : path, array, Tensor or callable, optional
        Mean squares of modes relative to classical motion, in place of the quantum-mechanical
        ones: a table of frequency (THz) and factor, a file of it (see `read_populations`, also for
        factors relative to quantum mechanics), or a function of a tensor of frequencies. No factor
        may be negative. Tables are interpolated linearly and constant beyond their ends. Needs
        `temperature`, since frequencies follow from springs in kT.
    positions, B, U, occupancies, cell : Tensor, optional
        Replace the file's values; see `Crystal.with_tensors`.
    bragg_tolerance : float, optional
        Distance from integers up to which three Miller indices are a Bragg point; see `is_bragg`.
    engine, rtol
        How amplitudes are computed, and how accurately; see `Numerics` and `chosen_engine`.
    solver : {'auto', 'dense', 'condensed'}
        How K(k) is inverted, exactly in both cases: by a dense factorization at each wavevector,
        or with the interior of the cell factored once for all wavevectors, for bodies that are
        single atoms or residues; by default the faster one, see `chosen_solver`.
    orders : int or 'all'
        Sum this number of orders of the intensity, from the first (one phonon), or all, to
        `rtol`; see `order_error`. Where atoms move too far for the sum of all, the intensity is an
        error (`SeriesError`).
    multiphonon_mesh : three int, optional
        Mesh of the Brillouin zone for the covariances of orders beyond the first; by default
        `mesh`.
    disorder : str, Disorder, or sequence of components, optional
        Kinds of motion whose scattering is summed, such as ``'lattice+liquid:scope=asu,gamma=8'``
        or ``['lattice', Liquid(gamma=8.0)]``; by default the lattice alone. Debye-Waller factors
        are then those of the file's U, which is that of all motion, and each component has a share
        of it. Numbers become parameters of the module, in `component_parameters`; tensors are used
        without copying. Without 'lattice' no springs are needed. See `onephonon.disorder`.
    density : path, ElectronDensity or MeasuredDensity, optional
        Amplitudes from the measured electron density in place of atoms: map coefficients (MTZ or
        structure-factor mmCIF) or a CCP4 map, see `MeasuredDensity`. Debye-Waller factors are in
        the density, and no others are used: `use_data_adp` makes no difference. Atoms still
        divide the density into bodies, and give springs, masses and the mean B that determines the
        thermal scale. The density stays as it was cut when the model is built.
    dtype : torch.dtype
    device : torch.device or str, optional
    **structure_options
        Options of `read_crystal` (hydrogens, waters, ligands, conformers, anisotropic,
        model_number, radiation, ncs). And `solvent` (e/Å^3, 0.334 for water; 0, none, by default)
        and `solvent_smoothing` (Å^2) of the displaced flat solvent (`with_solvent`).

    Raises
    ------
    StructureError, InputError, NetworkError
        See `read_crystal`, `check_samplings`, `find_contacts`,
        `check_connected` and `check_rigid`.

    Notes
    -----
    Contacts are found once, at the initial coordinates; everything else follows the tensors.
    `lattice` is the same crystal without scattering vectors, a `LatticeModel`.

    Examples
    --------
    >>> model = OnePhonon("1ejg.cif", (-4, 4, 2), (-4, 4, 2), (-4, 4, 2))
    >>> model().reshape(model.map_shape)
    """

    group_by = Fixed[GroupBy]("contacts are sorted by body when the model is built")
    gnm_cutoff = Fixed[float]("contacts are found once, when the model is built")
    _plan = Fixed[DisorderPlan | None]("its numbers are parameters of the module")
    contacts = Fixed[Contacts]("they are found once, when the model is built")
    occupation = Fixed[Occupation | None]("springs are absolute at one temperature")
    model = Checked(inputs.check_spring_model)
    mesh = Checked(check_mesh)
    zone_average = Checked(check_zone_average)
    solver = Checked(check_solver)
    engine = Checked(check_engine)
    rtol = Checked(check_rtol)
    batch_size = Checked(check_batch_size)
    res_limit = Checked(inputs.check_resolution_limit)
    bragg_tolerance = Checked(inputs.check_bragg_tolerance)
    orders = Checked(inputs.check_orders)
    multiphonon_mesh = Checked(inputs.check_multiphonon_mesh)

    crystal = Delegated[Crystal]("bodies", "crystal", "The crystal, with the caller's tensors.")
    thermal_scale = Delegated[Tensor]("lattice", "thermal_scale", "Thermal scale s.")
    U = Delegated[Tensor]("lattice", "U", "Model's mean-square displacements (n_atoms, 3, 3), Å^2.")
    ADP = Delegated[Tensor]("lattice", "ADP", "Model's tr(U)/3, (n_atoms,), Å^2; B = 8 pi^2 ADP.")
    covar = Delegated[Tensor]("lattice", "covar", "Covariance C(R), (n_h, n_k, n_l, D, D), Å^2.")
    chosen_solver = Delegated[SolverChoice](
        "lattice", "chosen_solver", "The solver used for K(k), and why."
    )
    chosen_engine = Delegated[AmplitudeEngine](
        "bound", "engine", "The engine used for amplitudes, and why."
    )
    grid = Delegated[HklGrid | None]("_source", "grid", "The grid in grid mode, or None.")
    n_points = Delegated[int]("_source", "n_points", "Number of q.")
    map_shape = Delegated[tuple[int, int, int] | None](
        "_source", "map_shape", "Points along h, k, l in grid mode; None for a list of q."
    )
    hkl_grid = Delegated[Tensor]("points", "hkl", "Miller indices, shape (N, 3), l fastest.")
    q_grid = Delegated[Tensor]("points", "q", "Scattering vectors, shape (N, 3), 1/Å with 2*pi.")
    valid = Delegated[Tensor]("points", "valid", "(N,): within the limit, and not a Bragg point.")

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
        mesh: Sequence[int] | None = None,
        zone_average: str = "crystal",
        thermal_scale: float | Tensor | None = None,
        temperature: float | None = None,
        populations: inputs.Populations | None = None,
        positions: Tensor | None = None,
        B: Tensor | None = None,
        U: Tensor | None = None,
        occupancies: Tensor | None = None,
        cell: Tensor | None = None,
        bragg_tolerance: float | None = None,
        engine: str = "auto",
        solver: str = "auto",
        rtol: float = 1e-6,
        orders: int | str = 1,
        multiphonon_mesh: Sequence[int] | None = None,
        disorder: DisorderLike | None = None,
        density: DensityLike | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        **structure_options: Any,
    ) -> None:
        super().__init__()
        read = inputs.make_crystal(pdb_path, expand_p1, structure_options)
        read = read.to(device, inputs.check_dtype(dtype))
        overrides = {"positions": positions, "B": B, "U": U, "occupancies": occupancies}
        tensors = inputs.check_tensors(overrides | {"cell": cell})
        self._cache = ValueCache()
        # The caller's tensors are not parameters of the module, so they are hidden from torch.
        self._atoms = CrystalSource(read, group_by, tensors)
        self._scale = {} if thermal_scale is None else {"s": inputs.check_scale(thermal_scale)}
        self.occupation = inputs.make_occupation(temperature, populations, solver)
        self.group_by, self.gnm_cutoff, self.model = group_by, gnm_cutoff, model
        self.engine, self.solver, self.rtol, self.batch_size = engine, solver, rtol, batch_size
        self.res_limit, self.bragg_tolerance = res_limit, bragg_tolerance
        self.orders, self.multiphonon_mesh = orders, multiphonon_mesh
        plan = DisorderPlan.of(disorder)
        if plan is not None:
            plan = plan.with_files(structure_options | {"expand_p1": expand_p1})
        self._plan = plan
        self._source = QSource.from_samplings((hsampling, ksampling, lsampling))
        if density is not None:
            inputs.check_density_alone(engine, plan is None)
            how = structure_options | {"expand_p1": expand_p1}
            self._atoms = self._atoms.with_density(
                body_density(density, self.bodies, pdb_path, how)
            )
            self._cache.clear()
        bodies = self.bodies
        self.zone_average = zone_average
        sampled = self.grid.samples if self.grid and zone_average == "supercell" else None
        self.mesh = mesh or sampled or default_mesh(bodies.crystal, bodies.n_dof)
        if q_vectors is not None:
            self.set_q(q_vectors)
        self.contacts = find_contacts(bodies, gnm_cutoff)
        gammas = (None, None) if model == "hybrid" else (gamma_intra, gamma_inter)
        constants = (None,) * 4 if springs is not None else (*gammas, k_par, k_perp)
        self.gamma_intra, self.gamma_inter, self.k_par, self.k_perp = (
            None if value is None else inputs.to_parameter(value, bodies.U) for value in constants
        )
        self.springs: Any = None
        if springs is not None:
            self.springs = inputs.make_springs(bodies, self.contacts, springs)
        self.component_parameters: nn.ParameterDict | None = None
        if self._plan is not None:
            self._add_components(self._plan, springs is not None)
        with torch.no_grad():
            if self.has_lattice:
                where = "springs" if self.springs else f"model {model!r}"
                check_lattice(self.lattice, self.spring_source, where)
            if self.disorder is not None:
                self.disorder.settled(self.bodies)  # raises if more is taken than there is

    def _add_components(self, plan: DisorderPlan, with_springs: bool) -> None:
        """Make the numbers of components parameters of the module."""
        if with_springs and not plan.has_lattice:
            raise InputError(
                f"springs are of the lattice, which disorder {plan.text!r} lacks; leave them out, "
                "or add 'lattice'"
            )
        numbers = plan.numbers()
        if numbers:
            U = self.bodies.U
            self.component_parameters = nn.ParameterDict(
                {name: inputs.to_parameter(value, U) for name, value in numbers.items()}
            )

    @property
    def spring_source(self) -> SpringSource:
        """Source of the springs: the submodule `springs`, or the constants."""
        if self.springs is not None:
            source: SpringSource = self.springs
            return source
        constants = self.gamma_intra, self.gamma_inter, self.k_par, self.k_perp
        return ConstantSprings(self.model, *constants)

    @property
    def bodies(self) -> Bodies:
        """The atoms of the unit cell, grouped into bodies."""
        return self._atoms.bodies(self._cache)

    @property
    def lattice(self) -> LatticeModel:
        """The crystal of bodies connected by springs, without scattering vectors.

        Rebuilt whenever gradients are recorded, since the caller's tensors serve many backward
        passes; otherwise cached for as long as its inputs have the same values.

        Raises
        ------
        InputError
            If it is not one of the components of `disorder`.
        """
        if self._plan is not None and not self.has_lattice:
            raise no_lattice(self._plan.text)
        return self._lattice

    @property
    def has_lattice(self) -> bool:
        """Whether the lattice is one of the components of `disorder`."""
        return self._plan is None or self._plan.has_lattice

    @property
    def disorder(self) -> Disorder | None:
        """The components of disorder; None for the lattice alone.

        ``model.disorder.accounts(model.bodies)`` says what each takes of the atoms' U, and
        ``check`` warns if it is more than some atoms have.
        """
        return None if self._plan is None else self._components_of(self._lattice)

    def _components_of(self, lattice: LatticeModel) -> Disorder:
        """The components of disorder, with this lattice."""
        assert self._plan is not None
        values = dict(self.component_parameters or {})
        return self._plan.build(lattice, self.numerics, self.multiphonon_mesh, values)

    @property
    def _lattice(self) -> LatticeModel:
        """The lattice; of a sum without it, the crystal and its bodies alone are of use."""
        springs, scale = self.spring_source, self._scale.get("s")

        def build() -> LatticeModel:
            if isinstance(springs, ConstantSprings) and not inside_functorch():
                springs.check()
            return LatticeModel.build(
                self.bodies,
                self.contacts,
                springs,
                self.mesh,
                scale,
                self.solver,
                self.zone_average,
                self.occupation,
            )

        occupation = self.occupation
        if isinstance(springs, FunctionSprings) or not (
            occupation is None or occupation.is_constant
        ):
            return build()  # a user's function may depend on other things
        own = springs.values if isinstance(springs, ConstantSprings) else []
        fixed = [scale] if isinstance(scale, Tensor) else []
        fixed += [] if occupation is None else occupation.tensors
        tensors = [*self.parameters(), *own, *fixed, *self._atoms.overrides.values()]
        settings = self.model, self.mesh, self.zone_average, self.solver
        return self._cache.get("lattice", tensors, build, settings)

    @property
    def bound(self) -> BoundModel:
        """The lattice bound to the scattering vectors."""
        limits = self.res_limit, self.bragg_tolerance
        orders = Orders(mesh=self.multiphonon_mesh).with_number(self.orders)
        caches = self._cache, self._cache
        lattice = self._lattice
        parts = lattice, self._source, self.numerics, *limits, orders, *caches
        if self._plan is None:
            return BoundModel(*parts)
        return BoundSum(*parts, disorder=self._components_of(lattice))

    @property
    def numerics(self) -> Numerics:
        """Options of the calculation of amplitudes and intensities."""
        return Numerics(self.engine, self.rtol, self.batch_size)

    @property
    def points(self) -> QPoints:
        """The q-vectors, the zone points they share, and which are valid."""
        limits = self.res_limit, self.bragg_tolerance
        return self._source.points(self.crystal.cell, limits, self._cache)

    @property
    def q_vectors(self) -> Tensor | None:
        """The q-vectors as passed by the caller; None in grid mode."""
        listed = self._source.listed
        return self._source.q if listed is None else listed.q

    @q_vectors.setter
    def q_vectors(self, value: Any) -> None:
        self.set_q(value)

    def set_q(self, q_vectors: Any) -> None:
        """Bind the model to other q: a tensor (N, 3), used without copying, or points."""
        self._source = QSource.from_q(q_vectors, self.crystal.cell)

    def set_tensors(self, **tensors: Tensor) -> None:
        """Replace tensors: positions, B, U, occupancies or cell.

        For tensors recomputed in every step of a fit, such as B-factors of atoms from one per
        residue; a leaf tensor changed in place needs no such call.
        """
        self._atoms = self._atoms.with_tensors(**tensors)

    def forward(self, q_vectors: Any = None, **options: Any) -> Tensor:
        """Intensity at the model's scattering vectors, or at other q without changing the model.

        Parameters
        ----------
        q_vectors : Tensor, shape (N, 3), or points, optional
        **options
            See `apply_disorder`.
        """
        if isinstance(q_vectors, int):
            raise InputError(f"model({q_vectors}): the first argument is q; give rank={q_vectors}")
        bound = self.bound if q_vectors is None else self.bound.at(q_vectors)
        return bound.intensity(**options)

    def apply_disorder(
        self,
        rank: int | Sequence[int] = -1,
        use_data_adp: bool | None = None,
        *,
        orders: int | str | None = None,
        G: Tensor | None = None,
        hold: Collection[str] = (),
        progress: ProgressLike | None = None,
    ) -> Tensor:
        """Diffuse intensity at every point.

        Parameters
        ----------
        rank : int or sequence of int
            -1 for the intensity of all modes, or the number of a mode, or of several modes to sum,
            counted from 0, the softest at each wavevector.
        use_data_adp : bool, optional
            Use the U of the crystal in the Debye-Waller factors instead of the model's, as is
            always done with components beyond the lattice (`disorder`).
        orders : int or 'all', optional
            Sum this number of orders, or all, instead of the model's `orders`.
        G : Tensor, shape (N, D), optional
            Stored `amplitudes`, with their Debye-Waller factors.
        hold : collection of {'adp', 'scale'}
            What gradients treat as constant: the model's U in the Debye-Waller factors, the
            thermal scale, or both.
        progress : Progress or callable, optional

        Returns
        -------
        Tensor, shape (N,), e^2 per cell
            NaN beyond the resolution limit and at Bragg points, which do not affect gradients.
            Differentiable in springs, parameters of components, positions, U or B, occupancies,
            cell and q.

        Raises
        ------
        GradientError
            In the backward pass, if `rank` splits a degenerate set of modes: only the sum over the
            whole set has a gradient.
        """
        return self.bound.intensity(
            rank, use_data_adp, orders=orders, G=G, hold=hold, progress=progress
        )

    @property
    def order_error(self) -> OrderError:
        """Estimated errors of the sum of `orders`, with the model's ADPs; see `order_error`."""
        bound = self.bound
        bound.check_lattice_alone("order_error")
        return order_error(bound)

    def one_phonon_share(
        self, d_min: float, d_max: float = math.inf, **options: Any
    ) -> OnePhononShare:
        """Share of one phonon in the intensity, by resolution; see `one_phonon_share`."""
        self.bound.check_lattice_alone("one_phonon_share")
        options = {"mesh": self.multiphonon_mesh} | options
        return one_phonon_share(self.lattice, d_min, d_max, **options)

    def amplitudes(self, use_data_adp: bool = True) -> Tensor:
        """G at every point, shape (N, D), to be reused in a fit of springs.

        With `use_data_adp` it does not depend on the springs; pass it to `apply_disorder`.
        """
        return self.bound.amplitudes(use_data_adp)

    def spring_jacobian(
        self, G: Tensor | None = None, hold: Collection[str] = ()
    ) -> tuple[Tensor, Tensor]:
        """Intensity and its derivatives by the springs; see `spring_derivatives.jacobian`."""
        return spring_derivatives.jacobian(self.bound, self.springs, G=G, hold=hold)

    def spring_normal_equations(
        self, residual: Tensor, *args: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Normal equations of a fit step; see `spring_derivatives.normal_equations`."""
        return spring_derivatives.normal_equations(
            self.bound, self.springs, residual, *args, **options
        )

    def to_map(self, **options: Any) -> DiffuseMap:
        """The intensity as a `DiffuseMap`; see `map_writing.to_map`."""
        return map_writing.to_map(self.bound, **options)

    def write_map(self, path: str | os.PathLike[str], **options: Any) -> map_writing.WrittenMap:
        """Compute the map and write it; see `map_writing.write_map`."""
        return map_writing.write_map(self.bound, path, **options)

    def modes(self) -> Modes:
        """Normal modes at `kvec`."""
        return self.bound.modes()

    @property
    def V(self) -> Tensor:
        """Modes at `kvec`, in columns, shape (Nk, D, D), complex."""
        return self.modes().V

    @property
    def Winv(self) -> Tensor:
        """``1/w^2`` of each mode, shape (Nk, D); zero for the acoustic modes at Gamma."""
        return self.modes().Winv

    @property
    def kvec(self) -> Tensor:
        """Wavevectors of the modes, 1/Å with 2*pi, shape (Nk, 3), folded into the first zone.

        In grid mode the distinct ones, otherwise one for each q.
        """
        points = self.points
        k = points.hkl if self.grid is None else points.zone.k_frac
        return self.crystal.cell.q_from_hkl(k - torch.round(k.detach()))

    @property
    def Amat(self) -> Tensor:
        """Matrix from degrees of freedom to displacements in each copy, (n_copies, 3 n_atoms, d).

        Copies are those of the asymmetric unit; d = D/n_copies.
        """
        return self.bodies.displacement_matrix()

    @property
    def Linv(self) -> Tensor:
        """Inverse Cholesky factor of the mass matrix, shape (D, D)."""
        return mass_factor_inverse(self.bodies)

    @property
    def res_mask(self) -> Tensor:
        """True where a point is within the resolution limit, shape (N,)."""
        return within(self.crystal.cell, self.q_grid, self.res_limit)

    def force_constants(self) -> ForceConstants:
        """Force-constant blocks between bodies."""
        return self.lattice.force_constants

    def contact_springs(self) -> Springs | None:
        """Springs of each contact; None if interfaces have a stiffness instead."""
        return self.lattice.springs

    def contact_table(self) -> ContactTable:
        """Symmetry-unique contacts; see `LatticeModel.contact_table`."""
        return self.lattice.contact_table()

    def displacements_and_scale(
        self,
        use_data_adp: bool = False,
        hold: Collection[str] = (),
        progress: Progress | None = None,
    ) -> tuple[Tensor, Tensor]:
        """U of every atom of the cell for the Debye-Waller factors, (n_cell_atoms, 3, 3), and s."""
        return displacements_and_scale(self.lattice, use_data_adp, hold, progress)

    def __getattr__(self, name: str) -> Any:
        """Raise the original error of a property, which torch reports as a missing attribute."""
        attribute = inspect.getattr_static(type(self), name, None)
        if hasattr(attribute, "__get__"):
            return attribute.__get__(self, type(self))  # raises the original error
        return super().__getattr__(name)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OnePhonon:
        """Apply ``.to(device, dtype)`` to the crystal, too, but not to the caller's tensors."""
        super()._apply(fn, recurse)
        self._cache.clear()
        self._atoms = self._atoms.moved(fn)
        self.__dict__["contacts"] = map_tensors(self.contacts, fn)
        return self

    def extra_repr(self) -> str:
        """One-line description of the model."""
        bodies = self.bodies
        return (
            f"{self.crystal.spacegroup}, {self.crystal.n_atoms} atoms, {bodies.n_bodies} bodies, "
            f"{bodies.n_dof} degrees of freedom, {self.contacts.n_contacts} contacts, "
            f"{self.n_points} q"
        )


#: Name of the model in a former package.
OnePhononTorch = OnePhonon
