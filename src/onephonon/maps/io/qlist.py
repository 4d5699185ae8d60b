"""Reading of lists of q-vectors: .npy, .npz, .h5 or text."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from onephonon.core.errors import FileError

from ..diffuse import Array
from . import hdf5
from .arrays import read_shape
from .npz import read_arrays


def read_q_vectors(
    path: str | os.PathLike[str],
) -> tuple[Array, tuple[int, int, int] | None]:
    """Read scattering vectors in 1/Å, 2*pi included.

    Parameters
    ----------
    path : path
        .npy: an array (N, 3). .npz: the array under ``q_vectors`` or the only one, and
        optionally ``map_shape``. .h5: a map written by onephonon. Others: text, three numbers
        per line separated by spaces or commas; # begins comments.

    Returns
    -------
    q : ndarray, shape (N, 3), float64
    map_shape : tuple of three int or None
        Shape of the grid from which the list was made, if an .npz contains it.

    Raises
    ------
    FileError
        If the file is missing or damaged, or the array is not (N, 3) of finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: there is no such file; check the path")
    shape = None
    try:
        if path.suffix == ".npz":
            arrays = read_arrays(path)
            q = arrays["q_vectors"] if "q_vectors" in arrays else _only(arrays, path)
            shape = read_shape(arrays, str(path))
        elif path.suffix in (".h5", ".hdf5"):
            diffuse = hdf5.read(path)
            q, shape = diffuse.q_vectors, diffuse.map_shape or diffuse.list_shape
        elif path.suffix == ".npy":
            q = np.load(path, allow_pickle=False)
        else:
            lines = path.read_text().replace(",", " ").splitlines()
            q = np.loadtxt(lines, ndmin=2) if any(x.strip() for x in lines) else np.empty(0)
    except FileError:
        raise
    except (ValueError, OSError, EOFError) as error:
        raise FileError(f"{path}: not readable as q-vectors ({error})") from error
    if q.ndim != 2 or q.shape[1] != 3 or q.dtype.kind not in "fiu" or not len(q):
        raise FileError(
            f"{path}: q-vectors are real numbers of shape (N, 3), found {q.dtype} of {q.shape}"
        )
    if not np.isfinite(q).all():
        row = int(np.flatnonzero(~np.isfinite(q).all(1))[0])
        raise FileError(f"{path}: q-vector {row} is {q[row].tolist()}; remove it")
    if shape is not None and np.prod(shape) != len(q):
        raise FileError(f"{path}: map_shape {shape} does not fit {len(q)} q-vectors")
    return q.astype(np.float64), shape


def _only(arrays: dict[str, Array], path: Path) -> Array:
    if len(arrays) != 1:
        raise FileError(
            f"{path}: holds {', '.join(sorted(arrays))} but no q_vectors; rename the array"
        )
    return next(iter(arrays.values()))
