"""T, L and S of rigid bodies, predicted by a model or fitted to the U of a structure.

A body moves by ``u = t + l x (r - o)``, so with X the cross product matrix of r - o, ``X a =
(r - o) x a``, an atom at r has

    ``U = T + X L X^T + S^T X - X S``,   ``T = <t t^T>``, ``L = <l l^T>``, ``S = <l t^T>``

(Schomaker & Trueblood, Acta Cryst. B24, 63, 1968). A multiple of the unit matrix in S changes no U:
the trace of S cannot be determined from displacements.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.crystal import mean_square
from onephonon.network.bodies import Bodies

from .lattice_model import HasLattice, LatticeModel, lattice_of
from .pair_covariance import Pairs, pair_covariances

#: U is isotropic (from a B-factor) if it deviates by less than this from a multiple of 1, Å^2.
ISOTROPIC = 1e-9

#: Combinations of parameters with singular values below this, relative to the largest, are not
#: determined: positions have three decimals.
UNDETERMINED = 1e-6

#: Number of parameters of T (6), L (6) and S (9).
N_PARAMETERS = 21


@dataclass(frozen=True)
class TLS:
    """Tensors of several bodies.

    Parameters
    ----------
    T : Tensor, shape (n, 3, 3), Å^2
    L : Tensor, shape (n, 3, 3), rad^2
    S : Tensor, shape (n, 3, 3), Å rad
        ``<l t^T>``: rows belong to the libration.
    origin : Tensor, shape (n, 3), Å
        Point of each body to which T and S refer.
    """

    T: Tensor
    L: Tensor
    S: Tensor
    origin: Tensor

    def about(self, origin: Tensor) -> TLS:
        """The same motion referred to other points, shape (n, 3); the U of atoms do not change."""
        X = cross_matrix(origin - self.origin)
        S = self.S + self.L @ X
        T = self.T + self.S.mT @ X - X @ self.S - X @ self.L @ X
        return TLS(T, self.L, S, origin)

    def about_reaction_centre(self) -> TLS:
        """The same motion about the centre of reaction: S symmetric, trace of T minimal."""
        skew = self.S - self.S.mT
        axial = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=1)
        eye = torch.eye(3, dtype=self.L.dtype, device=self.L.device)
        inertia = self.L.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] * eye - self.L
        # Without libration, or with one axis only, the shift is not determined and set to zero.
        shift = -(torch.linalg.pinv(inertia, hermitian=True) @ axial[:, :, None])[:, :, 0]
        return self.about(self.origin + shift)

    def traceless_S(self) -> Tensor:
        """S without its trace, which displacements do not determine, shape (n, 3, 3)."""
        eye = torch.eye(3, dtype=self.S.dtype, device=self.S.device)
        return self.S - mean_square(self.S)[:, None, None] * eye

    def displacements(self, positions: Tensor, body: Tensor) -> Tensor:
        """U of atoms at these positions in these bodies, shape (n_atoms, 3, 3), Å^2."""
        X = cross_matrix(positions - self.origin[body])
        T, L, S = self.T[body], self.L[body], self.S[body]
        return T - X @ L @ X + S.mT @ X - X @ S


@dataclass(frozen=True)
class FittedTLS:
    """Tensors fitted to displacements.

    Parameters
    ----------
    tls : TLS
        Undetermined parameters are zero, or the minimum-norm solution.
    n_determined : Tensor, shape (n,), int64
        Independent parameters that the displacements determine, of 21: at most 20 from
        anisotropic U, 10 from B alone.
    residual : Tensor, shape (n,), Å^2
        Root mean square residual per element of U.
    """

    tls: TLS
    n_determined: Tensor
    residual: Tensor

    def undetermined(self) -> str:
        """Text that names the parameters that are not determined."""
        n_min = int(self.n_determined.min())
        if n_min == N_PARAMETERS - 1:
            return "trace of S not determined by U"
        if int(self.n_determined.max()) <= 10:
            missing = N_PARAMETERS - n_min
            return (
                "from B alone: the anisotropy of T and the symmetric part of S are not determined"
                + (f" ({missing} of 21 parameters)" if missing > 11 else "")
            )
        return f"between {n_min} and {int(self.n_determined.max())} of 21 parameters determined"


def cross_matrix(vectors: Tensor) -> Tensor:
    """X with ``X a = v x a``, shape (n, 3, 3)."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=-1).reshape(*vectors.shape[:-1], 3, 3)


def model_tls(model: LatticeModel | HasLattice) -> TLS:
    """T, L and S of the bodies of the asymmetric unit, about their centroids, from the model.

    They are the blocks ``C_bb(0)`` of the covariance, times the thermal scale.
    """
    lattice = lattice_of(model)
    bodies = lattice.bodies
    b = torch.arange(len(bodies.names), device=bodies.positions.device)
    own = Pairs(b, b, b.new_zeros(len(b), 3))
    (C,) = pair_covariances(lattice, [own], lattice.mesh)
    T = C[:, :3, :3]
    if bodies.width == 3:
        none = torch.zeros_like(T)
        return TLS(T, none, none, bodies.centroids[: len(bodies.names)])
    return TLS(T, C[:, 3:, 3:], C[:, 3:, :3], bodies.centroids[: len(bodies.names)])


def fit_tls(bodies: Bodies, U: Tensor) -> FittedTLS:
    """Fit T, L and S of the bodies of the asymmetric unit to given displacements.

    Least squares of all elements of U with equal weights. An isotropic U counts as a B-factor, of
    which only the trace is fitted.

    Parameters
    ----------
    bodies : Bodies
    U : Tensor, shape (n_atoms, 3, 3), Å^2
        For the atoms of the asymmetric unit, such as ``crystal.U``.

    Returns
    -------
    FittedTLS
        About the centroids.
    """
    n_atoms = len(U)
    isotropic = is_isotropic(U)
    body = bodies.body[:n_atoms]
    results = []
    for b in range(len(bodies.names)):
        here = body == b
        results.append(_fit_one(bodies.offsets[:n_atoms][here], U[here], isotropic[here]))
    T, L, S, rank, residual = (torch.stack(part) for part in zip(*results, strict=True))
    return FittedTLS(TLS(T, L, S, bodies.centroids[: len(bodies.names)]), rank, residual)


def is_isotropic(U: Tensor) -> Tensor:
    """Whether each U (n, 3, 3) is a multiple of 1, as from a B-factor, shape (n,), bool."""
    eye = torch.eye(3, dtype=U.dtype, device=U.device)
    return (U - mean_square(U)[:, None, None] * eye).abs().amax((1, 2)) < ISOTROPIC


def _fit_one(offsets: Tensor, U: Tensor, isotropic: Tensor) -> tuple[Tensor, ...]:
    """T, L, S, the number of determined parameters, and the residual, of one body."""
    # Librations in units of the body's radius, so that all parameters have similar size.
    radius = offsets.square().sum(1).mean().clamp(min=1.0).sqrt()
    X = cross_matrix(offsets / radius)[:, None]
    unit = torch.eye(9, dtype=U.dtype, device=U.device).reshape(9, 3, 3)
    symmetric = _symmetric_basis(U)
    design = torch.cat(
        [
            symmetric.expand(len(U), 6, 3, 3),
            X @ symmetric @ X.mT,
            unit.mT @ X - X @ unit,
        ],
        dim=1,
    )
    rows, values = design.permute(0, 2, 3, 1).reshape(len(U), 9, -1), U.reshape(len(U), 9)
    # Of an isotropic U only the trace, as one number: the other elements are unknown, not zero.
    trace = torch.eye(3, dtype=U.dtype, device=U.device).reshape(9) / 3**0.5
    along = trace[:, None] * trace
    kept = torch.where(
        isotropic[:, None, None], along, torch.eye(9, dtype=U.dtype, device=U.device)
    )
    rows, values = (kept @ rows).reshape(-1, N_PARAMETERS), (kept @ values[:, :, None]).reshape(-1)
    size = torch.linalg.svdvals(rows.detach())
    good = size > UNDETERMINED * size.max()
    # The pseudoinverse has gradients also where singular values are equal, or zero.
    solved = torch.linalg.pinv(rows, rtol=UNDETERMINED) @ values
    n_values = torch.where(isotropic, 1, 9).sum()
    residual = ((values - rows @ solved).square().sum() / n_values).sqrt()
    T = torch.einsum("p,pxy->xy", solved[:6], symmetric)
    L = torch.einsum("p,pxy->xy", solved[6:12], symmetric) / radius**2
    return T, L, solved[12:].reshape(3, 3) / radius, good.sum(), residual


def _symmetric_basis(like: Tensor) -> Tensor:
    """An orthonormal basis of the symmetric matrices, shape (6, 3, 3)."""
    basis = torch.zeros(6, 3, 3, dtype=like.dtype, device=like.device)
    for p, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))):
        basis[p, i, j] = basis[p, j, i] = 1.0 if i == j else 0.5**0.5
    return basis


def principal_rms(tensors: Tensor) -> Tensor:
    """Root mean squares along the principal axes, the largest first, shape (n, 3).

    A negative value means a negative mean square, which is unphysical but can result from a fit.
    """
    values = torch.linalg.eigvalsh(tensors).flip(-1)
    return values.sign() * values.abs().sqrt()


def b_factors_by_tls(model: LatticeModel | HasLattice, fitted: FittedTLS) -> Tensor:
    """Isotropic B-factors from one T, L and S per body, (n_atoms,), Å^2."""
    lattice = lattice_of(model)
    bodies, n = lattice.bodies, lattice.crystal.n_atoms
    U = fitted.tls.displacements(bodies.positions[:n], bodies.body[:n])
    return EIGHT_PI_SQUARED * mean_square(U)
