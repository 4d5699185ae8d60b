"""Covariance of displacements and ADPs, as averages over the Brillouin zone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.crystal.zone import zone_mesh
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .bloch import phase
from .stiffness_matrix import factorize, inverse_from, stiffness, zone_chunk


def gamma_inverse(bodies: Bodies, constants: ForceConstants) -> Tensor:
    """Inverse of K at Gamma without the three acoustic modes, shape (D, D), real.

    The crystal's drift is left out as the mean displacement of all atoms: the result is the
    pseudo-inverse of the stiffness in atomic displacements, whatever coordinates the bodies have.

    Notes
    -----
    With the translations T (K T = 0), the metric ``W = sum_j A_j^T A_j`` and ``S = T^T W T``,
    ``(K + c W T S^-1 T^T W)^-1 = K^+ + T S^-1 T^T / c`` for any c > 0.
    """
    K = stiffness(bodies, constants, constants.onsite.new_zeros(1, 3))[0].real
    eye = torch.eye(3, dtype=K.dtype, device=K.device)
    T = torch.zeros(bodies.n_bodies, bodies.width, 3, dtype=K.dtype, device=K.device)
    T[:, :3] = eye
    WT = bodies.gather((bodies.metric() @ T).reshape(-1, 3), 0)
    T = bodies.gather(T.reshape(-1, 3), 0)
    S_inverse = torch.linalg.inv(T.mT @ WT)
    drift = WT @ S_inverse @ WT.mT
    # K itself vanishes at Gamma where a cell is one body; its onsite blocks never do.
    stiff = constants.onsite.diagonal(dim1=1, dim2=2).sum()
    c = (stiff / drift.diagonal().sum()).detach()
    return inverse_from(factorize((K + c * drift)[None])[0]) - T @ S_inverse @ T.mT / c


def _mesh_inverses(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    progress: Progress | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """K^-1 over the zone mesh as (k_frac, weight, K^-1) chunks; Gamma first."""
    k_frac, weight = zone_mesh(samples, constants.onsite)
    first = gamma_inverse(bodies, constants)
    yield k_frac[:1], weight[:1], torch.complex(first, torch.zeros_like(first))[None]
    done, total = 1, len(k_frac)
    chunk = zone_chunk(bodies.n_dof)
    for part, w in zip(k_frac[1:].split(chunk), weight[1:].split(chunk), strict=True):
        if progress:
            progress("zone mesh", done, total)
        if len(part):
            factor = factorize(stiffness(bodies, constants, part))
            yield part, w, inverse_from(factor)
        done += len(part)
    if progress:
        progress("zone mesh", total, total)


def covariance(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    cells: Tensor,
    progress: Progress | None = None,
) -> Tensor:
    """Covariance of body displacements, ``C(R) = 1/N sum_k K(k)^-1 exp(-i k.R)``, at s = 1.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    samples : three int
        Mesh points of the Brillouin zone along each reciprocal axis.
    cells : Tensor, shape (n_cells, 3), int64
        Lattice vectors R in cells; ``C(R)[a, b]`` is the mean of ``u_a(0) u_b(R)^T``.
    progress : callable, optional
        Told how many mesh points are done.

    Returns
    -------
    Tensor, shape (n_cells, D, D), real
        Differentiable in the force constants.
    """
    n = samples[0] * samples[1] * samples[2]
    total = constants.onsite.new_zeros(len(cells), bodies.n_dof, bodies.n_dof)
    for k_frac, weight, inverse in _mesh_inverses(bodies, constants, samples, progress):
        waves = phase(k_frac, cells).conj() * weight[:, None]
        total = total + torch.einsum("kr,kab->rab", waves, inverse).real
    return total / n


def displacement_covariance(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    progress: Progress | None = None,
) -> Tensor:
    """Mean-square displacements of every atom of the cell at s = 1: ``U_j = A_j C_bb(0) A_j^T``.

    Parameters
    ----------
    bodies, constants, samples, progress
        As for `covariance`.

    Returns
    -------
    Tensor, shape (n_cell_atoms, 3, 3), Å^2
        Differentiable in the force constants and the positions.
    """
    n = samples[0] * samples[1] * samples[2]
    b, w = bodies.n_bodies, bodies.width
    blocks = constants.onsite.new_zeros(b, w, w)
    for _, weight, inverse in _mesh_inverses(bodies, constants, samples, progress):
        mean = torch.einsum("k,kab->ab", weight, inverse.real)
        padded = bodies.scatter(bodies.scatter(mean, 0), 1).reshape(b, w, b, w)
        blocks = blocks + padded.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    A = bodies.displacements()
    return A @ (blocks / n)[bodies.body] @ A.mT
