"""Estimated errors of averages over voxels, from a sample of them.

The intensity varies as ``1/k^2`` next to a Bragg point, and everywhere with the molecular
transform. How far the value at the centre, or a Gauss-Legendre rule of low order, is from the
average depends mostly on the distance from the Bragg point in units of the voxel's size. So a
sample of voxels at each distance is averaged with several orders and with a high one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.cell import numpy_cell
from onephonon.scattering.quadrature import MixedQuadrature, check_voxels, holds_bragg
from onephonon.scattering.voxels import weighted_sums

from .one_phonon import OnePhonon
from .voxels import NODES_AT_A_TIME, points_at

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Orders whose errors are estimated; 1 is the centre alone. Voxels that neither hold a Bragg point
#: nor are next to one need no more than `FAR_ORDERS` of them, which are good to 1e-4.
ORDERS = (1, 2, 3, 4, 6)
FAR_ORDERS = 4

#: Orders taken as the truth: far from Bragg points, and next to one or with one in the voxel. The
#: next orders would change it by less than a tenth of the error of the best order before
#: (`tests/model`); coarse voxels next to a Bragg point need as high ones as those that hold it.
CONVERGED_ORDERS = (5, 8)

#: Limits of the groups of voxels, as distances from the Bragg point in units of the voxel's size
#: (the rms length of its edges). Voxels with a Bragg point in them are a group of their own.
DISTANCES = (0.75, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)

#: Voxels sampled in each group: rms errors are then known to about ten percent.
PER_GROUP = 100


@dataclass(frozen=True, eq=False)
class AveragingErrors:
    """Errors of voxel averages at a sample of voxels.

    Parameters
    ----------
    group : ndarray, shape (N,), int64
        Group of each voxel: 0 with a Bragg point in it or on its edge, else by distance.
    sample : ndarray, shape (M,), int64
        The voxels of the sample.
    average : ndarray, shape (M,), e^2 per cell
        Averages of high order.
    error : ndarray, shape (M, len(ORDERS)), e^2 per cell
        Of each order: its average less that of high order; infinite for the centre if that is a
        Bragg point, NaN where an order is not needed.
    """

    group: Index
    sample: Index
    average: Float64
    error: Float64

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(DISTANCES) + 2

    @property
    def n_voxels(self) -> Index:
        """Number of voxels of each group, shape (n_groups,)."""
        return np.bincount(self.group, minlength=self.n_groups)

    def mean_square(self, weight: Float64) -> Float64:
        """Mean square of weighted errors, shape (n_groups, len(ORDERS)); 0 for empty groups.

        Parameters
        ----------
        weight : ndarray, shape (M,)
            Multiplies the errors: 1/sigma, or 1/average for relative ones.
        """
        found = np.zeros((self.n_groups, len(ORDERS)))
        group = self.group[self.sample]
        for i in np.unique(group).tolist():
            own = group == i
            with np.errstate(invalid="ignore"):
                found[i] = np.mean((weight[own, None] * self.error[own]) ** 2, axis=0)
        return found


def averaging_errors(
    model: OnePhonon,
    voxels: ArrayLike,
    step: Sequence[float],
    *,
    leave_out: float = 0.0,
    rotation: ArrayLike | None = None,
    per_group: int = PER_GROUP,
    seed: int = 0,
) -> AveragingErrors:
    """Estimate the errors of averages over voxels, with the springs of a model.

    Debye-Waller factors are those of the file.

    Parameters
    ----------
    model : OnePhonon
        Its own q-vectors do not change.
    voxels : array, shape (N, 3)
        Centres of the voxels.
    step : three float
        Extent of a voxel along h, k and l.
    leave_out : float
        See `Quadrature`.
    rotation : array, shape (3, 3), optional
        The model is evaluated at ``hkl @ rotation``.
    per_group : int
        Maximum number of voxels sampled at each distance from the Bragg points.
    seed : int
        Random seed of the sample.

    Raises
    ------
    InputError
        As `voxel_points` raises it; or if no voxel is within the model's resolution limit.
    """
    hkl, extent = check_voxels(voxels, step)
    turn = np.eye(3) if rotation is None else np.asarray(rotation, dtype=np.float64)
    rule = MixedQuadrature(extent, leave_out)
    group = _groups(hkl, extent, turn @ numpy_cell(model.crystal.cell.parameters).inverse)
    rng = np.random.default_rng(seed)
    own = [np.flatnonzero(group == i) for i in range(len(DISTANCES) + 2)]
    sample = np.sort(
        np.concatenate([rng.choice(x, min(per_group, len(x)), replace=False) for x in own])
    )
    near = group[sample] < 3
    converged = np.where(near, CONVERGED_ORDERS[1], CONVERGED_ORDERS[0])
    every = np.column_stack([converged, np.tile(ORDERS, (len(sample), 1))])
    wanted = np.ones(every.shape, dtype=bool)
    wanted[~near, 1 + FAR_ORDERS :] = False
    row, column = np.nonzero(wanted)
    values = np.full(every.shape, np.nan)
    values[row, column] = _averages(model, hkl[sample[row]], every[row, column], rule, turn)
    known = np.isfinite(values[:, 0])
    if not known.any():
        raise InputError("no voxel is within the model's resolution limit; widen res_limit")
    average, error = values[known, 0], values[known, 1:] - values[known, :1]
    error[np.isnan(error[:, 0]), 0] = np.inf
    return AveragingErrors(group, sample[known], average, error)


def _groups(hkl: Float64, step: tuple[float, ...], axes: Float64) -> Index:
    """Group of each voxel, by its distance from the Bragg point in units of its size."""
    distance = np.linalg.norm((hkl - np.rint(hkl)) @ axes, axis=1)
    size = np.sqrt(np.mean(np.sum((np.asarray(step)[:, None] * axes) ** 2, axis=1)))
    group = 1 + np.searchsorted(DISTANCES, distance / size)
    return np.asarray(np.where(holds_bragg(hkl, step), 0, group))


def _averages(
    model: OnePhonon, hkl: Float64, order: Index, rule: MixedQuadrature, turn: Float64
) -> Float64:
    """Averages over voxels with an order for each, shape (N,)."""
    ends = np.cumsum(rule.n_nodes(hkl, order))
    part = ends // NODES_AT_A_TIME
    found = []
    with torch.no_grad():
        bound = model.bound
        for i in np.unique(part).tolist():
            own = part == i
            nodes, weight, voxel = rule.nodes(hkl[own], order[own])
            points = points_at(model, torch.from_numpy(nodes @ turn))
            values = bound.at(points).intensity(use_data_adp=True)
            weights, voxels = torch.from_numpy(weight).to(values), torch.from_numpy(voxel)
            sums = weighted_sums(values, weights, voxels.to(values.device), int(own.sum()))
            found.append(sums.to("cpu", torch.float64).numpy())
    return np.concatenate(found)
