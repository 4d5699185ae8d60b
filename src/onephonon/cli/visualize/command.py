"""The command ``onephonon visualize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onephonon.core.errors import InputError

from ..app import command
from ..checks import READS, WRITES, Given
from ..options.map_reading import MapReadingOptions
from ..options.output import OutputOptions
from ..options.voxels import IndexingOptions
from ..pairs import read_maps
from ..terminal import echo, status
from .drawing import draw_kind, write_film
from .options import PROFILE, SLICES, LookOptions, PictureOptions

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap


@command(
    "onephonon visualize map.h5 --plane hk0.5 --plane hhl",
    "onephonon visualize model.h5 data.h5 --anisotropic --profile",
)
def visualize(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A map in any of the formats, or a list."), READS
    ],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="A measured map to compare with."), READS
    ] = None,
    *,
    given: Given,
    against: Annotated[
        Path | None, typer.Option(metavar="DATA", help="The same as the second argument."), READS
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="PNG, PDF or SVG file to write.",
            show_default="FILE with ending .png",
        ),
        WRITES,
    ] = None,
    writing: OutputOptions,
    pictures: PictureOptions,
    looks: LookOptions,
    indexing: IndexingOptions,
    reading: MapReadingOptions,
) -> None:
    """Draw a map: slices and a histogram; a list: its histogram and I(|q|).

    With DATA, the first map, the second and their difference are drawn side by side, in the
    indices of DATA: all indexings of the lattice are tried, as by compare. The options under Map
    reading apply to DATA. With --halos, --profile or --animate and without
    --plane, only these are drawn.
    """
    from onephonon.viz.plot.saving import save

    if data is not None and against is not None:
        raise InputError(f"{data} and --against {against} are both a second map; give one")
    second_file = against or data
    if not pictures.kinds:
        given.refuse("output", "dpi", why="for pictures, and only --animate is drawn; add --plane")
    if pictures.kinds == [PROFILE] and pictures.animate is None:
        why = "not for --profile alone; add --plane, --halos or --animate"
        given.refuse("anisotropic", "limits", "scale", why=why)
    files = _outputs(file, output, pictures.kinds)
    writing.check(*files.values(), pictures.animate)
    _check_looks(pictures.animate, looks)
    maps = read_maps(file, second_file, reading, indexing, writing.quiet)
    first, second = maps.first, maps.second
    names = f"model {maps.names[0]}, data {maps.names[1]}" if second_file else file.name
    if first.grid is None and not writing.quiet:
        _print_reason_for_list(first)
    for kind, path in files.items():
        with status(f"drawing {path.name}", writing.quiet):
            figure = draw_kind(kind, pictures, looks, names, first, second)
            save(figure, path, writing.force, looks.dpi)
        if not writing.quiet:
            echo(f"wrote {path}")
    if pictures.animate is not None:
        n = write_film(pictures.animate, pictures, looks, names, first, writing)
        if not writing.quiet:
            echo(f"wrote {pictures.animate}: {n} frames")


def _outputs(file: Path, output: Path | None, kinds: list[str]) -> dict[str, Path]:
    """File name of each kind of picture; a single picture gets the name of --output."""
    from onephonon.viz.plot.saving import check_picture_path

    base = check_picture_path(output or file.with_suffix(".png"))
    if output is not None and len(kinds) == 1:
        return {kinds[0]: base}
    return {
        kind: base if kind == SLICES else base.with_name(f"{base.stem}-{kind}{base.suffix}")
        for kind in kinds
    }


def _check_looks(animate: Path | None, looks: LookOptions) -> None:
    """Check the options that do not need the map, before long computations."""
    from onephonon.viz.plot.animation import check_film_path
    from onephonon.viz.plot.saving import check_dpi
    from onephonon.viz.plot.style import check_scale

    check_dpi(looks.dpi)
    check_scale(looks.scale)
    if animate is not None:
        check_film_path(animate)


def _print_reason_for_list(diffuse: DiffuseMap) -> None:
    """Print why the data are drawn as a list."""
    tried = diffuse.list_shape and diffuse.history
    why = diffuse.history[-1] if tried else "no map_shape: a list of q-vectors"
    echo(f"{why}; drawing the histogram and I against |q|")
