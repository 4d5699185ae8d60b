"""Maps of lunus: .lat, three 32-bit integers, six and many 32-bit floats.

The header holds nx, ny, nz, then xmin, xmax, ymin, ymax, zmin, zmax in 1/Å without 2*pi; x (along
h) is fastest. There are nx - 1 steps between xmin and xmax. In lunus one Miller index is 1/a long
(1/b, 1/c), also for oblique cells, so the cell converts steps to Miller indices. The voxel of
hkl = 0, 0, 0 follows from xmin. The byte order is detected from the length of the file. Missing
values are -32768, in older files 0: zeros are treated as missing if no voxel is -32768.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from onephonon.core.errors import MapFileError
from onephonon.core.files import replacing
from onephonon.core.safe_reading import reading
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.remarks import Remark

from ..diffuse import DiffuseMap
from .overrides import SAMPLING_HINT, Overrides, close_step

HEADER = "3I6f"
HEADER_BYTES = struct.calcsize("<" + HEADER)

#: Value by which lunus marks a voxel without data.
MISSING = np.float32(-32768)

#: Tolerance of the voxel of hkl = 0, in voxels: headers have single precision.
WHOLE_TOLERANCE = 0.02


def read(path: Path, overrides: Overrides) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    overrides.allow(path, "a .lat holds one map", "sampling", "origin")
    with reading(path, "a lunus .lat"):
        order, shape, bounds = _header(path)
        cell = overrides.need_cell(path)
        grid, how = _grid(path, overrides, cell, shape, bounds)
        values = np.fromfile(path, dtype=f"{order}f4", offset=HEADER_BYTES)
        volume = values.reshape(shape[::-1]).T.astype(np.float32, order="C")
        tagged = volume == MISSING
        absent = "-32768" if tagged.any() else "0"
        if absent == "0":
            tagged = volume == 0
        volume[tagged] = np.nan
        ends = {"<": "little", ">": "big"}[order]
        history = [
            f"read from {path.name}: lunus, {ends}-endian, x fastest",
            how,
        ]
        text = f"{int(tagged.sum())} voxels of {absent} treated as missing"
        zeros = absent == "0"
        remark = Remark("assumed" if zeros else "read", text, matters=zeros and bool(tagged.any()))
        return DiffuseMap.on_grid(
            volume,
            grid,
            cell,
            spacegroup=overrides.spacegroup,
            history=history,
            remarks=[remark],
        )


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write a map in this machine's byte order, as lunus does; missing voxels are -32768.

    Raises
    ------
    InputError
        For a list.
    MapFileError
        If the grid does not go through hkl = 0, 0, 0, intensities exceed single precision, or a
        map without missing voxels has zeros: they would be read as missing.
    FileError
        If the file exists and `force` is not set.
    """
    grid, cell = diffuse.require_grid()
    index = [-o / s for o, s in zip(grid.origin, grid.step, strict=True)]
    if any(abs(i - round(i)) > 1e-6 for i in index):
        raise MapFileError(
            f"{path}: a .lat needs a grid that contains hkl = 0, 0, 0, and {grid} does not; "
            "resample it"
        )
    bounds = []
    for axis, (low, step, n) in enumerate(zip(grid.origin, grid.step, grid.shape, strict=True)):
        bounds += [low / cell[axis], (low + (n - 1) * step) / cell[axis]]
    values = _single(diffuse, path)
    missing = np.isnan(values)
    if not missing.any() and (values == 0).any():
        raise MapFileError(
            f"{path}: {int((values == 0).sum())} voxels are exactly 0, which means 'no data' in a "
            ".lat without missing voxels; write another format"
        )
    stored = np.where(missing, MISSING, values).T.ravel()
    with replacing(path, force, stored.nbytes) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("=" + HEADER, *grid.shape, *bounds))
        file.write(stored.data)


def _single(diffuse: DiffuseMap, path: Path) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = diffuse.intensity.astype(np.float32)
    if np.isinf(values).any() or (values == MISSING).any():
        raise MapFileError(
            f"{path}: intensities up to {np.nanmax(np.abs(diffuse.intensity)):.3g} exceed "
            "single precision, or are -32768, which means missing in lunus; scale the map"
        )
    return values


def _header(path: Path) -> tuple[str, tuple[int, int, int], tuple[float, ...]]:
    """Byte order, shape and bounds; the byte order is chosen such that the shape fits the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise MapFileError(
            f"{path}: {size} bytes are less than the 36 of the header of a lunus .lat"
        )
    claims = []
    for order in "<>":
        (*numbers,) = struct.unpack(order + HEADER, head)
        shape = (int(numbers[0]), int(numbers[1]), int(numbers[2]))
        if HEADER_BYTES + 4 * math.prod(shape) == size and min(shape) > 0:
            return order, shape, tuple(float(x) for x in numbers[3:])
        claims.append("x".join(str(n) for n in shape))
    raise MapFileError(
        f"{path}: its header states {claims[0]} voxels (or {claims[1]} in the other byte order), "
        f"but its {size} bytes hold {(size - HEADER_BYTES) / 4:g}; it is truncated or no .lat"
    )


def _grid(
    path: Path,
    overrides: Overrides,
    cell: tuple[float, ...],
    shape: tuple[int, int, int],
    bounds: tuple[float, ...],
) -> tuple[HklGrid, str]:
    """Grid of Miller indices, and how it was determined."""
    if overrides.limits is not None:
        return overrides.need_grid(path, shape)
    if not all(math.isfinite(x) for x in bounds):
        raise MapFileError(f"{path}: its bounds {bounds} are not finite numbers")
    overrides.check_origin(shape)
    steps, origin = [], []
    for axis in range(3):
        low, high = bounds[2 * axis : 2 * axis + 2]
        step, zero = _line(path, overrides, axis, (low, high, shape[axis]), cell[axis])
        steps.append(step)
        origin.append(-zero * step)
    grid = HklGrid(tuple(origin), tuple(steps), shape)  # type: ignore[arg-type]
    per_index = ", ".join(f"{1 / step:g}" for step in steps)
    where = "as given" if overrides.origin is not None else "from the bounds"
    how = "as given" if overrides.per_index is not None else "bounds and cell"
    zeros = ", ".join(str(round(-o / s)) for o, s in zip(origin, steps, strict=True))
    return grid, f"{per_index} voxels per index ({how}), hkl 0, 0, 0 at voxel {zeros} ({where})"


def _line(
    path: Path, overrides: Overrides, axis: int, line: tuple[float, float, int], length: float
) -> tuple[float, int]:
    """Step in Miller indices, and the voxel of index 0, along one axis."""
    low, high, n = line
    name = "hkl"[axis]
    known = None if overrides.per_index is None else 1 / overrides.per_index[axis]
    # lunus has n - 1 steps between the bounds; some older programs used n.
    for count in (n - 1, n):
        spacing = (high - low) / count if count else 0.0
        zero = overrides.origin[axis] if overrides.origin is not None else None
        if zero is None and spacing > 0:
            voxel = -low / spacing
            zero = round(voxel) if abs(voxel - round(voxel)) <= WHOLE_TOLERANCE else None
        step = known or close_step(spacing * length)
        if zero is not None and step is not None:
            return step, zero
    raise MapFileError(
        f"{path}: the bounds {low:g} to {high:g} 1/Å of {n} voxels along {name} do not fit the "
        f"cell's {length:g} Å (steps of {(high - low) / max(n - 1, 1) * length:.4g} in {name}); "
        f"correct the cell, or {SAMPLING_HINT}, and origin=, the voxel of hkl 0, 0, 0 (--origin)"
    )
