"""A model averaged over voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from onephonon.core.progress import Progress, ProgressLike
from onephonon.crystal.grid import MapGrid
from onephonon.crystal.zone import ZonePoints, find_zone_points, is_bragg
from onephonon.scattering.points import QPoints, within
from onephonon.scattering.quadrature import Quadrature, check_voxels
from onephonon.scattering.voxels import voxel_points

from .one_phonon import OnePhonon

#: Number of nodes per batch: limits memory to a few hundred MB without repeating the set-up of the
#: mesh engine too often.
NODES_AT_A_TIME = 500_000


def voxel_average(
    model: OnePhonon,
    voxels: MapGrid | ArrayLike,
    step: Sequence[float] | None = None,
    order: int = 2,
    *,
    leave_out: float = 0.0,
    matrix: ArrayLike | None = None,
    use_data_adp: bool | None = None,
    nodes_at_a_time: int = NODES_AT_A_TIME,
    progress: ProgressLike | None = None,
    **run: Any,
) -> Tensor:
    """Intensity of a model averaged over the volume of each voxel.

    Parameters
    ----------
    model : OnePhonon
        Its own q-vectors do not change.
    voxels, step, order, leave_out
        See `voxel_points`.
    matrix : array, shape (3, 3), optional
        The model is evaluated at ``matrix @ hkl``, for voxels of data with another indexing than
        the model.
    use_data_adp : bool, optional
        Use the B or U of the crystal in the Debye-Waller factors; see `OnePhonon.apply_disorder`.
    nodes_at_a_time : int
        Affects memory, not the result.
    progress : Progress or callable, optional
    **run
        Options of `OnePhonon.apply_disorder` (rank, hold).

    Returns
    -------
    Tensor, shape (N,), e^2 per cell
        In the order of the voxels (l fastest on a grid); NaN where a node is beyond the model's
        `res_limit`. Differentiable like the model.

    Raises
    ------
    InputError
        As `voxel_points` raises it.
    """
    bound = model.bound

    def intensity(points: QPoints) -> Tensor:
        return bound.at(points).intensity(use_data_adp=use_data_adp, **run)

    return average_of(
        intensity,
        model,
        voxels,
        step,
        order,
        leave_out=leave_out,
        matrix=matrix,
        nodes_at_a_time=nodes_at_a_time,
        progress=progress,
    )


def average_of(
    intensity: Callable[[QPoints], Tensor],
    model: OnePhonon,
    voxels: MapGrid | ArrayLike,
    step: Sequence[float] | None = None,
    order: int = 2,
    *,
    leave_out: float = 0.0,
    matrix: ArrayLike | None = None,
    nodes_at_a_time: int = NODES_AT_A_TIME,
    progress: ProgressLike | None = None,
) -> Tensor:
    """Any function of scattering vectors averaged over the volume of each voxel.

    Parameters
    ----------
    intensity : callable
        Values (n_q,) at points.
    model : OnePhonon
        Defines the cell and the resolution limit.
    voxels, step, order, leave_out, matrix, nodes_at_a_time, progress
        As for `voxel_average`.

    Returns
    -------
    Tensor, shape (N,)
        As of `voxel_average`; differentiable like the function.

    Raises
    ------
    InputError
        As `voxel_points` raises it.
    """
    hkl, extent = check_voxels(voxels, step)
    rule = Quadrature(extent, order, leave_out)
    if not len(hkl):
        return model.crystal.U.new_zeros(0)
    rotation = torch.eye(3, dtype=torch.float64)
    if matrix is not None:
        rotation = torch.as_tensor(np.asarray(matrix, dtype=np.float64)).T
    size = max(1, nodes_at_a_time // rule.around_bragg)
    progress = Progress.of(progress)
    done: list[Tensor] = []
    for start in range(0, len(hkl), size):
        nodes = voxel_points(hkl[start : start + size], extent, order, leave_out)
        done.append(nodes.average(intensity(points_at(model, nodes.hkl @ rotation))))
        progress.step("voxels", min(start + size, len(hkl)), len(hkl))
    return torch.cat(done)


def points_at(model: OnePhonon, hkl: Tensor) -> QPoints:
    """Points of a model at given Miller indices, shape (P, 3), which are not rounded."""
    cell = model.crystal.cell
    exact = hkl.to(cell.matrix)
    q = cell.q_from_hkl(exact)
    zone = find_zone_points(hkl)
    zone = ZonePoints(zone.k_frac.to(exact), zone.index.to(exact.device))
    valid = within(cell, q, model.res_limit) & ~is_bragg(hkl).to(q.device)
    return QPoints(q, exact, zone, valid)
