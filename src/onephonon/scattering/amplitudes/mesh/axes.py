"""Phase factors along each axis of a grid of hkl, and their products with densities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI
from onephonon.crystal.zone import fold, is_bragg

from ...grid_rows import GridRows
from .density import Box

#: Wavevector used in place of a Bragg point, whose intensity is not defined.
ELSEWHERE = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class ThirdAxis:
    """The third axis by residue class: values, indices, and phase factors of each body.

    Shapes (n_classes, m) and (n_classes, m, n_3); the last ones may be beyond the axis.
    """

    first: int
    last: int
    index: Tensor
    l: Tensor  # noqa: E741
    waves: tuple[Tensor, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, boxes: Sequence[Box], fraction: float, rows: GridRows, like: Tensor) -> ThirdAxis:
        """Create for the boxes of all bodies, with the dtype and on the device of a tensor."""
        axis, n = rows.axes[2].to(like.device), rows.grid.samples[2]
        first, last, _ = rows.region[2].indices(len(axis))
        m = -(-(last - first) // n)
        index = first + torch.arange(m * n, device=axis.device).reshape(m, n).T
        l = axis[index.clamp(max=last - 1)]  # noqa: E741
        waves = tuple(
            waves_along(l.reshape(-1), box, 2, fraction, like).reshape(n, m, -1) for box in boxes
        )
        return cls(first, last, index, l, waves, like.dtype)

    def zone_points(
        self, h: Tensor, k: Tensor, bragg_tolerance: float | None
    ) -> tuple[Tensor, Tensor]:
        """Zone points of the classes at one h and k, and whether each is a Bragg point."""
        n = len(self.l)
        k_frac = fold(torch.stack([h.expand(n), k.expand(n), self.l[:, 0]], dim=1))
        bragg = is_bragg(k_frac, bragg_tolerance)
        k_frac = torch.where(bragg[:, None], k_frac.new_tensor(ELSEWHERE), k_frac)
        return k_frac.to(self.dtype), bragg


def waves_along(hkl: Tensor, box: Box, axis: int, fraction: float, like: Tensor) -> Tensor:
    """``exp(2 pi i h x)`` for values of one Miller index and the mesh points of a box.

    Parameters
    ----------
    hkl : Tensor, shape (n,)
    box : Box
    axis : int
        Of the mesh and of hkl.
    fraction : float
        Step of the mesh along it in fractional coordinates.
    like : Tensor
        Sets dtype and device.

    Returns
    -------
    Tensor, shape (n, box.shape[axis]), complex
    """
    m = box.start[axis] + torch.arange(box.shape[axis], device=like.device)
    angle = TWO_PI * torch.outer(hkl, m.to(hkl.dtype) * fraction)
    wave = torch.polar(torch.ones_like(angle), angle)
    return wave.to(like.dtype.to_complex())


def apply_real(waves: Tensor, density: Tensor) -> Tensor:
    """A complex matrix applied to the first axis of a real density, (n_w, n_rows, n_2, n_3)."""
    n_w, n_1, n_2, n_3 = density.shape
    flat = density.reshape(n_w, n_1, -1)
    both = torch.complex(waves.real @ flat, waves.imag @ flat)
    return both.reshape(n_w, -1, n_2, n_3)


def apply_real_by_point(waves: Tensor, density: Tensor) -> Tensor:
    """The same with all weights of a point of the mesh together, (n_rows, n_2, n_w, n_3).

    For many weights: the density is read once.
    """
    n_w, n_1, n_2, n_3 = density.shape
    both = torch.cat([waves.real, waves.imag]) @ density.reshape(n_w, n_1, -1)
    parts = both.reshape(n_w, 2, -1, n_2, n_3).permute(1, 2, 3, 0, 4).unbind(0)
    return torch.view_as_complex(torch.stack(parts, dim=4))
