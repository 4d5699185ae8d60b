"""Maps in NumPy's .npz."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..errors import MapFileError
from ..files import replacing
from ..maps import DiffuseMap, from_arrays, to_arrays


def read(path: Path) -> DiffuseMap:
    """Read a map; see `onephonon.formats.read_map`."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise MapFileError(f"{path}: not a readable .npz archive ({error})") from error
    return from_arrays(arrays, str(path))


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write a map, compressed."""
    with replacing(path, force) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **to_arrays(diffuse))  # type: ignore[arg-type]
