"""Maps in NeXus files: mdx2's tables and maps, NXdata of NeXpy, nxrefine and others.

A map is a table or an NXdata group. A table is a group with columns ``h``, ``k``, ``l`` and
``intensity`` (mdx2's ``hkl_table``: also ``intensity_error``, ``count``, ``group_0_intensity`` and
``group_1_intensity``, and ``ndiv``, the voxels per Miller index). An NXdata group has a
three-dimensional signal and its axes, identified by name, in any order. mdx2 stores each
column of a map as a separate NXdata, and cell and space group in a group ``crystal``, usually in
another file (geometry.nxs).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.hdf5_reading import attribute_text, dataset_text, load
from onephonon.core.safe_reading import reading, without_infinite
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.remarks import Remark

from ..diffuse import Array, DiffuseMap
from . import hdf5_kind
from .hdf5_values import masked, scaling_of, values_of, weights_of
from .hkl_table import map_of_rows
from .nexus_data import axis_names, errors_of, grid_of, is_volume, signal_of, turned
from .overrides import Overrides

#: Group for information that NeXus and mdx2 do not define.
OWN_GROUP = "onephonon"

#: mdx2's names of the half-sets.
HALVES = ("group_0_intensity", "group_1_intensity")

#: Columns of a table that are not values.
INDICES = ("h", "k", "l", "ndiv")


def read(path: Path, overrides: Overrides) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    with reading(path, "a NeXus file"), h5py.File(path, "r") as file:
        group, column = _choose(path, file, overrides.dataset)
        cell, spacegroup = hdf5_kind.crystal(file) or (None, "")
        details = _own_metadata(path, group)
        others = hdf5_kind.other_cells(file)
        if others and overrides.cell is None:
            text = f"other cells in the file: {'; '.join(others)}"
            details["remarks"].append(Remark("ignored", text, matters=True))
        details["spacegroup"] = overrides.spacegroup or spacegroup
        details["history"].append(
            f"read from {path.name}: NeXus, {group.name}{f', column {column}' * bool(column)}"
        )
        taken = overrides.need_cell(path, cell, details["remarks"])
        if _is_table(group):
            return _of_table(path, group, column, taken, overrides, details)
        overrides.allow(path, "an NXdata defines its sampling by its axes", "dataset")
        return _of_volume(path, group, column, taken, details)


def _choose(path: Path, file: h5py.File, dataset: str | None) -> tuple[h5py.Group, str]:
    """The group that contains the map, and the column if requested."""
    groups = {name: g for name, g in hdf5_kind.iter_groups(file) if _is_table(g) or is_volume(g)}
    if dataset is not None:
        wanted = dataset.strip("/")
        for matches in (str.__eq__, _ends_with):
            found = _matching(groups, wanted, matches)
            if len(found) == 1:
                return found[0]
    elif len(groups) == 1:
        return next(iter(groups.values())), ""
    else:
        # mdx2 stores sigma, counts and half-sets as separate maps.
        for liked in (_default(file), "intensity"):
            named = [name for name in groups if liked and _ends_with(name, liked)]
            if len(named) == 1:
                return groups[named[0]], ""
    held = ", ".join(f"{name} ({_describe(g)})" for name, g in groups.items())
    if not held:
        raise MapFileError(f"{path}: it holds no map of hkl, but {_instead(file)}")
    not_found = f"{dataset!r} is not one of them; " if dataset is not None else ""
    raise MapFileError(
        f"{path}: it holds {len(groups)} tables or maps: {held}; {not_found}choose with dataset= "
        "(--dataset)"
    )


def _ends_with(path: str, end: str) -> bool:
    return f"/{path.strip('/')}".endswith(f"/{end.strip('/')}")


def _matching(
    groups: dict[str, h5py.Group], wanted: str, matches: Callable[[str, str], bool]
) -> list[tuple[h5py.Group, str]]:
    """Groups whose path matches, or else columns in them."""
    found = [(g, "") for name, g in groups.items() if matches(name.strip("/"), wanted)]
    return found or [
        (group, column)
        for name, group in groups.items()
        for column in group
        if column not in INDICES and matches(f"{name}/{column}".strip("/"), wanted)
    ]


def _default(file: h5py.File) -> str:
    """Path to which the NeXus attributes `default` lead."""
    at: Any = file
    for _ in range(hdf5_kind.MAX_DEPTH):
        below = at.get(attribute_text(at, "default") or ".")
        if not isinstance(below, h5py.Group) or below == at:
            break
        at = below
    return str(at.name).strip("/")


def _is_table(group: h5py.Group) -> bool:
    """Whether a group has columns h, k and l, and is not a volume."""
    columns = [group.get(name) for name in "hkl"]
    return all(isinstance(c, h5py.Dataset) and c.ndim == 1 for c in columns) and not (
        signal_of(group) is not None
    )


def _describe(group: h5py.Group) -> str:
    if _is_table(group):
        return f"{len(group['h'])} rows"
    signal = signal_of(group)
    assert signal is not None
    return f"{'x'.join(str(n) for n in signal.shape)} along {', '.join(axis_names(group))}"


def _instead(file: h5py.File) -> str:
    """Describe the content of a file without a map."""
    kinds = []
    for name, group in hdf5_kind.iter_groups(file):
        kind = attribute_text(group, "NX_class")
        signal = signal_of(group)
        if signal is not None:
            axes = ", ".join(axis_names(group)) or "unnamed axes"
            kinds.append(f"{name} ({kind} of {signal.shape} along {axes})")
        elif kind not in ("", "NXroot", "NXentry"):
            kinds.append(f"{name} ({kind})")
        for key in group:
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink) and group.get(key) is None:
                kinds.append(f"{name}/{key} (in the file {link.filename}, which is missing)")
    return ", ".join(kinds[:8]) or "nothing"


def _of_table(
    path: Path,
    group: h5py.Group,
    column: str,
    cell: tuple[float, ...],
    overrides: Overrides,
    details: dict[str, Any],
) -> DiffuseMap:
    overrides.allow(path, "a table of hkl needs none", "dataset", "sampling")
    remarks = details["remarks"]
    hkl = np.stack([_column(path, group, name, []) for name in "hkl"], axis=1).astype(np.float64)
    columns = _columns_of_table(path, group, column, details["history"], remarks)
    grid: HklGrid | None = details.pop("grid")
    points = details.pop("points")
    if points is not None:  # a list written by onephonon, exact
        return DiffuseMap.at_points(points, cell=cell, **columns, **details)
    per_index: Sequence[float] | None = overrides.per_index
    if per_index is None and "ndiv" in group:
        per_index = [float(n) for n in _column(path, group, "ndiv", [])]
        if len(per_index) != 3 or not min(per_index) > 0:
            raise MapFileError(f"{path}: ndiv {per_index} is not three positive numbers")
    return map_of_rows(path, hkl, columns, cell, per_index=per_index, grid=grid, **details)


def _columns_of_table(
    path: Path, group: h5py.Group, column: str, history: list[str], remarks: list[Remark]
) -> dict[str, Any]:
    """Intensity, sigma, counts and half-sets."""

    def taken(name: str) -> NDArray[Any]:
        return _column(path, group, name, remarks)

    if column:
        error = f"{column}_error"
        sigma = {"sigma": taken(error)} if error in group else {}
        return {"intensity": taken(column)} | sigma
    if "intensity" in group:
        columns = {"intensity": taken("intensity")}
        if "intensity_error" in group:
            columns["sigma"] = taken("intensity_error")
    elif all(name in group for name in ("counts", "background_counts", "scale")):
        # mdx2's reintegrated tables store the raw counts.
        counted = taken("counts").astype(np.float64)
        scale = taken("scale").astype(np.float64)
        scale[scale == 0] = np.nan
        background = taken("background_counts")
        columns = {"intensity": (counted - background) / scale, "sigma": np.sqrt(counted) / scale}
        history.append("intensity = (counts - background_counts) / scale, sigma = √counts / scale")
    else:
        raise MapFileError(
            f"{path}: {group.name} has no column intensity; it holds {', '.join(group)}; name one "
            "with dataset= (--dataset)"
        )
    if "sigma" in columns:
        columns["sigma"], infinite = without_infinite(columns["sigma"])
        if infinite:
            remarks.append(Remark("changed", f"{infinite} infinite sigma treated as unknown"))
    for name in ("count", "multiplicity"):
        if name in group and "counts" not in columns:
            columns["counts"] = taken(name)
    halves = {}
    if all(name in group for name in HALVES):
        halves["halves"] = tuple(taken(name) for name in HALVES)
    return columns | halves


def _column(path: Path, group: h5py.Group, name: str, remarks: list[Remark]) -> NDArray[Any]:
    """Values of a column; checks that there are as many as of h."""
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1:
        raise MapFileError(f"{path}: {group.name}/{name} is not a column of numbers")
    if name != "ndiv" and len(dataset) != len(group["h"]):
        raise MapFileError(
            f"{path}: {dataset.name} has {len(dataset)} values, h has {len(group['h'])}"
        )
    return values_of(path, dataset, remarks)


def _of_volume(
    path: Path, group: h5py.Group, column: str, cell: tuple[float, ...], details: dict[str, Any]
) -> DiffuseMap:
    remarks = details["remarks"]
    grid, order, falling, stored = grid_of(path, group, remarks)
    kept, _ = details.pop("grid"), details.pop("points")
    if kept is not None and kept.matches(grid):
        grid = kept
    if stored:
        details["history"].append(stored)
    signal = group[column] if column else signal_of(group)
    if not isinstance(signal, h5py.Dataset) or signal.ndim != 3:
        raise MapFileError(f"{path}: {group.name}/{column} is not an array along h, k and l")
    hidden = masked(path, group, signal, remarks)
    weights = weights_of(group, signal)
    per_weight = None if weights is None else _per_weight(path, weights, remarks)

    def values(dataset: h5py.Dataset, weighted: bool = True) -> Array:
        if dataset.shape != signal.shape:
            raise MapFileError(f"{path}: {dataset.name} {dataset.shape}, signal {signal.shape}")
        found = values_of(path, dataset, remarks)
        if per_weight is not None and weighted:
            found = found * per_weight
        if hidden is not None and hidden.any():
            found = np.where(hidden, np.nan, found)
        return turned(found, order, falling)

    beside: dict[str, Any] = {}
    companions = {} if column else _companions(group, grid, path)
    sigma = errors_of(group, signal) or companions.get("intensity_error")
    if sigma is not None:
        beside["sigma"], infinite = without_infinite(values(sigma))
        if infinite:
            remarks.append(Remark("changed", f"{infinite} infinite sigma treated as unknown"))
        if scaling_of(path, signal, []) != scaling_of(path, sigma, []):
            text = f"{sigma.name} is in the final units, without the factor of {signal.name}"
            remarks.append(Remark("assumed", text, matters=True))
    if "count" in companions:
        beside["counts"] = values(companions["count"], weighted=False)
    if all(name in companions for name in HALVES):
        beside["halves"] = tuple(values(companions[name]) for name in HALVES)
    return DiffuseMap.on_grid(values(signal), grid, cell, **beside, **details)


def _per_weight(path: Path, weights: h5py.Dataset, remarks: list[Remark]) -> NDArray[np.float64]:
    """Inverse of the weights by which stored sums are divided; NaN where there was no weight."""
    found = load(weights, path).astype(np.float64)
    known = found > 0
    text = f"values divided by {weights.name}; {int((~known).sum())} of no weight are missing"
    remarks.append(Remark("changed", text, matters=True))
    return np.asarray(np.where(known, 1 / np.where(known, found, 1.0), np.nan))


def _companions(group: h5py.Group, grid: HklGrid, path: Path) -> dict[str, h5py.Dataset]:
    """Signals of the maps that mdx2 stores next to ``intensity``, on the same grid."""
    found: dict[str, h5py.Dataset] = {}
    if not str(group.name).endswith("/intensity"):
        return found
    for name in ("intensity_error", "count", *HALVES):
        other = group.parent.get(name)
        if isinstance(other, h5py.Group) and is_volume(other):
            signal = signal_of(other)
            if signal is not None and axis_names(other) == axis_names(group):
                if not grid_of(path, other, [])[0].matches(grid):
                    raise MapFileError(f"{path}: {other.name} is on another grid than intensity")
                found[name] = signal
    return found


def _own_metadata(path: Path, group: h5py.Group) -> dict[str, Any]:
    """Metadata from the group written by onephonon, if the file has one."""
    details: dict[str, Any] = {"history": [], "remarks": [], "grid": None, "points": None}
    kept = group.parent.get(OWN_GROUP)
    if not isinstance(kept, h5py.Group):
        return details
    stored = json.loads(dataset_text(kept, "map"))
    if "shape" in stored:
        origin, step, shape = (tuple(stored.pop(x)) for x in ("origin", "step", "shape"))
        details["grid"] = HklGrid(origin, step, shape)
    if "q_vectors" in kept:
        details["points"] = load(kept["q_vectors"], path)
    return details | {name: stored[name] for name in ("history", "units", "parameters", "version")}
