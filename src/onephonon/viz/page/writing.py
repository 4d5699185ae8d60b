"""Writing of the interactive page: template, style, scripts and data in one HTML file.

The 3-D view uses three.js (MIT; ``assets/vendor``), a well maintained WebGL library that is small
when bundled selectively and can draw oblique reciprocal cells. The page makes no network requests;
its content security policy forbids them.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from onephonon import __version__
from onephonon.compare.comparison import check_same_cell
from onephonon.core.errors import FileError, InputError
from onephonon.core.files import replacing
from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.grid import HklGrid
from onephonon.maps.diffuse import Array, DiffuseMap
from onephonon.maps.resampling import resample

from .blocks import Factors, block_factors, block_grid, block_means
from .coding import encode, packed

#: Maximum number of voxels of a page: about 160 along each axis, and 8 MB per map.
VOXELS = 4_000_000

#: Relative tolerance of equal cells.
CELL_TOLERANCE = 1e-3

#: A second map finer than the page by this factor is averaged, else interpolated.
MIN_FINENESS = 1.5

#: Scripts of the page by their import names.
MODULES = {
    "three": "vendor/three.js",
    "onephonon/data": "data.js",
    "onephonon/facts": "facts.js",
    "onephonon/geometry": "geometry.js",
    "onephonon/palettes": "palettes.js",
    "onephonon/scales": "scales.js",
    "onephonon/slices": "slices.js",
    "onephonon/solid": "solid.js",
    "onephonon/shaders": "shaders.js",
    "onephonon/theme": "theme.js",
    "onephonon/widgets": "widgets.js",
    "onephonon/app": "app.js",
}


def check_page_path(path: str | os.PathLike[str]) -> Path:
    """Check that the name of a page ends in .html or .htm.

    Raises
    ------
    FileError
        If not.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise FileError(f"{path}: a page is an .html file; change the ending")
    return path


def write_page(
    diffuse: DiffuseMap,
    path: str | os.PathLike[str],
    second: DiffuseMap | None = None,
    *,
    title: str = "Diffuse map",
    names: tuple[str, str] = ("first", "second"),
    voxels: int = VOXELS,
    force: bool = False,
) -> None:
    """Write a map, or two maps to compare, as one interactive HTML file that works offline.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    path : path
        HTML file to write.
    second : DiffuseMap, optional
        Map to compare with; it is converted to the grid of the first, with a note on the page. The
        same hkl are compared: see `onephonon.compare.in_same_indices` for other indexings.
    title : str
        Heading of the page.
    names : tuple of two str
        Names of the maps.
    voxels : int
        Larger maps are reduced to at most this number by means over blocks, with a note on the
        page. Intensities are stored in 16 bits, accurate to about four digits.
    force : bool
        Overwrite an existing file.

    Raises
    ------
    FileError
        If the name has another ending, or the file cannot be written.
    InputError
        If a map is a list of q-vectors or has no values, the cells of two maps differ, or `voxels`
        is not positive.
    """
    path = check_page_path(path)
    if voxels < 1:
        raise InputError(f"voxels {voxels}: the maximum number on the page must be positive")
    grid, cell = diffuse.require_grid()
    factors = block_factors(grid, cell, voxels)
    shown = [_entry(diffuse, _reduced(diffuse.volume, factors), names[0], "")]
    if second is not None:
        values, note = _second_values(second, grid, cell, factors)
        shown.append(_entry(second, values, names[1], note))
    head = {
        "title": title,
        "generator": f"onephonon {__version__}",
        "cell": list(cell),
        "axes": numpy_cell(cell).inverse.tolist(),
        "spacegroup": diffuse.spacegroup,
        "fullShape": list(grid.shape),
        "blocks": list(factors),
        **_placed(block_grid(grid, factors)),
        "maps": [entry for entry, _ in shown],
    }
    text = _joined(title, head, [data for _, data in shown])
    with replacing(path, force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _placed(grid: HklGrid) -> dict[str, list[float]]:
    return {"origin": list(grid.origin), "step": list(grid.step), "shape": list(grid.shape)}


def _reduced(volume: Array, factors: Factors) -> Array:
    return volume if factors == (1, 1, 1) else block_means(volume, factors)


def _second_values(
    second: DiffuseMap, grid: HklGrid, cell: tuple[float, ...], factors: Factors
) -> tuple[Array, str]:
    """Values of a second map at the blocks of the first, and a description of the conversion."""
    own, own_cell = second.require_grid()
    check_same_cell(cell, own_cell)
    notes = []
    if not np.allclose(own_cell, cell, rtol=CELL_TOLERANCE):
        numbers = ", ".join(f"{x:.6g}" for x in own_cell)
        notes.append(f"its cell is {numbers}; voxels of the same hkl are compared")
    if own.matches(grid):
        return _reduced(second.volume, factors), "; ".join(notes)
    blocks = block_grid(grid, factors)
    finer = math.prod(blocks.step) > MIN_FINENESS * math.prod(own.step)
    done = "averaged" if finer else "interpolated linearly"
    notes.append(f"{done} on the grid of the first map; its own grid is {own}")
    values = resample(second, blocks, "average" if finer else "linear").volume
    return values, "; ".join(notes)


def _entry(diffuse: DiffuseMap, values: Array, name: str, note: str) -> tuple[dict[str, Any], str]:
    """Metadata of a map for the page, and its values as text."""
    if np.isnan(values).all():
        raise InputError(f"{name} has no values on the grid of the page: nothing to show")
    coded = encode(values)
    entry = {
        "name": name,
        "note": note,
        "units": diffuse.units,
        "history": list(diffuse.history),
        "coverage": float(np.count_nonzero(coded.codes) / coded.codes.size),
        "width": coded.width,
        "low": coded.low,
        "high": coded.high,
        "precision": coded.precision,
    }
    return entry, packed(coded.codes)


def _joined(title: str, head: dict[str, Any], data: list[str]) -> str:
    """Fill the template."""
    page = files(__package__) / "assets"

    def read(name: str) -> str:
        return page.joinpath(name).read_text(encoding="utf-8")

    def address(name: str) -> str:
        octets = base64.b64encode(read(name).encode()).decode("ascii")
        return f"data:text/javascript;base64,{octets}"

    parts = {
        "title": html.escape(title),
        "style": read("style.css"),
        "licence": read("vendor/LICENSE"),
        "imports": json.dumps({"imports": {key: address(name) for key, name in MODULES.items()}}),
        # A "</script>" in a title would end the element; JSON allows escaped slashes.
        "head": json.dumps(head).replace("</", "<\\/").replace("<!--", "<\\u0021--"),
        "data": "\n".join(
            f'<script type="text/plain" id="map-{i}">{text}</script>' for i, text in enumerate(data)
        ),
    }
    # Scripts and styles run by this number alone. It follows from the content, so that no content
    # can contain it, and equal maps give equal pages.
    parts["nonce"] = hashlib.sha256("".join(parts.values()).encode()).hexdigest()
    pieces = read("template.html").split("%%")  # text, name, text, name, ..., text
    return "".join(parts[p] if i % 2 else p for i, p in enumerate(pieces))
