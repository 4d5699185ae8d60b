"""Electrons of each body on the grid of a measured density."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI


@dataclass(frozen=True, eq=False)
class BodyDensity:
    """Electrons of every body on the grid of a density.

    Parameters
    ----------
    shape : tuple of three int
        Grid points per axis of the cell: point m is at fractional coordinates ``m / shape``.
    starts : tuple of three int, for each body
        First point of its box, which may lie outside the cell.
    electrons : tuple of Tensor, each of shape (n_1, n_2, n_3)
        Of each point of the box, less those of the solvent it displaces.
    q_max : float
        Largest |q| of the data, 1/Å.
    level : float
        Density that was subtracted, that of the solvent, e/Å^3.
    solvent_share : float
        Share of the cell that is bulk solvent.
    source : str
    scale : float
        Factor that put the density on the scale of the structure.
    agreement : float
        Correlation of its structure factors with those of the atoms; NaN if not compared.
    """

    shape: tuple[int, int, int]
    starts: tuple[tuple[int, int, int], ...]
    electrons: tuple[Tensor, ...]
    q_max: float
    level: float
    solvent_share: float
    source: str
    scale: float = 1.0
    agreement: float = math.nan

    def to(self, fn: Callable[[Tensor], Tensor]) -> BodyDensity:
        """The same on another device or in another dtype."""
        return replace(self, electrons=tuple(fn(e) for e in self.electrons))

    def points(self, body: int, matrix: Tensor) -> Tensor:
        """Cartesian coordinates of the points of a body's box, Å, shape (n_1 n_2 n_3, 3).

        Parameters
        ----------
        body : int
        matrix : Tensor, shape (3, 3)
            Axes of the cell as columns, Å; differentiable in it.
        """
        axes = [
            (torch.arange(n).to(matrix) + start) / m
            for n, start, m in zip(
                self.electrons[body].shape, self.starts[body], self.shape, strict=True
            )
        ]
        return torch.cartesian_prod(*axes) @ matrix.T

    def distances(self, body: int, centre: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of the points of a body from a centre, Å, and the size of their electrons.

        Parameters
        ----------
        body : int
        centre : Tensor, shape (3,), Å
        matrix : Tensor, shape (3, 3)
            Axes of the cell as columns, Å.
        """
        r = torch.linalg.vector_norm(self.points(body, matrix) - centre, dim=1)
        size = self.electrons[body].reshape(-1).abs()
        return r[size > 0], size[size > 0]

    def __str__(self) -> str:
        text = f"density: {self.source} to {TWO_PI / self.q_max:.3g} Å"
        if not math.isnan(self.agreement):
            text += f", times {self.scale:.4g}, agrees with the atoms at {self.agreement:.3f}"
        solvent = f"bulk solvent of {self.level:.3g} e/Å³ in {100 * self.solvent_share:.2g} %"
        none = "no bulk solvent"
        text += f"; {solvent if self.solvent_share else none} of the cell; "
        return text + f"{self.total / len(self.electrons):.1f} electrons of contrast in a body"

    @property
    def total(self) -> float:
        """Electrons of all bodies of the cell, less those of the solvent they displace."""
        return math.fsum(float(e.sum()) for e in self.electrons)
