"""G(q): scattering amplitude of each degree of freedom, by direct summation over atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.core.tensors import push_forward
from onephonon.network.bodies import Bodies

from .monomials import amplitude_degree, check_moments, monomials, n_monomials

#: Waves (atoms x q) per batch if no batch size is given: arrays of 2 MB, near the cache size.
WAVES_AT_A_TIME = 250_000


@dataclass(frozen=True)
class DirectEngine:
    """Amplitudes summed over the atoms: exact to rounding, with derivatives of any order.

    Parameters
    ----------
    reason : str
        Why this engine was chosen.
    """

    name: ClassVar[str] = "direct"
    rtol: ClassVar[float] = 0.0
    has_grid: ClassVar[bool] = False

    reason: str = "as requested"

    def __str__(self) -> str:
        return f"direct sum ({self.reason})"

    def at(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Amplitudes at a list of q, in batches; see `AmplitudeEngine.at`."""
        parts, done = [], 0
        for part in q.split(batch_size or default_batch_size(bodies)):
            parts.append(transform(bodies, part, U))
            done += len(part)
            if progress and len(q):
                progress("amplitudes", done, len(q))
        return torch.cat(parts)

    def moments(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,
        degree: int,
        length: float,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Moments at a list of q, in batches; see `AmplitudeEngine.moments`."""
        check_moments(degree, length)
        if batch_size is None:
            per_q = max(bodies.table.numel(), bodies.n_bodies * n_monomials(degree))
            batch_size = max(1, WAVES_AT_A_TIME // per_q)
        parts, done = [], 0
        for part in q.split(batch_size):
            parts.append(moments(bodies, part, U, degree, length))
            done += len(part)
            if progress and len(q):
                progress("amplitudes", done, len(q))
        return torch.cat(parts)


def default_batch_size(bodies: Bodies) -> int:
    """Number of q per batch: small for the cache, large enough to share factorizations."""
    return max(1, WAVES_AT_A_TIME // bodies.n_cell_atoms, bodies.n_dof)


def transform(bodies: Bodies, q: Tensor, U: Tensor) -> Tensor:
    """Scattering amplitudes of the degrees of freedom, summed directly over the atoms.

    ``G_b(q) = sum_{j in b} occ_j f_j(|q|) exp(-q^T U_j q / 2) exp(+i q.r_j) A_j^T q``. Since
    ``A_j^T q = (q, (r_j - o) x q)``, a body needs the sum of its atoms' waves and their first
    moment, both computed once per q.

    Parameters
    ----------
    bodies : Bodies
    q : Tensor, shape (n_q, 3)
        1/Å, 2*pi included.
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.

    Returns
    -------
    Tensor, shape (n_q, D), complex
        In e/Å for translations and e for librations (X-rays); differentiable, also twice, in q
        and in the crystal's coordinates, cell, occupancies and form factors, and in U. Nothing
        of the size n_q x n_atoms is stored for the backward pass.
    """
    sums = moments(bodies, q, U, amplitude_degree(bodies), 1.0)
    q_complex = torch.complex(q, torch.zeros_like(q))[:, None, :]
    G = sums[:, :, :1] * q_complex
    if bodies.width > 3:
        torque = torch.linalg.cross(sums[:, :, 1:], q_complex.expand_as(sums[:, :, 1:]))
        libration = torch.einsum("bxa,qbx->qba", bodies.axes.to(sums.dtype), torque)
        G = torch.cat([G, libration], dim=2)
    return bodies.gather(G.flatten(1))


def moments(bodies: Bodies, q: Tensor, U: Tensor, degree: int, length: float) -> Tensor:
    """Moments of each body's waves, summed directly over the atoms.

    ``P_b,alpha(q) = sum_{j in b} occ_j f_j(|q|) exp(-q^T U_j q / 2) exp(+i q.r_j)
    x_j^a y_j^b z_j^c`` with ``(x, y, z) = (r_j - o_b) / length``.

    Parameters
    ----------
    bodies, q, U
        As for `transform`.
    degree : int
        Largest a + b + c; the order of the moments is that of `exponents`.
    length : float
        Unit of the offsets, Å.

    Returns
    -------
    Tensor, shape (n_q, n_bodies, n_monomials(degree)), complex
        In e (X-rays); differentiable like `transform`, with the centroids o_b as constants.
    """
    # Atoms in the order of the bodies' table; padding has zero weight.
    filled = bodies.table < bodies.n_cell_atoms
    order = torch.where(filled, bodies.table, 0).reshape(-1)
    weight = monomials(bodies.offsets[order] / length, degree).reshape(*filled.shape, -1)
    return _body_sums(bodies, order, q, U, weight * filled.to(q.dtype)[:, :, None])


def structure_factor(bodies: Bodies, q: Tensor, U: Tensor) -> Tensor:
    """``F(q) = sum_j occ_j f_j exp(-q^T U_j q/2) exp(i q.r_j)`` of the cell, shape (n_q,), e."""
    n = bodies.n_cell_atoms
    weight = torch.ones(1, n, 1, dtype=q.dtype, device=q.device)
    return _body_sums(bodies, torch.arange(n, device=q.device), q, U, weight)[:, 0, 0]


def _body_sums(bodies: Bodies, atoms: Tensor, q: Tensor, U: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of the atoms' waves over each body, shape (n_q, n_bodies, n_weights)."""
    crystal = bodies.crystal
    asu_atom = bodies.asu_atom[atoms]
    rows, columns = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
    symmetric = 0.5 * (U + U.mT)
    sums: Tensor = _BodySums.apply(
        q,
        crystal.form_factors.evaluate((q * q).sum(1)),
        bodies.positions[atoms],
        symmetric[atoms][:, rows, columns],
        crystal.occupancies[asu_atom],
        weight,
        crystal.form_factors.kind[asu_atom],
    )
    return sums


def _squares(q: Tensor) -> Tensor:
    """(xx, yy, zz, 2yz, 2xz, 2xy) of each q: the coefficients of U in ``q^T U q``."""
    x, y, z = q.unbind(1)
    return torch.stack([x * x, y * y, z * z, 2 * y * z, 2 * x * z, 2 * x * y], dim=1)


def _sum_waves(
    q: Tensor, f: Tensor, r: Tensor, u: Tensor, occ: Tensor, weight: Tensor, kind: Tensor
) -> Tensor:
    """``sum_j weight_jx occ_j f_j exp(-q^T U_j q/2) exp(i q.r_j)`` over the atoms of each body.

    Parameters
    ----------
    q : Tensor, shape (n_q, 3)
    f : Tensor, shape (n_q, n_kinds)
    r, u, occ, kind : Tensor, shapes (n, 3), (n, 6), (n,), (n,)
        Of the atoms, body after body.
    weight : Tensor, shape (n_bodies, n / n_bodies, n_weights)

    Returns
    -------
    Tensor, shape (n_q, n_bodies, n_weights), complex
    """
    amplitude = f[:, kind] * occ * torch.exp(_squares(q) @ (-0.5 * u).T)
    angle = q @ r.T
    shape = (len(q), *weight.shape[:2])
    # Real arithmetic: vectorized sines and real matrix products are ten times as fast.
    real, imaginary = (
        torch.einsum("qbj,bjx->qbx", (amplitude * wave).reshape(shape), weight)
        for wave in (torch.cos(angle), torch.sin(angle))
    )
    return torch.complex(real, imaginary)


class _BodySums(torch.autograd.Function):
    """`_sum_waves` with a backward pass that recomputes the waves instead of storing them."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Tensor) -> Tensor:
        return _sum_waves(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, kind = ctx.saved_tensors
        if torch.is_grad_enabled():  # differentiable, for second derivatives
            return (*_BodySumsGradient.apply(*inputs, grad, kind), None)
        return (*_pull_back(inputs, kind, grad, ctx.needs_input_grad), None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        *inputs, kind = ctx.saved_tensors

        def wave_sums(*x: Tensor) -> Tensor:
            return _sum_waves(*x, kind)  # type: ignore[call-arg]

        out: Tensor = push_forward(wave_sums, inputs, tangents[:-1])
        return out


class _BodySumsGradient(torch.autograd.Function):
    """The gradient of `_BodySums` as a separate function; it also recomputes the waves."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
        return _all_gradients(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, kind = ctx.saved_tensors

        def gradients(*x: Tensor) -> tuple[Tensor, ...]:
            return _all_gradients(*x, kind)

        return (*torch.func.vjp(gradients, *inputs)[1](grads), None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        *inputs, kind = ctx.saved_tensors

        def gradients(*x: Tensor) -> tuple[Tensor, ...]:
            return _all_gradients(*x, kind)

        out: tuple[Tensor, ...] = push_forward(gradients, inputs, tangents[:-1])
        return out


def _all_gradients(*inputs: Tensor) -> tuple[Tensor, ...]:
    """Gradients of `_sum_waves` for its six inputs; the last two arguments are grad and kind."""
    *x, grad, kind = inputs
    found = _pull_back(list(x), kind, grad, (True,) * 6)
    return tuple(g for g in found if g is not None)


def _pull_back(
    inputs: list[Tensor], kind: Tensor, grad: Tensor, needs: tuple[bool, ...]
) -> list[Tensor | None]:
    """Explicit gradients of `_sum_waves`: a few products over (q, atoms)."""
    q, f, r, u, occ, weight = inputs
    needs_q, needs_f, needs_r, needs_u, needs_occ, needs_weight = needs[:6]
    squares = _squares(q)
    decay = torch.exp(squares @ (-0.5 * u).T)
    angle = q @ r.T
    cos, sin = torch.cos(angle), torch.sin(angle)
    f_atom = f[:, kind]
    shape = (len(q), *weight.shape[:2])
    # Contribution of each atom's wave to the loss: grad along its real and imaginary part.
    along_re = torch.einsum("qbx,bjx->qbj", grad.real, weight).reshape(cos.shape)
    along_im = torch.einsum("qbx,bjx->qbj", grad.imag, weight).reshape(cos.shape)
    per_strength = (along_re * cos + along_im * sin) * decay
    g_q = g_f = g_r = g_u = g_occ = g_weight = None
    if needs_occ:
        g_occ = (per_strength * f_atom).sum(0)
    if needs_f:
        one_hot = torch.nn.functional.one_hot(kind, f.shape[1]).to(f.dtype)
        g_f = per_strength @ (occ[:, None] * one_hot)
    if needs_q or needs_u:
        per_exponent = per_strength * (f_atom * occ)
        if needs_u:
            g_u = -0.5 * (per_exponent.T @ squares)
    if needs_q or needs_r:
        per_angle = (along_im * cos - along_re * sin) * decay * (f_atom * occ)
        if needs_r:
            g_r = per_angle.T @ q
    if needs_q:
        s = per_exponent @ (-0.5 * u)
        x, y, z = q.unbind(1)
        g_q = per_angle @ r + 2 * torch.stack(
            [
                x * s[:, 0] + z * s[:, 4] + y * s[:, 5],
                y * s[:, 1] + z * s[:, 3] + x * s[:, 5],
                z * s[:, 2] + y * s[:, 3] + x * s[:, 4],
            ],
            dim=1,
        )
    if needs_weight:
        amplitude = decay * (f_atom * occ)
        real, imaginary = (
            torch.einsum("qbx,qbj->bjx", part, (amplitude * wave).reshape(shape))
            for part, wave in ((grad.real, cos), (grad.imag, sin))
        )
        g_weight = real + imaginary
    return [g_q, g_f, g_r, g_u, g_occ, g_weight]
