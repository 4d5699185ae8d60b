"""Means of ``K(k)^-1`` over the zone by condensation, for the ADPs of many bodies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.progress import Progress
from onephonon.crystal.zone import zone_mesh
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from ...bloch import phase
from ...stiffness_matrix import factorize, inverse_from, zone_chunk
from .condensation import Condensed, condense, is_isotropic
from .gamma import pinned_factor


def zone_mean_inverse(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    progress: Progress | None = None,
) -> Tensor:
    """`Solver.zone_mean` by condensation; reverse-mode derivatives of any order.

    The mean of ``S^-1`` is propagated through the factor of the interior, so only as many
    elements of ``K^-1`` are computed as this factor has.
    """
    if not is_isotropic(constants):
        return _mean(bodies, condense(bodies, constants, components=1), samples, progress)
    found: Tensor = _IsotropicMean.apply(
        constants.onsite, constants.coupling, bodies, constants, samples, progress
    )
    return found


class _IsotropicMean(torch.autograd.Function):
    """`zone_mean_inverse` where every block is a multiple of the identity.

    Then the blocks of the mean are multiples of the identity, too, and the derivative of each of
    their elements with respect to the same element of block (a, b) is that of the scalar problem.
    """

    @staticmethod
    def forward(
        onsite: Tensor,
        coupling: Tensor,
        bodies: Bodies,
        constants: ForceConstants,
        samples: Sequence[int],
        progress: Progress | None,
    ) -> Tensor:
        at = replace(constants, onsite=onsite, coupling=coupling)
        return _mean(bodies, condense(bodies, at, components=3), samples, progress)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[:2])
        ctx.rest = inputs[2:5]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        onsite, coupling = ctx.saved_tensors
        bodies, constants, samples = ctx.rest
        again = torch.is_grad_enabled()  # differentiable, for second derivatives
        if again:
            at = replace(constants, onsite=onsite, coupling=coupling)
            mean = _mean(bodies, condense(bodies, at, components=1), samples, None)
            found = torch.autograd.grad(mean, (onsite, coupling), grad, create_graph=True)
            return (*found, *(None,) * 4)
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (onsite, coupling)]
            at = replace(constants, onsite=leaves[0], coupling=leaves[1])
            mean = _mean(bodies, condense(bodies, at, components=3), samples, None)[:, 0, 0]
        g_onsite, g_coupling = torch.zeros_like(onsite), torch.zeros_like(coupling)
        grad = 0.5 * (grad + grad.mT)
        for x in range(3):
            for y in range(x, 3):
                one = torch.autograd.grad(mean, leaves, grad[:, x, y], retain_graph=True)
                for g, by_scalar in zip((g_onsite, g_coupling), one, strict=True):
                    g[:, x, y] = g[:, y, x] = by_scalar[:, 0, 0]
        return g_onsite, g_coupling, *(None,) * 4


def _mean(
    bodies: Bodies, condensed: Condensed, samples: Sequence[int], progress: Progress | None
) -> Tensor:
    """`zone_mean_inverse` differentiated by autograd."""
    drift = _Drift.of(bodies, condensed)
    n = samples[0] * samples[1] * samples[2]
    covariance = _boundary_covariance(condensed, samples, drift.factor, progress) / n
    return _own_blocks(bodies, condensed, covariance) - drift.share() / n


@dataclass(frozen=True)
class _Drift:
    """Projection of the uniform translations T out of the inverse at Gamma.

    ``X = (K + c P P^T)^-1``, with P the translations of the boundary alone, is an inverse of K
    except for T; with ``A = (T^T W T)^-1 T^T W`` and the metric W, the result is
    ``(1 - T A) X (1 - T A)^T = X - T Y^T - Y T^T + T A Y T^T``, ``Y = X A^T``.

    Parameters
    ----------
    T : Tensor, shape (n_bodies, width, 3)
    A : Tensor, shape (3, n_bodies, width)
    Y : Tensor, shape (n_bodies, width, 3)
    factor : Tensor, shape (n_boundary, n_boundary)
        Cholesky factor of ``S(0) + c P P^T``.
    """

    T: Tensor
    A: Tensor
    Y: Tensor
    factor: Tensor

    @classmethod
    def of(cls, bodies: Bodies, condensed: Condensed) -> _Drift:
        n, w, uniform = bodies.n_bodies, bodies.width, bodies.translations()
        factor = pinned_factor(condensed, uniform)
        T = bodies.scatter(uniform, 0).reshape(n, w, 3)
        WT = bodies.metric() @ T
        A = torch.linalg.solve(torch.einsum("bwx,bwy->xy", T, WT), WT.permute(2, 0, 1).flatten(1))
        columns = condensed.to_rows(bodies.gather(A.T, 0))
        Y = condensed.from_rows(condensed.solve(columns, factor))
        return cls(T, A.reshape(3, n, w), bodies.scatter(Y, 0).reshape(n, w, 3), factor)

    def share(self) -> Tensor:
        """Correction of each body's diagonal block, shape (n_bodies, width, width)."""
        across = self.T @ self.Y.mT
        inner = torch.einsum("xbw,bwy->xy", self.A, self.Y)
        return across + across.mT - self.T @ inner @ self.T.mT


def _boundary_covariance(
    condensed: Condensed, samples: Sequence[int], at_gamma: Tensor, progress: Progress | None
) -> Tensor:
    """``sum_k S(k)^-1 exp(-i k.R)`` for the boundary's cells, given the factor at Gamma."""
    cells, n = condensed.plan.cells, condensed.n_boundary
    k_frac, weight = zone_mesh(samples, condensed.lattice)

    def share(lattice: Tensor, k_frac: Tensor, weight: Tensor) -> Tensor:
        S = replace(condensed, lattice=lattice).stiffness(k_frac)
        inverse = _Inverse.apply(S).reshape(-1, n * n)
        waves = phase(k_frac, cells) * weight[:, None]
        total = waves.real.T @ inverse.real + waves.imag.T @ inverse.imag
        return total.reshape(-1, n, n)

    total = inverse_from(at_gamma).expand(len(cells), n, n)
    step = max(1, zone_chunk(n) // 8)
    for start in range(1, len(k_frac), step):
        if progress:
            progress("zone mesh", start, len(k_frac))
        part = k_frac[start : start + step], weight[start : start + step]
        # Recomputed in the backward pass: a matrix for each k would fill the memory.
        shared: Tensor = checkpoint(share, condensed.lattice, *part, use_reentrant=False)
        total = total + shared
    if progress:
        progress("zone mesh", len(k_frac), len(k_frac))
    return total


class _Inverse(torch.autograd.Function):
    """Inverse of Hermitian matrices, at half the cost of the general one."""

    @staticmethod
    def forward(matrices: Tensor) -> Tensor:
        return torch.cholesky_inverse(factorize(matrices))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return -inverse @ grad @ inverse


def _own_blocks(bodies: Bodies, condensed: Condensed, covariance: Tensor) -> Tensor:
    """Diagonal blocks of the inverse, (n_bodies, width, width), from those of the boundary.

    Front by front from the last to the first, ``C_own,beyond = -L^-T X C_beyond`` and
    ``C_own = L^-T (1 + X C_beyond X^T) L^-1``.
    """
    plan = condensed.plan
    by_front = {-1: _between_images(condensed, covariance)}
    left = Counter(front.parent for front in plan.fronts)
    found = [(plan.boundary, covariance[0])]
    for f in range(len(plan.fronts) - 1, -1, -1):
        front, step = plan.fronts[f], condensed.steps[f]
        n, at = front.stop - front.start, front.into
        beyond = by_front[front.parent][at[:, None], at]
        left[front.parent] -= 1
        if left[front.parent] == 0:
            del by_front[front.parent]
        across = step[n:].mT @ beyond
        own = step[:n].mT @ step[:n] + across @ step[n:]
        found.append((plan.interior[front.start : front.stop], own))
        if left[f]:
            upper = torch.cat([own, across], 1)
            by_front[f] = torch.cat([upper, torch.cat([across.mT, beyond], 1)])
    return _by_body(bodies, condensed.components, found)


def _between_images(condensed: Condensed, covariance: Tensor) -> Tensor:
    """The boundary's covariance, by lattice vector, as one matrix of its images."""
    plan = condensed.plan
    n = len(plan.image)
    half = covariance.new_zeros(n * n).index_put(
        (plan.pair_source,), covariance.reshape(-1)[plan.pair_position]
    )
    is_stored = torch.zeros(n * n, dtype=torch.bool, device=half.device)
    is_stored[plan.pair_source] = True
    half = half.reshape(n, n)
    return torch.where(is_stored.reshape(n, n), half, half.mT)


def _by_body(bodies: Bodies, components: int, found: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Diagonal blocks of bodies from the diagonal blocks of groups of rows."""
    n, w = bodies.n_bodies, bodies.width
    where, values = [], []
    for rows, block in found:
        place = rows * w if components == 3 else bodies.dof[rows]
        body, axis = place // w, place % w
        same = body[:, None] == body[None, :]
        where.append(((body * w + axis)[:, None] * w + axis[None, :])[same])
        values.append(block[same])
    blocks = values[0].new_zeros(n * w * w).index_put((torch.cat(where),), torch.cat(values))
    blocks = blocks.reshape(n, w, w)
    if components == 1:
        return blocks
    return blocks[:, :1, :1] * torch.eye(w, dtype=blocks.dtype, device=blocks.device)
