"""Spectra: dispersion, density of states, and the speeds of sound.

Units. In classical motion the covariance of displacements is ``<u u^T> = kT K_phys^-1``
(equipartition; Willis & Pryor, Thermal Vibrations in Crystallography, 1975, ch. 3). The model
writes it ``s K^-1``, with K in the springs' unit and s the thermal scale, so the unit of the
springs is ``kT/s`` per Å^2 and ``K_phys = (kT/s) K``. Frequencies follow from
``K_phys u = omega^2 M u``: with w^2 the eigenvalues of K for masses in dalton,

    ``omega = (w / sqrt(s)) sqrt(kT / (Å^2 Da))``.

``w / sqrt(s)`` is the reduced frequency, used throughout. ``sqrt(kT/(Å^2 Da)) / 2 pi``
is 2.5136 THz at 300 K (k and Da of CODATA 2022), and ``sqrt(kT/Da)``, the unit of speed, 1579.3
m/s. T is the temperature at which the B-factors that determine s were measured. The masses are
those of the atoms in the model: hydrogen atoms and solvent that it omits would lower frequencies
and speeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.memory import state_memory
from onephonon.core.units import TWO_PI, thermal_speed
from onephonon.crystal.brillouin_path import ZonePath, points_along, zone_path
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.zone import is_bragg, zone_mesh
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .lattice_model import HasLattice, LatticeModel, lattice_of
from .long_waves import long_wave_stiffness
from .normal_modes import Modes, modes
from .solvers.choice import make_solver
from .stiffness_matrix import zone_chunk
from .unfolding import unfolded_modes

BROADENINGS = ("gaussian", "histogram")

#: Each segment of a path gets at least 1/20 of its points.
MAX_POINT_RATIO = 20

#: Gaussians are truncated at this many standard deviations, which loses 2e-9 of each.
TAIL_SIGMAS = 6.0

#: Default number of wavevectors: a budget of D^3 operations, and limits.
MESH_COST, MESH_POINTS = 2e8, (100, 4000)
PATH_COST, PATH_POINTS = 2e9, (60, 300)

#: Memory for each mode of a spectrum, bytes.
MODE_BYTES = 64

#: Default width of the Gaussians, relative to the highest frequency.
WIDTH = 0.012


@dataclass(frozen=True)
class Dispersion:
    """Frequencies along a path through the zone.

    Parameters
    ----------
    path : ZonePath
    k_frac : Tensor, shape (n, 3)
        Wavevectors in the reciprocal axes of the crystal's own cell.
    distance : Tensor, shape (n,)
        Distance along the path, 1/Å with 2*pi; gaps between pieces have no length.
    piece : Tensor, shape (n,), int64
        Index of the unbroken piece of the path.
    frequencies : Tensor, shape (n, m)
        Reduced, in ascending order; the three acoustic ones at Gamma are exactly zero.
    translation : Tensor, shape (n, m)
        Translational fraction of the kinetic energy of a mode; the rest is libration.
    corners : tuple of (int, str)
        Indices of the named points, and their names.
    """

    path: ZonePath
    k_frac: Tensor
    distance: Tensor
    piece: Tensor
    frequencies: Tensor
    translation: Tensor
    corners: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class DensityOfStates:
    """Number of modes per unit of frequency and unit cell; the integral is `n_modes`.

    Parameters
    ----------
    frequencies : Tensor, shape (n,)
        Reduced, evenly spaced; for a histogram the centres of the bins.
    density : Tensor, shape (n,)
    translation : Tensor, shape (n,)
        Its part due to translations of whole bodies.
    mesh : three int
    width : float
        Standard deviation of the Gaussians, or width of the bins.
    broadening : {'gaussian', 'histogram'}
    n_modes : int
        Degrees of freedom of the unit cell.
    """

    frequencies: Tensor
    density: Tensor
    translation: Tensor
    mesh: tuple[int, int, int]
    width: float
    broadening: str
    n_modes: int


def frequencies(
    model: LatticeModel | HasLattice, k_frac: Tensor, unfold: bool = True
) -> tuple[Tensor, Tensor]:
    """Reduced frequencies at any wavevectors, and the translational fraction of each mode.

    Parameters
    ----------
    model : LatticeModel, or OnePhonon
    k_frac : Tensor, shape (n, 3)
        In the reciprocal axes of the crystal's own cell.
    unfold : bool
        In a centred cell return the modes of the primitive cell instead of all modes that are
        folded into k.

    Returns
    -------
    frequencies, translation : Tensor, shape (n, m)
        In ascending order; see `Dispersion`.
    """
    lattice = lattice_of(model)
    scale = lattice.thermal_scale
    found = [
        (part.frequencies / scale.sqrt(), translation_share(lattice.bodies, part))
        for part in _modes_in_parts(lattice, k_frac, unfold)
    ]
    w, share = zip(*found, strict=True)
    return torch.cat(w), torch.cat(share)


def _modes_in_parts(lattice: LatticeModel, k_frac: Tensor, unfold: bool) -> Iterator[Modes]:
    """Modes in batches of wavevectors, to limit the memory for eigenvectors."""
    bodies, constants = lattice.bodies, lattice.force_constants
    for k in k_frac.to(bodies.positions).split(zone_chunk(bodies.n_dof)):
        if unfold:
            yield unfolded_modes(bodies, constants, k)
        else:
            yield modes(bodies, constants, k, is_bragg(k))


def translation_share(bodies: Bodies, found: Modes) -> Tensor:
    """Fraction of each mode's kinetic energy in the motion of centres of mass, (n_k, m)."""
    mass = bodies.mass_matrix()
    total = mass[:, 0, 0]
    V = bodies.scatter(found.V, 1).reshape(len(found.V), bodies.n_bodies, bodies.width, -1)
    momentum = torch.einsum("bxi,kbim->kbxm", mass[:, :3].to(V.dtype), V)
    energy = momentum.abs().square().sum(2) / total[:, None]
    # Modes are normalized to V^H M V = 1.
    return energy.sum(1).clamp(max=1.0)


def dispersion(
    model: LatticeModel | HasLattice,
    path: ZonePath | None = None,
    n_points: int | None = None,
    unfold: bool = True,
) -> Dispersion:
    """Frequencies along a path, by default the standard one of the crystal's lattice.

    Parameters
    ----------
    model : LatticeModel, or OnePhonon
    path : ZonePath, optional
    n_points : int, optional
        Approximate total number of points, evenly spaced along the path; by default 300, or down
        to 60 for large matrices.
    unfold : bool
        See `frequencies`.

    Returns
    -------
    Dispersion

    Raises
    ------
    InputError
        If there are fewer points than segments.
    """
    lattice = lattice_of(model)
    path = path or zone_path(lattice.crystal)
    cell = lattice.crystal.cell
    corners = [[path.points[name] for name in piece] for piece in path.pieces]
    steps = [_lengths(cell, piece) for piece in corners]
    n_segments = sum(len(piece) for piece in steps)
    if n_points is None:
        n_points = max(n_segments, _affordable(lattice.bodies.n_dof, PATH_COST, PATH_POINTS))
    if n_points < n_segments:
        raise InputError(
            f"n_points {n_points}: the path has {n_segments} segments; give one point for each "
            "at least"
        )
    state_memory(
        _memory(lattice.bodies.n_dof, n_points),
        f"dispersion at {n_points} wavevectors with {lattice.bodies.n_dof} modes each",
        "take fewer points",
    )
    step = sum(float(piece.sum()) for piece in steps) / n_points
    named: list[tuple[int, str]] = []
    k, distance, piece_of, start, n = [], [], [], 0.0, 0
    for number, (piece, lengths, names) in enumerate(zip(corners, steps, path.pieces, strict=True)):
        counts = [max(1, n_points // MAX_POINT_RATIO, round(x / step)) for x in lengths.tolist()]
        ends = torch.as_tensor(piece, dtype=cell.matrix.dtype, device=cell.matrix.device)
        hkl, along, corner = points_along(cell, ends, counts)
        k.append(hkl)
        distance.append(along + start)
        piece_of.append(torch.full((len(hkl),), number))
        named += zip((corner + n).tolist(), names, strict=True)
        start, n = float(distance[-1][-1]), n + len(hkl)
    with torch.no_grad():
        w, share = frequencies(lattice, torch.cat(k), unfold)
    return Dispersion(
        path=path,
        k_frac=torch.cat(k),
        distance=torch.cat(distance),
        piece=torch.cat(piece_of),
        frequencies=w,
        translation=share,
        corners=tuple(named),
    )


def _lengths(cell: UnitCell, corners: Sequence[Sequence[float]]) -> Tensor:
    """Lengths of the segments between corners, 1/Å."""
    k = torch.tensor(corners, dtype=cell.matrix.dtype, device=cell.matrix.device)
    return torch.linalg.vector_norm(cell.q_from_hkl(k[1:] - k[:-1]), dim=1)


def default_dos_mesh(cell: UnitCell, n_dof: int) -> tuple[int, int, int]:
    """Mesh with about equal steps along all reciprocal axes, finer for smaller matrices."""
    total = _affordable(n_dof, MESH_COST, MESH_POINTS)
    lengths = [float(1.0 / d) for d in cell.spacings]
    per_length = (total / math.prod(lengths)) ** (1 / 3)
    a, b, c = (max(1, round(x * per_length)) for x in lengths)
    return a, b, c


def _affordable(n_dof: int, cost: float, limits: tuple[int, int]) -> int:
    """Number of matrices of this size that can be diagonalized within the budget."""
    return round(min(max(cost / n_dof**3, limits[0]), limits[1]))


def density_of_states(
    model: LatticeModel | HasLattice,
    mesh: Sequence[int] | None = None,
    broadening: str = "gaussian",
    width: float | None = None,
    n: int = 400,
) -> DensityOfStates:
    """Density of states of a model.

    Each mode on a Gamma-centred mesh of the zone contributes a Gaussian or a count in a
    histogram. The parts of Gaussians below zero are folded back, so that the integral is kept.

    Parameters
    ----------
    model : LatticeModel, or OnePhonon
    mesh : three int, optional
        Points along each reciprocal axis of the crystal's own cell.
    broadening : {'gaussian', 'histogram'}
    width : float, optional
        Standard deviation, reduced units; by default 1.2 % of the highest frequency. A
        histogram's bins follow from `n`.
    n : int
        Number of points or bins.

    Returns
    -------
    DensityOfStates

    Raises
    ------
    InputError
        If a choice is unknown or a number not positive.
    """
    lattice = lattice_of(model)
    bodies = lattice.bodies
    mesh = tuple(mesh) if mesh else default_dos_mesh(lattice.crystal.cell, bodies.n_dof)
    if broadening not in BROADENINGS:
        raise InputError(f"broadening {broadening!r} is not one of {', '.join(BROADENINGS)}")
    if len(mesh) != 3 or min(mesh) < 1 or n < 2 or not (width is None or width > 0):
        raise InputError(
            f"mesh {mesh}, width {width}, n {n}: give three positive numbers of points, a "
            "positive width, and n of at least two"
        )
    state_memory(
        _memory(bodies.n_dof, math.prod(mesh) // 2 + 1),
        f"density of states on a mesh of {' x '.join(map(str, mesh))} wavevectors with "
        f"{bodies.n_dof} modes each",
        "take a coarser mesh",
    )
    k_frac, weight = zone_mesh(mesh, bodies.positions)
    with torch.no_grad():
        w, share = frequencies(lattice, k_frac, unfold=False)
    weight = (weight / math.prod(mesh))[:, None].expand_as(w).reshape(-1)
    w, share = w.reshape(-1), share.reshape(-1)
    top = float(w.max())
    if broadening == "histogram":
        size = top * (1 + 1e-9) / n
        where = (w / size).long()
        count = [w.new_zeros(n).index_add(0, where, x) / size for x in (weight, weight * share)]
        axis = (torch.arange(n, dtype=w.dtype, device=w.device) + 0.5) * size
    else:
        size = width or WIDTH * top
        axis = torch.linspace(0.0, top + TAIL_SIGMAS * size, n, dtype=w.dtype, device=w.device)
        count = _gaussians(axis, w, torch.stack([weight, weight * share]), size)
    return DensityOfStates(axis, count[0], count[1], mesh, size, broadening, bodies.n_dof)


def _memory(n_dof: int, n_k: int) -> int:
    """Approximate bytes for all modes at a number of wavevectors, and a batch of eigenvectors."""
    return MODE_BYTES * n_dof * n_k + 5 * 16 * n_dof**2 * min(n_k, zone_chunk(n_dof))


def _gaussians(axis: Tensor, w: Tensor, weights: Tensor, width: float) -> list[Tensor]:
    """Sums of normalized Gaussians at w and, folded back, at -w, for each row of weights."""
    total = weights.new_zeros(len(weights), len(axis))
    for part, share in zip(w.split(10_000), weights.split(10_000, dim=1), strict=True):
        for sign in (1.0, -1.0):
            x = (axis - sign * part[:, None]) / width
            total = total + share @ torch.exp(-0.5 * x * x)
    return list(total / (width * math.sqrt(2 * math.pi)))


def acoustic_tensor(bodies: Bodies, constants: ForceConstants, direction: Tensor) -> Tensor:
    """Christoffel tensor, whose eigenvalues are squared speeds of sound (without the scale).

    The stiffness against long waves along the direction (`long_wave_stiffness`), by the mass of
    the cell.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    direction : Tensor, shape (3,)
        Cartesian, of any length.

    Returns
    -------
    Tensor, shape (3, 3), kT/Da in the springs' unit
        Differentiable in the force constants. Eigenvectors are polarizations.
    """
    n = direction.to(bodies.positions)
    n = n / torch.linalg.vector_norm(n)
    k = bodies.crystal.cell.matrix.T @ n / TWO_PI
    A = long_wave_stiffness(make_solver(bodies, constants))
    return torch.einsum("a,b,abxy->xy", k, k, A) / bodies.masses.sum()


def sound_speeds(
    model: LatticeModel | HasLattice, direction: Tensor | Sequence[float], temperature: float
) -> Tensor:
    """Speeds of sound along a direction, the slopes of the three acoustic branches at Gamma.

    Parameters
    ----------
    model : LatticeModel, or OnePhonon
    direction : Tensor or sequence, shape (3,)
        Cartesian, of any length.
    temperature : float
        In K; see the module.

    Returns
    -------
    Tensor, shape (3,), m/s
        In ascending order; differentiable in springs. The mass is that of the model's atoms.

    Raises
    ------
    InputError
        If the direction is zero, or the temperature not positive.
    """
    n = torch.as_tensor(direction, dtype=torch.float64)
    if n.shape != (3,) or not float(torch.linalg.vector_norm(n)) > 0:
        raise InputError(f"direction {direction}: give three numbers, not all zero")
    if not temperature > 0:
        raise InputError(f"temperature {temperature:g} K: give a positive one")
    lattice = lattice_of(model)
    C = acoustic_tensor(lattice.bodies, lattice.force_constants, n)
    squared = torch.linalg.eigvalsh(C) / lattice.thermal_scale
    # Rounding may make a zero eigenvalue slightly negative.
    return squared.clamp(min=0.0).sqrt() * thermal_speed(temperature)
