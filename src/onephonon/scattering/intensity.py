"""Equation (1): the one-phonon intensity ``I(q) = s G(q)^H K(q)^-1 G(q)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.progress import Progress
from onephonon.dynamics.normal_modes import Modes
from onephonon.dynamics.solvers.choice import SolverLike, make_solver
from onephonon.dynamics.stiffness_matrix import zone_chunk
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .amplitudes.choice import exact_engine
from .amplitudes.direct import default_batch_size
from .chunks import Chunk
from .points import QPoints


def one_phonon_intensity(
    bodies: Bodies,
    constants: ForceConstants,
    points: QPoints,
    U: Tensor,
    scale: Tensor | float = 1.0,
    *,
    G: Tensor | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    solver: SolverLike = "auto",
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
        Stored result of `amplitudes_at`; `U` is then ignored.
    batch_size : int, optional
        Maximum number of q per batch; affects memory, not the result.
    progress : callable, optional
        Called with the number of q done.
    solver : {'auto', 'dense', 'condensed'} or OccupiedModes
        How K is inverted; see `choose_solver`.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where not valid; such points do not affect gradients. Twice differentiable in all
        tensors that the arguments depend on. The backward pass stores G and one solution per q,
        nothing of the size q x atoms; for many bodies and q it recomputes the solutions.
    """
    zone, anchor = points.zone, constants.onsite
    made = make_solver(bodies, constants, solver, int(points.valid.sum()))
    if G is not None:
        # Nothing of the size q x atoms is needed: all at once, unless a batch size is given.
        max_q = batch_size or min(made.q_batch, max(1, points.n_q))
        every = points.zone_groups().chunks(max_q, max(1, zone.n_k))

        def kept(chunk: Chunk) -> Tensor:
            return made.quadratic_form(zone.k_frac[chunk.zone], points.hkl, G, chunk.points)

        return _over_chunks(points, every, kept, scale, U, anchor, progress)

    def formed(chunk: Chunk) -> Tensor:
        rows = _amplitudes_of(chunk, bodies, points, U, G)
        return made.quadratic_form(zone.k_frac[chunk.zone], points.hkl[chunk.points], rows)

    def share(chunk: Chunk) -> Tensor:
        if made.keep:
            return formed(chunk)
        again: Tensor = checkpoint(formed, chunk, use_reentrant=False)
        return again

    every = _chunks_to_form(bodies, points, batch_size, made.zone_batch)
    return _over_chunks(points, every, share, scale, U, anchor, progress)


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
        Modes at the zone points of `points`.
    rank : sequence of int, optional
        The modes to sum, counted from the softest; all if not given.
    bodies, points, U, scale, G, batch_size, progress
        As for `one_phonon_intensity`.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where not valid. The contributions of all modes sum to `one_phonon_intensity`.
        Differentiable in the modes and in G.
    """
    chosen = slice(None) if rank is None else list(rank)
    V, Winv = modes.V[:, :, chosen], modes.Winv[:, chosen]

    def share(chunk: Chunk) -> Tensor:
        along = V[chunk.zone].mH @ _amplitudes_of(chunk, bodies, points, U, G).mT
        return ((along.real.square() + along.imag.square()) * Winv[chunk.zone][:, :, None]).sum(1)

    every = _chunks_to_form(bodies, points, batch_size, zone_chunk(bodies.n_dof))
    return _over_chunks(points, every, share, scale, U, Winv, progress)


def _chunks_to_form(
    bodies: Bodies, points: QPoints, batch_size: int | None, zone_batch: int
) -> Iterator[Chunk]:
    """Chunks with few enough q to compute their G."""
    batch_size = batch_size or default_batch_size(bodies)
    return points.zone_groups().chunks(batch_size, zone_batch)


def _amplitudes_of(
    chunk: Chunk, bodies: Bodies, points: QPoints, U: Tensor, G: Tensor | None
) -> Tensor:
    """G of a chunk, computed or stored, shape (n_k, m, D)."""
    flat = chunk.points.reshape(-1)
    rows = exact_engine(bodies).at(bodies, points.q[flat], U) if G is None else G[flat]
    return rows.reshape(*chunk.points.shape, -1)


def _over_chunks(
    points: QPoints,
    every: Iterator[Chunk],
    share: Callable[[Chunk], Tensor],
    scale: Tensor | float,
    like: Tensor,
    anchor: Tensor,
    progress: Progress | None,
) -> Tensor:
    """Collect the results of the chunks, times the scale; NaN elsewhere."""
    where, values = [], []
    done, total = 0, int(points.valid.sum())
    for chunk in every:
        where.append(chunk.where)
        values.append(chunk.pick(share(chunk)))
        done += len(where[-1])
        if progress:
            progress("intensity", done, total)
    result = torch.full((points.n_q,), torch.nan, dtype=like.dtype, device=like.device)
    if not where:
        # Nothing to compute, but the gradient must be zero.
        nowhere = torch.empty(0, dtype=torch.int64, device=like.device)
        return result.index_put((nowhere,), scale * anchor.reshape(-1)[:0])
    # The scale is applied before filling in NaN, since 0 times NaN is NaN in a gradient.
    return result.index_copy(0, torch.cat(where), scale * torch.cat(values))
