"""`OnePhonon`: the model that users hold, a thin module over the pure functions."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .bodies import Bodies, GroupBy, gather_bodies
from .contacts import Contacts, check_connected, find_contacts
from .crystal import Crystal, mean_square
from .dynamics import (
    Modes,
    Progress,
    check_rigid,
    covariance,
    displacement_covariance,
    mass_factor_inverse,
    modes,
)
from .errors import InputError
from .lattice import HklGrid, UnitCell, ZonePoints, find_zone_points, is_bragg
from .network import (
    ForceConstants,
    Springs,
    SpringValue,
    assign_springs,
    force_constants,
)
from .scattering import intensity, mode_intensity
from .structures import read_crystal

#: Without sampling rates the zone mesh stands for a box of at least this many Å and three cells
#: along each axis.
DEFAULT_BOX = 60.0

Sampling = Sequence[float]
T = TypeVar("T")


@dataclass(frozen=True)
class _Held:
    """A result, and the tensors it was computed from."""

    tensors: list[Tensor]
    versions: list[int]
    value: Any


class OnePhonon(nn.Module):
    """Diffuse intensity of a crystal of bodies on springs, on a grid or at any q.

    Parameters
    ----------
    pdb_path : path or Crystal
        A structure file (PDB or mmCIF, optionally .gz), or a crystal already read.
    hsampling, ksampling, lsampling : (min, max, samples per Miller index)
        Grid mode: the map's range and sampling. With `q_vectors` they are optional and set only
        the Brillouin-zone mesh of the ADPs, by their third entry.
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
    q_vectors : Tensor, shape (N, 3), optional
        Arbitrary-q mode: scattering vectors in 1/Å, 2*pi included; may require grad.
    k_par, k_perp : float, Tensor or pair, optional
        Springs along and across each contact, for 'hybrid'; a pair is (intra, inter).
    thermal_scale : float or Tensor, optional
        s; by default such that the mean model B equals the mean B of the file.
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
        q_vectors: Tensor | None = None,
        k_par: SpringValue | None = None,
        k_perp: SpringValue | None = None,
        thermal_scale: float | Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        **structure_options: Any,
    ) -> None:
        super().__init__()
        self.crystal = _crystal(pdb_path, expand_p1, structure_options).to(device, dtype)
        self.group_by = group_by
        self.model = model
        self.gnm_cutoff = gnm_cutoff
        self.res_limit = _resolution_limit(res_limit)
        self.batch_size = _batch_size(batch_size)
        self._given_scale = thermal_scale
        self._set_points(q_vectors, (hsampling, ksampling, lsampling))

        self.gamma_intra: Any = None
        self.gamma_inter: Any = None
        self.k_par: Any = None
        self.k_perp: Any = None
        given = {"gamma_intra": gamma_intra, "gamma_inter": gamma_inter}
        if model == "hybrid":
            given = {"k_par": k_par, "k_perp": k_perp}  # type: ignore[dict-item]
        elif k_par is not None or k_perp is not None:
            raise InputError(
                f"k_par and k_perp belong to model 'hybrid'; model {model!r} has gamma_intra "
                "and gamma_inter"
            )
        for name, value in given.items():
            setattr(self, name, _spring_parameter(value, dtype, device))

        self._memory: dict[str, _Held] = {}
        self._static_bodies = gather_bodies(self.crystal, group_by)
        self.contacts = find_contacts(self._static_bodies, gnm_cutoff)
        with torch.no_grad():
            self._assign(self.contacts)  # springs that cannot be are named before anything else
            check_connected(self._static_bodies, self.contacts)
            check_rigid(self._static_bodies, self.contacts, self._assign)

    def _set_points(self, q_vectors: Tensor | None, samplings: tuple[Sampling | None, ...]) -> None:
        """Fix which q the model is asked for, and the zone mesh of its ADPs."""
        matrix = self.crystal.cell.matrix
        self.q_vectors: Tensor | None = None
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
            self.q_vectors = _check_q(q_vectors).to(matrix)
        elif missing:
            raise InputError(
                "there is nothing to compute: give hsampling, ksampling and lsampling for a map, "
                "or q_vectors for a list"
            )
        else:
            self.grid = grid

    # ---- the points -----------------------------------------------------------------------

    @property
    def map_shape(self) -> tuple[int, int, int] | None:
        """Points along h, k, l in grid mode; None for a list of q."""
        return self.grid.shape if self.grid else None

    @property
    def hkl_grid(self) -> Tensor:
        """Miller indices of the points, shape (N, 3), l fastest."""
        if self.grid is not None:
            return self.grid.hkl.to(self.crystal.cell.matrix)
        return self.crystal.cell.hkl_from_q(self.q_grid)

    @property
    def q_grid(self) -> Tensor:
        """Scattering vectors, shape (N, 3), 1/Å, 2*pi included."""
        if self.q_vectors is not None:
            return self.q_vectors
        return self.crystal.cell.q_from_hkl(self.hkl_grid)

    @property
    def res_mask(self) -> Tensor:
        """True where a point is within the resolution limit, shape (N,)."""
        return self.crystal.cell.resolution(self.q_grid.detach()) >= self.res_limit

    @property
    def valid(self) -> Tensor:
        """True where the intensity is defined: within the limit and not a Bragg point."""
        return self.res_mask & ~is_bragg(self.hkl_grid)

    def zone_points(self) -> ZonePoints:
        """Distinct wavevectors behind the points."""
        if self.grid is None:
            return find_zone_points(self.hkl_grid)
        zone = self.grid.zone_points()
        matrix = self.crystal.cell.matrix
        return ZonePoints(zone.k_frac.to(matrix), zone.index.to(matrix.device))

    @property
    def kvec(self) -> Tensor:
        """Wavevectors of the modes, 1/Å with 2*pi, shape (Nk, 3).

        Grid mode: the distinct ones, folded into the first zone. Arbitrary mode: one for each q.
        """
        cell = self.crystal.cell
        k = self.hkl_grid if self.grid is None else self.zone_points().k_frac
        return cell.q_from_hkl(k - torch.round(k.detach()))

    # ---- the physics ----------------------------------------------------------------------

    @property
    def bodies(self) -> Bodies:
        """The unit cell's atoms by body."""
        if torch.is_grad_enabled() and any(t.requires_grad for t in _tensors(self.crystal)):
            return gather_bodies(self.crystal, self.group_by)
        return self._static_bodies

    def _assign(self, contacts: Contacts) -> Springs:
        return assign_springs(
            contacts,
            self.model,
            gamma_intra=self.gamma_intra,
            gamma_inter=self.gamma_inter,
            k_par=self.k_par,
            k_perp=self.k_perp,
        )

    def springs(self) -> Springs:
        """Springs of each contact."""
        return self._assign(self.contacts)

    def force_constants(self) -> ForceConstants:
        """Force-constant blocks between bodies."""
        return force_constants(self.bodies, self.contacts, self.springs())

    def modes(self) -> Modes:
        """Normal modes at `kvec`."""
        held = self._zone_modes()
        if self.grid is not None:
            return held
        index = self.zone_points().index
        return Modes(held.V[index], held.w_squared[index])

    def _zone_modes(self) -> Modes:
        """Normal modes at the distinct wavevectors, in both modes of use."""

        def compute() -> Modes:
            k = self.zone_points().k_frac
            return modes(self.bodies, self.force_constants(), k, is_bragg(k))

        return self._remember("modes", compute)

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
        """Displacement of each atom by the degrees of freedom, (n_copies, 3 n_atoms, D/n_copies).

        Copies are those of the asymmetric unit.
        """
        bodies = self.bodies
        A = bodies.displacements()
        n_copies, n_bodies, w = bodies.n_ops, bodies.n_bodies, bodies.width
        full = A.new_zeros(bodies.n_cell_atoms, 3, n_bodies // n_copies, w)
        own = bodies.body % (n_bodies // n_copies)
        full[torch.arange(len(own), device=own.device), :, own] = A
        exists = bodies.dof[bodies.dof < w * (n_bodies // n_copies)]
        full = full.reshape(n_copies, -1, w * (n_bodies // n_copies))
        return full.index_select(2, exists)

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
        return self._thermal_scale(None)

    def _thermal_scale(self, progress: Progress | None) -> Tensor:
        like = self.crystal.U
        if self._given_scale is not None:
            return torch.as_tensor(self._given_scale, dtype=like.dtype, device=like.device)
        target = mean_square(self.crystal.U).mean()
        if not float(target.detach()) > 0:
            raise InputError(
                f"the file's mean U is {float(target.detach()):g} Å^2, so no thermal scale follows "
                "from it; give thermal_scale"
            )
        return target / mean_square(self._displacements_at_unit_scale(progress)).mean()

    @property
    def U(self) -> Tensor:
        """Model's anisotropic mean-square displacements, shape (n_atoms, 3, 3), Å^2."""
        every = self._displacements_at_unit_scale() * self.thermal_scale
        return every[: self.crystal.n_atoms]

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

    def apply_disorder(
        self,
        rank: int = -1,
        use_data_adp: bool = False,
        progress: Progress | None = None,
    ) -> Tensor:
        """Diffuse intensity at every point.

        Parameters
        ----------
        rank : int
            -1 for the whole intensity, or one mode's share, counted from the softest mode at
            each wavevector.
        use_data_adp : bool
            Debye-Waller factors from the file's U instead of the model's.
        progress : callable, optional
            Told (what, steps done, steps in all).

        Returns
        -------
        Tensor, shape (N,), e^2 per cell
            NaN beyond the resolution limit and at Bragg points. Differentiable.
        """
        if not -1 <= rank < self._static_bodies.n_dof:
            raise InputError(
                f"rank {rank}: modes are counted from 0 to {self._static_bodies.n_dof - 1}, "
                "-1 is their sum"
            )
        bodies, scale = self.bodies, self._thermal_scale(progress)
        U = bodies.U if use_data_adp else scale * self._displacements_at_unit_scale(progress)
        constants, zone = self.force_constants(), self.zone_points()
        points = (self.q_grid, zone, self.valid, U, scale)
        if rank < 0:
            return intensity(bodies, constants, *points, self.batch_size, progress)
        return mode_intensity(bodies, self._zone_modes(), *points, rank, self.batch_size, progress)

    forward = apply_disorder

    def _remember(self, name: str, compute: Callable[[], T]) -> T:
        """Compute once for the present parameters; anew whenever a graph is being recorded."""
        tensors = [*self.parameters(), *self._plain_springs(), *_tensors(self.crystal)]
        if self.q_vectors is not None:
            tensors.append(self.q_vectors)
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return compute()
        versions = [t._version for t in tensors]
        held = self._memory.get(name)
        if (
            held is None
            or held.versions != versions
            or any(a is not b for a, b in zip(held.tensors, tensors, strict=True))
        ):
            held = _Held(tensors, versions, compute())
            self._memory[name] = held
        value: T = held.value
        return value

    def _plain_springs(self) -> list[Tensor]:
        values = (self.gamma_intra, self.gamma_inter, self.k_par, self.k_perp)
        return [v for v in values if isinstance(v, Tensor)]


def default_mesh(cell: UnitCell) -> tuple[int, int, int]:
    """Zone mesh for a box of at least 60 Å and three cells along each axis."""
    lengths = cell.parameters[:3]
    n = [max(3, math.ceil(DEFAULT_BOX / length)) for length in lengths]
    return n[0], n[1], n[2]


def _crystal(
    source: str | os.PathLike[str] | Crystal, expand_p1: bool, options: dict[str, Any]
) -> Crystal:
    if not isinstance(source, Crystal):
        return read_crystal(source, expand_p1=expand_p1, **options)
    if options:
        raise InputError(
            f"{', '.join(options)} say how to read a file, but a crystal already read was given; "
            "give them to read_crystal"
        )
    if not expand_p1:
        eye = torch.eye(3).to(source.rotations)[None]
        return source.replace(
            spacegroup="P 1", rotations=eye, translations=torch.zeros_like(eye[:, 0])
        )
    return source


def _tensors(crystal: Crystal) -> list[Tensor]:
    """The differentiable tensors of a crystal."""
    f = crystal.form_factors
    return [
        crystal.cell.matrix,
        crystal.positions_frac,
        crystal.U,
        crystal.occupancies,
        crystal.masses,
        *(f.a, f.b, f.c),
    ]


def _spring_parameter(
    value: SpringValue | None, dtype: torch.dtype, device: torch.device | str | None
) -> Any:
    """A number, or a pair of numbers, becomes a parameter; tensors stay the caller's."""
    if value is None or isinstance(value, Tensor):
        return value
    if isinstance(value, Sequence) and any(isinstance(v, Tensor) for v in value):
        return value
    return nn.Parameter(torch.tensor(value, dtype=dtype, device=device))


def _resolution_limit(value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"res_limit {value} is not a resolution; give d in Å, or 0 for no limit")
    return float(value)


def _batch_size(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise InputError(f"batch_size {value}: give at least 1 q at a time, or None")
    return value


def _check_q(q: Any) -> Tensor:
    if not isinstance(q, Tensor):
        q = torch.as_tensor(np.asarray(q))
    if q.ndim != 2 or q.shape[1] != 3 or not q.is_floating_point():
        raise InputError(
            f"q_vectors has shape {tuple(q.shape)} and dtype {q.dtype}; give real numbers of "
            "shape (N, 3), in 1/Å with 2*pi included"
        )
    if not bool(torch.isfinite(q.detach()).all()):
        bad = int((~torch.isfinite(q.detach()).all(1)).nonzero()[0])
        raise InputError(f"q_vectors[{bad}] = {q[bad].tolist()} is not finite; remove it")
    return q
