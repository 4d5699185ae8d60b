"""Unfolding: modes of a centred cell expressed as modes of its primitive cell.

In a centred cell with n lattice points the modes of n wavevectors of the primitive cell are folded
into the same k. Written as waves over the lattice points, each k has only its own modes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI
from onephonon.crystal.zone import is_bragg
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .eigen import hermitian_eigen
from .normal_modes import Modes, mass_matrix, modes, without_acoustic
from .stiffness_matrix import inverse_factor, stiffness, zone_chunk

#: Tolerance of the elements of operators, which are exact twelfths.
TOLERANCE = 1e-6


def unfolded_modes(bodies: Bodies, constants: ForceConstants, k_frac: Tensor) -> Modes:
    """Normal modes of the primitive cell.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
        With the crystal's symmetry.
    k_frac : Tensor, shape (n_k, 3)
        In the reciprocal axes of the centred cell. Wavevectors that differ by an extinct
        reciprocal lattice vector have different modes.

    Returns
    -------
    Modes
        V has shape (n_k, D, D/n), with the displacements of all bodies of the centred cell, as
        in `modes`; w_squared has shape (n_k, D/n). For a primitive cell the same as `modes`.
    """
    shifts, partner, cells = centring(bodies)
    if len(shifts) == 1:
        return modes(bodies, constants, k_frac, is_bragg(k_frac))
    at_gamma = is_bragg(torch.cat([k_frac, k_frac @ shifts.T], dim=1))
    rotations = _axis_rotations(bodies, partner)
    mass = mass_matrix(bodies)
    vectors, values = [], []
    for part, gamma in zip(
        k_frac.split(zone_chunk(bodies.n_dof)),
        at_gamma.split(zone_chunk(bodies.n_dof)),
        strict=True,
    ):
        P = _waves(bodies, part, shifts, partner, cells, rotations)
        reduced = (P.mH @ mass.to(P.dtype) @ P).real
        left = inverse_factor(torch.linalg.cholesky(reduced)).to(P.dtype)
        w_squared, v = hermitian_eigen(
            left @ (P.mH @ stiffness(bodies, constants, part) @ P) @ left.mH
        )
        vectors.append(P @ (left.mH @ v))
        values.append(without_acoustic(w_squared, gamma))
    return Modes(torch.cat(vectors), torch.cat(values))


def centring(bodies: Bodies) -> tuple[Tensor, Tensor, Tensor]:
    """Action of the centring translations on the copies of the asymmetric unit.

    Returns
    -------
    shifts : Tensor, shape (n, 3)
        Translations of the lattice in [0, 1); the first is zero.
    partner : Tensor, shape (n_ops / n, n), int64
        Copies related by centring translations; the first column is for the zero translation.
    cells : Tensor, shape (n_ops / n, n, 3)
        Cell of each of them relative to the shifted first one.
    """
    crystal = bodies.crystal
    rotations, t = crystal.rotations, crystal.translations
    alike = (rotations[:, None] - rotations[None]).abs().amax((2, 3)) < TOLERANCE
    groups = [row.nonzero().squeeze(1) for i, row in enumerate(alike) if int(row.nonzero()[0]) == i]
    partner = torch.stack(groups)
    first = t[partner[0]] - t[partner[0, 0]]
    shifts = first - torch.floor(first + TOLERANCE)
    # Each group in the order of the shifts, independent of the order of its operators.
    apart = t[partner][:, :1, None] + shifts[None, None] - t[partner][:, :, None]
    meets = ((apart - torch.round(apart)).abs().amax(3) < TOLERANCE).to(torch.int64)
    order = meets.argmax(1)
    partner = torch.gather(partner, 1, order)
    cells = torch.round(t[partner[:, 0]][:, None] + shifts - t[partner])
    return shifts, partner, cells


def _axis_rotations(bodies: Bodies, partner: Tensor) -> Tensor:
    """Matrices from the degrees of freedom of first copies to those of their partners.

    Shape (groups, n, bodies of a copy, width, width). They are identities, except for bodies that
    are lines, whose axes are chosen independently.
    """
    per_copy = bodies.n_bodies // bodies.n_ops
    w = bodies.width
    rotations = torch.eye(w, dtype=bodies.axes.dtype, device=bodies.axes.device)
    rotations = rotations.repeat(*partner.shape, per_copy, 1, 1)
    if w == 6:
        axes = bodies.axes.reshape(bodies.n_ops, per_copy, 3, 3)
        rotations[..., 3:, 3:] = axes[partner].mT @ axes[partner[:, :1]]
    return rotations


def _waves(
    bodies: Bodies,
    k_frac: Tensor,
    shifts: Tensor,
    partner: Tensor,
    cells: Tensor,
    rotations: Tensor,
) -> Tensor:
    """Orthonormal waves over the centred cell's bodies, shape (n_k, D, D/n), complex."""
    groups, n = partner.shape
    per_copy, w = rotations.shape[2], bodies.width
    angle = TWO_PI * torch.einsum("kx,gnx->kgn", k_frac, shifts - cells)
    waves = torch.polar(torch.full_like(angle, n**-0.5), angle)
    P = waves.new_zeros(len(k_frac), bodies.n_ops, per_copy, w, groups, per_copy, w)
    g, b = torch.arange(groups), torch.arange(per_copy)
    for i in range(n):
        block = waves[:, :, i, None, None, None] * rotations[None, :, i].to(waves.dtype)
        P[:, partner[:, i, None], b, :, g[:, None], b, :] = block.permute(1, 2, 0, 3, 4)
    P = P.reshape(len(k_frac), bodies.n_bodies * w, groups * per_copy * w)
    exists = torch.zeros(bodies.n_ops, per_copy * w, dtype=torch.bool, device=P.device)
    exists.view(-1)[bodies.dof] = True
    return bodies.gather(P, 1)[:, :, exists[partner[:, 0]].reshape(-1)]
