"""Maps in NumPy's .npz, with q-vectors and hkl stored explicitly, for other programs."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.files import replacing
from onephonon.core.safe_reading import reading

from ..diffuse import DiffuseMap
from .arrays import from_arrays, header_of


def read(path: Path) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    arrays = read_arrays(path)
    with reading(path, "a map"):
        return from_arrays(arrays, str(path))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive.

    Raises
    ------
    MapFileError
        If it is not a complete .npz archive of plain arrays.
    """
    if not zipfile.is_zipfile(path):
        raise MapFileError(f"{path}: not an .npz archive, or truncated; write it again")
    with reading(path, "an .npz archive"), path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (zipfile.BadZipFile, zlib.error) as error:  # neither is a ValueError or OSError
            raise MapFileError(f"{path}: the .npz archive is damaged ({error})") from error


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write a map, compressed: 48 bytes of q-vectors and hkl for each voxel, before compression."""
    with replacing(path, force) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **_arrays(diffuse))  # type: ignore[arg-type]


def _arrays(diffuse: DiffuseMap) -> dict[str, NDArray[Any]]:
    """All arrays of a file, one value per voxel in flat arrays, l fastest.

    Intensity comes last, so that a truncated archive is recognized as damaged.
    """
    arrays = header_of(diffuse)
    shape = diffuse.map_shape or diffuse.list_shape
    if shape is not None:
        arrays["map_shape"] = np.array(shape, dtype=np.int64)
    if diffuse.cell is not None:
        arrays["hkl"] = diffuse.hkl
    arrays["q_vectors"] = diffuse.q_vectors
    volumes = {name: values.reshape(-1) for name, values in diffuse.arrays.items()}
    return arrays | dict(reversed(volumes.items()))
