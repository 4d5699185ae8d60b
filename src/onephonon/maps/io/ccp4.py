"""Maps in CCP4 and MRC files: X, Y, Z are h, k, l, and the cell in the header is in 1/Å.

A voxel is at hkl = (start + index) * step. The header's cell is that of the whole grid in
reciprocal space, as mdx-lib writes it: its lengths are |a*|, |b*|, |c*| times the Miller indices
spanned by the M voxels of the grid, its angles those of the reciprocal cell. The steps in Miller
indices follow from it and the cell of the crystal. Values are in single precision, missing ones
NaN; files written by onephonon contain the exact grid and cell in the labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.files import replacing
from onephonon.core.safe_reading import reading
from onephonon.crystal.cell import UnitCell, numpy_cell
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.remarks import Remark

from ..diffuse import DiffuseMap
from .header import Header
from .overrides import SAMPLING_HINT, Overrides, close_step

#: Words of the header (counted from 1) and bytes per voxel of each mode.
SHAPE, MODE, START, M, LENGTHS, ANGLES, ORDER, SYMMETRY = 1, 4, 5, 8, 11, 14, 17, 24
EXTREMES, GROUP, SKEW, ORIGIN, N_LABELS, LABELS = 20, 23, 25, 50, 56, 57
BYTES = {0: 1, 1: 2, 2: 4, 6: 2}
HEADER_BYTES = 1024
MAX_LABELS, LABEL_WIDTH = 10, 80

#: Tolerance of the first voxel in ORIGIN, voxels.
WHOLE_TOLERANCE = 0.02

#: Tolerance of cell angles, degrees.
SAME_ANGLE = 2.0


def read(path: Path, overrides: Overrides) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    overrides.allow(path, "a CCP4 map has its own origin", "sampling")
    with reading(path, "a CCP4 or MRC map"):
        _check_header(path)
        file = gemmi.read_ccp4_map(str(path))
        order = [file.header_i32(ORDER + i) for i in range(3)]
        if sorted(order) != [1, 2, 3]:
            raise MapFileError(f"{path}: its axes are {order}, not X, Y and Z in some order")
        axis_order = [order.index(axis) for axis in (1, 2, 3)]
        remarks = _header_remarks(path, file)
        stored = _unsigned(file, np.array(file.grid.array), remarks)
        values = np.ascontiguousarray(np.transpose(stored, axis_order))
        start = [file.header_i32(START + i) for i in axis_order]
        history = [f"read from {path.name}: CCP4/MRC, X, Y, Z are h, k, l"]
        own_header = Header.find(_labels(file), path)
        if (
            own_header is not None
            and own_header.grid is not None
            and own_header.grid.shape == values.shape
        ):
            grid = own_header.grid
            cell = overrides.need_cell(path, own_header.cell, remarks)
        else:
            cell = overrides.need_cell(path)
            grid, how = _grid(path, file, overrides, cell, (start, values.shape))
            history.append(how)
        return DiffuseMap.on_grid(
            values,
            grid,
            cell,
            spacegroup=overrides.spacegroup
            or (own_header.spacegroup if own_header is not None else ""),
            units=own_header.units if own_header is not None else "",
            history=history,
            remarks=remarks,
        )


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write the intensities of a map on a grid, h fastest, as other programs expect.

    Raises
    ------
    InputError
        For a list.
    MapFileError
        If the grid does not go through hkl = 0, 0, 0, or values exceed single precision.
    FileError
        If the file exists and `force` is not set.
    """
    grid, cell = diffuse.require_grid()
    first = [o / s for o, s in zip(grid.origin, grid.step, strict=True)]
    if any(abs(x - round(x)) > 1e-6 for x in first):
        raise MapFileError(
            f"{path}: a CCP4 map needs a grid that contains hkl = 0, 0, 0, and {grid} "
            "does not; resample it"
        )
    with np.errstate(over="ignore"):
        values = diffuse.intensity.astype(np.float32)
    if np.isinf(values).any():
        raise MapFileError(f"{path}: values do not fit into single precision; scale the map")
    lengths, angles = _reciprocal(cell)
    spans = [a * s * n for a, s, n in zip(lengths, grid.step, grid.shape, strict=True)]
    labels = ["diffuse intensity, X Y Z are h k l, cell in 1/A", *Header.of(diffuse).lines()]
    if len(labels) > MAX_LABELS:
        raise MapFileError(f"{path}: the map's units or space group are too long for CCP4 labels")
    file = gemmi.Ccp4Map()
    file.grid = gemmi.FloatGrid(np.ascontiguousarray(values))
    file.grid.unit_cell.set(*spans, *angles)
    file.grid.spacegroup = gemmi.SpaceGroup("P 1")
    file.update_ccp4_header()
    for axis in range(3):
        file.set_header_i32(START + axis, round(first[axis]))
    file.set_header_i32(N_LABELS, len(labels))
    text = "".join(label.ljust(LABEL_WIDTH) for label in labels)
    file.set_header_str(LABELS, text.ljust(MAX_LABELS * LABEL_WIDTH))
    with replacing(path, force, HEADER_BYTES + values.nbytes) as temporary:
        file.write_ccp4_map(str(temporary))


def _check_header(path: Path) -> None:
    """Check that the file is as large as its header states."""
    head = gemmi.read_ccp4_header(str(path))
    shape = [head.header_i32(SHAPE + i) for i in range(3)]
    mode, symmetry = head.header_i32(MODE), head.header_i32(SYMMETRY)
    if mode not in BYTES:
        raise MapFileError(
            f"{path}: values of mode {mode} are not supported; write real numbers (mode 2)"
        )
    size = path.stat().st_size
    claimed = _claimed(shape, mode, symmetry)
    if min(shape) < 1 or symmetry < 0 or claimed > size:
        raise MapFileError(
            f"{path}: its header states {'x'.join(map(str, shape))} voxels, {claimed} bytes in "
            f"all, but the file has {size}; it is damaged or truncated"
        )


def _header_remarks(path: Path, file: gemmi.Ccp4Map) -> list[Remark]:
    """What the header says and is not used: a skew matrix, a space group, further bytes."""
    remarks = []
    if file.header_i32(SKEW) == 1:
        text = "a skew matrix and translation: voxels lie where the cell puts them"
        remarks.append(Remark("ignored", text, matters=True))
    number = file.header_i32(GROUP)
    if 1 < number <= 230:
        remarks.append(Remark("ignored", f"space group number {number} of the header"))
    shape = [file.header_i32(SHAPE + i) for i in range(3)]
    claimed = _claimed(shape, file.header_i32(MODE), file.header_i32(SYMMETRY))
    more = path.stat().st_size - claimed
    if more > 0:
        text = f"{more} bytes after the {'x'.join(map(str, shape))} voxels of the header"
        remarks.append(Remark("ignored", text, matters=True))
    return remarks


def _unsigned(
    file: gemmi.Ccp4Map, values: NDArray[np.float32], remarks: list[Remark]
) -> NDArray[np.float32]:
    """Bytes read as unsigned if the header's extremes say so, as older programs write them."""
    low, high = file.header_float(EXTREMES), file.header_float(EXTREMES + 1)
    if file.header_i32(MODE) != 0 or not (low >= 0 and high > 127) or not (values < 0).any():
        return values
    remarks.append(Remark("assumed", f"bytes are unsigned, as the header's {low:g} to {high:g}"))
    return np.where(values < 0, values + np.float32(256), values)


def _claimed(shape: Sequence[int], mode: int, symmetry: int) -> int:
    """Bytes of a file by its header."""
    return HEADER_BYTES + symmetry + BYTES[mode] * math.prod(shape)


def _labels(file: gemmi.Ccp4Map) -> list[str]:
    text = file.header_str(LABELS, MAX_LABELS * LABEL_WIDTH)
    return [text[i : i + LABEL_WIDTH] for i in range(0, len(text), LABEL_WIDTH)]


def _reciprocal(cell: tuple[float, ...]) -> tuple[NDArray[np.float64], list[float]]:
    """Lengths (1/Å) and angles (degrees) of the reciprocal cell."""
    parameters = UnitCell(numpy_cell(cell).inverse.T).parameters
    return np.array(parameters[:3]), list(parameters[3:])


def _grid(
    path: Path,
    file: gemmi.Ccp4Map,
    overrides: Overrides,
    cell: tuple[float, ...],
    place: tuple[list[int], tuple[int, ...]],
) -> tuple[HklGrid, str]:
    """Grid of a map written by another program, and how it was determined."""
    start, shape = place
    if overrides.limits is not None:
        return overrides.need_grid(path, shape)
    lengths = [file.header_float(LENGTHS + i) for i in range(3)]
    angles = [file.header_float(ANGLES + i) for i in range(3)]
    m = [file.header_i32(M + i) for i in range(3)]
    if min(m) < 1 or not all(math.isfinite(x) and x > 0 for x in (*lengths, *angles)):
        raise MapFileError(f"{path}: its cell {lengths}, {angles} of {m} voxels is invalid")
    expected, expected_angles = _reciprocal(cell)
    spacings = [length / n for length, n in zip(lengths, m, strict=True)]
    if overrides.per_index is not None:
        steps, how = [1 / n for n in overrides.per_index], "sampling as given"
    else:
        angle_error = max(abs(a - b) for a, b in zip(angles, expected_angles, strict=True))
        near = [close_step(s / a) for s, a in zip(spacings, expected, strict=True)]
        steps = [s for s in near if s is not None]
        if angle_error > SAME_ANGLE or len(steps) < 3:
            found = [round(float(s / a), 4) for s, a in zip(spacings, expected, strict=True)]
            raise MapFileError(
                f"{path}: the header's cell is not a grid of the reciprocal cell of {cell} "
                f"(voxels of {found} Miller indices, angles {[round(x, 2) for x in angles]}); "
                f"{SAMPLING_HINT}"
            )
        per_index = ", ".join(f"{1 / s:g}" for s in steps)
        how = f"{per_index} voxels per index: the header's cell in 1/Å over that of the crystal"
    if start == [0, 0, 0]:
        origin = [file.header_float(ORIGIN + i) / s for i, s in enumerate(spacings)]
        if any(origin) and all(math.isfinite(x) for x in origin):
            start = [round(x) for x in origin]
            if max(abs(x - n) for x, n in zip(origin, start, strict=True)) > WHOLE_TOLERANCE:
                raise MapFileError(
                    f"{path}: its ORIGIN is {[round(x, 3) for x in origin]} voxels from hkl 0, 0, "
                    f"0, not whole ones; {SAMPLING_HINT}"
                )
            how += "; first voxel from ORIGIN"
    first = tuple(n * s for n, s in zip(start, steps, strict=True))
    return HklGrid(first, tuple(steps), shape), f"{how}; first voxel {start}"  # type: ignore[arg-type]
