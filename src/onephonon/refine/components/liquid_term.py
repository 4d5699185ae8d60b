"""Liquid-like motions of the crystal as a term of a fit, by the Patterson map.

Order n is ``|q|^(2 n) / n!`` times the intensity of atoms weighted by ``U_j^(n/2)`` with the
correlation to the power n, whose length is ``gamma / n``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.stats import poisson
from torch import Tensor

from onephonon.crystal.crystal import Crystal, mean_square

from .liquid_ladder import PattersonMap, liquid_intensities
from .voxel_frame import VoxelFrame

#: Largest change of the logarithm of the length from the start, a factor of 7, and number of
#: lengths in that range between which intensities are interpolated by cubic splines: they err by
#: less than 1e-3.
MAX_CHANGE, N_LENGTHS = 2.0, 21

#: Part of the intensity of an atom that orders left out may have, at the largest q.
NEGLECTED = 1e-3

#: Length from which the search starts, and which the baseline has, Å.
START = 8.0


@dataclass(frozen=True, eq=False)
class PattersonLiquidTerm:
    """Liquid-like motions of all atoms of the crystal, each by its own U.

    Parameters
    ----------
    crystal : Crystal
    frame : VoxelFrame
    gamma : float
        Å, from which the search starts.
    fixed : bool
        Whether gamma is not fitted.
    order : int or None
        Number of orders that are summed; None for all.
    """

    crystal: Crystal
    frame: VoxelFrame
    gamma: float = START
    fixed: bool = False
    order: int | None = 1
    name: str = "liquid"
    max_change: float = MAX_CHANGE

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
    def patterson(self) -> tuple[PattersonMap, ...]:
        """The Patterson map of each order."""
        root = mean_square(self.crystal.U).sqrt()
        found, occupancies = [], self.crystal.occupancies
        for _ in range(self.n_orders):
            occupancies = occupancies * root
            weighted = self.crystal.with_tensors(occupancies=occupancies)
            found.append(PattersonMap.of(weighted, self.frame))
        return tuple(found)

    @property
    def n_orders(self) -> int:
        """Number of orders; of all, those beyond which less than `NEGLECTED` is left."""
        if self.order is not None:
            return self.order
        u = mean_square(self.crystal.U)
        most = float(self.frame.q.square().sum(dim=1).max()) * float(torch.quantile(u, 0.9))
        n = 1
        while poisson.sf(n, most) > NEGLECTED:
            n += 1
        return n

    @cached_property
    def table(self) -> CubicSpline:
        """Intensity (N,) as a function of the change of the logarithm of gamma."""
        changes = np.linspace(-MAX_CHANGE, MAX_CHANGE, N_LENGTHS)
        values = np.stack([self.at_length(self.gamma * math.exp(x)).numpy() for x in changes])
        return CubicSpline(changes, values)

    def intensity(self, x: Tensor) -> Tensor:
        """Intensity at each voxel, e^2 per cell."""
        return self.slopes(x)[0]

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Intensity, and its derivative by the logarithm of gamma."""
        if not self.n:
            value = self.at_length(self.gamma)
            return value, value.new_zeros(len(value), 0)
        at = float(x.detach()[0])
        value, slope = (torch.from_numpy(self.table(at, n)).to(self.frame.q) for n in (0, 1))
        return value, slope[:, None]

    def at_length(self, length: float) -> Tensor:
        """Intensity at each voxel for a correlation length, without interpolation."""
        square = self.frame.q.square().sum(dim=1)
        total, factor = torch.zeros_like(square), torch.ones_like(square)
        for n, patterson in enumerate(self.patterson, start=1):
            factor = factor * square / n
            found = liquid_intensities([patterson], self.frame, length / n)[:, 0].to(square)
            total = total + factor * found
        return total
