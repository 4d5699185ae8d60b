"""The q-vectors of a model, and the phonon wavevectors they share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from onephonon.core.caching import ValueCache
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.zone import ZonePoints, find_zone_points, grid_zone_points, is_bragg

from .chunks import ZoneGroups, group_by_zone_point

#: Relative tolerance of resolutions: a limit equal to the d of a reflection includes it.
SAME_RESOLUTION = 1e-6


@dataclass(frozen=True)
class QPoints:
    """A list of q with their hkl, wavevectors and validity.

    Parameters
    ----------
    q : Tensor, shape (n_q, 3)
        1/Å, 2*pi included; may carry a gradient.
    hkl : Tensor, shape (n_q, 3)
        The same in reciprocal lattice units, not rounded; K(k) is differentiable in it.
    zone : ZonePoints
        The distinct wavevectors, and the one of each q; without gradient.
    valid : Tensor, shape (n_q,), bool
        False at Bragg points and beyond the resolution limit.
    """

    q: Tensor
    hkl: Tensor
    zone: ZonePoints
    valid: Tensor
    _cache: ValueCache = field(default_factory=ValueCache, repr=False, compare=False)

    @property
    def n_q(self) -> int:
        """Number of q-vectors."""
        return int(self.q.shape[0])

    def zone_groups(self) -> ZoneGroups:
        """Valid q grouped by zone point; computed once."""
        return self._cache.get(
            "sharing",
            [self.zone.index, self.valid],
            lambda: group_by_zone_point(self.zone, self.valid),
            (self.zone.n_k,),
        )

    def part(self, which: Tensor) -> QPoints:
        """Some of the points, by their indices."""
        zone = replace(self.zone, index=self.zone.index[which])
        return QPoints(self.q[which], self.hkl[which], zone, self.valid[which])

    def with_graphs(self, cell: UnitCell, q: Tensor) -> QPoints:
        """The same points with the gradients of a cell and q; discrete parts are reused."""
        return replace(self, q=q, hkl=cell.hkl_from_q(q))

    def in_cell(
        self, cell: UnitCell, res_limit: float, bragg_tolerance: float | None = None
    ) -> QPoints:
        """The same hkl in another (or a differentiable) cell; invalid points stay invalid."""
        q = cell.q_from_hkl(self.hkl)
        valid = self.valid & within(cell, q, res_limit)
        if bragg_tolerance is not None:
            valid = valid & ~is_bragg(self.hkl, bragg_tolerance)
        return replace(self, q=q, valid=valid)


def list_points(
    cell: UnitCell, q: Tensor, res_limit: float = 0.0, bragg_tolerance: float | None = None
) -> QPoints:
    """Points of a list of q.

    Parameters
    ----------
    cell : UnitCell
    q : Tensor, shape (n_q, 3)
        1/Å, 2*pi included. Used without copying; differentiable.
    res_limit : float
        q of smaller d (Å) are not valid.
    bragg_tolerance : float, optional
        How close to integers all three indices must be for a Bragg point; see `is_bragg`.
    """
    hkl = cell.hkl_from_q(q)
    valid = within(cell, q, res_limit) & ~is_bragg(hkl, bragg_tolerance)
    return QPoints(q, hkl, find_zone_points(hkl.detach()), valid)


def grid_points(
    cell: UnitCell, grid: HklGrid, res_limit: float = 0.0, bragg_tolerance: float | None = None
) -> QPoints:
    """Points of a regular grid: hkl are fixed, q follow the cell."""
    exact = torch.from_numpy(grid.hkl)
    hkl = exact.to(cell.matrix)
    q = cell.q_from_hkl(hkl)
    zone = grid_zone_points(grid)
    zone = ZonePoints(zone.k_frac.to(hkl), zone.index.to(hkl.device))
    # Bragg points are decided by the float64 indices of the grid, in any dtype.
    valid = within(cell, q, res_limit) & ~is_bragg(exact, bragg_tolerance).to(hkl.device)
    return QPoints(q, hkl, zone, valid)


def within(cell: UnitCell, q: Tensor, res_limit: float) -> Tensor:
    """Whether each q has a resolution of at least `res_limit`, shape (n_q,), bool."""
    return cell.resolution(q.detach()) >= res_limit * (1 - SAME_RESOLUTION)


def within_square(q_squared: Tensor, res_limit: float) -> Tensor:
    """`within` from ``|q|^2`` (1/Å^2), of the same shape."""
    if res_limit == 0:
        return torch.ones_like(q_squared, dtype=torch.bool)
    return q_squared <= (TWO_PI / (res_limit * (1 - SAME_RESOLUTION))) ** 2
