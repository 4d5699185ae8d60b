"""JSON files of numbers, of which JSON supports the finite ones."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from .files import replacing


def finite(value: Any) -> Any:
    """Nested dicts, lists and tuples with None in place of NaN and infinities."""
    if isinstance(value, dict):
        return {key: finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(
    content: dict[str, Any], path: str | os.PathLike[str], force: bool = False, *, indent: int = 1
) -> None:
    """Write named values and rows as JSON; NaN and infinities become null.

    Raises
    ------
    FileError
        If the file exists and `force` is not set, or cannot be written.
    """
    text = json.dumps(finite(content), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path, force) as temporary:
        temporary.write_text(text, encoding="utf-8")
