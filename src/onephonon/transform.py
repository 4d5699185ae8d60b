"""G(q): how strongly each degree of freedom scatters, by direct summation over atoms."""

from __future__ import annotations

import torch
from torch import Tensor

from .bodies import Bodies


def transform(bodies: Bodies, q: Tensor, U: Tensor) -> Tensor:
    """Scattering amplitudes of the degrees of freedom, summed directly over the atoms.

    ``G_b(q) = sum_{j in b} occ_j f_j(|q|) exp(-q^T U_j q / 2) exp(+i q.r_j) A_j^T q``. Since
    ``A_j^T q = (q, (r_j - o) x q)``, a body needs the sum of its atoms' waves and their first
    moment, both formed once per q.

    Parameters
    ----------
    bodies : Bodies
    q : Tensor, shape (n_q, 3)
        1/Å, 2*pi included.
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.

    Returns
    -------
    Tensor, shape (n_q, D), complex
        In e/Å for translations and e for librations (X-rays); differentiable in q and in the
        crystal's coordinates, cell, occupancies and form factors, and in U.
    """
    # Atoms in the order of the bodies' table; what only fills it up gets no weight.
    filled = bodies.table < bodies.n_cell_atoms
    order = torch.where(filled, bodies.table, 0)
    amplitude, angle = _amplitude_and_angle(bodies, order.reshape(-1), q, U)
    weight = filled.to(q.dtype)[:, :, None]
    if bodies.width > 3:
        weight = torch.cat([weight, bodies.offsets[order] * weight], dim=2)
    # Real arithmetic: vectorized sines and real matrix products beat complex ones tenfold.
    shape = (len(q), *order.shape)
    parts = [
        torch.einsum("qbj,bjx->qbx", (amplitude * wave).reshape(shape), weight)
        for wave in (torch.cos(angle), torch.sin(angle))
    ]
    sums = torch.complex(parts[0], parts[1])
    q_complex = torch.complex(q, torch.zeros_like(q))[:, None, :]
    G = sums[:, :, :1] * q_complex
    if bodies.width > 3:
        torque = torch.linalg.cross(sums[:, :, 1:], q_complex.expand_as(sums[:, :, 1:]))
        libration = torch.einsum("bxa,qbx->qba", bodies.axes.to(sums.dtype), torque)
        G = torch.cat([G, libration], dim=2)
    return bodies.gather(G.reshape(len(q), -1))


def structure_factor(bodies: Bodies, q: Tensor, U: Tensor) -> Tensor:
    """``F(q) = sum_j occ_j f_j exp(-q^T U_j q/2) exp(i q.r_j)`` of the cell, shape (n_q,), e."""
    everything = torch.arange(bodies.n_cell_atoms, device=q.device)
    amplitude, angle = _amplitude_and_angle(bodies, everything, q, U)
    return torch.complex(
        (amplitude * torch.cos(angle)).sum(1), (amplitude * torch.sin(angle)).sum(1)
    )


def _amplitude_and_angle(
    bodies: Bodies, atoms: Tensor, q: Tensor, U: Tensor
) -> tuple[Tensor, Tensor]:
    """``occ f exp(-q^T U q/2)`` and ``q.r`` of some atoms of the cell, each (n_q, n)."""
    crystal = bodies.crystal
    asu_atom = bodies.asu_atom[atoms]
    x, y, z = q.unbind(1)
    squares = torch.stack([x * x, y * y, z * z, 2 * y * z, 2 * x * z, 2 * x * y], dim=1)
    rows, columns = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
    exponent = squares @ (-0.5 * U[atoms][:, rows, columns]).T
    f = crystal.form_factors.evaluate(squares[:, :3].sum(1))
    strength = f[:, crystal.form_factors.kind[asu_atom]] * crystal.occupancies[asu_atom]
    return strength * torch.exp(exponent), q @ bodies.positions[atoms].T
