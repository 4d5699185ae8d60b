"""Functions of Hermitian matrices, with gradients also where eigenvalues are degenerate.

``f(M) = v diag(f(w)) v^H``. With the divided differences ``f[a, b] = (f(a) - f(b)) / (a - b)``, and
``f[a, a] = f'(a)``, the change of it is ``v (f[w_i, w_j] (v^H dM v)_ij) v^H`` (Daleckii & Krein;
Higham, Functions of Matrices, 2008, theorem 3.11): nothing diverges where eigenvalues meet, and
no choice of eigenvectors within a degenerate set matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Eigenvalues closer than this, relative to their size and to the largest one, share the slope of f
#: at them: its error grows as the square of the gap, that of the difference as one over the gap.
CLOSE = {torch.float64: 1e-5, torch.float32: 1e-2}
CLOSE_TO_ALL = {torch.float64: 1e-9, torch.float32: 1e-5}


def hermitian_function(matrices: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of Hermitian matrices.

    Parameters
    ----------
    matrices : Tensor, shape (n, D, D), complex, Hermitian
    f : callable
        Of a real tensor of any shape, element by element.

    Returns
    -------
    Tensor, shape (n, D, D)
        Once differentiable in the matrices and in all tensors that f contains.
    """
    with torch.no_grad():
        w, v = torch.linalg.eigh(matrices)
    with_slopes = torch.is_grad_enabled() and matrices.requires_grad
    slopes = _slopes(w, f) if with_slopes else torch.zeros_like(w)
    result: Tensor = _HermitianFunction.apply(matrices, f(w), slopes, w, v)
    return result


def _slopes(w: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """Derivative of f at every element of w."""

    def unchanged(x: Tensor) -> Tensor:
        return x

    # The hooks of a checkpoint around this must not see the graph that is used up here.
    hooks = torch.autograd.graph.saved_tensors_hooks(unchanged, unchanged)
    with torch.enable_grad(), hooks:
        at = w.detach().requires_grad_()
        value = f(at)
        if not value.requires_grad:
            return torch.zeros_like(w)
        slopes = torch.autograd.grad(value.sum(), at, allow_unused=True)[0]
    return torch.zeros_like(w) if slopes is None else slopes


def divided_differences(w: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
    """``(f(w_i) - f(w_j)) / (w_i - w_j)``, and the slope where they are close, (n, D, D)."""
    gap = w[:, :, None] - w[:, None, :]
    size = w.abs()
    pair = 0.5 * (size[:, :, None] + size[:, None, :])
    largest = size.amax(1)[:, None, None]
    close = gap.abs() <= CLOSE[w.dtype] * pair + CLOSE_TO_ALL[w.dtype] * largest
    rise = values[:, :, None] - values[:, None, :]
    mean = 0.5 * (slopes[:, :, None] + slopes[:, None, :])
    return torch.where(close, mean, rise / torch.where(close, 1.0, gap))


class _HermitianFunction(torch.autograd.Function):
    """`hermitian_function` from eigenvalues and eigenvectors, values and slopes of f."""

    @staticmethod
    def forward(matrices: Tensor, values: Tensor, slopes: Tensor, w: Tensor, v: Tensor) -> Tensor:  # noqa: ARG004
        return (v * values[:, None, :]) @ v.mH

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, slopes, w, v = ctx.saved_tensors
        inner = v.mH @ grad @ v
        by_values = inner.diagonal(dim1=1, dim2=2).real
        by_matrices = None
        if ctx.needs_input_grad[0]:
            g = v @ (divided_differences(w, values, slopes) * inner) @ v.mH
            by_matrices = 0.5 * (g + g.mH)
        return by_matrices, by_values, None, None, None
