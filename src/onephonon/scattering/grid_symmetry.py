"""Symmetry of a map: the independent part of a grid, and how it generates the rest.

``I(hkl) = I(hkl R) = I(-hkl)`` for every rotation R of the space group, if the model has the
crystal's symmetry. An operator can be used if it maps the lattice of grid points onto itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.crystal.grid import HklGrid

from .grid_rows import WHOLE, Region

#: Tolerance, in samples, of indices that must be whole numbers.
ON_LATTICE = 1e-6

#: Number of grid points on which a candidate region is tested first.
N_TRIAL_POINTS = 4096


def usable_operators(operators: Tensor, grid: HklGrid) -> Tensor:
    """The operators that map the lattice of a grid onto itself."""
    n = torch.tensor(grid.samples, dtype=torch.float64)
    origin = torch.tensor(grid.origin, dtype=torch.float64)
    R = operators.to(torch.float64)
    moved = torch.cat(
        [(torch.eye(3, dtype=torch.float64) / n) @ R, (origin @ R - origin)[:, None]], 1
    )
    steps = moved * n
    whole = (steps - torch.round(steps)).abs() < ON_LATTICE
    return operators[whole.reshape(len(R), -1).all(1)]


@dataclass(frozen=True)
class Symmetry:
    """An independent region of a grid and the operators that generate the rest.

    Parameters
    ----------
    grid : HklGrid
    operators : Tensor, shape (n, 3, 3), int64
    region : tuple of three slice
        The computed part; all other points follow by the operators.
    """

    grid: HklGrid
    operators: Tensor
    region: Region

    @property
    def whole(self) -> bool:
        """Whether the region is the whole grid."""
        return all(len(range(n)[s]) == n for s, n in zip(self.region, self.grid.shape, strict=True))

    @property
    def n_points(self) -> int:
        """Number of points of the region."""
        total = 1
        for s, n in zip(self.region, self.grid.shape, strict=True):
            total *= len(range(n)[s])
        return total

    def images(self, index: Tensor) -> Iterator[Tensor]:
        """Images of points under each operator, in indices of the grid, each of shape (..., 3)."""
        n = torch.tensor(self.grid.samples)
        origin = torch.tensor(self.grid.origin, dtype=torch.float64) * n
        for R in self.operators:
            # In samples: index' = (origin + index) n^-1 R n - origin, whole numbers all.
            rotation = R.to(torch.float64) * n[None, :] / n[:, None]
            shift = torch.round(origin @ rotation - origin).to(torch.int64)
            yield index @ torch.round(rotation).to(torch.int64) + shift

    def inside(self, index: Tensor) -> Tensor:
        """Which points lie in the region, shape (...), bool."""
        found = torch.ones(index.shape[:-1], dtype=torch.bool)
        for i, (part, n) in enumerate(zip(self.region, self.grid.shape, strict=True)):
            first, last, _ = part.indices(n)
            found &= (index[..., i] >= first) & (index[..., i] < last)
        return found


def find_symmetry(laue: NDArray[np.int64], grid: HklGrid) -> Symmetry:
    """The smallest region, whole or half along each axis, that generates the grid.

    Parameters
    ----------
    laue : ndarray, shape (n, 3, 3)
        Operators ``hkl' = hkl @ R`` under which intensities are equal, the identity first.
    grid : HklGrid
    """
    operators = usable_operators(torch.from_numpy(laue), grid)
    best = Symmetry(grid, operators, WHOLE)
    if len(operators) < 2:
        return best
    generator = torch.Generator().manual_seed(0)
    tried = torch.stack(
        [torch.randint(n, (N_TRIAL_POINTS,), generator=generator) for n in grid.shape], dim=1
    )
    for of_h, of_k, of_l in product(*(_halves(axis) for axis in grid.axes)):
        candidate = Symmetry(grid, operators, (of_h, of_k, of_l))
        if candidate.n_points >= best.n_points:
            continue
        covered = torch.zeros(N_TRIAL_POINTS, dtype=torch.bool)
        for image in candidate.images(tried):
            covered |= candidate.inside(image)
        if bool(covered.all()):
            best = candidate
    return best


def _halves(axis: NDArray[np.float64]) -> list[slice]:
    """The whole axis, its part from zero on, and its part up to zero."""
    n = len(axis)
    zero_or_more = int((axis < -ON_LATTICE).sum())
    zero_or_less = int((axis <= ON_LATTICE).sum())
    found = [slice(0, n)]
    if 0 < zero_or_more < n:
        found.append(slice(zero_or_more, n))
    if 0 < zero_or_less < n:
        found.append(slice(0, zero_or_less))
    return found


def row_images(symmetry: Symmetry, row: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Points of the region that generate one row of the map, operator by operator.

    Parameters
    ----------
    symmetry : Symmetry
    row : int
        Index along the first axis.

    Yields
    ------
    here : Tensor, shape (n_k, n_l), bool
        The points of the row that this operator maps into the region, but no earlier one.
    image : Tensor, shape (n, 3), int64
        Their images.
    """
    shape = symmetry.grid.shape[1:]
    k, l = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")  # noqa: E741
    index = torch.stack([torch.full_like(k, row), k, l], dim=-1)
    missing = torch.ones(shape, dtype=torch.bool)
    for image in symmetry.images(index):
        here = symmetry.inside(image) & missing
        if bool(here.any()):
            yield here, image[here]
            missing = missing & ~here
            if not bool(missing.any()):
                return
