"""``onephonon info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import facts
from .app import app
from .options import ForceOption
from .reading import (
    CellFromOption,
    CellOption,
    DatasetOption,
    HOption,
    KOption,
    LOption,
    OriginOption,
    PerIndexOption,
    SpacegroupOption,
    read_with,
)
from .terminal import status

if TYPE_CHECKING:
    from rich.console import Console

    from onephonon.maps.diffuse import DiffuseMap


@app.command(epilog="Example: [bold]onephonon info snase.lat[/] --cell-from 1stn.pdb --laue 4/mmm")
def info(
    file: Annotated[Path, typer.Argument(help="A map in any of the formats.")],
    cell: CellOption = None,
    cell_from: CellFromOption = None,
    spacegroup: SpacegroupOption = "",
    h: HOption = None,
    k: KOption = None,
    l: LOption = None,  # noqa: E741
    per_index: PerIndexOption = None,
    origin: OriginOption = None,
    dataset: DatasetOption = None,
    laue: Annotated[
        str,
        typer.Option(
            "--laue", help="Compare under this Laue class or space group (default: the map's own)."
        ),
    ] = "",
    picture: Annotated[
        bool | None,
        typer.Option("--picture/--no-picture", help="Draw the map here (default: on a terminal)."),
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Draw the map into this PNG.")] = None,
    force: ForceOption = False,
) -> None:
    """Say what is in a map: grid, coverage, resolution, intensities, agreement of its symmetry.

    Equivalent voxels are compared as they are, before any averaging:
    their correlation CC, that of the anisotropic part (without the mean
    over each shell of resolution, which alone correlates anything), and
    R = Σ|a - b| / Σ(|a| + |b|).
    """
    from onephonon.core.files import check_writable
    from onephonon.maps.io.choice import format_name

    if png is not None:
        from onephonon.viz.plot.saving import check_picture_path

        check_writable(check_picture_path(png), force)
    with status(f"reading {file.name}", quiet=False):
        diffuse = read_with(
            file,
            cell=cell,
            cell_from=cell_from,
            spacegroup=spacegroup,
            ranges=(h, k, l),
            per_index=per_index,
            origin=origin,
            dataset=dataset,
        )
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    drawn = picture if picture is not None else console.is_terminal
    if picture:  # asked for, so colours too where it is not a terminal
        console = Console(highlight=False, force_terminal=True, color_system="truecolor")
    console.print(f"[bold]{escape(file.name)}[/]: {format_name(file)}", soft_wrap=True)
    _print_facts(console, diffuse, laue)
    if drawn and diffuse.grid is not None and diffuse.n_valid:
        _print_picture(console, diffuse)
    if png is not None:
        from onephonon.viz.plot.overview import draw
        from onephonon.viz.plot.saving import save

        save(draw(diffuse, file.name), png, force)
        console.print(f"wrote {escape(str(png))}", soft_wrap=True)


def _print_facts(console: Console, diffuse: DiffuseMap, laue: str) -> None:
    """Everything in words and numbers."""
    from rich.table import Table
    from rich.text import Text

    from onephonon.maps.summary import summarize

    rows, summary = facts.where(diffuse), None
    with status("looking at the intensities", quiet=False):
        if diffuse.n_valid:
            summary = summarize(diffuse)
            rows += facts.values(diffuse, summary) + facts.symmetry(diffuse, laue)
    rows += [("" if n else "history", line) for n, line in enumerate(diffuse.history)]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    console.print(table)
    if summary is not None:
        headings, lines = facts.shells(summary.shells)
        by_shell = Table(box=None, pad_edge=False)
        for heading in headings:
            by_shell.add_column(heading, justify="right")
        for line in lines:
            by_shell.add_row(*line)
        console.print()
        console.print(by_shell)


def _print_picture(console: Console, diffuse: DiffuseMap) -> None:
    """Central sections side by side, or the first alone on a narrow terminal."""
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
    console.print(Text.assemble("I ", colour_bar(), f" {scale}; nothing where there is no value"))
