"""Plain NumPy arrays (.npy), as written by eryx: (n_h, n_k, n_l) or flat, l fastest."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from onephonon.core.errors import InputError, MapFileError
from onephonon.core.files import replacing
from onephonon.core.numpy_files import read_npy
from onephonon.core.safe_reading import reading
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.remarks import Remark

from ..diffuse import DiffuseMap
from .overrides import SAMPLING_HINT, Overrides


def read(path: Path, overrides: Overrides) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    overrides.allow(path, "a .npy holds one array", "sampling", "origin")
    with reading(path, "a NumPy array"):
        array = read_npy(path)
        if array.dtype.kind not in "fiu" or array.ndim not in (1, 3) or not array.size:
            raise MapFileError(
                f"{path}: an array of {array.dtype} with shape {array.shape} is no map; that has "
                "real numbers and shape (n_h, n_k, n_l), or is flat"
            )
        cell = overrides.need_cell(path)
        if array.ndim == 1:
            values = array.reshape(_shape_of_flat(path, overrides, array.size))
        else:
            values = np.ascontiguousarray(array)
        grid, how = overrides.need_grid(path, values.shape)
        remarks = []
        if how.startswith("assumed"):
            how = how.removeprefix("assumed: ")
            text = f"{how} ({grid}); otherwise give (min, max, n) of each axis"
            remarks = [Remark("assumed", text, matters=True)]
        return DiffuseMap.on_grid(
            values,
            grid,
            cell,
            spacegroup=overrides.spacegroup,
            history=[f"read from {path.name}: a plain array, axes assumed to be h, k, l", how],
            remarks=remarks,
        )


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write only the intensities of a map on a grid.

    Raises
    ------
    InputError
        For a list.
    FileError
        If the file exists and `force` is not set.
    """
    diffuse.require_grid()
    values = np.ascontiguousarray(diffuse.intensity)
    with replacing(path, force, values.nbytes) as temporary, temporary.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(values)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(values.data)


def _shape_of_flat(path: Path, overrides: Overrides, size: int) -> tuple[int, int, int]:
    """Shape of a flat array, from the limits of the axes."""
    if overrides.limits is None or overrides.per_index is None:
        raise MapFileError(
            f"{path}: a flat array of {size}; {SAMPLING_HINT}, here (min, max, n) of each axis"
        )
    ranges = [(*ends, n) for ends, n in zip(overrides.limits, overrides.per_index, strict=True)]
    try:
        shape = HklGrid.from_sampling(*ranges).shape
    except InputError as error:
        raise MapFileError(f"{path}: {error}") from error
    if math.prod(shape) != size:
        raise MapFileError(
            f"{path}: a flat array of {size}, but the sampling gives {shape}; correct it"
        )
    return shape
