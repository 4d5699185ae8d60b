"""``onephonon view``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .app import app
from .options import ForceOption, QuietOption
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


@app.command(
    epilog="Examples: [bold]onephonon view map.h5[/] --open; "
    "[bold]onephonon view model.h5 --against data.h5[/] --anisotropic -o compared.html"
)
def view(
    file: Annotated[Path, typer.Argument(help="A map on a grid of hkl, in any of the formats.")],
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="DATA", help="A second map to compare with."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML to write (default: FILE with ending .html)."),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    anisotropic: Annotated[
        bool,
        typer.Option("--anisotropic", help="Show what is left without the average over shells."),
    ] = False,
    title: Annotated[
        str | None, typer.Option("--title", help="Heading (default: the files' names).")
    ] = None,
    voxels: Annotated[
        int | None,
        typer.Option(
            "--voxels", help="A map of more is reduced by means over blocks (default: 4 million)."
        ),
    ] = None,
    cell: CellOption = None,
    cell_from: CellFromOption = None,
    spacegroup: SpacegroupOption = "",
    h: HOption = None,
    k: KOption = None,
    l: LOption = None,  # noqa: E741
    per_index: PerIndexOption = None,
    origin: OriginOption = None,
    dataset: DatasetOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a map as an interactive page: 3-D, slices, read-out; one HTML file, offline.

    What a file may not say is said of DATA if there is one, else of FILE.
    """
    from onephonon.core.files import check_writable
    from onephonon.maps.isotropic import split_isotropic
    from onephonon.viz.page.writing import VOXELS, check_page_path, write_page

    output = output or file.with_suffix(".html")
    check_writable(check_page_path(output), force)
    given: dict[str, Any] = {
        "cell": cell,
        "cell_from": cell_from,
        "spacegroup": spacegroup,
        "ranges": (h, k, l),
        "per_index": per_index,
        "origin": origin,
        "dataset": dataset,
    }
    first = read_with(file, **({} if against else given))
    second = read_with(against, **given) if against else None
    names = (file.name, "") if against is None else _told_apart(file, against)
    with status(f"writing {output.name}", quiet):
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
            force=force,
        )
    if not quiet:
        typer.echo(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    if open_it:
        typer.launch(output.resolve().as_uri())


def _told_apart(first: Path, second: Path) -> tuple[str, str]:
    """Names of two files; with their folders where the names are the same."""
    if first.name != second.name:
        return first.name, second.name
    return f"{first.resolve().parent.name}/{first.name}", (
        f"{second.resolve().parent.name}/{second.name}"
    )
