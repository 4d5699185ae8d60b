"""Slow reference calculation of equation (3): the double sum over the atoms of the crystal.

For any covariance, pair by pair and cell by cell; it shares nothing with the fast implementation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from onephonon.network.bodies import Bodies

#: Covariances of the atoms j of the first cell (n_j) and k of the cell R (n_k) from the vectors
#: between them (n_j, n_k, 3), in Å^2: shape (n_j, n_k, 3, 3).
Covariance = Callable[[tuple[int, int, int], Tensor], Tensor]


def double_sum(
    bodies: Bodies,
    q: Tensor,
    U: Tensor,
    covariance: Covariance,
    reach: float,
    order: int | None = None,
) -> Tensor:
    """Diffuse intensity per cell of any covariance of atomic displacements.

    ``sum_R sum_jk f_j f_k exp(i q.(r_k + R - r_j)) exp(-W_j - W_k) [exp(q^T C_jk(R) q) - 1]``, with
    the first terms of the bracket's series if an order is given.

    Parameters
    ----------
    bodies : Bodies
        The atoms j of one unit cell.
    q : Tensor, shape (n_q, 3)
        1/Å, 2*pi included.
    U : Tensor, shape (n_cell_atoms, 3, 3)
        In the Debye-Waller factors, Å^2.
    covariance : callable
        From the cell R (three int) and the vectors ``r_k + R - r_j``, shape (n, n, 3), to C_jk(R),
        shape (n, n, 3, 3), Å^2.
    reach : float
        Distance in Å up to which pairs are summed; 0: those of the first cell alone, all of them.
    order : int, optional
        Number of orders; all by default.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
    """
    crystal = bodies.crystal
    positions, matrix = bodies.positions, crystal.cell.matrix
    kind = crystal.form_factors.kind[bodies.asu_atom]
    f = crystal.form_factors.evaluate(q.square().sum(1))[:, kind]
    f = f * crystal.occupancies[bodies.asu_atom]
    f = f * torch.exp(-0.5 * torch.einsum("qx,jxy,qy->qj", q, U, q))
    total = torch.zeros(len(q), dtype=q.dtype)
    between = positions[None, :] - positions[:, None]
    for cell in _cells(matrix, between, reach):
        vectors = between + matrix @ torch.tensor(cell, dtype=q.dtype)
        C = covariance(cell, vectors)
        if reach:
            near = torch.linalg.vector_norm(vectors, dim=2) <= reach
            C = torch.where(near[:, :, None, None], C, 0.0)
        for i, wave in enumerate(q):
            exponent = torch.einsum("x,jkxy,y->jk", wave, C, wave)
            if order is None:
                bracket = torch.expm1(exponent)
            else:
                bracket = sum(
                    (exponent**n / math.factorial(n) for n in range(1, order + 1)),
                    start=torch.zeros_like(exponent),
                )
            total[i] += f[i] @ (bracket * torch.cos(vectors @ wave)) @ f[i]
    return total


def _cells(matrix: Tensor, between: Tensor, reach: float) -> list[tuple[int, int, int]]:
    """Cells that may hold atoms within reach of those of the first cell."""
    if not reach:
        return [(0, 0, 0)]
    apart = float(torch.linalg.vector_norm(between, dim=2).max())
    planes = torch.linalg.vector_norm(torch.linalg.inv(matrix), dim=1)
    n = [math.ceil((reach + apart) * float(p)) for p in planes]
    i, j, k = (range(-m, m + 1) for m in n)
    return [
        cell
        for cell in itertools.product(i, j, k)
        if torch.linalg.vector_norm(matrix @ matrix.new_tensor(cell)) <= reach + apart
    ]
