"""Header of a map as lines of text, for formats with text headers: MTZ, CCP4, text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onephonon.core.errors import MapFileError
from onephonon.crystal.grid import HklGrid

from ..diffuse import DiffuseMap

#: Start of each line, followed by its number and the number of lines.
LINE_PREFIX = "onephonon"


@dataclass(frozen=True)
class Header:
    """Exact grid, cell and metadata of a map; the grid is None for a list."""

    cell: tuple[float, ...]
    grid: HklGrid | None = None
    spacegroup: str = ""
    units: str = ""
    dtype: str = "float32"

    @classmethod
    def of(cls, diffuse: DiffuseMap, dtype: str = "float32") -> Header:
        """Create the header of a map on a grid.

        Raises
        ------
        InputError
            For a list.
        """
        grid, cell = diffuse.require_grid()
        return cls(cell, grid, diffuse.spacegroup, diffuse.units, dtype)

    def lines(self, width: int = 80) -> list[str]:
        """Lines of at most `width` ASCII characters."""
        items: dict[str, Any] = {"cell": self.cell, "dtype": self.dtype}
        if self.grid is not None:
            items |= {
                "origin": self.grid.origin,
                "step": self.grid.step,
                "shape": self.grid.shape,
            }
        items |= {"spacegroup": self.spacegroup, "units": self.units}
        text = json.dumps(items, separators=(",", ":"))
        line_width = width - len(f"{LINE_PREFIX} 99/99 ") - 1
        parts = [text[i : i + line_width] for i in range(0, len(text), line_width)]
        # The closing sign protects trailing blanks, which some formats strip.
        return [f"{LINE_PREFIX} {i + 1}/{len(parts)} {part}|" for i, part in enumerate(parts)]

    @classmethod
    def find(cls, lines: Iterable[str], path: Path) -> Header | None:
        """Find the header lines among others.

        Returns
        -------
        Header or None
            None if there are none.

        Raises
        ------
        MapFileError
            If the header is damaged.
        """
        parts: dict[int, str] = {}
        total = 0
        for line in lines:
            words = line.strip().split(" ", 2)
            if len(words) == 3 and words[0] == LINE_PREFIX and "/" in words[1]:
                number, _, count = words[1].partition("/")
                if number.isdecimal() and count.isdecimal():
                    parts[int(number)] = words[2].removesuffix("|")
                    total = int(count)
        if not parts:
            return None
        try:
            items = json.loads("".join(parts[i + 1] for i in range(total)))
            grid = None
            if "shape" in items:
                origin, step, shape = (tuple(items[x]) for x in ("origin", "step", "shape"))
                grid = HklGrid(origin, step, shape)
            return cls(
                tuple(float(x) for x in items["cell"]),
                grid,
                str(items["spacegroup"]),
                str(items["units"]),
                str(items["dtype"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise MapFileError(
                f"{path}: the header lines with the map's cell and grid are damaged ({error})"
            ) from error
