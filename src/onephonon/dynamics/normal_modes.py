"""Normal modes of a crystal of bodies connected by springs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .eigen import hermitian_eigen
from .stiffness_matrix import inverse_factor, stiffness, zone_chunk


@dataclass(frozen=True)
class Modes:
    """Normal modes at a list of wavevectors.

    ``K^-1 = V diag(Winv) V^H``; modes run from the softest to the stiffest. With another than
    classical occupation ``C(k)/s`` stands for ``K^-1``.

    Parameters
    ----------
    V : Tensor, shape (n_k, D, D), complex
        Columns are the modes in (t, l) coordinates, ``V = L^-H v``.
    w_squared : Tensor, shape (n_k, D)
        Squared frequencies, in kT/(Å^2 Da) before the thermal scale; zero for the three acoustic
        modes at Gamma.
    factor : Tensor, shape (n_k, D), optional
        Mean squares relative to classical motion, if another occupation is given.
    """

    V: Tensor
    w_squared: Tensor
    factor: Tensor | None = None

    @property
    def Winv(self) -> Tensor:
        """``1/w^2``, shape (n_k, D); zero for the acoustic modes at Gamma, which are excluded.

        Times the factor of the occupation, if one is given.
        """
        moving = self.w_squared > 0
        inverse = torch.where(moving, 1.0 / torch.where(moving, self.w_squared, 1.0), 0.0)
        return inverse if self.factor is None else self.factor * inverse

    @property
    def frequencies(self) -> Tensor:
        """``w``, shape (n_k, D), in sqrt(kT/(Å^2 Da)) before the thermal scale."""
        moving = self.w_squared > 0
        return torch.where(moving, torch.sqrt(torch.where(moving, self.w_squared, 1.0)), 0.0)


def mass_matrix(bodies: Bodies) -> Tensor:
    """Masses and moments of inertia of all bodies, shape (D, D), in Da and Da Å^2."""
    mass = torch.block_diag(*bodies.mass_matrix())
    return bodies.gather(bodies.gather(mass, 0), 1)


def mass_factor_inverse(bodies: Bodies) -> Tensor:
    """Inverse Cholesky factor of the mass matrix, ``L^-1`` with ``M = L L^T``, shape (D, D)."""
    return inverse_factor(torch.linalg.cholesky(mass_matrix(bodies)))


def mass_factors(bodies: Bodies, dtype: torch.dtype) -> Tensor:
    """Cholesky factor of each body's mass matrix, shape (n_bodies, width, width).

    Degrees of freedom that a body lacks have mass 1.
    """
    mass = bodies.mass_matrix().to(dtype)
    lacking = torch.ones(bodies.n_bodies * bodies.width, dtype=dtype, device=mass.device)
    lacking = lacking.index_fill(0, bodies.dof, 0.0).reshape(bodies.n_bodies, -1)
    return torch.linalg.cholesky(mass + torch.diag_embed(lacking))


def without_acoustic(w_squared: Tensor, at_gamma: Tensor) -> Tensor:
    """Squared frequencies, ascending, (n_k, D), with zeros for the first three at Gamma."""
    acoustic = torch.zeros_like(w_squared, dtype=torch.bool)
    acoustic[:, :3] = at_gamma[:, None]
    return torch.where(acoustic, 0.0, w_squared)


def modes(bodies: Bodies, constants: ForceConstants, k_frac: Tensor, at_gamma: Tensor) -> Modes:
    """Normal modes: ``L^-1 K L^-H = v w^2 v^H``, ``V = L^-H v``.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    k_frac : Tensor, shape (n_k, 3)
    at_gamma : Tensor, shape (n_k,), bool
        True where the three softest modes are acoustic and excluded.

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
    return Modes(torch.cat(vectors), without_acoustic(torch.cat(values), at_gamma))
