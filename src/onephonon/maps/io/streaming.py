"""Writing of a map to HDF5 while it is computed; interrupted calculations can be continued.

An unfinished map has the name of the file with ``.partial``, and the attributes

| attribute | content |
|---|---|
| `steps_done` | number of completed steps: a file with it is not complete |
| `n_steps` | number of all steps |
| `made_with` | JSON: what the map is computed from; inputs by their digests |

and a dataset `row_sums`, the CRC-32 of every row of the first axis that was written, 0 for others.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import FileError, MapFileError
from onephonon.core.files import check_writable, locked, publish, write_error
from onephonon.core.hashing import digest
from onephonon.core.hdf5_files import WrittenFile, opened
from onephonon.crystal.grid import HklGrid

from . import hdf5

#: Attributes of an unfinished file: numbers of completed and of all steps.
STEPS_DONE, N_STEPS = "steps_done", "n_steps"

#: Attribute of an unfinished file: what it is computed from.
MADE_WITH = "made_with"

#: Dataset of an unfinished file: checksum of every row.
ROW_SUMS = "row_sums"

#: Longer texts are stored as digests: an attribute holds at most 64 kB.
MAX_TEXT = 200


def partial_path(path: Path) -> Path:
    """Path of an unfinished map, in the folder of the final file."""
    return path.with_name(f"{path.name}.partial")


def lock_path(path: Path) -> Path:
    """Path of the lock of a map that is being written."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def unfinished(
    path: str | os.PathLike[str],
    grid: HklGrid,
    cell: tuple[float, ...],
    *,
    dtype: str,
    parameters: Mapping[str, Any],
    made_with: Mapping[str, str] | None = None,
    force: bool = False,
    **header: Any,
) -> Iterator[UnfinishedMap]:
    """Open a map for writing in steps; it is renamed to `path` when the block ends.

    If the block raises or is interrupted after a step, what was written stays in `partial_path`,
    the exception says so in a note, and the same call continues it.

    Parameters
    ----------
    path : path
    grid : HklGrid
    cell : tuple of six float
    dtype : {'float32', 'float64'}
    parameters : dict
        Parameters of the map, for its file.
    made_with : dict of str to str, optional
        What determines the values, by name: an unfinished file is continued only if all are the
        same. By default the parameters.
    force : bool
        Overwrite a finished file, and delete an unfinished one made with something else.
    **header
        Passed on to `hdf5.create`.

    Raises
    ------
    FileError
        If the file exists, cannot be written, or is being written by another program.
    MapFileError
        If an unfinished file belongs to another calculation, or is damaged.
    """
    path = check_writable(path, force)
    target = Path(os.path.realpath(path))
    partial = partial_path(target)
    wanted = {name: _text(value) for name, value in (made_with or parameters).items()} | {
        "the grid": _text([grid.shape, grid.origin, grid.step]),
        "the type of the numbers": dtype,
    }
    with locked(lock_path(target), str(path)):
        if partial.exists():
            problem = _why_not_continued(partial, wanted)
            if problem and not force:
                raise MapFileError(
                    f"{partial} {problem}; delete it, choose another name, or overwrite it with "
                    "--force"
                )
            if problem:
                partial.unlink()
        try:
            with _growing(partial, path) as growing:
                if STEPS_DONE not in growing.file.attrs:
                    growing.create(grid, cell, dtype, wanted, {"parameters": parameters} | header)
                yield growing
                check_writable(path, force)  # while the map can still be continued
                growing.finish()
            publish(partial, target, force)
        except OSError as error:
            raise write_error(path, error) from error


@contextmanager
def _growing(partial: Path, path: Path) -> Iterator[UnfinishedMap]:
    """Open an unfinished map; it is removed if the block raises before a step was completed."""
    mode = "r+" if partial.exists() else "w"
    ours, done, n_steps = True, 0, 0
    try:
        with opened(partial, mode, path) as (file, written):
            growing = UnfinishedMap(file, written, partial)
            try:
                yield growing
            finally:
                ours, done, n_steps = written.is_at(partial), growing.steps_done, growing.n_steps
    except BaseException as error:
        if ours and done:
            error.add_note(
                f"{partial} keeps what was computed ({done} of {n_steps or 'all'} steps); repeat "
                "the same command to continue"
            )
        elif ours and mode == "w":
            with suppress(OSError):
                partial.unlink()
        raise


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= MAX_TEXT else digest(text)


def _why_not_continued(partial: Path, wanted: Mapping[str, str]) -> str:
    """Why an unfinished file cannot be continued; empty if it can."""
    try:
        with h5py.File(partial, "r") as file:
            if STEPS_DONE not in file.attrs or MADE_WITH not in file.attrs:
                return "is a finished map that only has to be renamed, or damaged"
            before = json.loads(file.attrs[MADE_WITH])
            changed = [name for name in (wanted | before) if wanted.get(name) != before.get(name)]
            if changed:
                return (
                    f"is the unfinished map of another calculation ({', '.join(changed)} changed)"
                )
            _check_rows(file)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        return f"is damaged ({' '.join(str(error).split())[:200]})"
    return ""


def _check_rows(file: h5py.File) -> None:
    """Compare the rows in a file with their checksums: a killed program may leave half of one.

    Raises
    ------
    ValueError
        If a row is another than was written.
    """
    sums, values = file[ROW_SUMS][:], file["intensity"]
    depth = int(values.chunks[0])
    for start in range(0, len(sums), depth):
        expected = sums[start : start + depth]
        if expected.any():
            found = _sums(values[start : start + depth])
            if ((found != expected) & (expected != 0)).any():
                raise ValueError(f"rows {start} to {start + len(expected) - 1} are incomplete")


def _sums(rows: NDArray[Any]) -> NDArray[np.uint32]:
    """Checksum of every row; never 0, which stands for a row not yet written."""
    return np.array([max(1, zlib.crc32(row.tobytes())) for row in rows], np.uint32)


class UnfinishedMap:
    """An unfinished map: its values, and the number of completed steps."""

    def __init__(self, file: h5py.File, written: WrittenFile, partial: Path) -> None:
        self.file, self._written, self._partial = file, written, partial
        self._done = int(file.attrs.get(STEPS_DONE, 0))

    def create(
        self,
        grid: HklGrid,
        cell: tuple[float, ...],
        dtype: str,
        made_with: Mapping[str, str],
        header: Mapping[str, Any],
    ) -> None:
        """Write everything but the values."""
        hdf5.create(self.file, grid, cell, dtype=dtype, **header)
        self.file.create_dataset(ROW_SUMS, data=np.zeros(grid.shape[0], np.uint32))
        self.file.attrs[MADE_WITH] = json.dumps(made_with)
        self.file.attrs[N_STEPS] = 0
        self.file.attrs[STEPS_DONE] = 0
        self._flush()

    @property
    def values(self) -> h5py.Dataset:
        """The intensities in the file."""
        return self.file["intensity"]

    @property
    def steps_done(self) -> int:
        """Number of steps whose results are in the file."""
        return self._done

    @property
    def n_steps(self) -> int:
        """Number of all steps; 0 if it is not yet known."""
        return int(self.file.attrs.get(N_STEPS, 0))

    def plan(self, n_steps: int) -> None:
        """Write the number of all steps."""
        if n_steps != self.n_steps:
            self.file.attrs[N_STEPS] = n_steps

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
        """Compute some rows and write them as step n, unless that was done before.

        Raises
        ------
        FileError
            If the file cannot be written, or was removed or replaced meanwhile.
        """
        if n < self.steps_done:
            return
        computed = np.ascontiguousarray(values(), dtype=self.values.dtype)
        self._check_place()
        self.values[rows] = computed
        self._flush()
        self.file[ROW_SUMS][rows] = _sums(computed)
        self.file.attrs[STEPS_DONE] = n + 1
        self._flush()
        self._done = n + 1

    def finish(self) -> None:
        """Remove what marks the file as unfinished.

        Raises
        ------
        FileError
            If steps are missing, or the file was removed or replaced meanwhile.
        """
        self._check_place()
        if self.steps_done < self.n_steps:
            raise FileError(
                f"{self._partial}: only {self.steps_done} of {self.n_steps} steps were written"
            )
        self._written.sync()  # what follows then takes no time in which it could be stopped
        del self.file[ROW_SUMS]
        for name in (MADE_WITH, N_STEPS, STEPS_DONE):
            del self.file.attrs[name]
        self._flush()

    def _flush(self) -> None:
        self.file.flush()
        self._written.check()

    def _check_place(self) -> None:
        if not self._written.is_at(self._partial):
            raise FileError(
                f"{self._partial} was removed or replaced by another program while it was "
                "written; start again, with another name"
            )
