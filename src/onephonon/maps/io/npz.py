"""Maps in NumPy's .npz, with q-vectors and hkl stored explicitly, for other programs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.files import replacing
from onephonon.core.numpy_files import names_of_npz, read_npz
from onephonon.core.safe_reading import reading

from ..diffuse import DiffuseMap
from .arrays import ITEMS, from_arrays, header_of


def read(path: Path) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    held = names_of_npz(path)
    if "intensity" not in held:
        raise MapFileError(
            f"{path}: intensity missing; it contains {', '.join(sorted(held)) or 'nothing'}"
        )
    arrays = read_npz(path, _used(held))
    with reading(path, "a map"):
        return from_arrays(arrays, str(path))


def _used(held: Collection[str]) -> frozenset[str]:
    """Names of the arrays that define a map: a grid needs no hkl of its voxels."""
    on_grid = "grid_origin" in held and "grid_step" in held
    return frozenset(ITEMS) - ({"hkl"} if on_grid else frozenset())


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
