"""Intensity of liquid-like motions in a time that grows with the atoms, not with their pairs.

Pairs near each other are summed one by one, by a non-uniform fast Fourier transform; distant ones
of a crystal together, by the Patterson function of the cell.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from onephonon.core.tensors import inside_functorch
from onephonon.crystal.crystal import mean_square
from onephonon.network.bodies import Bodies
from onephonon.scattering.points import QPoints

from .near_pairs import PairList, near_pairs, pairs_within_groups
from .pair_motion import PairMotion
from .pair_transform import sum_of_pairs
from .radial_nodes import number_of_nodes
from .radial_waves import RadialWaves
from .smooth_pairs import SmoothSums, Window, bandwidth

#: Shares of the accuracy: of the interpolation, the transforms and the window.
PART = 0.1

#: Distance up to which pairs are summed one by one, Å.
NEAR = 12.0

#: Displacements are isotropic, and copies alike, within this, relative to the largest.
SAME = 1e-9


def is_isotropic(bodies: Bodies, U: Tensor, motion: PairMotion) -> bool:
    """Whether atoms scatter and move the same along all directions, as the fast sums need."""
    if motion.axes is not None:
        return False
    values = U.detach()
    eye = torch.eye(3, dtype=U.dtype, device=U.device)
    difference = (values - mean_square(values)[:, None, None] * eye).abs().max()
    return bool(difference <= SAME * values.abs().max()) and bool(bodies.n_cell_atoms > 0)


def needs_gradient(bodies: Bodies, points: QPoints, U: Tensor, motion: PairMotion) -> bool:
    """Whether a gradient is recorded, which only the exact sum has."""
    if inside_functorch():
        return True
    tensors = [points.q, U, *bodies.crystal.tensors(), *motion.tensors()]
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


@torch.no_grad()
def fast_intensity(
    bodies: Bodies,
    points: QPoints,
    U: Tensor,
    motion: PairMotion,
    order: int | None,
    rtol: float,
) -> Tensor:
    """Diffuse intensity per cell of isotropic motion, without gradient.

    Parameters
    ----------
    bodies, points, U, motion, order
        As for `pair_intensity.dense_intensity`; see `is_isotropic`.
    rtol : float
        Accuracy relative to the rms intensity of the points.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where the points are not valid.
    """
    result = torch.full((points.n_q,), torch.nan, dtype=U.dtype, device=U.device)
    where = points.valid.nonzero().squeeze(1)
    if not len(where):
        return result
    q = points.q[where].cpu().double().numpy()
    radial = RadialWaves.of(bodies, U, motion, order)
    x = (q * q).sum(1)
    low, high = float(x.min()), float(x.max())
    n_nodes = number_of_nodes(lambda y: _extreme_terms(radial, y), low, high, PART * rtol)
    accuracy = PART * rtol
    position = bodies.positions.cpu().double().numpy()
    if motion.group is not None:
        pairs = pairs_within_groups(position, motion.group.cpu().numpy())
        window = np.ones(len(pairs.first))
        total = _near(pairs, window, motion, radial, q, n_nodes, accuracy)
    else:
        matrix = bodies.crystal.cell.matrix.cpu().double().numpy()
        frac = (position @ np.linalg.inv(matrix).T) % 1.0
        divide = Window.to(NEAR, accuracy)
        pairs = near_pairs(matrix, frac, NEAR)
        window = 1.0 - divide.distant(pairs.distance)
        total = _near(pairs, window, motion, radial, q, n_nodes, accuracy)
        band = bandwidth(divide, motion.correlation, rtol)
        smooth = SmoothSums(
            radial, motion.correlation, divide, matrix, frac, band, n_nodes, accuracy
        )
        zone = points.zone.index[where].cpu().numpy()
        k_frac = points.zone.k_frac.detach().cpu().double().numpy()
        used, zone = np.unique(zone, return_inverse=True)
        total += smooth.at(q, k_frac[used], zone)
    result[where] = torch.from_numpy(total).to(result)
    return result


def _near(
    pairs: PairList,
    window: np.ndarray[tuple[int], np.dtype[np.float64]],
    motion: PairMotion,
    radial: RadialWaves,
    q: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    n_nodes: int,
    accuracy: float,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    law = motion.correlation(torch.from_numpy(pairs.distance)).detach().numpy()
    return sum_of_pairs(pairs, law, window, radial, q, n_nodes, accuracy)


def _extreme_terms(
    radial: RadialWaves, x: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The terms of atoms with themselves: none of other pairs varies more with x."""
    return radial.self_terms(x)
