"""The command ``onephonon patterson``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..app import command
from ..checks import READS, WRITES
from ..options.map_reading import MapReadingOptions
from ..options.output import OutputOptions
from ..options.resolution import ResolutionOptions
from ..options.voxels import IndexingOptions
from ..tables import print_table
from ..terminal import echo, status
from .options import PattersonFiles, PreparationOptions, RealSpaceOptions, SecondMapOptions

if TYPE_CHECKING:
    from onephonon.compare.scaling import ScaledPair
    from onephonon.compare.settings import Settings
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.realspace import DistanceShell, PattersonMap, ResolutionShell


@command(
    "onephonon patterson map.h5 -o patterson.ccp4 --png patterson.png",
    "onephonon patterson data.h5 --against model.h5 -o patterson.ccp4 --png patterson.png",
    "onephonon patterson data.nxs --subtract model.h5 --difference left.nxs -o left.ccp4",
)
def patterson(
    map_file: Annotated[
        Path, typer.Argument(metavar="MAP", help="A map on a grid, in any of the formats."), READS
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Patterson map to write: .ccp4, .map or .mrc for molecular graphics, or .npz.",
        ),
        WRITES,
    ],
    writing: OutputOptions,
    second: SecondMapOptions,
    resolution: ResolutionOptions,
    preparation: PreparationOptions,
    space: RealSpaceOptions,
    files: PattersonFiles,
    indexing: IndexingOptions,
    reading: MapReadingOptions,
) -> None:
    """Transform a map of diffuse scattering into real space: the diffuse Patterson map.

    It shows between which distances motion is correlated. Prints the standard deviation in shells
    of |r|; with --against, also the correlation with a model in shells of |r|, and by resolution
    for what comes from each range of distances. Nothing is known beyond half as many cells as the
    map has samples per Miller index. The options under Map reading apply to MAP.
    """
    from onephonon.compare.settings import Settings
    from onephonon.maps.io.registry import write_map
    from onephonon.realspace import distance_shells, resolution_shells, write_patterson
    from onephonon.realspace import patterson as transform
    from onephonon.realspace.report import write_csv, write_json

    files.check(writing, output, second.difference)
    how = preparation.preparation(resolution)
    settings = Settings(
        d_min=how.d_min, d_max=how.d_max, isotropic=how.isotropic, reindex=indexing.reindex
    )
    model_file = second.subtract or second.against
    data = reading.read(map_file) if model_file is None else reading.read_for(map_file, model_file)
    notes: dict[str, Any] = {}
    if second.subtract is not None:
        pair = _scaled(data, second.subtract, settings, writing.quiet)
        data = _subtracted(pair)
        notes["subtracted"] = _said_of(pair, second.subtract)
        if second.difference is not None:
            write_map(data, second.difference, writing.force)
    other = None
    if second.against is not None:
        pair = _scaled(data, second.against, settings, writing.quiet)
        notes["against"] = _said_of(pair, second.against)
        data, other = _same(pair)
    with status("Fourier transform", writing.quiet):
        found = transform(data, how, space.spacing)
        of_model = None if other is None else transform(other, how, space.spacing)
        shells = distance_shells(found, of_model, width=space.shell_width)
        by_resolution = () if of_model is None else resolution_shells(found, of_model, space.radii)
    write_patterson(found, output, writing.force)
    if files.csv is not None:
        write_csv(files.csv, shells, writing.force)
    if files.json is not None:
        write_json(files.json, found, shells, by_resolution, notes, writing.force)
    if files.png is not None:
        from onephonon.viz.plot.patterson import draw_patterson
        from onephonon.viz.plot.saving import save

        title = map_file.name + (f" less {second.subtract.name}" if second.subtract else "")
        names = ("data", "model") if of_model is not None else ("", "")
        figure = draw_patterson(found, of_model, shells, title=title, names=names)
        save(figure, files.png, writing.force)
    if not writing.quiet:
        _show(found, shells, by_resolution)
        every = (output, second.difference, files.png, files.csv, files.json)
        echo(f"wrote {', '.join(str(path) for path in every if path is not None)}")


def _scaled(data: DiffuseMap, model_file: Path, settings: Settings, quiet: bool) -> ScaledPair:
    """A model at the voxels and on the scale of the data."""
    from onephonon.compare.scaling import scaled_pair
    from onephonon.maps.io.registry import read_map

    pair = scaled_pair(data, read_map(model_file), settings)
    if not quiet:
        echo(
            f"{model_file.name}: times {pair.factor:.4g}, anisotropic CC {pair.cc:.3f} with the "
            f"data; indexing: {pair.decision}"
        )
    return pair


def _said_of(pair: ScaledPair, file: Path) -> dict[str, Any]:
    return {"file": file.name, "factor": pair.factor, "cc_anisotropic": pair.cc}


def _subtracted(pair: ScaledPair) -> DiffuseMap:
    from onephonon.maps.arithmetic import subtract

    return subtract(pair.data, pair.model)


def _same(pair: ScaledPair) -> tuple[DiffuseMap, DiffuseMap]:
    """Data and model, each missing where either is, with the same symmetry."""
    from onephonon.realspace import same_voxels

    symmetry = pair.data.spacegroup
    first, other = same_voxels(pair.data, pair.model)
    return first, other.changed("space group of the data", spacegroup=symmetry)


def _show(
    found: PattersonMap,
    shells: tuple[DistanceShell, ...],
    by_resolution: tuple[ResolutionShell, ...],
) -> None:
    """Print the tables."""
    from onephonon.realspace.report import distance_table, resolution_table

    from ..console import SafeConsole

    console = SafeConsole()
    periods = " x ".join(f"{p:g}" for p in found.periods)
    points = " x ".join(map(str, found.values.shape))
    print_table(
        console,
        f"Patterson map: {points} points over {periods} cells, {found.units}",
        *distance_table(shells),
    )
    if by_resolution:
        console.print()
        print_table(
            console,
            "correlation of intensities from each range of distances",
            *resolution_table(by_resolution),
        )
