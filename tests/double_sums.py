"""Equation (3) as a double sum over the atoms of one cell, for motions that end within it."""

import math

import torch


def bracket(x, order):
    """exp(x) - 1, or the terms of its series of order 1 to `order`."""
    if order is None:
        return torch.exp(x) - 1
    return sum((x**n / math.factorial(n) for n in range(1, order + 1)), torch.zeros_like(x))


def double_sum(bodies, C, q, order=None, U=None):
    """Sum over the pairs of atoms of one cell with C (n, n, 3, 3) between them, q by q."""
    U = bodies.U if U is None else U
    crystal = bodies.crystal
    kind = crystal.form_factors.kind[bodies.asu_atom]
    occupancy = crystal.occupancies[bodies.asu_atom]
    found = []
    for one in q:
        f = crystal.form_factors.evaluate((one * one).sum())[kind] * occupancy
        W = 0.5 * torch.einsum("x,jxy,y->j", one, U, one)
        wave = f * torch.exp(-W + 1j * (bodies.positions @ one))
        x = torch.einsum("x,jkxy,y->jk", one, C, one)
        found.append((wave.conj()[:, None] * wave * bracket(x, order)).sum().real)
    return torch.stack(found)


def of_bodies(bodies, blocks):
    """C_jk = A_j C_b A_k^T of atoms of the same body, otherwise zero, (n, n, 3, 3)."""
    n = bodies.n_cell_atoms
    C = blocks.new_zeros(n, n, 3, 3)
    for j in range(n):
        for k in range(n):
            if bodies.body[j] == bodies.body[k]:
                A, B = (_matrix(bodies.offsets[i], blocks.shape[1]) for i in (j, k))
                C[j, k] = A @ blocks[bodies.body[j]] @ B.T
    return C


def of_atoms(U):
    """C_jk = U_j of an atom with itself, otherwise zero."""
    C = U.new_zeros(len(U), len(U), 3, 3)
    for j, own in enumerate(U):
        C[j, j] = own
    return C


def _matrix(r, width):
    """A with A (t, l) = t + l x r."""
    x, y, z = r
    zero = torch.zeros_like(x)
    rows = [[zero, z, -y], [-z, zero, x], [y, -x, zero]]
    libration = torch.stack([torch.stack(row) for row in rows])
    A = torch.cat([torch.eye(3, dtype=r.dtype), libration], dim=1)
    return A[:, :width]
