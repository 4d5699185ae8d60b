"""Derivatives of the covariance of displacements along changes of the force constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from onephonon.core.tensors import derivatives_along
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .bloch import phase
from .displacements import check_zone_average, copy_separations, move_cells
from .gamma_cell import acoustic_correction
from .long_waves import long_wave_stiffness
from .solvers.dense.solver import DenseSolver
from .solvers.dense.zone_mean import mesh_inverses
from .stiffness_matrix import stiffness

#: Changes of the stiffness against long waves this much smaller than the largest are rounding.
ROUNDING = 1e-13


@torch.no_grad()
def covariance_slopes(
    bodies: Bodies,
    constants: ForceConstants,
    changes: Sequence[ForceConstants],
    samples: Sequence[int],
    cells: Tensor,
    zone_average: str = "crystal",
) -> Tensor:
    """Derivatives of `covariance` along changes of the force constants.

    ``dK^-1 = -K^-1 dK K^-1`` at every point of the mesh. At Gamma the same holds for the inverse
    without the acoustic modes, since no change of springs resists the translation of the crystal.

    Parameters
    ----------
    bodies, constants, samples, cells, zone_average
        As for `covariance`.
    changes : sequence of ForceConstants
        Of the same blocks as `constants`.

    Returns
    -------
    Tensor, shape (n_changes, n_cells, D, D)
        At s = 1; without gradient.
    """
    n = samples[0] * samples[1] * samples[2]
    total = constants.onsite.new_zeros(len(changes), len(cells), bodies.n_dof, bodies.n_dof)
    for k_frac, weight, inverse in mesh_inverses(bodies, constants, samples):
        waves = phase(k_frac, cells).conj() * weight[:, None]
        for i, change in enumerate(changes):
            by_k = inverse @ stiffness(bodies, change, k_frac) @ inverse
            total[i] -= torch.einsum("kr,kab->rab", waves, by_k).real
    if check_zone_average(zone_average) == "crystal" and len(changes):
        total += move_cells(bodies, _of_acoustic_waves(bodies, constants, changes, samples, cells))
    return total / n


def _of_acoustic_waves(
    bodies: Bodies,
    constants: ForceConstants,
    changes: Sequence[ForceConstants],
    samples: Sequence[int],
    cells: Tensor,
) -> Tensor:
    """Derivatives of the acoustic correction, shape (n_changes, n_cells, n_ops * n_ops, 3, 3)."""
    onsite = torch.stack([change.onsite for change in changes])
    coupling = torch.stack([change.coupling for change in changes])

    def long_waves(t: Tensor) -> Tensor:
        moved = replace(
            constants,
            onsite=constants.onsite + torch.tensordot(t, onsite, 1),
            coupling=constants.coupling + torch.tensordot(t, coupling, 1),
        )
        return long_wave_stiffness(DenseSolver(bodies, moved))

    apart, axes = copy_separations(bodies).flatten(0, 1), bodies.crystal.cell.matrix

    def acoustic(A: Tensor) -> Tensor:
        return acoustic_correction(A, samples, cells, apart, axes)

    A = long_wave_stiffness(DenseSolver(bodies, constants))
    eye = torch.eye(len(changes), dtype=A.dtype, device=A.device)
    dA = derivatives_along(long_waves, torch.zeros_like(eye[0]), eye).flatten(1)
    # Many springs change the few elements of A: their independent combinations are enough.
    shares, size, directions = torch.linalg.svd(dA, full_matrices=False)
    kept = size > ROUNDING * size[0]
    found = derivatives_along(acoustic, A, directions[kept].reshape(-1, *A.shape))
    return torch.tensordot(shares[:, kept] * size[kept], found, 1)
