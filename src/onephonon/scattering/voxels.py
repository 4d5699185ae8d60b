"""Quadrature nodes of voxels as tensors, and averages over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.grid import HklGrid

from .quadrature import Quadrature, check_voxels


@dataclass(frozen=True)
class VoxelPoints:
    """Quadrature nodes of voxels, and their weights.

    Parameters
    ----------
    hkl : Tensor, shape (P, 3), float64
        Miller indices of the nodes, voxel after voxel.
    weight : Tensor, shape (P,), float64
        The weights of a voxel's nodes sum to 1.
    voxel : Tensor, shape (P,), int64
        The voxel of each node.
    n_voxels : int
    """

    hkl: Tensor
    weight: Tensor
    voxel: Tensor
    n_voxels: int

    def average(self, values: Tensor) -> Tensor:
        """Average values at the nodes over each voxel.

        Parameters
        ----------
        values : Tensor, shape (P, ...)
            Differentiable.

        Returns
        -------
        Tensor, shape (n_voxels, ...)
            NaN if the value at any node is.

        Raises
        ------
        InputError
            If there is not one value for each node.
        """
        if values.ndim == 0 or len(values) != len(self.weight):
            raise InputError(
                f"values have shape {tuple(values.shape)}; there are {len(self.weight)} nodes, "
                "one value for each"
            )
        weight, voxel = self.weight.to(values), self.voxel.to(values.device)
        return weighted_sums(values, weight, voxel, self.n_voxels)


def voxel_points(
    voxels: HklGrid | ArrayLike,
    step: Sequence[float] | None = None,
    order: int = 2,
    leave_out: float = 0.0,
) -> VoxelPoints:
    """Nodes over the volume of voxels.

    Parameters
    ----------
    voxels : HklGrid or array, shape (N, 3)
        A grid (all its voxels), or the Miller indices of the centres of voxels.
    step : three float, optional
        Extent of a voxel along h, k and l in Miller indices; a grid has its own.
    order, leave_out
        See `Quadrature`.

    Returns
    -------
    VoxelPoints

    Raises
    ------
    InputError
        As `Quadrature` and `check_voxels` raise it.
    """
    hkl, extent = check_voxels(voxels, step)
    nodes, weight, voxel = Quadrature(extent, order, leave_out).nodes(hkl)
    return VoxelPoints(
        torch.from_numpy(nodes), torch.from_numpy(weight), torch.from_numpy(voxel), len(hkl)
    )


def weighted_sums(values: Tensor, weight: Tensor, voxel: Tensor, n_voxels: int) -> Tensor:
    """Sum of the weighted values of each voxel's nodes, shape (n_voxels, ...).

    Parameters
    ----------
    values : Tensor, shape (P, ...)
        Differentiable.
    weight, voxel : Tensor, shape (P,)
        Of each node; on the device of `values`.
    n_voxels : int
    """
    weight = weight.reshape(-1, *[1] * (values.ndim - 1))
    total = values.new_zeros(n_voxels, *values.shape[1:])
    return total.index_add(0, voxel, weight * values)
