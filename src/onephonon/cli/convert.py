"""``onephonon convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import command
from .checks import READS, WRITES
from .options.map_reading import MapReadingOptions
from .options.output import OutputOptions
from .terminal import echo


@command("onephonon convert snase.lat map.h5 --cell-from 1stn.pdb")
def convert(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A map in any of the formats below."), READS
    ],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="File to write; the format follows from its ending."),
        WRITES,
    ],
    *,
    table: Annotated[
        bool,
        typer.Option(
            "--table", help="Write a table of hkl to .nxs, as mdx2.merge does, instead of a map."
        ),
    ] = False,
    writing: OutputOptions,
    reading: MapReadingOptions,
) -> None:
    """Read a map and write it in another format.

    The ending of each file determines its format:
        .npz, .h5: formats of onephonon, which store everything
        .nxs: NeXus of mdx2 and NeXpy; NeXus of nxrefine is read only
        .h5 of mdx-lib and the CXIDB: read only
        .mtz: reflections of a supercell
        .ccp4, .mrc, .map: CCP4 and MRC maps
        .lat: lunus
        .npy: plain arrays, as used by eryx
        .hkl, .txt: text, one line of h, k, l, intensity and sigma per voxel
    """
    from onephonon.maps.io.registry import check_map_ending, format_name, not_kept, write_map

    check_map_ending(output)
    writing.check(output)
    diffuse = reading.read(file)
    write_map(diffuse, output, writing.force, table=table)
    if writing.quiet:
        return
    for line in diffuse.history:
        echo(f"  {line}")
    lost = not_kept(diffuse, output)
    if lost:
        echo(f"  not kept in {output.suffix}: {', '.join(lost)}")
    echo(f"wrote {output} ({format_name(output)}): {diffuse!r}")
