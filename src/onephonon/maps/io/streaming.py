"""Writing of a map to HDF5 while it is computed; interrupted calculations can be continued."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.files import check_writable
from onephonon.crystal.grid import HklGrid

from . import hdf5

#: Attribute of an unfinished file: number of completed steps.
STEPS_DONE = "steps_done"


def partial_path(path: Path) -> Path:
    """Path of an unfinished map, in the folder of the final file."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def unfinished(
    path: str | os.PathLike[str],
    grid: HklGrid,
    cell: tuple[float, ...],
    *,
    dtype: str,
    parameters: Mapping[str, Any],
    force: bool = False,
    **header: Any,
) -> Iterator[UnfinishedMap]:
    """Open a map for writing in steps; it is renamed to `path` when the block ends.

    If the block raises or is interrupted, what was written stays in `partial_path`,
    and the same call continues it.

    Parameters
    ----------
    path : path
    grid : HklGrid
    cell : tuple of six float
    dtype : {'float32', 'float64'}
    parameters : dict
        Parameters of the map: an unfinished file with other parameters is not continued.
    force : bool
        Overwrite a finished file, and delete an unfinished one with other parameters.
    **header
        Passed on to `hdf5.create`.

    Raises
    ------
    FileError
        If the file exists.
    MapFileError
        If an unfinished file belongs to another calculation.
    """
    path = check_writable(path, force)
    partial = partial_path(path)
    wanted = json.dumps(
        {"shape": grid.shape, "origin": grid.origin, "step": grid.step, "dtype": dtype}
        | dict(parameters),
        sort_keys=True,
        default=str,
    )
    if partial.exists() and not _continues(partial, wanted):
        if not force:
            raise MapFileError(
                f"{partial} is the unfinished map of another calculation, or damaged; delete it, "
                "or overwrite it with --force"
            )
        partial.unlink()
    with h5py.File(partial, "a") as file:
        if STEPS_DONE not in file.attrs:
            hdf5.create(file, grid, cell, dtype=dtype, parameters=parameters, **header)
            file.attrs["made_with"] = wanted
            file.attrs[STEPS_DONE] = 0
            file.flush()
        yield UnfinishedMap(file)
        for name in ("made_with", STEPS_DONE):
            del file.attrs[name]
    partial.replace(path)


def _continues(partial: Path, wanted: str) -> bool:
    """Whether an unfinished file is intact and has the same parameters."""
    try:
        with h5py.File(partial, "r") as file:
            return file.attrs.get("made_with") == wanted and STEPS_DONE in file.attrs
    except OSError:
        return False


class UnfinishedMap:
    """An unfinished map: its values, and the number of completed steps."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self.values: h5py.Dataset = file["intensity"]

    @property
    def steps_done(self) -> int:
        """Number of steps whose results are in the file."""
        return int(self._file.attrs[STEPS_DONE])

    def count(self) -> int:
        """Number of values in the file that are not NaN."""
        total = 0
        for start in range(0, self.values.shape[0], self.rows_per_chunk):
            total += int(np.isfinite(self.values[start : start + self.rows_per_chunk]).sum())
        return total

    @property
    def rows_per_chunk(self) -> int:
        """Number of rows per chunk, which are best written together."""
        return int(self.values.chunks[0])

    def step(self, rows: slice, values: Callable[[], NDArray[np.floating[Any]]], n: int) -> None:
        """Compute some rows and write them as step n, unless that was done before."""
        if n < self.steps_done:
            return
        self.values[rows] = values()
        self._file.flush()
        self._file.attrs[STEPS_DONE] = n + 1
        self._file.flush()
