"""The acoustic part of zone averages near Gamma, where ``K(k)^-1`` diverges as 1/k^2.

A mesh leaves out the point Gamma, so a mean over n points along each axis is too small by a
fraction that falls only as 1/n. The divergent part ``f(k) = T A(k)^-1 T^T`` is known (see
`long_wave_stiffness`), and so is what is missing of it: with k = m/n and integers m,

    ``z = integral f d^3m - sum_{m != 0} f(m)``,

both over all of space, in the sense that both are cut off by the same smooth window as wide as you
like. What is left of ``K(k)^-1`` is bounded, and the error of the mean falls as 1/n^3.

The window is ``Q(J, x^T B x)``, the regularized incomplete gamma function: 1 - Q is of order
``|x|^2J`` at Gamma, so that f (1 - Q) is smooth there, and Q is a polynomial times a Gaussian, so
that by Poisson's sum formula sum and integral of f (1 - Q) agree. Such corrections are standard
for the 1/k^2 of exchange energies: Gygi & Baldereschi, Phys. Rev. B 34, 4405 (1986); Carrier,
Rohra & Görling, Phys. Rev. B 75, 205126 (2007).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from onephonon.core.errors import NetworkError
from onephonon.core.units import TWO_PI

#: Order J and width w of the window: at B = 1/w^2 sum and integral of a constant A differ by 1e-10
#: of z, and by 1e-5 where A differs by 6 between directions and B does not.
ORDER = 8
WIDTH = 2.0

#: The window is neglected where it is below 1e-14.
WINDOW_END = 56.0

#: Nodes of the integral over directions: polar (Gauss-Legendre), radial. The integrand is smooth.
N_POLAR = 24
N_RADIAL = 48

#: Shortest vectors of the dual lattice are searched up to this index.
MAX_INDEX = 4

#: Wavevectors per batch.
CHUNK = 200_000


def acoustic_correction(
    stiffness: Tensor, samples: Sequence[int], cells: Tensor | None = None
) -> Tensor:
    """What a mesh average of ``K(k)^-1 exp(-i k.R)`` lacks for the translation of the cell.

    Parameters
    ----------
    stiffness : Tensor, shape (3, 3, 3, 3)
        See `long_wave_stiffness`.
    samples : three int
        Mesh points of the Brillouin zone along each reciprocal axis.
    cells : Tensor, shape (n_cells, 3), optional
        Lattice vectors R in cell units, modulo the mesh: R stands for its shortest images, each
        component at most half the mesh, with equal shares. By default R = 0 alone.

    Returns
    -------
    Tensor, shape (3, 3) or (n_cells, 3, 3)
        To add to the sum over the mesh, for the translations of every pair of bodies.
        Differentiable in the stiffness.

    Raises
    ------
    NetworkError
        If the crystal does not resist some long wave.
    """
    n = stiffness.new_tensor([float(x) for x in samples])
    A = stiffness / (n[:, None, None, None] * n[:, None, None])
    # Images of R lie nearer to each other than lattice points: the window must be narrower there.
    width = WIDTH if cells is None else 2.0 * WIDTH
    B = _window(A.detach(), width)
    images = None if cells is None else _images(cells.to(n) / n)
    total: Tensor | float = 0.0
    for x, weight in itertools.chain(_sphere(B, images), _lattice(B, images)):
        at = torch.einsum("ka,kb,abxy->kxy", x, x, A)
        total = total + torch.einsum("kr,kxy->rxy", weight, _inverse(at))
    assert isinstance(total, Tensor)
    return total[0] if cells is None else total


def _inverse(A: Tensor) -> Tensor:
    """Inverses of symmetric 3 x 3 matrices, shape (n, 3, 3)."""
    factor, info = torch.linalg.cholesky_ex(A)
    if bool(info.any()):
        raise NetworkError(
            "the network does not resist some long wave: the crystal shears or slides without "
            "stretching any spring; raise gnm_cutoff, or use springs that also resist "
            "displacements across them (model='gnm' or 'hybrid')"
        )
    eye = torch.eye(3, dtype=A.dtype, device=A.device)
    half = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
    return half.mT @ half


def _window(A: Tensor, width: float) -> Tensor:
    """Quadratic form B of the window, as anisotropic as the mean over polarizations of A."""
    B = A.diagonal(dim1=2, dim2=3).sum(-1)
    index = torch.arange(-MAX_INDEX, MAX_INDEX + 1)
    dual = torch.cartesian_prod(index, index, index).to(B)
    lengths = ((dual @ _checked_inverse(B)) * dual).sum(1)
    shortest = lengths[dual.abs().sum(1) > 0].min()
    return B * (shortest / width**2)


def _checked_inverse(B: Tensor) -> Tensor:
    return _inverse(B[None])[0]


def _images(R: Tensor) -> list[tuple[Tensor, float]]:
    """Shortest images of R in units of the mesh: positions (n, 3) and their share.

    A component of exactly half the mesh has two images.
    """
    folded = R - torch.round(R)
    tie = (folded.abs() - 0.5).abs() < 1e-9
    found = []
    for signs in itertools.product((0.5, -0.5), repeat=3):
        found.append((torch.where(tie, folded.new_tensor(signs), folded), 1 / 8))
    return found


def _waves(x: Tensor, images: list[tuple[Tensor, float]] | None) -> Tensor:
    """``cos(k.R)``, the mean over the images of R, shape (n, n_cells)."""
    if images is None:
        return torch.ones_like(x[:, :1])
    total = torch.zeros(len(x), len(images[0][0]), dtype=x.dtype, device=x.device)
    for R, share in images:
        total += torch.cos(TWO_PI * (x @ R.T)) * share
    return total


def _sphere(
    B: Tensor, images: list[tuple[Tensor, float]] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Nodes and weights of the integral of f Q: directions x of f(x), with all radii summed."""
    cosine, polar = np.polynomial.legendre.leggauss(N_POLAR)
    angle = (np.arange(N_POLAR) + 0.5) * math.pi / N_POLAR  # half of the circle: f(-x) = f(x)
    c, a = np.meshgrid(cosine, angle, indexing="ij")
    s = np.sqrt(1 - c * c)
    y = B.new_tensor(np.stack([s * np.cos(a), s * np.sin(a), c], axis=-1).reshape(-1, 3))
    weight = B.new_tensor(np.repeat(polar * 2 * math.pi / N_POLAR, N_POLAR))
    # With B = C C^T and x = C^-T y, the window is Q(J, |y|^2).
    C = torch.linalg.cholesky(B)
    x = torch.linalg.solve_triangular(C.mT, y.T, upper=True).T
    weight = weight / C.diagonal().prod()
    if images is None:
        radial = math.exp(math.lgamma(ORDER + 0.5) - math.lgamma(ORDER))
        yield x, weight[:, None] * radial
        return
    nodes, shares = np.polynomial.legendre.leggauss(N_RADIAL)
    end = math.sqrt(WINDOW_END)
    radii, shares = 0.5 * end * (nodes + 1), 0.5 * end * shares
    total = torch.zeros(len(x), len(images[0][0]), dtype=B.dtype, device=B.device)
    for r, share in zip(radii.tolist(), shares.tolist(), strict=True):
        q = torch.special.gammaincc(B.new_tensor(float(ORDER)), B.new_tensor(r * r))
        total += share * q * _waves(r * x, images)
    yield x, weight[:, None] * total


def _lattice(
    B: Tensor, images: list[tuple[Tensor, float]] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Integers m other than zero within the window, one of each pair, and weights ``-2 Q``."""
    end = (WINDOW_END * _checked_inverse(B).diagonal()).sqrt().floor().long().tolist()
    first, second, third = (torch.arange(-e, e + 1, device=B.device) for e in end)
    step = max(1, CHUNK // (len(second) * len(third)))
    for part in first[first >= 0].split(step):
        m = torch.cartesian_prod(part, second, third)
        half = (m[:, 0] > 0) | ((m[:, 0] == 0) & ((m[:, 1] > 0) | ((m[:, 1] == 0) & (m[:, 2] > 0))))
        m = m[half].to(B)
        p = ((m @ B) * m).sum(1)
        m, p = m[p < WINDOW_END], p[p < WINDOW_END]
        q = torch.special.gammaincc(torch.full_like(p, ORDER), p)
        yield m, -2.0 * q[:, None] * _waves(m, images)
