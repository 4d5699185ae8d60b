"""The command ``onephonon simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onephonon.core.errors import InputError

from ..app import command
from ..checks import WRITES, Given
from ..disorder import show_disorder
from ..models import build_model, model_arguments, show_zone_average
from ..options.amplitudes import AmplitudeOptions
from ..options.disorder import DisorderOptions
from ..options.displacements import DebyeWallerOptions, DisplacementOptions
from ..options.network import NetworkOptions
from ..options.numerics import NumericsOptions
from ..options.occupation import OccupationOptions
from ..options.orders import MultiphononOptions
from ..options.output import OutputOptions
from ..options.springs import SpringOptions
from ..options.structure import StructureFile, StructureOptions
from ..orders import range_of_model, show_orders, show_share
from ..remarks import show_bodies, show_remarks
from ..terminal import echo, progress
from .options import MapFileOptions, ModeOptions, PointOptions

if TYPE_CHECKING:
    from torch import Tensor

    from onephonon.model.one_phonon import OnePhonon

#: Options of springs and of what follows from them.
OF_LATTICE = (*SpringOptions.names(), *DisplacementOptions.names(), *OccupationOptions.names())


@command(
    "onephonon simulate model.pdb --h -8 8 3 --k -8 8 3 --l -8 8 3 --d-min 2 -o map.npz",
    "onephonon simulate model.pdb --q qvectors.txt -o list.npz",
)
def simulate(
    file: StructureFile,
    *,
    given: Given,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write; its ending gives the format."),
        WRITES,
    ],
    writing: OutputOptions,
    points: PointOptions,
    structure: StructureOptions,
    network: NetworkOptions,
    springs: SpringOptions,
    amplitudes: AmplitudeOptions,
    disorder: DisorderOptions,
    displacements: DebyeWallerOptions,
    occupation: OccupationOptions,
    orders: MultiphononOptions,
    modes: ModeOptions,
    numerics: NumericsOptions,
    map_file: MapFileOptions,
) -> None:
    """Compute the diffuse intensity on a grid, or at a list of q-vectors.

    Maps computed on the mesh (see --engine), unless with --disorder, are written to .h5 in parts:
    repeat an interrupted command, and it continues where it stopped.
    """
    from onephonon.maps.io.registry import check_map_ending

    check_map_ending(output)
    writing.check(output)
    disorder.check_with(given, OF_LATTICE)
    modes.check_orders(orders.summed)
    where, list_shape = points.read()
    how = modes.arguments() | {
        "use_data_adp": displacements.use_data_adp or disorder.beyond_lattice
    }
    described = (
        points,
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
    model = build_model(file, arguments, **where, **tensors)
    show_remarks(model.crystal, file.name, writing.quiet)
    show_bodies(model.bodies, network.group_by, writing.quiet)
    show_zone_average(model, writing.quiet)
    show_disorder(model, writing.quiet)
    how_moved = occupation.recorded() | amplitudes.recorded()
    parameters = {"structure": file.name, **arguments, **how_moved, **how, "dtype": numerics.dtype}
    engine = model.chosen_engine
    if not writing.quiet:
        echo(f"engine: {engine}", err=True)
    stored = map_file.stored("float64" if engine.name == "direct" else "float32")
    _check_streaming(model, output, how, map_file.unique)
    if model.disorder is None:
        show_orders(model.bound, displacements.use_data_adp, writing.quiet)
    if modes.every and not writing.quiet and model.disorder is None:
        show_share(model, range_of_model(model), displacements.use_data_adp, writing.quiet)
    softest = how.pop("softest", None)
    intensity = None
    if softest is not None:
        intensity = _softest(model, softest, displacements.use_data_adp, writing.quiet)
    with progress(writing.quiet) as report:
        written = model.write_map(
            output,
            **how,
            intensity=intensity,
            unique=map_file.unique,
            stored=stored,
            list_shape=list_shape,
            parameters=parameters,
            force=writing.force,
            progress=report,
        )
    if not writing.quiet:
        echo(f"wrote {written}")


def _check_streaming(model: OnePhonon, output: Path, how: dict[str, Any], unique: bool) -> None:
    """Check that the options agree with the way in which the map is written.

    Raises
    ------
    InputError
        If an option requires that the map is written in parts and it is not, or the reverse.
    """
    on_mesh = model.chosen_engine.has_grid and model.grid is not None and how["rank"] == -1
    on_mesh = on_mesh and model.disorder is None
    if unique and not on_mesh:
        raise InputError("--unique is for whole maps from the mesh; add --engine mesh and ranges")
    streamed = on_mesh and output.suffix.lower() in (".h5", ".hdf5")
    if unique and not streamed:
        raise InputError(f"--unique is only for .h5; change the ending of {output}")
    if "softest" in how and streamed:
        raise InputError(
            "--softest needs all amplitudes at once, but maps on the mesh are written to .h5 in "
            "parts; write .npz, or add --engine direct"
        )


def _softest(model: OnePhonon, n: int, use_data_adp: bool, quiet: bool) -> Tensor:
    """Intensity of the softest modes; prints the neglected fraction, also with --quiet."""
    from onephonon.scattering.softest import softest_intensity

    with progress(quiet) as report:
        found = softest_intensity(model, n, use_data_adp, report)
    echo(
        f"{n} softest of {model.bodies.n_dof} modes: {100 * found.neglected:.2f} % of the summed "
        f"intensity is neglected, at most {100 * found.max_neglected:.2f} % at one q"
    )
    if found.n_split:
        echo(
            f"at {found.n_split} wavevectors the {n} softest modes include only some modes of "
            "equal frequency: their intensity there is arbitrary"
        )
    return found.intensity
