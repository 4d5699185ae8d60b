"""Maps of mdx-lib (MATLAB), as deposited in the CXIDB, in HDF5; read only.

A file contains one or more maps, each a group below ``/maps`` with datasets ``I``, ``sigma`` and
the random half-sets ``I1`` and ``I2``, and attributes ``grid_size``, ``grid_ori`` (hkl of the first
voxel) and ``grid_delta`` (Miller indices per voxel), in the order h, k, l. ``/crystal`` has the
cell and the number of the space group as attributes. MATLAB stores its first index fastest, HDF5
its last, so the shape of the datasets is ``grid_size`` reversed: l slowest, h fastest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from onephonon.core.errors import MapFileError
from onephonon.core.hdf5_reading import attribute, attribute_text
from onephonon.core.safe_reading import reading, without_infinite
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.remarks import Remark

from ..diffuse import Array, DiffuseMap
from . import hdf5_kind
from .hdf5_values import values_of
from .overrides import Overrides

#: Units of mdx-lib and their name in onephonon.
UNITS = {"electron scattering per unit cell": "e^2 per cell"}

#: Maximum plausible number of voxels along an axis.
MAX_AXIS_LENGTH = 1_000_000


def read(path: Path, overrides: Overrides) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    overrides.allow(path, "mdx-lib files contain the grid", "dataset")
    with reading(path, "an mdx-lib map"), h5py.File(path, "r") as file:
        group = _choose(path, file, overrides.dataset)
        cell, spacegroup = hdf5_kind.crystal(file) or (None, "")
        grid = _grid(path, group)
        history = [f"read from {path.name}: mdx-lib map {group.name}"]
        remarks: list[Remark] = []
        intensity = _volume(path, group, "I", grid, remarks)
        if intensity is None:
            raise MapFileError(f"{path}: {group.name} has no dataset I; {_held(group)}")
        sigma = _volume(path, group, "sigma", grid, remarks)
        if sigma is not None:
            sigma, infinite = without_infinite(sigma)
            if infinite:
                remarks.append(Remark("changed", f"{infinite} infinite sigma treated as unknown"))
        halves = [_volume(path, group, name, grid, remarks) for name in ("I1", "I2")]
        whole = halves[0] is not None and halves[1] is not None
        units = attribute_text(group, "units")
        return DiffuseMap.on_grid(
            intensity,
            grid,
            overrides.need_cell(path, cell, remarks),
            spacegroup=overrides.spacegroup or spacegroup,
            sigma=sigma,
            halves=(halves[0], halves[1]) if whole else None,  # type: ignore[arg-type]
            units=UNITS.get(units, units),
            history=history,
            remarks=remarks,
        )


def _choose(path: Path, file: h5py.File, dataset: str | None) -> h5py.Group:
    """The requested map, or the only one."""
    found, others = {}, []
    for name, group in hdf5_kind.iter_groups(file):
        if all(x in group.attrs for x in hdf5_kind.GRID_ATTRIBUTES):
            kind = attribute_text(group, "type", "intensity")
            if kind == "intensity":
                found[name] = group
            else:
                others.append(f"{name} ({kind})")
    if dataset is not None:
        matches = [g for n, g in found.items() if n.strip("/").endswith(dataset.strip("/"))]
        exact = [g for n, g in found.items() if n.strip("/") == dataset.strip("/")]
        if len(exact or matches) == 1:
            return (exact or matches)[0]
    elif len(found) == 1:
        return next(iter(found.values()))
    names = ", ".join(f"{n} {_size(g)}" for n, g in found.items()) or "none of intensities"
    if others:
        names += f"; not maps of intensities: {', '.join(others)}"
    raise MapFileError(
        f"{path}: it holds {len(found)} maps ({names}); "
        + (f"{dataset!r} is not one of them; " if dataset is not None else "")
        + "choose one with dataset= (--dataset)"
    )


def _size(group: h5py.Group) -> str:
    size = attribute(group, "grid_size")
    return "x".join(str(n) for n in (size if size is not None else ()))


def _grid(path: Path, group: h5py.Group) -> HklGrid:
    values: dict[str, list[Any]] = {}
    for name in hdf5_kind.GRID_ATTRIBUTES:
        attribute_value = attribute(group, name)
        if (
            attribute_value is None
            or attribute_value.size != 3
            or attribute_value.dtype.kind not in "fiu"
            or not np.isfinite(attribute_value).all()
        ):
            raise MapFileError(
                f"{path}: {name} of {group.name} is {attribute_value}, not three numbers"
            )
        values[name] = attribute_value.tolist()
    size, origin, delta = (values[name] for name in hdf5_kind.GRID_ATTRIBUTES)
    if not all(1 <= n <= MAX_AXIS_LENGTH and n == int(n) for n in size) or min(delta) <= 0:
        raise MapFileError(
            f"{path}: grid_size {size} and grid_delta {delta} of {group.name} do not define a grid"
        )
    # Converting through the axes rounds single precision to simple fractions.
    lines = zip(origin, delta, size, strict=True)
    return HklGrid.from_axes(*(o + d * np.arange(int(n)) for o, d, n in lines))


def _volume(
    path: Path, group: h5py.Group, name: str, grid: HklGrid, remarks: list[Remark]
) -> Array | None:
    """A dataset in the order h, k, l; None if there is none."""
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        return None
    backwards = grid.shape[::-1]
    if dataset.shape == backwards:
        how = "axes reversed, as MATLAB writes h fastest"
        values = np.ascontiguousarray(values_of(path, dataset, remarks).T)
    elif dataset.shape == grid.shape:
        how = "axes not reversed: the array has the shape of grid_size, unlike MATLAB's"
        values = values_of(path, dataset, remarks)
    else:
        raise MapFileError(
            f"{path}: {dataset.name} has shape {dataset.shape}, grid_size is {grid.shape}; MATLAB "
            f"would write {backwards}"
        )
    if how not in (remark.text for remark in remarks):
        remarks.append(Remark("read", how))
    return values


def _held(group: h5py.Group) -> str:
    return f"it holds {', '.join(sorted(group)) or 'nothing'}"
