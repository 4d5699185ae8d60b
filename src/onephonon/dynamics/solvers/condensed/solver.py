"""`CondensedSolver`: the interior of the cell eliminated once, its boundary solved at each k.

For many bodies, such as single atoms and residues. Derivatives are reverse-mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from onephonon.core.progress import Progress

from ...stiffness_matrix import zone_chunk
from ..base import Solver
from .condensation import Condensed, condense
from .form import CondensedFactors, condensed_form
from .gamma import solve_at_gamma
from .zone_mean import zone_mean_inverse

#: Wavevectors handled between two reports of progress.
Q_BATCH = 4096


@dataclass(frozen=True)
class CondensedSolver(Solver):
    """``K(k)^-1`` with the interior of the cell factored once for all k."""

    @cached_property
    def condensed(self) -> Condensed:
        """The crystal with its interior factored; without gradient."""
        with torch.no_grad():
            return condense(self.bodies, self.constants)

    @property
    def zone_batch(self) -> int:
        """Number of zone points per batch."""
        return max(1, zone_chunk(self.condensed.n_boundary) // 4)

    @property
    def q_batch(self) -> int:
        """Number of q per batch, and between reports of progress, if G is given."""
        return Q_BATCH

    def quadratic_form(
        self, k_frac: Tensor, hkl: Tensor, G: Tensor, points: Tensor | None = None
    ) -> Tensor:
        """``G^H K(k)^-1 G``; see `Solver`. Reverse-mode derivatives, not inside torch.func."""
        return condensed_form(
            self.bodies, self.constants, self.condensed, k_frac, hkl, G, points, self.keep
        )

    def at(self, k_frac: Tensor) -> CondensedFactors:
        """K factored at zone points (n_k, 3)."""
        with torch.no_grad():
            return CondensedFactors.at(self.condensed, k_frac)

    def zone_mean(self, samples: Sequence[int], progress: Progress | None = None) -> Tensor:
        """Mean of each body's diagonal block of ``K(k)^-1``; see `Solver`."""
        return zone_mean_inverse(self.bodies, self.constants, samples, progress)

    def solve_at_gamma(self, loads: Tensor) -> Tensor:
        """Solve ``K(0) X = loads``; see `Solver`. Reverse-mode derivatives."""
        return solve_at_gamma(self.bodies, self.constants, self.condensed, loads)
