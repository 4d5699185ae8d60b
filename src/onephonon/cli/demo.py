"""``onephonon demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .app import command
from .checks import WRITES_FOLDER
from .models import build_model, show_zone_average
from .options.output import OutputOptions
from .remarks import show_remarks
from .terminal import echo, progress

#: Samplings to 2 Å, with about the same step in 1/Å along the three axes.
SAMPLINGS = {"hsampling": (-20, 20, 2), "ksampling": (-9, 9, 4), "lsampling": (-11, 11, 4)}


@command("onephonon demo -o demo")
def demo(
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the results; created if missing."),
        WRITES_FOLDER,
    ] = Path("demo"),
    writing: OutputOptions,
) -> None:
    """Compute and draw a diffuse map of the bundled crystal, crambin (PDB 1EJG)."""
    from onephonon.core.files import make_folder
    from onephonon.data import crambin_path
    from onephonon.maps.io.registry import write_map
    from onephonon.viz.plot.overview import draw
    from onephonon.viz.plot.saving import save

    make_folder(output)
    map_file, picture = output / "crambin.npz", output / "crambin.png"
    writing.check(map_file, picture)
    arguments: dict[str, Any] = {"res_limit": 2.0}
    model = build_model(crambin_path(), arguments, **SAMPLINGS)
    show_remarks(model.crystal, crambin_path().name, writing.quiet)
    show_zone_average(model, writing.quiet)
    parameters = {"structure": crambin_path().name, **arguments}
    with progress(writing.quiet) as report:
        diffuse = model.to_map(parameters=parameters, progress=report)
    write_map(diffuse, map_file, writing.force)
    title = "Crambin (PDB 1EJG): one-phonon diffuse intensity to 2 Å"
    save(draw(diffuse, title), picture, writing.force)
    if not writing.quiet:
        echo(f"wrote {map_file} and {picture}")
