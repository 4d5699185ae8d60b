"""Numbers, tables and arrays of reports as the content of files."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np

from onephonon.core.text import csv_cell

from .numbers import plain
from .prediction_tables import Rows


def json_bytes(value: Any) -> bytes:
    """Plain types as JSON."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def csv_bytes(rows: Rows) -> bytes:
    """Comma-separated, exact; NaN is empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [["" if v is None else v for v in map(_cell, row)] for row in rows]
    )
    return text.getvalue().encode("utf-8")


def _cell(value: Any) -> Any:
    """Format a cell; infinite numbers are kept, since intervals may be infinite."""
    if isinstance(value, (float, np.floating)) and np.isinf(value):
        return "inf" if value > 0 else "-inf"
    return csv_cell(plain(value))


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays by name, compressed."""
    whole = io.BytesIO()
    np.savez_compressed(whole, allow_pickle=False, **arrays)
    return whole.getvalue()
