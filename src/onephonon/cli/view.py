"""``onephonon view``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import command
from .checks import ONE_OR_MORE, READS, WRITES
from .options.map_reading import MapReadingOptions
from .options.output import OutputOptions
from .options.voxels import IndexingOptions
from .pairs import read_maps
from .terminal import echo, status


@command(
    "onephonon view map.h5 --open",
    "onephonon view model.h5 --against data.h5 --anisotropic -o compared.html",
)
def view(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A map on a grid of hkl, in any of the formats."),
        READS,
    ],
    *,
    against: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="A second map to compare with, side by side."),
        READS,
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="HTML file to write.", show_default="FILE with ending .html"
        ),
        WRITES,
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Show the page in the browser.")
    ] = False,
    anisotropic: Annotated[
        bool,
        typer.Option(
            "--anisotropic", help="Show the anisotropic part: subtract the mean over shells of |q|."
        ),
    ] = False,
    title: Annotated[
        str | None,
        typer.Option(help="Heading of the page.", show_default="names of the files"),
    ] = None,
    voxels: Annotated[
        int | None,
        typer.Option(
            help="Reduce larger maps to this many voxels by means over blocks.",
            show_default="4 million",
        ),
        ONE_OR_MORE,
    ] = None,
    writing: OutputOptions,
    indexing: IndexingOptions,
    reading: MapReadingOptions,
) -> None:
    """Write a map as an interactive HTML page (3-D view, slices, values) that works offline.

    With --against, the first map is shown in the indices of DATA: all indexings of the lattice are
    tried, as by compare. The options under Map reading apply to DATA.
    """
    from onephonon.maps.isotropic import split_isotropic
    from onephonon.viz.page.writing import VOXELS, check_page_path, write_page

    output = output or file.with_suffix(".html")
    writing.check(check_page_path(output))
    maps = read_maps(file, against, reading, indexing, writing.quiet)
    first, second, names = maps.first, maps.second, maps.names
    with status(f"writing {output.name}", writing.quiet):
        if anisotropic:
            first = split_isotropic(first)[1]
            second = None if second is None else split_isotropic(second)[1]
        write_page(
            first,
            output,
            second,
            title=title or " against ".join(name for name in names if name),
            names=names,
            voxels=VOXELS if voxels is None else voxels,
            force=writing.force,
        )
    if not writing.quiet:
        echo(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    if open_page:
        typer.launch(output.resolve().as_uri())
