"""The stiffness matrix K(k) of a crystal, its Cholesky factors and their inverses."""

from __future__ import annotations

import torch
from torch import Tensor

from onephonon.core.errors import NetworkError
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .bloch import bloch_sum

#: Bytes of K matrices per batch.
CHUNK_BYTES = 128 * 2**20


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
    c = constants
    return bloch_sum(c.onsite, c.coupling, c.a, c.b, c.cell, bodies.dof).stiffness(k_frac)


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


def inverse_factor(factor: Tensor) -> Tensor:
    """Inverses ``L^-1`` of lower Cholesky factors."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)


def zone_chunk(n_dof: int) -> int:
    """Number of K matrices of this size per batch."""
    return max(1, CHUNK_BYTES // (16 * n_dof**2))
