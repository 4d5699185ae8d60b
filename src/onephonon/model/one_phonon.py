"""`OnePhonon`: the model that users hold, a lattice model bound to scattering vectors."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onephonon.core.caching import ResultCache
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress, ProgressLike
from onephonon.core.tensors import map_tensors
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.grid import HklGrid
from onephonon.dynamics.lattice_model import LatticeModel, default_mesh
from onephonon.dynamics.normal_modes import Modes, mass_factor_inverse
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
from onephonon.scattering.numerics import Numerics, check_batch_size
from onephonon.scattering.points import QPoints, within
from onephonon.scattering.q_source import QSource, Sampling

from . import inputs, map_writing, spring_derivatives
from .attributes import Checked, Delegated, Fixed
from .crystal_source import CrystalSource


class OnePhonon(nn.Module):
    """Diffuse intensity of a crystal of bodies on springs, on a grid or at any q.

    Parameters
    ----------
    pdb_path : path or Crystal
        A structure file (PDB or mmCIF, optionally .gz), or a crystal already read.
    hsampling, ksampling, lsampling : (min, max, samples per Miller index), optional
        Grid mode: the map's range and sampling; a min within 1e-4 of a grid step is rounded to it.
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
        without copying, so that the caller's tensor receives the gradient.
    batch_size : int, optional
        Maximum number of q handled at a time.
    q_vectors : Tensor, shape (N, 3), or QPoints, optional
        Arbitrary-q mode: scattering vectors in 1/Å, 2*pi included; may require grad. Points that
        already have their wavevectors (``halos(...).points()``) avoid the search for them.
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
        Replace the file's values; see `Crystal.with_tensors`.
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
        As the parts raise them; see `read_crystal`, `check_samplings`, `find_contacts`,
        `check_connected` and `check_rigid`.

    Notes
    -----
    Contacts are found once, at the initial coordinates; everything else follows the tensors.
    `lattice` is the crystal on its springs, a `LatticeModel`, which knows no q.

    Examples
    --------
    >>> model = OnePhonon("1ejg.cif", (-4, 4, 2), (-4, 4, 2), (-4, 4, 2))
    >>> model().reshape(model.map_shape)
    """

    group_by = Fixed[GroupBy]("contacts are sorted by body when the model is built")
    gnm_cutoff = Fixed[float]("contacts are found once, when the model is built")
    contacts = Fixed[Contacts]("they are found once, when the model is built")
    model = Checked(inputs.check_spring_model)
    mesh = Checked(inputs.check_mesh)
    solver = Checked(check_solver)
    engine = Checked(check_engine)
    rtol = Checked(check_rtol)
    batch_size = Checked(check_batch_size)
    res_limit = Checked(inputs.check_resolution_limit)
    bragg_tolerance = Checked(inputs.check_bragg_tolerance)

    crystal = Delegated[Crystal]("bodies", "crystal", "The file's, with the tensors given.")
    thermal_scale = Delegated[Tensor]("lattice", "thermal_scale", "Thermal scale s.")
    U = Delegated[Tensor]("lattice", "U", "Model's mean-square displacements (n_atoms, 3, 3), Å^2.")
    ADP = Delegated[Tensor]("lattice", "ADP", "Model's tr(U)/3, (n_atoms,), Å^2; B = 8 pi^2 ADP.")
    covar = Delegated[Tensor]("lattice", "covar", "Covariance C(R), (n_h, n_k, n_l, D, D), Å^2.")
    chosen_solver = Delegated[SolverChoice](
        "lattice", "chosen_solver", "How K(k) is inverted, and why."
    )
    chosen_engine = Delegated[AmplitudeEngine](
        "bound", "engine", "How amplitudes are formed, and why."
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
        read = inputs.check_crystal(pdb_path, expand_p1, structure_options)
        read = read.to(device, inputs.check_dtype(dtype))
        overrides = {"positions": positions, "B": B, "U": U, "occupancies": occupancies}
        tensors = inputs.check_tensors(overrides | {"cell": cell})
        self._cache = ResultCache()
        # The caller's own tensors are never parameters of the module: kept where torch sees none.
        self._atoms = CrystalSource(read, group_by, tensors)
        self._scale = {} if thermal_scale is None else {"s": inputs.check_scale(thermal_scale)}
        self.group_by, self.gnm_cutoff, self.model = group_by, gnm_cutoff, model
        self.engine, self.solver, self.rtol, self.batch_size = engine, solver, rtol, batch_size
        self.res_limit, self.bragg_tolerance = res_limit, bragg_tolerance
        self._source = QSource.from_samplings((hsampling, ksampling, lsampling))
        bodies = self.bodies
        self.mesh = mesh or (self.grid.samples if self.grid else default_mesh(bodies.crystal.cell))
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
        with torch.no_grad():
            where = "springs" if self.springs else f"model {model!r}"
            check_lattice(self.lattice, self.spring_source, where)

    @property
    def spring_source(self) -> SpringSource:
        """Where springs come from: the submodule `springs`, or the plain constants."""
        if self.springs is not None:
            source: SpringSource = self.springs
            return source
        constants = self.gamma_intra, self.gamma_inter, self.k_par, self.k_perp
        return ConstantSprings(self.model, *constants)

    @property
    def bodies(self) -> Bodies:
        """The unit cell's atoms by body."""
        return self._atoms.bodies(self._cache)

    @property
    def lattice(self) -> LatticeModel:
        """The crystal on its springs, without any q.

        Made anew for each graph, since a caller's leaf serves many backward passes; otherwise
        kept as long as all that it is made of has the same values.
        """
        springs, scale = self.spring_source, self._scale.get("s")

        def build() -> LatticeModel:
            return LatticeModel.build(
                self.bodies, self.contacts, springs, self.mesh, scale, self.solver
            )

        if isinstance(springs, FunctionSprings):
            return build()  # a user's function may depend on anything
        own = springs.values if isinstance(springs, ConstantSprings) else []
        fixed = [scale] if isinstance(scale, Tensor) else []
        tensors = [*self.parameters(), *own, *fixed, *self._atoms.overrides.values()]
        return self._cache.get("lattice", tensors, build, (self.model, self.mesh, self.solver))

    @property
    def bound(self) -> BoundModel:
        """The lattice bound to the scattering vectors: what intensities are computed from."""
        limits = self.res_limit, self.bragg_tolerance
        return BoundModel(self.lattice, self._source, self.numerics, *limits, self._cache)

    @property
    def numerics(self) -> Numerics:
        """How amplitudes and intensities are computed."""
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
        """Bind the model to other q: a tensor (N, 3), used as it is, or points, which keep hkl."""
        self._source = QSource.from_q(q_vectors, self.crystal.cell)

    def set_tensors(self, **tensors: Tensor) -> None:
        """Replace tensors: positions, B, U, occupancies or cell.

        For values recomputed in every step of a fit, such as one B per residue spread over
        its atoms; a leaf changed in place needs no such call.
        """
        self._atoms = self._atoms.with_tensors(**tensors)

    def forward(self, q_vectors: Any = None, **options: Any) -> Tensor:
        """Intensity where the model is bound to, or at other q, to which it is not bound then.

        Parameters
        ----------
        q_vectors : Tensor, shape (N, 3), or points, optional
        **options
            Of `apply_disorder`.
        """
        if isinstance(q_vectors, int):
            raise InputError(f"model({q_vectors}): the first argument is q; give rank={q_vectors}")
        bound = self.bound if q_vectors is None else self.bound.at(q_vectors)
        return bound.intensity(**options)

    def apply_disorder(
        self,
        rank: int | Sequence[int] = -1,
        use_data_adp: bool = False,
        *,
        G: Tensor | None = None,
        hold: Collection[str] = (),
        progress: ProgressLike | None = None,
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
        progress : Progress or callable, optional

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
        return self.bound.intensity(rank, use_data_adp, G=G, hold=hold, progress=progress)

    def amplitudes(self, use_data_adp: bool = True) -> Tensor:
        """G at every point, shape (N, D), to be reused in a fit of springs.

        With the file's ADPs it does not depend on the springs; give it to `apply_disorder`.
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
        """Normal equations of a step; see `spring_derivatives.normal_equations`."""
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

        Grid mode: the distinct ones. Arbitrary mode: one for each q.
        """
        points = self.points
        k = points.hkl if self.grid is None else points.zone.k_frac
        return self.crystal.cell.q_from_hkl(k - torch.round(k.detach()))

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
    def res_mask(self) -> Tensor:
        """True where a point is within the resolution limit, shape (N,)."""
        return within(self.crystal.cell, self.q_grid, self.res_limit)

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
        return displacements_and_scale(self.lattice, use_data_adp, hold, progress)

    def __getattr__(self, name: str) -> Any:
        """An error inside an attribute reaches the user as itself, not as a missing attribute."""
        attribute = inspect.getattr_static(type(self), name, None)
        if hasattr(attribute, "__get__"):
            return attribute.__get__(self, type(self))  # raises again what torch would hide
        return super().__getattr__(name)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OnePhonon:
        """Follow ``.to(device, dtype)`` with what is not a parameter; callers' tensors stay."""
        super()._apply(fn, recurse)
        self._cache.clear()
        self._atoms = self._atoms.moved(fn)
        self.__dict__["contacts"] = map_tensors(self.contacts, fn)
        return self

    def extra_repr(self) -> str:
        """One line that describes the model."""
        bodies = self.bodies
        return (
            f"{self.crystal.spacegroup}, {self.crystal.n_atoms} atoms, {bodies.n_bodies} bodies, "
            f"{bodies.n_dof} degrees of freedom, {self.contacts.n_contacts} contacts, "
            f"{self.n_points} q"
        )


#: The name that the model had in its predecessor.
OnePhononTorch = OnePhonon
