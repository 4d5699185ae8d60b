"""Backgrounds that are linear in their coefficients.

They are solved for inside the objective (variable projection; Golub and Pereyra, SIAM J. Numer.
Anal. 10 (1973) 413), so that no optimizer ever sees their coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from onephonon.crystal.cell import numpy_cell

from .voxels import FitVoxels

#: Degree of the splines.
CUBIC = 3

#: Eigenvalues of a group's normal matrix below this fraction of the largest are undetermined.
UNDETERMINED = 1e-11


@dataclass(frozen=True, eq=False)
class Background:
    """Columns of a background, in groups with separate coefficients.

    Parameters
    ----------
    kind : {'isotropic', 'halo', 'none'}
    columns : Tensor, shape (N, w)
    group : Tensor, shape (N,), int64
        Of each voxel.
    n_groups : int
    """

    kind: str
    columns: Tensor
    group: Tensor
    n_groups: int

    @property
    def shared(self) -> bool:
        """Whether held-out and fitted voxels share coefficients."""
        return self.kind == "isotropic"

    def moments(self, weighted: Tensor, part: Tensor | slice = slice(None)) -> Tensor:
        """``B^T y`` in each group of values (n, m) of some voxels, shape (n_groups, w, m)."""
        columns, group = self.columns[part], self.group[part]
        if self.n_groups == 1:
            return (columns.T @ weighted)[None]
        total = weighted.new_zeros(self.n_groups, columns.shape[1], weighted.shape[1])
        for i in range(columns.shape[1]):
            total[:, i].index_add_(0, group, columns[:, i, None] * weighted)
        return total

    def inverse_gram(self, weight: Tensor) -> Tensor:
        """Pseudo-inverse of ``B^T W B`` in each group, shape (n_groups, w, w)."""
        gram = self.moments(weight[:, None] * self.columns)
        if not gram.shape[1]:
            return gram
        size = torch.sqrt(gram.diagonal(dim1=1, dim2=2))
        size = torch.where(size > 0, size, 1.0)
        values, vectors = torch.linalg.eigh(gram / size[:, :, None] / size[:, None])
        good = values > UNDETERMINED * values[:, -1:].clamp(min=UNDETERMINED)
        inverse = torch.where(good, 1 / torch.where(good, values, 1.0), 0.0)
        scaled = vectors / size[:, :, None]
        return scaled * inverse[:, None] @ scaled.mT

    def n_determined(self, weight: Tensor) -> float:
        """Number of coefficients that voxels of these weights (N,) determine."""
        gram = self.moments(weight[:, None] * self.columns)
        return float(torch.einsum("gij,gji->", self.inverse_gram(weight), gram))

    def evaluate(self, coefficients: Tensor) -> Tensor:
        """Background of coefficients (n_groups, w, m), shape (N, m)."""
        if self.n_groups == 1:
            return self.columns @ coefficients[0]
        total = self.columns.new_zeros(len(self.columns), coefficients.shape[2])
        for i in range(self.columns.shape[1]):
            total += self.columns[:, i, None] * coefficients[self.group, i]
        return total


def make_background(
    kind: str, voxels: FitVoxels, cell: tuple[float, ...], knots: int
) -> Background:
    """Columns of a background at the voxels of a fit.

    Parameters
    ----------
    kind : {'isotropic', 'halo', 'none'}
        Cubic splines in |q|; a constant and a slope in each halo; nothing.
    voxels : FitVoxels
    cell : tuple of six float
    knots : int
        Number of spline knots, ends included.
    """
    n = voxels.n
    group, n_groups = torch.zeros(n, dtype=torch.int64), 1
    if kind == "none":
        return Background(kind, torch.zeros(n, 0, dtype=torch.float64), group, n_groups)
    if kind == "isotropic":
        columns = _splines(voxels.s, knots, ~voxels.held_out)
    else:
        away = (voxels.hkl - voxels.peaks[voxels.halo]) @ numpy_cell(cell).inverse
        columns = np.column_stack([np.ones(n), away / max(1e-12, float(np.abs(away).max()))])
        group, n_groups = torch.from_numpy(voxels.halo), voxels.n_halos
        # A halo with too few voxels for a slope has only a constant.
        few = np.bincount(voxels.halo, minlength=n_groups) < 3 * columns.shape[1]
        columns[:, 1:] *= ~few[voxels.halo, None]
    return Background(kind, torch.from_numpy(columns), group, n_groups)


def _splines(s: np.ndarray, knots: int, used: np.ndarray) -> np.ndarray:
    """Cubic B-splines with knots at equal steps of s, shape (N, knots + 2).

    Below the smallest and above the largest s of the used voxels they are constant, since the data
    do not determine them there.
    """
    low, high = float(s[used].min()), float(s[used].max())
    high = high if high > low else low + 1.0
    inner = np.linspace(low, high, knots)
    t = np.concatenate([[low] * CUBIC, inner, [high] * CUBIC])
    dense = BSpline.design_matrix(np.clip(s, low, high), t, CUBIC).toarray()
    return np.asarray(dense)
