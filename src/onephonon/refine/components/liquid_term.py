"""Liquid-like motions of the crystal as a term of a fit, by the Patterson map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from onephonon.crystal.crystal import Crystal, mean_square

from .liquid_ladder import PattersonMap, liquid_intensities
from .voxel_frame import VoxelFrame

#: Step of the logarithm of the length for its derivative, which errs by its square.
STEP = 1e-2

#: Length from which the search starts, and which the baseline has, Å.
START = 8.0


@dataclass(frozen=True, eq=False)
class PattersonLiquidTerm:
    """Liquid-like motions of all atoms of the crystal, each by its own U, in the first order.

    Parameters
    ----------
    crystal : Crystal
    frame : VoxelFrame
    gamma : float
        Å, from which the search starts.
    fixed : bool
        Whether gamma is not fitted.
    """

    crystal: Crystal
    frame: VoxelFrame
    gamma: float = START
    fixed: bool = False
    name: str = "liquid"
    max_change: float = 3.0

    @property
    def text(self) -> str:
        """As it is written, with the gamma of the start."""
        return f"liquid:scope=crystal,gamma={self.gamma:g}"

    @property
    def n(self) -> int:
        """The logarithm of gamma, unless it is fixed."""
        return 0 if self.fixed else 1

    @property
    def reported(self) -> tuple[tuple[str, str], ...]:
        """Gamma, unless it is fixed."""
        return () if self.fixed else (("liquid:gamma", "Å"),)

    def report(self, x: Tensor, share: Tensor) -> Tensor:  # noqa: ARG002  (as in the interface)
        """The correlation length."""
        return self.gamma * torch.exp(x)

    @cached_property
    def patterson(self) -> PattersonMap:
        """The Patterson map of atoms weighted by the square root of their U."""
        root = mean_square(self.crystal.U).sqrt()
        weighted = self.crystal.with_tensors(occupancies=self.crystal.occupancies * root)
        return PattersonMap.of(weighted, self.frame)

    def intensity(self, x: Tensor) -> Tensor:
        """Intensity at each voxel, e^2 per cell."""
        return self._at(float(x.detach()[0]) if self.n else 0.0)

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Intensity, and its derivative by the logarithm of gamma from a central difference."""
        value = self.intensity(x)
        if not self.n:
            return value, value.new_zeros(len(value), 0)
        at = float(x.detach()[0])
        slope = (self._at(at + STEP) - self._at(at - STEP)) / (2 * STEP)
        return value, slope[:, None]

    def _at(self, change: float) -> Tensor:
        length = self.gamma * math.exp(change)
        found = liquid_intensities([self.patterson], self.frame, length)[:, 0].to(self.frame.q)
        return found * self.frame.q.square().sum(dim=1)
