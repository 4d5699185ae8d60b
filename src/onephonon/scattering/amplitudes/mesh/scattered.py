"""Amplitudes G at any list of q from the bodies' densities: a non-uniform fast Fourier transform.

The densities are those used for regular grids, on a Cartesian mesh; FINUFFT (Barnett, Magland & af
Klinteberg, SIAM J. Sci. Comput. 41, C479, 2019) transforms them at every q.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import finufft
import numpy as np
import torch
from torch import Tensor

from onephonon.core.errors import GradientError
from onephonon.network.bodies import Bodies

from ..monomials import amplitude_degree, n_monomials
from .density import Box, Domain, choose_mesh, mean_extent, mesh_tolerance, smallest_B
from .deposit import deposit_body
from .moments import amplitudes_of_list
from .slopes import slopes_along

#: Requested accuracy of the transform, in units of rtol. Its error scales with its value near q;
#: sharpening multiplies both alike. Observed errors grow only for 0.1 or more.
TRANSFORM_SHARE = 0.03

#: Factor of the same for its adjoint: errors of the gradient at many q average out.
ADJOINT_SHARE = 3.0

#: Number of q per mesh point above which spreading takes longer than the FFT.
MIN_DENSE_RATIO = 0.3

#: Number of meshes differentiated together: the four of a body.
MESHES_AT_A_TIME = 4

#: Bytes of densities transformed together.
TRANSFORM_BYTES = 512 * 2**20


def scattered_amplitudes(bodies: Bodies, q: Tensor, U: Tensor, rtol: float) -> Tensor:
    """G at a list of q, within a tolerance; `transform` is exact to rounding.

    Parameters
    ----------
    bodies, q, U
        As for `AmplitudeEngine.at`.
    rtol : float
        Requested accuracy, relative to the sum of the intensity and the rms.

    Returns
    -------
    Tensor, shape (n_q, D), complex
        Once differentiable in q, the crystal's coordinates, cell and occupancies, and U.
        Computed on the CPU for tensors of any device.
    """
    sums = scattered_moments(bodies, q, U, rtol, amplitude_degree(bodies), 1.0)
    return amplitudes_of_list(bodies, sums, q)


def scattered_moments(
    bodies: Bodies, q: Tensor, U: Tensor, rtol: float, degree: int, length: float
) -> Tensor:
    """Moments at a list of q, within a tolerance; `direct.moments` is exact to rounding.

    Parameters
    ----------
    bodies, q, U, degree, length
        As for `AmplitudeEngine.moments`.
    rtol : float
        Requested accuracy, as for `scattered_amplitudes`.

    Returns
    -------
    Tensor, shape (n_q, n_bodies, n_monomials(degree)), complex
        Differentiable like `scattered_amplitudes`.
    """
    shape = (len(q), bodies.n_bodies, n_monomials(degree))
    if not len(q):
        return torch.zeros(shape, dtype=q.dtype.to_complex(), device=q.device)
    corners = _corners(q.detach())
    q_max = float(torch.linalg.vector_norm(q.detach(), dim=1).max())
    eye = torch.eye(3, dtype=q.dtype, device=q.device)
    rtol = mesh_tolerance(rtol, bodies)
    mesh = choose_mesh(eye, Domain(corners, q_max), rtol, smallest_B(U), mean_extent(bodies))
    made = (deposit_body(bodies, body, mesh, U, degree, length) for body in range(bodies.n_bodies))
    sums = torch.stack(transform_densities(made, q @ mesh.steps, TRANSFORM_SHARE * rtol))
    sums = sums * mesh.sharpen((q * q).sum(1))
    return sums.permute(2, 0, 1)


def transform_densities(made: Iterable[tuple[Tensor, Box]], x: Tensor, eps: float) -> list[Tensor]:
    """Fourier sums of densities on boxes of one mesh, ``sum_m rho_m exp(i m.x)``.

    Parameters
    ----------
    made : iterable of (Tensor, Box)
        Densities of each body, shape (n_weights, n_1, n_2, n_3), and where they are on the mesh.
    x : Tensor, shape (n_q, 3)
        Phases of a step along each axis of the mesh, radians.
    eps : float
        Accuracy relative to the rms of the sums.

    Returns
    -------
    list of Tensor, shape (n_weights, n_q), complex
        Of each body. Once differentiable in the densities and in x.
    """
    return [part for group in _groups(made) for part in _transform(group, x, eps)]


def _corners(q: Tensor) -> Tensor:
    """Corners of the bounding box of a list of q, shape (8, 3)."""
    ends = torch.stack([q.min(0).values, q.max(0).values], dim=1)
    return torch.cartesian_prod(*ends)


def _groups(made: Iterable[tuple[Tensor, Box]]) -> Iterator[list[tuple[Tensor, Box]]]:
    """Groups of densities to transform together, within the memory limit if they are several."""
    group: list[tuple[Tensor, Box]] = []
    largest = 0
    for density, box in made:
        largest = max(largest, density.numel() * density.element_size() * 2)
        if group and (len(group) + 1) * largest > TRANSFORM_BYTES:
            yield group
            group, largest = [], density.numel() * density.element_size() * 2
        group.append((density, box))
    if group:
        yield group


def _transform(group: list[tuple[Tensor, Box]], x: Tensor, eps: float) -> list[Tensor]:
    """``sum_m rho_m exp(i m.x)`` of each body's densities, each of shape (n_weights, n_q)."""
    shape = [max(box.shape[i] for _, box in group) for i in range(3)]
    padded = []
    for density, box in group:
        after = [n - m for n, m in zip(shape, box.shape, strict=True)]
        if any(after):
            density = torch.nn.functional.pad(density, (0, after[2], 0, after[1], 0, after[0]))
        padded.append(density)
    every = torch.cat(padded) if len(padded) > 1 else padded[0]
    # An even number at a time, since two real meshes are one complex mesh.
    n = max(1, TRANSFORM_BYTES // (4 * every[0].numel() * every.element_size())) * 2
    sums = torch.cat([_FourierSums.apply(few, x, eps) for few in every.split(n)])
    found = []
    for part, (_, box) in zip(sums.split(len(group[0][0])), group, strict=True):
        # FINUFFT counts mesh points from the middle of the box.
        middle = torch.tensor(
            [start + n // 2 for start, n in zip(box.start, shape, strict=True)], device=x.device
        )
        angle = x @ middle.to(x)
        found.append(part * torch.polar(torch.ones_like(angle), angle))
    return found


class _FourierSums(torch.autograd.Function):
    """``sum_m f_m exp(i m.x)`` of real f at every x, m counted from the middle of the box.

    Two real meshes need one complex transform, at x and at -x, where the transform of a real mesh
    is the complex conjugate. This halves the number of fast Fourier transforms.
    """

    @staticmethod
    def forward(ctx: Any, f: Tensor, x: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(f, x)
        ctx.eps = eps
        return _unpack(_plan(2, f, x, eps)(_pack(f)), len(f))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise GradientError(
                "transforms on a mesh have first derivatives only; use engine='direct' for more"
            )
        f, x = ctx.saved_tensors
        g_f = g_x = None
        if ctx.needs_input_grad[0]:
            both = torch.cat([_pack(grad), _pack(grad.conj())], dim=1)
            sums = torch.view_as_real(_plan(1, f, x, ADJOINT_SHARE * ctx.eps)(both))
            g_f = 0.5 * sums.movedim(-1, 1).flatten(0, 1)[: len(f)]
        if ctx.needs_input_grad[1]:
            few = zip(f.split(MESHES_AT_A_TIME), grad.split(MESHES_AT_A_TIME), strict=True)
            g_x = torch.stack([slopes_along(part, x, g, ctx.eps) for part, g in few]).sum(0)
        return g_f, g_x, None


def _pack(f: Tensor) -> Tensor:
    """Pairs of arrays as ``f_0 + i f_1``; the last is paired with zeros if n is odd."""
    if len(f) % 2:
        f = torch.cat([f, torch.zeros_like(f[:1])])
    return torch.complex(f[0::2], f[1::2]) if not f.is_complex() else f[0::2] + 1j * f[1::2]


def _unpack(packed: Tensor, n: int) -> Tensor:
    """Transforms of n real arrays from packed ones at x and -x."""
    here, mirrored = (0.5 * packed).unflatten(1, (2, -1)).unbind(1)
    mirrored = mirrored.conj()
    every = torch.empty(2 * len(here), here.shape[1], dtype=here.dtype, device=here.device)
    torch.add(here, mirrored, out=every[0::2])
    torch.sub(here, mirrored, out=every[1::2])
    every[1::2] *= -1j
    return every[:n]


def _plan(kind: int, f: Tensor, x: Tensor, eps: float) -> Callable[[Tensor], Tensor]:
    """A transform of FINUFFT between pairs of meshes such as f and the points x and -x."""
    single = x.dtype == torch.float32
    n, both = (len(f) + 1) // 2, torch.cat([x.detach(), -x.detach()]).cpu()
    # A finer mesh needs fewer of its points for each x; 0 leaves the choice to FINUFFT.
    dense = len(both) > MIN_DENSE_RATIO * f[0].numel()
    plan = finufft.Plan(
        kind,
        tuple(f.shape[1:]),
        n_trans=n,
        eps=max(eps, 1e-6 if single else 1e-14),
        isign=+1 if kind == 2 else -1,
        dtype="complex64" if single else "complex128",
        nthreads=torch.get_num_threads(),
        upsampfac=2.0 if dense else 0.0,
    )
    plan.setpts(*(np.ascontiguousarray(c.numpy()) for c in both.unbind(1)))

    def apply(values: Tensor) -> Tensor:
        data = values.detach().cpu().to(x.dtype.to_complex()).contiguous().numpy()
        # FINUFFT drops the leading axis of a single transform.
        out = plan.execute(data if n > 1 else data[0])
        result = torch.from_numpy(out).to(values.device)
        return result.reshape(n, *(f.shape[1:] if kind == 1 else (len(both),)))

    return apply
