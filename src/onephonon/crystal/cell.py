"""The lattice: unit cell, reciprocal space, zone points and regular hkl grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI

#: A cell this flat (height of c over the ab plane, relative and squared) spans no volume.
FLAT = 1e-8


@dataclass(frozen=True)
class UnitCell:
    """A unit cell.

    Parameters
    ----------
    matrix : Tensor, shape (3, 3)
        Columns are the cell axes in Å: ``x_cart = matrix @ x_frac``. Everything computed from it
        is differentiable in it.
    """

    matrix: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor | Sequence[float]) -> UnitCell:
        """Build the cell from (a, b, c, alpha, beta, gamma), with a along x and b in the xy plane.

        Parameters
        ----------
        parameters : Tensor or sequence of float, shape (6,)
            Lengths in Å and angles in degrees; differentiable.

        Raises
        ------
        InputError
            If the six numbers do not span a cell.
        """
        if isinstance(parameters, Tensor) and parameters.is_floating_point():
            p = parameters
        else:
            p = torch.as_tensor(parameters, dtype=torch.float64)
        if p.shape != (6,):
            raise InputError(
                f"cell parameters are six numbers (a, b, c, alpha, beta, gamma), "
                f"got shape {tuple(p.shape)}"
            )
        a, b, c = p[0], p[1], p[2]
        cos_a, cos_b, cos_g = torch.cos(torch.deg2rad(p[3:])).unbind()
        sin_g = torch.sin(torch.deg2rad(p[5]))
        c_y = (cos_a - cos_b * cos_g) / sin_g
        c_z_squared = 1 - cos_b**2 - c_y**2
        if not bool((p > 0).all() & (c_z_squared > FLAT)):
            raise InputError(
                f"cell parameters {p.tolist()} do not span a cell: lengths must be "
                "positive and each angle smaller than the sum of the other two"
            )
        zero = torch.zeros_like(a)
        rows = [
            torch.stack([a, b * cos_g, c * cos_b]),
            torch.stack([zero, b * sin_g, c * c_y]),
            torch.stack([zero, zero, c * torch.sqrt(c_z_squared)]),
        ]
        return cls(torch.stack(rows))

    @property
    def inverse(self) -> Tensor:
        """Inverse matrix; its rows are the reciprocal axes without 2*pi, shape (3, 3), 1/Å."""
        return torch.linalg.inv(self.matrix)

    @property
    def volume(self) -> Tensor:
        """Cell volume in Å^3."""
        return torch.linalg.det(self.matrix).abs()

    @property
    def parameters(self) -> tuple[float, float, float, float, float, float]:
        """(a, b, c, alpha, beta, gamma) in Å and degrees, as plain numbers."""
        axes = self.matrix.detach().to(torch.float64)
        lengths = torch.linalg.vector_norm(axes, dim=0)
        cosines = (axes.T @ axes) / torch.outer(lengths, lengths)
        angles = torch.rad2deg(torch.acos(cosines.clamp(-1.0, 1.0)))
        return (
            *(float(x) for x in lengths),
            float(angles[1, 2]),
            float(angles[0, 2]),
            float(angles[0, 1]),
        )  # type: ignore[return-value]

    @property
    def spacings(self) -> Tensor:
        """Distances between the lattice planes (100), (010), (001) in Å, shape (3,)."""
        return 1.0 / torch.linalg.vector_norm(self.inverse, dim=1)

    def q_from_hkl(self, hkl: Tensor) -> Tensor:
        """Scattering vectors ``q = 2*pi hkl @ matrix^-1`` (1/Å, 2*pi included), shape (..., 3)."""
        return TWO_PI * (hkl @ self.inverse)

    def hkl_from_q(self, q: Tensor) -> Tensor:
        """Miller indices (fractional) of scattering vectors, shape (..., 3)."""
        return (q @ self.matrix) / TWO_PI

    def resolution(self, q: Tensor) -> Tensor:
        """Resolution ``d = 2*pi/|q|`` in Å, infinite at the origin, shape (...)."""
        return TWO_PI / torch.linalg.vector_norm(q, dim=-1)

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> UnitCell:
        """Return the same cell on another device or in another dtype."""
        return UnitCell(self.matrix.to(device=device, dtype=dtype))
