"""A regular grid of q."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid, check_samplings
from onephonon.crystal.zone import ZonePoints, grid_zone_points

from .base import QSample
from .bragg import near_bragg


@dataclass(frozen=True)
class GridSample(QSample):
    """A regular grid; `shape` is (n_h, n_k, n_l).

    Parameters
    ----------
    grid : HklGrid
        The grid of Miller indices.
    """

    grid: HklGrid

    def zone_points(self) -> ZonePoints:
        """Distinct phonon wavevectors of the grid."""
        zone = grid_zone_points(self.grid)
        return ZonePoints(zone.k_frac.to(self.q), zone.index.to(self.q.device))


def grid(
    cell: UnitCell,
    hsampling: Sequence[float],
    ksampling: Sequence[float],
    lsampling: Sequence[float],
    *,
    bragg_radius: float | None = None,
) -> GridSample:
    """Sample reciprocal space on a regular grid, as in the grid mode of the model.

    Parameters
    ----------
    cell : UnitCell
        Differentiable.
    hsampling, ksampling, lsampling : (min, max, samples per Miller index)
        See `check_samplings`.
    bragg_radius : float, optional
        Points nearer to a Bragg peak (1/Å, 2*pi included) are not valid; see `near_bragg`.

    Raises
    ------
    InputError
        As `check_samplings` and `near_bragg` raise it.
    """
    lattice = check_samplings(hsampling, ksampling, lsampling)
    hkl = torch.from_numpy(lattice.hkl).to(cell.matrix)
    q = cell.q_from_hkl(hkl)
    return GridSample(q, hkl, ~near_bragg(cell, q, bragg_radius), lattice.shape, lattice)
