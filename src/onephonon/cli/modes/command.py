"""The command ``onephonon modes``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onephonon.core.files import make_folder

from ..app import command
from ..checks import WRITES_FOLDER, Given
from ..disorder import show_disorder
from ..models import build_model, lattice_alone, model_arguments, show_zone_average
from ..options.disorder import DisorderOptions
from ..options.displacements import DisplacementOptions
from ..options.network import NetworkOptions
from ..options.output import OutputOptions
from ..options.springs import SpringOptions
from ..options.structure import StructureFile, StructureOptions
from ..options.temperature import TemperatureOptions
from ..remarks import show_bodies, show_remarks
from ..terminal import echo, status
from .animation import write_mode_animation
from .options import AnimationOptions, SpectrumOptions

if TYPE_CHECKING:
    from onephonon.model.one_phonon import OnePhonon

#: Files written into the folder --output.
FILES = (
    "dispersion.csv",
    "density_of_states.csv",
    "sound_speeds.csv",
    "elastic.csv",
    "tls.csv",
    "b_factors.csv",
    "modes.json",
    "modes.png",
    "elastic.png",
    "b_factors.png",
)


@command(
    "onephonon modes model.pdb -o modes",
    "onephonon modes model.pdb --at Z --mode 0 --animate wave.pdb",
)
def modes(
    file: StructureFile,
    *,
    given: Given,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for tables and pictures; created if missing."),
        WRITES_FOLDER,
    ] = None,
    writing: OutputOptions,
    temperature: TemperatureOptions,
    spectra: SpectrumOptions,
    animation: AnimationOptions,
    structure: StructureOptions,
    network: NetworkOptions,
    springs: SpringOptions,
    disorder: DisorderOptions,
    displacements: DisplacementOptions,
) -> None:
    """Show vibrations: dispersion, density of states, elastic constants, rigid bodies, one mode.

    Frequencies follow from the B-factors of the file, which determine the thermal scale, and the
    temperature at which they were measured; with --disorder, from the lattice's share of them. With
    --animate and no --output, only the animation is written.
    """
    import torch

    if output is None and animation.animate is not None:
        given.refuse(
            *SpectrumOptions.names(), why="not for an animation alone; add --output FOLDER"
        )
    kelvin = temperature.kelvin(file, writing.quiet)
    animation.check()
    tables = [] if output is None else [make_folder(output) / name for name in FILES]
    writing.check(*tables, animation.animate)
    arguments = model_arguments(network, springs, disorder, displacements, structure)
    model = build_model(file, arguments)
    show_disorder(model, writing.quiet)
    model = lattice_alone(model, file, arguments)
    show_remarks(model.crystal, file.name, writing.quiet)
    show_bodies(model.bodies, network.group_by, writing.quiet)
    show_zone_average(model, writing.quiet)
    with torch.no_grad():
        if output is not None or animation.animate is None:
            _report(model, file.name, kelvin, spectra, output, writing)
        if animation.animate is not None:
            film = animation.animate
            shown = write_mode_animation(model, file.stem, film, kelvin, animation, writing.force)
            if not writing.quiet:
                echo(f"wrote {film}: {shown}")


def _report(
    model: OnePhonon,
    name: str,
    kelvin: float,
    spectra: SpectrumOptions,
    output: Path | None,
    writing: OutputOptions,
) -> None:
    """Compute the spectra, print them, and write them."""
    from .report import make_report

    with status(f"vibrations of {name}", writing.quiet):
        report = make_report(model, name, temperature=kelvin, **spectra.report_arguments())
    if not writing.quiet:
        report.show()
    if output is not None:
        report.write(output, writing.force)
        if not writing.quiet:
            echo(f"wrote {', '.join(FILES)} to {output}")
