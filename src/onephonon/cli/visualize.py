"""``onephonon visualize`` and ``onephonon demo``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onephonon.core.errors import InputError

from .app import app
from .options import ForceOption, QuietOption, Range
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
from .simulate import make_model, run_model, write
from .terminal import progress, status

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap

#: Kinds of pictures: slices, and those whose names end so.
SLICES, KINDS = "slices", ("halos", "profile")


@dataclass(frozen=True)
class Wanted:
    """How to draw, as the options say."""

    planes: tuple[str, ...]
    halos: int | None
    anisotropic: bool
    limits: tuple[float, float] | None
    scale: str
    title: str


@app.command(
    epilog="Examples: [bold]onephonon visualize map.h5[/] --plane hk0.5 --plane hhl; "
    "[bold]onephonon visualize model.h5 data.h5[/] --anisotropic --profile"
)
def visualize(
    file: Annotated[Path, typer.Argument(help="A map in any of the formats, or a list.")],
    data: Annotated[
        Path | None, typer.Argument(help="A measured map to draw beside it; or say --against.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="DATA", help="Draw FILE, DATA and their difference side by side."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="PNG, PDF or SVG to write (default: FILE with ending .png)."
        ),
    ] = None,
    plane: Annotated[
        list[str] | None,
        typer.Option(
            "--plane",
            help="Plane to draw: hk0, h0l, hk0.5, hhl; origin:along:up in Miller indices, as "
            "0,0,0:1,1,0:0,0,1; or q=origin:along:up, Cartesian, 1/Å with 2π. May be repeated.",
        ),
    ] = None,
    anisotropic: Annotated[
        bool,
        typer.Option("--anisotropic", help="Draw what is left without the average over shells."),
    ] = False,
    halos: Annotated[
        int | None,
        typer.Option("--halos", metavar="N", help="Close-ups of the N strongest halos."),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Intensity against resolution: mean and spread.")
    ] = False,
    animate: Annotated[
        Path | None,
        typer.Option(
            "--animate",
            metavar="FILM",
            help="Film (.gif, .mp4) that sweeps through the layers along the first --plane.",
        ),
    ] = None,
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="LOW HIGH", help="Intensities of first and last colour."),
    ] = None,
    scale: Annotated[
        str, typer.Option("--scale", help="Colours: auto, log, linear or diverging.")
    ] = "auto",
    dpi: Annotated[float, typer.Option("--dpi", help="Dots per inch.")] = 200,
    title: Annotated[str | None, typer.Option("--title", help="Heading.")] = None,
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
    """Draw a map: slices and a histogram; a list: its histogram and I(|q|).

    With a second map, the first, the second and their difference. With --halos, --profile or
    --animate, and no --plane, only these. What a file may not say is said of DATA if there is one,
    else of FILE.
    """
    from onephonon.core.files import check_writable

    if data is not None and against is not None:
        raise InputError(f"{data} and --against {against} are both a second map; give one")
    against = against or data
    kinds = [kind for kind, asked in zip(KINDS, (halos, profile), strict=True) if asked]
    if plane or not (kinds or animate):
        kinds.insert(0, SLICES)
    pictures = _outputs(file, output, kinds)
    for path in pictures.values():
        check_writable(path, force)
    _check_looks(animate, dpi, scale, force)
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
    heading = file.name if against is None else f"model {file.name}, data {against.name}"
    heading = heading if title is None else title
    wanted = Wanted(tuple(plane or ()), halos, anisotropic, limits, scale, heading)
    if first.grid is None and not quiet:
        _say_list(first)
    for kind, path in pictures.items():
        with status(f"drawing {path.name}", quiet):
            _save(_figure(kind, wanted, first, second), path, force, dpi)
        if not quiet:
            typer.echo(f"wrote {path}")
    if animate is not None:
        _film(wanted, first, animate, force, quiet)


def _outputs(file: Path, output: Path | None, kinds: list[str]) -> dict[str, Path]:
    """Name the picture of each kind; a single one is called as the user says."""
    from onephonon.viz.plot.saving import check_picture_path

    base = check_picture_path(output or file.with_suffix(".png"))
    if output is not None and len(kinds) == 1:
        return {kinds[0]: base}
    return {
        kind: base if kind == SLICES else base.with_name(f"{base.stem}-{kind}{base.suffix}")
        for kind in kinds
    }


def _check_looks(animate: Path | None, dpi: float, scale: str, force: bool) -> None:
    """Check before long work what does not need the map."""
    from onephonon.core.files import check_writable
    from onephonon.viz.plot.animation import check_film_path
    from onephonon.viz.plot.saving import check_dpi
    from onephonon.viz.plot.style import check_scale

    check_dpi(dpi)
    check_scale(scale)
    if animate is not None:
        check_writable(check_film_path(animate), force)


def _figure(kind: str, wanted: Wanted, first: DiffuseMap, second: DiffuseMap | None) -> Any:
    """Draw one kind of picture."""
    from onephonon.maps.isotropic import split_isotropic
    from onephonon.viz import plot

    looks: dict[str, Any] = {
        "title": wanted.title,
        "limits": wanted.limits,
        "scale": wanted.scale,
    }
    if kind == "profile":
        return _profiles(wanted, first, second)
    planes = [plot.parse_plane(text, (second or first).cell) for text in wanted.planes]
    if kind == SLICES and second is not None:
        return plot.draw_comparison(first, second, planes, anisotropic=wanted.anisotropic, **looks)
    if wanted.anisotropic:
        first = split_isotropic(first)[1]
    if kind == "halos":
        return plot.draw_halos(first, wanted.halos or 1, **looks)
    return plot.draw_slices(first, planes, **looks) if planes else plot.draw(first, **looks)


def _profiles(wanted: Wanted, first: DiffuseMap, second: DiffuseMap | None) -> Any:
    """Profiles of one map, or of both, the first scaled to the second."""
    from onephonon.maps.arithmetic import scale
    from onephonon.maps.radial import radial_average
    from onephonon.viz.plot.curves import draw_profiles
    from onephonon.viz.plot.slices import match
    from onephonon.viz.plot.style import intensity_label

    if second is None:
        profiles = {"": radial_average(first)}
        return draw_profiles(profiles, title=wanted.title, label=intensity_label(first))
    factor, _ = match(first, second)
    profiles = {
        f"model, multiplied by {factor:.4g}": radial_average(scale(first, factor)),
        "data": radial_average(second),
    }
    return draw_profiles(profiles, title=wanted.title, label=intensity_label(second))


def _film(wanted: Wanted, diffuse: DiffuseMap, path: Path, force: bool, quiet: bool) -> None:
    """Write the film along the index that the first plane fixes."""
    from onephonon.maps.isotropic import split_isotropic
    from onephonon.viz.plot.animation import animate
    from onephonon.viz.plot.planes import parse_plane

    fixed = None
    if wanted.planes:
        fixed = parse_plane(wanted.planes[0], diffuse.cell).fixed
        if fixed is None:
            raise InputError(
                f"--animate goes through layers, and --plane {wanted.planes[0]} is none; name one "
                "as hk0, h0l or 0kl first"
            )
    if wanted.anisotropic:
        diffuse = split_isotropic(diffuse)[1]
    with progress(quiet) as report:
        n = animate(
            diffuse,
            path,
            axis=2 if fixed is None else fixed[0],
            title=wanted.title,
            limits=wanted.limits,
            scale=wanted.scale,
            force=force,
            progress=report,
        )
    if not quiet:
        typer.echo(f"wrote {path}: {n} frames")


def _say_list(diffuse: DiffuseMap) -> None:
    """Say that a list is drawn as one, and why."""
    tried = diffuse.list_shape and diffuse.history
    why = diffuse.history[-1] if tried else "no map_shape: a list of q-vectors"
    typer.echo(f"{why}; drawing the histogram and I against |q|")


def _save(figure: Any, path: Path, force: bool, dpi: float) -> None:
    from onephonon.viz.plot.saving import save

    save(figure, path, force, dpi)


@app.command(epilog="Example: [bold]onephonon demo[/] -o demo")
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")
    ] = Path("demo"),
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute and draw a diffuse map of the bundled crystal, crambin (PDB 1EJG)."""
    from onephonon.core.files import check_writable
    from onephonon.data import crambin_path
    from onephonon.viz.plot.overview import draw
    from onephonon.viz.plot.saving import save

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be made a folder ({error})") from error
    map_file, picture = output / "crambin.npz", output / "crambin.png"
    for path in (map_file, picture):
        check_writable(path, force)
    # To 2 Å, with about the same step in 1/Å along the three axes.
    samplings: list[Range | None] = [(-20, 20, 2), (-9, 9, 4), (-11, 11, 4)]
    options = {"res_limit": 2.0}
    model = make_model(crambin_path(), samplings, None, "float64", "cpu", options)
    made_with = {"structure": crambin_path().name, **options}
    diffuse = run_model(model, None, {}, made_with, quiet)
    write(diffuse, map_file, force, quiet=True)
    title = "Crambin (PDB 1EJG): one-phonon diffuse intensity to 2 Å"
    save(draw(diffuse, title), picture, force)
    if not quiet:
        typer.echo(f"wrote {map_file} and {picture}")
