"""`OnePhonon`: the model that users hold, a lattice model bound to scattering vectors."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onephonon.core.caching import Memory
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.core.tensors import map_tensors
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.zone import is_bragg
from onephonon.dynamics.lattice_model import LatticeModel, default_mesh
from onephonon.dynamics.normal_modes import Modes, mass_factor_inverse
from onephonon.dynamics.rigidity import check_rigid
from onephonon.dynamics.solvers.solver import Choice, take_solver
from onephonon.maps.diffuse import DiffuseMap
from onephonon.network.bodies import Bodies, GroupBy
from onephonon.network.contacts import (
    Contacts,
    check_connected,
    find_contacts,
    warn_of_coincidences,
)
from onephonon.network.force_constants import ForceConstants, Springs, SpringValue, check_springs
from onephonon.network.force_constants import force_constants as sum_springs
from onephonon.network.interfaces import ContactTable
from onephonon.network.springs import ConstantSprings, FunctionSprings, SpringFunction, SpringPlan
from onephonon.scattering import diffuse
from onephonon.scattering.amplitudes.engines import Engine, take_engine, take_rtol
from onephonon.scattering.jacobian import spring_jacobian, spring_normal_equations
from onephonon.scattering.numerics import Numerics, check_batch_size
from onephonon.scattering.points import QPoints, within

from .attributes import Checked, Delegated, Fixed
from .crystal_source import CrystalSource
from .inputs import (
    check_bragg_tolerance,
    check_crystal,
    check_dtype,
    check_mesh,
    check_ranks,
    check_resolution_limit,
    check_scale,
    check_spring_model,
    check_tensors,
    make_springs,
    spring_parameter,
)
from .map_writing import WrittenMap, to_map, write_map
from .q_source import QSource, Sampling, points_with_own_modes
from .spring_derivatives import class_springs, derivative_arguments, make_basis


class OnePhonon(nn.Module):
    """Diffuse intensity of a crystal of bodies on springs, on a grid or at any q.

    Parameters
    ----------
    pdb_path : path or Crystal
        A structure file (PDB or mmCIF, optionally .gz), or a crystal already read.
    hsampling, ksampling, lsampling : (min, max, samples per Miller index), optional
        Grid mode: the map's range and sampling; a min within 1e-4 of a grid step is put on it.
    expand_p1 : bool
        True: the file holds one asymmetric unit. False: it holds the whole cell.
    group_by : {'asu', 'chain', 'residue', 'atom', None}, ranges, or sequence of int
        What moves as one body; None is 'atom'. Ranges are text such as 'A:1-60 A:61-129,B'
        (`onephonon.network.residue_ranges`).
    res_limit : float
        Points of smaller d (Å) are masked.
    model : {'gnm', 'anm', 'hybrid'}
    gnm_cutoff : float
        Longest contact in Å.
    gamma_intra, gamma_inter : float or Tensor
        Springs within a copy of the asymmetric unit and between copies ('gnm', 'anm'), in
        kT/Å^2 up to the thermal scale. Numbers become parameters of the module; a tensor is used
        as it is, so a gradient arrives in the caller's own leaf.
    batch_size : int, optional
        Most q handled at a time.
    q_vectors : Tensor, shape (N, 3), or QPoints, optional
        Arbitrary-q mode: scattering vectors in 1/Å, 2*pi included; may require grad. Points that
        already know their wavevectors (``halos(...).points()``) spare finding them again.
        Without grid and q the model is computed where it is called: ``model(q)``.
    k_par, k_perp : float, Tensor or pair, optional
        Springs along and across each contact, for 'hybrid'; a pair is (intra, inter).
    springs : SpringPlan, nn.Module or callable, optional
        Springs by class of contact, or from a function of `ContactFeatures`, in place of
        `model` and its constants. They are the submodule `springs`.
    mesh : three int, optional
        Mesh of the Brillouin zone for the ADPs (2 or more along an axis hold acoustic motion; 1
        is Gamma alone); by default the samples per Miller index of the three samplings or, without
        these, such that it stands for a box of 60 Å and three cells along each axis.
    thermal_scale : float or Tensor, optional
        s; by default such that the model's mean B over the cell equals the crystal's.
    positions, B, U, occupancies, cell : Tensor, optional
        Used in place of the file's, as they are; see `Crystal.with_tensors`.
    bragg_tolerance : float, optional
        How close to integers all three Miller indices make a Bragg point; see `is_bragg`.
    engine, rtol
        How amplitudes are formed, and how accurately; see `Numerics` and `chosen_engine`.
    solver : {'auto', 'dense', 'condensed'}
        How K(k) is inverted, exactly in both ways: by a dense factorization at each wavevector, or
        with the inside of the cell factored once for all of them, as single atoms and residues
        need it; by default whichever is quicker, see `chosen_solver`.
    dtype : torch.dtype
    device : torch.device or str, optional
    **structure_options
        Passed on to `read_crystal` (hydrogens, waters, ligands, conformers, anisotropic,
        model_number, radiation). And `solvent` (e/Å^3, 0.334 for water; 0, none, by default)
        and `solvent_smoothing` (Å^2): the flat solvent that atoms displace (`with_solvent`).

    Raises
    ------
    StructureError, InputError, NetworkError
        As the parts raise them; see `read_crystal`, `HklGrid.from_sampling`, `find_contacts`,
        `check_connected` and `check_rigid`.

    Notes
    -----
    Contacts are found once, at the coordinates first given; everything else follows the tensors.
    `lattice` is the crystal on its springs, a `LatticeModel`, which knows no q.

    Examples
    --------
    >>> model = OnePhonon("1ejg.cif", (-4, 4, 2), (-4, 4, 2), (-4, 4, 2))
    >>> model().reshape(model.map_shape)
    """

    group_by = Fixed[GroupBy]("contacts are sorted by body when the model is built")
    gnm_cutoff = Fixed[float]("contacts are found once, when the model is built")
    contacts = Fixed[Contacts]("they are found once, when the model is built")
    model = Checked(check_spring_model)
    mesh = Checked(check_mesh)
    solver = Checked(take_solver)
    engine = Checked(take_engine)
    rtol = Checked(take_rtol)
    batch_size = Checked(check_batch_size)
    res_limit = Checked(check_resolution_limit)
    bragg_tolerance = Checked(check_bragg_tolerance)

    grid = Delegated[HklGrid | None]("_source", "grid", "The grid in grid mode, or None.")
    n_points = Delegated[int]("_source", "n_points", "Number of q.")
    map_shape = Delegated[tuple[int, int, int] | None](
        "_source", "map_shape", "Points along h, k, l in grid mode; None for a list of q."
    )
    hkl_grid = Delegated[Tensor]("points", "hkl", "Miller indices, shape (N, 3), l fastest.")
    q_grid = Delegated[Tensor]("points", "q", "Scattering vectors, shape (N, 3), 1/Å with 2*pi.")
    valid = Delegated[Tensor](
        "points", "valid", "Where the intensity is defined, (N,): within the limit, not Bragg."
    )
    thermal_scale = Delegated[Tensor]("lattice", "thermal_scale", "Thermal scale s.")
    U = Delegated[Tensor](
        "lattice", "U", "Model's mean-square displacements, (n_atoms, 3, 3), Å^2."
    )
    ADP = Delegated[Tensor](
        "lattice", "ADP", "Model's ``tr(U)/3``, shape (n_atoms,), Å^2; ``B = 8 pi^2 ADP``."
    )
    covar = Delegated[Tensor](
        "lattice", "covar", "Covariance C(R) between bodies, (n_h, n_k, n_l, D, D), Å^2."
    )
    chosen_solver = Delegated[Choice](
        "lattice", "chosen_solver", "How stiffness matrices are inverted, and why."
    )

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
        crystal = check_crystal(pdb_path, expand_p1, structure_options)
        # The caller's own tensors: kept as they are, and never parameters of the module.
        overrides = check_tensors(
            {"positions": positions, "B": B, "U": U, "occupancies": occupancies, "cell": cell}
        )
        self._atoms = CrystalSource(crystal.to(device, check_dtype(dtype)), group_by, overrides)
        self._scale = {} if thermal_scale is None else {"s": check_scale(thermal_scale)}
        self.group_by, self.gnm_cutoff = group_by, gnm_cutoff
        self.engine, self.solver, self.rtol = engine, solver, rtol
        self.batch_size, self.bragg_tolerance = batch_size, bragg_tolerance
        self.res_limit = res_limit
        self._source = QSource.from_samplings((hsampling, ksampling, lsampling))
        bodies = self.bodies
        grid, unit_cell = self._source.grid, bodies.crystal.cell
        self.mesh = mesh or (default_mesh(unit_cell) if grid is None else grid.samples)
        if q_vectors is not None:
            self.set_q(q_vectors)
        self.contacts = find_contacts(bodies, gnm_cutoff)
        self.model = model
        constants = {
            "gamma_intra": None if model == "hybrid" else gamma_intra,
            "gamma_inter": None if model == "hybrid" else gamma_inter,
            "k_par": k_par,
            "k_perp": k_perp,
        }
        self.gamma_intra: Any = None
        self.gamma_inter: Any = None
        self.k_par: Any = None
        self.k_perp: Any = None
        self.springs: Any = None
        if springs is not None:
            self.springs = make_springs(bodies, self.contacts, springs)
        else:
            for name, value in constants.items():
                new = None if value is None else spring_parameter(value, bodies.U)
                setattr(self, name, new)
        with torch.no_grad():
            self._check_network()

    def _check_network(self) -> None:
        """Name springs that cannot be, and bodies that hang loose, before anything is computed."""
        lattice = self.lattice
        bodies, contacts, springs = lattice.bodies, lattice.contacts, lattice.springs
        if springs is not None:
            check_springs(springs, "springs" if self.springs else f"model {self.model!r}")
        warn_of_coincidences(bodies, contacts)
        check_connected(bodies, contacts)
        longer = (
            None if self.springs else lambda found: self._springs.contact_springs(bodies, found)
        )
        check_rigid(bodies, contacts, lattice.force_constants, springs, longer)

    # ---- the crystal on its springs --------------------------------------------------------------

    @property
    def lattice(self) -> LatticeModel:
        """The crystal on its springs, without any q.

        Made anew for each graph, since a caller's leaf serves many backward passes; otherwise
        kept as long as all that it is made of has the same values.
        """
        springs = self._springs
        if isinstance(springs, FunctionSprings):
            return self._make_lattice()  # nobody knows all that a user's function looks at
        own = springs.values if isinstance(springs, ConstantSprings) else []
        scale = [s for s in self._scale.values() if isinstance(s, Tensor)]
        tensors = [*self.parameters(), *own, *scale, *self._atoms.overrides.values()]
        return self._memory.get(
            "lattice", tensors, self._make_lattice, (self.model, self.mesh, self.solver)
        )

    def _make_lattice(self) -> LatticeModel:
        bodies, contacts, springs = self.bodies, self.contacts, self._springs
        of_contacts = springs.contact_springs(bodies, contacts)
        if of_contacts is None:
            constants = springs(bodies, contacts)
        else:
            constants = sum_springs(bodies, contacts, of_contacts)
        return LatticeModel(
            bodies,
            contacts,
            constants,
            of_contacts,
            springs.classes(),
            self.mesh,
            self._scale.get("s"),
            self.solver,
        )

    @property
    def _springs(self) -> Any:
        """Where springs come from: the submodule, or the plain constants."""
        if self.springs is not None:
            return self.springs
        return ConstantSprings(
            self.model, self.gamma_intra, self.gamma_inter, self.k_par, self.k_perp
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
        self._atoms = self._atoms.with_tensors(**tensors)

    # ---- the scattering vectors ------------------------------------------------------------------

    def set_q(self, q_vectors: Any) -> None:
        """Ask for other q from now on: a tensor (N, 3), used as it is, or points.

        Points keep their hkl; their q follow the model's cell.

        Raises
        ------
        InputError
            If the shape does not fit, a value is not finite, or points belong to another cell.
        """
        self._source = QSource.from_q(q_vectors, self.crystal.cell)

    @property
    def q_vectors(self) -> Tensor | None:
        """The q asked for, as given; None in grid mode."""
        source = self._source
        return source.q if source.listed is None else source.listed.q

    @q_vectors.setter
    def q_vectors(self, value: Any) -> None:
        self.set_q(value)

    @property
    def points(self) -> QPoints:
        """The q-vectors, the zone points they share, and which are valid."""
        return self._points(self.crystal)

    def _points(self, crystal: Crystal) -> QPoints:
        return self._source.points(crystal.cell, self.limits, self._memory)

    # ---- intensities -----------------------------------------------------------------------------

    def forward(self, q_vectors: Any = None, **options: Any) -> Tensor:
        """Diffuse intensity at q, or at the points that the model is bound to.

        Parameters
        ----------
        q_vectors : Tensor, shape (N, 3), or points, optional
            As for the model itself, which stays bound to its own.
        **options
            Of `apply_disorder`.
        """
        if q_vectors is None:
            return self.apply_disorder(**options)
        if isinstance(q_vectors, int):
            raise InputError(f"model({q_vectors}): the first argument is q; give rank={q_vectors}")
        lattice = self.lattice
        source = QSource.from_q(q_vectors, lattice.crystal.cell)
        points = source.points(lattice.crystal.cell, self.limits)
        return self.intensity_at(points, lattice=lattice, **options)

    def apply_disorder(
        self,
        rank: int | Sequence[int] = -1,
        use_data_adp: bool = False,
        *,
        G: Tensor | None = None,
        hold: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Tensor:
        """Diffuse intensity at every point.

        Parameters
        ----------
        rank : int or sequence of int
            -1 for the whole intensity, or one mode's share, or that of several together,
            counted from the softest mode at each wavevector.
        use_data_adp : bool
            Debye-Waller factors from the file's U instead of the model's.
        G : Tensor, shape (N, D), optional
            Kept `amplitudes`; Debye-Waller factors are then those of G.
        hold : collection of {'adp', 'scale'}
            What gradients treat as constant: the model's U in the Debye-Waller factors, the
            thermal scale, or both.
        progress : callable, optional
            Called with (what, steps done, steps in all).

        Returns
        -------
        Tensor, shape (N,), e^2 per cell
            NaN beyond the resolution limit and at Bragg points, which take no part in any
            gradient. Differentiable in springs, positions, U or B, occupancies, cell and q.

        Raises
        ------
        GradientError
            In the backward pass of some modes' share that splits a degenerate set, which has no
            gradient; the share of the whole set has.
        """
        lattice = self.lattice
        if self._on_mesh(lattice) and G is None:
            if check_ranks(rank, lattice.bodies.n_dof) is None:
                return self._whole_map(lattice, use_data_adp, hold, progress)
            G = self._amplitudes(lattice, use_data_adp)
        points = self._points(lattice.crystal)
        return self.intensity_at(
            points, rank, use_data_adp, G=G, hold=hold, progress=progress, lattice=lattice
        )

    def _whole_map(
        self,
        lattice: LatticeModel,
        use_data_adp: bool,
        hold: Collection[str],
        progress: Progress | None,
    ) -> Tensor:
        assert self.grid is not None
        return diffuse.grid_map(
            lattice,
            self.grid,
            self.numerics,
            use_data_adp=use_data_adp,
            res_limit=self.res_limit,
            bragg_tolerance=self.bragg_tolerance,
            hold=hold,
            progress=progress,
        )

    def intensity_at(
        self,
        points: QPoints,
        rank: int | Sequence[int] = -1,
        use_data_adp: bool = False,
        *,
        G: Tensor | None = None,
        hold: Collection[str] = (),
        progress: Progress | None = None,
        lattice: LatticeModel | None = None,
    ) -> Tensor:
        """Intensity at prepared points, whatever the model is bound to.

        Parameters
        ----------
        points : QPoints
            In the cell of the lattice.
        rank, use_data_adp, G, hold, progress
            As for `apply_disorder`.
        lattice : LatticeModel, optional
            The model's own `lattice`, to share it (and its graph) between several calls.
        """
        lattice = lattice or self.lattice
        ranks = check_ranks(rank, lattice.bodies.n_dof)
        if ranks is not None:
            points = points_with_own_modes(points)
        return diffuse.point_intensity(
            lattice,
            points,
            self.numerics,
            use_data_adp=use_data_adp,
            ranks=ranks,
            modes=None if ranks is None else self._modes(lattice, points),
            G=G,
            hold=hold,
            progress=progress,
        )

    def amplitudes(self, use_data_adp: bool = True) -> Tensor:
        """G at every point, shape (N, D), to be kept for a fit over springs.

        With the file's ADPs it does not depend on the springs; give it to `apply_disorder`.
        """
        return self._amplitudes(self.lattice, use_data_adp)

    def _amplitudes(self, lattice: LatticeModel, use_data_adp: bool) -> Tensor:
        U, _ = lattice.displacements_and_scale(use_data_adp)
        if self.grid is not None and self._on_mesh(lattice):
            return diffuse.grid_amplitudes(lattice, self.grid, U, self.numerics, *self.limits)
        return diffuse.point_amplitudes(lattice, self._points(lattice.crystal), U, self.numerics)

    def _on_mesh(self, lattice: LatticeModel) -> bool:
        """Whether this is a map whose amplitudes come from densities on a mesh."""
        return self.grid is not None and self._engine(lattice).name == "mesh"

    def _engine(self, lattice: LatticeModel) -> Engine:
        n = self._source.n_points
        return diffuse.engine_for(lattice, self.numerics, n, self.grid is not None)

    @property
    def limits(self) -> tuple[float, float | None]:
        """Resolution limit (Å) and Bragg tolerance (Miller indices) of the points."""
        return self.res_limit, self.bragg_tolerance

    @property
    def numerics(self) -> Numerics:
        """How amplitudes and intensities are computed."""
        return Numerics(self.engine, self.rtol, self.batch_size)

    @property
    def chosen_engine(self) -> Engine:
        """How amplitudes are formed for the q asked for, and why."""
        return self._engine(self.lattice)

    # ---- derivatives by spring class -------------------------------------------------------------

    def spring_jacobian(
        self, G: Tensor | None = None, hold: Collection[str] = ()
    ) -> tuple[Tensor, Tensor]:
        """Intensity with the crystal's ADPs, (N,), and its derivative by every constant, (N, n).

        Columns are the entries of ``springs.values()``, flattened: constants, not their
        logarithms. One solve for all; rows are NaN where not valid; without graph.

        Parameters
        ----------
        G : Tensor, optional
            Kept `amplitudes`.
        hold : collection of {'scale'}
            Leave the thermal scale's own dependence on the springs out.
        """
        arguments = self._derivative_arguments(hold)
        return spring_jacobian(**arguments, G=G, batch_size=self.batch_size)

    def spring_normal_equations(
        self, residual: Tensor, *args: Any, hold: Collection[str] = (), **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Normal equations of a step of the springs, without the Jacobian in memory.

        Parameters
        ----------
        residual : Tensor, shape (N,)
            Data minus `spring_jacobian`'s intensity.
        *args, **options
            weights, columns, G, progress of `scattering.jacobian.spring_normal_equations`.
        hold
            As for `spring_jacobian`.

        Returns
        -------
        matrix : Tensor, shape (n, n)
        vector : Tensor, shape (n,)
            n constants, then columns.
        """
        arguments = self._derivative_arguments(hold)
        options |= dict(zip(("weights", "columns", "G"), args, strict=False))
        options["batch_size"] = self.batch_size
        return spring_normal_equations(**arguments, residual=residual, **options)

    def _derivative_arguments(self, hold: Collection[str]) -> dict[str, Any]:
        lattice, springs = self.lattice, class_springs(self.springs)
        with torch.no_grad():
            tensors = lattice.crystal.tensors()
            basis = self._memory.get("basis", tensors, lambda: make_basis(lattice, springs))
        arguments = derivative_arguments(lattice, springs, basis, "scale" in hold)
        return arguments | {"points": self._points(lattice.crystal)}

    # ---- maps ------------------------------------------------------------------------------------

    def to_map(self, **options: Any) -> DiffuseMap:
        """The intensity as a `DiffuseMap`; see `onephonon.model.map_writing.to_map`."""
        return to_map(self, **options)

    def write_map(self, path: str | os.PathLike[str], **options: Any) -> WrittenMap:
        """Compute the map and write it; see `onephonon.model.map_writing.write_map`."""
        return write_map(self, path, **options)

    # ---- what is read off a model ----------------------------------------------------------------

    @property
    def crystal(self) -> Crystal:
        """The crystal: the file's, with the tensors given in place of the file's."""
        return self.bodies.crystal

    @property
    def bodies(self) -> Bodies:
        """The unit cell's atoms by body."""
        return self._atoms.bodies(self._memory)

    def force_constants(self) -> ForceConstants:
        """Force-constant blocks between bodies."""
        return self.lattice.force_constants

    def contact_springs(self) -> Springs | None:
        """Springs of each contact; None where interfaces have a stiffness instead."""
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
        return diffuse.displacements_and_scale(self.lattice, use_data_adp, hold, progress)

    @property
    def Amat(self) -> Tensor:
        """Displacement of each atom by its copy's degrees of freedom, (n_copies, 3 n_atoms, d).

        Copies are those of the asymmetric unit, d = D/n_copies.
        """
        return self.bodies.displacement_matrix()

    @property
    def Linv(self) -> Tensor:
        """Inverse Cholesky factor of the mass matrix, shape (D, D)."""
        return mass_factor_inverse(self.bodies)

    @property
    def kvec(self) -> Tensor:
        """Wavevectors of the modes, 1/Å with 2*pi, shape (Nk, 3), folded into the first zone.

        Grid mode: the distinct ones. Arbitrary mode: one for each q.
        """
        crystal = self.crystal
        points = self._points(crystal)
        k = points.hkl if self.grid is None else points.zone.k_frac
        return crystal.cell.q_from_hkl(k - torch.round(k.detach()))

    def modes(self) -> Modes:
        """Normal modes at `kvec`."""
        lattice = self.lattice
        points = self._points(lattice.crystal)
        if self.grid is not None:
            return self._modes(lattice, points)
        points = points_with_own_modes(points)
        found, index = self._modes(lattice, points), points.zone.index
        return Modes(found.V[index], found.w_squared[index])

    def _modes(self, lattice: LatticeModel, points: QPoints) -> Modes:
        """Normal modes at the distinct wavevectors of points."""
        k = points.zone.k_frac
        tolerance = self.bragg_tolerance
        return self._memory.get(
            "modes",
            [*lattice.tensors, k],
            lambda: lattice.modes(k, is_bragg(k, tolerance)),
            (tolerance,),
        )

    @property
    def V(self) -> Tensor:
        """Modes at `kvec`, in columns, shape (Nk, D, D), complex."""
        return self.modes().V

    @property
    def Winv(self) -> Tensor:
        """``1/w^2`` of each mode, shape (Nk, D); zero for the acoustic modes at Gamma."""
        return self.modes().Winv

    @property
    def res_mask(self) -> Tensor:
        """True where a point is within the resolution limit, shape (N,)."""
        return within(self.crystal.cell, self.q_grid, self.res_limit)

    # ---- torch -----------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        """An error inside an attribute reaches the user as itself, not as a missing attribute."""
        attribute = inspect.getattr_static(type(self), name, None)
        if hasattr(attribute, "__get__"):
            return attribute.__get__(self, type(self))  # raises again what torch would hide
        return super().__getattr__(name)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OnePhonon:
        """Follow ``.to(device, dtype)`` with what is not a parameter; callers' tensors stay."""
        super()._apply(fn, recurse)
        self._memory.clear()
        self._atoms = self._atoms.moved(fn)
        self.__dict__["contacts"] = map_tensors(self.contacts, fn)
        return self

    def extra_repr(self) -> str:
        """What is modelled, in a line."""
        bodies = self.bodies
        return (
            f"{self.crystal.spacegroup}, {self.crystal.n_atoms} atoms, {bodies.n_bodies} bodies, "
            f"{bodies.n_dof} degrees of freedom, {self.contacts.n_contacts} contacts, "
            f"{self.n_points} q"
        )


#: The name that the model had in its predecessor.
OnePhononTorch = OnePhonon
