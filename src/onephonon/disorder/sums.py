"""What sums over pairs of atoms share: orders of the exponential, and points that are not valid."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.progress import Progress
from onephonon.core.tensors import inside_functorch
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
