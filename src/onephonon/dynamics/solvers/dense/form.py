"""The quadratic form ``G^H K(k)^-1 G`` and its derivatives, used for intensities and gradients.

With ``v = K^-1 G`` the change of the form is ``2 Re(v^H dG) - v^H dK v``: one solve is enough for
the value and all first derivatives. Without eigenvectors, degenerate modes are no problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from onephonon.core.tensors import inside_functorch, push_forward
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from ...bloch import bloch_sum
from ...stiffness_matrix import factorize, inverse_factor

#: Number of complex elements per batch: about the size of the processor cache.
NUMBERS_AT_A_TIME = 200_000


def quadratic_form(
    bodies: Bodies,
    constants: ForceConstants,
    k_frac: Tensor,
    hkl: Tensor,
    G: Tensor,
    points: Tensor | None = None,
) -> Tensor:
    """`Solver.quadratic_form` by dense factorizations.

    The backward pass keeps the arguments and either `v` or the factors of K, the smaller ones.
    """
    inputs = (constants.onsite, constants.coupling, hkl, G)
    # Inside torch.func it is not yet known which derivatives are needed.
    keep = inside_functorch() or (torch.is_grad_enabled() and any(x.requires_grad for x in inputs))
    layout = (constants.a, constants.b, constants.cell, bodies.dof)
    value: Tensor = _QuadraticForm.apply(*inputs, k_frac.detach(), *layout, points, keep)[0]
    return value


def solve_form(factor: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
    """``G^H K^-1 G`` and ``K^-1 G``, (n_k, m) and (n_k, m, D), from Cholesky factors of K."""
    half = torch.linalg.solve_triangular(factor, G.mT, upper=False)
    return squared_lengths(half), torch.linalg.solve_triangular(factor.mH, half, upper=True).mT


def shares_inverse(m: int, n_dof: int) -> bool:
    """Whether enough G share a K that its inverse factor is cheaper than solving for each."""
    return m >= n_dof


def squared_lengths(half: Tensor) -> Tensor:
    """Squared lengths of columns."""
    return (half.real.square() + half.imag.square()).sum(1)


def _pieces(n_k: int, m: int, n_dof: int) -> Iterator[tuple[slice, list[slice]]]:
    """Divide a table of (zone points, G) into batches that fit the cache.

    Many G of one zone point are divided only if they share its inverse factor.
    """
    max_rows = max(1, NUMBERS_AT_A_TIME // n_dof)
    each = max(n_dof, min(m, max_rows)) if shares_inverse(m, n_dof) else max(m, n_dof)
    for part in _slices(n_k, max(1, max_rows // each)):
        step = max(1, max_rows // (part.stop - part.start)) if shares_inverse(m, n_dof) else m
        yield part, list(_slices(m, step))


def _slices(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def gather_rows(G: Tensor, points: Tensor | None, part: slice, some: slice) -> Tensor:
    """Rows of G for some zone points, shape (n_k, m, D)."""
    if points is None:
        return G[part, some]
    chosen = points[part, some]
    return G.index_select(0, chosen.reshape(-1)).reshape(*chosen.shape, -1)


def _scatter_add(
    total: Tensor, points: Tensor | None, part: slice, some: slice, rows: Tensor
) -> None:
    """Add rows at the positions that `gather_rows` reads."""
    if points is None:
        total[part, some] = rows
    elif points.shape[1] == 1:  # one q per zone point
        total.index_copy_(0, points[part, 0], rows[:, 0])
    else:
        total.index_add_(0, points[part, some].reshape(-1), rows.flatten(0, 1))


def _by_torch(
    onsite: Tensor,
    coupling: Tensor,
    hkl: Tensor,
    G: Tensor,
    a: Tensor,
    b: Tensor,
    cell: Tensor,
    dof: Tensor,
    points: Tensor | None = None,
    k_frac: Tensor | None = None,
) -> Tensor:
    """The same by autograd, differentiable any number of times.

    Without `k_frac` K is formed at every hkl, slowly, and is differentiable in it.
    """
    if points is not None:
        hkl, G = hkl[points], G[points]
    columns = G.reshape(-1, G.shape[-1], 1) if k_frac is None else G.mT
    k = hkl.reshape(-1, 3) if k_frac is None else k_frac
    K = bloch_sum(onsite, coupling, a, b, cell, dof).stiffness(k)
    v = torch.linalg.solve(K, columns)
    return (columns.conj() * v).real.sum(1).reshape(G.shape[:2])


def _one_by_one(function: Any, info: Any, in_dims: Any, args: Any) -> tuple[Any, Any]:
    """Rule for `torch.vmap`: members of a batch one after the other."""
    every = [
        function.apply(
            *(x if d is None else x.select(d, i) for x, d in zip(args, in_dims, strict=True))
        )
        for i in range(info.batch_size)
    ]
    stacked = tuple(torch.stack(outputs) for outputs in zip(*every, strict=True))
    return stacked, (0,) * len(stacked)


class _QuadraticForm(torch.autograd.Function):
    """`quadratic_form` with an explicit backward pass.

    All tensors are separate arguments: torch.func would not see them inside an object.
    """

    @staticmethod
    def forward(
        onsite: Tensor,
        coupling: Tensor,
        hkl: Tensor,  # noqa: ARG004
        G: Tensor,
        k_frac: Tensor,
        a: Tensor,
        b: Tensor,
        cell: Tensor,
        dof: Tensor,
        points: Tensor | None = None,
        keep: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Values, and v or, if enough G share a K, its inverse factor."""
        sums = bloch_sum(onsite, coupling, a, b, cell, dof)
        n_k, m = (G if points is None else points).shape[:2]
        D = G.shape[-1]
        value = G.real.new_empty(n_k, m)
        kept = G.new_empty(n_k if keep else 0, D if shares_inverse(m, D) else m, D)
        for part, columns in _pieces(n_k, m, D):
            factor = factorize(sums.stiffness(k_frac[part]))
            if shares_inverse(m, D):
                found = inverse_factor(factor)
                for some in columns:
                    value[part, some] = squared_lengths(
                        found @ gather_rows(G, points, part, some).mT
                    )
            else:
                value[part], found = solve_form(factor, gather_rows(G, points, part, slice(0, m)))
            if keep:
                kept[part] = found
        return value, kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[:10], output[1])
        ctx.save_for_forward(*inputs[:10])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        onsite, coupling, hkl, G, *rest, points, kept = ctx.saved_tensors
        needs = ctx.needs_input_grad
        wanted = (needs[0] or needs[1], needs[2], needs[3])
        found = iter(
            _QuadraticGradient.apply(
                onsite, coupling, hkl, G, grad, kept.detach(), *rest, points, *wanted
            )
        )
        by_blocks = (next(found), next(found)) if wanted[0] else (None, None)
        return (*by_blocks, *(next(found) if w else None for w in wanted[1:]), *(None,) * 7)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None]:
        onsite, coupling, hkl, G, k_frac, a, b, cell, dof, points = ctx.saved_tensors
        at = None if tangents[2] is not None else k_frac

        def form(onsite: Tensor, coupling: Tensor, hkl: Tensor, G: Tensor) -> Tensor:
            return _by_torch(onsite, coupling, hkl, G, a, b, cell, dof, points, at)

        return push_forward(form, (onsite, coupling, hkl, G), tangents[:4]), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return _one_by_one(_QuadraticForm, info, in_dims, args)


class _QuadraticGradient(torch.autograd.Function):
    """The gradient of `_QuadraticForm` as a separate function, which does not store K either.

    Returns the requested gradients: for onsite and coupling (together), hkl and G.
    """

    @staticmethod
    def forward(
        onsite: Tensor,
        coupling: Tensor,
        hkl: Tensor,
        G: Tensor,
        grad: Tensor,
        kept: Tensor,
        k_frac: Tensor,
        a: Tensor,
        b: Tensor,
        cell: Tensor,
        dof: Tensor,
        points: Tensor | None,
        by_K: bool,
        by_k: bool,
        by_G: bool,
    ) -> tuple[Tensor, ...]:
        sums = bloch_sum(onsite, coupling, a, b, cell, dof)
        (n_k, m), D = grad.shape, G.shape[-1]
        g_onsite, g_coupling = torch.zeros_like(onsite), torch.zeros_like(coupling)
        g_hkl = torch.zeros_like(hkl) if by_k else None
        g_G = torch.zeros_like(G) if by_G else None
        for part, columns in _pieces(n_k, m, D):
            k, v = k_frac[part], kept[part]
            if shares_inverse(m, D):
                inverse = v.mH @ v
            for some in columns:
                if shares_inverse(m, D):
                    v = gather_rows(G, points, part, some) @ inverse.mT
                g = grad[part, some]
                if by_K:
                    shares = sums.pull_back(k, g, v)
                    g_onsite, g_coupling = g_onsite + shares[0], g_coupling + shares[1]
                if g_hkl is not None:
                    _scatter_add(g_hkl, points, part, some, sums.pull_back_k(k, g, v))
                if g_G is not None:
                    _scatter_add(g_G, points, part, some, 2 * g[:, :, None] * v)
        every = (*((g_onsite, g_coupling) if by_K else ()), g_hkl, g_G)
        return tuple(g for g in every if g is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[:12])
        ctx.save_for_forward(*inputs[:12])
        ctx.wanted = inputs[12:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, gradients = _gradients_by_torch(ctx.saved_tensors, ctx.wanted)
        return (*torch.func.vjp(gradients, *inputs)[1](grads), *(None,) * 10)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        inputs, gradients = _gradients_by_torch(ctx.saved_tensors, ctx.wanted)
        out: tuple[Tensor, ...] = push_forward(gradients, inputs, tangents[:5])
        return out

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        return _one_by_one(_QuadraticGradient, info, in_dims, args)


def _gradients_by_torch(
    saved: tuple[Any, ...], wanted: tuple[bool, bool, bool]
) -> tuple[list[Tensor], Callable[..., tuple[Tensor, ...]]]:
    """Differentiable inputs of `_QuadraticGradient`, and the same function by autograd."""
    *inputs, _, k_frac, a, b, cell, dof, points = saved
    by_K, by_k, by_G = wanted
    chosen = [i for i, w in enumerate((by_K, by_K, by_k, by_G)) if w]

    def gradients(*x: Tensor) -> tuple[Tensor, ...]:
        def form(*some: Tensor) -> Tensor:
            arguments = dict(enumerate(x[:4])) | dict(zip(chosen, some, strict=True))
            at = None if by_k else k_frac
            onsite, coupling, hkl, G = arguments.values()
            return _by_torch(onsite, coupling, hkl, G, a, b, cell, dof, points, at)

        found: tuple[Tensor, ...] = torch.func.vjp(form, *(x[i] for i in chosen))[1](x[4])
        return found

    return inputs, gradients
