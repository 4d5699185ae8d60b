"""The command ``onephonon info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onephonon.core.errors import InputError

from ..app import command
from ..checks import READS, WRITES, Given
from ..options.map_reading import MapReadingOptions
from ..options.output import OutputOptions
from ..options.structure import StructureOptions, is_structure
from ..tables import print_table
from ..terminal import echo, status

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap

    from ..console import SafeConsole


@command("onephonon info snase.lat --cell-from 1stn.pdb --laue 4/mmm", "onephonon info 1stn.pdb")
def info(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A map in any of the supported formats, or a structure."
        ),
        READS,
    ],
    *,
    given: Given,
    laue: Annotated[
        str,
        typer.Option(
            metavar="GROUP",
            help="Laue class or space group for the comparison of equivalent voxels.",
            show_default="that of the map",
        ),
    ] = "",
    picture: Annotated[
        bool | None,
        typer.Option(
            "--picture/--no-picture",
            help="Draw the map in the terminal.",
            show_default="on a terminal",
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the map into a PNG, PDF or SVG file."),
        WRITES,
    ] = None,
    writing: OutputOptions,
    reading: MapReadingOptions,
    structure: StructureOptions,
) -> None:
    """Describe a map: grid, coverage, resolution, intensities, agreement of symmetry equivalents.

    Or a structure (PDB, mmCIF): cell, atoms, and what was read, changed, dropped, assumed and
    ignored; the options under Structure are for it, all others for maps.

    Equivalent voxels are compared before any averaging, by their correlation CC, that of the
    anisotropic part (without the mean of each resolution shell, whose fall-off alone gives a high
    correlation), and R = Σ|a - b| / Σ(|a| + |b|).
    """
    if writing.quiet:
        given.refuse("laue", "picture", why="not with --quiet, which prints nothing")
    if is_structure(file):
        given.refuse(
            *MapReadingOptions.names(),
            "picture",
            why=f"only for maps, but {file} is read as a structure",
        )
        _describe_structure(file, structure, laue, png, writing.quiet)
        return
    given.refuse(*StructureOptions.names(), why=f"only for structures, but {file} is read as a map")
    if png is not None:
        from onephonon.viz.plot.saving import check_picture_path

        writing.check(check_picture_path(png))
    with status(f"reading {file.name}", writing.quiet):
        diffuse = reading.read(file)
    if not writing.quiet:
        _print(file, diffuse, laue, picture)
    if png is not None:
        from onephonon.viz.plot.overview import draw
        from onephonon.viz.plot.saving import save

        save(draw(diffuse, file.name), png, writing.force)
        if not writing.quiet:
            echo(f"wrote {png}")


def _describe_structure(
    file: Path, structure: StructureOptions, laue: str, png: Path | None, quiet: bool
) -> None:
    """Print the description of a structure."""
    from .structure import print_structure

    if laue or png is not None:
        raise InputError(f"--laue and --png are for maps, but {file} is read as a structure")
    crystal = structure.read_crystal(file)
    if not quiet:
        print_structure(file, crystal)


def _print(file: Path, diffuse: DiffuseMap, laue: str, picture: bool | None) -> None:
    """Print the description, and a picture if requested."""
    from rich.text import Text

    from onephonon.maps.io.registry import format_name

    from ..console import SafeConsole

    console = SafeConsole()
    drawn = picture if picture is not None else console.is_terminal
    if picture:  # requested, so use colours even without a terminal
        console = SafeConsole(force_terminal=True, color_system="truecolor")
    console.print(Text.assemble((file.name, "bold"), f": {format_name(file)}"), soft_wrap=True)
    _print_facts(console, diffuse, laue)
    if drawn and diffuse.grid is not None and diffuse.n_valid:
        _print_picture(console, diffuse)


def _print_facts(console: SafeConsole, diffuse: DiffuseMap, laue: str) -> None:
    """Print the properties of a map."""
    from rich.table import Table
    from rich.text import Text

    from onephonon.maps.summary import summarize

    from . import facts

    rows, summary = facts.where(diffuse), None
    with status("analysing the intensities", quiet=False):
        if diffuse.n_valid:
            summary = summarize(diffuse)
            rows += facts.values(diffuse, summary) + facts.symmetry(diffuse, laue)
    rows += facts.file(diffuse)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    console.print(table)
    if summary is not None:
        headings, lines = facts.shells(summary.shells)
        console.print()
        print_table(console, "", headings, lines, text_keys=False)


def _print_picture(console: SafeConsole, diffuse: DiffuseMap) -> None:
    """Print central sections side by side, or only the first on a narrow terminal."""
    from rich.table import Table
    from rich.text import Text

    from .picture import colour_bar, drawn, sections

    found, scale = sections(diffuse, console.width)
    grid = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in found:
        grid.add_column(vertical="top")
    grid.add_row(*(drawn(section) for section in found))
    grid.add_row(*(Text(section.title, style="italic") for section in found))
    console.print()
    console.print(grid)
    console.print(Text.assemble("I ", colour_bar(), f" {scale}; blank: no value"))
