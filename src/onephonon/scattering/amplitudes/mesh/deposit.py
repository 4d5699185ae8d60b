"""Scattering density of a body: the sum of its Gaussians on a mesh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.compiled import compiled, in_threads
from onephonon.core.errors import GradientError, InputError
from onephonon.core.units import EIGHT_PI_SQUARED, TWO_PI
from onephonon.network.bodies import Bodies

from ..monomials import monomials
from .density import Box, Mesh

#: Tasks per thread, so that threads finish at about the same time.
PARTS_PER_THREAD = 4

#: Minimum number of Gaussians for which a second thread pays.
MIN_PER_THREAD = 100

Floats = NDArray[np.float64]


def deposit_body(
    bodies: Bodies, body: int, mesh: Mesh, U: Tensor, degree: int, length: float
) -> tuple[Tensor, Box]:
    """Blurred scattering density of one body, and its moments about the body's centroid.

    Its transform, sharpened, is ``sum_j w_j occ_j f_j(|q|) exp(-q^T U_j q / 2) exp(i q.r_j)``
    with the `monomials` of ``(r_j - o_b) / length`` as weights w_j.

    Parameters
    ----------
    bodies : Bodies
    body : int
        Index of the body in the cell.
    mesh : Mesh
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.
    degree : int
        Largest degree of the moments.
    length : float
        Unit of the offsets, Å.

    Returns
    -------
    density : Tensor, shape (n_monomials(degree), n_1, n_2, n_3)
        Multiplied by the volume of a mesh cell. Once differentiable in the crystal's coordinates,
        cell and occupancies, U and the steps of the mesh. Computed on the CPU in float64 for
        tensors of any device and dtype.
    box : Box
        Position on the mesh.

    Raises
    ------
    InputError
        If the covariance of an atom's Gaussian is not positive definite.
    """
    atoms = bodies.table[body]
    atoms = atoms[atoms < bodies.n_cell_atoms]
    r = bodies.positions[atoms]
    weight = monomials(bodies.offsets[atoms] / length, degree)
    asu = bodies.asu_atom[atoms]
    factors = bodies.crystal.form_factors
    kind = factors.kind[asu]
    a = torch.cat([factors.a, factors.c[:, None]], dim=1)[kind]
    b = torch.cat([factors.b, torch.zeros_like(factors.c)[:, None]], dim=1)[kind]
    strength = a * bodies.crystal.occupancies[asu][:, None]
    spread = 0.5 * (U + U.mT)[atoms]
    density: Tensor
    density, start = _Deposit.apply(r, spread, strength, b, weight, mesh.steps, mesh)
    first, second, third = start.tolist()
    return density, Box(
        (first, second, third), (density.shape[1], density.shape[2], density.shape[3])
    )


@dataclass(frozen=True)
class _Gaussians:
    """All Gaussians of all atoms, normalized to the volume of a mesh cell; on the CPU, float64.

    At the mesh point m it is ``exp(log_height - (m - centre)^T metric (m - centre) / 2)``.
    """

    atom: Tensor  # (n,)
    precision: Tensor  # (n, 3, 3), inverse covariances, 1/Å^2
    centre: Tensor  # (n, 3), in mesh steps
    metric: Tensor  # (n, 3, 3), the precision in mesh steps
    half: Tensor  # (n, 3), how far it reaches along each axis, in mesh steps
    log_height: Tensor  # (n,)

    @classmethod
    def of(cls, inputs: Sequence[Tensor], mesh: Mesh) -> _Gaussians:
        """Create from positions, displacements, widths of form factors and steps of the mesh."""
        r, spread, b, steps = inputs
        width = (b + mesh.blur) / EIGHT_PI_SQUARED
        covariance = spread[:, None] + width[:, :, None, None] * torch.eye(3).to(r)
        finite = bool(covariance.isfinite().all())
        if not finite or bool((torch.linalg.eigvalsh(covariance)[..., 0] <= 0).any()):
            raise InputError(
                "the displacements U of an atom are not positive definite, so it has no density; "
                "fix them, or use engine='direct'"
            )
        covariance = covariance.flatten(0, 1)
        inverse = torch.linalg.inv(steps)
        precision = torch.linalg.inv(covariance)
        reached = torch.diagonal(inverse @ covariance @ inverse.T, dim1=1, dim2=2)
        volume = torch.linalg.det(steps).abs()
        log_height = torch.log(volume) - 0.5 * torch.log(TWO_PI**3 * torch.linalg.det(covariance))
        atom = torch.arange(len(r)).repeat_interleave(b.shape[1])
        return cls(
            atom,
            precision,
            (r @ inverse.T)[atom],
            steps.T @ precision @ steps,
            mesh.reach * reached.sqrt(),
            log_height,
        )

    def box(self) -> tuple[list[int], list[int]]:
        """First mesh point of the box that contains all Gaussians, and its shape."""
        first = torch.floor((self.centre - self.half).min(0).values).long()
        last = torch.ceil((self.centre + self.half).max(0).values).long()
        return first.tolist(), (last - first + 1).tolist()

    def arrays(self, start: Tensor) -> tuple[Floats, Floats, Floats, Floats]:
        """Arguments of the compiled loops, with centres relative to the first point of the box."""
        upper = self.metric[:, (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)]
        every = (self.centre - start, upper, self.half, self.log_height)
        a, b, c, d = (x.contiguous().numpy() for x in every)
        return a, b, c, d


class _Deposit(torch.autograd.Function):
    """Sum of Gaussians on their box; the backward pass recomputes them."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        r, spread, strength, b, weight, steps, mesh = inputs
        ctx.save_for_backward(r, spread, strength, b, weight, steps)
        made = _Gaussians.of(_plain(r, spread, b, steps), mesh)
        first, shape = made.box()
        start = torch.tensor(first)
        ctx.mesh, ctx.start = mesh, start
        ctx.mark_non_differentiable(start)
        heights, weights = (x.numpy() for x in _plain(strength, weight))
        density = np.zeros((weights.shape[1], *shape))
        arrays = made.arrays(start)

        def work(planes: NDArray[np.int64]) -> None:
            _add(density, planes[0], planes[-1] + 1, *arrays, heights, weights, mesh.reach**2)

        in_threads(work, _parts(shape[0], heights.size))
        return torch.from_numpy(density).to(r), start

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        """Gradient from the moments of the incoming gradient under each Gaussian.

        For ``L = sum_m along_m s g(d_m)``, s the strength and g a normalized Gaussian with
        covariance C and its inverse P, with ``S0, S1, S2`` the sums over m of ``along g`` times
        1, d and d d^T:

            dL/ds = S0,   dL/dr = s P S1,   dL/dC = s (P S2 P - S0 P) / 2

        and for the steps of the mesh, with ``d = steps m - r`` and the volume of a mesh cell,
        ``s (S0 - P (S2 + S1 r^T)) steps^-T``.
        """
        if torch.is_grad_enabled():
            raise GradientError(
                "transforms on a mesh have first derivatives only; use engine='direct' for more"
            )
        r, spread, strength, b, weight, steps = _plain(*ctx.saved_tensors)
        made = _Gaussians.of([r, spread, b, steps], ctx.mesh)
        atom, P, s = made.atom, made.precision, strength.reshape(-1)
        S0, S1, S2, g_weight = _moments(
            made, ctx.start, _plain(grad)[0], strength, weight, ctx.mesh.reach
        )
        S1, S2 = S1 @ steps.T, steps @ S2 @ steps.T
        pulled = (P @ S1[:, :, None]).squeeze(2)
        by_C = 0.5 * s[:, None, None] * (P @ S2 @ P - S0[:, None, None] * P)
        moved = (
            S0[:, None, None] * torch.eye(3).to(r) - P @ S2 - pulled[:, :, None] * r[atom][:, None]
        )
        g_r = torch.zeros_like(r).index_add(0, atom, s[:, None] * pulled)
        g_spread = torch.zeros_like(spread).index_add(0, atom, by_C)
        g_b = torch.diagonal(by_C, dim1=1, dim2=2).sum(1).reshape(b.shape) / EIGHT_PI_SQUARED
        g_steps = (s[:, None, None] * moved).sum(0) @ torch.linalg.inv(steps).T
        every = (g_r, g_spread, S0.reshape(b.shape), g_b, g_weight, g_steps)
        needed = zip(every, ctx.needs_input_grad, strict=False)
        return (*(g.to(grad) if need else None for g, need in needed), None)


def _plain(*tensors: Tensor) -> list[Tensor]:
    """Move to the CPU and float64, without gradient."""
    return [t.detach().to("cpu", torch.float64).contiguous() for t in tensors]


def _parts(n: int, work: int) -> list[NDArray[np.int64]]:
    """Divide n items into parts for threads."""
    n_parts = 1 if work < MIN_PER_THREAD else PARTS_PER_THREAD * torch.get_num_threads()
    return [part for part in np.array_split(np.arange(n), n_parts) if len(part)]


def _moments(
    made: _Gaussians, start: Tensor, grad: Tensor, strength: Tensor, weight: Tensor, reach: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Moments of a gradient under each Gaussian, about its centre, in mesh steps.

    Returns
    -------
    zeroth, first, second : Tensor, shapes (n,), (n, 3), (n, 3, 3)
        Of the gradient contracted with the weights.
    by_weight : Tensor, shape (n_atoms, n_weights)
        Of the gradient of each weight, under the sum of an atom's Gaussians.
    """
    heights, weights = strength.numpy(), weight.numpy()
    n_g = heights.shape[1]
    arrays = made.arrays(start)
    found, own = np.zeros((heights.size, 10)), np.zeros(weights.shape)

    def work(part: NDArray[np.int64]) -> None:
        atoms = slice(part[0], part[-1] + 1)
        few = slice(atoms.start * n_g, atoms.stop * n_g)
        a, b, c, d = (x[few] for x in arrays)
        given = (a, b, c, d, heights[atoms], weights[atoms], reach**2)
        _gather(grad.numpy(), *given, found[few], own[atoms])

    in_threads(work, _parts(len(weights), heights.size))
    moments = torch.from_numpy(found)
    second = moments[:, (4, 5, 6, 5, 7, 8, 6, 8, 9)].reshape(-1, 3, 3)
    return moments[:, 0], moments[:, 1:4], second, torch.from_numpy(own)


@compiled
def _row(
    u: float, v: float, z: float, metric: Floats, height: float, max_distance2: float, row: Floats
) -> tuple[int, int]:
    """Values of a Gaussian along the row at (u, v) from its centre; z is the centre along the row.

    Values follow from ``v_(k+1) = v_k e_k, e_(k+1) = e_k c``: no exponential per point. `height`
    is a logarithm and `max_distance2` the square of the reach. Returns the range of points.
    """
    xx, xy, xz, yy, yz, zz = metric
    across, slope = xx * u * u + 2 * xy * u * v + yy * v * v, xz * u + yz * v
    left = max_distance2 - across + slope * slope / zz
    if left < 0:
        return 0, 0
    nearest, half = z - slope / zz, math.sqrt(left / zz)
    low, high = max(0, math.ceil(nearest - half)), min(len(row), math.floor(nearest + half) + 1)
    t = low - z
    value = math.exp(height - 0.5 * (across + 2 * slope * t + zz * t * t))
    ratio, shrink = math.exp(-slope - zz * (t + 0.5)), math.exp(-zz)
    for k in range(low, high):
        row[k] = value
        value *= ratio
        ratio *= shrink
    return low, high


@compiled
def _add(
    density: Floats,
    begin: int,
    end: int,
    centre: Floats,
    metric: Floats,
    half: Floats,
    log_height: Floats,
    strength: Floats,
    weights: Floats,
    max_distance2: float,
) -> None:
    """Add atoms to planes `begin` to `end` of a density (n_weights, n_1, n_2, n_3).

    Atom a has the Gaussians ``a n_g`` to ``(a + 1) n_g - 1``, added up before they are weighted.
    """
    n_w, _, n_2, n_3 = density.shape
    n_g = strength.shape[1]
    row, total = np.empty(n_3), np.empty(n_3)
    for a in range(len(weights)):
        first = a * n_g
        x, y, z = centre[first]
        dx, dy, dz = _reach(half[first : first + n_g])
        start, stop = max(0, math.ceil(z - dz)), min(n_3, math.floor(z + dz) + 1)
        for i in range(max(begin, math.ceil(x - dx)), min(end, math.floor(x + dx) + 1)):
            for j in range(max(0, math.ceil(y - dy)), min(n_2, math.floor(y + dy) + 1)):
                u, v, lowest, highest = i - x, j - y, n_3, 0
                total[start:stop] = 0.0
                for g in range(n_g):
                    p = first + g
                    low, high = _row(u, v, z, metric[p], log_height[p], max_distance2, row)
                    if low < high:
                        lowest, highest = min(lowest, low), max(highest, high)
                        for k in range(low, high):
                            total[k] += strength[a, g] * row[k]
                values = total[lowest:highest]
                for w in range(n_w):
                    line = density[w, i, j, lowest:highest]
                    for k in range(len(line)):
                        line[k] += weights[a, w] * values[k]


@compiled
def _reach(half: Floats) -> tuple[float, float, float]:
    """How far the widest of an atom's Gaussians reaches along each axis."""
    x, y, z = 0.0, 0.0, 0.0
    for g in range(len(half)):
        x, y, z = max(x, half[g, 0]), max(y, half[g, 1]), max(z, half[g, 2])
    return x, y, z


@compiled
def _gather(
    grad: Floats,
    centre: Floats,
    metric: Floats,
    half: Floats,
    log_height: Floats,
    strength: Floats,
    weights: Floats,
    max_distance2: float,
    moments: Floats,
    own: Floats,
) -> None:
    """Add to the moments of each Gaussian: those of 1, x, y, z, xx, xy, xz, yy, yz and zz."""
    n_w, n_1, n_2, n_3 = grad.shape
    n_g = strength.shape[1]
    rows, along, total = np.empty((n_g, n_3)), np.empty(n_3), np.empty(n_3)
    ends = np.empty((n_g, 2), np.int64)
    for a in range(len(weights)):
        first = a * n_g
        x, y, z = centre[first]
        dx, dy, dz = _reach(half[first : first + n_g])
        start, stop = max(0, math.ceil(z - dz)), min(n_3, math.floor(z + dz) + 1)
        for i in range(max(0, math.ceil(x - dx)), min(n_1, math.floor(x + dx) + 1)):
            for j in range(max(0, math.ceil(y - dy)), min(n_2, math.floor(y + dy) + 1)):
                u, v, lowest, highest = i - x, j - y, n_3, 0
                total[start:stop] = 0.0
                for g in range(n_g):
                    p = first + g
                    low, high = _row(u, v, z, metric[p], log_height[p], max_distance2, rows[g])
                    ends[g] = low, high
                    if low < high:
                        lowest, highest = min(lowest, low), max(highest, high)
                        for k in range(low, high):
                            total[k] += strength[a, g] * rows[g, k]
                if lowest >= highest:
                    continue
                values = total[lowest:highest]
                along[lowest:highest] = 0.0
                for w in range(n_w):
                    line, own_sum = grad[w, i, j, lowest:highest], 0.0
                    for k in range(len(line)):
                        own_sum += line[k] * values[k]
                        along[lowest + k] += weights[a, w] * line[k]
                    own[a, w] += own_sum
                for g in range(n_g):
                    _add_moments(
                        moments[first + g], u, v, z, ends[g, 0], ends[g, 1], along, rows[g]
                    )


@compiled
def _add_moments(
    m: Floats, u: float, v: float, z: float, low: int, high: int, along: Floats, row: Floats
) -> None:
    """Add a row of the mesh to the moments of one Gaussian."""
    zeroth, first, second = 0.0, 0.0, 0.0
    for k in range(low, high):
        here = along[k] * row[k]
        zeroth += here
        first += here * (k - z)
        second += here * (k - z) * (k - z)
    m[0] += zeroth
    m[1] += zeroth * u
    m[2] += zeroth * v
    m[3] += first
    m[4] += zeroth * u * u
    m[5] += zeroth * u * v
    m[6] += first * u
    m[7] += zeroth * v * v
    m[8] += first * v
    m[9] += second
