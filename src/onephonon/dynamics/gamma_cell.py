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

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onephonon.core.errors import NetworkError
from onephonon.core.tensors import in_vmap, inside_functorch, values_of_all
from onephonon.core.units import TWO_PI
from onephonon.crystal.images import shortest_images

from .matrix_function import hermitian_function

#: Order J and width w of the window, B = 1/w^2 for a cubic mesh: sum and integral differ by 1e-9 of
#: z for a constant A, by up to 5e-5 for crystals with central forces, and less for others.
ORDER = 6
WIDTH = 1.6

#: The window is neglected where it is below 1e-10.
WINDOW_END = 40.0

#: Polar angles of the integral over directions (Gauss-Legendre). The integrand is smooth.
N_POLAR = 24

#: Radii of the integral of a function that is not homogeneous (Gauss-Legendre): enough for 1/k.
N_RADIAL = 40

#: Tolerance of integers.
TIE = 1e-9

#: Shortest vectors of the dual lattice are searched up to this index; their smallest squared length
#: is taken as the norm of this power, 0.74 of it for a cubic lattice.
MAX_INDEX = 6
SMOOTHNESS = 6

#: Wavevectors per batch.
CHUNK = 200_000

#: At most this many shells, each half as wide as the one around it, and the width that decides how
#: sparse their integers may be: 3.2 leaves 1e-8 of z, 2.4 up to 2e-5, 1.6 up to 5e-3.
MAX_SHELLS = 12
SPARSE_WIDTH = 3.2


def acoustic_correction(
    stiffness: Tensor,
    samples: Sequence[int],
    cells: Tensor | None = None,
    offsets: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """What a mesh average of ``K(k)^-1 exp(-i k.R)`` lacks for the translation of the cell.

    Parameters
    ----------
    stiffness : Tensor, shape (3, 3, 3, 3)
        See `long_wave_stiffness`.
    samples : three int
        Mesh points of the Brillouin zone along each reciprocal axis.
    cells : Tensor, shape (n_cells, 3), optional
        Lattice vectors R in cell units, modulo the mesh. By default R = 0 alone.
    offsets : Tensor, shape (n_offsets, 3), optional
        Separations x, within the cell, of what moves: a wave has the phase ``k.(R + x)``. R + x
        stands for its shortest images, with equal shares. By default x = 0 alone.
    axes : Tensor, shape (3, 3), optional
        Axes of the cell, in columns, for lengths of images; by default those of a cube.

    Returns
    -------
    Tensor, shape (3, 3) or (n_cells, n_offsets, 3, 3)
        To add to the sum over the mesh, for the translations of every pair of bodies.
        Differentiable in the stiffness and the offsets.

    Raises
    ------
    NetworkError
        If the crystal does not resist some long wave.
    """
    cell = _GammaCell.of(stiffness, samples, cells, offsets)
    along, weight = _directions(cell.B)
    f = _inverse(cell.along(along))
    apart = (cell.R[:, None] + cell.x).flatten(0, 1)
    n = apart.new_tensor([float(i) for i in samples])
    cube = torch.eye(3, dtype=n.dtype, device=n.device)
    shift, share = shortest_images(apart.detach(), (cube if axes is None else axes.detach()) * n)
    waves = torch.zeros_like(apart[:, :1])
    for i in range(shift.shape[1]):
        if bool(share[:, i].any()):
            image = apart + shift[:, i].to(apart)
            waves = waves + share[:, i, None] * _radial_integral(TWO_PI * (image @ along.T))
    waves = waves.unflatten(0, (len(cell.R), len(cell.x)))
    integral = torch.einsum("k,rok,kxy->roxy", weight, waves, f)
    found = integral - cell.lattice_sum(_inverse)
    return found[0, 0] if cells is None else found


def bounded_correction(
    stiffness: Tensor, samples: Sequence[int], f: Callable[[Tensor], Tensor]
) -> Tensor:
    """What a mesh average of another function of the long waves' stiffness lacks, at R = 0.

    As `acoustic_correction`, for functions f(A) that diverge less at Gamma than the inverse, or
    not at all. For one that is smooth there it is f(0), the value that the mesh leaves out, which
    is the same for every R.

    Parameters
    ----------
    stiffness, samples
        As for `acoustic_correction`.
    f : callable
        Of the eigenvalues of the stiffness, (..., 3), element by element.

    Returns
    -------
    Tensor, shape (3, 3)
        Once differentiable in the stiffness and whatever f depends on.
    """
    cell = _GammaCell.of(stiffness, samples)
    x, weight = _directions(cell.B)
    nodes, shares = np.polynomial.legendre.leggauss(N_RADIAL)
    half = 0.5 * math.sqrt(WINDOW_END)
    r = cell.B.new_tensor(half * (nodes + 1.0))[:, None, None]
    share = cell.B.new_tensor(half * shares)[:, None, None] * r * r * _window_value(r * r)

    def over_radii(y: Tensor) -> Tensor:
        return (share * f(r * r * y)).sum(0)

    values = hermitian_function(cell.along(x), over_radii)
    integral = torch.einsum("k,kxy->xy", weight, values)
    return integral - cell.lattice_sum(lambda A: hermitian_function(A, f))[0, 0]


@dataclass(frozen=True)
class _GammaCell:
    """The cell of a mesh around Gamma, in units of the mesh.

    Parameters
    ----------
    A : Tensor, shape (3, 3, 3, 3)
        Stiffness against long waves.
    B : Tensor, shape (3, 3)
        Quadratic form of the window.
    R : Tensor, shape (n_cells, 3)
    x : Tensor, shape (n_offsets, 3)
    samples : three int
    at_zero : bool
        Whether R is 0 alone.
    """

    A: Tensor
    B: Tensor
    R: Tensor
    x: Tensor
    samples: Sequence[int]
    at_zero: bool

    @classmethod
    def of(
        cls,
        stiffness: Tensor,
        samples: Sequence[int],
        cells: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> _GammaCell:
        """From the arguments of `acoustic_correction`."""
        n = stiffness.new_tensor([float(x) for x in samples])
        A = stiffness / (n[:, None, None, None] * n[:, None, None])
        zero = torch.zeros(1, 3, dtype=torch.int64)
        R = (zero if cells is None else cells).to(n) / n
        x = (zero if offsets is None else offsets).to(n) / n
        # Images are nearer to each other than lattice points: a narrower window for them.
        B = _window(A, WIDTH if cells is None else 2.0 * WIDTH)
        return cls(A, B, R, x, samples, cells is None)

    def along(self, x: Tensor) -> Tensor:
        """Stiffness matrices at wavevectors (n, 3), shape (n, 3, 3)."""
        return torch.einsum("ka,kb,abxy->kxy", x, x, self.A)

    def lattice_sum(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """Sum of f within the window over all integers but zero, with waves.

        Shape (n_cells, n_offsets, 3, 3).
        """
        # Waves of the lattice depend on m modulo the mesh only, except for the phase of x.
        bins = self.A.new_zeros(2, math.prod(self.samples), len(self.x), 3, 3)
        for m, window in _lattice(self.B, sparse=self.at_zero):
            values, index = (
                2.0 * window[:, None, None] * f(self.along(m)),
                _mesh_index(m, self.samples),
            )
            binned = []
            for angle in (TWO_PI * (m @ self.x.T)).T[:, :, None, None]:
                both = torch.stack([torch.cos(angle) * values, torch.sin(angle) * values])
                binned.append(torch.zeros_like(bins[:, :, 0]).index_add(1, index, both))
            bins = bins + torch.stack(binned, dim=2)
        mesh = torch.cartesian_prod(*(torch.arange(int(i)) for i in self.samples)).reshape(-1, 3)
        angle = TWO_PI * (mesh.to(self.R) @ self.R.T)
        even = torch.einsum("kr,koxy->roxy", torch.cos(angle), bins[0])
        return even - torch.einsum("kr,koxy->roxy", torch.sin(angle), bins[1])


def _mesh_index(m: Tensor, samples: Sequence[int]) -> Tensor:
    """Number of the point of the mesh that is equal to each m modulo the mesh."""
    n = torch.tensor([int(x) for x in samples], device=m.device)
    i, j, k = m.long().remainder(n).unbind(1)
    return (i * n[1] + j) * n[2] + k


def _inverse(A: Tensor) -> Tensor:
    """Inverses of symmetric 3 x 3 matrices, shape (n, 3, 3), by cofactors."""
    x, y, z = A.unbind(-2)
    cofactors = torch.stack([torch.linalg.cross(*pair) for pair in ((y, z), (z, x), (x, y))], -2)
    determinant = (x * cofactors[:, 0]).sum(-1)
    minors = A[:, 0, 0], cofactors[:, 2, 2], determinant
    if not inside_functorch() and not all(bool((minor > 0).all()) for minor in minors):
        raise NetworkError(
            "the network does not resist some long wave: the crystal shears or slides without "
            "stretching any spring; raise gnm_cutoff, or use springs that also resist "
            "displacements across them (model='gnm' or 'hybrid')"
        )
    return cofactors / determinant[:, None, None]


def _window(A: Tensor, width: float) -> Tensor:
    """Quadratic form B of the window, as anisotropic as the mean over polarizations of A."""
    B = A.diagonal(dim1=2, dim2=3).sum(-1)
    index = torch.arange(-MAX_INDEX, MAX_INDEX + 1, device=A.device)
    dual = torch.cartesian_prod(index, index, index).to(B)
    lengths = ((dual @ torch.linalg.inv(B)) * dual).sum(1)[dual.abs().sum(1) > 0]
    # A smooth lower bound of the shortest one, so that the result is differentiable.
    shortest = lengths.pow(-SMOOTHNESS).sum().pow(-1.0 / SMOOTHNESS)
    return B * (shortest / width**2)


def _radial_integral(w: Tensor) -> Tensor:
    """Integral of ``Q(J, r^2) cos(w r)`` over all r > 0, by parts a polynomial times a Gaussian.

    ``Gamma(J + 1/2) / Gamma(J) exp(-w^2/4) M(1 - J, 3/2, w^2/4)`` with Kummer's function M:
    Gradshteyn & Ryzhik, 3.952.
    """
    x = 0.25 * w * w
    total = term = torch.ones_like(x)
    for i in range(ORDER - 1):
        term = term * x * ((1 - ORDER + i) / ((1.5 + i) * (1 + i)))
        total = total + term
    return math.exp(math.lgamma(ORDER + 0.5) - math.lgamma(ORDER)) * torch.exp(-x) * total


def _directions(B: Tensor) -> tuple[Tensor, Tensor]:
    """Directions x, one of each pair, and their weights w, shapes (n, 3) and (n,).

    The integral of ``f(x) Q(J, x^T B x)`` over space is ``sum w f(x) integral Q(J, r^2) dr``.
    """
    cosine, polar = np.polynomial.legendre.leggauss(N_POLAR)
    angle = (np.arange(N_POLAR) + 0.5) * math.pi / N_POLAR  # half of the circle: f(-x) = f(x)
    c, a = np.meshgrid(cosine, angle, indexing="ij")
    s = np.sqrt(1 - c * c)
    y = B.new_tensor(np.stack([s * np.cos(a), s * np.sin(a), c], axis=-1).reshape(-1, 3))
    weight = B.new_tensor(np.repeat(polar * 2 * math.pi / N_POLAR, N_POLAR))
    # With B = C C^T and x = C^-T y, the window is Q(J, |y|^2).
    C = torch.linalg.cholesky(B)
    x = torch.linalg.solve_triangular(C.mT, y.T, upper=True).T
    return x, weight / C.diagonal().prod()


def _lattice(B: Tensor, sparse: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Integers m other than zero within the window, one of each pair, and their weights.

    The weight is the window Q of B. If `sparse`, Q is divided into shells between the windows of
    ``4^j B``: far from Gamma neither f nor a shell changes much from one integer to the next along
    soft directions, so that every 2nd, 4th, ... stands for all (for the sum of f alone, without
    factors ``cos(2 pi m.R)``).
    """
    for j, steps in enumerate(_steps(B) if sparse else [(1, 1, 1)]):
        own, inner = 4.0**j * B, 4.0 ** (j + 1) * B
        reach = (WINDOW_END * torch.linalg.inv(own).diagonal()).sqrt()
        end = (values_of_all(reach).max(0) / steps).astype(int).tolist()
        innermost = not sparse or steps == (1, 1, 1)
        for m in _half_of_integers(end, B):
            m = m * m.new_tensor(steps)
            p = ((m @ own) * m).sum(1)
            if not in_vmap(p):
                m, p = m[p < WINDOW_END], p[p < WINDOW_END]
            weight = _window_value(p)
            if not innermost:
                weight = weight - _window_value(((m @ inner) * m).sum(1))
            yield m, math.prod(steps) * weight


def _half_of_integers(end: Sequence[int], like: Tensor) -> Iterator[Tensor]:
    """Integers up to `end` along each axis other than zero, one of each pair, in batches."""
    first, second, third = (torch.arange(-e, e + 1, device=like.device) for e in end)
    step = max(1, CHUNK // (len(second) * len(third)))
    for part in first[first >= 0].split(step):
        m = torch.cartesian_prod(part, second, third)
        half = (m[:, 0] > 0) | ((m[:, 0] == 0) & ((m[:, 1] > 0) | ((m[:, 1] == 0) & (m[:, 2] > 0))))
        yield m[half].to(like)


def _steps(B: Tensor) -> list[tuple[int, int, int]]:
    """Steps of the integers in each shell, from the outermost inwards; the last has steps of 1.

    A step s along an axis adds the vectors h/s to the dual lattice. By Poisson's sum formula it
    changes little if they are long in the window of the shell.
    """
    inverse = np.linalg.inv(values_of_all(B))
    index = np.arange(-MAX_INDEX, MAX_INDEX + 1)
    dual = np.stack(np.meshgrid(index, index, index, indexing="ij"), -1).reshape(-1, 3)
    dual = dual[np.abs(dual).sum(1) > 0]

    def shortest(steps: Sequence[int]) -> float:
        h = dual / np.asarray(steps)
        new = (np.abs(h - np.round(h)) > TIE).any(1)
        lengths = np.einsum("ka,nab,kb->nk", h, inverse, h)[:, new]
        return float(lengths.min()) if new.any() else math.inf

    found: list[tuple[int, int, int]] = []
    for j in range(MAX_SHELLS):
        enough = 4.0**j * SPARSE_WIDTH**2
        steps = [1, 1, 1]
        while True:
            doubled = [[s * (1 + (i == axis)) for i, s in enumerate(steps)] for axis in range(3)]
            best = max(doubled, key=shortest)
            if shortest(best) < enough:
                break
            steps = best
        found.append((steps[0], steps[1], steps[2]))
        if steps == [1, 1, 1]:
            return found
    return [*found[:-1], (1, 1, 1)]


def _window_value(p: Tensor) -> Tensor:
    """``Q(J, p) = exp(-p) sum_(j < J) p^j / j!``."""
    total = term = torch.ones_like(p)
    for j in range(1, ORDER):
        term = term * p / j
        total = total + term
    return torch.exp(-p) * total
