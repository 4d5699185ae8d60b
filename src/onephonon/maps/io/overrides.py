"""Overrides for information that a map's file lacks: cell, space group, sampling, origin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onephonon.core.errors import InputError, MapFileError
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.remarks import Remark

Triple = tuple[float, float, float]

#: Hint on how to give the cell, for messages.
CELL_HINT = (
    "give cell=(a, b, c, alpha, beta, gamma), or a file that contains it, such as the structure "
    "(--cell A B C ALPHA BETA GAMMA or --cell-from FILE)"
)

#: Hint on how to give the sampling, for messages.
SAMPLING_HINT = (
    "give sampling=(n_h, n_k, n_l), the voxels per Miller index (--per-index NH NK NL), or "
    "(min, max, n) of each axis (--h, --k and --l MIN MAX N)"
)

#: A step this close to a simple fraction (relative) is rounded to it: cells of file and structure
#: may differ by a few parts in a thousand.
STEP_TOLERANCE = 0.02

#: ... and this close in voxels per index, so that a wrong cell does not fit by chance.
COUNT_TOLERANCE = 0.1

#: Largest plausible step, Miller indices per voxel.
MAX_STEP = 100.0


#: Largest relative difference of cells that leaves a map in its place: measured cells differ by
#: a few parts in a thousand.
SAME_CELL = 0.02


class MapReadingWarning(UserWarning):
    """What was read differs from what the file says, such that the intensities are others."""


class MapGuessWarning(MapReadingWarning):
    """A file does not define something that its map needs; it was guessed."""


@dataclass(frozen=True)
class Overrides:
    """Values given by the caller; None means that the file must contain them.

    Parameters
    ----------
    cell : tuple of six float, optional
        a, b, c in Å; alpha, beta, gamma in degrees.
    cell_source : str
        Source of the cell, for the history.
    spacegroup : str
        Hermann-Mauguin symbol; empty if not given.
    per_index : tuple of three float, optional
        Voxels per Miller index along h, k and l.
    limits : tuple of three (min, max), optional
        First and last Miller index along each axis; requires `per_index`.
    origin : tuple of three int, optional
        Voxel of hkl = 0, 0, 0, counted from 0 along h, k and l.
    dataset : str, optional
        Which map of the file (a path in HDF5, a column of an MTZ).
    remarks : tuple of Remark
        On the file of the cell.
    """

    cell: tuple[float, ...] | None = None
    cell_source: str = ""
    spacegroup: str = ""
    per_index: Triple | None = None
    limits: tuple[tuple[float, float], ...] | None = None
    origin: tuple[int, int, int] | None = None
    dataset: str | None = None
    remarks: tuple[Remark, ...] = ()

    def allow(self, path: Path, format_name: str, *names: str) -> None:
        """Raise if an option repeats what this format defines, so that none is silently ignored.

        Raises
        ------
        MapFileError
            If an option other than `names` (or cell and spacegroup, allowed in any format) was
            given.
        """
        conflicts = {
            "sampling": self.per_index is not None,
            "origin": self.origin is not None,
            "dataset": self.dataset is not None,
        }
        for name, is_set in conflicts.items():
            if is_set and name not in names:
                raise MapFileError(f"{path}: {name} was given, but {format_name}; leave it out")

    def need_cell(
        self,
        path: Path,
        found: Sequence[float] | None = None,
        remarks: list[Remark] | None = None,
    ) -> tuple[float, ...]:
        """The given cell, else the one found in the file.

        A remark is added if both are there and differ.

        Raises
        ------
        MapFileError
            If there is neither.
        """
        cell = self.cell if self.cell is not None else found
        if cell is None:
            raise MapFileError(f"{path}: the file contains no cell; {CELL_HINT}")
        if self.cell is not None and found is not None and remarks is not None:
            remarks += cell_remarks(found, self.cell, self.cell_source)
        return tuple(float(x) for x in cell)

    def need_grid(self, path: Path, shape: Sequence[int]) -> tuple[HklGrid, str]:
        """Grid of a plain array, and the assumptions about its position.

        Raises
        ------
        MapFileError
            If the sampling is missing or does not fit the shape.
        """
        if self.per_index is None:
            raise MapFileError(
                f"{path}: the file is a plain array of {tuple(shape)} without its "
                f"sampling; {SAMPLING_HINT}"
            )
        try:
            if self.limits is not None:
                ranges = [
                    (low, high, n)
                    for (low, high), n in zip(self.limits, self.per_index, strict=True)
                ]
                grid, how = HklGrid.from_sampling(*ranges), "sampling as given"
            elif self.origin is not None:
                grid, how = self._from_origin(shape), f"hkl 0, 0, 0 at voxel {self.origin} as given"
            else:
                low = [-(size - 1) / 2 / n for size, n in zip(shape, self.per_index, strict=True)]
                steps = [1 / n for n in self.per_index]
                grid = HklGrid(_triple(low), _triple(steps), tuple(shape))  # type: ignore[arg-type]
                how = "assumed: the map is centred on hkl 0, 0, 0"
        except InputError as error:
            raise MapFileError(f"{path}: {error}") from error
        if grid.shape != tuple(shape):
            raise MapFileError(
                f"{path}: the array has shape {tuple(shape)}, the given sampling has "
                f"{grid.shape} ({grid}); correct the sampling"
            )
        return grid, how

    def check_origin(self, shape: Sequence[int]) -> None:
        """Check that the voxel of hkl = 0, 0, 0 is not farther from the array than its size.

        Raises
        ------
        InputError
            If it is, as by a slip of the hand.
        """
        for axis, (voxel, n) in enumerate(zip(self.origin or (), shape, strict=False)):
            if not -n <= voxel < 2 * n:
                raise InputError(
                    f"origin {self.origin}: voxel {voxel} along {'hkl'[axis]} is far outside the "
                    f"array, which has {n}; give the voxel of hkl 0, 0, 0, counted from 0"
                )

    def _from_origin(self, shape: Sequence[int]) -> HklGrid:
        assert self.per_index is not None
        assert self.origin is not None
        self.check_origin(shape)
        low = [-i / n for i, n in zip(self.origin, self.per_index, strict=True)]
        return HklGrid(_triple(low), _triple([1 / n for n in self.per_index]), tuple(shape))  # type: ignore[arg-type]


def cell_remarks(found: Sequence[float], used: Sequence[float], source: str) -> list[Remark]:
    """Remark on the cell of a file in place of which another one is used; none if they agree."""
    theirs, ours = (np.array([float(x) for x in cell]) for cell in (found, used))
    scale = np.append(np.abs(theirs[:3]), np.full(3, math.degrees(1)))  # angles in radians
    difference = float((np.abs(ours - theirs) / scale).max())
    if difference <= 1e-5:  # single precision
        return []
    text = ", ".join(f"{x:g}" for x in theirs)
    matters = difference > SAME_CELL
    return [Remark("ignored", f"the file's cell {text}: the cell {source} is used", matters)]


def check_sampling(sampling: Any) -> tuple[Triple, tuple[tuple[float, float], ...] | None]:
    """Check a sampling: voxels per Miller index and, if given, the limits.

    Parameters
    ----------
    sampling : float, three float, or three (min, max, n)

    Raises
    ------
    InputError
        If it is none of these, or a number is not finite and positive.
    """
    wanted = "one number, three numbers, or three (min, max, n)"
    try:
        rows = [list(row) if isinstance(row, Sequence) else [row] for row in _listed(sampling)]
        numbers = [[float(x) for x in row] for row in rows]
    except (TypeError, ValueError):
        raise InputError(f"sampling {sampling!r} is not {wanted}") from None
    if [len(row) for row in numbers] == [3, 3, 3]:
        limits = tuple((low, high) for low, high, _ in numbers)
    elif [len(row) for row in numbers] == [1, 1, 1]:
        limits = None
    else:
        raise InputError(f"sampling {sampling!r} is not {wanted}")
    per_index = _triple([row[-1] for row in numbers])
    if not all(math.isfinite(x) for row in numbers for x in row) or min(per_index) <= 0:
        raise InputError(f"sampling {sampling!r} must be finite, and positive voxels per index")
    return per_index, limits


def _listed(sampling: Any) -> list[Any]:
    if isinstance(sampling, (int, float)):
        return [sampling] * 3
    return [row.tolist() if hasattr(row, "tolist") else row for row in sampling]


def _triple(values: Sequence[float]) -> Triple:
    a, b, c = (float(x) for x in values)
    return a, b, c


def close_step(step: float) -> float | None:
    """Round a step to whole voxels per index or whole indices per voxel; None if not close."""
    if not 0 < step <= MAX_STEP:
        return None
    near = 1 / round(1 / step) if step < 1 and round(1 / step) else float(round(step))
    off = abs(near / step - 1) if near else math.inf
    return near if off <= STEP_TOLERANCE and off / step <= COUNT_TOLERANCE else None
