"""What sums over pairs of atoms share: orders of the exponential, and points that are not valid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.progress import Progress
from onephonon.core.tensors import inside_functorch
from onephonon.network.bodies import Bodies
from onephonon.scattering.points import QPoints

#: Real numbers of one intermediate array: 16 MB.
NUMBERS_AT_A_TIME = 2_000_000


def orders_of_exponential(x: Tensor, order: int | None) -> Tensor:
    """``exp(x) - 1``, or of its series the terms of order 1 to `order`.

    Differentiable to any order; exact for small x.
    """
    if order is None:
        return torch.expm1(x)
    value = torch.zeros_like(x)
    for n in range(order, 0, -1):
        value = (1 + value) * x / n
    return value


def squared_along(q: Tensor, U: Tensor) -> Tensor:
    """``q^T U q`` of every q (n_q, 3) and U (n, 3, 3), shape (n_q, n)."""
    return torch.einsum("qx,nxy,qy->qn", q, U, q)


def at_valid_points(
    points: QPoints,
    intensity: Callable[[Tensor], Tensor],
    batch_size: int,
    stage: str,
    progress: Progress | None = None,
) -> Tensor:
    """An intensity at the valid points, in batches of q; NaN elsewhere.

    Parameters
    ----------
    points : QPoints
    intensity : callable
        From q, shape (n, 3), to the intensity, shape (n,). The backward pass computes it again.
    batch_size : int
        Maximum number of q per batch.
    stage : str
        What `progress` is told.
    progress : Progress, optional

    Returns
    -------
    Tensor, shape (n_q,)
        Points that are not valid do not affect gradients.
    """
    where = points.valid.nonzero().squeeze(1)
    values, done = [], 0
    for part in where.split(batch_size) if len(where) else [where]:
        q = points.q[part]
        if torch.is_grad_enabled() and not inside_functorch():
            values.append(checkpoint(intensity, q, use_reentrant=False))
        else:
            values.append(intensity(q))
        done += len(part)
        if progress and len(where):
            progress(stage, done, len(where))
    found = torch.cat(values)
    empty = torch.full((points.n_q,), torch.nan, dtype=found.dtype, device=found.device)
    return empty.index_put((where,), found)


def sum_over_atoms(
    bodies: Bodies,
    points: QPoints,
    U: Tensor,
    bracket: Callable[[Tensor], Tensor],
    stage: str,
    progress: Progress | None = None,
) -> Tensor:
    """``sum_j occ_j^2 f_j^2 exp(-q^T U_j q) bracket_j(q)`` over the atoms of the cell.

    Parameters
    ----------
    bodies, points, U
        As for `Component.intensity`.
    bracket : callable
        From q, shape (n, 3), to a factor of each atom, shape (n, n_cell_atoms).
    stage, progress
        As for `at_valid_points`.

    Returns
    -------
    Tensor, shape (n_q,)
        NaN where not valid.
    """
    factors, atom = bodies.crystal.form_factors, bodies.asu_atom
    kind, occupancy = factors.kind[atom], bodies.crystal.occupancies[atom]

    def intensity(q: Tensor) -> Tensor:
        f = factors.evaluate((q * q).sum(1))[:, kind] * occupancy
        return (f.square() * torch.exp(-squared_along(q, U)) * bracket(q)).sum(1)

    size = max(1, NUMBERS_AT_A_TIME // bodies.n_cell_atoms)
    return at_valid_points(points, intensity, size, stage, progress)


def products_in_atoms(
    bodies: Bodies,
    points: QPoints,
    U: Tensor,
    taken: Sequence[Tensor],
    order: int | None,
    progress: Progress | None = None,
) -> Tensor:
    """What several motions of an atom scatter together, beyond the sum of what each does alone.

    ``sum_j f_j^2 exp(-q^T U_j q) [(exp(sum_c x_c) - 1) - sum_c (exp(x_c) - 1)]`` with
    ``x_c = q^T U_j^c q`` of component c: the terms of equation (3) of an atom with itself.

    Parameters
    ----------
    bodies, points, U, order
        As for `Component.intensity`.
    taken : sequence of Tensor, each (n_cell_atoms, 3, 3)
        U of every atom by each component, Å^2.

    Returns
    -------
    Tensor, shape (n_q,)
        NaN where not valid.
    """

    def bracket(q: Tensor) -> Tensor:
        each = [squared_along(q, own) for own in taken]
        alone = [orders_of_exponential(x, order) for x in each]
        together = orders_of_exponential(torch.stack(each).sum(0), order)
        return together - torch.stack(alone).sum(0)

    stage = "products of components"
    return sum_over_atoms(bodies, points, U, bracket, stage, progress)
