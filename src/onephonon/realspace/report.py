"""What Patterson maps say, as tables and files."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from onephonon.core import json_files
from onephonon.core.files import replacing
from onephonon.core.json_files import finite

from .distances import DistanceShell, ResolutionShell
from .patterson_map import PattersonMap


def distance_table(shells: Sequence[DistanceShell]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of shells of |r|."""
    both = any(math.isfinite(shell.other_deviation) for shell in shells)
    headings = ["|r| / Å", "points", "std. dev."] + (["of model", "CC"] if both else [])
    rows = []
    for x in shells:
        row = [f"{x.r_min:g}–{x.r_max:g}", str(x.n), f"{x.deviation:.3g}"]
        rows.append(row + ([f"{x.other_deviation:.3g}", _number(x.cc)] if both else []))
    return headings, rows


def resolution_table(shells: Sequence[ResolutionShell]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of shells of resolution, with a column for each range of |r|."""
    ranges = list(dict.fromkeys((x.r_min, x.r_max) for x in shells))
    headings = ["d / Å", *(_range(low, high) for low, high in ranges)]
    found: dict[tuple[float, float], dict[tuple[float, float], float]] = {}
    for x in shells:
        found.setdefault((x.d_max, x.d_min), {})[x.r_min, x.r_max] = x.cc
    rows = []
    for (d_max, d_min), by_range in found.items():
        wide = "∞" if math.isinf(d_max) else f"{d_max:.2f}"
        rows.append([f"{wide}–{d_min:.2f}", *(_number(by_range[r]) for r in ranges)])
    return headings, rows


def write_json(
    path: str | os.PathLike[str],
    found: PattersonMap,
    distances: Sequence[DistanceShell],
    resolutions: Sequence[ResolutionShell],
    notes: dict[str, Any],
    force: bool = False,
) -> None:
    """Write all numbers as JSON; unknown ones are null.

    Raises
    ------
    FileError
        If the file exists and `force` is not set, or cannot be written.
    """
    content = {
        "shape": list(found.values.shape),
        "periods": list(found.periods),
        "spacing": list(found.spacing),
        "cell": [float(x) for x in found.cell],
        "units": found.units,
        "history": list(found.history),
        **notes,
        "distances": [asdict(x) for x in distances],
        "resolutions": [asdict(x) for x in resolutions],
    }
    json_files.write_json(content, path, force, indent=2)


def write_csv(
    path: str | os.PathLike[str], distances: Sequence[DistanceShell], force: bool = False
) -> None:
    """Write shells of |r| as CSV; unknown numbers are empty.

    Raises
    ------
    FileError
        If the file exists and `force` is not set, or cannot be written.
    """
    rows = [asdict(x) for x in distances]
    with replacing(path, force) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(finite(rows))


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _range(low: float, high: float) -> str:
    return f"|r| > {low:g} Å" if math.isinf(high) else f"{low:g}–{high:g} Å"
