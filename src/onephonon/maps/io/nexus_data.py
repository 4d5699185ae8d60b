"""NXdata groups with a three-dimensional signal on axes h, k and l in any order."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.safe_reading import load
from onephonon.crystal.grid import HklGrid

from ..diffuse import Array
from . import hdf5_kind

#: Names of axes that mean h, k, l: h, H, Qh, q_h, miller_h.
AXIS_NAME = re.compile(r"(?:q_?|miller_?)?([hkl])", re.IGNORECASE)


def signal_of(group: h5py.Group) -> h5py.Dataset | None:
    """The signal, named by an attribute of the group or, in older files, of the dataset."""
    name = hdf5_kind.attribute_text(group, "signal")
    if name:
        found = group.get(name)
        return found if isinstance(found, h5py.Dataset) else None
    for _, member in hdf5_kind.members(group):
        if isinstance(member, h5py.Dataset) and "signal" in member.attrs:
            return member
    return None


def is_volume(group: h5py.Group) -> bool:
    """Whether a group is an NXdata with the three axes h, k and l."""
    signal = signal_of(group)
    if signal is None or signal.ndim != 3:
        return False
    return sorted(x for x in map(letter, axis_names(group)) if x) == ["h", "k", "l"]


def axis_names(group: h5py.Group) -> list[str]:
    """Names of the axes in the order of the signal's dimensions; empty if undefined."""
    attribute_value = hdf5_kind.attribute(group, "axes")
    signal = signal_of(group)
    if attribute_value is None and signal is not None:
        attribute_value = hdf5_kind.attribute(signal, "axes")
    if attribute_value is None:
        return []
    names = [
        x.decode("utf-8", "replace") if isinstance(x, bytes) else str(x) for x in attribute_value
    ]
    if len(names) == 1:  # older files: "h:k:l" or "[h,k,l]"
        names = [x.strip() for x in re.split(r"[:,]", names[0].strip("[] "))]
    return names


def letter(name: str) -> str:
    """The index, h, k or l, meant by the name of an axis; empty if none."""
    match = AXIS_NAME.fullmatch(name)
    return match.group(1).lower() if match else ""


def grid_of(path: Path, group: h5py.Group) -> tuple[HklGrid, tuple[int, ...], list[int], str]:
    """Grid of an NXdata, and how its signal must be transposed to match it.

    Returns
    -------
    grid : HklGrid
    order : tuple of int
        Dimensions of the signal along h, k and l.
    falling : list of int
        Axes (0 for h, 1 for k, 2 for l) that run from high to low.
    changes : str
        Description for the history; empty if nothing was changed.
    """
    signal, names = signal_of(group), axis_names(group)
    assert signal is not None
    letters = [letter(name) for name in names]
    order = tuple(letters.index(x) for x in "hkl")
    lines, falling, changes = [], [], []
    if order != (0, 1, 2):
        changes.append(f"axes in the file {', '.join(names)}, transposed to h, k, l")
    for axis, dimension in enumerate(order):
        line, what = _axis(path, group, names[dimension], signal.shape[dimension])
        if len(line) > 1 and line[0] > line[-1]:
            falling.append(axis)
            line = line[::-1]
            what = f"{names[dimension]} is descending and was reversed"
        lines.append(line)
        changes += [what] if what else []
    return HklGrid.from_axes(*lines), order, falling, "; ".join(changes)


def _axis(path: Path, group: h5py.Group, name: str, n: int) -> tuple[NDArray[np.float64], str]:
    """Voxel centres along one axis."""
    axis = group.get(name)
    if not isinstance(axis, h5py.Dataset) or axis.ndim != 1:
        raise MapFileError(f"{path}: {group.name} has no axis {name}, which its attributes name")
    unit = hdf5_kind.attribute_text(axis, "units").lower()
    if "ang" in unit or "å" in unit or "nm" in unit:
        raise MapFileError(
            f"{path}: {axis.name} is in {unit}, not in Miller indices; a map on axes of q "
            "cannot be converted to a grid of hkl"
        )
    values = load(axis, path).astype(np.float64)
    if len(values) == n + 1:
        return (values[1:] + values[:-1]) / 2, f"{name} contains edges; their midpoints are used"
    if len(values) != n:
        raise MapFileError(f"{path}: {axis.name} has {len(values)} values for {n} voxels")
    return values, ""


def read_volume(
    path: Path, dataset: h5py.Dataset, order: tuple[int, ...], falling: list[int]
) -> Array:
    """Values of a dataset, transposed so that h is slowest and l fastest, all ascending."""
    transposed = load(dataset, path).transpose(order)
    return np.ascontiguousarray(np.flip(transposed, tuple(falling)))


def errors_of(group: h5py.Group, signal: h5py.Dataset) -> h5py.Dataset | None:
    """Uncertainties of the signal in the same group, under the names defined by NeXus."""
    base = str(signal.name).rsplit("/", 1)[-1]
    for name in (f"{base}_errors", "errors", hdf5_kind.attribute_text(signal, "uncertainties")):
        found = group.get(name) if name else None
        if isinstance(found, h5py.Dataset) and found.shape == signal.shape:
            return found
    return None
