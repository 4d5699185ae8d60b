"""Choice between the exact sum over pairs of atoms and the fast sums."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import QPoints

from .orders_needed import orders_needed
from .pair_intensity import CORRELATION_TOLERANCE, SERIES_TOLERANCE, dense_intensity
from .pair_motion import PairMotion
from .patterson import NEAR, fast_intensity, is_isotropic, needs_gradient

#: Costs of the exact sum in seconds, measured on one core. Only ratios matter.
PAIR_AND_Q = 0.3e-9  # one pair at one q, each order
PAIR_AND_CELL = 40e-9  # the correlation of one pair

#: Costs of the fast sums with about ten lengths of q.
LISTED = 5e-6  # one pair or q of a non-uniform transform
MESH_POINT = 1e-6  # one point of the mesh at one wavevector
FIXED = 3.0  # tables, structure factors

#: Mesh points for each Å^3 and (1/Å)^3 of the largest q.
MESH_DENSITY = 0.03

#: The fast sums reach this accuracy; for a better one the sum is exact.
LEAST_RTOL = 1e-6

#: The exact sum is used if it takes less than this (s).
MAX_EXACT_SECONDS = 2.0


def liquid_intensity(
    bodies: Bodies,
    points: QPoints,
    U: Tensor,
    motion: PairMotion,
    order: int | None,
    numerics: Numerics,
    progress: Progress | None = None,
) -> Tensor:
    """Diffuse intensity per cell, by the requested or the faster of two ways.

    Parameters
    ----------
    bodies, points, U, motion, order, progress
        As for `pair_intensity.dense_intensity`.
    numerics : Numerics
        Engine 'direct' is the exact sum, 'mesh' the fast one to `rtol` relative to the rms. What
        the fast one cannot do, the exact one does: gradients, anisotropic displacements, and
        `rtol` below 1e-6.
    """
    possible = is_isotropic(bodies, U, motion) and not needs_gradient(bodies, points, U, motion)
    possible = possible and numerics.rtol >= LEAST_RTOL
    if not possible or numerics.engine == "direct":
        return dense_intensity(bodies, points, U, motion, order, progress)
    if numerics.engine == "auto":
        exact, fast = estimated_seconds(bodies, points, motion, order)
        if exact < max(MAX_EXACT_SECONDS, fast):
            return dense_intensity(bodies, points, U, motion, order, progress)
        if progress:
            progress.message(f"liquid: sums by transforms, to {numerics.rtol:g} of the rms")
    return fast_intensity(bodies, points, U, motion, order, numerics.rtol)


def estimated_seconds(
    bodies: Bodies, points: QPoints, motion: PairMotion, order: int | None
) -> tuple[float, float]:
    """Seconds that the exact and the fast sum take, about."""
    n_q = int(points.valid.sum())
    if not n_q:
        return 0.0, math.inf
    n = bodies.n_cell_atoms
    square = float(points.q.detach()[points.valid].square().sum(1).max())
    exponent = torch.tensor([square * motion.largest_square()])
    orders = int(orders_needed(exponent, SERIES_TOLERANCE)) if order is None else order
    if motion.group is not None:
        pairs = float(torch.bincount(motion.group).double().square().sum())
        exact = pairs * (PAIR_AND_CELL + n_q * orders * PAIR_AND_Q)
        return exact, FIXED + LISTED * (pairs / (2 * bodies.n_ops) + n_q * bodies.n_ops)
    volume = float(bodies.crystal.cell.volume)
    pairs = float(n) ** 2
    n_k = len(torch.unique(points.zone.index[points.valid]))
    reach = motion.correlation.reach(CORRELATION_TOLERANCE) + volume ** (1 / 3) / 2
    cells = 4 * math.pi / 3 * reach**3 / volume + 1
    exact = pairs * (cells * PAIR_AND_CELL * max(1.0, n_k / 8) + n_q * orders * PAIR_AND_Q)
    near = n * n / volume * 4 * math.pi / 3 * NEAR**3 / 2
    mesh = MESH_DENSITY * volume * (math.sqrt(square) + 4.0) ** 3
    return exact, FIXED + LISTED * (near + n_q) + MESH_POINT * mesh * (4 + n_k)
