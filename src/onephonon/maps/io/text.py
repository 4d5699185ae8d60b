"""Maps as text: one line per voxel, h k l intensity [sigma], separated by blanks or commas.

Comments start with #; `number_text` says what else is read. A .hkl in SHELX's fixed columns is read
by them. Files written by onephonon begin with comments that describe the map and
name the columns::

    # cell 27.26 31.98 34.29 88.53 108.57 111.85
    # spacegroup P 1
    # columns h k l intensity sigma

Numbers have enough digits to be exact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import MapFileError
from onephonon.core.files import replacing
from onephonon.core.safe_reading import reading
from onephonon.crystal.remarks import Remark
from onephonon.crystal.symmetry import spacegroup_name

from ..diffuse import DiffuseMap
from .header import Header
from .hkl_table import map_of_rows
from .number_text import NumberTable, read_table
from .overrides import Overrides
from .shelx import is_shelx, read_shelx

COLUMNS = ("h", "k", "l", "intensity", "sigma", "counts", "half1", "half2")

#: Names of columns in other programs' headings.
OTHER_NAMES = {
    "i": "intensity",
    "iobs": "intensity",
    "imean": "intensity",
    "sigi": "sigma",
    "sigimean": "sigma",
    "error": "sigma",
    "count": "counts",
}

#: Significant digits for an exact representation.
DIGITS = {"float32": 9, "float64": 17}


def read(path: Path, overrides: Overrides) -> DiffuseMap:
    """Read a map; see `onephonon.read_map`."""
    overrides.allow(path, "a text file is one table", "sampling")
    with reading(path, "a table of h k l intensity"):
        if path.suffix.lower() == ".hkl" and is_shelx(path):
            return _of_shelx(path, overrides)
        table = read_table(path)
        comments = list(table.comments)
        header = _read_header(comments)
        names = _names(path, table, header)
        own_header = Header.find(comments, path)
        rows = table.values
        if "rows" in header and header["rows"] != str(len(rows)):
            raise MapFileError(
                f"{path}: its header states {header['rows']} rows, but it has {len(rows)}"
            )
        remarks: list[Remark] = []
        if own_header is None:
            rows = _without_terminator(rows, names, remarks)
        dtype = (
            own_header.dtype if own_header is not None and own_header.dtype in DIGITS else "float64"
        )
        values = {name: rows[:, i] for i, name in enumerate(names)}
        hkl = np.stack([values.pop(x) for x in "hkl"], axis=1)
        columns: dict[str, Any] = {name: x.astype(dtype) for name, x in values.items()}
        halves = [columns.pop(name, None) for name in ("half1", "half2")]
        if halves[0] is not None and halves[1] is not None:
            columns["halves"] = tuple(halves)
        found = own_header.cell if own_header is not None else _cell(path, header)
        group = own_header.spacegroup if own_header is not None else header.get("spacegroup", "")
        return map_of_rows(
            path,
            hkl,
            columns,
            overrides.need_cell(path, found, remarks),
            grid=own_header.grid if own_header is not None else None,
            per_index=overrides.per_index,
            spacegroup=overrides.spacegroup or (spacegroup_name(group) if group else ""),
            units=own_header.units if own_header is not None else header.get("units", ""),
            parameters=json.loads(header.get("parameters", "{}")),
            version=header.get("version", ""),
            history=[
                *(line[8:] for line in comments if line.startswith("history ")),
                f"read from {path.name}: text, columns {', '.join(names)}",
            ],
            remarks=remarks,
        )


def _of_shelx(path: Path, overrides: Overrides) -> DiffuseMap:
    """Map of reflections in SHELX's fixed columns."""
    remarks: list[Remark] = []
    rows = read_shelx(path, remarks)
    columns = {"intensity": rows[:, 3], "sigma": rows[:, 4]}
    if np.isnan(rows[:, 4]).all():
        del columns["sigma"]
    return map_of_rows(
        path,
        rows[:, :3],
        columns,
        overrides.need_cell(path),
        per_index=overrides.per_index,
        spacegroup=overrides.spacegroup,
        history=[f"read from {path.name}: reflections of SHELX"],
        remarks=remarks,
    )


def _without_terminator(
    rows: NDArray[np.float64], names: tuple[str, ...], remarks: list[Remark]
) -> NDArray[np.float64]:
    """Rows without a last one of zeros, by which SHELX ends a list."""
    if len(rows) > 1 and not rows[-1].any() and rows[:-1].any(axis=1).all():
        remarks.append(Remark("ignored", f"a last row {' '.join('0' for _ in names)}, as an end"))
        return rows[:-1]
    return rows


def write(diffuse: DiffuseMap, path: Path, force: bool) -> None:
    """Write a line for each voxel that has a value.

    Raises
    ------
    InputError
        For a list.
    FileError
        If the file exists and `force` is not set.
    """
    grid, _ = diffuse.require_grid()
    halves = diffuse.halves or (None, None)
    arrays = (diffuse.intensity, diffuse.sigma, diffuse.counts, *halves)
    held = {name: x for name, x in zip(COLUMNS[3:], arrays, strict=True) if x is not None}
    any_double = any(x.dtype == np.float64 for x in held.values())
    dtype = "float64" if any_double else "float32"
    rows = sum(int(_rows(part, held).sum()) for part in grid.slabs())
    head = _header(diffuse, list(held), rows, dtype)
    form = " ".join(["%.12g"] * 3 + [f"%.{DIGITS[dtype]}g"] * len(held))
    with replacing(path, force) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"# {line}\n" for line in head)
        for part in grid.slabs():
            kept = _rows(part, held)
            columns = [x[part].reshape(-1)[kept] for x in held.values()]
            table = np.column_stack([grid.slab_hkl(part)[kept], *columns])
            np.savetxt(file, table, fmt=form)


def _rows(part: slice, held: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Voxels of a slab that have any value."""
    kept = [~np.isnan(x[part].reshape(-1)) for x in held.values()]
    return np.logical_or.reduce(kept)


def _header(diffuse: DiffuseMap, names: list[str], rows: int, dtype: str) -> list[str]:
    assert diffuse.cell is not None
    lines = [
        "diffuse intensity at Miller indices",
        f"cell {' '.join(map(repr, diffuse.cell))}",
        f"spacegroup {diffuse.spacegroup}",
        f"grid {diffuse.grid}",
        f"units {diffuse.units}",
        f"version {diffuse.version}",
        f"parameters {json.dumps(dict(diffuse.parameters))}",
        *(f"history {' '.join(line.split())}" for line in diffuse.history),
        *Header.of(diffuse, dtype).lines(100),
        f"rows {rows}",
        f"columns h k l {' '.join(names)}",
    ]
    return [line.rstrip() for line in lines]


def _read_header(comments: list[str]) -> dict[str, str]:
    """Content of the comments by their first words."""
    pairs = (comment.partition(" ") for comment in comments)
    return {name.rstrip(":").lower(): rest.strip() for name, _, rest in pairs}


def _names(path: Path, table: NumberTable, header: dict[str, str]) -> tuple[str, ...]:
    """Names of the columns: from a comment or the first line, or h k l intensity [sigma]."""
    width = table.values.shape[1]
    names = tuple(header.get("columns", "").replace(",", " ").lower().split()) or tuple(
        OTHER_NAMES.get(name.lower(), name.lower()) for name in table.heading
    )
    if not names:
        if width not in (4, 5):
            raise MapFileError(
                f"{path}: {width} numbers per line; a table has h k l intensity [sigma], or a "
                "comment '# columns h k l intensity ...' that lists its columns"
            )
        return COLUMNS[:width]
    unknown = [name for name in names if name not in COLUMNS]
    if len(names) != width or len(set(names)) < width or unknown or set(COLUMNS[:4]) - set(names):
        raise MapFileError(
            f"{path}: it names the columns {' '.join(names)}, its lines have {width} "
            f"numbers; columns are h k l intensity and any of {' '.join(COLUMNS[4:])}"
        )
    return names


def _cell(path: Path, header: dict[str, str]) -> tuple[float, ...] | None:
    """The cell from a comment of another program: six numbers after "cell"."""
    words = header.get("cell", "").replace(",", " ").split()
    if not words:
        return None
    if len(words) != 6:
        raise MapFileError(f"{path}: its comment has cell {' '.join(words)}, not six numbers")
    return tuple(float(word) for word in words)
