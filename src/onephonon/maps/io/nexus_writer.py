"""Writing of maps as NeXus files for mdx2 and NeXpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.files import replacing
from onephonon.core.hdf5_files import opened
from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.grid import HklGrid

from ..diffuse import DiffuseMap
from .hdf5 import create_volume
from .nexus import HALVES, OWN_GROUP

#: Version of mdx2 whose layout is written; mdx2 checks it.
MDX2_VERSION = "1.0.5"


def write(diffuse: DiffuseMap, path: Path, force: bool, table: bool = False) -> None:
    """Write a map.

    A map on a grid becomes NXdata groups as in mdx2.map, each with its axes: ``intensity``
    and, if present, ``intensity_error``, ``count``, ``group_0_intensity`` and
    ``group_1_intensity``. A list becomes an ``hkl_table`` as in mdx2.merge.

    Parameters
    ----------
    diffuse : DiffuseMap
    path : path
    force : bool
        Overwrite an existing file.
    table : bool
        Write also a map on a grid as an ``hkl_table``: a row for each voxel that has a value.

    Raises
    ------
    MapFileError
        If a list has no cell.
    FileError
        If the file exists and `force` is not set.
    """
    if diffuse.cell is None:
        raise MapFileError(
            f"{path}: a list of q-vectors without a cell has no hkl, which NeXus files need; write "
            ".npz or .h5"
        )
    with replacing(path, force) as temporary, opened(temporary, "w", path) as (file, _):
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "onephonon"})
        file.attrs["mdx2_version"] = MDX2_VERSION
        write_as_table = table or diffuse.grid is None
        entry = _group(file, "entry", "NXentry")
        entry.attrs["default"] = "crystal" if write_as_table else "intensity"
        _write_crystal(entry, diffuse)
        _write_own_metadata(entry, diffuse)
        if write_as_table:
            _write_table(entry, diffuse, path)
        else:
            _write_volumes(entry, diffuse)


def _group(parent: h5py.Group, name: str, kind: str, mdx2: str = "") -> h5py.Group:
    """Create a group of a NeXus class and, if given, of a class of mdx2."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    if mdx2:
        module, _, class_name = mdx2.rpartition(".")
        group.attrs.update({"mdx2_module": module, "mdx2_class": class_name})
    return group


def _columns(diffuse: DiffuseMap) -> dict[str, Any]:
    """The arrays of a map under mdx2's names."""
    halves = diffuse.halves or (None, None)
    columns = {
        "intensity": diffuse.intensity,
        "intensity_error": diffuse.sigma,
        "count": diffuse.counts,
        **dict(zip(HALVES, halves, strict=True)),
    }
    return {name: values for name, values in columns.items() if values is not None}


def _write_crystal(entry: h5py.Group, diffuse: DiffuseMap) -> None:
    """Cell and space group; the orientation is unknown, so the default one is written."""
    assert diffuse.cell is not None
    sample = _group(entry, "crystal", "NXsample", "mdx2.geometry.Crystal")
    sample["space_group"] = diffuse.spacegroup
    sample["unit_cell"] = np.array(diffuse.cell)
    sample["orientation_matrix"] = np.eye(3)
    sample["ub_matrix"] = numpy_cell(diffuse.cell).inverse.T  # columns a*, b*, c*, without 2*pi


def _write_own_metadata(entry: h5py.Group, diffuse: DiffuseMap) -> None:
    kept = _group(entry, OWN_GROUP, "NXcollection")
    stored: dict[str, Any] = {
        "history": list(diffuse.history),
        "units": diffuse.units,
        "parameters": dict(diffuse.parameters),
        "version": diffuse.version,
    }
    if diffuse.grid is not None:
        grid = diffuse.grid
        stored |= {"origin": grid.origin, "step": grid.step, "shape": grid.shape}
    else:
        volume = create_volume(kept, "q_vectors", diffuse.q_vectors.shape, np.float64)
        volume[...] = diffuse.q_vectors
    kept["map"] = json.dumps(stored)


def _write_volumes(entry: h5py.Group, diffuse: DiffuseMap) -> None:
    grid, _ = diffuse.require_grid()
    for name, values in _columns(diffuse).items():
        data = _group(entry, name, "NXdata", "mdx2.geometry.GridData")
        data.attrs["signal"] = name
        data.attrs["axes"] = np.array(["h", "k", "l"], dtype=h5py.string_dtype())
        for letter, line in zip("hkl", grid.axes, strict=True):
            data[letter] = line
            data.attrs[f"{letter}_indices"] = "hkl".index(letter)
        create_volume(data, name, values.shape, values.dtype)[...] = values
    if diffuse.sigma is not None:  # the same dataset under the name defined by NeXus
        entry["intensity/intensity_errors"] = entry["intensity_error/intensity_error"]


def _write_table(entry: h5py.Group, diffuse: DiffuseMap, path: Path) -> None:
    table = _group(entry, "hkl_table", "NXgroup", "mdx2.data.HKLTable")
    columns = {name: values.reshape(-1) for name, values in _columns(diffuse).items()}
    if diffuse.grid is not None:
        table["ndiv"] = np.array(_ndiv(diffuse.grid, path))
        rows = np.zeros(diffuse.intensity.size, dtype=bool)
        for values in columns.values():
            rows |= ~np.isnan(values)
        kept = np.flatnonzero(rows)
        axes = diffuse.grid.axes
        index = np.unravel_index(kept, diffuse.grid.shape)
        places = [axis[i] for axis, i in zip(axes, index, strict=True)]
        columns = {name: values[kept] for name, values in columns.items()}
    else:
        places = list(diffuse.hkl.T)
    for name, values in {**dict(zip("hkl", places, strict=True)), **columns}.items():
        _write_column(table, name, values)


def _write_column(table: h5py.Group, name: str, values: NDArray[Any]) -> None:
    dataset = create_volume(table, name, values.shape, values.dtype)
    if values.size:
        dataset[...] = values


def _ndiv(grid: HklGrid, path: Path) -> list[int]:
    """Voxels per Miller index; mdx2 needs whole numbers and a grid that contains 0, 0, 0."""
    per_index = [1 / step for step in grid.step]
    whole = [round(n) for n in per_index]
    first = [o * n for o, n in zip(grid.origin, per_index, strict=True)]
    if any(abs(n - w) > 1e-6 for n, w in zip(per_index, whole, strict=True)) or any(
        abs(x - round(x)) > 1e-6 for x in first
    ):
        raise MapFileError(
            f"{path}: mdx2's tables need whole numbers of voxels per Miller index and a grid that "
            f"contains 0, 0, 0; this grid has {', '.join(f'{n:g}' for n in per_index)}: {grid}; "
            "resample it, or write it as a map (without --table)"
        )
    return whole
