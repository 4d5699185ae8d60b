"""Safe reading of damaged files: every failure becomes one clear error."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import FileError, InputError, MapFileError

#: Exceptions that libraries raise on damaged files.
READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    struct.error,
    zlib.error,
    TokenError,
)

#: Arrays up to this size (bytes) are always read.
ALWAYS_READ_BYTES = 268_435_456

#: Largest plausible compression factor (deflate ends at 1032); more means a damaged header or an
#: array that was never written.
MAX_COMPRESSION = 2000


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Convert any error caused by a damaged file inside the block to one MapFileError.

    Parameters
    ----------
    path : path
    what : str
        Expected kind of file, for the message: "an MTZ file".
    """
    try:
        yield
    except FileError:
        raise
    except InputError as error:
        raise MapFileError(f"{path}: {error}") from error
    except READ_ERRORS as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise MapFileError(f"{path}: not {what} that can be read ({reason})") from error


def load(dataset: h5py.Dataset, path: Path) -> NDArray[Any]:
    """Read real numbers of an HDF5 dataset, unless its size exceeds what the file can contain.

    Raises
    ------
    MapFileError
        If it does not contain real numbers, or claims more of them than are stored.
    """
    if dataset.dtype.kind not in "fiu":
        raise MapFileError(f"{path}: {dataset.name} holds {dataset.dtype}, not real numbers")
    if dataset.chunks is not None and len(dataset.chunks) != dataset.ndim:
        raise MapFileError(  # reading it would hang in HDF5
            f"{path}: {dataset.name} is damaged: chunks {dataset.chunks} of {dataset.shape} values"
        )
    claimed = dataset.size * dataset.dtype.itemsize
    # A virtual dataset stores nothing itself: its data are in other files.
    stored = dataset.id.get_storage_size() if not dataset.is_virtual else claimed
    if claimed > max(ALWAYS_READ_BYTES, MAX_COMPRESSION * stored):
        raise MapFileError(
            f"{path}: {dataset.name} claims {dataset.shape} values but stores {stored} bytes; the "
            "file is damaged or was never filled"
        )
    return np.asarray(dataset[()])


def without_infinite(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Replace infinite values by NaN; return the values and the number replaced."""
    infinite = np.isinf(values)
    count = int(np.count_nonzero(infinite))
    return (np.where(infinite, np.nan, values).astype(values.dtype) if count else values), count
