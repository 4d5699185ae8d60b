"""The command ``onephonon simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onephonon.core.errors import InputError

from ..app import command
from ..calculated_maps import (
    as_map,
    compute_intensity,
    compute_softest,
    map_header,
    write_and_report,
)
from ..models import build_model, model_arguments
from ..options.network import NetworkOptions
from ..options.numerics import NumericsOptions
from ..options.output import OutputOptions
from ..options.springs import SpringOptions
from ..options.structure import StructureFile, StructureOptions
from .options import MapFileOptions, ModeOptions, PointOptions, SimulatedDisplacements

if TYPE_CHECKING:
    from onephonon.model.one_phonon import OnePhonon


@command(
    "onephonon simulate model.pdb --h -8 8 3 --k -8 8 3 --l -8 8 3 --d-min 2 -o map.npz",
    "onephonon simulate model.pdb --q qvectors.txt -o list.npz",
)
def simulate(
    file: StructureFile,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .npz or .h5, by its ending.")
    ],
    writing: OutputOptions,
    points: PointOptions,
    structure: StructureOptions,
    network: NetworkOptions,
    springs: SpringOptions,
    displacements: SimulatedDisplacements,
    modes: ModeOptions,
    numerics: NumericsOptions,
    map_file: MapFileOptions,
) -> None:
    """Compute the diffuse intensity on a grid, or at a list of q-vectors.

    Maps computed on the mesh (see --engine) are written to .h5 as they grow: give the command of
    an interrupted one again, and it continues where it stopped.
    """
    from onephonon.maps.io.choice import check_map_path

    check_map_path(output, writing.force)
    where, list_shape = points.read(displacements)
    how = modes.arguments() | {"use_data_adp": displacements.use_data_adp}
    arguments = model_arguments(points, network, springs, displacements, numerics, structure)
    model = build_model(file, arguments, **where, **numerics.tensor_arguments())
    parameters = {"structure": file.name, **arguments, **how, "dtype": numerics.dtype}
    engine = model.chosen_engine
    if not writing.quiet:
        typer.echo(f"engine: {engine}", err=True)
    stored = map_file.stored("float64" if engine.name == "direct" else "float32")
    if _is_streamed(model, output, how, map_file.unique):
        _stream(model, output, parameters, stored, map_file.unique, writing)
        return
    intensity = _compute(model, how, writing.quiet)
    diffuse = as_map(model, intensity, parameters, list_shape=list_shape, stored=stored)
    write_and_report(diffuse, output, writing.force, writing.quiet)


def _is_streamed(model: OnePhonon, output: Path, how: dict[str, Any], unique: bool) -> bool:
    """Whether the map is written as it is computed.

    Raises
    ------
    InputError
        If something is asked for that only streamed maps can have, or only others.
    """
    on_mesh = model.chosen_engine.name == "mesh" and model.grid is not None and how["rank"] == -1
    if unique and not on_mesh:
        raise InputError("--unique is for whole maps from the mesh; add --engine mesh and ranges")
    streamed = on_mesh and output.suffix.lower() in (".h5", ".hdf5")
    if unique and not streamed:
        raise InputError(f"--unique writes as it computes, to .h5; {output} is something else")
    if "softest" in how and streamed:
        raise InputError(
            "--softest needs all amplitudes at once, and maps on the mesh are streamed to .h5; "
            "write .npz, or add --engine direct"
        )
    return streamed


def _compute(model: OnePhonon, how: dict[str, Any], quiet: bool) -> Any:
    """Intensities of all modes, of one, or of the softest."""
    if "softest" in how:
        return compute_softest(model, how["softest"], how["use_data_adp"], quiet)
    return compute_intensity(model, quiet, **how)


def _stream(
    model: OnePhonon,
    output: Path,
    parameters: dict[str, Any],
    stored: str,
    unique: bool,
    writing: OutputOptions,
) -> None:
    """Compute a map on the mesh, and write it as it grows."""
    from onephonon.model.streaming import stream_map

    adp = parameters["use_data_adp"]
    header = map_header(model, parameters)
    stream_map(model, output, stored, unique, adp, header, writing.force, writing.quiet)
