"""Safe reading of damaged files: every failure becomes one clear error."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import FileError, InputError, MapFileError
from .files import in_bytes
from .memory import readable_bytes

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
    lzma.LZMAError,
    zipfile.BadZipFile,
    TokenError,
)

#: Arrays up to this size (bytes) are always read.
ALWAYS_READ_BYTES = 268_435_456

#: Largest compression of larger arrays. Measured values compress little: more means that over
#: 99 % of a map is empty, that its file was never filled, or that it was made to exhaust memory.
MAX_COMPRESSION = 200

#: Names of standard input.
STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


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
    except MapFileError:
        raise
    except FileError as error:
        raise MapFileError(str(error)) from error
    except InputError as error:
        raise MapFileError(f"{path}: {error}") from error
    except READ_ERRORS as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise MapFileError(f"{path}: not {what} that can be read ({reason})") from error


def check_input(
    path: str | os.PathLike[str], what: str, error: type[FileError] = FileError
) -> Path:
    """Check that a path is a file that can be read.

    Parameters
    ----------
    path : path
    what : str
        What is expected, for the messages: "a map".
    error : type
        Class of the error.

    Raises
    ------
    FileError
        Or `error`: if it is missing, empty, a folder, standard input, a device or not readable.
    """
    name = os.fspath(path)
    path = Path(path)
    if name in STANDARD_INPUT:
        raise error(
            f"{name}: standard input cannot be read as {what}, which needs a file with an ending; "
            "save it to a file and name that"
        )
    try:
        if path.is_dir():
            raise error(f"{path} is a folder; name {what} in it")
        if not path.exists():
            raise error(f"{path}: there is no such file; check the path")
        if not path.is_file():
            raise error(f"{path} is a device or a pipe, not a file; save {what} to a file first")
        if not os.access(path, os.R_OK):
            raise error(f"{path}: no permission to read it; change its permissions (chmod +r)")
        if not path.stat().st_size:
            raise error(f"{path}: the file is empty; it was not written, or not copied completely")
    except OSError as problem:  # a name that is too long
        raise error(f"{path}: cannot be opened ({problem.strerror}); check the path") from problem
    return path


def check_size(path: Path, name: str, claimed: int, stored: int) -> None:
    """Check, before allocating, the memory that values of a file claim to need.

    Parameters
    ----------
    path : path
    name : str
        What is to be read, for the messages.
    claimed, stored : int
        Bytes of the values in memory, and in the file, where they may be compressed.

    Raises
    ------
    MapFileError
        If they would take over half of the available memory, or are over 256 MB and compressed
        more than `MAX_COMPRESSION` times.
    """
    if claimed > max(ALWAYS_READ_BYTES, MAX_COMPRESSION * stored):
        raise MapFileError(
            f"{path}: {name} claims {in_bytes(claimed)} of values but stores "
            f"{in_bytes(stored)}; the file is damaged or was never filled, or over 99 % of it is "
            f"empty and can be cropped (over {in_bytes(ALWAYS_READ_BYTES)}, values compressed "
            f"more than {MAX_COMPRESSION} times are not read)"
        )
    limit = readable_bytes()
    if claimed > limit:
        raise MapFileError(
            f"{path}: {name} takes {in_bytes(claimed)} of memory, more than half of what is "
            f"available ({in_bytes(limit)}); crop or thin it where it was made, or use a machine "
            "with more memory"
        )


def without_infinite(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Replace infinite values by NaN; return the values and the number replaced."""
    infinite = np.isinf(values)
    count = int(np.count_nonzero(infinite))
    return (np.where(infinite, np.nan, values).astype(values.dtype) if count else values), count
