"""Maps as reflections of a supercell in MTZ files: H = n_h h, with cell axes n times as long.

A voxel of a map with n voxels per Miller index is a reflection of the cell that is n times as
long. Columns are those of mdx2.to_mtz (IMEAN, SIGIMEAN, IMEAN_half1, IMEAN_half2) and NOBS. All
values are in single precision. The history of the file contains the exact grid and cell.

The header's space group is the symmorphic primitive group of the same class (P 4 for P 41, P 2 for
C 2): the voxels between Bragg points obey no screw axis, glide plane or centring.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.files import replacing
from onephonon.core.safe_reading import reading
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.remarks import Remark
from onephonon.crystal.symmetry import spacegroup_name

from ..diffuse import DiffuseMap
from .header import Header
from .hkl_table import map_of_rows
from .overrides import STEP_TOLERANCE, Overrides

#: Columns written, and their MTZ types (intensity, standard deviation, whole number).
COLUMNS = {
    "intensity": ("IMEAN", "J"),
    "sigma": ("SIGIMEAN", "Q"),
    "half1": ("IMEAN_half1", "J"),
    "half2": ("IMEAN_half2", "J"),
    "counts": ("NOBS", "R"),
}

#: Types of columns of intensities: of a reflection, and of one of a Friedel pair.
INTENSITIES = ("J", "K")

#: Other types, for messages.
KINDS = {"F": "amplitudes", "G": "amplitudes", "Q": "standard deviations", "P": "phases"}

#: Largest whole number that is exact in single precision, the type of indices in MTZ.
MAX_INDEX = 2**24


def read(path: Path, overrides: Overrides) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    overrides.allow(path, "an MTZ has no origin", "sampling", "dataset")
    with reading(path, "an MTZ file"):
        mtz = _open(path)
        own_header = Header.find(mtz.history, path)
        remarks: list[Remark] = []
        columns, description = _columns(path, mtz, overrides.dataset, remarks)
        indices = [column for column in mtz.columns if column.type == "H"]
        hkl = np.stack([np.array(column, dtype=np.float64) for column in indices], axis=1)
        history = [f"read from {path.name}: MTZ, {description}"]
        group = mtz.spacegroup_name
        spacegroup = overrides.spacegroup or (spacegroup_name(group) if group else "")
        if own_header is not None and own_header.grid is not None:
            grid = own_header.grid
            cell = overrides.need_cell(path, own_header.cell, remarks)
            hkl *= grid.step
            return map_of_rows(
                path,
                hkl,
                columns,
                cell,
                grid=grid,
                spacegroup=overrides.spacegroup or own_header.spacegroup,
                units=own_header.units,
                history=history,
                remarks=remarks,
            )
        per_index, cell, how = _supercell(path, mtz.cell.parameters, overrides)
        history.append(how)
        return map_of_rows(
            path,
            hkl / per_index,
            columns,
            cell,
            per_index=per_index,
            spacegroup=spacegroup,
            history=history,
            remarks=remarks,
        )


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write the voxels that have values.

    Raises
    ------
    InputError
        For a list.
    MapFileError
        If the grid is not that of a supercell, or values exceed single precision.
    FileError
        If the file exists and `force` is not set.
    """
    grid, cell = diffuse.require_grid()
    per_index = _whole(grid, path)
    mtz = gemmi.Mtz(with_base=True)
    mtz.title = "diffuse intensity on a supercell's reciprocal lattice"
    mtz.cell = gemmi.UnitCell(*(a * n for a, n in zip(cell, per_index, strict=False)), *cell[3:])
    mtz.spacegroup = _symmorphic(diffuse.spacegroup)
    mtz.history = Header.of(diffuse).lines()
    mtz.add_dataset("diffuse")
    halves = diffuse.halves or (None, None)
    arrays = {
        "intensity": diffuse.intensity,
        "sigma": diffuse.sigma,
        "half1": halves[0],
        "half2": halves[1],
        "counts": diffuse.counts,
    }
    held = {name: values.reshape(-1) for name, values in arrays.items() if values is not None}
    for name in held:
        mtz.add_column(*COLUMNS[name])
    rows = np.zeros(grid.size, dtype=bool)
    for values in held.values():
        rows |= ~np.isnan(values)
    kept = np.flatnonzero(rows)
    data = np.empty((len(kept), 3 + len(held)), dtype=np.float32)
    index = np.unravel_index(kept, grid.shape)
    first = [round(o / s) for o, s in zip(grid.origin, grid.step, strict=True)]
    for axis in range(3):
        data[:, axis] = index[axis] + first[axis]
    with np.errstate(over="ignore"):
        for column, values in enumerate(held.values()):
            data[:, 3 + column] = values[kept]
    if np.isinf(data).any():
        raise MapFileError(f"{path}: values do not fit into MTZ's single precision; scale the map")
    mtz.set_data(data)
    with replacing(path, force) as temporary:
        temporary.write_bytes(mtz.write_to_bytes())


def _open(path: Path) -> gemmi.Mtz:
    """Read an MTZ after checking its size against the header."""
    head = gemmi.read_mtz_file(str(path), with_data=False)
    claimed = 4 * len(head.columns) * head.nreflections
    size = path.stat().st_size
    if claimed > size or head.nreflections < 1 or len(head.columns) < 4:
        raise MapFileError(
            f"{path}: its header states {head.nreflections} reflections of {len(head.columns)} "
            f"columns, which do not fit into {size} bytes or are not a map; it is damaged or "
            "truncated"
        )
    with path.open("rb") as file:
        file.seek(claimed)
        if b"MTZENDOFHEADERS" not in file.read():
            raise MapFileError(f"{path}: its header has no end; the file is truncated")
    mtz = gemmi.read_mtz_file(str(path))
    indices = [column.label for column in mtz.columns if column.type == "H"]
    if indices != ["H", "K", "L"]:
        raise MapFileError(
            f"{path}: its columns of indices are {', '.join(indices) or 'none'}, not H, K and L"
        )
    if len(mtz.batches):
        raise MapFileError(
            f"{path}: {len(mtz.batches)} batches of unmerged observations; merge them first"
        )
    return mtz


def _columns(
    path: Path, mtz: gemmi.Mtz, dataset: str | None, remarks: list[Remark]
) -> tuple[dict[str, NDArray[Any]], str]:
    """Intensity, sigma, counts and half-sets, and the columns used."""
    by_label = {column.label: column for column in mtz.columns}
    labels = {name: label for name, (label, _) in COLUMNS.items() if label in by_label}
    if dataset is not None:
        labels = {"intensity": dataset} if dataset in by_label else {}
    elif "intensity" not in labels:
        intensities = [c.label for c in mtz.columns if c.type == "J"]
        labels = {"intensity": intensities[0]} if len(intensities) == 1 else {}
    if not labels.get("intensity"):
        held = ", ".join(f"{c.label} ({c.type})" for c in mtz.columns if c.type != "H")
        raise MapFileError(
            f"{path}: columns are {held}; name the one of intensities with dataset= (--dataset)"
        )
    main = labels["intensity"]
    kind = by_label[main].type
    if kind not in INTENSITIES:
        text = f"column {main} of type {kind} ({KINDS.get(kind, 'another kind')}) as intensities"
        remarks.append(Remark("read", text, matters=True))
    if "sigma" not in labels and f"SIG{main}" in by_label:
        labels["sigma"] = f"SIG{main}"
    columns: dict[str, Any] = {
        name: _with_missing(np.array(by_label[label], dtype=np.float32), label, mtz.valm, remarks)
        for name, label in labels.items()
    }
    halves = [columns.pop(name, None) for name in ("half1", "half2")]
    if halves[0] is not None and halves[1] is not None:
        columns["halves"] = tuple(halves)
    return columns, f"columns {', '.join(labels.values())}"


def _with_missing(
    values: NDArray[np.float32], label: str, mark: float, remarks: list[Remark]
) -> NDArray[np.float32]:
    """Values of a column, NaN where they are the header's mark of missing values (VALM)."""
    missing = values == np.float32(mark)
    if missing.any():
        text = f"{int(missing.sum())} values of {label} are VALM {mark:g}: missing"
        remarks.append(Remark("read", text))
    return np.where(missing, np.float32(np.nan), values)


def _supercell(
    path: Path, cell: tuple[float, ...], overrides: Overrides
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Voxels per index, the crystal's cell, and how they were determined."""
    if overrides.per_index is not None:
        single = tuple(a / n for a, n in zip(cell, overrides.per_index, strict=False)) + cell[3:]
        description = ", ".join(f"{n:g}" for n in overrides.per_index)
        return (
            overrides.per_index,
            overrides.cell or single,
            f"{description} voxels per index as given",
        )
    if overrides.cell is None:
        return (1.0, 1.0, 1.0), cell, "assumed: one voxel per index, no supercell"
    ratios = [a / b for a, b in zip(cell[:3], overrides.cell[:3], strict=True)]
    angle_error = max(abs(a - b) for a, b in zip(cell[3:], overrides.cell[3:], strict=True))
    per_index = tuple(float(round(x)) for x in ratios)
    off = [abs(x / n - 1) for x, n in zip(ratios, per_index, strict=True) if n]
    if len(off) < 3 or max(off) > STEP_TOLERANCE or angle_error > 2:
        raise MapFileError(
            f"{path}: its cell {tuple(round(x, 3) for x in cell)} is no supercell of the cell, "
            f"{overrides.cell}, that was given; correct it, or give sampling= (--per-index)"
        )
    description = ", ".join(f"{n:g}" for n in per_index)
    return (
        per_index,
        overrides.cell,
        f"{description} voxels per index: its cell divided by the given cell",
    )


def _whole(grid: HklGrid, path: Path) -> list[int]:
    """Whole numbers of voxels per index; the grid must contain hkl = 0, 0, 0."""
    per_index = [1 / step for step in grid.step]
    first = [o / s for o, s in zip(grid.origin, grid.step, strict=True)]
    ends = [f + n for f, n in zip(first, grid.shape, strict=True)]
    if any(abs(x - round(x)) > 1e-6 or not round(x) for x in per_index) or any(
        abs(x - round(x)) > 1e-6 for x in first
    ):
        raise MapFileError(
            f"{path}: an MTZ needs a whole number of voxels per index and a grid that contains "
            f"hkl = 0, 0, 0; this map has {', '.join(f'{n:g}' for n in per_index)}: {grid}; "
            "resample it"
        )
    if max(abs(x) for x in (*first, *ends)) > MAX_INDEX:
        raise MapFileError(f"{path}: the indices of {grid} are too large for an MTZ; crop the map")
    return [round(n) for n in per_index]


def _symmorphic(name: str) -> gemmi.SpaceGroup:
    """Primitive group of the same class without screw axes and glide planes."""
    group: gemmi.SpaceGroup | None = gemmi.find_spacegroup_by_name(name)
    if group is None:
        return gemmi.SpaceGroup("P 1")
    operations = group.operations().derive_symmorphic()
    operations.cen_ops = [[0, 0, 0]]
    return gemmi.find_spacegroup_by_ops(operations) or gemmi.SpaceGroup("P 1")
