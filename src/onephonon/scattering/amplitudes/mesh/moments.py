"""Amplitudes G of a body from its sum of waves and their first moments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onephonon.network.bodies import Bodies


def amplitudes_from_moments(
    bodies: Bodies,
    body: int,
    sums: Tensor,
    q: Sequence[Tensor] | Tensor,
    length: float = 1.0,
) -> list[Tensor]:
    """G of one body from its sum of waves and its first moments.

    Parameters
    ----------
    bodies : Bodies
    body : int
    sums : Tensor, shape (1 or 4, ...), complex
        Further ones are ignored.
    q : three Tensor, shape (...)
    length : float
        Unit of the offsets in the first moments, Å.

    Returns
    -------
    list of Tensor, shape (...), complex
        One tensor per degree of freedom in the padded layout.
    """
    x, y, z = q
    wave = sums[0]
    translation = [wave * x, wave * y, wave * z]
    if bodies.width == 3:
        return translation
    if length != 1.0:
        x, y, z = (length * component for component in q)
    X, Y, Z = sums[1:4]
    libration = [Y * z - Z * y, Z * x - X * z, X * y - Y * x]
    axes = bodies.axes[body]
    if torch.equal(axes, torch.eye(3).to(axes)):
        return translation + libration
    rotated = torch.einsum("xa,x...->a...", axes.to(wave.dtype), torch.stack(libration))
    return translation + list(rotated)


def amplitudes_of_list(bodies: Bodies, sums: Tensor, q: Tensor) -> Tensor:
    """G of all bodies at a list of q, from moments in Å.

    Parameters
    ----------
    bodies : Bodies
    sums : Tensor, shape (n_q, n_bodies, 1 or 4), complex
        See `amplitudes_from_moments`.
    q : Tensor, shape (n_q, 3)

    Returns
    -------
    Tensor, shape (n_q, D), complex
    """
    parts = [
        part
        for body, s in enumerate(sums.permute(1, 2, 0))
        for part in amplitudes_from_moments(bodies, body, s, q.T)
    ]
    return bodies.gather(torch.stack(parts, dim=1), 1)
