"""What protects a reader from damaged files: every failure is one clear error."""

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

from .errors import InputError, MapFileError

#: What libraries raise on damaged files.
FAILURES = (
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

#: Arrays up to this are read whatever the file says of them, bytes.
SMALL = 268_435_456

#: Compression by more than this is none that data allow (deflate ends at 1032), but a damaged
#: header or an array never written.
MOST_COMPRESSED = 2000


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a damaged file causes inside the block into one MapFileError.

    Parameters
    ----------
    path : path
    what : str
        What the file should be, for the message: "an MTZ file".
    """
    try:
        yield
    except MapFileError:
        raise
    except InputError as error:
        raise MapFileError(f"{path}: {error}") from error
    except FAILURES as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise MapFileError(f"{path}: not {what} that can be read ({said})") from error


def load(dataset: h5py.Dataset, path: Path) -> NDArray[Any]:
    """Real numbers of an HDF5 dataset, unless it claims far more than the file can hold.

    Raises
    ------
    MapFileError
        If it holds something else than real numbers, or more than its storage can.
    """
    if dataset.dtype.kind not in "fiu":
        raise MapFileError(f"{path}: {dataset.name} holds {dataset.dtype}, not real numbers")
    if dataset.chunks is not None and len(dataset.chunks) != dataset.ndim:
        raise MapFileError(  # HDF5 would not come back from reading it
            f"{path}: {dataset.name} is damaged: chunks {dataset.chunks} of {dataset.shape} values"
        )
    claimed = dataset.size * dataset.dtype.itemsize
    # A virtual dataset stores nothing itself: its data are in other files.
    stored = dataset.id.get_storage_size() if not dataset.is_virtual else claimed
    if claimed > max(SMALL, MOST_COMPRESSED * stored):
        raise MapFileError(
            f"{path}: {dataset.name} claims {dataset.shape} values but stores {stored} bytes; the "
            "file is damaged or was never filled"
        )
    return np.asarray(dataset[()])


def without_infinite(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The values with NaN in place of infinity, and how many there were."""
    infinite = np.isinf(values)
    count = int(np.count_nonzero(infinite))
    return (np.where(infinite, np.nan, values).astype(values.dtype) if count else values), count
