"""Maps in HDF5: three-dimensional, l fastest, float32 or float64, chunked and compressed.

| dataset | shape | content |
|---|---|---|
| `intensity` | (n_h, n_k, n_l); (N,) for a list | NaN where missing |
| `sigma`, `counts`, `half1`, `half2` | as `intensity` | optional |
| `grid_origin`, `grid_step` | (3,) | hkl of voxel (0, 0, 0); Miller indices per voxel |
| `q_vectors` | (N, 3) | only of a list: 1/Å, 2*pi included |
| `map_shape` | (3,) | only of a list, optional: its arrangement |
| `cell` | (6,) | a, b, c in Å; alpha, beta, gamma in degrees |
| `spacegroup`, `units`, `version` | text | |
| `parameters`, `history` | text | JSON: a dictionary; a list of lines, oldest first |

Files of version 0.1, with flat arrays and `q_vectors`, `hkl` and `map_shape`, can also be read.

A map too large for memory is written in parts::

    with replacing(path, force) as temporary, new_file(temporary) as file:
        intensity = create(file, grid, cell, dtype="float32", units="e^2 per cell")
        depth = intensity.chunks[0]
        for start in range(0, grid.shape[0], depth):
            intensity[start : start + depth] = ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.files import replacing
from onephonon.core.hdf5_files import opened
from onephonon.core.hdf5_reading import attribute, dataset_text, load, sizes
from onephonon.core.safe_reading import check_size, reading
from onephonon.crystal.grid import HklGrid

from ..diffuse import DiffuseMap
from .arrays import ITEMS, PLACE, TEXTS, from_arrays, header, header_of

#: Bytes per chunk: HDF5 recommends less than a megabyte, the size of its chunk cache.
CHUNK_BYTES = 524_288

#: Maximum bytes of a compact dataset, stored in its header (HDF5's limit is 64 kB).
MAX_COMPACT = 60_000

#: Fast level; measured intensities compress little at any level.
GZIP_LEVEL = 1


#: Attributes of an unfinished file (see `streaming`): numbers of completed and of all steps.
STEPS_DONE, N_STEPS = "steps_done", "n_steps"


def read(path: Path) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    with reading(path, "an HDF5 map"), h5py.File(path, "r") as file:
        _check_finished(file, path)
        return from_arrays(_items(file, path, ITEMS), str(path))


def read_positions(path: Path) -> tuple[NDArray[np.float64], tuple[int, int, int] | None]:
    """Q-vectors of a map, shape (N, 3), 1/Å, and its shape; intensities are not read."""
    with reading(path, "an HDF5 map"), h5py.File(path, "r") as file:
        found = _items(file, path, (*PLACE, *TEXTS))
        intensity = file.get("intensity")
        if isinstance(intensity, h5py.Dataset):  # only its shape counts
            check_size(path, "q_vectors", 24 * intensity.size, 24 * intensity.size)
            found["intensity"] = np.broadcast_to(np.float32(0), intensity.shape)
        diffuse = from_arrays(found, str(path))
        return diffuse.q_vectors, diffuse.map_shape or diffuse.list_shape


def _items(file: h5py.File, path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Items of a file by name, as far as they are there."""
    found = {name: file[name] for name in names if isinstance(file.get(name), h5py.Dataset)}
    numbers = [sizes(item) for name, item in found.items() if name not in TEXTS]
    check_size(path, ", ".join(found), sum(n for n, _ in numbers), sum(n for _, n in numbers))
    return {
        name: _text(item, path) if name in TEXTS else load(item, path)
        for name, item in found.items()
    }


def _text(dataset: h5py.Dataset, path: Path) -> NDArray[Any]:
    if dataset.dtype.kind not in "SO" or dataset.size != 1:
        raise MapFileError(f"{path}: {dataset.name} holds {dataset.dtype}, not one text")
    return np.array(dataset_text(dataset.parent, str(dataset.name).rsplit("/", 1)[-1]))


def _check_finished(file: h5py.File, path: Path) -> None:
    """Check that a map written in steps is complete."""
    if STEPS_DONE not in file.attrs:
        return
    done, all_steps = attribute(file, STEPS_DONE), attribute(file, N_STEPS)
    of = f" of {all_steps[0]}" if all_steps is not None and all_steps.any() else ""
    raise MapFileError(
        f"{path}: an unfinished map, of which {0 if done is None else done[0]}{of} steps are "
        "computed and the rest is empty; give it its name with .partial again, if it was renamed, "
        "and repeat the command that computed it: it continues"
    )


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write a map."""
    volumes = dict(diffuse.arrays)
    if diffuse.points is not None:
        volumes["q_vectors"] = diffuse.points
    with replacing(path, force) as temporary, new_file(temporary, path) as file:
        items = header_of(diffuse)
        if diffuse.list_shape is not None:
            items["map_shape"] = np.array(diffuse.list_shape, dtype=np.int64)
        _write_items(file, items)
        for name, values in volumes.items():
            dataset = create_volume(file, name, values.shape, values.dtype)
            if values.size:
                dataset[...] = values


@contextmanager
def new_file(temporary: Path, path: Path | None = None) -> Iterator[h5py.File]:
    """Open a new file with checksums throughout (HDF5 1.10 or later); `path` is for errors."""
    with opened(temporary, "w", path, libver=("v110", "v110")) as (file, _):
        yield file


def create(
    file: h5py.File,
    grid: HklGrid,
    cell: Sequence[float],
    *,
    dtype: DTypeLike = np.float32,
    spacegroup: str = "",
    units: str = "",
    parameters: Mapping[str, Any] | None = None,
    history: Sequence[str] = (),
    version: str = "",
) -> h5py.Dataset:
    """Write everything of a map on a grid except its values, which are written in parts.

    Parameters
    ----------
    file : h5py.File
        Open for writing and empty; see `new_file`.
    grid : HklGrid
    cell : sequence of six float
    dtype : float32 or float64
    spacegroup, units, parameters, history, version
        As in `DiffuseMap`.

    Returns
    -------
    h5py.Dataset
        ``intensity``, of the grid's shape, NaN until written. Writing is fastest in parts that
        begin and end at multiples of ``dataset.chunks[0]`` along the first axis.
    """
    _write_items(
        file,
        header(
            grid=grid,
            cell=cell,
            spacegroup=spacegroup,
            units=units,
            parameters=parameters,
            history=history,
            version=version,
        ),
    )
    return create_volume(file, "intensity", grid.shape, dtype)


def create_volume(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: DTypeLike
) -> h5py.Dataset:
    """Create a chunked, compressed dataset such as ``intensity``, NaN until written."""
    if not math.prod(shape):  # an empty list cannot be chunked
        return file.create_dataset(name, shape, dtype)
    return file.create_dataset(
        name,
        shape,
        dtype,
        chunks=chunk_shape(shape, np.dtype(dtype).itemsize),
        compression="gzip",
        compression_opts=GZIP_LEVEL,
        shuffle=True,
        fletcher32=True,
        fillvalue=np.nan,
    )


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Shape of chunks: as cubic as the array allows, of at most `CHUNK_BYTES`."""
    items_left = float(CHUNK_BYTES // itemsize)
    chunks = [1] * len(shape)
    by_length = sorted(range(len(shape)), key=lambda axis: shape[axis])
    for done, axis in enumerate(by_length):  # longer axes get what short axes do not use
        side = max(1, int(items_left ** (1 / (len(shape) - done)) + 1e-9))
        chunks[axis] = min(shape[axis], side)
        items_left /= chunks[axis]
    return tuple(chunks)


def _write_items(file: h5py.File, items: dict[str, NDArray[Any]]) -> None:
    """Write the metadata; texts have fixed length, since HDF5 may hang on damaged heaps."""
    for name, values in items.items():
        text = values.item().encode() if values.dtype.kind == "U" else None
        data = values if text is None else text
        dtype = values.dtype if text is None else h5py.string_dtype("utf-8", len(text) or 1)
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if text is None or len(text) <= MAX_COMPACT:  # in the description and its checksum
            layout.set_layout(h5py.h5d.COMPACT)
        file.create_dataset(name, data=data, dtype=dtype, dcpl=layout)
