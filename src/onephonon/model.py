"""`OnePhonon`: the model that users hold, a thin module over the pure functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .bodies import Bodies, GroupBy, gather_bodies
from .contacts import Contacts, check_connected, find_contacts, warn_of_coincidences
from .crystal import Crystal, mean_square
from .dynamics import (
    Modes,
    Progress,
    covariance,
    displacement_covariance,
    mass_factor_inverse,
    modes,
)
from .errors import InputError
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
    take_ranks,
    take_scale,
)
from .interfaces import ContactTable, contact_rows, find_interfaces
from .lattice import HklGrid, ZonePoints, is_bragg
from .memory import Memory
from .network import ForceConstants, Springs, SpringValue, assign_springs, check_springs
from .network import force_constants as assemble
from .points import QPoints, grid_points, list_points
from .rigidity import check_rigid
from .scattering import amplitudes, intensity, mode_intensity, spring_jacobian
from .springs import ClassSprings, FunctionSprings, SpringFunction, SpringPlan, classify
from .stiffness import InterfaceStiffness
from .tensors import map_tensors

#: What `apply_disorder` can treat as constant in gradients.
HOLDABLE = ("adp", "scale")

#: Parts of the crystal that may be given as tensors.
GIVEN = ("positions", "B", "U", "occupancies", "cell")

Sampling = Sequence[float]


class OnePhonon(nn.Module):
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
    group_by : {'asu', 'chain', 'residue', 'atom', None} or sequence of int
        What moves as one body; None is 'atom'.
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
    dtype : torch.dtype
    device : torch.device or str, optional
    **structure_options
        Passed on to `read_crystal` (hydrogens, waters, ligands, conformers, anisotropic,
        model_number, radiation).

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
            grid = HklGrid.from_sampling(*samplings)  # type: ignore[arg-type]
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
        gammas = {"gamma_intra": gamma_intra, "gamma_inter": gamma_inter}
        constants = {"k_par": k_par, "k_perp": k_perp}
        used = constants if self.model == "hybrid" else gammas
        if used is gammas and not (k_par is None and k_perp is None):
            raise InputError(
                f"k_par and k_perp belong to model 'hybrid'; model {self.model!r} has gamma_intra "
                "and gamma_inter"
            )
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

    # ---- the points -----------------------------------------------------------------------

    @property
    def map_shape(self) -> tuple[int, int, int] | None:
        """Points along h, k, l in grid mode; None for a list of q."""
        return self.grid.shape if self.grid else None

    @property
    def points(self) -> QPoints:
        """The q-vectors, the zone points they share, and which are valid."""
        cell = self.crystal.cell

        limits = (self.res_limit, self.bragg_tolerance)

        def find() -> QPoints:
            if self.grid is not None:
                return grid_points(cell, self.grid, *limits)
            if "points" in self._asked:
                known = map_tensors(self._asked["points"], lambda t: follow(t, cell.matrix))
                return known.in_cell(cell, *limits)
            return list_points(cell, self._asked["q"].to(cell.matrix), *limits)

        tensors = [cell.matrix, *self._asked_tensors()]
        return self._memory.get("points", tensors, find, limits)

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
        return self.crystal.cell.resolution(self.q_grid.detach()) >= self.res_limit

    @property
    def valid(self) -> Tensor:
        """True where the intensity is defined: within the limit and not a Bragg point."""
        return self.points.valid

    @property
    def kvec(self) -> Tensor:
        """Wavevectors of the modes, 1/Å with 2*pi, shape (Nk, 3), folded into the first zone.

        Grid mode: the distinct ones. Arbitrary mode: one for each q.
        """
        points = self.points
        k = points.hkl if self.grid is None else points.zone.k_frac
        return self.crystal.cell.q_from_hkl(k - torch.round(k.detach()))

    # ---- the physics ----------------------------------------------------------------------

    @property
    def crystal(self) -> Crystal:
        """The crystal: the file's, with the tensors given in place of the file's."""
        if not self._given:
            return self._read
        # Anew for each graph: a caller's leaf serves many backward passes.
        return self._memory.get(
            "crystal",
            [*self._given.values(), *self._read.tensors()],
            lambda: self._read.with_tensors(
                **{name: follow(t, self._read.U) for name, t in self._given.items()}
            ),
        )

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
            self._read.with_tensors(**{n: follow(t, self._read.U) for n, t in given.items()})
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
                self.bodies, self.force_constants(), self.mesh, progress
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

    # ---- the intensity --------------------------------------------------------------------

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

    def amplitudes(self, use_data_adp: bool = True) -> Tensor:
        """G at every point, shape (N, D), to be kept for a fit over springs.

        With the file's ADPs it does not depend on the springs; give it to `apply_disorder`.
        """
        U, _ = self.displacements_and_scale(use_data_adp)
        return amplitudes(self.bodies, self.points, U, self.batch_size)

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
        options: dict[str, Any] = {"G": G, "batch_size": self.batch_size, "progress": progress}
        if ranks is None:
            return intensity(bodies, self.force_constants(), self.points, U, scale, **options)
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
        with torch.no_grad():
            value, jacobian = spring_jacobian(
                bodies, constants, flat, self.points, bodies.U, G=G, batch_size=self.batch_size
            )
            scale = self.thermal_scale
        if self._scale or "scale" in hold:
            return scale * value, scale * jacobian
        with torch.enable_grad():
            leaf = flat.clone().requires_grad_()
            every = displacement_covariance(bodies, constants(leaf), self.mesh)
            slope = torch.autograd.grad(self._scale_for(every), leaf)[0]
        return scale * value, scale * jacobian + value[:, None] * slope

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OnePhonon:
        """Follow ``.to(device, dtype)`` with what is not a parameter; callers' tensors stay."""
        super()._apply(fn, recurse)
        self._memory.clear()
        self._read = map_tensors(self._read, fn)
        self.contacts = map_tensors(self.contacts, fn)
        return self
