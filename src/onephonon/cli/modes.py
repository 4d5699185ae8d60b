"""``onephonon modes``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onephonon.core.errors import InputError

from .app import app
from .options import (
    ConformersOption,
    CutoffOption,
    ForceOption,
    GroupByOption,
    HydrogensOption,
    InterOption,
    IntraOption,
    IsotropicOption,
    LigandsOption,
    ModelNumberOption,
    ModelOption,
    NoExpandOption,
    ParOption,
    PerpOption,
    QuietOption,
    Structure,
    WatersOption,
)
from .terminal import status

if TYPE_CHECKING:
    from onephonon.model.one_phonon import OnePhonon

#: Room temperature, K, for files that do not say theirs.
ROOM = 295.0

#: What the folder given to --output will hold.
FILES = (
    "dispersion.csv",
    "density_of_states.csv",
    "sound_speeds.csv",
    "tls.csv",
    "b_factors.csv",
    "modes.json",
    "modes.png",
    "b_factors.png",
)


@app.command(
    epilog="Examples: [bold]onephonon modes model.pdb[/] -o modes ;  "
    "[bold]onephonon modes model.pdb[/] --at Z --mode 0 --animate wave.pdb"
)
def modes(
    structure: Structure,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for tables and pictures; made if missing."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            "-T",
            help="K, at which B-factors were measured (default: the file's word, or 295).",
        ),
    ] = None,
    points: Annotated[
        int | None, typer.Option("--points", help="Wavevectors along the path, about.")
    ] = None,
    dos_mesh: Annotated[
        tuple[int, int, int] | None,
        typer.Option("--dos-mesh", metavar="NH NK NL", help="Zone mesh of the density of states."),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option("--width", help="Broadening of the density of states, THz."),
    ] = None,
    histogram: Annotated[
        bool, typer.Option("--histogram", help="Density of states without broadening, in bins.")
    ] = False,
    folded: Annotated[
        bool,
        typer.Option("--folded", help="Centred cells: every mode of the whole cell at each k."),
    ] = False,
    animate: Annotated[
        Path | None,
        typer.Option("--animate", help="Write one mode as .pdb or .cif (frames) or as .nmd."),
    ] = None,
    at: Annotated[
        str, typer.Option("--at", help='Its wavevector: a point of the path, or "0 1/2 0".')
    ] = "Γ",
    mode: Annotated[
        list[int] | None,
        typer.Option(
            "--mode",
            help="Counted from 0, the softest (default; at Γ 3, above the drifts). Several for "
            ".nmd.",
        ),
    ] = None,
    cells: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            "--cells", metavar="NA NB NC", help="Cells shown (default: until the wave repeats)."
        ),
    ] = None,
    amplitude: Annotated[
        float | None, typer.Option("--amplitude", help="Largest displacement, Å (default 1).")
    ] = None,
    thermal: Annotated[
        float | None,
        typer.Option("--thermal", help="Amplitude in units of the thermal one, of energy kT."),
    ] = None,
    travelling: Annotated[
        bool, typer.Option("--travelling", help="A wave that travels instead of one that stands.")
    ] = False,
    frames: Annotated[int, typer.Option("--frames", help="Steps in a period.")] = 24,
    atoms: Annotated[
        str, typer.Option("--atoms", help="Atoms shown: all, backbone or ca (C-alpha, P).")
    ] = "all",
    mesh: Annotated[
        tuple[int, int, int] | None,
        typer.Option("--mesh", metavar="NH NK NL", help="Zone mesh of B-factors, T, L and S."),
    ] = None,
    thermal_scale: Annotated[
        float | None,
        typer.Option(help="Thermal scale s; default: the model's mean B is the file's."),
    ] = None,
    group_by: GroupByOption = "asu",
    model: ModelOption = "gnm",
    cutoff: CutoffOption = 4.0,
    gamma_intra: IntraOption = 1.0,
    gamma_inter: InterOption = 1.0,
    k_par: ParOption = None,
    k_perp: PerpOption = None,
    hydrogens: HydrogensOption = False,
    waters: WatersOption = False,
    ligands: LigandsOption = False,
    conformers: ConformersOption = "highest",
    isotropic: IsotropicOption = False,
    model_number: ModelNumberOption = 1,
    no_expand: NoExpandOption = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the vibrations: dispersion, density of states, sound, rigid-body motion, one mode.

    Frequencies follow from the file's B-factors, which set the thermal scale, and the temperature
    at which they were measured. With --animate and no --output only the animation is made.
    """
    import torch

    kelvin = temperature_of(structure, temperature, quiet)
    _check_outputs(output, animate, mode, force)
    spectra: dict[str, Any] = {
        "points": points,
        "dos_mesh": dos_mesh,
        "width": width,
        "histogram": histogram,
        "unfold": not folded,
    }
    wave: dict[str, Any] = {
        "cells": cells,
        "amplitude": amplitude,
        "thermal": thermal,
        "travelling": travelling,
        "atoms": atoms,
    }
    with torch.no_grad():
        vibrating = _model(
            structure,
            mesh,
            group_by=group_by,
            model=model,
            gnm_cutoff=cutoff,
            gamma_intra=gamma_intra,
            gamma_inter=gamma_inter,
            k_par=k_par,
            k_perp=k_perp,
            thermal_scale=thermal_scale,
            expand_p1=not no_expand,
            hydrogens=hydrogens,
            waters=waters,
            ligands=ligands,
            conformers=conformers,
            anisotropic=not isotropic,
            model_number=model_number,
        )
        if output is not None or animate is None:
            _report(vibrating, structure.name, kelvin, spectra, output, force, quiet)
        if animate is not None:
            k = _wavevector(at, vibrating)
            numbers = mode or [0 if any(k) else 3]
            said = _animate(vibrating, structure, animate, k, numbers, frames, kelvin, wave, force)
            if not quiet:
                typer.echo(f"wrote {animate}: {said}")


def temperature_of(structure: Path, given: float | None, quiet: bool) -> float:
    """The temperature given, or the file's, or that of a room, which is said."""
    from onephonon.crystal.experiment import measured_temperature

    if given is not None and not given > 0:
        raise InputError(f"--temperature {given:g}: give a positive one, in K")
    known = given or measured_temperature(structure)
    if known is None and not quiet and structure.exists():
        typer.echo(
            f"{structure.name} does not say the temperature of its B-factors: {ROOM:g} K assumed; "
            "say --temperature"
        )
    return known or ROOM


def _model(structure: Path, mesh: tuple[int, int, int] | None, **options: Any) -> OnePhonon:
    """A model that is asked for no q."""
    from onephonon.model.one_phonon import OnePhonon

    return OnePhonon(structure, mesh=mesh, **options)


def _report(
    model: OnePhonon,
    name: str,
    temperature: float,
    spectra: dict[str, Any],
    output: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Compute the spectra, print them, and write them."""
    from .mode_report import make_report

    with status(f"vibrations of {name}", quiet):
        report = make_report(model, name, temperature=temperature, **spectra)
    if not quiet:
        report.show()
    if output is not None:
        report.write(output, force)
        if not quiet:
            typer.echo(f"wrote {', '.join(FILES)} to {output}")


def _check_outputs(
    output: Path | None, animate: Path | None, mode: list[int] | None, force: bool
) -> None:
    """Refuse, before anything is computed, what could not be written."""
    from onephonon.core.files import check_writable
    from onephonon.viz.trajectory.structure_files import CIF_ENDINGS, PDB_ENDINGS

    if animate is not None:
        endings = (*PDB_ENDINGS, *CIF_ENDINGS, ".nmd")
        if animate.suffix.lower() not in endings:
            raise InputError(f"--animate {animate}: name it {', '.join(endings)}")
        if len(mode or []) > 1 and animate.suffix.lower() != ".nmd":
            raise InputError(f"--animate {animate}: several modes go into .nmd only; give one")
        check_writable(animate, force)
    if output is None:
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be made a folder ({error})") from error
    for name in FILES:
        check_writable(output / name, force)


def _wavevector(text: str, model: OnePhonon) -> tuple[float, float, float]:
    """A named point of the path, or three numbers."""
    from onephonon.crystal.brillouin_path import zone_path

    try:
        numbers = [float(Fraction(x)) for x in text.replace(",", " ").split()]
    except (ValueError, ZeroDivisionError):
        return zone_path(model.crystal).find(text)
    if len(numbers) != 3:
        raise InputError(f'--at {text!r}: give a point of the path or three numbers, "0 1/2 0"')
    return numbers[0], numbers[1], numbers[2]


def _animate(
    model: OnePhonon,
    structure: Path,
    file: Path,
    k: tuple[float, float, float],
    numbers: list[int],
    frames: int,
    temperature: float,
    wave: dict[str, Any],
    force: bool,
) -> str:
    """Write the animation, and say what it shows."""
    from onephonon.core.units import thermal_frequency
    from onephonon.viz.trajectory.mode_trajectory import mode_pattern
    from onephonon.viz.trajectory.nmd import write_nmd
    from onephonon.viz.trajectory.structure_files import write_animation

    patterns = [mode_pattern(model, k, number, **wave) for number in numbers]
    one = patterns[0]
    where = ", ".join(f"{x:.4g}" for x in k)
    named = ", ".join(str(number) for number in numbers)
    title = f"mode {named} of {structure.stem} at k = ({where})"
    if file.suffix.lower() == ".nmd":
        write_nmd(patterns, file, title=title, force=force)
    else:
        write_animation(one, file, frames, title=title, force=force)
    block = " x ".join(str(n) for n in one.block.cells)
    nu = ", ".join(f"{p.frequency * thermal_frequency(temperature):.3g}" for p in patterns)
    size = f"up to {one.largest:.2g} Å"
    if one.thermal > 0:
        size += f" ({one.thermal:.2g} times thermal)"
    ends = "" if one.repeats else "; the wave does not repeat in this block"
    return f"{title}, {nu} THz, {block} cells, {len(one.displacements)} atoms, {size}{ends}"
