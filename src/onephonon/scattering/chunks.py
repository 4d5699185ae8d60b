"""Grouping of q by zone point, so that K is factored once for each, and batches of groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.crystal.zone import ZonePoints

#: Largest ratio of the numbers of q per zone point within one chunk.
MAX_COUNT_RATIO = 1.25


@dataclass(frozen=True)
class Chunk:
    """Several zone points with an equal number of q at each.

    Parameters
    ----------
    zone : Tensor, shape (n_k,), int64
        Indices of the zone points.
    points : Tensor, shape (n_k, m), int64
        Indices of the q at each; the last one is repeated if there are fewer than m.
    count : Tensor, shape (n_k,), int64
        Number of q without repetitions, ascending.
    """

    zone: Tensor
    points: Tensor
    count: Tensor

    @property
    def complete(self) -> bool:
        """Whether no q is repeated."""
        return int(self.count[0]) >= self.points.shape[1]

    @property
    def real(self) -> Tensor:
        """False for repetitions, shape (n_k, m), bool."""
        column = torch.arange(self.points.shape[1], device=self.points.device)
        return column < self.count[:, None]

    @property
    def where(self) -> Tensor:
        """The q without repetitions, shape (n,)."""
        return self.pick(self.points)

    def pick(self, values: Tensor) -> Tensor:
        """Select the values (n_k, m, ...) of the q in `where`, shape (n, ...)."""
        return values.flatten(0, 1) if self.complete else values[self.real]


@dataclass(frozen=True)
class ZoneGroups:
    """Which q share a zone point.

    Parameters
    ----------
    points : Tensor, shape (n,), int64
        The selected q, sorted by zone point.
    zone : Tensor, shape (n_k,), int64
        Zone points that have such q, those with the fewest first.
    start, count : Tensor, shape (n_k,), int64
        Position of the first q of each, and number of its q.
    """

    points: Tensor
    zone: Tensor
    start: Tensor
    count: Tensor

    def chunks(self, batch_size: int, zone_batch: int) -> Iterator[Chunk]:
        """Divide into chunks of at most `batch_size` q and `zone_batch` zone points.

        Parameters
        ----------
        batch_size : int
            Maximum number of q in a chunk.
        zone_batch : int
            Maximum number of zone points in a chunk.

        Yields
        ------
        Chunk
        """
        at = 0
        while at < len(self.zone):
            # Successive zone points have similar numbers of q, so few are repeated.
            bound = torch.tensor(
                int(MAX_COUNT_RATIO * int(self.count[at])), device=self.count.device
            )
            alike = int(torch.searchsorted(self.count, bound, right=True))
            end = min(alike, at + zone_batch)
            end = at + max(1, min(end - at, batch_size // int(self.count[end - 1])))
            m, n_k = int(self.count[end - 1]), end - at
            step = max(1, min(m, batch_size // n_k))
            for first in range(0, m, step):
                yield self._chunk(slice(at, end), first, min(first + step, m))
            at = end

    def _chunk(self, part: slice, first: int, last: int) -> Chunk:
        """Chunk of a range of zone points, and of a range of the q of each."""
        count, start = self.count[part], self.start[part]
        column = torch.arange(first, last, device=count.device)
        column = torch.minimum(column.expand(len(count), -1), count[:, None] - 1)
        return Chunk(self.zone[part], self.points[start[:, None] + column], count - first)


def group_by_zone_point(zone: ZonePoints, wanted: Tensor) -> ZoneGroups:
    """Sort the selected q by zone point.

    Parameters
    ----------
    zone : ZonePoints
    wanted : Tensor, shape (n_q,), bool
    """
    points = wanted.nonzero().squeeze(1)
    index = zone.index[points]
    count = torch.bincount(index, minlength=zone.n_k)
    start = torch.cumsum(count, 0) - count
    order = torch.argsort(count, stable=True)
    order = order[count[order] > 0]
    points = points[torch.argsort(index, stable=True)]
    return ZoneGroups(points, order, start[order], count[order])
