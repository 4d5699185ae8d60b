"""Long waves: the stiffness of the crystal against acoustic waves of small k."""

from __future__ import annotations

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI

from .solvers.base import Solver


def long_wave_stiffness(solver: Solver) -> Tensor:
    """Stiffness of the cell against long waves: the quadratic term of K(k) for its translation.

    For small k, ``K(k) = K0 + i k_a N_a - 1/2 k_a k_b Q_ab`` with ``N_a = sum_d R_a H(d)`` and
    ``Q_ab = sum_d R_a R_b H(d)``. All bodies follow a long wave as they do a uniform strain:
    eliminating everything except the translation T of the whole cell leaves ``k_a k_b A_ab``,

        ``A_ab = -1/2 T^T Q_ab T - (N_a T)^T K0^+ (N_b T)``,

    and ``K(k)^-1`` diverges as ``T (k_a k_b A_ab)^-1 T^T``.

    Parameters
    ----------
    solver : Solver
        Of the crystal; it inverts K at Gamma.

    Returns
    -------
    Tensor, shape (3, 3, 3, 3), kT/Å^2 in the springs' unit
        A[a, b, x, y]: a and b are components of k in reciprocal lattice units, x and y Cartesian
        components of the translation; symmetric in each pair. Differentiable in the force
        constants.

    References
    ----------
    Born & Huang, Dynamical Theory of Crystal Lattices (1954), section 26.
    """
    bodies, constants = solver.bodies, solver.constants
    n, w = bodies.n_bodies, bodies.width
    R = TWO_PI * constants.cell.to(constants.onsite)
    # A block and its transpose, of opposite R, have the same second moment.
    second = torch.einsum("da,db,dxy->abxy", R, R, constants.coupling[:, :3, :3])
    along = R[:, :, None, None]
    first = constants.onsite.new_zeros(n, 3, w, 3)
    first = first.index_add(0, constants.a, along * constants.coupling[:, None, :, :3])
    first = first.index_add(0, constants.b, -along * constants.coupling.mT[:, None, :, :3])
    lag = bodies.gather(first.permute(0, 2, 1, 3).reshape(n * w, 9), 0)
    relaxed = solver.solve_at_gamma(lag)
    energy = (lag.mT @ relaxed).reshape(3, 3, 3, 3).permute(0, 2, 1, 3)
    total = -0.5 * (second + second.mT) - energy
    total = 0.5 * (total + total.transpose(0, 1))
    return 0.5 * (total + total.mT)
