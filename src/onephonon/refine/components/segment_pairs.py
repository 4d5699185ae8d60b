"""Intensity of correlated motion of segments of a molecule, pair by pair, as a prior covariance.

To first order the intensity is linear in the covariances ``C_ab`` of the translations of segments,

    I(q) = |q|^2 sum_copies sum_ab  n^T C_ab n  Re[F_a(q)^* F_b(q)] w_ab,      n = q / |q|

with the transform ``F_a`` of each segment, the file's Debye-Waller factors in it, and the average
``w_ab`` of the wave between the two over a voxel. Orders beyond the first and errors of the
Debye-Waller factors change how a pair's share depends on |q|, so each C_ab is a smooth function
of |q|. A priori it is Gaussian with mean zero, smaller for pairs far apart and similar for
neighbouring pairs; a covariance of intensities at any two voxels follows, for the regression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.core.units import TWO_PI
from onephonon.crystal.crystal import Crystal, mean_square
from onephonon.disorder.segments import Segments
from onephonon.network.bodies import Bodies, gather_bodies
from onephonon.scattering.amplitudes.direct import DirectEngine

from .voxel_frame import VoxelFrame

#: Directions of smooth functions with less than this part of the largest variance are left out.
SMALLEST_VARIANCE = 1e-3

#: Voxels handled at a time.
VOXELS_AT_A_TIME = 128

#: Components of a symmetric tensor, and their multiplicities in ``n^T C n``.
TENSOR = ((0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (0, 1, 2.0), (0, 2, 2.0), (1, 2, 2.0))


@dataclass(frozen=True)
class SegmentPrior:
    """What is expected of covariances before any data.

    Parameters
    ----------
    reach : float
        Å: the standard deviation of C_ab falls as ``exp(-d_ab / reach)``, times
        ``sqrt(U_a U_b)``.
    smooth : float
        Å: correlation length along the molecule, ``k(a, c) = exp(-d_ac / smooth)``;
        ``Cov(C_ab, C_cd) = k(a, c) k(b, d) + k(a, d) k(b, c)`` times the standard deviations.
    motion : {'isotropic', 'tensor'}
        ``C_ab`` is a number times the identity, or a symmetric tensor.
    functions : int
        Maximum number of smooth functions along the molecule.
    """

    reach: float = 12.0
    smooth: float = 6.0
    motion: str = "tensor"
    functions: int = 60


@dataclass(frozen=True, eq=False)
class SegmentBasis:
    """Smooth functions along a molecule, and expected standard deviations of pairs.

    Parameters
    ----------
    functions : Tensor, shape (n_segments, m)
        ``functions @ functions.T`` is the correlation k of the prior, but for what is left out.
    deviation : Tensor, shape (n_segments, n_segments)
    """

    functions: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, segments: Segments, crystal: Crystal, prior: SegmentPrior) -> SegmentBasis:
        """The basis of a prior for the segments of a crystal."""
        centre = segments.centroids(crystal)
        distance = torch.cdist(centre, centre)
        values, vectors = torch.linalg.eigh(torch.exp(-distance / prior.smooth))
        order = torch.argsort(values, descending=True)[: prior.functions]
        order = order[values[order] > SMALLEST_VARIANCE * values.max()]
        u = segments.mean(mean_square(crystal.U))
        size = torch.sqrt(u[:, None] * u) / u.mean()
        return cls(
            functions=vectors[:, order] * values[order].sqrt(),
            deviation=size * torch.exp(-distance / prior.reach),
        )


def segment_features(
    crystal: Crystal,
    segments: Segments,
    frame: VoxelFrame,
    prior: SegmentPrior,
    progress: Progress | None = None,
) -> list[Tensor]:
    """Intensity of each element of the prior's basis at the voxels.

    Parameters
    ----------
    crystal : Crystal
    segments : Segments
    frame : VoxelFrame
    prior : SegmentPrior
    progress : Progress, optional

    Returns
    -------
    list of Tensor, shape (N, m (m + 1) / 2), float32
        One for isotropic motion, six for tensors; without the factor |q|^2.
    """
    basis = SegmentBasis.of(segments, crystal, prior)
    bodies = gather_bodies(crystal, segments.numbers)
    L, D = (x.to(torch.float32) for x in (basis.functions, basis.deviation))
    m = L.shape[1]
    upper = torch.triu_indices(m, m)
    twice = torch.where(upper[0] == upper[1], 1.0, math.sqrt(2.0)).to(L)
    parts = [(-1, -1, 1.0)] if prior.motion == "isotropic" else list(TENSOR)
    found = [torch.empty(frame.n, upper.shape[1], dtype=torch.float32) for _ in parts]
    windows = _windows(bodies, frame)
    engine = DirectEngine("few voxels at a time")
    for start in range(0, frame.n, VOXELS_AT_A_TIME):
        some = slice(start, start + VOXELS_AT_A_TIME)
        q = frame.q[some]
        waves = engine.moments(bodies, q, bodies.U, 0, 1.0)[:, :, 0]
        every = waves.reshape(len(q), bodies.n_ops, -1)
        directions = _directions(bodies, q)
        total = [torch.zeros(len(q), m, m) for _ in parts]
        for op in range(bodies.n_ops):
            real, imag = (x.to(torch.float32) for x in (every[:, op].real, every[:, op].imag))
            pairs = real[:, :, None] * real[:, None, :] + imag[:, :, None] * imag[:, None, :]
            smooth = L.T @ (pairs * (D * windows[op])) @ L
            for t, (i, j, times) in enumerate(parts):
                n = directions[op]
                weight = 1.0 if i < 0 else math.sqrt(times) * n[:, i] * n[:, j]
                weight = torch.as_tensor(weight, dtype=torch.float32)
                total[t] += smooth * weight.reshape(-1, *(1, 1)[: 2 * weight.ndim])
        for t in range(len(parts)):
            found[t][some] = total[t][:, upper[0], upper[1]] * twice
        if progress:
            progress.step("pairs of segments", min(frame.n, some.stop), frame.n)
    return found


def _windows(bodies: Bodies, frame: VoxelFrame) -> Tensor:
    """Averages of the waves between segments over a voxel, shape (n_ops, n, n), float32."""
    n = bodies.n_bodies // bodies.n_ops
    centre = bodies.positions.new_zeros(bodies.n_bodies, 3)
    count = torch.bincount(bodies.body, minlength=bodies.n_bodies).to(centre)
    centre = centre.index_add(0, bodies.body, bodies.positions) / count[:, None]
    frac = (centre @ bodies.crystal.cell.inverse.T).reshape(bodies.n_ops, n, 3)
    return frame.window(frac[:, None, :, :] - frac[:, :, None, :]).to(torch.float32)


def _directions(bodies: Bodies, q: Tensor) -> list[Tensor]:
    """Unit vectors along q in the frame of the molecule, for each copy, shape (N, 3)."""
    crystal = bodies.crystal
    rotation = crystal.cell.matrix @ crystal.rotations @ crystal.cell.inverse
    n = q / torch.linalg.vector_norm(q, dim=1, keepdim=True).clamp(min=1e-12 * TWO_PI)
    return [(n @ R).to(torch.float32) for R in rotation]
