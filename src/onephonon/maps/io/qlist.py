"""Reading of lists of q-vectors: .npy, .npz, .h5 or text."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from onephonon.core.errors import FileError
from onephonon.core.numpy_files import names_of_npz, read_npy, read_npz
from onephonon.core.safe_reading import check_input, reading
from onephonon.core.units import TWO_PI

from ..diffuse import Array
from . import hdf5
from .arrays import read_shape
from .number_text import read_table

#: Largest plausible length of a q-vector, 1/Å: 2*pi over 0.25 Å.
MAX_Q = 25.0


#: What to do with Miller indices, for messages.
MILLER_HINT = (
    "give --h, --k and --l instead, or convert them: "
    "read_crystal(structure).cell.numpy().q_from_hkl(hkl)"
)

#: A unit of 1/nm in a comment.
NANOMETRE = re.compile(r"1\s*/\s*nm|\bnm\s*\^?\(?(-|⁻)1|\bnm⁻¹|inverse nanomet", re.IGNORECASE)


class QListWarning(UserWarning):
    """A list of q-vectors looks like something else, such as Miller indices."""


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

    Warns
    -----
    QListWarning
        If the numbers look like Miller indices, or are too long for q in 1/Å.
    """
    path = check_input(path, "q-vectors")
    shape, ending = None, path.suffix.lower()
    with reading(path, "q-vectors"):
        if ending == ".npz":
            arrays = read_npz(path, {_name(path), "map_shape"})
            q = next(values for name, values in arrays.items() if name != "map_shape")
            shape = read_shape(arrays, str(path))
        elif ending in (".h5", ".hdf5"):
            q, shape = hdf5.read_positions(path)
        elif ending == ".npy":
            q = read_npy(path)
        else:
            table = read_table(path)
            _check_words(path, (" ".join(table.heading), *table.comments))
            q = table.values
    if q.ndim != 2 or q.shape[1] != 3 or q.dtype.kind not in "fiu" or not len(q):
        raise FileError(
            f"{path}: q-vectors are real numbers of shape (N, 3), found {q.dtype} of {q.shape}"
        )
    if not np.isfinite(q).all():
        row = int(np.flatnonzero(~np.isfinite(q).all(1))[0])
        raise FileError(f"{path}: q-vector {row} is {q[row].tolist()}; remove it")
    if shape is not None and np.prod(shape) != len(q):
        raise FileError(f"{path}: map_shape {shape} does not fit {len(q)} q-vectors")
    q = q.astype(np.float64)
    _question(q, path)
    return q, shape


def _name(path: Path) -> str:
    """Name of the array of q-vectors in an archive."""
    names = names_of_npz(path)
    others = [name for name in names if name != "map_shape"]
    if "q_vectors" in names:
        return "q_vectors"
    if others == ["hkl"]:
        raise FileError(f"{path}: it holds hkl, not q_vectors; {MILLER_HINT}")
    if len(others) != 1:
        raise FileError(
            f"{path}: holds {', '.join(sorted(names)) or 'nothing'} but no q_vectors; rename the "
            "array"
        )
    return others[0]


def _check_words(path: Path, texts: Iterable[str]) -> None:
    """Check that comments and heading do not name Miller indices or 1/nm."""
    for text in texts:
        words = text.replace(",", " ").lower().split()
        if words[:3] == ["h", "k", "l"]:
            raise FileError(f"{path}: its columns are {text!r}, Miller indices; {MILLER_HINT}")
        if NANOMETRE.search(text):
            raise FileError(
                f"{path}: {text!r} says that q is in 1/nm; divide by 10, to 1/Å, and remove it"
            )


def _question(q: Array, path: Path) -> None:
    """Ask whether numbers that look like Miller indices are q-vectors."""
    hint = f"if they are Miller indices, {MILLER_HINT}"
    longest = float(np.linalg.norm(q, axis=1).max())
    if longest > 0 and not (q % 1).any():
        text = f"all numbers are whole; they are taken as q in 1/Å, 2*pi included: {hint}"
    elif longest > MAX_Q:
        text = (
            f"q reaches {longest:.3g} 1/Å, that is d = {TWO_PI / longest:.2g} Å, less than any "
            f"measurement; q is in 1/Å, 2*pi included: convert 1/nm, and {hint}"
        )
    else:
        return
    warnings.warn(f"{path}: {text}", QListWarning, stacklevel=3)
