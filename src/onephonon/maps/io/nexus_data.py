"""NXdata groups with a three-dimensional signal on axes h, k and l in any order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.hdf5_reading import (
    attribute,
    attribute_text,
    attribute_texts,
    check_heaps,
    load,
)
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.remarks import Remark

from ..diffuse import Array
from . import hdf5_kind
from .hdf5_values import scaling_of

#: Units of Miller indices.
MILLER_UNITS = (
    *("", "1", "none", "unitless", "dimensionless", "hkl", "index", "indices", "miller index"),
    *("miller indices", "rlu", "r.l.u.", "r.l.u", "reciprocal lattice units", "lattice units"),
    *("reciprocal lattice unit", "frac", "fractional", "pixel", "pixels", "a.u.", "arb. units"),
    *("a*", "b*", "c*", "2pi/a", "2pi/b", "2pi/c", "2*pi/a", "2*pi/b", "2*pi/c"),
)

#: A length or its inverse, in the spellings of programs: 1/angstrom, A^-1, Å⁻¹, nm-1, 1/m.
LENGTH = re.compile(
    r"ang|[åÅ]|\bnm|nano|\bpm\b|bohr|met(er|re)|(^|[^a-z])(aa?|m|cm|mm|um|µm)\s*(\^|\*\*|-|⁻|$)"
    r"|/\s*(aa?|m|cm)$|inv",
    re.IGNORECASE,
)

#: Ends of names of datasets that stand beside a signal.
BESIDE = ("_errors", "_mask", "_weights", "/errors", "/mask", "/weights")

#: A unit in the label of an axis: "Qh (1/A)", "H [r.l.u.]".
LABEL_UNIT = re.compile(r"[(\[]([^()\[\]]*)[)\]]\s*$")

#: Names of axes that mean h, k, l: h, H, Qh, q_h, miller_h.
AXIS_NAME = re.compile(r"(?:q_?|miller_?)?([hkl])", re.IGNORECASE)


def signal_of(group: h5py.Group) -> h5py.Dataset | None:
    """The signal, named by an attribute of the group or, in older files, of the dataset.

    In files without either it is the only three-dimensional dataset beside named axes h, k and l,
    or, as in netCDF, ``intensity`` or the only one whose dimensions have scales named so.
    """
    name = attribute_text(group, "signal")
    if name and not name.isdecimal():
        found = group.get(name)
        return found if isinstance(found, h5py.Dataset) else None
    datasets = [x for _, x in hdf5_kind.members(group) if isinstance(x, h5py.Dataset)]
    marked = [x for x in datasets if "signal" in x.attrs]
    first = [x for x in marked if attribute_text(x, "signal") == "1"]
    if marked:
        return (first or marked)[0]
    if _are_hkl(attribute_texts(group, "axes")):  # older files without a signal
        stands = [x for x in datasets if x.ndim == 3 and not str(x.name).endswith(BESIDE)]
        return stands[0] if len(stands) == 1 else None
    scaled = [x for x in datasets if x.ndim == 3 and _are_hkl(_scale_names(x))]
    named = [x for x in scaled if str(x.name).endswith("/intensity")]
    found_scaled = named or scaled
    return found_scaled[0] if len(found_scaled) == 1 else None


def is_volume(group: h5py.Group) -> bool:
    """Whether a group is an NXdata with the three axes h, k and l."""
    signal = signal_of(group)
    return signal is not None and signal.ndim == 3 and _are_hkl(axis_names(group))


def _are_hkl(names: list[str]) -> bool:
    return sorted(x for x in map(letter, names) if x) == ["h", "k", "l"]


def axis_names(group: h5py.Group) -> list[str]:
    """Names of the axes in the order of the signal's dimensions; empty if undefined.

    From the attributes `axes` of group or signal, `NAME_indices` of the group, `axis` of the axes
    (both older and newer ways of NeXus), or HDF5's dimension scales.
    """
    signal = signal_of(group)
    names = attribute_texts(group, "axes")
    if not names and signal is not None:
        names = attribute_texts(signal, "axes")
    if len(names) == 1:  # older files: "h:k:l" or "[h,k,l]"
        names = [x.strip() for x in re.split(r"[:,]", names[0].strip("[] "))]
    if names or signal is None:
        return names
    by_dimension = _indices(group)
    if len(by_dimension) < signal.ndim:
        by_dimension = _numbered(group)
    if sorted(by_dimension) == list(range(signal.ndim)):
        return [by_dimension[i] for i in range(signal.ndim)]
    return _scale_names(signal)


def _indices(group: h5py.Group) -> dict[int, str]:
    """Names of axes by the dimension that their attribute `NAME_indices` says."""
    found = {}
    for key in group.attrs:
        name = str(key).removesuffix("_indices")
        values = attribute(group, key) if name != key and letter(name) else None
        if values is not None and values.size == 1 and values.dtype.kind in "iu":
            found[int(values[0])] = name
    return found


def _numbered(group: h5py.Group) -> dict[int, str]:
    """Names of axes by their attribute `axis`, which counts dimensions from 1."""
    found = {}
    for name, member in hdf5_kind.members(group):
        number = attribute_text(member, "axis") if "axis" in member.attrs else ""
        if number.isdecimal() and letter(name):
            found[int(number) - 1] = name
    return found


def _scale_names(dataset: h5py.Dataset) -> list[str]:
    """Names of the dimension scales of a dataset, as netCDF writes them; empty if undefined."""
    if "DIMENSION_LIST" not in dataset.attrs:
        return []
    check_heaps(Path(dataset.file.filename))
    scales = [dimension[0] if len(dimension) else None for dimension in dataset.dims]
    names = [str(x.name) for x in scales if x is not None and x.parent == dataset.parent]
    return [name.rsplit("/", 1)[-1] for name in names] if len(names) == dataset.ndim else []


def letter(name: str) -> str:
    """The index, h, k or l, meant by the name of an axis; empty if none."""
    match = AXIS_NAME.fullmatch(name)
    return match.group(1).lower() if match else ""


def grid_of(
    path: Path, group: h5py.Group, remarks: list[Remark]
) -> tuple[HklGrid, tuple[int, ...], list[int], str]:
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
    _check_indices(path, group, names)
    letters = [letter(name) for name in names]
    order = tuple(letters.index(x) for x in "hkl")
    lines, falling, changes = [], [], []
    if order != (0, 1, 2):
        changes.append(f"axes in the file {', '.join(names)}, transposed to h, k, l")
    for axis, dimension in enumerate(order):
        line, what = _axis(path, group, names[dimension], signal.shape[dimension], remarks)
        if len(line) > 1 and line[0] > line[-1]:
            falling.append(axis)
            line = line[::-1]
            what = f"{names[dimension]} is descending and was reversed"
        lines.append(line)
        changes += [what] if what else []
    return HklGrid.from_axes(*lines), order, falling, "; ".join(changes)


def _check_indices(path: Path, group: h5py.Group, names: list[str]) -> None:
    """Check that the attributes `NAME_indices` agree with the order of the axes."""
    for dimension, name in _indices(group).items():
        if name in names and names.index(name) != dimension:
            raise MapFileError(
                f"{path}: {group.name} says in axes that {name} is dimension {names.index(name)}, "
                f"in {name}_indices that it is {dimension}; correct one of them"
            )


def _axis(
    path: Path, group: h5py.Group, name: str, n: int, remarks: list[Remark]
) -> tuple[NDArray[np.float64], str]:
    """Voxel centres along one axis."""
    axis = group.get(name)
    if not isinstance(axis, h5py.Dataset) or axis.ndim != 1:
        raise MapFileError(f"{path}: {group.name} has no axis {name}, which its attributes name")
    _check_unit(path, axis, remarks)
    values = load(axis, path).astype(np.float64)
    scaling = scaling_of(path, axis, remarks)
    if scaling is not None:
        values = values * scaling[0] + scaling[1]
    if len(values) == n + 1:
        return (values[1:] + values[:-1]) / 2, f"{name} contains edges; their midpoints are used"
    if len(values) != n:
        raise MapFileError(f"{path}: {axis.name} has {len(values)} values for {n} voxels")
    return values, ""


def _check_unit(path: Path, axis: h5py.Dataset, remarks: list[Remark]) -> None:
    """Check that an axis is in Miller indices, by its units or the unit in its label."""
    unit = attribute_text(axis, "units").strip()
    label = LABEL_UNIT.search(attribute_text(axis, "long_name"))
    if not unit and label is not None:
        unit = label.group(1).strip()
    plain = unit.lower().replace("_", " ")
    if plain in MILLER_UNITS:
        return
    if LENGTH.search(plain):
        raise MapFileError(
            f"{path}: {axis.name} is in {unit}, not in Miller indices; a map on axes of q "
            "cannot be converted to a grid of hkl"
        )
    text = f"units {unit!r} of {axis.name} are Miller indices (r.l.u.)"
    remarks.append(Remark("assumed", text, matters=True))


def turned(values: NDArray[Any], order: tuple[int, ...], falling: list[int]) -> Array:
    """Values transposed so that h is slowest and l fastest, all ascending."""
    return np.ascontiguousarray(np.flip(values.transpose(order), tuple(falling)))


def errors_of(group: h5py.Group, signal: h5py.Dataset) -> h5py.Dataset | None:
    """Uncertainties of the signal in the same group, under the names defined by NeXus."""
    base = str(signal.name).rsplit("/", 1)[-1]
    for name in (f"{base}_errors", "errors", attribute_text(signal, "uncertainties")):
        found = group.get(name) if name else None
        if isinstance(found, h5py.Dataset) and found.shape == signal.shape:
            return found
    return None
