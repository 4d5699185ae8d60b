"""Equation (1): the one-phonon intensity ``I(q) = s G(q)^H K(q)^-1 G(q)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .bodies import Bodies
from .dynamics import Modes, Progress, factorize, stiffness, zone_chunk
from .lattice import ZonePoints
from .network import ForceConstants
from .transform import transform

#: Waves (atoms x q) formed at a time when no batch size is given: 2 MB an array, near the cache.
WAVES_AT_A_TIME = 250_000


@dataclass(frozen=True)
class Chunk:
    """A few zone points and an equal number of q at each.

    Parameters
    ----------
    zone : Tensor, shape (n_k,), int64
        Zone points.
    points : Tensor, shape (n_k, m), int64
        The q at each; repeated where a zone point has fewer.
    real : Tensor, shape (n_k, m), bool
        False for repetitions.
    """

    zone: Tensor
    points: Tensor
    real: Tensor


def default_batch_size(bodies: Bodies) -> int:
    """Q-vectors to handle at a time, so that temporaries stay in cache."""
    return max(1, WAVES_AT_A_TIME // max(bodies.n_cell_atoms, 4 * bodies.n_dof))


def chunks(
    zone: ZonePoints, wanted: Tensor, batch_size: int, zone_batch: int
) -> Iterator[list[Chunk]]:
    """Cut the wanted q into chunks that share the factorization of their zone points.

    Parameters
    ----------
    zone : ZonePoints
    wanted : Tensor, shape (n_q,), bool
    batch_size : int
        Most q in a chunk.
    zone_batch : int
        Most zone points in a chunk.

    Yields
    ------
    list of Chunk
        All chunks of one group of zone points.
    """
    points = wanted.nonzero().squeeze(1)
    count = torch.bincount(zone.index[points], minlength=zone.n_k)
    points = points[torch.argsort(zone.index[points], stable=True)]
    start = torch.cumsum(count, 0) - count
    # Neighbours in this order have about as many q, so little is repeated to fill a chunk up.
    order = torch.argsort(count, stable=True)
    order = order[count[order] > 0]
    at = 0
    while at < len(order):
        most = int(count[order[min(at + zone_batch, len(order)) - 1]])
        n_k = max(1, min(zone_batch, batch_size // most))
        group = order[at : at + n_k]
        at += n_k
        m = int(count[group].max())
        step = max(1, min(m, batch_size // len(group)))
        parts = []
        for first in range(0, m, step):
            column = torch.arange(first, min(first + step, m), device=points.device)
            real = column < count[group, None]
            column = torch.minimum(column.expand(len(group), -1), count[group, None] - 1)
            parts.append(Chunk(group, points[start[group, None] + column], real))
        yield parts


def intensity(
    bodies: Bodies,
    constants: ForceConstants,
    q: Tensor,
    zone: ZonePoints,
    valid: Tensor,
    U: Tensor,
    scale: Tensor | float = 1.0,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """One-phonon diffuse intensity at each q, by one factorization of K per zone point.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    q : Tensor, shape (n_q, 3)
        1/Å, 2*pi included.
    zone : ZonePoints
        The wavevectors of the q.
    valid : Tensor, shape (n_q,), bool
        False where nothing is to be computed: Bragg points, and beyond the resolution limit.
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.
    scale : Tensor or float
        Thermal scale s.
    batch_size : int, optional
        Most q handled at a time; memory grows with it, the result does not depend on it.
    progress : callable, optional
        Told how many q are done.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where not valid; those points take no part in any gradient. Differentiable in all
        tensors behind the arguments.
    """

    def prepare(group: Tensor) -> Tensor:
        return factorize(stiffness(bodies, constants, zone.k_frac[group]))

    def share(factor: Tensor, G: Tensor) -> Tensor:
        half = torch.linalg.solve_triangular(factor, G.mT, upper=False)
        return half.abs().square().sum(1)

    n_k = zone_chunk(bodies.n_dof)
    return scale * _over_chunks(
        bodies, q, zone, valid, U, batch_size, n_k, progress, prepare, share
    )


def mode_intensity(
    bodies: Bodies,
    modes: Modes,
    q: Tensor,
    zone: ZonePoints,
    valid: Tensor,
    U: Tensor,
    scale: Tensor | float = 1.0,
    rank: int | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Intensity from given modes, ``s sum_m |V_m^H G|^2 Winv_m``: equation (2).

    Parameters
    ----------
    modes : Modes
        At the zone points of `zone`.
    rank : int, optional
        One mode's share, counted from the softest; all modes if not given.
    bodies, q, zone, valid, U, scale, batch_size, progress
        As for `intensity`.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where not valid. The shares of all modes sum to `intensity`.
    """
    chosen = slice(None) if rank is None else slice(rank, rank + 1)
    weighted = modes.V[:, :, chosen] * torch.sqrt(modes.Winv[:, None, chosen])

    def share(vectors: Tensor, G: Tensor) -> Tensor:
        return (vectors.mH @ G.mT).abs().square().sum(1)

    n_k = zone_chunk(bodies.n_dof)
    return scale * _over_chunks(
        bodies, q, zone, valid, U, batch_size, n_k, progress, weighted.__getitem__, share
    )


def _over_chunks(
    bodies: Bodies,
    q: Tensor,
    zone: ZonePoints,
    valid: Tensor,
    U: Tensor,
    batch_size: int | None,
    zone_batch: int,
    progress: Progress | None,
    prepare: Callable[[Tensor], Tensor],
    share: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Form G chunk by chunk and put ``share(prepare(zone points), G)`` in its place."""
    batch_size = batch_size or default_batch_size(bodies)
    where, values = [], []
    done, total = 0, int(valid.sum())
    for parts in chunks(zone, valid, batch_size, zone_batch):
        if progress:
            progress("intensity", done, total)
        at_zone = prepare(parts[0].zone)
        for part in parts:
            G = transform(bodies, q[part.points.reshape(-1)], U)
            I = share(at_zone, G.reshape(*part.points.shape, -1))  # noqa: E741
            where.append(part.points[part.real])
            values.append(I[part.real])
            done += len(where[-1])
            if progress:
                progress("intensity", done, total)
    result = torch.full((len(q),), torch.nan, dtype=U.dtype, device=U.device)
    if not where:
        return result
    return result.index_put((torch.cat(where),), torch.cat(values))
