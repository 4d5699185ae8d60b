"""Maps in NumPy's .npz."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MapFileError
from ..files import replacing
from ..maps import DiffuseMap, from_arrays, to_arrays


def read(path: Path) -> DiffuseMap:
    """Read a map; see `onephonon.formats.read_map`."""
    return from_arrays(read_arrays(path), str(path))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an archive.

    Raises
    ------
    MapFileError
        If it is not a whole .npz archive of plain arrays.
    """
    if not zipfile.is_zipfile(path):  # np.load would leave a half-open object behind
        raise MapFileError(f"{path}: not an .npz archive, or cut short; write it again")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise MapFileError(f"{path}: not a readable .npz archive ({error})") from error


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write a map, compressed."""
    with replacing(path, force) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **to_arrays(diffuse))  # type: ignore[arg-type]
