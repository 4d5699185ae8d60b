"""``K(k)^-1`` over a mesh of the Brillouin zone, as dense matrices, and its mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.crystal.zone import zone_mesh
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from ...stiffness_matrix import factorize, inverse_from, stiffness, zone_chunk


def gamma_inverse(bodies: Bodies, constants: ForceConstants) -> Tensor:
    """Inverse of K at Gamma without the three acoustic modes, shape (D, D), real.

    The translation of the whole crystal is projected out: the result is the
    pseudo-inverse of the stiffness in atomic displacements, for any coordinates of the bodies.

    Notes
    -----
    With the translations T (K T = 0), the metric ``W = sum_j A_j^T A_j`` and ``S = T^T W T``,
    ``(K + c W T S^-1 T^T W)^-1 = K^+ + T S^-1 T^T / c`` for any c > 0.
    """
    pinned, rest = _pinned(bodies, constants)
    return inverse_from(factorize(pinned[None])[0]) - rest


def solve_at_gamma(bodies: Bodies, constants: ForceConstants, loads: Tensor) -> Tensor:
    """`Solver.solve_at_gamma` by a dense factorization."""
    pinned, _ = _pinned(bodies, constants)
    return torch.cholesky_solve(loads, factorize(pinned[None])[0])


def _pinned(bodies: Bodies, constants: ForceConstants) -> tuple[Tensor, Tensor]:
    """K at Gamma with a spring against translation, and the share of it in the inverse."""
    K = stiffness(bodies, constants, constants.onsite.new_zeros(1, 3))[0].real
    T, WT, S_inverse = _translations(bodies)
    drift = WT @ S_inverse @ WT.mT
    # K vanishes at Gamma if the cell is one body; the onsite blocks never do.
    stiff = constants.onsite.diagonal(dim1=1, dim2=2).sum()
    c = (stiff / drift.diagonal().sum()).detach()
    return K + c * drift, T @ S_inverse @ T.mT / c


def _translations(bodies: Bodies) -> tuple[Tensor, Tensor, Tensor]:
    """Translations T of the whole crystal, ``W T`` and the inverse of ``S = T^T W T``."""
    T = bodies.translations()
    by_body = bodies.scatter(T, 0).reshape(bodies.n_bodies, bodies.width, 3)
    WT = bodies.gather((bodies.metric() @ by_body).reshape(-1, 3), 0)
    return T, WT, torch.linalg.inv(T.mT @ WT)


def without_translation(bodies: Bodies, covariance: Tensor) -> Tensor:
    """Covariance at Gamma (D, D) of displacements relative to their mean over all atoms.

    As in `gamma_inverse`: ``P C P^T`` with ``P = 1 - T S^-1 T^T W``.
    """
    T, WT, S_inverse = _translations(bodies)
    half = covariance - T @ (S_inverse @ (WT.mT @ covariance))
    return half - ((half @ WT) @ S_inverse) @ T.mT


def mesh_inverses(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    progress: Progress | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of K^-1 over the zone mesh, Gamma first.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    samples, progress
        As for `Solver.zone_mean`.

    Yields
    ------
    k_frac : Tensor, shape (n, 3)
    weight : Tensor, shape (n,)
        See `zone_mesh`.
    inverse : Tensor, shape (n, D, D), complex
    """
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


def zone_mean_inverse(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    progress: Progress | None = None,
) -> Tensor:
    """`Solver.zone_mean` by dense inverses."""
    every = mesh_inverses(bodies, constants, samples, progress)
    total = sum(torch.einsum("k,kab->ab", weight, inverse.real) for _, weight, inverse in every)
    return own_blocks(bodies, total) / (samples[0] * samples[1] * samples[2])  # type: ignore[arg-type]


def own_blocks(bodies: Bodies, covariance: Tensor) -> Tensor:
    """Each body's own block of a matrix (D, D), shape (n_bodies, width, width)."""
    b, w = bodies.n_bodies, bodies.width
    padded = bodies.scatter(bodies.scatter(covariance, 0), 1).reshape(b, w, b, w)
    return padded.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
