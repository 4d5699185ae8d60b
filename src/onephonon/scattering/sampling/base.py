"""Base class of all samples of q, and checks of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.zone import ZonePoints, find_zone_points

from ..points import QPoints

Number = float | Tensor
Vector = Tensor | Sequence[Number]


@dataclass(frozen=True)
class QSample:
    """Scattering vectors, and the shape of results computed at them.

    Parameters
    ----------
    q : Tensor, shape (N, 3)
        1/Å, 2*pi included; differentiable in the cell and in the parameters of the sample.
    hkl : Tensor, shape (N, 3)
        The same points in Miller indices, fractional.
    valid : Tensor, shape (N,), bool
        False at Bragg points, and closer to one than the tolerance.
    shape : tuple of int
        The shape of the results, last index fastest.
    """

    q: Tensor
    hkl: Tensor
    valid: Tensor
    shape: tuple[int, ...]

    @property
    def n_points(self) -> int:
        """Number of q, N."""
        return int(self.q.shape[0])

    def restore_shape(self, values: Tensor) -> Tensor:
        """Reshape one result per q to the shape of the sample.

        Parameters
        ----------
        values : Tensor, shape (N, ...)
            In the order of q; differentiable.

        Returns
        -------
        Tensor, shape (*shape, ...)

        Raises
        ------
        InputError
            If there is not one value per q.
        """
        self._check_one_per_q("values", values)
        return values.reshape(*self.shape, *values.shape[1:])

    def zone_points(self) -> ZonePoints:
        """Distinct phonon wavevectors of the points; discrete, without gradient."""
        return find_zone_points(self.hkl.detach())

    def points(self) -> QPoints:
        """The sample as points for the model: q, hkl, zone points and mask."""
        return QPoints(self.q, self.hkl, self.zone_points(), self.valid)

    def _check_one_per_q(self, name: str, values: Tensor) -> None:
        if values.ndim == 0 or values.shape[0] != self.n_points:
            raise InputError(
                f"{name} has shape {tuple(values.shape)}, the sample has {self.n_points} points; "
                "give one for each q, in the order of q"
            )


def check_number(name: str, value: Number, like: Tensor) -> Tensor:
    """Check a number; return a finite 0-d tensor with the dtype and device of `like`."""
    number = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if number.ndim or not bool(torch.isfinite(number.detach())):
        raise InputError(f"{name} {value} is not one finite number")
    return number


def check_positive(name: str, value: Number, like: Tensor, unit: str) -> Tensor:
    """Check a number above zero; return a 0-d tensor."""
    number = check_number(name, value, like)
    if not float(number.detach()) > 0:
        raise InputError(f"{name} {float(number.detach()):g} {unit}: give a number above zero")
    return number


def check_vector(name: str, value: Vector, like: Tensor, n: int = 3) -> Tensor:
    """Check `n` numbers (or tensors); return a finite tensor of shape (n,)."""
    vector = value if isinstance(value, Tensor) else _stack(name, value, like)
    vector = vector.to(like)
    if vector.shape != (n,) or not bool(torch.isfinite(vector.detach()).all()):
        raise InputError(f"{name} {vector.tolist()} is not {n} finite numbers")
    return vector


def check_count(name: str, value: int, minimum: int = 1) -> int:
    """Check a whole number of at least `minimum`."""
    if not float(value).is_integer() or value < minimum:
        raise InputError(f"{name} {value}: give a whole number, {minimum} or more")
    return int(value)


def check_resolution_range(d_min: float, d_max: float) -> None:
    """Check that a resolution range (Å) is not empty; d_max may be infinite."""
    if not (math.isfinite(d_min) and 0 < d_min < d_max):
        raise InputError(
            f"d_min {d_min:g} Å and d_max {d_max:g} Å bound no resolution range; "
            "give 0 < d_min < d_max (d_min is the finer one)"
        )


def _stack(name: str, values: Sequence[Number], like: Tensor) -> Tensor:
    if len(values) == 0:
        raise InputError(f"{name} is empty; give at least one number")
    return torch.stack([check_number(name, v, like) for v in values])
