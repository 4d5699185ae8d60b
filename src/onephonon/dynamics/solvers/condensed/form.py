"""The quadratic form ``G^H K(k)^-1 G`` for many bodies, by condensation, and its adjoint.

All q of all zone points share the factor of the interior, in products of real matrices; at each
zone point only the boundary's S(k) is factored. Derivatives need ``v = K^-1 G`` from the same solve
and a sum over coupled pairs; no D x D matrix is ever formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from onephonon.core.errors import GradientError
from onephonon.core.units import TWO_PI
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from ...bloch import Layout, phase
from ...stiffness_matrix import factorize
from .condensation import Condensed

#: Elements of right-hand sides per batch; about ten arrays of this size exist at once.
NUMBERS_AT_A_TIME = 1_500_000

REVERSE_ONLY = (
    "derivatives of condensed solves are reverse-mode, without torch.func; use torch.autograd, or "
    "solver='dense'"
)

#: Elements of vectors per batch while derivatives with respect to pairs are summed.
GATHERED_AT_A_TIME = 500_000


def condensed_form(
    bodies: Bodies,
    constants: ForceConstants,
    condensed: Condensed,
    k_frac: Tensor,
    hkl: Tensor,
    G: Tensor,
    points: Tensor | None = None,
    keep: bool = True,
) -> Tensor:
    """`Solver.quadratic_form` by condensation.

    Parameters
    ----------
    condensed : Condensed
        From `condense` with the same force constants; has no gradient.
    keep : bool
        Keep the solutions, as large as G, for the backward pass; else they are recomputed.

    Returns
    -------
    Tensor, shape (n_k, m)
        Differentiable any number of times in reverse mode; not inside torch.func.

    Raises
    ------
    GradientError
        If a forward-mode derivative is requested.
    """
    if points is None:
        points = torch.arange(G.shape[0] * G.shape[1], device=G.device).reshape(G.shape[:2])
        hkl, G = hkl.reshape(-1, 3), G.reshape(-1, G.shape[-1])
    inputs = (constants.onsite, constants.coupling, hkl, G)
    keep = keep and torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    problem = _Problem(condensed, Layout.of(bodies, constants), k_frac.detach(), points)
    value: Tensor = _Form.apply(*inputs, problem, keep)[0]
    return value


def _pieces(n_k: int, m: int, n_dof: int) -> Iterator[tuple[slice, list[slice]]]:
    """Batches of zone points, and of the q of each."""
    max_rows = max(1, NUMBERS_AT_A_TIME // n_dof)
    n, columns = max(1, max_rows // max(1, m)), max(1, min(m, max_rows))
    some = [slice(q, q + columns) for q in range(0, m, columns)]
    for k in range(0, n_k, n):
        yield slice(k, k + n), some


@dataclass(frozen=True)
class CondensedFactors:
    """Factors of a condensed crystal at some zone points.

    Parameters
    ----------
    condensed : Condensed
    waves : Tensor, shape (n_images, n_k), complex
        ``exp(i k.R)`` of each image.
    factor : Tensor, shape (n_k, n_boundary, n_boundary)
        ``L`` of ``S = L L^H``.
    """

    condensed: Condensed
    waves: Tensor
    factor: Tensor

    @classmethod
    def at(cls, condensed: Condensed, k_frac: Tensor) -> CondensedFactors:
        """Factor S at zone points (n_k, 3)."""
        waves = phase(k_frac, condensed.plan.image_cell).mT
        return cls(condensed, waves, factorize(condensed.stiffness(k_frac)))

    @torch.no_grad()
    def quadratic_form(self, G: Tensor) -> Tensor:
        """``G^H K^-1 G`` of many G, shape (n_k, m)."""
        value = G.real.new_empty(G.shape[:2])
        for k, some in _pieces(*G.shape):
            here = self._some(k)
            for q in some:
                value[k, q] = here.reduce(G[k, q]).squares()
        return value

    @torch.no_grad()
    def solve(self, G: Tensor) -> tuple[Tensor, Tensor]:
        """``G^H K^-1 G`` and ``K^-1 G``, shapes (n_k, m) and (n_k, m, D)."""
        value, v = G.real.new_empty(G.shape[:2]), torch.empty_like(G)
        for k, some in _pieces(*G.shape):
            here = self._some(k)
            for q in some:
                reduced = here.reduce(G[k, q])
                value[k, q] = reduced.squares()
                v[k, q] = reduced.solution().permute(1, 2, 0)
        return value, v

    def _some(self, k: slice) -> CondensedFactors:
        """The factors at some of the zone points."""
        return CondensedFactors(self.condensed, self.waves[:, k], self.factor[k])

    def reduce(self, G: Tensor) -> _Reduced:
        """Eliminate the interior and half of the boundary from G (n_k, m, D)."""
        plan, c = self.condensed.plan, self.condensed.components
        n_k, m, D = G.shape
        rows = torch.view_as_real(G.permute(2, 0, 1).reshape(D, n_k * m)).reshape(D // c, -1)
        interior, images = self.condensed.forward(rows[plan.interior])
        shape = (-1, c, n_k, m)
        h = _complex(rows[plan.boundary]).reshape(shape)
        waves = self.waves.conj()[:, None, :, None]
        h = h.index_add(0, plan.image, waves * _complex(images).reshape(shape))
        columns = h.permute(2, 0, 1, 3).reshape(n_k, -1, c * m)
        half = torch.linalg.solve_triangular(self.factor, columns, upper=False)
        return _Reduced(self, interior, half)


@dataclass(frozen=True)
class _Reduced:
    """Right-hand sides with the interior and half of the boundary eliminated.

    Parameters
    ----------
    factors : CondensedFactors
    interior : list of Tensor
        Rows front by front, real; columns are (component, k, q, 2).
    half : Tensor, shape (n_k, n_boundary, components * m)
        ``L^-1 h``.
    """

    factors: CondensedFactors
    interior: list[Tensor]
    half: Tensor

    def squares(self) -> Tensor:
        """``G^H K^-1 G``, shape (n_k, m)."""
        n_k, components = len(self.half), self.factors.condensed.components
        value = torch.view_as_real(self.half).square().sum((1, 3)).reshape(n_k, components, -1)
        value = value.sum(1)
        for rows in self.interior:
            share = rows.square().sum(0).reshape(components, n_k, -1, 2)
            value = value + share.sum((0, 3))
        return value

    def solution(self) -> Tensor:
        """``K^-1 G``, shape (D, n_k, m)."""
        condensed, factor = self.factors.condensed, self.factors.factor
        plan, c = condensed.plan, condensed.components
        x = torch.linalg.solve_triangular(factor.mH, self.half, upper=True)
        n_k, n, _ = x.shape
        x = x.reshape(n_k, n, c, -1).permute(1, 2, 0, 3)
        images = _real(self.factors.waves[:, None, :, None] * x[plan.image])
        v = images.new_empty(plan.n_dof, images.shape[1])
        v[plan.interior] = condensed.backward(self.interior, images)
        v[plan.boundary] = _real(x)
        return _complex(v).reshape(plan.n_dof * c, n_k, -1)


@dataclass(frozen=True)
class _Problem:
    """Inputs of `_Form` and `_Solution` that have no gradient."""

    condensed: Condensed
    layout: Layout
    k_frac: Tensor
    points: Tensor

    def reduced(self, G: Tensor) -> Iterator[tuple[slice, slice, _Reduced]]:
        """Batches of right-hand sides from the list G (n, D)."""
        n_k, m = self.points.shape
        for k, some in _pieces(n_k, m, len(self.layout.dof)):
            factors = CondensedFactors.at(self.condensed, self.k_frac[k])
            for q in some:
                yield k, q, factors.reduce(G[self.points[k, q]])

    def solutions(self, G: Tensor, kept: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Batches of ``K^-1 G``, kept or recomputed."""
        if not len(kept):
            yield from ((k, q, reduced.solution()) for k, q, reduced in self.reduced(G))
            return
        n_k, m = self.points.shape
        for k, some in _pieces(n_k, m, len(self.layout.dof)):
            yield from ((k, q, kept[:, k, q]) for q in some)

    def spread(self, rows: Tensor, like: Tensor) -> Tensor:
        """Add up (n_k, m, ...) into a list."""
        return torch.zeros_like(like).index_add(0, self.points.reshape(-1), rows.flatten(0, 1))


def _complex(rows: Tensor) -> Tensor:
    """Complex columns from pairs of real ones."""
    return torch.view_as_complex(rows.reshape(len(rows), -1, 2))


def _real(rows: Tensor) -> Tensor:
    """Inverse of `_complex`, for rows of any shape."""
    return torch.view_as_real(rows.contiguous()).reshape(len(rows), -1)


class _Form(torch.autograd.Function):
    """`condensed_form` with an explicit backward pass."""

    @staticmethod
    def forward(
        onsite: Tensor,
        coupling: Tensor,  # noqa: ARG004
        hkl: Tensor,  # noqa: ARG004
        G: Tensor,
        problem: _Problem,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        value = onsite.new_empty(problem.points.shape)
        v = G.new_empty(G.shape[1] if keep else 0, *problem.points.shape)
        for k, q, reduced in problem.reduced(G):
            value[k, q] = reduced.squares()
            if keep:
                v[:, k, q] = reduced.solution()
        return value, v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[:4], output[1])
        ctx.problem = inputs[4]

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        onsite, coupling, hkl, G, v = ctx.saved_tensors
        problem, (by_k, by_G) = ctx.problem, ctx.needs_input_grad[2:4]
        if torch.is_grad_enabled():  # differentiable, for second derivatives
            v = _Solution.apply(onsite, coupling, hkl, G, problem, v)
            x = grad * v
            *blocks, along = _pull_back(problem.layout, coupling, hkl[problem.points], x, v, by_k)
            g_G = problem.spread(2 * x.permute(1, 2, 0), G)
            return (*blocks, problem.spread(along, hkl), g_G, None, None)
        g_onsite, g_coupling = torch.zeros_like(onsite), torch.zeros_like(coupling)
        g_hkl, g_G = torch.zeros_like(hkl), torch.zeros_like(G) if by_G else None
        for k, q, part in problem.solutions(G, v):
            points = problem.points[k, q]
            x = grad[k, q] * part
            found = _pull_back(problem.layout, coupling, hkl[points], x, part, by_k)
            g_onsite, g_coupling = g_onsite + found[0], g_coupling + found[1]
            if by_k:
                g_hkl.index_add_(0, points.reshape(-1), found[2].flatten(0, 1))
            if g_G is not None:
                g_G.index_add_(0, points.reshape(-1), 2 * x.permute(1, 2, 0).flatten(0, 1))
        return g_onsite, g_coupling, g_hkl if by_k else None, g_G, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> NoReturn:  # noqa: ARG004
        raise GradientError(REVERSE_ONLY)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> NoReturn:  # noqa: ARG004
        raise GradientError(REVERSE_ONLY)


class _Solution(torch.autograd.Function):
    """``v = K^-1 G``, shape (D, n_k, m), as a differentiable function."""

    @staticmethod
    def forward(
        onsite: Tensor,  # noqa: ARG004
        coupling: Tensor,  # noqa: ARG004
        hkl: Tensor,  # noqa: ARG004
        G: Tensor,
        problem: _Problem,
        known: Tensor | None,
    ) -> Tensor:
        if known is not None and len(known):
            return known.clone()
        v = G.new_empty(G.shape[1], *problem.points.shape)
        for k, q, reduced in problem.reduced(G):
            v[:, k, q] = reduced.solution()
        return v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4], output)
        ctx.problem = inputs[4]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """``dL = Re[x^H (dG - dK v)]`` with ``x = K^-1 grad``."""
        onsite, coupling, hkl, G, v = ctx.saved_tensors
        problem, k = ctx.problem, hkl[ctx.problem.points]
        order = torch.arange(problem.points.numel(), device=G.device).reshape(problem.points.shape)
        rows = grad.permute(1, 2, 0)
        again = replace(problem, points=order)
        x = _Solution.apply(onsite, coupling, k.flatten(0, 1), rows.flatten(0, 1), again, None)
        one = _pull_back(problem.layout, coupling, k, x, v, True)
        other = _pull_back(problem.layout, coupling, k, v, x, True)
        # A coupled pair enters K as x_a^H C v_b and as v_a^H C x_b.
        *blocks, along = ((g + h) / 2 for g, h in zip(one, other, strict=True))
        g_G = problem.spread(x.permute(1, 2, 0), G)
        return (*blocks, problem.spread(along, hkl), g_G, None, None)


def _pull_back(
    layout: Layout, coupling: Tensor, hkl: Tensor, x: Tensor, v: Tensor, by_k: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``-Re(x^H K v)`` for onsite and coupling blocks and k, for x parallel to v.

    For other x they are the mean of those for (x, v) and (v, x).
    """
    k = hkl.reshape(-1, 3)
    x, v = (layout.by_body_in_rows(rows.reshape(len(rows), -1)) for rows in (x, v))
    coupled, along = _across(layout, coupling, k, x, v, by_k)
    return -_products(x, v), 2 * coupled, 2 * along.reshape(hkl.shape)


def _products(x: Tensor, v: Tensor) -> Tensor:
    """``sum_q Re(conj(x_i) v_j)`` of vectors (n, width, n_q), shape (n, width, width)."""
    x, v = (torch.view_as_real(u.resolve_conj().contiguous()).flatten(2) for u in (x, v))
    return x @ v.mT


def _across(
    layout: Layout, coupling: Tensor, k: Tensor, x: Tensor, v: Tensor, by_k: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of ``-Re sum_pairs x_a^H C exp(i k.R) v_b`` for the blocks C and for k."""
    away = (layout.cell != 0).any(1)
    order = torch.cat([(~away).nonzero()[:, 0], away.nonzero()[:, 0]])
    step = max(1, GATHERED_AT_A_TIME // max(1, x.shape[1] * x.shape[2]))
    blocks, along = [coupling[:0]], torch.zeros_like(k)
    for part in order[: len(away) - int(away.sum())].split(step):
        blocks.append(-_products(x[layout.a[part]], v[layout.b[part]]))
    for part in order[len(away) - int(away.sum()) :].split(step):
        at_a, cell = x[layout.a[part]], layout.cell[part]
        phased = v[layout.b[part]] * phase(k, cell).mT[:, None, :]
        blocks.append(-_products(at_a, phased))
        if by_k:
            moved = coupling[part].to(v.dtype) @ phased
            along = along + TWO_PI * (at_a.conj() * moved).sum(1).imag.mT @ cell.to(k)
    return torch.cat(blocks)[torch.argsort(order)], along
