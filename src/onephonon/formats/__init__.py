"""Files of diffuse maps and of q-vectors, chosen by their endings."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

from ..errors import MapFileError
from ..files import check_writable
from ..maps import DiffuseMap
from . import hdf5, npz
from .contact_table import labelling, read_contact_table, start_values, write_contact_table
from .qlist import read_q_vectors

_BY_ENDING: dict[str, ModuleType] = {".npz": npz, ".h5": hdf5, ".hdf5": hdf5}

__all__ = [
    "check_map_path",
    "labelling",
    "read_contact_table",
    "read_map",
    "read_q_vectors",
    "start_values",
    "write_contact_table",
    "write_map",
]


def read_map(path: str | os.PathLike[str]) -> DiffuseMap:
    """Read a map, the format by the file's ending (.npz, .h5).

    Raises
    ------
    MapFileError
        If the file is missing, of another kind, damaged, or holds no map.
    """
    path = Path(path)
    module = _format(path)
    if not path.is_file():
        raise MapFileError(f"{path}: there is no such file; check the path")
    diffuse: DiffuseMap = module.read(path)
    return diffuse


def write_map(diffuse: DiffuseMap, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write a map, the format by the file's ending (.npz, .h5).

    Parameters
    ----------
    diffuse : DiffuseMap
    path : path
    force : bool
        Overwrite an existing file.

    Raises
    ------
    MapFileError
        If the ending is unknown, or the file exists and `force` is not set.
    """
    path = Path(path)
    _format(path).write(diffuse, path, force)


def check_map_path(path: str | os.PathLike[str], force: bool = False) -> None:
    """Check, before long work, that a map can be written to a path."""
    _format(Path(path))
    check_writable(path, force)


def _format(path: Path) -> ModuleType:
    module = _BY_ENDING.get(path.suffix.lower())
    if module is None:
        raise MapFileError(
            f"{path}: ending {path.suffix!r} is not one of {', '.join(_BY_ENDING)}; "
            "the ending chooses the format"
        )
    return module
