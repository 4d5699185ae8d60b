"""Gradients of a non-uniform Fourier sum, at little more than the cost of one value.

FINUFFT gives values only; derivatives along x would need the transforms of ``m_x f_m``, three more
for each mesh. Here an oversampled mesh is transformed once and interpolated at every point with the
derivative of the window (Kaiser-Bessel: Jackson et al., IEEE Trans. Med. Imaging 10, 473, 1991;
errors by width: Beatty et al., ibid. 24, 799, 2005).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
import torch
from numpy.polynomial import chebyshev, polynomial
from numpy.typing import NDArray
from scipy.special import i0
from torch import Tensor

from onephonon.core.compiled import compiled, in_threads
from onephonon.core.units import TWO_PI

#: Oversampling of the transformed mesh.
OVERSAMPLING = 2.0

#: Number of planes of the transformed mesh handled together, by one thread.
PLANES = 16

#: Points are sorted into boxes of this many mesh steps, for locality.
NEAR = 8


@dataclass(frozen=True)
class Window:
    """A Kaiser-Bessel window over `width` points of the transformed mesh.

    Parameters
    ----------
    width : int
    beta : float
        Shape parameter.
    values, slopes : ndarray, shape (n, width)
        Coefficients, highest power first, of polynomials in t for the window and its derivative
        at each of the points. (t + 1)/2 is the distance from the start of the window to its
        first point.
    """

    width: int
    beta: float
    values: NDArray[np.float64]
    slopes: NDArray[np.float64]

    @property
    def before(self) -> int:
        """Number of points of the transformed mesh before x = 0 that it needs."""
        return self.width // 2 + 1

    def transform(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fourier transform of the window at frequencies in cycles per mesh point."""
        root = np.sqrt(self.beta**2 - (math.pi * self.width * frequency) ** 2)
        found: NDArray[np.float64] = self.width * np.sinh(root) / (root * i0(self.beta))
        return found


@lru_cache
def window(eps: float) -> Window:
    """The narrowest window whose derivative has alias images below eps."""
    # Images decrease as exp(-pi width sqrt(1 - 1/oversampling)); a derivative multiplies them by
    # their frequency, up to a hundred times the frequencies on the mesh of a small body.
    rate = math.pi * math.sqrt(1 - 1 / OVERSAMPLING)
    width = min(16, max(4, math.ceil(math.log(100 / eps) / rate)))
    beta = math.pi * math.sqrt((width / OVERSAMPLING * (OVERSAMPLING - 0.5)) ** 2 - 0.8)
    degree = width + 6
    t = np.cos(math.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    z = width / 2 - (t[:, None] + 1) / 2 - np.arange(width)
    samples = i0(beta * np.sqrt(np.maximum(0, 1 - (2 * z / width) ** 2))) / i0(beta)
    fitted = chebyshev.chebfit(t, samples, degree)
    # A column for each Chebyshev polynomial: `cheb2poly` trims zeros at the end, which a
    # coefficient of the window may be.
    powers = np.zeros((degree + 1, degree + 1))
    for n in range(degree + 1):
        powers[: n + 1, n] = chebyshev.cheb2poly([0.0] * n + [1.0])
    values = powers @ fitted
    # The next point of the mesh is at t - 2.
    slopes = -2.0 * np.asarray(polynomial.polyder(values), dtype=np.float64)
    return Window(width, beta, values[::-1].copy(), slopes[::-1].copy())


def slopes_along(f: Tensor, x: Tensor, grad: Tensor, eps: float) -> Tensor:
    """``sum_w Re(conj(g_w) dF_w/dx)`` of ``F_w(x) = sum_m f_wm exp(i m.x)``, f real.

    Parameters
    ----------
    f : Tensor, shape (n_w, n_1, n_2, n_3)
        m is counted from the middle of the box.
    x : Tensor, shape (n, 3)
        Components within +-pi/1.1, since meshes are oversampled by 1.1 or more.
    grad : Tensor, shape (n_w, n), complex
        g.
    eps : float
        Relative accuracy, as for FINUFFT.

    Returns
    -------
    Tensor, shape (n, 3)
    """
    position = x.detach().cpu().numpy().astype(np.float64)
    g = grad.detach().cpu().numpy().T
    # F(-x) is the complex conjugate of F(x) for real f: half the mesh is enough.
    sign = np.where(position[:, :1] < 0, -1.0, 1.0)
    position *= sign
    kernel, sizes = _sizes(f.shape[1:], position, eps)
    planes = _planes(f.detach().cpu().numpy(), sizes, kernel)
    along = np.stack([g.real, -sign * g.imag], axis=2).reshape(len(g), 2 * len(f))
    middle = (kernel.before, sizes[1] // 2, sizes[2] // 2)
    at = position * (sizes / TWO_PI) + middle
    found = _interpolate(planes, sizes, at, along.astype(planes.real.dtype), kernel)
    return torch.from_numpy(found * sign * (sizes / TWO_PI)).to(f)


def _sizes(
    shape: Sequence[int], x: NDArray[np.float64], eps: float
) -> tuple[Window, NDArray[np.int64]]:
    """A window, and the even shape of the transformed mesh, with room for windows at its ends."""
    kernel = window(eps)
    margin = 0.5 - np.abs(x).max(0, initial=0.0) / TWO_PI
    assert margin.min() > 0.02, "q are too large for the mesh"
    min_sizes = np.maximum(OVERSAMPLING * np.array(shape), (kernel.width / 2 + 1) / margin)
    even = [2 * int(scipy.fft.next_fast_len(-(-math.ceil(n) // 2))) for n in min_sizes]
    return kernel, np.array(even)


def _planes(f: NDArray[Any], sizes: NDArray[np.int64], kernel: Window) -> NDArray[Any]:
    """Meshes divided by the transform of the window, transformed along the first axis only.

    Returns
    -------
    ndarray, shape (N_1/2 + 1 + 2 before, n_2, n_3, n_w), complex
        Signs along the other axes move x = 0 to the middle of the transformed mesh.
    """
    a = np.moveaxis(f, 0, -1).copy()
    for axis, size in enumerate(sizes):
        m = np.arange(a.shape[axis]) - a.shape[axis] // 2
        factor = 1 / kernel.transform(m / size) * (1.0 if axis == 0 else (-1.0) ** m)
        a *= factor.astype(a.dtype).reshape([-1 if i == axis else 1 for i in range(4)])
    a = scipy.fft.rfft(_spread(a, 0, sizes[0]), axis=0, workers=torch.get_num_threads())
    # Beyond its ends the transform of a real mesh is continued by its complex conjugate.
    e = kernel.before
    return np.concatenate([a[e:0:-1].conj(), a, a[-2 : -2 - e : -1].conj()])


def _spread(a: NDArray[Any], axis: int, size: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Reorder values counted from the middle of an axis for an FFT, padded with zeros."""
    n = a.shape[axis]
    if out is None:
        out = np.empty((*a.shape[:axis], size, *a.shape[axis + 1 :]), a.dtype)
    here = (slice(None),) * axis
    out[(*here, slice(0, n - n // 2))] = a[(*here, slice(n // 2, n))]
    out[(*here, slice(n - n // 2, size - n // 2))] = 0
    out[(*here, slice(size - n // 2, size))] = a[(*here, slice(0, n // 2))]
    return out


def _interpolate(
    planes: NDArray[Any],
    sizes: NDArray[np.int64],
    at: NDArray[np.float64],
    along: NDArray[Any],
    kernel: Window,
) -> NDArray[np.float64]:
    """Derivatives at positions in units of the transformed mesh, in batches of planes."""
    first = np.ceil(at - kernel.width / 2).astype(np.int64)
    if not len(at):
        return np.zeros((0, 3))
    slab = first[:, 0] // PLANES
    order = np.argsort((slab * sizes[1] + first[:, 1] // NEAR) * sizes[2] + first[:, 2])
    slabs, begin = np.unique(slab[order], return_index=True)
    found = np.empty_like(at)
    own = threading.local()

    def work(slab: tuple[int, NDArray[np.int64]]) -> None:
        start, members = slab[0] * PLANES, slab[1]
        part = planes[start : start + PLANES + kernel.width - 1]
        if not hasattr(own, "mesh"):  # reuse the memory, since allocation is slow
            n, m = (PLANES + kernel.width - 1, sizes[1]), part.shape[2:]
            own.half = np.empty((*n, *m), planes.dtype)
            own.mesh = np.empty((*n, sizes[2], m[1]), planes.dtype)
        half = _spread(part, 1, sizes[1], own.half[: len(part)])
        half = scipy.fft.fft(half, axis=1, overwrite_x=True)
        mesh = _spread(half, 2, sizes[2], own.mesh[: len(part)])
        mesh = scipy.fft.fft(mesh, axis=2, overwrite_x=True)
        rows = mesh.reshape(*mesh.shape[:2], -1).view(along.dtype)
        out = np.empty((len(members), 3))
        moved = at[members] - [start, 0, 0]
        _gather(rows, moved, along[members], kernel.values, kernel.slopes, out)
        found[members] = out

    in_threads(work, zip(slabs.tolist(), np.split(order, begin[1:]), strict=True))
    return found


@compiled
def _gather(
    fine: NDArray[Any],
    at: NDArray[np.float64],
    along: NDArray[Any],
    values: NDArray[np.float64],
    slopes: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """The loops of `_interpolate`: contracted with the gradient first, then axis by axis."""
    w, n_c = values.shape[1], along.shape[1]
    k, d = np.empty((3, w)), np.empty((3, w))
    row_k, row_d = np.empty(w * n_c, along.dtype), np.empty(w * n_c, along.dtype)
    start = np.empty(3, np.int64)
    for p in range(len(at)):
        for axis in range(3):
            first = math.ceil(at[p, axis] - w / 2)
            start[axis] = first
            t = 2 * (first - at[p, axis] + w / 2) - 1
            for j in range(w):
                k[axis, j], d[axis, j] = values[0, j], slopes[0, j]
            for power in range(1, len(values)):
                for j in range(w):
                    k[axis, j] = k[axis, j] * t + values[power, j]
            for power in range(1, len(slopes)):
                for j in range(w):
                    d[axis, j] = d[axis, j] * t + slopes[power, j]
        for m in range(w):
            for c in range(n_c):
                row_k[m * n_c + c] = k[2, m] * along[p, c]
                row_d[m * n_c + c] = d[2, m] * along[p, c]
        x, y, z = 0.0, 0.0, 0.0
        for i in range(w):
            u, v, r = 0.0, 0.0, 0.0
            for j in range(w):
                row = fine[start[0] + i, start[1] + j, start[2] * n_c : (start[2] + w) * n_c]
                value, slope = 0.0, 0.0
                for m in range(len(row_k)):
                    value += row[m] * row_k[m]
                    slope += row[m] * row_d[m]
                u += k[1, j] * value
                v += d[1, j] * value
                r += k[1, j] * slope
            x += d[0, i] * u
            y += k[0, i] * v
            z += k[0, i] * r
        out[p, 0], out[p, 1], out[p, 2] = x, y, z
