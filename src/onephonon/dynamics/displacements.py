"""Covariance of displacements and ADPs, as averages over the Brillouin zone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .bloch import phase
from .solvers.choice import make_solver
from .solvers.dense.zone_mean import mesh_inverses


def covariance(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    cells: Tensor,
    progress: Progress | None = None,
) -> Tensor:
    """Covariance of body displacements, ``C(R) = 1/N sum_k K(k)^-1 exp(-i k.R)``, at s = 1.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    samples : three int
        Mesh points of the Brillouin zone along each reciprocal axis.
    cells : Tensor, shape (n_cells, 3), int64
        Lattice vectors R in cell units; ``C(R)[a, b]`` is the mean of ``u_a(0) u_b(R)^T``.
    progress : callable, optional
        Called with the number of mesh points done.

    Returns
    -------
    Tensor, shape (n_cells, D, D), real
        Differentiable in the force constants.
    """
    n = samples[0] * samples[1] * samples[2]
    total = constants.onsite.new_zeros(len(cells), bodies.n_dof, bodies.n_dof)
    for k_frac, weight, inverse in mesh_inverses(bodies, constants, samples, progress):
        waves = phase(k_frac, cells).conj() * weight[:, None]
        total = total + torch.einsum("kr,kab->rab", waves, inverse).real
    return total / n


def displacement_covariance(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    progress: Progress | None = None,
    solver: str = "auto",
) -> Tensor:
    """Mean-square displacements of every atom of the cell at s = 1: ``U_j = A_j C_bb(0) A_j^T``.

    Parameters
    ----------
    bodies, constants, samples, progress
        As for `covariance`.
    solver : {'auto', 'dense', 'condensed'}
        How K is inverted; see `choose_solver`.

    Returns
    -------
    Tensor, shape (n_cell_atoms, 3, 3), Å^2
        Differentiable in the force constants and the positions.
    """
    blocks = make_solver(bodies, constants, solver).zone_mean(samples, progress)
    A = bodies.displacements()
    return A @ blocks[bodies.body] @ A.mT
