"""`HigherSlopes`: orders beyond the first and their derivatives by the springs, at any q."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..amplitudes.base import AmplitudeEngine
from ..points import QPoints
from .higher_orders import HigherOrders
from .pair_sums import pair_slopes


@dataclass(frozen=True, eq=False)
class HigherSlopes:
    """The orders of a lattice's scattering beyond the first, with their derivatives.

    Parameters
    ----------
    higher : HigherOrders
    tangents : Tensor, shape (n_springs, n_pairs, w, w)
        Derivatives of the covariances by the springs; see `pair_tangents`.
    """

    higher: HigherOrders
    tangents: Tensor

    def at(self, q: Tensor, hkl: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Intensity (n_q,) and its derivatives (n_q, n_springs) at a list of q; no gradient."""
        higher = self.higher
        degrees = higher.truncation.degrees
        how = q, hkl, moments, higher.length, degrees, higher.order
        return pair_slopes(higher.pairs, self.tangents, *how)

    @torch.no_grad()
    def at_points(
        self,
        engine: AmplitudeEngine,
        points: QPoints,
        U: Tensor,
        batch_size: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same at points, zero where not valid; arguments as for `HigherOrders.at_points`."""
        higher, bodies = self.higher, self.higher.pairs.bodies
        value = torch.zeros_like(points.q[:, 0])
        slopes = value.new_zeros(points.n_q, len(self.tangents))
        where = points.valid.nonzero().squeeze(1)
        for part in where.split(batch_size or higher.batch(engine)):
            q = points.q[part]
            moments = engine.moments(bodies, q, U, higher.degree, higher.length, batch_size)
            value[part], slopes[part] = self.at(q, points.hkl[part], moments)
        return value, slopes
