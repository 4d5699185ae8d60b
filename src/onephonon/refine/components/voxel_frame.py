"""The voxels of a regression: scattering vectors, and averages of waves over a voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onephonon.core.units import TWO_PI
from onephonon.crystal.crystal import Crystal
from onephonon.maps.diffuse import DiffuseMap

from ..voxels import FitVoxels


@dataclass(frozen=True, eq=False)
class VoxelFrame:
    """Where the voxels of a fit are, and which boxes they are.

    Parameters
    ----------
    hkl : Tensor, shape (N, 3)
        Centres, in the model's indices.
    q : Tensor, shape (N, 3)
        1/Å, 2*pi included.
    box : Tensor, shape (3, 3)
        Rows are the edges of a voxel, in the model's indices; zero for values at points.
    """

    hkl: Tensor
    q: Tensor
    box: Tensor

    @classmethod
    def of(cls, voxels: FitVoxels, data: DiffuseMap, crystal: Crystal) -> VoxelFrame:
        """The voxels of a fit to a map; of a map calculated at points they are points."""
        grid, _ = data.require_grid()
        like = crystal.cell.matrix
        step = 0.0 * np.asarray(grid.step) if data.calculated_at_points else np.asarray(grid.step)
        box = torch.from_numpy(np.diag(step) @ voxels.rotation).to(like)
        hkl = torch.from_numpy(np.ascontiguousarray(voxels.hkl)).to(like)
        return cls(hkl, crystal.cell.q_from_hkl(hkl), box)

    @property
    def n(self) -> int:
        """Number of voxels."""
        return len(self.hkl)

    @property
    def s(self) -> Tensor:
        """1/d, shape (N,), 1/Å."""
        return torch.linalg.vector_norm(self.q, dim=1) / TWO_PI

    def window(self, vectors: Tensor) -> Tensor:
        """Mean of ``exp(i (q - q_centre).r)`` over a voxel, for fractional vectors r (..., 3).

        A product of three functions sinc, since the voxel is a box.
        """
        return torch.sinc(vectors @ self.box.T).prod(dim=-1)
