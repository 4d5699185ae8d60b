"""HDF5 files written through Python: a full disk is an error, not the end of the program.

The HDF5 library cannot close a file that it failed to write; the program then ends in a
segmentation fault. So the library never learns of a failure: what follows it is thrown away, the
file is closed as usual, and the error is raised afterwards.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from .files import write_error


class WrittenFile:
    """A binary file for h5py that remembers the first failure to write.

    Parameters
    ----------
    path : Path
    mode : {'w+', 'r+'}
    named : Path
        Name of the file in errors.
    """

    def __init__(self, path: Path, mode: str, named: Path) -> None:
        self.named = named
        self.failure: OSError | None = None
        self._file = io.FileIO(path, mode)

    def write(self, data: Any) -> int:
        """Write all data, unless an earlier write has failed."""
        whole = memoryview(data).cast("B")
        done = 0
        try:
            while self.failure is None and done < len(whole):
                done += self._file.write(whole[done:])
        except OSError as error:
            self.failure = error
        return len(whole)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, unless a write has failed."""
        try:
            if self.failure is None:
                return self._file.truncate(size)
        except OSError as error:
            self.failure = error
        return 0

    def read(self, size: int = -1) -> bytes:
        """Read bytes; h5py recognizes files by this method."""
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer as much as the file has."""
        whole = memoryview(buffer).cast("B")
        done = 0
        while done < len(whole):
            n = self._file.readinto(whole[done:])
            if not n:
                break
            done += n
        return done

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def sync(self) -> None:
        """Wait until all is on the disk."""
        try:
            if self.failure is None:
                os.fsync(self._file.fileno())
        except OSError as error:
            self.failure = error

    def check(self) -> None:
        """Raise the first failure.

        Raises
        ------
        FileError
            If the disk is full, or the file could not be written for another reason.
        """
        if self.failure is not None:
            raise write_error(self.named, self.failure) from self.failure

    def is_at(self, path: Path) -> bool:
        """Whether a path leads to this file: it may have been removed or replaced."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), path.stat())
        except OSError:
            return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def opened(
    path: Path, mode: str, named: Path | None = None, **options: Any
) -> Iterator[tuple[h5py.File, WrittenFile]]:
    """Open an HDF5 file for writing.

    Parameters
    ----------
    path : Path
    mode : {'w', 'r+'}
        New, or continued.
    named : Path, optional
        Name of the file in errors; by default its path.
    **options
        Of `h5py.File`.

    Yields
    ------
    h5py.File
    WrittenFile
        Its `check` tells whether all was written so far.

    Raises
    ------
    FileError
        If the disk is full, or the file could not be written for another reason; also if the block
        raises because of it.
    """
    written = WrittenFile(path, "w+" if mode == "w" else "r+", named or path)
    try:
        with h5py.File(written, mode, **options) as file:
            yield file, written
    except Exception:
        written.check()  # what HDF5 says after a failure is less clear
        raise
    finally:
        written.close()
    written.check()
