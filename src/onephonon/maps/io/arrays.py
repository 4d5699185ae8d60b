"""Arrays of a map under their names in .npz and .h5 files, with checks on reading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError, MapFileError
from onephonon.core.hdf5_reading import plain_text
from onephonon.crystal.grid import HklGrid

from ..diffuse import ARRAYS, DiffuseMap
from ..lists import gridded, q_agree

#: Items that contain text.
TEXTS = ("spacegroup", "units", "parameters", "history", "version")

#: Items that define where the intensities are.
PLACE = ("grid_origin", "grid_step", "q_vectors", "hkl", "map_shape", "cell")

#: All items read from a file.
ITEMS = (*ARRAYS, *PLACE, *TEXTS)


def header(
    *,
    grid: HklGrid | None = None,
    cell: Sequence[float] | None = None,
    spacegroup: str = "",
    units: str = "",
    parameters: Mapping[str, Any] | None = None,
    history: Sequence[str] = (),
    version: str = "",
) -> dict[str, NDArray[Any]]:
    """Collect the metadata of a file: grid, cell, units and history."""
    items: dict[str, NDArray[Any]] = {
        "spacegroup": np.array(spacegroup),
        "parameters": np.array(json.dumps(dict(parameters or {}))),
        "version": np.array(version),
    }
    if units:
        items["units"] = np.array(units)
    if history:
        items["history"] = np.array(json.dumps(list(history)))
    if cell is not None:
        items["cell"] = np.array(cell, dtype=np.float64)
    if grid is not None:
        items["grid_origin"] = np.array(grid.origin)
        items["grid_step"] = np.array(grid.step)
    return items


def header_of(diffuse: DiffuseMap) -> dict[str, NDArray[Any]]:
    """Collect the metadata of a map."""
    return header(
        grid=diffuse.grid,
        cell=diffuse.cell,
        spacegroup=diffuse.spacegroup,
        units=diffuse.units,
        parameters=diffuse.parameters,
        history=diffuse.history,
        version=diffuse.version,
    )


def from_arrays(arrays: dict[str, NDArray[Any]], source: str) -> DiffuseMap:
    """Create a map from the arrays of a file, with checks.

    Parameters
    ----------
    arrays : dict
        ``intensity`` is needed, with ``grid_origin``, ``grid_step`` and ``cell`` or with
        ``q_vectors``; the rest is optional.
    source : str
        The file's name, for messages.

    Raises
    ------
    MapFileError
        If a required array is missing, has the wrong shape or type, or contradicts another.
    """
    gridded = "grid_origin" in arrays and "grid_step" in arrays
    missing = [
        name
        for name in ("q_vectors", "intensity")
        if name not in arrays and not (gridded and name == "q_vectors")
    ]
    if missing:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise MapFileError(f"{source}: {' and '.join(missing)} missing; it contains {held}")
    for name in ("q_vectors", "hkl", "cell", "grid_origin", "grid_step"):
        if name in arrays and arrays[name].dtype.kind not in "fiu":
            raise MapFileError(f"{source}: {name} holds {arrays[name].dtype}, not real numbers")
    half1, half2 = arrays.get("half1"), arrays.get("half2")
    if (half1 is None) != (half2 is None):
        raise MapFileError(f"{source}: it contains only one of half1 and half2; both are needed")
    details: dict[str, Any] = {
        "cell": arrays["cell"].reshape(-1).tolist() if "cell" in arrays else None,
        "spacegroup": read_text(arrays, "spacegroup"),
        "sigma": arrays.get("sigma"),
        "counts": arrays.get("counts"),
        "halves": None if half1 is None else (half1, half2),
        "units": read_text(arrays, "units"),
        "history": _json(arrays, "history", source) or [],
        "parameters": _json(arrays, "parameters", source) or {},
        "version": read_text(arrays, "version"),
    }
    try:
        if gridded:
            return _on_its_grid(arrays, details, source)
        return _of_a_list(arrays, details, source)
    except InputError as error:
        raise MapFileError(f"{source}: {error}") from error


def _on_its_grid(
    arrays: dict[str, NDArray[Any]], details: dict[str, Any], source: str
) -> DiffuseMap:
    """Map of a file that contains its grid."""
    intensity = arrays["intensity"]
    shape = intensity.shape if intensity.ndim == 3 else read_shape(arrays, source)
    if shape is None:
        raise MapFileError(f"{source}: intensity is flat and map_shape is missing; add it")
    origin, step = (tuple(arrays[x].reshape(-1).tolist()) for x in ("grid_origin", "grid_step"))
    grid = HklGrid(origin, step, shape)
    if details["cell"] is None:
        raise MapFileError(f"{source}: cell missing; a map on a grid of hkl needs it")
    diffuse = DiffuseMap.on_grid(intensity, grid, **details)
    if "q_vectors" in arrays:
        q, cell = arrays["q_vectors"], diffuse.require_grid()[1]
        if q.shape != (grid.size, 3) or not q_agree(grid, cell, q):
            raise MapFileError(
                f"{source}: q_vectors do not match grid_origin, grid_step and cell; remove either"
            )
    return diffuse


def _of_a_list(arrays: dict[str, NDArray[Any]], details: dict[str, Any], source: str) -> DiffuseMap:
    """Map of a file with q_vectors: converted to a grid if they form one."""
    q, intensity = arrays["q_vectors"], arrays["intensity"].reshape(-1)
    hkl = arrays.get("hkl")
    if hkl is not None and hkl.shape != q.shape:
        raise MapFileError(f"{source}: hkl has shape {hkl.shape}, q_vectors {q.shape}")
    for name in ("sigma", "counts"):
        if details[name] is not None:
            details[name] = details[name].reshape(-1)
    if details["halves"] is not None:
        details["halves"] = tuple(half.reshape(-1) for half in details["halves"])
    shape = read_shape(arrays, source)
    listed = DiffuseMap.at_points(q, intensity, list_shape=shape, **details)
    return listed if shape is None else gridded(listed, shape, hkl)


def read_shape(arrays: dict[str, NDArray[Any]], source: str) -> tuple[int, int, int] | None:
    """Three positive whole numbers under ``map_shape``, or None if missing."""
    if "map_shape" not in arrays:
        return None
    shape = np.asarray(arrays["map_shape"]).reshape(-1)
    if len(shape) != 3 or shape.dtype.kind not in "iuf" or (shape < 1).any() or (shape % 1).any():
        raise MapFileError(f"{source}: map_shape {shape.tolist()} is not three whole numbers")
    return int(shape[0]), int(shape[1]), int(shape[2])


def read_text(arrays: dict[str, NDArray[Any]], name: str) -> str:
    """Text under a name, empty if missing."""
    if name not in arrays:
        return ""
    return plain_text(arrays[name].item()) if arrays[name].size == 1 else ""


def _json(arrays: dict[str, NDArray[Any]], name: str, source: str) -> Any:
    try:
        return json.loads(read_text(arrays, name) or "null")
    except json.JSONDecodeError as error:
        raise MapFileError(f"{source}: {name} are not JSON ({error})") from error
