"""Whether the intensity of a model has the symmetry of its crystal, tested at a few q.

A zone mesh less symmetric than the crystal gives its copies different ADPs and covariances, and a
user's springs need not be symmetric.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onephonon.crystal.cell import UnitCell
from onephonon.crystal.crystal import Crystal
from onephonon.dynamics.lattice_model import LatticeModel

from .amplitudes.choice import exact_engine
from .intensity import one_phonon_intensity
from .multiphonon.higher_orders import HigherOrders
from .points import QPoints, list_points

#: Number of q at which the symmetry is tested, and the relative tolerance.
N_TRIAL_Q = 3
SYMMETRY_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}


@torch.no_grad()
def has_laue_symmetry(
    lattice: LatticeModel,
    U: Tensor,
    scale: Tensor | float = 1.0,
    higher: HigherOrders | None = None,
    q_max: float = 0.0,
    rtol: float = 0.0,
) -> bool:
    """Whether intensities have the symmetry of the crystal's Laue group.

    Parameters
    ----------
    lattice : LatticeModel
    U : Tensor, shape (n_cell_atoms, 3, 3)
        For the Debye-Waller factors, Å^2.
    scale : Tensor or float
        Thermal scale.
    higher : HigherOrders, optional
        The orders beyond the first.
    q_max : float
        Largest |q| of the intensities, 1/Å: orders beyond the first are tested there, where they
        are strongest.
    rtol : float
        Accuracy of the orders beyond the first.
    """
    # At resolutions of about 4 Å, where every atom contributes.
    points = trial_points(lattice.crystal, 0.0)
    if not images_agree(_first_order(lattice, points, U, scale), 0.0):
        return False
    if higher is None or not q_max:
        return True
    points = trial_points(lattice.crystal, q_max)
    total = _first_order(lattice, points, U, scale)
    total = total + higher.at_points(exact_engine(lattice.bodies), points, U)
    return images_agree(total, rtol)


def _first_order(
    lattice: LatticeModel, points: QPoints, U: Tensor, scale: Tensor | float
) -> Tensor:
    constants, solver = lattice.force_constants, lattice.solving()
    return one_phonon_intensity(lattice.bodies, constants, points, U, scale, solver=solver)


def trial_points(crystal: Crystal, q_max: float) -> QPoints:
    """A few q and their images, one q after another; the longest is `q_max`, unless it is 0."""
    generator = torch.Generator().manual_seed(0)
    hkl = torch.rand(N_TRIAL_Q, 3, generator=generator, dtype=torch.float64)
    rotations = torch.as_tensor(crystal.laue_operators, dtype=hkl.dtype)
    images = torch.einsum("nx,oxy->noy", hkl, rotations).reshape(-1, 3)
    cell = UnitCell(crystal.cell.matrix.detach())
    q = cell.q_from_hkl((images * float(cell.volume) ** (1 / 3) / 4).to(cell.matrix))
    if q_max:
        q = q * (q_max / torch.linalg.vector_norm(q, dim=1).max())
    return list_points(cell, q)


def images_agree(found: Tensor, rtol: float) -> bool:
    """Whether images of each q have the same intensity."""
    found = found.reshape(N_TRIAL_Q, -1)
    spread = (found - found[:, :1]).abs().max(1).values
    tolerance = max(SYMMETRY_TOLERANCE[found.dtype], rtol)
    return bool((spread <= tolerance * found.mean(1)).all())
