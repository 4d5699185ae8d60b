"""The command ``onephonon compare``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..app import command
from ..checks import READS, READS_FOLDER, Given
from ..disorder import show_disorder
from ..models import build_model, model_arguments, show_zone_average
from ..options.amplitudes import AmplitudeOptions
from ..options.disorder import DisorderOptions
from ..options.displacements import DebyeWallerOptions, DisplacementOptions
from ..options.map_reading import MapReadingOptions
from ..options.network import NetworkOptions
from ..options.numerics import NumericsOptions
from ..options.occupation import OccupationOptions
from ..options.orders import MultiphononOptions
from ..options.output import OutputOptions
from ..options.resolution import ResolutionOptions
from ..options.springs import SpringOptions
from ..options.structure import StructureOptions, is_structure
from ..options.voxels import VoxelOptions
from ..orders import range_of_data, sample_of_range, show_orders, show_share
from ..remarks import show_bodies, show_remarks
from ..terminal import echo, progress
from .fit_folder import FITTED, HELD_OUT, LEFT_OUT, compare_fit, fitted_maps
from .options import ComparisonOptions, ResultOptions
from .report import print_agreement, save_agreement

if TYPE_CHECKING:
    from onephonon.compare.agreement import Agreement
    from onephonon.compare.settings import Settings
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.model.one_phonon import OnePhonon

#: Options that maps, which are computed already, leave no room for.
FOR_STRUCTURES = (
    *StructureOptions.names(),
    *NetworkOptions.names(),
    *SpringOptions.names(),
    *AmplitudeOptions.names(),
    *DisorderOptions.names(),
    *DebyeWallerOptions.names(),
    *OccupationOptions.names(),
    *MultiphononOptions.names(),
    *NumericsOptions.names(),
    *("average", "leave_out", "no_baselines"),
)

#: Options of springs and of what follows from them.
OF_LATTICE = (*SpringOptions.names(), *DisplacementOptions.names(), *OccupationOptions.names())


@command(
    "onephonon compare model.h5 data.nxs",
    "onephonon compare 1stn.pdb snase_diffuse.lat --d-min 1.667 --d-max 10 --average 2 "
    "--leave-out 0.4 --use-data-adp --csv agreement.csv --png agreement.png",
)
def compare(
    model_file: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A calculated map, a folder written by onephonon fit, or a structure to compute "
            "at the voxels of the data.",
        ),
        READS_FOLDER,
    ],
    data_file: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="The map to compare with, in any of the formats."),
        READS,
    ],
    *,
    given: Given,
    writing: OutputOptions,
    results: ResultOptions,
    resolution: ResolutionOptions,
    comparison: ComparisonOptions,
    voxels: VoxelOptions,
    structure: StructureOptions,
    network: NetworkOptions,
    springs: SpringOptions,
    amplitudes: AmplitudeOptions,
    disorder: DisorderOptions,
    displacements: DebyeWallerOptions,
    occupation: OccupationOptions,
    orders: MultiphononOptions,
    numerics: NumericsOptions,
    reading: MapReadingOptions,
) -> None:
    """Compare a model with data: correlation overall and by resolution shell.

    A structure is computed at the voxels of the data. Of the folder of a fit, its calculated map is
    compared and, if it has them, its predictions of voxels left out of the fit; the data may be
    those of another crystal. Correlations are given for the intensities
    and for their anisotropic parts. All possible indexings of the lattice are tried. The options
    from Structure to Numerics are for structures; those under Map reading apply to DATA.
    """
    results.check(writing)
    settings = comparison.settings(resolution, voxels.reindex)
    if not is_structure(model_file):
        what = "the folder of a fit" if model_file.is_dir() else "read as a map"
        why = f"only for a structure as MODEL, but {model_file} is {what}; leave it out"
        given.refuse(*FOR_STRUCTURES, why=why)
        if model_file.is_dir():
            _compare_folder(model_file, data_file, settings, writing, results, reading)
            return
        found = _compare_map(model_file, data_file, settings, reading)
    else:
        disorder.check_with(given, OF_LATTICE)
        data = reading.read_for(data_file, model_file)
        how = _averaging(voxels, data) | {
            "use_data_adp": displacements.use_data_adp or disorder.beyond_lattice
        }
        described = (
            network,
            springs,
            disorder,
            displacements,
            occupation,
            orders,
            numerics,
            structure,
        )
        arguments = model_arguments(*described)
        tensors = numerics.tensor_arguments() | occupation.read() | amplitudes.read()
        model = build_model(model_file, arguments, **tensors)
        show_remarks(model.crystal, model_file.name, writing.quiet)
        show_bodies(model.bodies, network.group_by, writing.quiet)
        show_zone_average(model, writing.quiet)
        show_disorder(model, writing.quiet)
        with_orders = _show_orders(model, data, settings, displacements.use_data_adp, writing.quiet)
        found = _compare_model(
            model, data, settings, how, not comparison.no_baselines, writing.quiet
        )
        parameters = {"structure": model_file.name, **arguments, **occupation.recorded(), **how}
        parameters |= {"dtype": numerics.dtype} | amplitudes.recorded() | with_orders
        found = _with_parameters(found, model, parameters)
    title = f"{model_file.name} against {data_file.name}"
    if not writing.quiet:
        print_agreement(found, title)
    save_agreement(found, title, results, writing.force, writing.quiet)


def _compare_map(
    model_file: Path, data_file: Path, settings: Settings, reading: MapReadingOptions
) -> Agreement:
    from onephonon.compare.comparison import compare_maps
    from onephonon.maps.io.registry import read_map

    model = read_map(model_file)
    return compare_maps(model, reading.read_for(data_file, model_file), settings)


def _compare_folder(
    folder: Path,
    data_file: Path,
    settings: Settings,
    writing: OutputOptions,
    results: ResultOptions,
    reading: MapReadingOptions,
) -> None:
    """Compare the maps of a fit, print both comparisons, and save that of the fitted model."""
    from onephonon.core.files import check_not_inputs

    maps = fitted_maps(folder)
    check_not_inputs(results.files, maps.files)
    fitted, held_out = compare_fit(maps, reading.read_for(data_file, maps.model), settings)
    title = f"{FITTED} ({maps.model}) against {data_file.name}"
    if not writing.quiet:
        print_agreement(fitted, title)
        if held_out is not None:
            echo("")
            print_agreement(held_out, f"{LEFT_OUT} ({HELD_OUT}) against {data_file.name}")
    save_agreement(fitted, title, results, writing.force, writing.quiet, held_out)


def _averaging(voxels: VoxelOptions, data: DiffuseMap) -> dict[str, Any]:
    """How the model is averaged over the voxels of the data."""
    from onephonon.scattering.quadrature import choose_quadrature

    quadrature = choose_quadrature(data.grid, voxels.average, voxels.leave_out)
    return {"average": quadrature.order if quadrature else 0, "leave_out": voxels.leave_out}


def _show_orders(
    model: OnePhonon, data: DiffuseMap, settings: Settings, use_data_adp: bool, quiet: bool
) -> dict[str, Any]:
    """Write errors of the orders and the share of one phonon; return what maps record of them."""
    from onephonon.model.map_header import orders_header

    if model.disorder is not None:
        return orders_header(model.bound, use_data_adp)
    d_range = range_of_data(data, model, settings.d_min, settings.d_max)
    sampled = model.bound.at(sample_of_range(model, d_range))
    show_orders(sampled, use_data_adp, quiet)
    if not quiet:
        show_share(model, d_range, use_data_adp, quiet)
    return orders_header(sampled, use_data_adp)


def _compare_model(
    model: OnePhonon,
    data: DiffuseMap,
    settings: Settings,
    how: dict[str, Any],
    baselines: bool,
    quiet: bool,
) -> Agreement:
    from onephonon.compare.baselines import null_models
    from onephonon.compare.simulated import compare_model

    nulls = null_models() if baselines else ()
    with progress(quiet) as report:
        return compare_model(model, data, settings, nulls=nulls, **how, progress=report)


def _with_parameters(found: Agreement, model: OnePhonon, parameters: dict[str, Any]) -> Agreement:
    """Add the parameters of the calculation to the map of the model."""
    from onephonon import __version__
    from onephonon.model.map_header import motion_header

    header = parameters | motion_header(model.bound)
    return replace(found, model=replace(found.model, parameters=header, version=__version__))
