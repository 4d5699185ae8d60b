"""Correlation of two atoms' displacements as a function of their distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Atoms closer than this (Å) are at one place, such as alternative conformers, or an atom on a
#: symmetry element and its copy: coordinates have three decimals.
COINCIDENT = 1e-6


@dataclass(frozen=True)
class Correlation:
    """``exp(-r/gamma)``, or ``(1 - mix) exp(-r/gamma) + mix exp(-r/gamma2)``; 1 at r = 0.

    Parameters
    ----------
    gamma : Tensor, shape ()
        Length in Å.
    gamma2, mix : Tensor, shape (), optional
        A second length, Å, and its share.
    """

    gamma: Tensor
    gamma2: Tensor | None = None
    mix: Tensor | None = None

    def __call__(self, distance: Tensor) -> Tensor:
        """The correlation at distances in Å, of any shape; differentiable."""
        first = torch.exp(-distance / self.gamma)
        if self.gamma2 is None or self.mix is None:
            return first
        return (1 - self.mix) * first + self.mix * torch.exp(-distance / self.gamma2)

    def reach(self, tolerance: float) -> float:
        """Distance in Å beyond which the correlation is below a tolerance."""
        longest = float(self.gamma.detach())
        if self.gamma2 is not None:
            longest = max(longest, float(self.gamma2.detach()))
        return -math.log(tolerance) * longest


def distances(vectors: Tensor) -> Tensor:
    """Lengths of vectors (..., 3), shape (...); below `COINCIDENT` 0 with the slope 0.

    An atom's distance to itself never changes. That of two atoms at one place has a cusp, whose
    slope is zero on average over all directions.
    """
    square = vectors.square().sum(-1)
    apart = square > COINCIDENT**2
    return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)
