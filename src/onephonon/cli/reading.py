"""Options by which a user says what a map's file cannot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onephonon.core.errors import InputError

from .options import Range

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap

#: Heading of these options in --help.
PANEL = "What the file may not say"

CellOption = Annotated[
    tuple[float, float, float, float, float, float] | None,
    typer.Option(
        "--cell",
        metavar="A B C ALPHA BETA GAMMA",
        help="Cell, Å and degrees.",
        rich_help_panel=PANEL,
    ),
]
CellFromOption = Annotated[
    Path | None,
    typer.Option(
        "--cell-from",
        metavar="FILE",
        help="Take cell and space group from a structure (.pdb, .cif), .mtz, another map, or "
        "mdx2's geometry.nxs.",
        rich_help_panel=PANEL,
    ),
]
SpacegroupOption = Annotated[
    str,
    typer.Option("--spacegroup", help="Space group, as 'P 1 21 1'.", rich_help_panel=PANEL),
]
HOption = Annotated[
    Range | None,
    typer.Option(
        "--h",
        metavar="MIN MAX N",
        help="First and last h, and voxels per index.",
        rich_help_panel=PANEL,
    ),
]
KOption = Annotated[
    Range | None,
    typer.Option("--k", metavar="MIN MAX N", help="The same for k.", rich_help_panel=PANEL),
]
LOption = Annotated[
    Range | None,
    typer.Option("--l", metavar="MIN MAX N", help="The same for l.", rich_help_panel=PANEL),
]
PerIndexOption = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        "--per-index",
        metavar="NH NK NL",
        help="Voxels per Miller index, where only these are missing.",
        rich_help_panel=PANEL,
    ),
]
OriginOption = Annotated[
    tuple[int, int, int] | None,
    typer.Option(
        "--origin",
        metavar="I J K",
        help=".lat, .npy: voxel of hkl 0, 0, 0, counted from 0.",
        rich_help_panel=PANEL,
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Which map of the file: a path in HDF5 or NeXus, or its end; a column of an MTZ.",
        rich_help_panel=PANEL,
    ),
]


def read_with(
    file: Path,
    *,
    cell: tuple[float, ...] | None = None,
    cell_from: Path | None = None,
    spacegroup: str = "",
    ranges: tuple[Range | None, Range | None, Range | None] = (None, None, None),
    per_index: tuple[float, float, float] | None = None,
    origin: tuple[int, int, int] | None = None,
    dataset: str | None = None,
) -> DiffuseMap:
    """Read a map with the options of the command line.

    Raises
    ------
    InputError
        If options contradict one another.
    """
    from onephonon.maps.io.choice import read_map

    if cell is not None and cell_from is not None:
        raise InputError("--cell and --cell-from both say the cell; give one")
    given = [axis for axis in ranges if axis is not None]
    if given and per_index is not None:
        raise InputError("--per-index and --h, --k, --l both say the sampling; give one")
    if len(given) not in (0, 3):
        raise InputError("give all three of --h, --k and --l (MIN MAX N each)")
    sampling: Any = per_index if per_index is not None else (tuple(given) or None)
    return read_map(
        file,
        cell=cell if cell is not None else cell_from,
        spacegroup=spacegroup,
        sampling=sampling,
        origin=origin,
        dataset=dataset,
    )
