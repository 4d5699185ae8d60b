"""Patterson maps in files: CCP4, which molecular graphics show, and .npz."""

from __future__ import annotations

import os
from pathlib import Path

import gemmi
import numpy as np

from onephonon.core.errors import InputError, MapFileError
from onephonon.core.files import replacing
from onephonon.maps.io.ccp4 import LABEL_WIDTH, LABELS, MAX_LABELS, N_LABELS

from .patterson_map import PattersonMap

#: Endings of files.
CCP4, NPZ = (".ccp4", ".map", ".mrc"), (".npz",)


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` unless the ending is that of a Patterson map's file."""
    ending = Path(path).suffix.lower()
    if ending not in (*CCP4, *NPZ):
        raise InputError(
            f"{path}: a Patterson map is written to {', '.join((*CCP4, *NPZ))}, not to "
            f"{ending or 'a file without an ending'}"
        )


def write_patterson(found: PattersonMap, path: str | os.PathLike[str], force: bool = False) -> Path:
    """Write a Patterson map.

    Parameters
    ----------
    found : PattersonMap
    path : path
        .ccp4, .map or .mrc: a periodic map with its origin at the first point, in the cell of all
        periods, in single precision. .npz: ``values`` with the origin in the middle, ``x``,
        ``y``, ``z`` (cells), ``cell``, ``units``, ``history``.
    force : bool
        Overwrite.

    Raises
    ------
    InputError
        If the ending is another.
    MapFileError
        If values exceed single precision.
    FileError
        If the file exists and `force` is not set, or cannot be written.
    """
    check_ending(path)
    target = Path(path)
    if target.suffix.lower() in NPZ:
        x, y, z = found.axes
        with replacing(target, force) as temporary, temporary.open("wb") as archive:
            np.savez_compressed(
                archive,
                x=x,
                y=y,
                z=z,
                cell=np.array(found.cell),
                units=np.array(found.units),
                history=np.array(found.history),
                values=found.values,
            )
        return target
    with np.errstate(over="ignore"):
        values = np.fft.ifftshift(found.values).astype(np.float32)
    if not np.isfinite(values).all():
        raise MapFileError(f"{target}: values do not fit into single precision; write .npz")
    file = gemmi.Ccp4Map()
    file.grid = gemmi.FloatGrid(np.ascontiguousarray(values))
    lengths = [float(a) * p for a, p in zip(found.cell, found.periods, strict=False)]
    file.grid.unit_cell.set(*lengths, *(float(angle) for angle in found.cell[3:]))
    file.grid.spacegroup = gemmi.SpaceGroup("P 1")
    file.update_ccp4_header()
    label = f"diffuse Patterson map, {found.units}".encode("ascii", "replace").decode()
    file.set_header_i32(N_LABELS, 1)
    file.set_header_str(LABELS, label[:LABEL_WIDTH].ljust(MAX_LABELS * LABEL_WIDTH))
    with replacing(target, force, 1024 + values.nbytes) as temporary:
        file.write_ccp4_map(str(temporary))
    return target
