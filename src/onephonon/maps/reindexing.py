"""Reindexing of maps: changing their Miller indices."""

from __future__ import annotations

from collections.abc import Sequence

import gemmi
import numpy as np
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.cell import UnitCell, numpy_cell
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.reindexing import check_reindexing_matrix
from onephonon.crystal.symmetry import triplet

from .affine import enclosing, index_map, pick
from .diffuse import Array, DiffuseMap


def reindex(diffuse: DiffuseMap, matrix: ArrayLike | str) -> DiffuseMap:
    """Reindex a map, ``hkl_new = matrix @ hkl_old``; cell and axes change accordingly.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    matrix : ndarray, shape (3, 3), or str
        Whole numbers of determinant 1 or -1; or a triplet such as 'k,h,-l'.

    Returns
    -------
    DiffuseMap
        The same voxels; nothing is interpolated. Where axes are mixed (h + k) the voxels fill an
        oblique part of the new grid; the rest is missing. The space group is the old one
        in the new axes, or "" if that setting has no symbol.

    Raises
    ------
    InputError
        If the matrix is not valid, or mixes axes of different steps.
    """
    grid, cell = diffuse.require_grid()
    P = check_reindexing_matrix(matrix)
    if (np.abs(P).sum(axis=1) == 1).all():
        new, arrays = _permuted(diffuse, grid, P)
    else:
        new, arrays = _sheared(diffuse, grid, P)
    return diffuse.changed(
        f"reindexed by {triplet(P.T)}",
        arrays,
        grid=new,
        cell=_reindexed_cell(cell, P),
        spacegroup=_reindexed_symbol(diffuse.spacegroup, cell, P),
    )


def _permuted(
    diffuse: DiffuseMap, grid: HklGrid, P: NDArray[np.int64]
) -> tuple[HklGrid, dict[str, Array]]:
    """Permute and reverse axes."""
    order = [int(np.flatnonzero(row)[0]) for row in P]
    back = [row.sum() < 0 for row in P]
    arrays = {
        name: values.transpose(order)[tuple(slice(None, None, -1 if b else 1) for b in back)]
        for name, values in diffuse.arrays.items()
    }
    origin = [-grid.end[old] if b else grid.origin[old] for old, b in zip(order, back, strict=True)]
    new = HklGrid(
        tuple(origin),  # type: ignore[arg-type]
        tuple(grid.step[old] for old in order),  # type: ignore[arg-type]
        tuple(grid.shape[old] for old in order),  # type: ignore[arg-type]
    )
    return new, arrays


def _sheared(
    diffuse: DiffuseMap, grid: HklGrid, P: NDArray[np.int64]
) -> tuple[HklGrid, dict[str, Array]]:
    """Mix axes: copy each voxel into the smallest grid that contains all."""
    steps = tuple(min(s for s, p in zip(grid.step, row, strict=True) if p) for row in P)
    start = P @ np.array(grid.origin)
    lattice = HklGrid(tuple(start.tolist()), steps, (1, 1, 1))  # type: ignore[arg-type]
    new = enclosing(grid, P.T[None], lattice)
    inverse = np.rint(np.linalg.inv(P)).astype(np.int64)
    found = index_map(new, grid, inverse.T)
    if not found.exact:
        raise InputError(
            f"reindexing by {triplet(P.T)} mixes axes of different steps {grid.step}; resample to "
            "equal steps along them first"
        )
    arrays = {name: np.empty(new.shape, values.dtype) for name, values in diffuse.arrays.items()}
    for rows in new.slabs():
        index = found.source(rows, new.shape)
        for name, values in diffuse.arrays.items():
            arrays[name][rows] = pick(values, index)
    return new, arrays


def _reindexed_cell(cell: Sequence[float], P: NDArray[np.int64]) -> tuple[float, ...]:
    """Cell whose indices are ``P @ hkl``: its axes are ``A @ P.T``."""
    new = UnitCell(numpy_cell(cell).matrix @ P.T)
    return tuple(np.round(new.parameters, 10).tolist())


def _reindexed_symbol(symbol: str, cell: Sequence[float], P: NDArray[np.int64]) -> str:
    """Symbol of a space group in the new axes, "" if there is none."""
    group = gemmi.find_spacegroup_by_name(symbol, cell[3], cell[5]) if symbol else None
    if group is None:
        return ""
    change = gemmi.Op()  # hkl . x stays: x_new = inverse(P).T @ x_old
    inverse = np.rint(np.linalg.inv(P)).astype(int)
    change.rot = (inverse.T * gemmi.Op.DEN).tolist()
    operations = group.operations()
    operations.change_basis_forward(change)
    found = gemmi.find_spacegroup_by_ops(operations)
    return "" if found is None else str(found.hm if found.hm == symbol else found.xhm())
