"""Covariances of translations and librations fitted to the U of a crystal."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from onephonon.crystal.crystal import mean_square
from onephonon.dynamics.matrix_function import hermitian_function
from onephonon.dynamics.tls import TLS, fit_tls, is_isotropic
from onephonon.network.bodies import Bodies

#: Steps of the search for the nearest motion: the misfit is within 1 % of its limit.
STEPS = 100

#: Weight with which a body's motion keeps isotropic U isotropic, relative to their traces: it is
#: not known that they are, but without any reason they are not made anisotropic.
ISOTROPY = 0.1


def fitted_motion(bodies: Bodies) -> Tensor:
    """Covariance of each body's translations and librations, from the U of its atoms.

    T, L and S are fitted by least squares (`fit_tls`), about the centroid, the trace of S, which
    no U determines, being zero. Where they are the covariance of no motion, since some combination
    of translations and librations would have a negative mean square, those are fitted that are.
    Isotropic U, from B-factors, are fitted by their trace, and with little weight as isotropic. All
    are scaled so that the mean U of the body's atoms is that of the crystal.

    Parameters
    ----------
    bodies : Bodies

    Returns
    -------
    Tensor, shape (n_bodies, w, w)
        ``[[T, S^T], [S, L]]`` in Å^2, Å rad and rad^2, in Cartesian axes, positive semidefinite; w
        is 6, or 3 if no body has librations. Equal but for a rotation for all copies of a body.
        Differentiable in the crystal's U, coordinates and cell; where a mean square passes
        through zero the slope jumps.
    """
    n, n_atoms = len(bodies.names), bodies.crystal.n_atoms
    body, share = bodies.body[:n_atoms], bodies.shares[:n_atoms]
    U = bodies.U[:n_atoms]  # the first operator is the identity
    crystal = bodies.crystal
    turn = crystal.cell.matrix @ crystal.rotations @ crystal.cell.inverse
    if bodies.width == 3:
        return _turned(_mean(U, share, body, n), turn)
    # A libration is an axial vector: a reflection or inversion turns it the other way.
    axial = torch.linalg.det(crystal.rotations)[:, None, None].round() * turn
    own = _of_asymmetric_unit(bodies, U, share, body)
    C = _turned(own, _block_diagonal(turn, axial))
    # From the centroids to the origins of `Bodies`, which are equal, but constants.
    centroid = _mean(bodies.offsets, bodies.shares, bodies.body, bodies.n_bodies)
    tls = TLS(C[:, :3, :3], C[:, 3:, 3:], C[:, 3:, :3], centroid)
    return _blocks(tls.about(torch.zeros_like(centroid)))


def cartesian_displacements(offsets: Tensor) -> Tensor:
    """A_j for Cartesian translations and librations, from offsets (n, 3); shape (n, 3, 6)."""
    eye = torch.eye(3, dtype=offsets.dtype, device=offsets.device).expand(len(offsets), 3, 3)
    libration = torch.linalg.cross(eye, offsets[:, :, None].expand_as(eye), dim=1)
    return torch.cat([eye, libration], dim=2)


def _turned(own: Tensor, turn: Tensor) -> Tensor:
    """Covariances of the bodies of all copies, from those of one and the copies' rotations."""
    return torch.einsum("oij,bjk,olk->obil", turn, own, turn).reshape(-1, *own.shape[1:])


def _blocks(tls: TLS) -> Tensor:
    """Covariances (n, 6, 6) of translations and librations."""
    T, L, S = tls.T, tls.L, tls.S
    return torch.cat([torch.cat([T, S.mT], dim=2), torch.cat([S, L], dim=2)], dim=1)


def _of_asymmetric_unit(bodies: Bodies, U: Tensor, share: Tensor, body: Tensor) -> Tensor:
    """Covariances (n, 6, 6) of the bodies of the asymmetric unit, about their centroids."""
    n, n_atoms = len(bodies.names), len(U)
    offsets = bodies.offsets[:n_atoms]
    # Zero in value: the origins of `Bodies` are the centroids, but do not move with the atoms.
    centroid = _mean(offsets, share, body, n)
    every = torch.cat([offsets - centroid[body], bodies.offsets[n_atoms:]])
    about_centroid = replace(bodies, offsets=every)
    fitted = fit_tls(about_centroid, U).tls
    radius = _mean(offsets.square().sum(1), share, body, n).clamp(min=1.0).sqrt()
    length = torch.cat([torch.ones(n, 3).to(U), radius[:, None].expand(n, 3)], dim=1)
    scale = length[:, :, None] * length[:, None, :]
    A = cartesian_displacements(offsets - centroid[body]) / length[body][:, None, :]
    C = _on_axes(bodies, n, scale * _blocks(fitted))
    if bool(is_isotropic(U).any()) or float(torch.linalg.eigvalsh(C.detach()).min()) < 0:
        C = _on_axes(bodies, n, _nearest_motion(C, *_normal_equations(A, U, body, n)))
    C = C / scale
    moved = TLS(C[:, :3, :3], C[:, 3:, 3:], C[:, 3:, :3], centroid)
    model = mean_square(moved.displacements(offsets, body))
    wanted = _mean(mean_square(U), share, body, n)
    found = _mean(model, share, body, n)
    factor = torch.where(found > 0, wanted / torch.where(found > 0, found, 1.0), 0.0)
    return factor[:, None, None] * C


def _normal_equations(A: Tensor, U: Tensor, body: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """N (n, 36, 36) and g (n, 36, 1) of the squared misfit ``C N C - 2 g C + ...`` of each body."""
    rows = torch.einsum("jxa,jyb->jxyab", A, A).reshape(len(A), 9, 36)
    eye = torch.eye(9, dtype=A.dtype, device=A.device)
    trace = torch.eye(3, dtype=A.dtype, device=A.device).reshape(9) / 3**0.5
    along = trace[:, None] * trace
    weight = torch.where(is_isotropic(U)[:, None, None], along + ISOTROPY * (eye - along), eye)
    rows, values = weight @ rows, weight @ U.reshape(len(U), 9, 1)
    N = rows.new_zeros(n, 36, 36).index_add(0, body, rows.mT @ rows)
    return N, rows.new_zeros(n, 36, 1).index_add(0, body, rows.mT @ values)


def _nearest_motion(fitted: Tensor, N: Tensor, g: Tensor) -> Tensor:
    """The positive semidefinite matrix that misses the U of the atoms least.

    Parameters
    ----------
    fitted : Tensor, shape (n, 6, 6)
        Where the search starts.
    N, g : Tensor
        See `_normal_equations`.

    Returns
    -------
    Tensor, shape (n, 6, 6)
        By a fixed number of accelerated projected gradient steps (Beck & Teboulle, SIAM J. Imaging
        Sci. 2, 183, 2009), through which gradients flow.
    """
    step = 1 / torch.linalg.eigvalsh(N)[:, -1, None, None]
    now = ahead = _positive(fitted)
    t = 1.0
    for _ in range(STEPS):
        slope = (N @ ahead.reshape(-1, 36, 1) - g).reshape(-1, 6, 6)
        before, now = now, _positive(ahead - step * 0.5 * (slope + slope.mT))
        t_next = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
        ahead, t = now + (t - 1) / t_next * (now - before), t_next
    return now


def _positive(C: Tensor) -> Tensor:
    """With zero instead of negative eigenvalues."""
    return hermitian_function(C, lambda x: x.clamp(min=0.0))


def _on_axes(bodies: Bodies, n: int, C: Tensor) -> Tensor:
    """Without the librations that a body does not have: of one atom, or of a line about itself."""
    axes = bodies.axes[:n]
    eye = torch.eye(3, dtype=C.dtype, device=C.device).expand(n, 3, 3)
    kept = _block_diagonal(eye, axes @ axes.mT)
    C = kept @ C @ kept
    return 0.5 * (C + C.mT)


def _block_diagonal(first: Tensor, second: Tensor) -> Tensor:
    """Matrices (n, 6, 6) with blocks (n, 3, 3) on their diagonals."""
    none = torch.zeros_like(first)
    return torch.cat([torch.cat([first, none], dim=2), torch.cat([none, second], dim=2)], dim=1)


def _mean(values: Tensor, share: Tensor, body: Tensor, n: int) -> Tensor:
    """Weighted mean over the atoms of each of n bodies, shape (n, ...)."""
    shape = (-1, *(1 for _ in values.shape[1:]))
    total = values.new_zeros(n, *values.shape[1:]).index_add(0, body, share.reshape(shape) * values)
    weight = share.new_zeros(n).index_add(0, body, share)
    return total / torch.where(weight > 0, weight, 1.0).reshape(shape)
