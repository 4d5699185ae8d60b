"""Tables of Miller indices and intensities, converted to the grid of their indices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.grid import HklGrid

from ..diffuse import Array, DiffuseMap
from .overrides import MAX_STEP

Float64 = NDArray[np.float64]

#: Tolerance in voxels: indices in files have four or five decimals.
GRID_TOLERANCE = 0.02

#: Maximum number of voxels per row; emptier grids are implausible.
MAX_EMPTY = 200

#: ... if it has more than this many.
ALWAYS_ALLOWED_VOXELS = 1_000_000

#: Maximum voxels per Miller index tried if the file does not specify them.
MAX_PER_INDEX = 200


def map_of_rows(
    path: Path,
    hkl: Float64,
    columns: Mapping[str, Any],
    cell: Sequence[float],
    *,
    per_index: Sequence[float] | None = None,
    grid: HklGrid | None = None,
    history: Sequence[str] = (),
    **details: Any,
) -> DiffuseMap:
    """Convert the rows of a table to a map on their grid, or to a list if there is none.

    Parameters
    ----------
    path : path
        For messages.
    hkl : ndarray, shape (N, 3)
        Miller indices of the rows, in any order, without duplicates.
    columns : dict
        ``intensity`` (N,) and optionally ``sigma``, ``counts`` and ``halves`` (a pair).
    cell : sequence of six float
    per_index : sequence of three float, optional
        Voxels per Miller index; found from the indices if not given.
    grid : HklGrid, optional
        The grid, if the file defines it.
    history : sequence of str
    **details
        Further fields of the map.

    Returns
    -------
    DiffuseMap
        Voxels without a row are NaN.

    Raises
    ------
    MapFileError
        If indices are not finite, occur twice, or are not on the given grid.
    """
    if not len(hkl):
        raise MapFileError(f"{path}: the table has no rows")
    if not np.isfinite(hkl).all():
        row = int(np.flatnonzero(~np.isfinite(hkl).all(axis=1))[0])
        raise MapFileError(f"{path}: row {row + 1} has hkl {hkl[row].tolist()}; remove it")
    if grid is None:
        grid, how = _span(path, hkl, per_index)
    else:
        how = "grid from the file"
    if grid is None:
        return _listed(hkl, columns, cell, (*history, how), details)
    flat = _voxels(path, hkl, grid)

    def placed(values: Any) -> Array:
        values = np.asarray(values)
        whole = np.full(grid.size, np.nan, values.dtype if values.dtype.kind == "f" else float)
        whole[flat] = values
        return whole.reshape(grid.shape)

    halves = columns.get("halves")
    return DiffuseMap.on_grid(
        placed(columns["intensity"]),
        grid,
        cell,
        sigma=placed(columns["sigma"]) if "sigma" in columns else None,
        counts=placed(columns["counts"]) if "counts" in columns else None,
        halves=(placed(halves[0]), placed(halves[1])) if halves else None,
        history=(*history, f"{len(hkl)} rows; {how}: {grid}"),
        **details,
    )


def _listed(
    hkl: Float64,
    columns: Mapping[str, Any],
    cell: Sequence[float],
    history: Sequence[str],
    details: Mapping[str, Any],
) -> DiffuseMap:
    return DiffuseMap.at_points(
        numpy_cell(cell).q_from_hkl(hkl),
        cell=cell,
        history=history,
        **columns,
        **details,
    )


def _span(
    path: Path, hkl: Float64, per_index: Sequence[float] | None
) -> tuple[HklGrid | None, str]:
    """Smallest grid that contains all rows, and how it was determined."""
    if per_index is not None:
        steps = [1 / n for n in per_index]
        how = f"grid of {_per_index_text(per_index)} voxels per index"
    else:
        steps = [s for s in (_step(hkl[:, axis]) for axis in range(3)) if s is not None]
        how = "grid found from the indices"
        if len(steps) < 3:
            return None, "kept as a list: the indices are not on a regular grid"
    low, high = hkl.min(axis=0).tolist(), hkl.max(axis=0).tolist()
    # Python integers: a damaged index must not overflow.
    shape = [round((b - a) / s) + 1 for a, b, s in zip(low, high, steps, strict=True)]
    if math.prod(shape) > max(ALWAYS_ALLOWED_VOXELS, MAX_EMPTY * len(hkl)):
        if per_index is not None:
            raise MapFileError(
                f"{path}: hkl from {low} to {high} at {_per_index_text(per_index)} voxels "
                f"per index would be {math.prod(shape):.3g} voxels for {len(hkl)} rows; an index "
                "or the sampling is wrong"
            )
        return None, f"kept as a list: its grid would be {shape} for {len(hkl)} rows"
    origin = [round(a / s) * s for a, s in zip(low, steps, strict=True)]
    if any(abs(a - o) > GRID_TOLERANCE * s for a, o, s in zip(low, origin, steps, strict=True)):
        origin = low  # a grid that does not go through 0, 0, 0
    grid = HklGrid(tuple(origin), tuple(steps), tuple(shape))  # type: ignore[arg-type]
    return grid, how


def _per_index_text(per_index: Sequence[float]) -> str:
    return ", ".join(f"{n:g}" for n in per_index)


def _step(values: Float64) -> float | None:
    """Distance between neighbouring planes of indices along one axis; 1 if there is one plane."""
    levels = np.unique(np.round(values, 6))
    if len(levels) == 1:
        return 1.0
    gaps = np.diff(levels)
    # Differences far below any real step are the same index, rounded differently.
    gaps = gaps[gaps > 0.5 / MAX_PER_INDEX]
    if not len(gaps):
        return None
    rough = float(gaps.min())
    step = 1 / round(1 / rough) if rough < 0.75 else float(round(rough))
    if step > MAX_STEP:
        return None
    index = (levels - levels[0]) / step
    return step if (np.abs(index - np.round(index)) <= GRID_TOLERANCE).all() else None


def _voxels(path: Path, hkl: Float64, grid: HklGrid) -> NDArray[np.int64]:
    """Flat voxel index of every row; checks that each is on the grid and occurs once."""
    index = grid.index_of(hkl)
    whole = np.rint(index)
    off = np.abs(index - whole).max(axis=1) > GRID_TOLERANCE
    off |= ((whole < 0) | (whole >= np.array(grid.shape))).any(axis=1)
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise MapFileError(
            f"{path}: hkl {hkl[row].tolist()} of row {row + 1} is not on the grid {grid} "
            f"(and {int(off.sum()) - 1} more); correct the sampling"
        )
    flat: NDArray[np.int64] = np.ravel_multi_index(tuple(whole.astype(np.int64).T), grid.shape)
    order = np.sort(flat)
    twice = order[1:][order[1:] == order[:-1]]
    if len(twice):
        where = np.array(np.unravel_index(twice[0], grid.shape)) * grid.step + grid.origin
        raise MapFileError(
            f"{path}: hkl {where.round(4).tolist()} occurs more than once (and {len(twice) - 1} "
            "more do); merge the observations first"
        )
    return flat
