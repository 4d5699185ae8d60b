"""Values and text of HDF5 files: what would exhaust memory, or hang in HDF5, is refused first."""

from __future__ import annotations

import math
import mmap
import re
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import MapFileError
from .safe_reading import check_size

#: Maximum bytes of an attribute and of a text; more means a damaged file.
MAX_ATTRIBUTE, MAX_TEXT = 65_536, 16_777_216

#: Control characters, but for tab and line feed.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

#: Beginning of a global heap, which holds text of variable length: signature, version, reserved.
HEAP = b"GCOL\x01\0\0\0"

#: Bytes of a heap's header, and of the header of each object in it (8-byte lengths).
HEAP_HEADER, OBJECT_HEADER = 16, 16


def load(dataset: h5py.Dataset, path: Path) -> NDArray[Any]:
    """Read real numbers of an HDF5 dataset, unless its size exceeds what the file can contain.

    Raises
    ------
    MapFileError
        If it does not contain real numbers, claims more of them than are stored, or its values
        are in other files that are missing.
    """
    if dataset.shape is None or dataset.dtype.kind not in "fiub":
        raise MapFileError(f"{path}: {dataset.name} holds {_kind(dataset)}, not real numbers")
    if dataset.chunks is not None and len(dataset.chunks) != dataset.ndim:
        raise MapFileError(  # reading it would hang in HDF5
            f"{path}: {dataset.name} is damaged: chunks {dataset.chunks} of {dataset.shape} values"
        )
    _check_sources(dataset, path)
    check_size(path, str(dataset.name), *sizes(dataset))
    return np.asarray(dataset[()])


def sizes(dataset: h5py.Dataset) -> tuple[int, int]:
    """Bytes that the values of a dataset take in memory, and in the file."""
    claimed = dataset.size * dataset.dtype.itemsize
    elsewhere = dataset.is_virtual or dataset.external is not None
    return claimed, claimed if elsewhere else dataset.id.get_storage_size()


def attribute(item: Any, name: str) -> NDArray[Any] | None:
    """Values of an attribute, flat; None if there is none.

    Raises
    ------
    ValueError
        If it is implausibly large: the file is damaged.
    MapFileError
        If the file's texts are damaged.
    """
    if name not in item.attrs:
        return None
    found = item.attrs.get_id(name)
    if math.prod(found.shape or ()) * found.dtype.itemsize > MAX_ATTRIBUTE:
        raise ValueError(f"attribute {name} claims a shape of {found.shape}")
    if found.dtype.kind == "O":
        check_heaps(Path(item.file.filename))
    return np.asarray(item.attrs[name]).reshape(-1)


def attribute_text(item: Any, name: str, default: str = "") -> str:
    """Text of an attribute."""
    values = attribute(item, name)
    return default if values is None else _one_text(values)


def attribute_texts(item: Any, name: str) -> list[str]:
    """All texts of an attribute; empty if there is none."""
    values = attribute(item, name)
    return [] if values is None else [plain_text(value) for value in values]


def dataset_text(group: h5py.Group, name: str) -> str:
    """Text of a dataset; empty if missing, or if it contains more than one."""
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.size != 1:
        return ""
    if dataset.dtype.itemsize > MAX_TEXT:
        raise ValueError(f"{dataset.name} claims a text of {dataset.dtype.itemsize} characters")
    if dataset.dtype.kind == "O":
        check_heaps(Path(dataset.file.filename))
    return _one_text(np.asarray(dataset[()]).reshape(-1))


def plain_text(value: Any) -> str:
    """A text of a file that can be printed and written again, without control characters.

    What is not UTF-8 is taken for Latin-1, as in older files.
    """
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return CONTROL.sub("", text)


def check_heaps(path: Path) -> None:
    """Check the heaps that hold text of variable length: HDF5 hangs on damaged ones.

    Raises
    ------
    MapFileError
        If one is damaged.
    """
    stat = path.stat()
    damaged = _damaged_heap(path, stat.st_mtime_ns, stat.st_size)
    if damaged is not None:
        raise MapFileError(
            f"{path}: its texts of variable length are damaged (heap at byte {damaged}); copy the "
            "file again, or repair it where it was made"
        )


@lru_cache(maxsize=16)
def _damaged_heap(path: Path, changed: int, size: int) -> int | None:  # noqa: ARG001
    """Place of the first damaged heap of a file of that age and size; None if all are intact."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(HEAP)
        while start >= 0:
            end = _end_of_heap(content, start)
            if end is None:
                return start
            start = content.find(HEAP, end)
    return None


def _end_of_heap(content: mmap.mmap, start: int) -> int | None:
    """End of the heap at a place; None if its objects do not fill it as they must."""
    if start + HEAP_HEADER > len(content):
        return None
    (size,) = struct.unpack_from("<Q", content, start + 8)
    end = start + size
    if size < HEAP_HEADER or end > len(content):
        return None
    at = start + HEAP_HEADER
    while at + OBJECT_HEADER <= end:
        number, _, _, n = struct.unpack_from("<HHIQ", content, at)
        # Object 0 is the free space, and its size includes the header; others are padded.
        taken = n if number == 0 else OBJECT_HEADER + (n + 7) // 8 * 8
        if taken < OBJECT_HEADER or at + taken > end:
            return None
        at += taken
    return int(end)


def _check_sources(dataset: h5py.Dataset, path: Path) -> None:
    """Check that the other files that hold the values are there: HDF5 reads zeros otherwise."""
    names = [name for name, *_ in dataset.external or ()]
    if dataset.is_virtual:
        names += [source.file_name for source in dataset.virtual_sources()]
    for name in dict.fromkeys(plain_text(name) for name in names):
        if name != "." and "%" not in name and not (path.parent / name).is_file():
            raise MapFileError(
                f"{path}: values of {dataset.name} are in another file, {name}, which is missing; "
                f"put it into the folder {path.parent}"
            )


def _kind(dataset: h5py.Dataset) -> str:
    return "nothing" if dataset.shape is None else str(dataset.dtype)


def _one_text(values: NDArray[Any]) -> str:
    return plain_text(values[0]) if values.size == 1 else ""
