"""Blocks of pairs of atoms: compact groups of rows, and the cells within their reach."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.network.bodies import Bodies

from .pair_motion import PairMotion

#: Cells whose distances to all columns are found at a time.
CELLS_AT_A_TIME = 64


@dataclass(frozen=True)
class RowBlock:
    """Some atoms j of the first cell, and all atoms k of the crystal that move with them.

    Parameters
    ----------
    rows : Tensor, shape (n_rows,), int64
        All of one copy where the motion is anisotropic.
    columns : Tensor, shape (n_columns,), int64
    shift : Tensor, shape (n_columns, 3)
        Whole numbers of cells that bring each column's atom next to the rows.
    cells : Tensor, shape (n_cells, 3)
        The cells R in which the columns' atoms are, beside their shift.
    """

    rows: Tensor
    columns: Tensor
    shift: Tensor
    cells: Tensor


def row_blocks(
    bodies: Bodies, position: Tensor, motion: PairMotion, max_rows: int, tolerance: float
) -> Iterator[RowBlock]:
    """Divide all pairs that move together into blocks of rows.

    Parameters
    ----------
    bodies : Bodies
    position : Tensor, shape (n_cell_atoms, 3)
        In the first cell where all atoms of the crystal move together, Å.
    motion : PairMotion
    max_rows : int
    tolerance : float
        Correlations below this are left out.
    """
    position = position.detach()
    every = torch.arange(bodies.n_cell_atoms, device=position.device)
    together = torch.zeros_like(every) if motion.group is None else motion.group
    alike = together if motion.axes is None else together * bodies.n_ops + bodies.copy
    matrix = bodies.crystal.cell.matrix.detach()
    for kind in torch.unique(alike):
        members = every[alike == kind]
        columns = every[together == together[members[0]]]
        for rows in _divide(position, members, max_rows):
            if motion.group is None:
                reach = motion.correlation.reach(tolerance)
                yield RowBlock(rows, columns, *_cells(matrix, position, rows, columns, reach))
            else:
                nothing = position.new_zeros(len(columns), 3)
                yield RowBlock(rows, columns, nothing, nothing[:1])


def _divide(position: Tensor, members: Tensor, max_rows: int) -> Iterator[Tensor]:
    """Divide atoms in halves along their longest extent until the groups are small enough."""
    if len(members) <= max_rows:
        yield members
        return
    x = position[members]
    axis = int((x.max(0).values - x.min(0).values).argmax())
    order = members[torch.argsort(x[:, axis])]
    half = len(order) // 2
    yield from _divide(position, order[:half], max_rows)
    yield from _divide(position, order[half:], max_rows)


def _cells(
    matrix: Tensor, position: Tensor, rows: Tensor, columns: Tensor, reach: float
) -> tuple[Tensor, Tensor]:
    """Shifts of the columns next to the rows, and the cells within reach of any row."""
    inverse = torch.linalg.inv(matrix)
    middle = position[rows].mean(0)
    reach += float(torch.linalg.vector_norm(position[rows] - middle, dim=1).max())
    shift = -torch.round((position[columns] - middle) @ inverse.T)
    towards = position[columns] + shift @ matrix.T - middle
    apart = float(torch.linalg.vector_norm(towards, dim=1).max())
    planes = torch.linalg.vector_norm(inverse, dim=1).tolist()
    n = [math.ceil((reach + apart) * p) for p in planes]
    axes = [torch.arange(-m, m + 1, dtype=matrix.dtype, device=matrix.device) for m in n]
    every = torch.cartesian_prod(*axes)
    every = every[torch.linalg.vector_norm(every @ matrix.T, dim=1) <= reach + apart]
    parts = every.split(CELLS_AT_A_TIME)
    nearest = torch.cat([torch.cdist(part @ matrix.T, -towards).amin(1) for part in parts])
    return shift, every[nearest <= reach]
