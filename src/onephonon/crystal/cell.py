"""The unit cell: its axes, and conversion between Miller indices and scattering vectors.

One class serves torch tensors, for gradients, and NumPy arrays, for maps: results have the type of
its matrix. Torch is imported only where a tensor is requested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: A torch tensor or a NumPy array; results are of the same kind.
Array = Any

#: A cell with a smaller value than this has no volume: square of the height of c above the ab
#: plane, relative to c.
FLAT = 1e-8


@dataclass(frozen=True, eq=False)
class UnitCell:
    """A unit cell.

    Parameters
    ----------
    matrix : Tensor or ndarray, shape (3, 3)
        Columns are the cell axes in Å: ``x_cart = matrix @ x_frac``. Everything computed from it
        is of the same kind and, for a tensor, differentiable in it.
    """

    matrix: Array

    @classmethod
    def from_parameters(cls, parameters: Tensor | NDArray[Any] | Sequence[float]) -> UnitCell:
        """Create the cell from (a, b, c, alpha, beta, gamma), with a along x and b in the xy plane.

        Parameters
        ----------
        parameters : Tensor, ndarray or sequence of float, shape (6,)
            Lengths in Å and angles in degrees; differentiable. A NumPy array gives a cell of NumPy
            arrays, anything else one of tensors.

        Raises
        ------
        InputError
            If the six numbers do not span a cell.
        """
        p = _parameters(parameters)
        xp = _namespace(p)
        if tuple(p.shape) != (6,):
            raise InputError(
                f"cell parameters are six numbers (a, b, c, alpha, beta, gamma), "
                f"got shape {tuple(p.shape)}"
            )
        a, b, c = p[0], p[1], p[2]
        cos_a, cos_b, cos_g = xp.cos(xp.deg2rad(p[3:]))
        sin_g = xp.sin(xp.deg2rad(p[5]))
        spans = bool((p > 0).all() & (abs(sin_g) > FLAT))
        if spans:
            c_y = (cos_a - cos_b * cos_g) / sin_g
            c_z_squared = 1 - cos_b**2 - c_y**2
            spans = bool(c_z_squared > FLAT)
        if not spans:
            raise InputError(
                f"cell parameters {p.tolist()} do not span a cell of positive volume: "
                "lengths must be positive and each angle smaller than the sum of the other two"
            )
        zero = xp.zeros_like(a)
        rows = [
            xp.stack([a, b * cos_g, c * cos_b]),
            xp.stack([zero, b * sin_g, c * c_y]),
            xp.stack([zero, zero, c * xp.sqrt(c_z_squared)]),
        ]
        return cls(xp.stack(rows))

    @property
    def inverse(self) -> Array:
        """Inverse matrix; its rows are the reciprocal axes without 2*pi, shape (3, 3), 1/Å."""
        return _namespace(self.matrix).linalg.inv(self.matrix)

    @property
    def volume(self) -> Array:
        """Cell volume in Å^3."""
        return abs(_namespace(self.matrix).linalg.det(self.matrix))

    @property
    def parameters(self) -> tuple[float, float, float, float, float, float]:
        """(a, b, c, alpha, beta, gamma) in Å and degrees, as plain numbers."""
        xp, axes = _namespace(self.matrix), self.matrix
        if xp is not np:
            axes = axes.detach().to(xp.float64)
        lengths = xp.linalg.norm(axes, axis=0)
        cosines = (axes.T @ axes) / xp.outer(lengths, lengths)
        angles = xp.rad2deg(xp.arccos(xp.clip(cosines, -1.0, 1.0)))
        return (
            *(float(x) for x in lengths),
            float(angles[1, 2]),
            float(angles[0, 2]),
            float(angles[0, 1]),
        )  # type: ignore[return-value]

    @property
    def spacings(self) -> Array:
        """Distances between the lattice planes (100), (010), (001) in Å, shape (3,)."""
        return 1.0 / _namespace(self.matrix).linalg.norm(self.inverse, axis=1)

    def q_from_hkl(self, hkl: Array) -> Array:
        """Scattering vectors ``q = 2*pi hkl @ matrix^-1`` (1/Å, 2*pi included), shape (..., 3)."""
        return TWO_PI * (hkl @ self.inverse)

    def hkl_from_q(self, q: Array) -> Array:
        """Miller indices (fractional) of scattering vectors, shape (..., 3)."""
        return (q @ self.matrix) / TWO_PI

    def resolution(self, q: Array) -> Array:
        """Resolution ``d = 2*pi/|q|`` in Å, infinite at the origin, shape (...)."""
        with np.errstate(divide="ignore"):
            return TWO_PI / _namespace(q).linalg.norm(q, axis=-1)

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> UnitCell:
        """Return the same cell, as tensors, on another device or in another dtype."""
        import torch

        return UnitCell(torch.as_tensor(self.matrix).to(device=device, dtype=dtype))

    def numpy(self) -> UnitCell:
        """Return the same cell as NumPy arrays in double precision, without a gradient."""
        if isinstance(self.matrix, np.ndarray):
            return UnitCell(self.matrix.astype(np.float64, copy=False))
        return UnitCell(self.matrix.detach().cpu().double().numpy())

    def __str__(self) -> str:
        return "(" + ", ".join(f"{x:.5g}" for x in self.parameters) + ")"


def numpy_cell(parameters: Sequence[float]) -> UnitCell:
    """Unit cell of six numbers (Å, degrees) in NumPy, as maps use it.

    Raises
    ------
    InputError
        If the six numbers do not span a cell.
    """
    return UnitCell.from_parameters(np.asarray(parameters, dtype=np.float64))


def lengths_on_grid(
    matrix: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Lengths of ``matrix @ (x_i, y_j, z_k)`` on a grid, shape (len(x), len(y), len(z)).

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        Axes as columns.
    x, y, z : ndarray, shapes (n_x,), (n_y,) and (n_z,)
    """
    metric = matrix.T @ matrix
    x, y, z = x[:, None, None], y[:, None], z
    squared = metric[0, 0] * x**2 + metric[1, 1] * y**2 + metric[2, 2] * z**2
    squared = squared + 2 * (metric[0, 1] * x * y + metric[0, 2] * x * z + metric[1, 2] * y * z)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


def check_cell(cell: Sequence[float] | NDArray[Any]) -> tuple[float, ...]:
    """Check a user's cell parameters and return them as six plain numbers.

    Parameters
    ----------
    cell : sequence of six float
        a, b, c in Å; alpha, beta, gamma in degrees.

    Raises
    ------
    InputError
        If they are not six finite numbers, or do not span a cell.
    """
    try:
        checked = tuple(float(x) for x in np.asarray(cell, dtype=np.float64).reshape(-1))
    except (TypeError, ValueError):
        checked = ()
    if len(checked) != 6 or not all(math.isfinite(x) for x in checked):
        raise InputError(
            f"cell {checked or cell} is not six finite numbers (a, b, c in Å, alpha, beta, gamma "
            "in degrees)"
        )
    numpy_cell(checked)
    return checked


def _parameters(samplings: Tensor | NDArray[Any] | Sequence[float]) -> Array:
    """Cell parameters as an array; integers are converted to double precision."""
    if isinstance(samplings, np.ndarray):
        return samplings.astype(np.float64, copy=False)
    import torch

    if isinstance(samplings, torch.Tensor) and samplings.is_floating_point():
        return samplings
    return torch.as_tensor(samplings, dtype=torch.float64)


def _namespace(array: Array) -> Any:
    """The library of an array: NumPy, or torch, which is then already imported."""
    if isinstance(array, np.ndarray | np.generic):
        return np
    import torch

    return torch
