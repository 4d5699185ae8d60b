"""Slow reference calculation of every order: the double sum over the atoms of a supercell.

In NumPy, pair by pair; like the supercell itself it shares nothing with the fast implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from onephonon.core.errors import InputError

from .supercell import Array, Supercell

#: Numbers of one intermediate array: 64 MiB. Atoms of the first cell are taken in such blocks.
BLOCK = 2**23


def intensity_of_orders(
    box: Supercell, q: Array, U: Array, orders: int | None = None, scale: float = 1.0
) -> Array:
    """Sum of the first orders of diffuse scattering per cell, or of all orders.

    ``sum_jk f_j f_k exp(i q.(r_k-r_j)) exp(-W_j-W_k) [exp(q^T C_jk q) - 1]`` for j in the first
    cell and k anywhere in the box, with ``C_jk = scale * <u_j u_k^T>`` and ``W_j = q^T U_j q / 2``.
    Order n is the term ``(q^T C_jk q)^n / n!`` of the bracket.

    Parameters
    ----------
    box : Supercell
    q : ndarray, shape (n_q, 3)
        1/Å, 2*pi included; hkl * size must be whole numbers.
    U : ndarray, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2; not multiplied by `scale`.
    orders : int, optional
        Number of orders that are added, from the first; all by default.
    scale : float
        Thermal scale s: factor of the covariance.

    Returns
    -------
    ndarray, shape (n_q,), e^2 per cell

    Raises
    ------
    InputError
        If a q is not a wavevector of the box, or if there is no order.
    """
    bracket = np.expm1 if orders is None else _first(_at_least_one(orders))
    return _double_sum(box, q, U, scale, [bracket])[:, 0]


def intensity_by_order(
    box: Supercell, q: Array, U: Array, orders: int, scale: float = 1.0
) -> Array:
    """Intensity per cell of each of the first orders; see `intensity_of_orders`.

    Returns
    -------
    ndarray, shape (n_q, orders), e^2 per cell
        Column n - 1 is order n.
    """
    every = range(1, _at_least_one(orders) + 1)
    return _double_sum(box, q, U, scale, [_order(n) for n in every])


def _at_least_one(orders: int) -> int:
    if orders < 1:
        raise InputError(f"orders {orders}: the first order is 1; give 1 or more")
    return orders


def _first(orders: int) -> Callable[[Array], Array]:
    """Sum of the first orders of ``exp(x) - 1``, by Horner's rule."""

    def bracket(x: Array) -> Array:
        value = x / orders
        for n in range(orders - 1, 0, -1):
            value = (1 + value) * x / n
        return value

    return bracket


def _order(n: int) -> Callable[[Array], Array]:
    """Order n of ``exp(x) - 1``."""

    def term(x: Array) -> Array:
        return x**n / math.factorial(n)

    return term


def _double_sum(
    box: Supercell, q: Array, U: Array, scale: float, brackets: Sequence[Callable[[Array], Array]]
) -> Array:
    """Sum over pairs of atoms for each function of ``q^T C q``, shape (n_q, n_brackets)."""
    box.check_waves(q)
    f = box.form_factors(q)
    n_cell_atoms = len(box.atom) // box.n_cells
    n, width = len(box.atom), box.basis.shape[2]
    blocks = scale * box.covariance.reshape(len(box.covariance) // width, width, -1, width)
    per_atom = width * max(n, len(box.covariance))
    parts = np.array_split(
        np.arange(n_cell_atoms), math.ceil(n_cell_atoms / max(1, BLOCK // per_atom))
    )
    result = np.zeros((len(q), len(brackets)))
    for i, vector in enumerate(q):
        debye_waller = np.exp(-0.5 * np.einsum("x,jxy,y->j", vector, U, vector))
        strength = (f[i] * debye_waller)[box.atom]
        wave = strength * np.exp(1j * box.positions @ vector)
        along = np.einsum("jxa,x->ja", box.basis, vector)
        for part in parts:
            # First with the bodies of the box, then with the atoms that they move.
            bodies = np.einsum("ja,jabc->jbc", along[part], blocks[box.body[part]])
            exponent = np.einsum("jkc,kc->jk", bodies[:, box.body], along)
            for m, bracket in enumerate(brackets):
                result[i, m] += (wave[part].conj() @ (bracket(exponent) @ wave)).real
    return result
