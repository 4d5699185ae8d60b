"""Eigenvalues and eigenvectors of Hermitian matrices, with gradients where they exist."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from onephonon.core.errors import GradientError

#: Eigenvalues closer than this fraction of the largest one are degenerate: rounding alone splits
#: them by 1e-16, and a gap this small would multiply rounding in a gradient by 1e10.
DEGENERATE = {torch.float64: 1e-10, torch.float32: 1e-4}

#: Largest fraction of a gradient within a degenerate set that is not an error; it is zero, up to
#: rounding, for anything that depends on the whole set.
MIXING = {torch.float64: 1e-6, torch.float32: 1e-2}


def hermitian_eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors in columns.

    Parameters
    ----------
    matrices : Tensor, shape (n, D, D), complex, Hermitian

    Returns
    -------
    values : Tensor, shape (n, D), real
    vectors : Tensor, shape (n, D, D)
        Once differentiable. Gradients of eigenvalues, and of anything that depends on a
        degenerate set as a whole, are correct; a single vector of such a set, or the phase of
        any vector, is arbitrary and has no gradient.

    Raises
    ------
    GradientError
        In the backward pass, if a quantity has no gradient.
    """
    values, vectors = _HermitianEigen.apply(matrices)
    return values, vectors


class _HermitianEigen(torch.autograd.Function):
    @staticmethod
    def forward(matrices: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrices)
        return values, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG004
        ctx.save_for_backward(*output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_values: Tensor, g_vectors: Tensor) -> Tensor:
        """``V (diag(g_w) + (V^H g_V)_ij / (w_j - w_i)) V^H``, with 0 within degenerate sets."""
        values, vectors = ctx.saved_tensors
        mixing = vectors.mH @ g_vectors
        gap = values[:, None, :] - values[:, :, None]
        same = gap.abs() <= DEGENERATE[values.dtype] * values.abs().amax(1)[:, None, None]
        _check_invariance(mixing, same)
        mixing = torch.where(same, 0.0, mixing / torch.where(same, 1.0, gap))
        inner = torch.diag_embed(g_values).to(mixing.dtype) + mixing
        g = vectors @ inner @ vectors.mH
        return 0.5 * (g + g.mH)


def _check_invariance(mixing: Tensor, same: Tensor) -> None:
    """Raise if a gradient depends on the arbitrary choice of phases or degenerate vectors."""
    antihermitian = torch.where(same, mixing - mixing.mH, 0.0).abs()
    bound = MIXING[antihermitian.dtype] * mixing.abs().amax((1, 2))[:, None, None]
    wrong = antihermitian > bound
    if not bool(wrong.any()):
        return
    k, i, j = (int(x) for x in wrong.nonzero()[0])
    if i == j:
        raise GradientError(
            f"a gradient was requested of the phase of mode {i} at wavevector {k}; the phase of an "
            "eigenvector is arbitrary: differentiate something that does not depend on it"
        )
    raise GradientError(
        f"modes {min(i, j)} and {max(i, j)} at wavevector {k} are degenerate: one of them alone "
        "is arbitrary and has no gradient; take the degenerate set together (for intensities "
        f"rank=({min(i, j)}, {max(i, j)}, ...)), or all modes"
    )
