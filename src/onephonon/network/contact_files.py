"""Tables of contacts and spring classes, in CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from onephonon.core.errors import FileError, InputError
from onephonon.core.files import replacing
from onephonon.core.safe_reading import READ_ERRORS, check_input
from onephonon.core.text import csv_cell, from_csv_cell

from .interfaces import ContactRow, ContactTable

_TYPES = {"distance": float, "k_par": float, "k_perp": float, "multiplicity": int, "weight": float}
_NAMES = tuple(f.name for f in fields(ContactRow))

#: Columns that a table may lack.
_OPTIONAL = {"weight": 1.0}


def write_contact_table(
    rows: Sequence[ContactRow], path: str | os.PathLike[str], force: bool = False
) -> None:
    """Write a contact table as .csv or .json.

    Parameters
    ----------
    rows : sequence of ContactRow
        Such as ``model.contact_table()``.
    path : path
    force : bool
        Overwrite an existing file.

    Raises
    ------
    FileError
        If the ending is neither, or the file exists and `force` is not set.
    """
    path = _check(path)
    table = [asdict(row) for row in rows]
    if path.suffix == ".json":
        text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    else:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, _NAMES, lineterminator="\n")
        writer.writeheader()
        # Names of atoms come from files, and spreadsheets carry out formulas.
        writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in table)
        text = buffer.getvalue()
    with replacing(path, force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_contact_table(path: str | os.PathLike[str]) -> ContactTable:
    """Read a contact table, for example after editing its classes.

    Returns
    -------
    ContactTable
        `labelling` converts it to spring classes, `start_values` to their starting constants.

    Raises
    ------
    FileError
        If the file is missing, damaged, or lacks a column.
    """
    path = check_input(_check(path), "a contact table")
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a mark
        table: Any = json.loads(text) if path.suffix == ".json" else _csv_rows(text)
        return ContactTable(_row(entry, path, n + 1) for n, entry in enumerate(table))
    except FileError:
        raise
    except (*READ_ERRORS, csv.Error) as error:
        raise FileError(f"{path}: not a readable table ({error})") from error


def labelling(rows: Sequence[ContactRow]) -> dict[tuple[str, str, str], str]:
    """Spring classes by contact, for ``SpringPlan(by=...)``."""
    return {row.key: row.spring_class for row in rows}


def start_values(rows: Sequence[ContactRow], kind: str) -> dict[str, tuple[float, ...]]:
    """Spring constants by class, for ``SpringPlan(start=...)``.

    Parameters
    ----------
    rows : sequence of ContactRow
    kind : {'gaussian', 'parallel', 'hybrid'}

    Raises
    ------
    InputError
        If contacts of one class have different constants.
    """
    start: dict[str, tuple[float, ...]] = {}
    for row in rows:
        value = (row.k_par, row.k_perp) if kind == "hybrid" else (row.k_par,)
        if start.setdefault(row.spring_class, value) != value:
            raise InputError(
                f"contacts of class {row.spring_class!r} have constants {value} and "
                f"{start[row.spring_class]}; give all contacts of a class the same constants"
            )
    return start


def _csv_rows(text: str) -> list[dict[str, Any]]:
    """Rows of a CSV file, in which text that looked like a formula was quoted."""
    return [
        {name: from_csv_cell(v) if isinstance(v, str) else v for name, v in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]


def _row(entry: dict[str, Any], path: Path, number: int) -> ContactRow:
    entry = _OPTIONAL | entry
    missing = [name for name in _NAMES if entry.get(name) is None]
    if missing:
        raise FileError(f"{path}: row {number} has no {', '.join(missing)}")
    try:
        values = {name: _TYPES.get(name, str)(entry[name]) for name in _NAMES}
    except (ValueError, OverflowError, TypeError) as error:
        raise FileError(f"{path}: row {number}: {error}; correct the number") from error
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise FileError(f"{path}: row {number}: {name} is {value}; correct the number")
    return ContactRow(**values)


def _check(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.suffix not in (".csv", ".json"):
        raise FileError(f"{path}: ending {path.suffix!r} is neither .csv nor .json")
    return path
