"""Arrays of .npy and .npz files: what a header claims is compared with the file's size first."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .errors import MapFileError
from .safe_reading import check_size, reading

#: Maximum length of a header; one of numbers has about 100 bytes.
MAX_HEADER = 10_000

#: Kinds of values that are read: numbers and text; never Python objects.
KINDS = "biufcSU"

#: Bytes read at a time.
BLOCK = 16_777_216


def read_npy(path: Path) -> NDArray[Any]:
    """Read the array of a .npy file.

    Raises
    ------
    MapFileError
        If it is damaged, holds Python objects, or claims more values than the file has.
    """
    with reading(path, "a NumPy array"), path.open("rb") as file:
        return _array(file, path, path.name, path.stat().st_size)


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read arrays of a .npz archive.

    Parameters
    ----------
    path : path
    names : collection of str, optional
        Only these, as far as they are there; by default all.

    Raises
    ------
    MapFileError
        If it is not an intact archive of plain arrays, or they need more memory than
        `onephonon.core.safe_reading.check_size` allows.
    """
    if not zipfile.is_zipfile(path):
        raise MapFileError(f"{path}: not an .npz archive, or truncated; write it again")
    with reading(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        chosen = {
            member.filename.removesuffix(".npy"): member
            for member in archive.infolist()
            if member.filename.endswith(".npy")
            and (names is None or member.filename.removesuffix(".npy") in names)
        }
        size = path.stat().st_size
        check_size(
            path,
            ", ".join(sorted(chosen)),
            sum(member.file_size for member in chosen.values()),
            min(sum(member.compress_size for member in chosen.values()), size),
        )
        arrays = {}
        for name, member in chosen.items():
            with archive.open(member) as file:
                arrays[name] = _array(file, path, name, member.file_size)
                if file.read(1):  # reads up to the checksum, too
                    raise MapFileError(f"{path}: {name} is longer than its header says")
        return arrays


def names_of_npz(path: Path) -> tuple[str, ...]:
    """Names of the arrays in a .npz archive.

    Raises
    ------
    MapFileError
        If it is not one.
    """
    if not zipfile.is_zipfile(path):
        raise MapFileError(f"{path}: not an .npz archive, or truncated; write it again")
    with reading(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        return tuple(
            name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
        )


def _array(file: IO[bytes], path: Path, name: str, size: int) -> NDArray[Any]:
    """Read one array from a stream that holds `size` bytes of it, header included."""
    shape, fortran, dtype = _header(file)
    if dtype.kind not in KINDS:
        raise MapFileError(f"{path}: {name} holds {dtype}, not plain numbers or text")
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise MapFileError(f"{path}: {name} claims the shape {shape}; its header is damaged")
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > size:
        raise MapFileError(
            f"{path}: {name} claims {shape} values of {dtype} ({n_bytes} bytes), but only {size} "
            "bytes are there; it is damaged or truncated"
        )
    check_size(path, name, n_bytes, n_bytes)
    flat = np.empty(math.prod(shape), dtype)
    content = flat.view(np.uint8) if n_bytes else np.empty(0, np.uint8)
    for start in range(0, n_bytes, BLOCK):
        part = file.read(min(BLOCK, n_bytes - start))
        content[start : start + len(part)] = np.frombuffer(part, np.uint8)
        if start + len(part) < min(start + BLOCK, n_bytes):
            raise MapFileError(
                f"{path}: {name} ends after {start + len(part)} of {n_bytes} bytes; it is truncated"
            )
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of values in the header of an array."""
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file, max_header_size=MAX_HEADER)
    # Version 3 differs from 2 by the encoding of names, which plain numbers do not have.
    return npy.read_array_header_2_0(file, max_header_size=MAX_HEADER)
