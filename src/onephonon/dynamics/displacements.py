"""Covariance of displacements and ADPs, as averages over the Brillouin zone.

Averages over a mesh of n points along each axis leave out the three acoustic modes at Gamma. In a
crystal (``zone_average='crystal'``) the cell of the mesh around Gamma has its share, of which the
divergent part is integrated exactly (`acoustic_correction`): the error falls as 1/n^3, and the
default mesh is within 0.2 % of the limit. A periodic supercell of n cells along each axis
(``zone_average='supercell'``) has only the wavevectors of the mesh, and does not move as a whole:
its displacements are smaller by a fraction of about 1/n.

With another than classical occupation of the modes (`occupation`) the divergent part is classical
times a factor. What else the translations of the cell have near Gamma, which for quantum occupation
is smooth where waves are slower than kT/hbar, is integrated likewise (`bounded_correction`) in a
crystal, and left out in a supercell. Where it is not smooth, at temperatures far below those of the
waves at the edge of the mesh's cell, it is taken for R = 0 at other R, too: there its error falls
as 1/n^2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .bloch import phase
from .gamma_cell import acoustic_correction, bounded_correction
from .long_waves import long_wave_stiffness
from .solvers.base import Solver
from .solvers.choice import OccupiedModes, SolverLike, make_solver
from .solvers.dense.zone_mean import mesh_inverses, own_blocks
from .solvers.occupied import OccupiedSolver

ZONE_AVERAGES = ("crystal", "supercell")


def check_zone_average(zone_average: str) -> str:
    """Raise `InputError` unless a zone average of this name exists."""
    if zone_average not in ZONE_AVERAGES:
        raise InputError(f"zone_average={zone_average!r} is not one of {', '.join(ZONE_AVERAGES)}")
    return zone_average


def covariance(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    cells: Tensor,
    progress: Progress | None = None,
    zone_average: str = "crystal",
    solver: SolverLike = "dense",
) -> Tensor:
    """Covariance of body displacements, ``C(R) = 1/N sum_k K(k)^-1 exp(-i k.R)``, at s = 1.

    With another occupation ``C(k)/s`` stands for ``K(k)^-1``, and the result is ``C(R)/s``.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    samples : three int
        Mesh points of the Brillouin zone along each reciprocal axis.
    cells : Tensor, shape (n_cells, 3), int64
        Lattice vectors R in cell units, modulo the mesh; ``C(R)[a, b]`` is the mean of
        ``u_a(0) u_b(R)^T``.
    progress : callable, optional
        Called with the number of mesh points done.
    zone_average : {'crystal', 'supercell'}
        Include the acoustic waves near Gamma, or not; see the module. In a crystal R stands for
        the shortest images of the vector between two copies of the asymmetric unit, with equal
        shares.
    solver : OccupiedModes, optional
        Occupation of the modes; classical for any name of a solver, and dense matrices then.

    Returns
    -------
    Tensor, shape (n_cells, D, D), real
        Differentiable in the force constants, and in a crystal in the positions and the cell.
    """
    n = samples[0] * samples[1] * samples[2]
    total = constants.onsite.new_zeros(len(cells), bodies.n_dof, bodies.n_dof)
    made = make_solver(bodies, constants, solver if isinstance(solver, OccupiedModes) else "dense")
    for k_frac, weight, inverse in zone_inverses(made, samples, progress):
        waves = phase(k_frac, cells).conj() * weight[:, None]
        total = total + torch.einsum("kr,kab->rab", waves, inverse).real
    if check_zone_average(zone_average) == "crystal":
        apart = copy_separations(bodies).flatten(0, 1)
        waves = acoustic_waves(made, samples, cells, apart, bodies.crystal.cell.matrix)
        total = total + move_cells(bodies, waves)
        left_out = made.excess_at_gamma()
        total = total if left_out is None else total + left_out
    return total / n


def zone_inverses(
    solver: Solver, samples: Sequence[int], progress: Progress | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of dense ``K(k)^-1`` over the zone mesh, or of ``C(k)/s``; see `mesh_inverses`."""
    if isinstance(solver, OccupiedSolver):
        return solver.mesh(samples, progress)
    return mesh_inverses(solver.bodies, solver.constants, samples, progress)


def move_cells(bodies: Bodies, waves: Tensor) -> Tensor:
    """Covariance of bodies that all follow the translation of their copy of the asymmetric unit.

    Parameters
    ----------
    bodies : Bodies
    waves : Tensor, shape (..., n_ops * n_ops, 3, 3)
        Covariance of the translations of each pair of copies.

    Returns
    -------
    Tensor, shape (..., D, D)
    """
    T = bodies.translations().reshape(bodies.n_ops, -1, 3)
    waves = waves.unflatten(-3, (bodies.n_ops, bodies.n_ops))
    moved = torch.einsum("aix,...abxy,bjy->...aibj", T, waves, T)
    return moved.reshape(*moved.shape[:-4], bodies.n_dof, bodies.n_dof)


def copy_separations(bodies: Bodies) -> Tensor:
    """Fractional vector from each copy of the asymmetric unit to each other, (n_ops, n_ops, 3).

    Between their centroids; differentiable in the positions and the cell.
    """
    centroid = bodies.positions.reshape(bodies.n_ops, -1, 3).mean(1)
    frac = centroid @ bodies.crystal.cell.inverse.T
    return frac - frac[:, None]


def displacement_covariance(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    progress: Progress | None = None,
    solver: SolverLike = "auto",
    zone_average: str = "crystal",
) -> Tensor:
    """Mean-square displacements of every atom of the cell at s = 1: ``U_j = A_j C_bb(0) A_j^T``.

    Parameters
    ----------
    bodies, constants, samples, progress, zone_average
        As for `covariance`.
    solver : {'auto', 'dense', 'condensed'} or OccupiedModes
        How K is inverted; see `choose_solver`. With an occupation the result is ``U/s``.

    Returns
    -------
    Tensor, shape (n_cell_atoms, 3, 3), Å^2
        Differentiable in the force constants and the positions.
    """
    chosen = make_solver(bodies, constants, solver)
    blocks = chosen.zone_mean(samples, progress)
    A = bodies.displacements()
    if check_zone_average(zone_average) == "supercell":
        return A @ blocks[bodies.body] @ A.mT
    n = samples[0] * samples[1] * samples[2]
    left_out = chosen.excess_at_gamma()
    if left_out is not None:
        blocks = blocks + own_blocks(bodies, left_out) / n
    U = A @ blocks[bodies.body] @ A.mT
    return U + acoustic_waves(chosen, samples) / n


def acoustic_waves(
    solver: Solver,
    samples: Sequence[int],
    cells: Tensor | None = None,
    offsets: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """What the mesh lacks of the acoustic waves, for the translations of the cell.

    Parameters and shapes are those of `acoustic_correction`.
    """
    A = long_wave_stiffness(solver)
    waves = solver.at_rest * acoustic_correction(A, samples, cells, offsets, axes)

    if solver.excess is None:
        return waves
    mass = solver.bodies.masses.sum()
    # The value at Gamma, or its likes, is the same for every R.
    return waves + bounded_correction(A / mass, samples, solver.excess) / mass
