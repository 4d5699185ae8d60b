"""Equation (1): the one-phonon intensity ``I(q) = s G(q)^H K(q)^-1 G(q)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .bodies import Bodies
from .dynamics import Modes, Progress, factorize, stiffness, zone_chunk
from .lattice import ZonePoints
from .network import ForceConstants
from .points import QPoints
from .quadratic import pattern_products, quadratic_form
from .transform import transform

#: Waves (atoms x q) formed at a time when no batch size is given: 2 MB an array, near the cache.
WAVES_AT_A_TIME = 250_000

#: Numbers in the table (q, force constants) that a Jacobian forms at a time.
JACOBIAN_NUMBERS = 8_000_000


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
    """Q-vectors to handle at a time: few enough for the cache, enough to share a factorization."""
    return max(1, WAVES_AT_A_TIME // bodies.n_cell_atoms, bodies.n_dof)


def chunks(zone: ZonePoints, wanted: Tensor, batch_size: int, zone_batch: int) -> Iterator[Chunk]:
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
    Chunk
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
        for first in range(0, m, step):
            column = torch.arange(first, min(first + step, m), device=points.device)
            real = column < count[group, None]
            column = torch.minimum(column.expand(len(group), -1), count[group, None] - 1)
            yield Chunk(group, points[start[group, None] + column], real)


def amplitudes(
    bodies: Bodies,
    points: QPoints,
    U: Tensor,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """G at every valid q, to be kept while springs change: it does not depend on them.

    Parameters
    ----------
    bodies, points, U, batch_size, progress
        As for `intensity`.

    Returns
    -------
    Tensor, shape (n_q, D), complex
        Zero where not valid. Differentiable as `transform` is.
    """
    where = points.valid.nonzero().squeeze(1)
    step = batch_size or default_batch_size(bodies)
    parts = []
    for part in where.split(step) if len(where) else ():
        parts.append(transform(bodies, points.q[part], U))
        if progress:
            progress("amplitudes", min(step * len(parts), len(where)), len(where))
    empty = torch.zeros(points.n_q, bodies.n_dof, dtype=U.dtype.to_complex(), device=U.device)
    return empty.index_put((where,), torch.cat(parts)) if parts else empty


def intensity(
    bodies: Bodies,
    constants: ForceConstants,
    points: QPoints,
    U: Tensor,
    scale: Tensor | float = 1.0,
    *,
    G: Tensor | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """One-phonon diffuse intensity at each q, by one factorization of K per zone point.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    points : QPoints
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.
    scale : Tensor or float
        Thermal scale s.
    G : Tensor, shape (n_q, D), optional
        Amplitudes from `amplitudes`, if they were kept; `U` then plays no part.
    batch_size : int, optional
        Most q handled at a time; memory grows with it, the result does not depend on it.
    progress : callable, optional
        Told how many q are done.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where not valid; those points take no part in any gradient. Differentiable, also
        twice, in all tensors behind the arguments; kept for the backward pass are G and one
        solution per q, never anything of the size q x atoms.
    """

    def share(chunk: Chunk, G: Tensor) -> Tensor:
        k_frac, hkl = points.zone.k_frac[chunk.zone], points.hkl[chunk.points]
        return quadratic_form(bodies, constants, k_frac, hkl, G)

    anchor = constants.onsite
    return _over_chunks(bodies, points, U, G, scale, batch_size, progress, share, anchor)


def mode_intensity(
    bodies: Bodies,
    modes: Modes,
    points: QPoints,
    U: Tensor,
    scale: Tensor | float = 1.0,
    *,
    rank: Sequence[int] | None = None,
    G: Tensor | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Intensity from given modes, ``s sum_m |V_m^H G|^2 Winv_m``: equation (2).

    Parameters
    ----------
    modes : Modes
        At the zone points of `points`.
    rank : sequence of int, optional
        The modes to sum, counted from the softest; all if not given.
    bodies, points, U, scale, G, batch_size, progress
        As for `intensity`.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where not valid. The shares of all modes sum to `intensity`. Differentiable as the
        modes are, and through G.
    """
    chosen = slice(None) if rank is None else list(rank)
    V, Winv = modes.V[:, :, chosen], modes.Winv[:, chosen]

    def share(chunk: Chunk, G: Tensor) -> Tensor:
        along = V[chunk.zone].mH @ G.mT
        return ((along.real.square() + along.imag.square()) * Winv[chunk.zone][:, :, None]).sum(1)

    return _over_chunks(bodies, points, U, G, scale, batch_size, progress, share, Winv)


def _over_chunks(
    bodies: Bodies,
    points: QPoints,
    U: Tensor,
    G: Tensor | None,
    scale: Tensor | float,
    batch_size: int | None,
    progress: Progress | None,
    share: Callable[[Chunk, Tensor], Tensor],
    anchor: Tensor,
) -> Tensor:
    """Form G chunk by chunk and put each chunk's share, times the scale, in its place."""
    batch_size = batch_size or default_batch_size(bodies)
    where, values = [], []
    done, total = 0, int(points.valid.sum())
    for chunk in chunks(points.zone, points.valid, batch_size, zone_chunk(bodies.n_dof)):
        flat = chunk.points.reshape(-1)
        part = transform(bodies, points.q[flat], U) if G is None else G[flat]
        value = share(chunk, part.reshape(*chunk.points.shape, -1))
        where.append(chunk.points[chunk.real])
        values.append(value[chunk.real])
        done += len(where[-1])
        if progress:
            progress("intensity", done, total)
    result = torch.full((points.n_q,), torch.nan, dtype=U.dtype, device=U.device)
    if not where:
        # Nothing to compute, but a caller's backward pass still finds its way, to zeros.
        nowhere = torch.empty(0, dtype=torch.int64, device=U.device)
        return result.index_put((nowhere,), scale * anchor.reshape(-1)[:0])
    # The scale goes in before the NaN of other points come near: 0 times NaN is NaN in a gradient.
    return result.index_put((torch.cat(where),), scale * torch.cat(values))


def spring_jacobian(
    bodies: Bodies,
    constants: Callable[[Tensor], ForceConstants],
    springs: Tensor,
    points: QPoints,
    U: Tensor,
    *,
    G: Tensor | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """Intensity and its derivative by every spring constant, at little more than I alone.

    One solve per q; then ``dI/dx = -v^H (dK/dx) v``, a product of what v makes of each block
    with what each spring adds to it.

    Parameters
    ----------
    bodies : Bodies
    constants : callable
        Force constants as a function of `springs`, linear in them.
    springs : Tensor, shape (n_springs,)
    points, U, G, batch_size, progress
        As for `intensity`; U, and with it G, is held.

    Returns
    -------
    intensity : Tensor, shape (n_q,)
        At s = 1.
    jacobian : Tensor, shape (n_q, n_springs)
        At s = 1. NaN, like the intensity, where a point is not valid.
    """
    with torch.no_grad():
        springs = springs.detach()
        at = constants(springs)
        slopes = _slopes(constants, springs)
        by_spring = torch.cat([s.reshape(len(springs), -1) for s in slopes], dim=1).T
        batch = batch_size or default_batch_size(bodies)
        batch = max(1, min(batch, JACOBIAN_NUMBERS // max(1, len(by_spring))))
        columns: list[tuple[Tensor, Tensor]] = []

        def share(chunk: Chunk, G: Tensor) -> Tensor:
            k_frac = points.zone.k_frac[chunk.zone]
            factor = factorize(stiffness(bodies, at, k_frac))
            v = torch.cholesky_solve(G.mT, factor).mT
            hkl = points.hkl.detach()[chunk.points][chunk.real]
            products = pattern_products(bodies, at, hkl, v[chunk.real])
            flat = torch.cat([p.reshape(len(hkl), -1) for p in products], dim=1)
            columns.append((chunk.points[chunk.real], flat @ by_spring))
            return (G.conj() * v).real.sum(-1)

        value = _over_chunks(bodies, points, U, G, 1.0, batch, progress, share, at.onsite)
        jacobian = torch.full((points.n_q, len(springs)), torch.nan).to(value)
        for where, slope in columns:
            jacobian[where] = slope
        return value, jacobian


def _slopes(
    constants: Callable[[Tensor], ForceConstants], springs: Tensor
) -> tuple[Tensor, Tensor]:
    """What each spring adds to the onsite and coupling blocks, springs first."""

    def blocks(x: Tensor) -> tuple[Tensor, Tensor]:
        at = constants(x)
        return at.onsite, at.coupling

    # Force constants are linear in the springs: a spring's slope is what it gives alone.
    eye = torch.eye(len(springs), dtype=springs.dtype, device=springs.device)
    slopes: tuple[Tensor, Tensor] = torch.func.vmap(blocks, chunk_size=16)(eye)
    return slopes
