"""Solutions at Gamma by condensation: the response of many bodies to uniform fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from ...stiffness_matrix import factorize
from .condensation import Condensed


def pinned_factor(condensed: Condensed, translations: Tensor) -> Tensor:
    """Cholesky factor of ``S(0) + c P P^T``, which is positive definite.

    Parameters
    ----------
    condensed : Condensed
    translations : Tensor, shape (D, 3)
        The translation of the whole crystal; P is its part at the boundary.
    """
    P = condensed.to_rows(translations)[condensed.plan.boundary]
    P = P[:, :1] if condensed.components == 3 else P
    S = condensed.stiffness(P.new_zeros(1, 3))[0].real
    # S may vanish at Gamma; the onsite blocks never do.
    c = (condensed.lattice[0].diagonal().sum() / P.square().sum()).detach()
    return factorize((S + c * P @ P.mT)[None])[0]


def solve_at_gamma(
    bodies: Bodies, constants: ForceConstants, condensed: Condensed, loads: Tensor
) -> Tensor:
    """`Solver.solve_at_gamma` with the interior of the cell factored."""
    found: Tensor = _Solution.apply(
        loads, constants.onsite, constants.coupling, bodies, constants, condensed
    )
    return found


class _Solution(torch.autograd.Function):
    """``X = K(0)^-1 loads``; the derivative needs one more solution: ``dX = K^-1 (dL - dK X)``."""

    @staticmethod
    def forward(
        loads: Tensor,
        onsite: Tensor,  # noqa: ARG004 (for their gradients)
        coupling: Tensor,  # noqa: ARG004
        bodies: Bodies,
        constants: ForceConstants,  # noqa: ARG004
        condensed: Condensed,
    ) -> Tensor:
        factor = pinned_factor(condensed, bodies.translations())
        rows = condensed.solve(condensed.to_rows(loads), factor)
        return condensed.from_rows(rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], inputs[2], output)
        ctx.rest = inputs[3:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        onsite, coupling, X = ctx.saved_tensors
        bodies, constants, condensed = ctx.rest
        here = replace(constants, onsite=onsite, coupling=coupling)
        Y = solve_at_gamma(bodies, here, condensed, grad)
        # By body: the derivative of -Y^T K X with respect to the blocks of K.
        x, y = (bodies.scatter(v, 0).reshape(*onsite.shape[:2], -1) for v in (X, Y))
        a, b = constants.a, constants.b
        g_coupling = -(y[a] @ x[b].mT + x[a] @ y[b].mT)
        return Y, -(y @ x.mT), g_coupling, None, None, None
