"""How many orders of ``exp(x) - 1`` a sum to a tolerance needs."""

from __future__ import annotations

import torch
from torch import Tensor

#: More are never needed: q^2 U = 400 has 800 orders, and its Debye-Waller factor is exp(-400).
MAX_ORDERS = 1000


def orders_needed(exponent: Tensor, tolerance: float) -> Tensor:
    """Number N of orders after which the rest of the series is below a tolerance.

    The rest ``sum_{n>N} x^n/n!`` relative to ``exp(x) - 1``, which grows with x: what holds for
    the largest x holds for all pairs. With N + 2 > x the rest is below
    ``x^(N+1)/(N+1)! / (1 - x/(N+2))``.

    Parameters
    ----------
    exponent : Tensor, shape (n,)
        Not negative.
    tolerance : float

    Returns
    -------
    Tensor, shape (n,), int64
        1 or more.
    """
    x = exponent.detach().double()
    needed = torch.ones(x.shape, dtype=torch.int64, device=x.device)
    term = x * x / 2  # x^(N+1)/(N+1)!
    whole = torch.expm1(x).clamp(min=torch.finfo(x.dtype).tiny)
    for n in range(1, MAX_ORDERS):
        rest = torch.where(x < n + 2, term / (1 - x / (n + 2)), torch.inf)
        more = rest > tolerance * whole
        if not bool(more.any()):
            break
        needed[more] = n + 1
        term = term * x / (n + 2)
    return needed
