"""`OnePhonon`: the model that users hold, a thin module over the pure functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.crystal import mean_square
from onephonon.crystal.zone import ZonePoints, is_bragg
from onephonon.dynamics.displacements import covariance, displacement_covariance
from onephonon.dynamics.normal_modes import Modes, mass_factor_inverse, modes
from onephonon.dynamics.solvers.choice import SolverChoice, choose_solver
from onephonon.network.force_constants import ForceConstants
from onephonon.network.force_constants import force_constants as assemble
from onephonon.network.interface_stiffness import InterfaceStiffness
from onephonon.network.springs import ClassSprings
from onephonon.scattering.amplitudes.base import AmplitudeEngine, amplitudes_at
from onephonon.scattering.amplitudes.choice import choose_engine
from onephonon.scattering.amplitudes.mesh.engine import MeshEngine
from onephonon.scattering.grid_intensity import GridIntensity, has_symmetry, map_intensity
from onephonon.scattering.grid_symmetry import Symmetry, find_symmetry, friedel, laue_operators
from onephonon.scattering.intensity import mode_intensity, one_phonon_intensity
from onephonon.scattering.jacobian import spring_basis, spring_jacobian, spring_normal_equations
from onephonon.scattering.points import QPoints

from .assembly import Assembly
from .inputs import take_ranks

#: What `apply_disorder` can treat as constant in gradients.
HOLDABLE = ("adp", "scale")


class OnePhonon(Assembly):
    """Diffuse intensity of a crystal of bodies on springs, on a grid or at any q.

    Parameters
    ----------
    pdb_path : path or Crystal
        A structure file (PDB or mmCIF, optionally .gz), or a crystal already read.
    hsampling, ksampling, lsampling : (min, max, samples per Miller index)
        Grid mode: the map's range and sampling; a min within 1e-4 of a grid step is put on it.
        The third entries also set the Brillouin-zone mesh of the ADPs (2 or more hold acoustic
        motion; 1 is Gamma alone). With `q_vectors` they are optional and set only that mesh.
    expand_p1 : bool
        True: the file holds one asymmetric unit. False: it holds the whole cell.
    group_by : {'asu', 'chain', 'residue', 'atom', None}, ranges, or sequence of int
        What moves as one body; None is 'atom'. Ranges are text such as 'A:1-60 A:61-129,B'
        (`onephonon.ranges`).
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
    k_par, k_perp : float, Tensor or pair, optional
        Springs along and across each contact, for 'hybrid'; a pair is (intra, inter).
    springs : SpringPlan, nn.Module or callable, optional
        Springs by class of contact, or from a function of `ContactFeatures`, in place of
        `model` and its constants. They are the submodule `springs`.
    thermal_scale : float or Tensor, optional
        s; by default such that the model's mean B over the cell equals the crystal's.
    positions, B, U, occupancies, cell : Tensor, optional
        Used in place of the file's, as they are; see `Crystal.with_tensors`.
    bragg_tolerance : float, optional
        How close to integers all three Miller indices make a Bragg point; see `is_bragg`.
    engine : {'auto', 'direct', 'mesh'}
        How amplitudes are formed: summed over the atoms, exact to rounding, or transformed from
        densities on a mesh, exact to `rtol` and much faster for large maps and many q; by default
        whichever suits, see `chosen_engine`.
    solver : {'auto', 'dense', 'condensed'}
        How K(k) is inverted, exactly in both ways: by a dense factorization at each wavevector, or
        with the inside of the cell factored once for all of them, as single atoms and residues
        need it; by default whichever is quicker, see `chosen_solver`.
    rtol : float
        Accuracy of intensities from the mesh: errors are less than rtol times the intensity
        itself and its rms over the points, added.
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

    Examples
    --------
    >>> model = OnePhonon("1ejg.cif", (-4, 4, 2), (-4, 4, 2), (-4, 4, 2))
    >>> model().reshape(model.map_shape)
    """

    @property
    def kvec(self) -> Tensor:
        """Wavevectors of the modes, 1/Å with 2*pi, shape (Nk, 3), folded into the first zone.

        Grid mode: the distinct ones. Arbitrary mode: one for each q.
        """
        points = self.points
        k = points.hkl if self.grid is None else points.zone.k_frac
        return self.crystal.cell.q_from_hkl(k - torch.round(k.detach()))

    def modes(self) -> Modes:
        """Normal modes at `kvec`."""
        held = self._zone_modes()
        if self.grid is not None:
            return held
        index = self._mode_points().zone.index
        return Modes(held.V[index], held.w_squared[index])

    def _mode_points(self) -> QPoints:
        """The points, each with a wavevector of its own if q carries a gradient into its modes."""
        points = self.points
        if not points.hkl.requires_grad:
            return points
        every = torch.arange(points.n_q, device=points.q.device)
        return QPoints(points.q, points.hkl, ZonePoints(points.hkl, every), points.valid)

    def _zone_modes(self) -> Modes:
        """Normal modes at the distinct wavevectors, in both modes of use."""

        def compute() -> Modes:
            k = self._mode_points().zone.k_frac
            gamma = is_bragg(k, self.bragg_tolerance)
            return modes(self.bodies, self.force_constants(), k, gamma)

        return self._remember("modes", compute, at_points=True)

    @property
    def V(self) -> Tensor:
        """Modes at `kvec`, in columns, shape (Nk, D, D), complex."""
        return self.modes().V

    @property
    def Winv(self) -> Tensor:
        """``1/w^2`` of each mode, shape (Nk, D); zero for the acoustic modes at Gamma."""
        return self.modes().Winv

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

    def _displacements_at_unit_scale(self, progress: Progress | None = None) -> Tensor:
        """U of every atom of the cell at s = 1."""
        return self._remember(
            "displacements",
            lambda: displacement_covariance(
                self.bodies, self.force_constants(), self.mesh, progress, self.solver
            ),
        )

    @property
    def thermal_scale(self) -> Tensor:
        """Thermal scale s."""
        return self._scale_for(None)

    def _scale_for(self, displacements: Tensor | None) -> Tensor:
        like = self.crystal.U
        if self._scale:
            given = self._scale["s"]
            return given.to(like) if isinstance(given, Tensor) else like.new_tensor(given)
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
        if displacements is None:
            displacements = self._displacements_at_unit_scale()
        return target / mean_square(displacements).mean()

    @property
    def U(self) -> Tensor:
        """Model's anisotropic mean-square displacements, shape (n_atoms, 3, 3), Å^2."""
        every = self._displacements_at_unit_scale()
        return (every * self._scale_for(every))[: self.crystal.n_atoms]

    @property
    def ADP(self) -> Tensor:
        """Model's ``tr(U)/3`` of each atom, shape (n_atoms,), Å^2; ``B = 8 pi^2 ADP``."""
        return mean_square(self.U)

    @property
    def covar(self) -> Tensor:
        """Covariance C(R) between bodies, shape (n_h, n_k, n_l, D, D), Å^2 for translations.

        Indexed by R in cells, modulo the mesh.
        """

        def compute() -> Tensor:
            every = torch.cartesian_prod(*(torch.arange(n) for n in self.mesh)).reshape(-1, 3)
            cells = every.to(self.crystal.U.device)
            C = covariance(self.bodies, self.force_constants(), self.mesh, cells)
            return C.reshape(*self.mesh, *C.shape[1:])

        return self.thermal_scale * self._remember("covariance", compute)

    def displacements_and_scale(
        self,
        use_data_adp: bool = False,
        hold: Collection[str] = (),
        progress: Progress | None = None,
    ) -> tuple[Tensor, Tensor]:
        """U of every atom of the cell for the Debye-Waller factors, (n_cell_atoms, 3, 3), and s."""
        unknown = [name for name in hold if name not in HOLDABLE]
        if unknown or isinstance(hold, str):
            raise InputError(f"hold={hold!r}: a collection of {' and '.join(HOLDABLE)}")
        every = None
        if not use_data_adp or not self._scale:
            every = self._displacements_at_unit_scale(progress)
        scale = self._scale_for(every)
        U = self.bodies.U if use_data_adp or every is None else scale * every
        return (
            U.detach() if "adp" in hold else U,
            scale.detach() if "scale" in hold else scale,
        )

    @property
    def chosen_engine(self) -> AmplitudeEngine:
        """How amplitudes are formed for the q asked for, and why."""
        on_grid = self.grid is not None
        return choose_engine(self.engine, self.rtol, self.bodies, self.n_points, on_grid)

    @property
    def chosen_solver(self) -> SolverChoice:
        """How stiffness matrices are inverted, and why."""
        with torch.no_grad():
            return choose_solver(self.bodies, self.force_constants(), self.solver)

    def amplitudes(self, use_data_adp: bool = True) -> Tensor:
        """G at every point, shape (N, D), to be kept for a fit over springs.

        With the file's ADPs it does not depend on the springs; give it to `apply_disorder`.
        """
        U, _ = self.displacements_and_scale(use_data_adp)
        return self._amplitudes(U)

    def _amplitudes(self, U: Tensor) -> Tensor:
        """G at every point, by the engine chosen."""
        engine = self.chosen_engine
        if self.grid is not None and engine.name == "mesh":
            return self._map_job(U, 1.0).amplitudes.every()
        return amplitudes_at(engine, self.bodies, self.points, U, self.batch_size)

    def _map_job(self, U: Tensor, scale: Tensor | float) -> GridIntensity:
        """What the rows of this map are computed from."""
        if self.grid is None:
            raise InputError("a list of q has no rows; this is for models with samplings")
        return GridIntensity.prepare(
            self.bodies,
            self.force_constants(),
            self.grid,
            U,
            scale,
            engine=MeshEngine(self.rtol),
            solver=self.solver,
            res_limit=self.res_limit,
            bragg_tolerance=self.bragg_tolerance,
        )

    def map_job(
        self, use_data_adp: bool = False, unique: bool = True
    ) -> tuple[GridIntensity, Symmetry]:
        """The map as a job to be done row by row, and the part of it that stands for the rest.

        Parameters
        ----------
        use_data_adp : bool
        unique : bool
            Use the crystal's symmetry; else only ``I(-q) = I(q)``.
        """
        U, scale = self.displacements_and_scale(use_data_adp)
        job = self._map_job(U, scale)
        symmetry = self._map_symmetry(U, unique)
        return job.within(symmetry.region), symmetry

    def _map_symmetry(self, U: Tensor, unique: bool = True) -> Symmetry:
        """Which part of the grid stands for all of it."""
        if self.grid is None:
            raise InputError("a list of q has no symmetry; this is for models with samplings")
        operators = friedel()
        # A gradient by the cell's nine numbers leaves the symmetry that the map itself has.
        if unique and not torch.is_grad_enabled():
            every = laue_operators(self.crystal)
            if has_symmetry(self.bodies, self.force_constants(), U, every, self.solver):
                operators = every
        return find_symmetry(operators, self.grid)

    def _map(self, U: Tensor, scale: Tensor, progress: Progress | None) -> Tensor:
        """The whole map on the mesh, flat."""
        symmetry = self._map_symmetry(U)
        job = self._map_job(U, scale).within(symmetry.region)
        return map_intensity(job, symmetry, progress).reshape(-1)

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
            Told (what, steps done, steps in all).

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
        bodies = self.bodies
        ranks = take_ranks(rank, bodies.n_dof)
        given = use_data_adp or G is not None
        U, scale = self.displacements_and_scale(given, hold, progress)
        if G is not None and (G.shape != (self.points.n_q, bodies.n_dof) or not G.is_complex()):
            raise InputError(
                f"G has shape {tuple(G.shape)} and dtype {G.dtype}; these points need complex "
                f"{(self.points.n_q, bodies.n_dof)}, from this model's amplitudes()"
            )
        if G is None and self.chosen_engine.name == "mesh":
            if ranks is None and self.grid is not None:
                return self._map(U, scale, progress)
            G = self._amplitudes(U)
        options: dict[str, Any] = {"G": G, "batch_size": self.batch_size, "progress": progress}
        if ranks is None:
            options["solver"] = self.solver
            return one_phonon_intensity(
                bodies, self.force_constants(), self.points, U, scale, **options
            )
        points, at_zone = self._mode_points(), self._zone_modes()
        return mode_intensity(bodies, at_zone, points, U, scale, rank=ranks, **options)

    forward = apply_disorder

    def spring_jacobian(
        self, G: Tensor | None = None, hold: Collection[str] = ()
    ) -> tuple[Tensor, Tensor]:
        """Intensity with the crystal's ADPs, and its derivative by every constant of the springs.

        Columns are the entries of ``springs.values()``, flattened: constants, not their
        logarithms.

        Parameters
        ----------
        G : Tensor, optional
            Kept `amplitudes`.
        hold : collection of {'scale'}
            Leave the thermal scale's own dependence on the springs out.

        Returns
        -------
        intensity : Tensor, shape (N,)
            ``model(use_data_adp=True, G=G)``.
        jacobian : Tensor, shape (N, n_constants)

        Raises
        ------
        InputError
            If the springs are not classes (`SpringPlan`).
        """
        problem = self._spring_problem(hold)
        return spring_jacobian(**problem, G=G, batch_size=self.batch_size)

    def spring_normal_equations(
        self,
        residual: Tensor,
        weights: Tensor | None = None,
        columns: Tensor | None = None,
        *,
        G: Tensor | None = None,
        hold: Collection[str] = (),
        progress: Progress | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Normal equations of a step of the springs, without the Jacobian in memory.

        Parameters
        ----------
        residual : Tensor, shape (N,)
            Data minus `spring_jacobian`'s intensity.
        weights, columns : Tensor, optional
            As for `jacobian.spring_normal_equations`.
        G, hold
            As for `spring_jacobian`.
        progress : callable, optional
            Told (what, steps done, steps in all).

        Returns
        -------
        matrix : Tensor, shape (n, n)
        vector : Tensor, shape (n,)
            n constants, then columns.
        """
        return spring_normal_equations(
            **self._spring_problem(hold),
            residual=residual,
            weights=weights,
            columns=columns,
            G=G,
            batch_size=self.batch_size,
            progress=progress,
        )

    def _spring_problem(self, hold: Collection[str]) -> dict[str, Any]:
        """What the springs' derivatives are made of: arguments of `spring_jacobian`."""
        springs = self.springs
        if not isinstance(springs, ClassSprings | InterfaceStiffness):
            raise InputError("spring_jacobian is by class of spring; give springs=SpringPlan(...)")
        bodies, values = self.bodies, springs.values().detach()

        def constants(flat: Tensor) -> ForceConstants:
            shaped = flat.reshape(values.shape)
            if isinstance(springs, InterfaceStiffness):
                return springs.constants(bodies, shaped)
            return assemble(bodies, self.contacts, springs.springs(shaped))

        flat = values.reshape(-1)
        slope = None
        with torch.no_grad():
            basis = self._memory.get(
                "spring basis", self.crystal.tensors(), lambda: spring_basis(constants, flat)
            )
            scale = self.thermal_scale
        if not self._scale and "scale" not in hold:
            with torch.enable_grad():
                leaf = flat.clone().requires_grad_()
                every = displacement_covariance(
                    bodies, basis.constants(leaf), self.mesh, None, self.solver
                )
                slope = torch.autograd.grad(self._scale_for(every), leaf)[0]
        return {
            "bodies": bodies,
            "basis": basis,
            "springs": flat,
            "points": self.points,
            "U": bodies.U,
            "scale": scale,
            "scale_slope": slope,
            "solver": self.solver,
        }


#: The name that the model had in its predecessor.
OnePhononTorch = OnePhonon
