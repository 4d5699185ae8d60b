"""``onephonon convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


@app.command(epilog="Example: [bold]onephonon convert snase.lat map.h5[/] --cell-from 1stn.pdb")
def convert(
    file: Annotated[Path, typer.Argument(help="A map in any of the formats.")],
    output: Annotated[Path, typer.Argument(help="File to write; its ending chooses the format.")],
    cell: CellOption = None,
    cell_from: CellFromOption = None,
    spacegroup: SpacegroupOption = "",
    h: HOption = None,
    k: KOption = None,
    l: LOption = None,  # noqa: E741
    per_index: PerIndexOption = None,
    origin: OriginOption = None,
    dataset: DatasetOption = None,
    table: Annotated[
        bool,
        typer.Option("--table", help=".nxs: write a table of hkl, as mdx2.merge, not a map."),
    ] = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read a map and write it in another format.

    The ending of each file tells its format:
    .npz, .h5: onephonon's own, which keep everything
    .nxs: NeXus, as mdx2 and NeXpy have it; nxrefine's is read
    .h5 of mdx-lib and the CXIDB: read only
    .mtz: reflections of a supercell
    .ccp4, .mrc, .map: CCP4 and MRC maps
    .lat: lunus
    .npy: bare arrays, as eryx has them
    .hkl, .txt: h k l intensity and sigma, a line each
    """
    from onephonon.maps.io.choice import check_map_path, format_name, not_kept, write_map

    check_map_path(output, force)
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
    write_map(diffuse, output, force, table=table)
    if quiet:
        return
    for line in diffuse.history:
        typer.echo(f"  {line}")
    lost = not_kept(diffuse, output)
    if lost:
        typer.echo(f"  not kept in {output.suffix}: {', '.join(lost)}")
    typer.echo(f"wrote {output} ({format_name(output)}): {diffuse!r}")
