"""Intensity of liquid-like motions by direct summation over all pairs of atoms.

Order n is ``z^H S z / n!``, with the atoms' waves z and the matrix S of ``(q^T C_jk q)^n``. What
in S depends on the pair alone is the same for all q of one phonon wavevector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.progress import Progress
from onephonon.core.tensors import inside_functorch
from onephonon.core.units import TWO_PI
from onephonon.network.bodies import Bodies
from onephonon.scattering.points import QPoints

from .correlation import distances
from .orders_needed import orders_needed
from .pair_motion import PairMotion, waves
from .row_blocks import RowBlock, row_blocks

#: Orders are summed until the rest is below this, relative to the sum for each pair; pairs whose
#: correlation is below it are left out. Two orders above rounding.
SERIES_TOLERANCE = 1e-13
CORRELATION_TOLERANCE = 1e-10

#: Real numbers of the largest arrays: waves of a batch of q, correlations of a block of pairs.
WAVES_AT_A_TIME = 16_000_000
PAIRS_AT_A_TIME = 2_000_000

#: Numbers of the matrices S of a block, for all orders and wavevectors of a batch.
MATRIX_NUMBERS = 8_000_000

#: Most rows of a block: smaller ones are more compact, and have fewer cells within their reach.
MAX_ROWS = 256


@dataclass(frozen=True)
class _Batch:
    """Some q, ordered by wavevector and within each by length.

    Parameters
    ----------
    index : Tensor, shape (n,), int64
        Their places in the list of q.
    ends : tuple of (int, int)
        First and last + 1 of the q of each wavevector.
    k_frac : Tensor, shape (n_k, 3)
        One for each of `ends`.
    """

    index: Tensor
    ends: tuple[tuple[int, int], ...]
    k_frac: Tensor


def dense_intensity(
    bodies: Bodies,
    points: QPoints,
    U: Tensor,
    motion: PairMotion,
    order: int | None,
    progress: Progress | None = None,
) -> Tensor:
    """Diffuse intensity per cell, exact to `SERIES_TOLERANCE` and `CORRELATION_TOLERANCE`.

    Parameters
    ----------
    bodies : Bodies
    points : QPoints
    U : Tensor, shape (n_cell_atoms, 3, 3)
        In the Debye-Waller factors, Å^2.
    motion : PairMotion
    order : int, optional
        Number of orders; all if not given.
    progress : Progress, optional

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        NaN where the points are not valid. Differentiable to any order in q, U, the crystal and
        the motion.

    Notes
    -----
    Blocks of pairs and batches of q are limited in size, so that memory does not grow with the
    square of the number of atoms; the backward pass computes each block a second time.
    """
    nothing = torch.full((points.n_q,), torch.nan, dtype=U.dtype, device=U.device)
    where = points.valid.nonzero().squeeze(1)
    if not len(where):
        return nothing
    if motion.group is None:
        bodies = _in_one_cell(bodies)
    with torch.no_grad():
        square = points.q.detach().square().sum(1)
        needed = orders_needed(square * motion.largest_square(), SERIES_TOLERANCE)
        if order is not None:
            needed = needed.clamp(max=order)
        most = int(needed[where].max())
        n_rows = max(1, min(MAX_ROWS, PAIRS_AT_A_TIME // bodies.n_cell_atoms))
        blocks = list(row_blocks(bodies, bodies.positions, motion, n_rows, CORRELATION_TOLERANCE))
    largest = max(len(block.rows) * len(block.columns) for block in blocks)
    n_k = max(1, MATRIX_NUMBERS // (most * largest))
    batches = list(_batches(bodies, points, motion, where, square, n_k))
    found, done = [], 0
    for batch in batches:
        sums = _Sums(bodies, motion, batch, needed[batch.index])
        q = points.q[batch.index]
        arguments = (q, batch.k_frac, U)
        total = torch.zeros_like(q[:, 0])
        columns, z = where, U  # of no block
        for block in blocks:
            if torch.is_grad_enabled() and not inside_functorch():
                part = checkpoint(sums.of_block, block, *arguments, use_reentrant=False)
            else:  # blocks of the same columns follow each other
                if block.columns is not columns:
                    columns, z = block.columns, waves(bodies, q, U, block.columns)
                part = sums.of_waves(block, q, batch.k_frac, z)
            total = total + part
        found.append(total)
        done += len(batch.index)
        if progress:
            progress("pairs of atoms", done, len(where))
    index = torch.cat([batch.index for batch in batches])
    return nothing.index_put((index,), torch.cat(found))


def _in_one_cell(bodies: Bodies) -> Bodies:
    """The same crystal with each atom's image in the first cell."""
    matrix = bodies.crystal.cell.matrix
    shift = torch.floor(bodies.positions.detach() @ torch.linalg.inv(matrix.detach()).T)
    return replace(bodies, positions=bodies.positions - shift @ matrix.T)


def _batches(
    bodies: Bodies, points: QPoints, motion: PairMotion, where: Tensor, square: Tensor, n_k: int
) -> Iterator[_Batch]:
    """Batches of q within the limits of memory."""
    size = max(1, WAVES_AT_A_TIME // (4 * bodies.n_cell_atoms))
    if motion.group is not None:  # no other cell matters, so the wavevectors do not
        order = where[torch.argsort(square[where], stable=True)]
        nothing = points.q.new_zeros(1, 3)
        for part in order.split(size):
            yield _Batch(part, ((0, len(part)),), nothing)
        return
    own = points.hkl.requires_grad or inside_functorch()
    # The slope along q is that of each q's own wavevector.
    zone = torch.arange(points.n_q, device=where.device) if own else points.zone.index
    k_frac = points.hkl if own else points.zone.k_frac
    order = where[torch.argsort(square[where], stable=True)]
    order = order[torch.argsort(zone[order], stable=True)]
    kinds, counts = torch.unique_consecutive(zone[order], return_counts=True)
    pieces: list[tuple[int, Tensor]] = []
    for kind, group in zip(kinds.tolist(), order.split(counts.tolist()), strict=True):
        pieces += [(kind, part) for part in group.split(size)]
    chosen: list[tuple[int, Tensor]] = []
    for piece in pieces:
        total = sum(len(part) for _, part in chosen) + len(piece[1])
        if chosen and (len(chosen) >= n_k or total > size):
            yield _joined(chosen, k_frac)
            chosen = []
        chosen.append(piece)
    yield _joined(chosen, k_frac)


def _joined(pieces: Sequence[tuple[int, Tensor]], k_frac: Tensor) -> _Batch:
    ends, start = [], 0
    for _, part in pieces:
        ends.append((start, start + len(part)))
        start += len(part)
    return _Batch(
        torch.cat([part for _, part in pieces]), tuple(ends), k_frac[[k for k, _ in pieces]]
    )


@dataclass(frozen=True)
class _Sums:
    """Sums over a block of pairs for a batch of q, of which each needs a number of orders."""

    bodies: Bodies
    motion: PairMotion
    batch: _Batch
    needed: Tensor

    def of_block(self, block: RowBlock, q: Tensor, k_frac: Tensor, U: Tensor) -> Tensor:
        """The block's part of the intensity at every q, shape (n,)."""
        columns = waves(self.bodies, q, U, block.columns)
        return self.of_waves(block, q, k_frac, columns)

    def of_waves(self, block: RowBlock, q: Tensor, k_frac: Tensor, columns: Tensor) -> Tensor:
        """The same from the waves of the columns' atoms, (n, n_columns)."""
        place = torch.searchsorted(block.columns, block.rows)  # columns ascend
        rows = columns[:, place].conj()
        scale = self._scales(block, q)
        total = [torch.zeros_like(q[first:last, 0]) for first, last in self.batch.ends]
        weight = torch.ones_like(scale)
        for n, S in enumerate(self._matrices(block, k_frac), start=1):
            weight = weight * scale / n
            for i, (first, last) in enumerate(self.batch.ends):
                # The q are ascending, and so is the number of orders that they need.
                begin = int(torch.searchsorted(self.needed[first:last], n))
                if begin == last - first:
                    continue
                own = slice(first + begin, last)
                y = columns[own] * weight[own]
                value = (rows[own] * _product(y, S[i])).sum(1).real
                total[i] = total[i] + torch.nn.functional.pad(value, (begin, 0))
        return torch.cat(total)

    def _scales(self, block: RowBlock, q: Tensor) -> Tensor:
        """``(D_o q).(D_o' q)`` of the rows' copy o and the columns', (n, n_columns) or (n, 1)."""
        axes = self.motion.axes
        if axes is None:
            return q.square().sum(1, keepdim=True)
        along = torch.einsum("oxy,qy->qox", axes, q)
        copy = self.bodies.copy
        own = along[:, copy[block.rows[0]]]
        return torch.einsum("qx,qox->qo", own, along)[:, copy[block.columns]]

    def _matrices(self, block: RowBlock, k_frac: Tensor) -> list[Tensor]:
        """Sums over cells of each order's correlations, (n_k, n_rows, n_columns) each.

        Real if all wavevectors are zero.
        """
        matrix, x = self.bodies.crystal.cell.matrix, self.bodies.positions
        most = int(self.needed.max())
        moving = bool(k_frac.detach().any()) or k_frac.requires_grad
        between = x[block.columns] + block.shift @ matrix.T - x[block.rows][:, None]
        shape = between.shape[:2]
        sums: list[Tensor] = []
        size = max(1, PAIRS_AT_A_TIME // (shape[0] * shape[1]))
        for cells in block.cells.split(size):
            law = self.motion.correlation(_distances(between, cells @ matrix.T)).flatten(1)
            phase = _phases(k_frac, cells) if moving else torch.ones_like(cells[:, :1]).T
            power = law
            for n in range(most):
                part = _apply(phase, power)
                if n < len(sums):
                    sums[n] = sums[n] + part
                else:
                    sums.append(part)
                if n + 1 < most:
                    power = power * law
        strength = self.motion.root[block.rows][:, None] * self.motion.root[block.columns]
        of_columns = _phases(k_frac, block.shift)[:, None] if moving else 1.0
        found, power = [], strength
        for total in sums:
            found.append(total.unflatten(1, shape) * power * of_columns)
            power = power * strength
        return found


def _distances(between: Tensor, cells: Tensor) -> Tensor:
    return distances(between + cells[:, None, None])


def _phases(k_frac: Tensor, cells: Tensor) -> Tensor:
    """``exp(i k.R)``, shape (n_k, n_cells), complex."""
    angle = TWO_PI * (k_frac @ cells.T)
    return torch.complex(torch.cos(angle), torch.sin(angle))


def _apply(phase: Tensor, values: Tensor) -> Tensor:
    """A real or complex matrix applied to real values."""
    if not phase.is_complex():
        return phase @ values
    return torch.complex(phase.real @ values, phase.imag @ values)


def _product(y: Tensor, S: Tensor) -> Tensor:
    """``S y`` for every q: y (n, n_columns) complex, S (n_rows, n_columns) real or complex."""
    if S.is_complex():
        return y @ S.T
    both = torch.cat([y.real, y.imag]) @ S.T
    return torch.complex(*both.tensor_split(2))
