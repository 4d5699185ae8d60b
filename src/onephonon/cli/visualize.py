"""``onephonon visualize`` and ``onephonon demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .app import app
from .options import (
    ForceOption,
    QuietOption,
    Range,
)
from .simulate import run_model, write

if TYPE_CHECKING:
    from ..maps import DiffuseMap


@app.command(epilog="Example: [bold]onephonon visualize map.npz[/] -o map.png")
def visualize(
    file: Annotated[Path, typer.Argument(help="A map or list written by simulate: .npz or .h5.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="PNG to write (default: FILE with ending .png)."),
    ] = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw central slices and a histogram of a map, or the histogram and I(|q|) of a list."""
    from ..files import check_writable
    from ..formats import read_map
    from ..plot import check_picture_path

    output = output or file.with_suffix(".png")
    check_writable(check_picture_path(output), force)
    _draw(read_map(file), output, file.name, force, quiet)


@app.command(epilog="Example: [bold]onephonon demo[/] -o demo")
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")
    ] = Path("demo"),
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute and draw a diffuse map of the bundled crystal, crambin (PDB 1EJG)."""
    from ..data import crambin_path
    from ..files import check_writable

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be made a folder ({error})") from error
    map_file, picture = output / "crambin.npz", output / "crambin.png"
    for path in (map_file, picture):
        check_writable(path, force)
    # To 2 Å, with about the same step in 1/Å along the three axes.
    samplings: list[Range | None] = [(-20, 20, 2), (-9, 9, 4), (-11, 11, 4)]
    diffuse = run_model(crambin_path(), samplings, None, None, quiet=quiet, run={}, res_limit=2.0)
    write(diffuse, map_file, force, quiet=True)
    title = "Crambin (PDB 1EJG): one-phonon diffuse intensity to 2 Å"
    _draw(diffuse, picture, title, force, quiet=True)
    if not quiet:
        typer.echo(f"wrote {map_file} and {picture}")


def _draw(diffuse: DiffuseMap, output: Path, title: str, force: bool, quiet: bool) -> None:
    from ..plot import draw, save

    if not quiet and diffuse.shape_problem:
        typer.echo(f"{diffuse.shape_problem}; drawing the histogram and I against |q|")
    save(draw(diffuse, title), output, force)
    if not quiet:
        typer.echo(f"wrote {output}")
