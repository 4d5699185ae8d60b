"""Options for information that the file of a map may lack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from onephonon.core.errors import InputError, MapFileError

from ..checks import FINITE, POSITIVE, READS, Cell, Sampling
from ..groups import OptionGroup

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap


@dataclass(frozen=True)
class MapReadingOptions(OptionGroup):
    """Options for information that the file of a map may lack."""

    panel: ClassVar[str] = "Map reading: information that the file may lack"

    cell: Annotated[
        tuple[float, float, float, float, float, float] | None,
        typer.Option(metavar="A B C α β γ", help="Unit cell, in Å and degrees."),
        Cell(),
    ] = None
    cell_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Cell and space group from a structure (.pdb, .cif), .mtz, another map, or "
            "mdx2's geometry.nxs.",
        ),
        READS,
    ] = None
    space_group: Annotated[
        str, typer.Option(metavar="SYMBOL", help="Space group, such as 'P 1 21 1'.")
    ] = ""
    h: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--h", metavar="MIN MAX N", help="First and last h, and voxels per index."),
        Sampling(),
    ] = None
    k: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--k", metavar="MIN MAX N", help="First and last k, and voxels per index."),
        Sampling(),
    ] = None
    l: Annotated[  # noqa: E741
        tuple[float, float, float] | None,
        typer.Option("--l", metavar="MIN MAX N", help="First and last l, and voxels per index."),
        Sampling(),
    ] = None
    per_index: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="NH NK NL", help="Voxels per Miller index, if only they are missing."),
        POSITIVE,
    ] = None
    origin: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="I J K", help="Voxel of hkl = 0, 0, 0, counted from 0, in .lat and .npy files."
        ),
        FINITE,
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which map of the file: a path in HDF5 or NeXus, or its end; a column of an MTZ.",
        ),
    ] = None

    def map_overrides(self) -> dict[str, Any]:
        """Keywords of `read_map`.

        Raises
        ------
        InputError
            If options contradict each other.
        """
        if self.cell is not None and self.cell_from is not None:
            raise InputError("--cell and --cell-from both set the cell; give one")
        ranges = tuple(axis for axis in (self.h, self.k, self.l) if axis is not None)
        if ranges and self.per_index is not None:
            raise InputError("--per-index and --h, --k, --l both set the sampling; give one")
        if len(ranges) not in (0, 3):
            raise InputError("give all three of --h, --k and --l (MIN MAX N each)")
        return {
            "cell": self.cell if self.cell is not None else self.cell_from,
            "spacegroup": self.space_group,
            "sampling": self.per_index if self.per_index is not None else (ranges or None),
            "origin": self.origin,
            "dataset": self.dataset,
        }

    def read(self, file: Path) -> DiffuseMap:
        """Read a map."""
        from onephonon.maps.io.registry import read_map

        return read_map(file, **self.map_overrides())

    def read_for(self, file: Path, model: Path) -> DiffuseMap:
        """Read data; the cell is that of the model if neither their file nor an option has one."""
        from onephonon.maps.io.registry import read_map

        overrides = self.map_overrides()
        try:
            return read_map(file, **overrides)
        except MapFileError:
            if overrides["cell"] is not None:
                raise
            return read_map(file, **overrides | {"cell": model})

    def read_pair(self, first: Path, second: Path | None) -> tuple[DiffuseMap, DiffuseMap | None]:
        """Read one map, or two, where the options apply to the second, as `read_for` does."""
        from onephonon.maps.io.registry import read_map

        if second is None:
            return self.read(first), None
        return read_map(first), self.read_for(second, first)
