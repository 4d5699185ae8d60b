"""Long waves: the stiffness of the crystal against homogeneous deformation and acoustic waves.

A wave of small k deforms the crystal homogeneously over many cells. Cells are displaced by ``e R``
for a lattice vector R, and within the cell bodies move and librate until they are in equilibrium.
With ``N_a = sum_d R_a H(d) T`` and ``Q_ab = sum_d R_a R_b T^T H(d) T``, T the translation of the
whole cell and R_a in cell units, the energy of a cell is ``1/2 e_xa e_yb D_axby`` with

    ``D_axby = -1/2 Q_ab,xy - N_ax^T K0^+ N_by``.

Waves see its part that is symmetric in a and b.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI

from .solvers.base import Solver


def deformation_stiffness(solver: Solver) -> Tensor:
    """Stiffness of the cell against homogeneous deformation, its bodies being in equilibrium.

    Springs are at rest in the undeformed crystal, so that there is no stress.

    Parameters
    ----------
    solver : Solver
        Of the crystal; it inverts K at Gamma.

    Returns
    -------
    Tensor, shape (3, 3, 3, 3), kT in the springs' unit
        D[a, x, b, y]: a and b are components of the lattice vector in cell units, x and y Cartesian
        components of the displacement per cell. Energies of a rotation of the whole crystal are
        included: they are zero for springs along contacts alone (k_perp = 0) only. Differentiable
        in the force constants.

    References
    ----------
    Born & Huang, Dynamical Theory of Crystal Lattices (1954), sections 11 and 26.
    """
    bodies, constants = solver.bodies, solver.constants
    n, w = bodies.n_bodies, bodies.width
    R = constants.cell.to(constants.onsite)
    # A block and its transpose, of opposite R, have the same second moment.
    second = torch.einsum("da,db,dxy->axby", R, R, constants.coupling[:, :3, :3])
    along = R[:, :, None, None]
    first = constants.onsite.new_zeros(n, 3, w, 3)
    first = first.index_add(0, constants.a, along * constants.coupling[:, None, :, :3])
    first = first.index_add(0, constants.b, -along * constants.coupling.mT[:, None, :, :3])
    lag = bodies.gather(first.permute(0, 2, 1, 3).reshape(n * w, 9), 0)
    relaxed = solver.solve_at_gamma(lag)
    unrelaxed = -0.5 * (second + second.permute(0, 3, 2, 1))
    total = unrelaxed - (lag.mT @ relaxed).reshape(3, 3, 3, 3)
    return 0.5 * (total + total.permute(2, 3, 0, 1))


def long_wave_stiffness(solver: Solver) -> Tensor:
    """Stiffness of the cell against long waves: the quadratic term of K(k) for its translation.

    For small k, ``K(k) = K0 + i k_a N_a - 1/2 k_a k_b Q_ab`` (see the module). Eliminating
    everything except the translation T of the whole cell leaves ``k_a k_b A_ab``, and ``K(k)^-1``
    diverges as ``T (k_a k_b A_ab)^-1 T^T``.

    Parameters
    ----------
    solver : Solver
        As for `deformation_stiffness`.

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
    D = TWO_PI**2 * deformation_stiffness(solver).permute(0, 2, 1, 3)
    return 0.5 * (D + D.transpose(0, 1))
