"""The Brillouin zone: wavevectors folded into it, Bragg points, and meshes over it.

Everywhere in the package, distances from Bragg points are measured in one of three ways:

- *in Miller indices*, each index by itself, to decide whether a point **is** a Bragg point
  (`is_bragg`; arguments `tolerance` and `bragg_tolerance`);
- *as a length* in 1/Å with 2*pi included, like q, for the distance that points of a model or voxels
  of data **must keep** (`sampling.near_bragg`, `sampling.bragg_strata`; arguments `bragg_radius`
  and `edges`);
- *as a fraction* of the distance from a Bragg point to the faces of its voxel, for the part that a
  voxel average excludes (`Quadrature`; argument `leave_out`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.arguments import MAX_MESH_POINTS, as_whole
from onephonon.core.errors import InputError
from onephonon.core.memory import check_memory
from onephonon.core.tensors import first_of_each, rank_rows

from .grid import HklGrid

#: Two k closer than this (in Miller indices) are the same zone point. A float64 q carries hkl to
#: about 1e-14, and an error e in k changes I by 2 e/|k| at most, here 1e-9 at |k| = 0.02.
ZONE_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}


#: A q whose three indices are all this close to integers is a Bragg point: any closer, rounding in
#: K (1e-16 of its largest element) is as large as the acoustic eigenvalues, which vanish as |k|^2.
BRAGG_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}


#: Memory for each point while a mesh is made, bytes.
MESH_POINT_BYTES = 130


def fold(hkl: Tensor) -> Tensor:
    """Fold Miller indices into the first zone, each into [-1/2, 1/2]."""
    return hkl - torch.round(hkl)


def is_bragg(hkl: Tensor, tolerance: float | None = None) -> Tensor:
    """Whether each hkl is a Bragg point, shape (...), bool.

    Parameters
    ----------
    hkl : Tensor, shape (..., 3)
    tolerance : float, optional
        How far from an integer each index may be, in Miller indices; by default `BRAGG_TOLERANCE`
        of the dtype.
    """
    if tolerance is None:
        tolerance = BRAGG_TOLERANCE[hkl.dtype]
    return (fold(hkl.detach()).abs() < tolerance).all(dim=-1)


@dataclass(frozen=True)
class ZonePoints:
    """The distinct phonon wavevectors of a list of q.

    Parameters
    ----------
    k_frac : Tensor, shape (n_k, 3)
        Distinct wavevectors in reciprocal lattice units, folded into the first zone;
        differentiable in the hkl they were computed from.
    index : Tensor, shape (n_q,), int64
        The zone point of each q.
    """

    k_frac: Tensor
    index: Tensor

    @property
    def n_k(self) -> int:
        """Number of distinct zone points."""
        return int(self.k_frac.shape[0])


def find_zone_points(hkl: Tensor) -> ZonePoints:
    """Find the distinct k of a list of hkl; k that differ by a lattice vector are equal.

    Parameters
    ----------
    hkl : Tensor, shape (n_q, 3)
        Not rounded; each zone point is the folded hkl of the first q that has it.
    """
    tolerance = ZONE_TOLERANCE[hkl.dtype]
    n = round(1.0 / tolerance)
    keys = torch.round(fold(hkl.detach()).to(torch.float64) * n).to(torch.int64).remainder(n)
    index = rank_rows(keys)
    n_k = int(index.max()) + 1 if index.numel() else 0
    first = first_of_each(index, n_k)
    return ZonePoints(fold(hkl[first]), index)


def grid_zone_points(grid: HklGrid) -> ZonePoints:
    """Distinct wavevectors of a grid, float64: all combinations of those along each axis."""
    axes = (torch.from_numpy(axis) for axis in grid.axes)
    values, index = zip(*(_fold_axis(axis) for axis in axes), strict=True)
    k_frac = torch.cartesian_prod(*values).reshape(-1, 3)
    i, j, l = index  # noqa: E741
    n_k, n_l = len(values[1]), len(values[2])
    combined = (i[:, None, None] * n_k + j[None, :, None]) * n_l + l
    return ZonePoints(k_frac, combined.reshape(-1))


def _fold_axis(axis: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct folded values along one axis, and the index of each point into them."""
    n = round(1.0 / ZONE_TOLERANCE[axis.dtype])
    keys = torch.round(axis * n).to(torch.int64).remainder(n)
    unique, index = torch.unique(keys, return_inverse=True)
    first = first_of_each(index, len(unique))
    return fold(axis[first]), index


def zone_mesh(samples: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Gamma-centred mesh of the Brillouin zone, halved by time reversal.

    Since ``K(-k)`` is the complex conjugate of ``K(k)``, one of each pair (k, -k) is enough for
    real lattice sums.

    Parameters
    ----------
    samples : three int
        Mesh points along each reciprocal axis (n_h, n_k, n_l).
    like : Tensor
        Gives dtype and device.

    Returns
    -------
    k_frac : Tensor, shape (n, 3)
        Wavevectors in reciprocal lattice units; the first is Gamma.
    weight : Tensor, shape (n,)
        Number of mesh points that each represents (1 or 2); they sum to n_h n_k n_l.
    """
    total = math.prod(int(n) for n in samples)
    check_memory(
        MESH_POINT_BYTES * total,
        f"a mesh of {' x '.join(str(n) for n in samples)} wavevectors",
        "take a coarser mesh",
    )
    n = torch.tensor(samples, dtype=torch.int64)
    index = torch.cartesian_prod(*(torch.arange(int(m)) for m in n)).reshape(-1, 3)
    mirrored = (-index).remainder(n)
    stride = torch.tensor([int(n[1] * n[2]), int(n[2]), 1])
    own, other = (index * stride).sum(1), (mirrored * stride).sum(1)
    keep = own <= other
    weight = torch.where(own == other, 1.0, 2.0)[keep]
    k_frac = fold(index[keep].to(torch.float64) / n)
    return k_frac.to(like), weight.to(like)


def check_mesh(mesh: Sequence[int], name: str = "mesh") -> tuple[int, int, int]:
    """Check a mesh: three whole numbers, each 1 or more, at most `MAX_MESH_POINTS` in all."""
    n = [as_whole(x) for x in mesh] if isinstance(mesh, Iterable) else []
    whole = [x for x in n if x is not None and x >= 1]
    if len(n) != 3 or len(whole) != 3:
        raise InputError(f"{name} {mesh!r}: give three whole numbers of samples, each 1 or more")
    if math.prod(whole) > MAX_MESH_POINTS:
        raise InputError(
            f"{name} {mesh!r}: {math.prod(whole):.3g} points in all; give at most "
            f"{MAX_MESH_POINTS:,}"
        )
    return whole[0], whole[1], whole[2]


def symmetric_mesh(samples: Sequence[int], rotations: Tensor) -> tuple[int, int, int]:
    """The smallest mesh, at least as fine along each axis, with the symmetry of a crystal.

    Parameters
    ----------
    samples : three int
        Mesh points along each reciprocal axis.
    rotations : Tensor, shape (n_ops, 3, 3)
        Rotation parts of the operators in fractional coordinates.

    Notes
    -----
    An operator takes k to ``k R``. The points ``m_i / n_i`` stay on the mesh if all
    ``n_j R_ij / n_i`` are integers.
    """
    # The identity is among the operators: every axis is joined to itself.
    joined = (rotations.detach().round() != 0).any(dim=0).tolist()
    n = [int(x) for x in samples]
    for _ in range(2):  # an axis may be joined to another one through the third
        n = [max(n[i] for i in range(3) if joined[i][j] or joined[j][i]) for j in range(3)]
    return n[0], n[1], n[2]
