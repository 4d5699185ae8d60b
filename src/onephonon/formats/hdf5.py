"""Maps in HDF5, chunked and compressed, under the names that .npz uses."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ..errors import MapFileError
from ..files import replacing
from ..maps import DiffuseMap, from_arrays, to_arrays

#: Values per chunk: half a megabyte, HDF5's own recommendation being below one.
CHUNK = 65_536


def read(path: Path) -> DiffuseMap:
    """Read a map; see `onephonon.formats.read_map`."""
    try:
        with h5py.File(path, "r") as file:
            arrays = {
                name: np.asarray(item[()])
                for name, item in file.items()
                if isinstance(item, h5py.Dataset)
            }
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise MapFileError(f"{path}: not a readable HDF5 file ({error})") from error
    return from_arrays(arrays, str(path))


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write a map."""
    with replacing(path, force) as temporary, h5py.File(temporary, "w") as file:
        for name, values in to_arrays(diffuse).items():
            if values.dtype.kind == "U":
                file.create_dataset(name, data=values.item(), dtype=h5py.string_dtype())
            elif values.size > 1024:
                rows = max(1, CHUNK * len(values) // values.size)
                chunks = (min(rows, len(values)), *values.shape[1:])
                file.create_dataset(
                    name, data=values, chunks=chunks, compression="gzip", shuffle=True
                )
            else:
                file.create_dataset(name, data=values)
