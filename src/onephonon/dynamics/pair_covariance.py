"""Covariances ``C_ab(R) = <u_a(0) u_b(R)^T>`` of chosen pairs of bodies, or of whole copies.

As `displacements.covariance`, without the matrices of all bodies for every lattice vector: pairs
are taken out of ``K(k)^-1`` at each point of the mesh, so that memory grows with their number only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.memory import state_memory
from onephonon.core.progress import Progress
from onephonon.crystal.images import shortest_images
from onephonon.crystal.zone import symmetric_mesh
from onephonon.network.bodies import Bodies

from .bloch import phase
from .displacements import acoustic_waves, copy_separations, zone_inverses
from .lattice_model import LatticeModel
from .solvers.base import Solver
from .solvers.choice import OccupiedModes, make_solver

#: Elements of the blocks of pairs per batch of wavevectors.
TAKEN_AT_A_TIME = 4_000_000

#: A mesh is made finer at most so many times until it tells all pairs from their images.
MAX_TRIALS = 200


@dataclass(frozen=True)
class Pairs:
    """Pairs of bodies of the cell, or of copies of the asymmetric unit as wholes.

    Parameters
    ----------
    first, second : Tensor, shape (n,), int64
        Bodies (of the cell, as in `Bodies`), or copies.
    cell : Tensor, shape (n, 3), int64
        Cell of the second; the first is in cell 0.
    whole_copies : bool
        Copies, which move by the mean displacement of their atoms, weighted by shares.
    """

    first: Tensor
    second: Tensor
    cell: Tensor
    whole_copies: bool = False

    def copies(self, bodies: Bodies) -> tuple[Tensor, Tensor]:
        """The copies of the asymmetric unit that the two belong to."""
        each = 1 if self.whole_copies else bodies.n_bodies // bodies.n_ops
        return self.first // each, self.second // each

    def select(self, keep: Tensor) -> Pairs:
        """Some of the pairs, by a boolean tensor (n,)."""
        return Pairs(self.first[keep], self.second[keep], self.cell[keep], self.whole_copies)

    def to(self, device: torch.device) -> Pairs:
        """The same on another device."""
        first, second, cell = (x.to(device) for x in (self.first, self.second, self.cell))
        return Pairs(first, second, cell, self.whole_copies)


def pair_covariances(
    lattice: LatticeModel,
    wanted: Sequence[Pairs],
    mesh: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> list[Tensor]:
    """Covariances of pairs, from one pass over the Brillouin zone.

    Parameters
    ----------
    lattice : LatticeModel
    wanted : sequence of Pairs
    mesh : three int, optional
        Mesh points of the Brillouin zone along each reciprocal axis. By default that of the ADPs,
        or the next finer ones that tell all pairs from their images (`separating_mesh`).
    progress : callable, optional

    Returns
    -------
    list of Tensor, shape (n, w, w)
        ``<u_a(0) u_b(R)^T>`` with the thermal scale, of Cartesian translations (Å) and librations
        (rad) about the centroids; w is 3 for whole copies and if no body has librations, else 6.
        Differentiable in the force constants, the thermal scale, the positions and the cell.

    Raises
    ------
    InputError
        If the mesh is less symmetric than the crystal; if in a crystal it does not tell a pair from
        its images, since a mesh of n points has the period of n cells; or for lack of memory.
    """
    bodies = lattice.bodies
    wanted = [pairs.to(bodies.positions.device) for pairs in wanted]
    if mesh is None:
        samples = separating_mesh(lattice, wanted)
    else:
        samples = int(mesh[0]), int(mesh[1]), int(mesh[2])
        _check_images(lattice, wanted, samples)
    lattice.check_mesh(samples)
    width = [3 if pairs.whole_copies else bodies.width for pairs in wanted]
    n_numbers = sum(len(p.cell) * w * w for p, w in zip(wanted, width, strict=True))
    state_memory(
        4 * n_numbers * bodies.positions.element_size() + 64.0 * bodies.n_dof**2,
        f"covariances of {sum(len(p.cell) for p in wanted)} pairs",
        "take fewer pairs (a smaller distance)",
    )
    how = lattice.solving()
    solver = make_solver(
        bodies, lattice.force_constants, how if isinstance(how, OccupiedModes) else "dense"
    )
    mean = _mean_motion(bodies) if any(pairs.whole_copies for pairs in wanted) else None
    totals: list[Tensor | float] = [0.0] * len(wanted)
    for k_frac, weight, inverse in zone_inverses(solver, samples, progress):
        for i, pairs in enumerate(wanted):
            blocks = _by_group(bodies, inverse, mean if pairs.whole_copies else None)
            totals[i] = totals[i] + _taken(blocks, pairs, k_frac, weight)
    n = math.prod(samples)
    found = [x if isinstance(x, Tensor) else bodies.positions.new_zeros(()) for x in totals]
    if lattice.zone_average == "crystal":
        left_out = solver.excess_at_gamma()
        waves = _of_long_waves(solver, samples, wanted)
        for i, pairs in enumerate(wanted):
            extra = width[i] - 3
            found[i] = found[i] + torch.nn.functional.pad(waves[i], (0, extra, 0, extra))
            if left_out is not None:
                own = _by_group(bodies, left_out[None], mean if pairs.whole_copies else None)
                found[i] = found[i] + own[0, pairs.first, :, pairs.second]
    scale = lattice.thermal_scale / n
    turn = cartesian_librations(bodies)
    return [
        scale * (x if p.whole_copies else turn[p.first] @ x @ turn[p.second].mT)
        for x, p in zip(found, wanted, strict=True)
    ]


def atom_covariance(
    lattice: LatticeModel,
    first: Tensor,
    second: Tensor,
    cell: Tensor,
    mesh: Sequence[int] | None = None,
) -> Tensor:
    """Joint mean-square displacements ``<u_j(0) u_k(R)^T>`` of pairs of atoms.

    Parameters
    ----------
    lattice : LatticeModel
    first, second : Tensor, shape (n,), int64
        Atoms of the cell, numbered as in `Bodies`.
    cell : Tensor, shape (n, 3), int64
        Cell of the second; the first is in cell 0.
    mesh : three int, optional
        As for `pair_covariances`.

    Returns
    -------
    Tensor, shape (n, 3, 3), Å^2
        ``A_j C_ab(R) A_k^T``; of an atom with itself its U. Differentiable as `pair_covariances`.
    """
    pairs, row = body_pairs_of_atoms(lattice.bodies, first, second, cell)
    (blocks,) = pair_covariances(lattice, [pairs], mesh)
    return atoms_of_blocks(lattice.bodies, first, second, blocks[row])


def body_pairs_of_atoms(
    bodies: Bodies, first: Tensor, second: Tensor, cell: Tensor
) -> tuple[Pairs, Tensor]:
    """Distinct pairs of the atoms' bodies, and the index of each pair of atoms into them."""
    keys = torch.cat([bodies.body[first, None], bodies.body[second, None], cell], dim=1)
    unique, row = torch.unique(keys, dim=0, return_inverse=True)
    return Pairs(unique[:, 0], unique[:, 1], unique[:, 2:]), row


def atoms_of_blocks(bodies: Bodies, first: Tensor, second: Tensor, blocks: Tensor) -> Tensor:
    """``A_j C A_k^T`` of pairs of atoms, from Cartesian blocks of their bodies, (n, 3, 3)."""
    # Blocks are of Cartesian librations, and zero along axes that a body lacks.
    A = torch.eye(3, dtype=blocks.dtype, device=blocks.device).expand(len(first), 3, 3)
    if bodies.width == 3:
        return blocks

    def moved(atoms: Tensor) -> Tensor:
        libration = torch.linalg.cross(A, bodies.offsets[atoms, :, None].expand_as(A), dim=1)
        return torch.cat([A, libration], dim=2)

    return moved(first) @ blocks @ moved(second).mT


def separating_mesh(
    lattice: LatticeModel,
    wanted: Sequence[Pairs],
    at_least: Sequence[int] | None = None,
    margin: float = 1.0,
) -> tuple[int, int, int]:
    """The coarsest symmetric mesh, no coarser than that of the ADPs, with all pairs apart.

    A mesh of n points along each axis has the period of n cells: a pair must be nearer than its
    images in them. Of a supercell (``zone_average='supercell'``) the mesh is that of the ADPs.

    Parameters
    ----------
    lattice : LatticeModel
    wanted : sequence of Pairs
    at_least : three int, optional
        In place of the mesh of the ADPs.
    margin : float
        Pairs so many times farther apart must be nearer than their images, too: what a mesh adds to
        the acoustic waves is least accurate for pairs that are hardly nearer than their images.
    """
    mesh: Sequence[int] = tuple(at_least or lattice.mesh)
    if lattice.zone_average != "crystal":
        return mesh[0], mesh[1], mesh[2]
    for _ in range(MAX_TRIALS):
        near = _own_images(lattice.bodies, wanted, mesh, margin)
        if near is None:
            return mesh[0], mesh[1], mesh[2]
        reach = [2.0 * margin * abs(x) for x in near]
        grown = [n + 1 if x > n - 1 else n for n, x in zip(mesh, reach, strict=True)]
        grown = [n + 1 for n in mesh] if grown == list(mesh) else grown
        mesh = symmetric_mesh(grown, lattice.crystal.rotations)
    raise InputError(
        f"pairs are so far apart that a mesh of {tuple(mesh)} does not tell them from their "
        "images; take a smaller distance"
    )


def _check_images(lattice: LatticeModel, wanted: Sequence[Pairs], samples: tuple[int, ...]) -> None:
    """Refuse a mesh whose period is too short for a pair."""
    if lattice.zone_average != "crystal":
        return
    near = _own_images(lattice.bodies, wanted, samples)
    if near is not None:
        finer = separating_mesh(lattice, wanted, samples)
        raise InputError(
            f"mesh {samples} has the period of so many cells, in which the pair at cell {near} is "
            f"not its own nearest image; give mesh={finer}, or a smaller distance"
        )


def _own_images(
    bodies: Bodies, wanted: Sequence[Pairs], mesh: Sequence[int], margin: float = 1.0
) -> tuple[int, int, int] | None:
    """Cell of a pair that is not nearer than all its images in a mesh; None if there is none."""
    for pairs in wanted:
        wrong = ~own_images(bodies, pairs, mesh, margin)
        if bool(wrong.any()):
            h, k, m = pairs.cell[wrong][0].tolist()
            return h, k, m
    return None


@torch.no_grad()
def own_images(bodies: Bodies, pairs: Pairs, mesh: Sequence[int], margin: float = 1.0) -> Tensor:
    """Whether copies are nearer to each other than to all images in the period of a mesh, (n,)."""
    apart = copy_separations(bodies).double()
    n = apart.new_tensor([float(x) for x in mesh])
    a, b = pairs.copies(bodies)
    keys = torch.cat([a[:, None], b[:, None], pairs.cell], dim=1)
    unique, row = torch.unique(keys, dim=0, return_inverse=True)
    vectors = unique[:, 2:] + apart[unique[:, 0], unique[:, 1]]
    shift, share = shortest_images(margin * vectors / n, bodies.crystal.cell.matrix.double() * n)
    return ((shift == 0).all(-1) & (share > 1.0 - 1e-9)).any(1)[row]


def _of_long_waves(solver: Solver, samples: Sequence[int], wanted: Sequence[Pairs]) -> list[Tensor]:
    """What the mesh lacks of the acoustic waves, for the translations of pairs, each (n, 3, 3)."""
    bodies = solver.bodies
    apart, axes = copy_separations(bodies).flatten(0, 1), bodies.crystal.cell.matrix
    copies = [pairs.copies(bodies) for pairs in wanted]
    every = torch.cat([a * bodies.n_ops + b for a, b in copies])
    # Of a copy with itself the separation is zero: one stands for all.
    every = torch.where(every % (bodies.n_ops + 1) == 0, 0, every)
    used, column = torch.unique(every, return_inverse=True)
    cells, row = torch.unique(
        torch.cat([pairs.cell for pairs in wanted]), dim=0, return_inverse=True
    )
    waves = acoustic_waves(solver, samples, cells, apart[used], axes)
    return list(waves[row, column].split([len(pairs.cell) for pairs in wanted]))


def cartesian_librations(bodies: Bodies) -> Tensor:
    """Turn of each body's block to Cartesian librations, from those about its axes, (n, w, w)."""
    n, w = bodies.n_bodies, bodies.width
    turn = torch.eye(w, dtype=bodies.axes.dtype, device=bodies.axes.device).repeat(n, 1, 1)
    if w == 6:
        turn[:, 3:, 3:] = bodies.axes
    return turn


def _mean_motion(bodies: Bodies) -> Tensor:
    """Mean displacement of the atoms of each copy, by shares, from all motions: (3 n_ops, D)."""
    A, share, n_ops = bodies.displacements(), bodies.shares, bodies.n_ops
    total = share.new_zeros(n_ops).index_add(0, bodies.copy, share)
    parts = A * (share / total[bodies.copy])[:, None, None]
    by_body = A.new_zeros(bodies.n_bodies, 3, bodies.width).index_add(0, bodies.body, parts)
    each = bodies.n_bodies // n_ops
    full = A.new_zeros(n_ops, 3, bodies.n_bodies, bodies.width)
    body = torch.arange(bodies.n_bodies, device=A.device)
    full[body // each, :, body] = by_body
    return bodies.gather(full.reshape(3 * n_ops, -1))


def _by_group(bodies: Bodies, matrices: Tensor, mean: Tensor | None) -> Tensor:
    """Blocks between all bodies, or all copies if `mean` is given: (n_k, n, w, n, w)."""
    if mean is not None:
        P = mean.to(matrices.dtype)
        return (P @ matrices @ P.mT).reshape(-1, bodies.n_ops, 3, bodies.n_ops, 3)
    n, w = bodies.n_bodies, bodies.width
    padded = bodies.scatter(bodies.scatter(matrices, -1), -2)
    return padded.reshape(-1, n, w, n, w)


def _taken(blocks: Tensor, pairs: Pairs, k_frac: Tensor, weight: Tensor) -> Tensor:
    """Sum over wavevectors of the blocks of the pairs with their waves, (n, w, w), real."""
    n, w = len(pairs.cell), blocks.shape[-1]
    step = max(1, TAKEN_AT_A_TIME // max(1, n * w * w))
    total = blocks.real.new_zeros(n, w, w)
    for part in torch.arange(len(k_frac), device=k_frac.device).split(step):
        waves = phase(k_frac[part], pairs.cell).conj() * weight[part, None]
        chosen = blocks[part][:, pairs.first, :, pairs.second]  # (n, n_k, w, w)
        # The real part of the product, in real numbers: of k and -k.
        re, im = chosen.real, chosen.imag
        cos, sin = waves.real.mT[:, :, None, None], waves.imag.mT[:, :, None, None]
        total = total + (cos * re - sin * im).sum(1)
    return total
