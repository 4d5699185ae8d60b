"""Lattice dynamics: K(k), its modes, the covariance of displacements, ADPs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .bloch import bloch_sum, phase
from .bodies import Bodies
from .eigen import hermitian_eigen
from .errors import NetworkError
from .lattice import zone_mesh
from .network import ForceConstants

#: Bytes of K matrices held at a time.
CHUNK_BYTES = 128 * 2**20

#: Told (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Modes:
    """Normal modes at a list of wavevectors.

    ``K^-1 = V diag(Winv) V^H``; modes run from the softest to the stiffest.

    Parameters
    ----------
    V : Tensor, shape (n_k, D, D), complex
        Columns are the modes in (t, l) coordinates, ``V = L^-H v``.
    w_squared : Tensor, shape (n_k, D)
        Squared frequencies, in kT/(Å^2 Da) before the thermal scale; zero for the three acoustic
        modes at Gamma.
    """

    V: Tensor
    w_squared: Tensor

    @property
    def Winv(self) -> Tensor:
        """``1/w^2``, shape (n_k, D); zero for the acoustic modes at Gamma, which are left out."""
        moving = self.w_squared > 0
        return torch.where(moving, 1.0 / torch.where(moving, self.w_squared, 1.0), 0.0)

    @property
    def frequencies(self) -> Tensor:
        """``w``, shape (n_k, D), in sqrt(kT/(Å^2 Da)) before the thermal scale."""
        moving = self.w_squared > 0
        return torch.where(moving, torch.sqrt(torch.where(moving, self.w_squared, 1.0)), 0.0)


def stiffness(bodies: Bodies, constants: ForceConstants, k_frac: Tensor) -> Tensor:
    """Stiffness matrices ``K(k) = sum_d H(d) exp(i k.R_d)``.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    k_frac : Tensor, shape (n_k, 3)
        Wavevectors in reciprocal lattice units.

    Returns
    -------
    Tensor, shape (n_k, D, D), complex
        Hermitian; differentiable in the force constants and in k.
    """
    return assemble_stiffness(
        constants.onsite,
        constants.coupling,
        constants.a,
        constants.b,
        constants.cell,
        bodies.dof,
        k_frac,
    )


def assemble_stiffness(
    onsite: Tensor,
    coupling: Tensor,
    a: Tensor,
    b: Tensor,
    cell: Tensor,
    dof: Tensor,
    k_frac: Tensor,
) -> Tensor:
    """`stiffness` from bare tensors: the fields of `ForceConstants` and ``Bodies.dof``."""
    return bloch_sum(onsite, coupling, a, b, cell, dof).stiffness(k_frac)


def factorize(K: Tensor) -> Tensor:
    """Lower Cholesky factors of stiffness matrices.

    Raises
    ------
    NetworkError
        If one of them is not positive definite.
    """
    try:
        return torch.linalg.cholesky(K)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise NetworkError(
            f"K(k) is not positive definite at some of {len(K)} wavevectors ({error}); springs "
            "must be positive, and the network must resist every motion (raise gnm_cutoff)"
        ) from error


def inverse_from(factor: Tensor) -> Tensor:
    """Inverse of a matrix from its Cholesky factor.

    Not `torch.cholesky_inverse`, whose forward-mode derivative is wrong (2.13).
    """
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.cholesky_solve(eye.expand_as(factor), factor)


def zone_chunk(n_dof: int) -> int:
    """How many K matrices of a size to hold at a time."""
    return max(1, CHUNK_BYTES // (16 * n_dof**2))


def mass_factor_inverse(bodies: Bodies) -> Tensor:
    """Inverse Cholesky factor of the mass matrix, ``L^-1`` with ``M = L L^T``, shape (D, D)."""
    mass = torch.block_diag(*bodies.mass_matrix())
    mass = bodies.gather(bodies.gather(mass, 0), 1)
    eye = torch.eye(bodies.n_dof, dtype=mass.dtype, device=mass.device)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(mass), eye, upper=False)


def modes(bodies: Bodies, constants: ForceConstants, k_frac: Tensor, at_gamma: Tensor) -> Modes:
    """Normal modes: ``L^-1 K L^-H = v w^2 v^H``, ``V = L^-H v``.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    k_frac : Tensor, shape (n_k, 3)
    at_gamma : Tensor, shape (n_k,), bool
        Where the three softest modes are the acoustic ones and left out.

    Notes
    -----
    Sums over modes are as exact as the solve with K. Single modes within a degenerate set are
    defined only up to a rotation among themselves and have no gradient; see `hermitian_eigen`.
    """
    inverse = mass_factor_inverse(bodies)
    vectors, values = [], []
    for part in k_frac.split(zone_chunk(bodies.n_dof)):
        K = stiffness(bodies, constants, part)
        left = inverse.to(K.dtype)
        w_squared, v = hermitian_eigen(left @ K @ left.mH)
        vectors.append(left.mH @ v)
        values.append(w_squared)
    if not vectors:
        D = bodies.n_dof
        dtype = torch.complex(inverse[:0], inverse[:0]).dtype
        return Modes(inverse.new_zeros((0, D, D), dtype=dtype), inverse.new_zeros(0, D))
    w_squared = torch.cat(values)
    acoustic = torch.zeros_like(w_squared, dtype=torch.bool)
    acoustic[:, :3] = at_gamma[:, None]
    return Modes(torch.cat(vectors), torch.where(acoustic, 0.0, w_squared))


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
