"""Detection of the kind of an HDF5 file from its content, and its crystal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.hdf5_reading import attribute, attribute_text, dataset_text, load
from onephonon.core.safe_reading import reading
from onephonon.crystal.symmetry import spacegroup_name

#: Maximum depth of nested groups (also limits circular links).
MAX_DEPTH = 5

#: Factors to Å and degrees.
UNITS = {"nm": 10.0, "nanometer": 10.0, "nanometre": 10.0, "pm": 0.01, "m": 1e10} | {
    unit: math.degrees(1) for unit in ("rad", "radian", "radians")
}

#: Relative tolerance within which cells are the same: single precision.
SAME_CELL = 1e-5

#: Attributes of mdx-lib that define the grid.
GRID_ATTRIBUTES = ("grid_size", "grid_ori", "grid_delta")

Crystal = tuple[tuple[float, ...], str]


def kind_of(path: Path) -> str:
    """Detect the kind of an HDF5 file: "onephonon", "mdx-lib" or "nexus".

    Raises
    ------
    MapFileError
        If it is not an HDF5 file, or of another kind.
    """
    if not h5py.is_hdf5(path):
        with path.open("rb") as file:
            classic = file.read(3) == b"CDF"
        if classic:
            raise MapFileError(
                f"{path}: a classic netCDF file; only netCDF-4 is HDF5 (nccopy -k 4 converts it)"
            )
        raise MapFileError(f"{path}: not an HDF5 file, or its beginning is damaged")
    with reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        intensity = file.get("intensity")
        if isinstance(intensity, h5py.Dataset) and "NX_class" not in file.attrs:
            return "nexus" if "DIMENSION_LIST" in intensity.attrs else "onephonon"
        groups = dict(iter_groups(file))
        if any(name in group.attrs for group in groups.values() for name in GRID_ATTRIBUTES):
            return "mdx-lib"
        if any("NX_class" in group.attrs for group in groups.values()):
            return "nexus"
        if any("DIMENSION_LIST" in member.attrs for _, member in members(file)):
            return "nexus"  # netCDF, of which the axes are as in NeXus
        held = ", ".join(sorted(file)[:12]) or "nothing"
    raise MapFileError(
        f"{path}: an HDF5 file of unknown kind (onephonon's maps have a dataset "
        f"intensity, mdx-lib's groups with grid_size, NeXus an NX_class); it holds {held}"
    )


def iter_groups(group: h5py.Group, depth: int = MAX_DEPTH) -> Iterator[tuple[str, h5py.Group]]:
    """Iterate over a group and its subgroups with their paths; broken links are skipped."""
    yield group.name or "/", group
    if depth:
        for _, child in members(group):
            if isinstance(child, h5py.Group):
                yield from iter_groups(child, depth - 1)


def members(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Names and objects in a group, without broken links."""
    for name in group:
        try:
            yield name, group[name]
        except (KeyError, OSError, RuntimeError, ValueError):
            continue


def crystal(file: h5py.File) -> Crystal | None:
    """Cell and space group from any of their possible locations; None if missing."""
    return next((found for _, found in _crystals(file)), None)


def other_cells(file: h5py.File) -> list[str]:
    """Groups with another cell than the one of `crystal`, as text."""
    found = list(_crystals(file))
    return [
        f"{', '.join(f'{x:g}' for x in cell)} in {name}"
        for name, (cell, _) in found[1:]
        if not np.allclose(cell, found[0][1][0], rtol=SAME_CELL, atol=0)
    ]


def _crystals(file: h5py.File) -> Iterator[tuple[str, Crystal]]:
    """All cells and space groups of a file, with the groups that hold them."""
    for name, group in iter_groups(file):
        for look in (_of_onephonon, _of_mdx_lib, _of_nexus):
            found = look(group)
            if found is not None:
                yield name, found
                break


def _of_onephonon(group: h5py.Group) -> Crystal | None:
    if group.name != "/" or not isinstance(group.get("cell"), h5py.Dataset):
        return None
    return _six([_values(group, "cell")]), _name(group, "spacegroup")


def _of_mdx_lib(group: h5py.Group) -> Crystal | None:
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    if not all(name in group.attrs for name in names):
        return None
    number = attribute(group, "spaceGroupNumber")
    name = spacegroup_name(int(number[0])) if number is not None and len(number) else ""
    return _six([attribute(group, name) for name in names]), name


def _of_nexus(group: h5py.Group) -> Crystal | None:
    """Cell of an NXsample as written by mdx2, the NeXus standard or nxrefine."""
    letters = ("a", "b", "c", "alpha", "beta", "gamma")
    choices = (
        ("unit_cell",),
        ("unit_cell_abc", "unit_cell_alphabetagamma"),
        tuple(f"unitcell_{x}" for x in letters),
        tuple(f"unit_cell_{x}" for x in letters),
    )
    for names in choices:
        if all(isinstance(group.get(name), h5py.Dataset) for name in names):
            return _six([_values(group, name) for name in names]), _name(group, "space_group")
    return None


def _six(values: list[Any]) -> tuple[float, ...]:
    """Six numbers; single precision is converted to the decimal number it represents."""
    flat = [x for value in values for x in np.asarray(value).reshape(-1)]
    return tuple(float(str(x)) if isinstance(x, np.float32) else float(x) for x in flat)


def _values(group: h5py.Group, name: str) -> NDArray[Any]:
    """Values of a dataset, flat, lengths in Å and angles in degrees."""
    values = load(group[name], Path(group.file.filename)).reshape(-1)
    unit = attribute_text(group[name], "units").strip().lower()
    if unit not in UNITS:
        return values
    scaled = values.astype(np.float64)
    scaled[:3] *= UNITS[unit]  # of six, the last three are angles
    return scaled


def _name(group: h5py.Group, name: str) -> str:
    found = dataset_text(group, name)
    return spacegroup_name(found) if found else ""
