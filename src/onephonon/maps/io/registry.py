"""Reading and writing maps; the format follows from the file's ending and, in HDF5, content."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from onephonon.core.errors import InputError, MapFileError
from onephonon.core.safe_reading import check_input, reading
from onephonon.crystal.cell import check_cell, numpy_cell
from onephonon.crystal.remarks import Remark
from onephonon.crystal.symmetry import find_group, is_spacegroup, spacegroup_name

from ..diffuse import DiffuseMap
from . import ccp4, eryx, hdf5, lunus, mdx_lib, mtz, nexus, nexus_writer, npz, text
from .cell_file import read_cell
from .hdf5_kind import kind_of
from .missing import without_marks
from .overrides import (
    MapGuessWarning,
    MapReadingWarning,
    Overrides,
    cell_remarks,
    check_sampling,
)

ALL = frozenset({"cell", "grid", "sigma", "counts", "half-sets", "history", "float64"})


@dataclass(frozen=True)
class Format:
    """A format: its name, reader, writer, and the parts of a map that it stores."""

    name: str
    endings: tuple[str, ...]
    reader: ModuleType | None
    writer: ModuleType | None
    keeps: frozenset[str] = ALL


#: Endings of HDF5 files; their content determines the format.
HDF5_ENDINGS = (".h5", ".hdf5", ".nxs", ".nx5", ".nexus", ".nc")

#: Volume of the smallest plausible cell, Å^3: glycine has 310.
SMALLEST_CELL = 200.0

#: Endings of packed files.
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z")

FORMATS = (
    Format("onephonon .npz", (".npz",), npz, npz),
    Format("onephonon HDF5", (".h5", ".hdf5"), None, hdf5),
    Format("NeXus (mdx2, NeXpy)", (".nxs", ".nx5", ".nexus"), None, nexus_writer),
    Format("lunus", (".lat",), lunus, lunus, frozenset({"grid"})),
    Format("NumPy array (eryx)", (".npy",), eryx, eryx, frozenset({"float64"})),
    Format("MTZ of a supercell", (".mtz",), mtz, mtz, ALL - {"history", "float64"}),
    Format("CCP4/MRC map", (".ccp4", ".mrc", ".map"), ccp4, ccp4, frozenset({"cell", "grid"})),
    Format("text", (".hkl", ".txt"), text, text),
    Format("netCDF-4", (".nc",), None, None),
)

HDF5_READERS = {"mdx-lib": mdx_lib, "nexus": nexus}


def read_map(
    path: str | os.PathLike[str],
    *,
    cell: Sequence[float] | str | os.PathLike[str] | None = None,
    spacegroup: str = "",
    sampling: Any = None,
    origin: Sequence[int] | None = None,
    dataset: str | None = None,
) -> DiffuseMap:
    """Read a map; the format follows from the ending, in HDF5 from the content.

    .npz and .h5 are the formats of onephonon. Others: NeXus of mdx2, NeXpy and nxrefine (.nxs),
    HDF5 of mdx-lib (.h5), lunus (.lat), plain arrays as used by eryx (.npy), MTZ of a supercell
    (.mtz), CCP4 and MRC (.ccp4, .mrc, .map), text (.hkl, .txt). The history of the map records
    what was read and assumed.

    Parameters
    ----------
    path : path
    cell : sequence of six float, or path, optional
        a, b, c in Å; alpha, beta, gamma in degrees; or a file that contains them: a structure
        (.pdb, .cif), .mtz, mdx2's geometry.nxs, another map. Overrides the map's file; required for
        .lat, .npy, most .nxs, .ccp4 and text of other programs.
    spacegroup : str
        Hermann-Mauguin symbol; overrides the files.
    sampling : float, three float, or three (min, max, n), optional
        Voxels per Miller index (n), and the Miller indices of the first and last voxel.
        Required for .npy, and for other files that do not specify it.
    origin : sequence of three int, optional
        Voxel of hkl = 0, 0, 0, counted from 0 along h, k and l. For .lat and .npy.
    dataset : str, optional
        Which map: a path in HDF5, or its end; a column of an MTZ.

    Returns
    -------
    DiffuseMap

    Raises
    ------
    MapFileError
        If the file is missing, of another kind, damaged, or contains no map; if required
        information is missing, or an option repeats what the file specifies.
    FileError
        If `cell` names a file from which no cell can be read.
    InputError
        If an argument is invalid.

    Warns
    -----
    MapGuessWarning
        If missing information was guessed.
    MapReadingWarning
        If something else was done that changes intensities and that the caller did not ask for;
        `DiffuseMap.report` lists everything.
    """
    path = check_input(path, "a map", MapFileError)
    form = _format(path)
    overrides = _check_overrides(cell, spacegroup, sampling, origin, dataset)
    reader = form.reader
    if path.suffix.lower() in HDF5_ENDINGS:
        reader = HDF5_READERS.get(kind_of(path))
    if reader is None or reader is npz:
        diffuse = _read_own(path, npz if reader is npz else hdf5, overrides)
    else:
        diffuse = reader.read(path, overrides)
        if overrides.cell is not None:
            diffuse = diffuse.changed(f"cell {overrides.cell_source}")
    diffuse = replace(diffuse, remarks=(*diffuse.remarks, *overrides.remarks))
    diffuse = _with_doubts(_in_setting_of_cell(without_marks(diffuse)))
    _warn(diffuse, path)
    history = (*diffuse.history, *(str(remark.text) for remark in diffuse.remarks))
    return replace(diffuse, history=history)


def write_map(
    diffuse: DiffuseMap,
    path: str | os.PathLike[str],
    force: bool = False,
    *,
    table: bool = False,
) -> None:
    """Write a map; the format follows from the file's ending.

    .npz and .h5 store everything exactly; so do .nxs and text (.hkl, .txt). `not_kept` lists what
    the others lose: .mtz, .ccp4 (.mrc, .map), .lat, .npy.

    Parameters
    ----------
    diffuse : DiffuseMap
    path : path
    force : bool
        Overwrite an existing file.
    table : bool
        In .nxs: write a table of hkl as in mdx2.merge, not a map as in mdx2.map.

    Raises
    ------
    MapFileError
        If the ending is unknown, or the format cannot hold the map.
    FileError
        If the file exists and `force` is not set, or cannot be written.
    InputError
        If a list is written in a format for maps on grids.
    """
    path = Path(path)
    writer = _writer(path)
    if table and writer is not nexus_writer:
        raise MapFileError(f"{path}: a table of hkl is a .nxs file; change the ending")
    if writer is nexus_writer:
        nexus_writer.write(diffuse, path, force, table)
    else:
        writer.write(diffuse, path, force)


def check_map_ending(path: str | os.PathLike[str]) -> None:
    """Check, before long computations, that there is a format of this ending to write a map in."""
    _writer(Path(path))


def not_kept(diffuse: DiffuseMap, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Parts of a map that a file of this ending does not store, as text."""
    keeps = _format(Path(path)).keeps
    has = {
        "the cell and space group": ("cell", diffuse.cell is not None),
        "the positions of the voxels": ("grid", True),
        "sigma": ("sigma", diffuse.sigma is not None),
        "counts": ("counts", diffuse.counts is not None),
        "half-sets": ("half-sets", diffuse.halves is not None),
        "history and parameters": ("history", bool(diffuse.history or diffuse.parameters)),
        "double precision": ("float64", str(diffuse.intensity.dtype) == "float64"),
    }
    return tuple(name for name, (key, there) in has.items() if there and key not in keeps)


def format_name(path: str | os.PathLike[str]) -> str:
    """Name of the format of a map file."""
    path = Path(path)
    if path.suffix.lower() in HDF5_ENDINGS:
        kind = kind_of(path)
        return {"mdx-lib": "mdx-lib HDF5", "nexus": "NeXus"}.get(kind, "onephonon HDF5")
    return _format(path).name


def _check_overrides(
    cell: Any, spacegroup: str, sampling: Any, origin: Any, dataset: Any
) -> Overrides:
    """Check the arguments of the caller and collect them."""
    per_index, limits = (None, None) if sampling is None else check_sampling(sampling)
    if origin is not None:
        try:
            voxel = tuple(int(x) for x in origin)
        except (TypeError, ValueError):
            voxel = ()
        if len(voxel) != 3 or any(a != b for a, b in zip(voxel, origin, strict=True)):
            raise InputError(f"origin {origin!r} is not a voxel, three whole numbers")
        if limits is not None:
            raise InputError(
                "origin and the limits of the sampling both define the position; give one of them"
            )
        origin = voxel
    group = spacegroup_name(spacegroup) if spacegroup else ""
    if group and not is_spacegroup(group):
        raise InputError(f"space group {spacegroup!r} is unknown; write it as in 'P 1 21 1'")
    source = "as given"
    remarks: tuple[Remark, ...] = ()
    if isinstance(cell, (str, os.PathLike)):
        source = f"of {Path(cell).name}"
        name = Path(cell).name
        cell, found, said = read_cell(Path(cell))
        remarks = tuple(replace(remark, text=f"{remark.text} ({name})") for remark in said)
        group = group or found
    taken = None if cell is None else check_cell(cell)
    return Overrides(taken, source, group, per_index, limits, origin, dataset, remarks)


def _read_own(path: Path, module: ModuleType, overrides: Overrides) -> DiffuseMap:
    """Read a file written by onephonon; only cell and space group can be overridden."""
    overrides.allow(path, "the file contains it")
    with reading(path, "a map of onephonon"):
        diffuse: DiffuseMap = module.read(path)
        if overrides.cell is not None:
            remarks = list(diffuse.remarks)
            if diffuse.cell is not None:
                remarks += cell_remarks(diffuse.cell, overrides.cell, overrides.cell_source)
            diffuse = diffuse.changed(
                f"cell {overrides.cell_source}", cell=overrides.cell, remarks=tuple(remarks)
            )
        if overrides.spacegroup:
            diffuse = diffuse.changed(
                f"space group {overrides.spacegroup} as given",
                spacegroup=overrides.spacegroup,
            )
    return diffuse


def _in_setting_of_cell(diffuse: DiffuseMap) -> DiffuseMap:
    """The map with its rhombohedral space group in the setting of its cell."""
    if not diffuse.spacegroup or diffuse.cell is None:
        return diffuse
    symbol = diffuse.spacegroup.removesuffix(":H").removesuffix(":R")
    if not symbol.startswith("R") or not is_spacegroup(symbol):
        return diffuse
    name = str(find_group(symbol, diffuse.cell).xhm())
    if name == diffuse.spacegroup:
        return diffuse
    remark = Remark("assumed", f"setting {name} of the space group, by the cell")
    return replace(diffuse, spacegroup=name, remarks=(*diffuse.remarks, remark))


def _with_doubts(diffuse: DiffuseMap) -> DiffuseMap:
    """The map with remarks on a cell too small for a molecule, and on sigma of 0."""
    remarks = list(diffuse.remarks)
    if diffuse.cell is not None:
        volume = abs(float(np.linalg.det(numpy_cell(diffuse.cell).matrix)))
        if volume < SMALLEST_CELL:
            text = (
                f"a cell of {volume:.3g} Å^3, too small for a molecule; lengths are in Å (not nm) "
                "and angles in degrees (not radians)"
            )
            remarks.append(Remark("read", text, matters=True))
    if diffuse.sigma is not None:
        zeros = int(np.count_nonzero((diffuse.sigma == 0) & diffuse.mask))
        if zeros:
            remarks.append(Remark("read", f"{zeros} sigma of 0: fits leave these voxels out"))
    return replace(diffuse, remarks=tuple(remarks))


def _warn(diffuse: DiffuseMap, path: Path) -> None:
    """Warn of the remarks that change intensities and that nobody asked for."""
    for remark in diffuse.remarks:
        if remark.matters:
            category = MapGuessWarning if remark.kind == "assumed" else MapReadingWarning
            warnings.warn(f"{path}: {remark.kind}: {remark.text}", category, stacklevel=3)


def _writer(path: Path) -> ModuleType:
    writer = _format(path).writer
    if writer is None:
        raise MapFileError(f"{path}: {path.suffix} can only be read; write .h5 or .nxs")
    return writer


def _format(path: Path) -> Format:
    ending = path.suffix.lower()
    for form in FORMATS:
        if ending in form.endings:
            return form
    if ending == ".partial":
        raise MapFileError(
            f"{path}: an unfinished map; repeat the command that computed it: it continues, and "
            "gives the map its name"
        )
    if ending in PACKED:
        raise MapFileError(f"{path}: a packed file; unpack it first (gunzip, unzip)")
    endings = ", ".join(x for form in FORMATS for x in form.endings)
    raise MapFileError(
        f"{path}: ending {path.suffix!r} is not one of {endings}; the ending determines the format"
    )
