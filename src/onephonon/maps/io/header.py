"""What a map is, in lines of text, for formats with room for text only: MTZ, CCP4, text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onephonon.core.errors import MapFileError
from onephonon.crystal.grid import HklGrid

from ..diffuse import DiffuseMap

#: How each of our lines begins, followed by its number and how many there are.
MARK = "onephonon"


@dataclass(frozen=True)
class Notes:
    """Grid, cell and names of a map, to the last bit; of a list, no grid."""

    cell: tuple[float, ...]
    grid: HklGrid | None = None
    spacegroup: str = ""
    units: str = ""
    dtype: str = "float32"

    @classmethod
    def of(cls, diffuse: DiffuseMap, dtype: str = "float32") -> Notes:
        """Note what a map on a grid is.

        Raises
        ------
        MapFileError
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
        room = width - len(f"{MARK} 99/99 ") - 1
        parts = [text[i : i + room] for i in range(0, len(text), room)]
        # The closing sign keeps blanks at the end, which some formats strip.
        return [f"{MARK} {i + 1}/{len(parts)} {part}|" for i, part in enumerate(parts)]

    @classmethod
    def find(cls, lines: Iterable[str], path: Path) -> Notes | None:
        """Find our lines among others.

        Returns
        -------
        Notes or None
            None if there are none.

        Raises
        ------
        MapFileError
            If there are but they are damaged.
        """
        parts: dict[int, str] = {}
        total = 0
        for line in lines:
            words = line.strip().split(" ", 2)
            if len(words) == 3 and words[0] == MARK and "/" in words[1]:
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
                f"{path}: the lines that say the map's cell and grid are damaged ({error})"
            ) from error
