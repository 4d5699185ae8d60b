"""Reflections in SHELX's fixed columns (HKLF 4): h k l in 4 characters each, I and sigma in 8.

The columns may touch, so that ``  -4  -4  -474000.00`` is l = -4 and I = 74000. A line of
``0 0 0 0 0`` ends the list; what follows, such as the instructions, is not data.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import FileError
from onephonon.crystal.remarks import Remark

from .number_text import open_text

#: Lines that must be in fixed columns for a file to be read so.
TRIED = 50

_INDEX = re.compile(r" *[+-]?\d+")

#: A real number with a decimal point: without one Fortran would put it in by itself.
_REAL = re.compile(r" *[+-]?(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)? *")


def is_shelx(path: Path) -> bool:
    """Whether a text begins with lines in SHELX's fixed columns."""
    with open_text(path) as file:
        lines = [x for x in itertools.islice(file, TRIED) if x.strip()]
    for n, line in enumerate(lines):
        row = _row(line)
        if row is None:
            return False
        if _ends(row):
            return n > 0
    return bool(lines)


def read_shelx(path: Path, remarks: list[Remark]) -> NDArray[np.float64]:
    """Read h, k, l, I and sigma up to the terminator, shape (N, 5); sigma is NaN where absent.

    Raises
    ------
    FileError
        If a line is not in the fixed columns; names it.
    """
    rows: list[tuple[float, ...]] = []
    ignored = 0
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = _row(line)
            if row is None:
                raise FileError(
                    f"{path}: line {number}, {line.rstrip()!r}, is not in SHELX's columns (h, k, l "
                    "of 4 characters, I and sigma of 8 with a decimal point), as those before "
                    "are; correct it"
                )
            if _ends(row):
                ignored = sum(1 for rest in file if rest.strip())
                break
            rows.append(row)
    remarks.append(Remark("read", "SHELX's fixed columns, h k l I sigma"))
    if ignored:
        remarks.append(
            Remark("ignored", f"{ignored} lines after the line 0 0 0 that ends the list")
        )
    batches = {row[5] for row in rows if not np.isnan(row[5])}
    if len(batches) > 1:
        remarks.append(Remark("ignored", f"{len(batches)} batch numbers of the reflections"))
    return np.array(rows, dtype=np.float64).reshape(-1, 6)[:, :5]


def _row(line: str) -> tuple[float, ...] | None:
    """h, k, l, I, sigma and batch of a line; None if it is not in fixed columns."""
    line = line.rstrip()
    indices = [line[i : i + 4] for i in (0, 4, 8)]
    intensity, sigma, batch = line[12:20], line[20:28], line[28:32].strip()
    if not all(map(_INDEX.fullmatch, indices)):
        return None
    if not _REAL.fullmatch(intensity) or (sigma.strip() and not _REAL.fullmatch(sigma)):
        return None
    if batch and not _INDEX.fullmatch(batch):
        return None
    return (
        *(float(index) for index in indices),
        float(intensity),
        float(sigma) if sigma.strip() else np.nan,
        float(batch) if batch else np.nan,
    )


def _ends(row: tuple[float, ...]) -> bool:
    """Whether a row is the terminator."""
    return not any(row[:4]) and (np.isnan(row[4]) or row[4] == 0)
