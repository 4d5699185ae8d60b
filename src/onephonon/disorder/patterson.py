"""Intensity of liquid-like motions in a time that grows with the atoms, not with their pairs.

Pairs near each other are summed one by one, by a non-uniform fast Fourier transform; distant ones
of a crystal together, by the Patterson function of the cell.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.tensors import inside_functorch
from onephonon.core.units import TWO_PI
from onephonon.crystal.crystal import mean_square
from onephonon.crystal.zone import ZONE_TOLERANCE, find_zone_points
from onephonon.network.bodies import Bodies
from onephonon.scattering.points import QPoints

from .near_pairs import PairList, near_pairs, pairs_within_groups
from .pair_motion import PairMotion
from .pair_transform import sum_of_pairs
from .radial_nodes import number_of_nodes
from .radial_waves import RadialWaves
from .smooth_pairs import SmoothSums, Window, bandwidth

Float64 = NDArray[np.float64]

#: Shares of the accuracy: of the interpolation, transforms, lattice sums and window, whose errors
#: add up over pairs; and of the bandwidth, whose error is bounded by the sum of what is left out.
PART = 0.01
BAND_PART = 0.03

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
    alike = copies_are_alike(bodies, U, motion)
    radial = RadialWaves.of(bodies, U, motion, order)
    x = (q * q).sum(1)
    low, high = float(x.min()), float(x.max())
    # No pair varies more with x than an atom with itself.
    n_nodes = number_of_nodes(radial.self_terms, low, high, PART * rtol)
    accuracy = PART * rtol
    position = bodies.positions.cpu().double().numpy()
    if motion.group is not None:
        group = motion.group.cpu().numpy()
        turned = [q]
        if alike:  # the pairs of one copy are enough, seen from all sides
            group = group[: bodies.n_cell_atoms // bodies.n_ops]
            turned = [q @ turn for turn in _turns(bodies)]
        pairs = pairs_within_groups(position[: len(group)], group)
        window = np.ones(len(pairs.first))
        every = _near(pairs, window, motion, radial, np.concatenate(turned), n_nodes, accuracy)
        total = every.reshape(len(turned), -1).sum(0)
    else:
        matrix = bodies.crystal.cell.matrix.cpu().double().numpy()
        frac = (position @ np.linalg.inv(matrix).T) % 1.0
        divide = Window.to(NEAR, accuracy)
        pairs = near_pairs(matrix, frac, NEAR)
        window = 1.0 - divide.distant(pairs.distance)
        total = _near(pairs, window, motion, radial, q, n_nodes, accuracy)
        band = bandwidth(divide, motion.correlation, BAND_PART * rtol)
        smooth = SmoothSums(
            radial, motion.correlation, divide, matrix, frac, band, n_nodes, accuracy
        )
        hkl = q @ matrix / TWO_PI
        if alike:
            hkl = with_few_wavevectors(hkl, bodies.crystal.laue_operators)
        zone = find_zone_points(torch.from_numpy(hkl))
        of_cell = np.linalg.inv(matrix)
        total += smooth.at(TWO_PI * hkl @ of_cell, zone.k_frac.numpy(), zone.index.numpy())
    result[where] = torch.from_numpy(total).to(result)
    return result


def copies_are_alike(bodies: Bodies, U: Tensor, motion: PairMotion) -> bool:
    """Whether all copies scatter and move alike, and the cell has the symmetry exactly."""
    for values in (mean_square(U.detach()), motion.root.detach()):
        of_copies = values.reshape(bodies.n_ops, -1)
        if bool((of_copies - of_copies[0]).abs().max() > SAME * values.abs().max()):
            return False
    turns = _turns(bodies)
    return bool(np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max() < SAME)


def _turns(bodies: Bodies) -> Float64:
    """Rotations of the copies in Cartesian axes, shape (n_ops, 3, 3)."""
    cell, rotations = bodies.crystal.cell, bodies.crystal.rotations
    turn = (cell.matrix @ rotations @ cell.inverse).detach()
    return np.asarray(turn.cpu().double().numpy())


def with_few_wavevectors(hkl: Float64, operators: NDArray[np.int64]) -> Float64:
    """Equivalent hkl that have as few distinct wavevectors as possible.

    Parameters
    ----------
    hkl : ndarray, shape (n, 3)
    operators : ndarray, shape (n_operators, 3, 3)
        Of the Laue group, ``hkl' = hkl @ R``.
    """
    best, chosen = None, hkl.copy()
    for operator in operators:
        image = hkl @ operator
        key = np.round((image - np.rint(image)) / ZONE_TOLERANCE[torch.float64])
        if best is None:
            best = key
            continue
        # Lexicographic comparison, one index after another.
        less = np.zeros(len(hkl), dtype=bool)
        equal = ~less
        for i in range(3):
            less |= equal & (key[:, i] < best[:, i])
            equal &= key[:, i] == best[:, i]
        chosen[less], best[less] = image[less], key[less]
    return chosen


def _near(
    pairs: PairList,
    window: Float64,
    motion: PairMotion,
    radial: RadialWaves,
    q: Float64,
    n_nodes: int,
    accuracy: float,
) -> Float64:
    law = motion.correlation(torch.from_numpy(pairs.distance)).detach().numpy()
    return sum_of_pairs(pairs, law, window, radial, q, n_nodes, accuracy)
