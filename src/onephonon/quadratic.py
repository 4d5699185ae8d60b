"""The quadratic form ``G^H K(k)^-1 G`` and its adjoint: the heart of intensity and gradient.

With ``v = K^-1 G`` the change of the form is ``2 Re(v^H dG) - v^H dK v``: one solve serves the
value and every first derivative. No eigenvector enters, so degenerate modes are no special case.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .bodies import Bodies
from .dynamics import assemble_stiffness, factorize, phase
from .network import ForceConstants
from .tensors import push_forward
from .units import TWO_PI

#: Complex numbers gathered at a time while derivatives by force constants are summed.
GATHERED_AT_A_TIME = 2_000_000


def quadratic_form(
    bodies: Bodies, constants: ForceConstants, k_frac: Tensor, hkl: Tensor, G: Tensor
) -> Tensor:
    """``G^H K(k)^-1 G`` for several G at each of several zone points.

    Parameters
    ----------
    bodies : Bodies
        For the layout of the degrees of freedom.
    constants : ForceConstants
    k_frac : Tensor, shape (n_k, 3)
        Zone points; no gradient.
    hkl : Tensor, shape (n_k, m, 3)
        The wavevectors themselves, equal to `k_frac` modulo 1; they carry the gradient of K(k).
    G : Tensor, shape (n_k, m, D), complex

    Returns
    -------
    Tensor, shape (n_k, m)
        Differentiable in the force constants, hkl and G, also twice. The backward pass reuses
        the solve and keeps ``v`` and ``G`` but no K.

    Raises
    ------
    NetworkError
        If a K(k) is not positive definite.
    """
    value: Tensor = _QuadraticForm.apply(
        constants.onsite,
        constants.coupling,
        hkl,
        G,
        k_frac.detach(),
        constants.a,
        constants.b,
        constants.cell,
        bodies.dof,
    )[0]
    return value


def _by_torch(
    onsite: Tensor,
    coupling: Tensor,
    hkl: Tensor,
    G: Tensor,
    a: Tensor,
    b: Tensor,
    cell: Tensor,
    dof: Tensor,
) -> Tensor:
    """The same by torch's own rules, K formed at every hkl: slow, and differentiable at will."""
    K = assemble_stiffness(onsite, coupling, a, b, cell, dof, hkl.reshape(-1, 3))
    column = G.reshape(-1, G.shape[-1], 1)
    v = torch.linalg.solve(K, column)
    return (column.conj() * v).real.sum((1, 2)).reshape(G.shape[:2])


class _QuadraticForm(torch.autograd.Function):
    """`quadratic_form` with the adjoint by hand.

    All tensors are arguments of their own: hidden inside an object they would escape torch.func.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        onsite: Tensor,
        coupling: Tensor,
        hkl: Tensor,  # noqa: ARG004
        G: Tensor,
        k_frac: Tensor,
        *layout: Tensor,
    ) -> tuple[Tensor, Tensor]:
        a, b, cell, dof = layout
        factor = factorize(assemble_stiffness(onsite, coupling, a, b, cell, dof, k_frac))
        half = torch.linalg.solve_triangular(factor, G.mT, upper=False)
        v = torch.linalg.solve_triangular(factor.mH, half, upper=True).mT
        return (half.real.square() + half.imag.square()).sum(1), v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        onsite, coupling, hkl, G, _, *layout, v = ctx.saved_tensors
        rest = (None,) * 5
        if torch.is_grad_enabled():  # somebody may want to differentiate once more
            found = _QuadraticGradient.apply(onsite, coupling, hkl, G, grad, v.detach(), *layout)
            return (*found, *rest)
        needs = ctx.needs_input_grad
        through_K: tuple[Tensor | None, ...] = (None, None, None)
        if any(needs[:3]):
            through_K = _pull_back_K(coupling, hkl, v, grad, *layout)
        g_G = 2 * grad[:, :, None] * v if needs[3] else None
        return (*through_K, g_G, *rest)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, None]:
        onsite, coupling, hkl, G, _, *layout = ctx.saved_tensors

        def form(*x: Tensor) -> Tensor:
            return _by_torch(*x, *layout)

        return push_forward(form, (onsite, coupling, hkl, G), tangents[:4]), None


class _QuadraticGradient(torch.autograd.Function):
    """The gradient of `_QuadraticForm` as a function of its own, which keeps no K either."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        onsite: Tensor,  # noqa: ARG004
        coupling: Tensor,
        hkl: Tensor,
        G: Tensor,  # noqa: ARG004
        grad: Tensor,
        v: Tensor,
        *layout: Tensor,
    ) -> tuple[Tensor, ...]:
        a, b, cell, dof = layout
        through_K = _pull_back_K(coupling, hkl, v, grad, a, b, cell, dof)
        return (*through_K, 2 * grad[:, :, None] * v)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, _, a, b, cell, dof = ctx.saved_tensors

        def gradients(*x: Tensor) -> tuple[Tensor, ...]:
            return _gradients_by_torch(*x, a, b, cell, dof)

        return (*torch.func.vjp(gradients, *inputs)[1](grads), *(None,) * 5)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        *inputs, _, a, b, cell, dof = ctx.saved_tensors

        def gradients(*x: Tensor) -> tuple[Tensor, ...]:
            return _gradients_by_torch(*x, a, b, cell, dof)

        out: tuple[Tensor, ...] = push_forward(gradients, inputs, tangents[:5])
        return out


def _gradients_by_torch(*inputs: Tensor) -> tuple[Tensor, ...]:
    """Gradients of `_by_torch` by onsite, coupling, hkl and G; grad comes fifth."""
    onsite, coupling, hkl, G, grad, *layout = inputs

    def form(*x: Tensor) -> Tensor:
        return _by_torch(*x, *layout)

    found: tuple[Tensor, ...] = torch.func.vjp(form, onsite, coupling, hkl, G)[1](grad)
    return found


def _pull_back_K(
    coupling: Tensor,
    hkl: Tensor,
    v: Tensor,
    grad: Tensor,
    a: Tensor,
    b: Tensor,
    cell: Tensor,
    dof: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients through K: ``-grad v^H dK v`` for onsite and coupling blocks and for hkl."""
    u = _by_body(v, coupling.shape[-1], dof)
    g, k = grad.reshape(-1), hkl.reshape(-1, 3)
    weighted = g[:, None, None] * u
    g_onsite = -torch.einsum("qbi,qbj->bij", weighted.conj(), u).real
    g_k = torch.zeros_like(k)
    parts = []
    step = max(1, GATHERED_AT_A_TIME // max(1, len(k) * u.shape[-1]))
    for part in torch.arange(len(coupling), device=k.device).split(step):
        at_a = weighted[:, a[part]].conj()
        turned = phase(k, cell[part])[:, :, None] * u[:, b[part]]
        parts.append(-2 * torch.einsum("qpi,qpj->pij", at_a, turned).real)
        pulled = torch.einsum("qpi,pij,qpj->qp", at_a, coupling[part].to(u.dtype), turned)
        g_k = g_k + 2 * TWO_PI * (pulled.imag @ cell[part].to(k))
    g_coupling = torch.cat(parts) if parts else torch.zeros_like(coupling)
    return g_onsite, g_coupling, g_k.reshape(hkl.shape)


def _by_body(v: Tensor, width: int, dof: Tensor) -> Tensor:
    """Solutions (..., D) in the bodies' padded layout, shape (n_q, n_bodies, width)."""
    flat = v.reshape(-1, v.shape[-1])
    # The last degree of freedom that exists belongs to the last body.
    n = int(dof[-1]) // width + 1
    if len(dof) < n * width:
        padded = torch.zeros(len(flat), n * width, dtype=v.dtype, device=v.device)
        flat = padded.index_copy(1, dof, flat)
    return flat.reshape(len(flat), n, width)


def pattern_products(
    bodies: Bodies, constants: ForceConstants, k_frac: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """What multiplies a change of each force constant in ``-v^H dK v``.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
        For the coupled pairs; their values play no part.
    k_frac : Tensor, shape (n_q, 3)
    v : Tensor, shape (n_q, D), complex

    Returns
    -------
    onsite : Tensor, shape (n_q, n_bodies, width, width)
    coupling : Tensor, shape (n_q, n_blocks, width, width)
        ``-v^H dK v = sum(onsite * d_onsite) + sum(coupling * d_coupling)``.
    """
    u = _by_body(v, bodies.width, bodies.dof)
    onsite = -(u.conj()[:, :, :, None] * u[:, :, None, :]).real
    turned = phase(k_frac, constants.cell)[:, :, None] * u[:, constants.b]
    coupling = -2 * (u.conj()[:, constants.a][:, :, :, None] * turned[:, :, None, :]).real
    return onsite, coupling
