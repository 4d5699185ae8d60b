"""Options of the spectra and of the animation of a mode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from onephonon.core.errors import InputError

from ..checks import ONE_OR_MORE, POSITIVE, WRITES, Given, Limits
from ..groups import OptionGroup


@dataclass(frozen=True)
class SpectrumOptions(OptionGroup):
    """Dispersion and density of states."""

    panel: ClassVar[str] = "Spectra"

    points: Annotated[
        int | None,
        typer.Option(
            help="Approximate number of wavevectors along the path.",
            show_default="from the size of the model",
        ),
        ONE_OR_MORE,
    ] = None
    dos_mesh: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="NH NK NL",
            help="Mesh in the Brillouin zone for the density of states.",
            show_default="from the size of the model",
        ),
        ONE_OR_MORE,
    ] = None
    width: Annotated[
        float | None,
        typer.Option(
            help="Broadening of the density of states, in THz.",
            show_default="1.2 % of the highest frequency",
        ),
        Limits(low=0, above=True, why="in THz"),
    ] = None
    histogram: Annotated[
        bool,
        typer.Option("--histogram", help="Density of states as a histogram, not broadened."),
    ] = False
    folded: Annotated[
        bool,
        typer.Option(
            "--folded",
            help="In centred cells, show all modes of the conventional cell at each wavevector.",
        ),
    ] = False

    def check_together(self, given: Given) -> None:
        """Raise InputError for a broadening of a histogram."""
        if self.histogram:
            given.refuse("width", why="broadens, which --histogram does not; give one of the two")

    def report_arguments(self) -> dict[str, Any]:
        """Keywords of `make_report`."""
        return {
            "points": self.points,
            "dos_mesh": self.dos_mesh,
            "width": self.width,
            "histogram": self.histogram,
            "unfold": not self.folded,
        }


@dataclass(frozen=True)
class AnimationOptions(OptionGroup):
    """Animation of one mode."""

    panel: ClassVar[str] = "Animation of one mode"

    animate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the mode to .pdb or .cif (frames), or .nmd.",
        ),
        WRITES,
    ] = None
    at: Annotated[
        str,
        typer.Option(
            metavar="K", help='Wavevector of the mode: a point of the path, or "0 1/2 0".'
        ),
    ] = "Γ"
    modes: Annotated[
        tuple[int, ...],
        typer.Option(
            "--mode",
            metavar="NUMBER",
            help="Number of the mode, counted from 0 for the softest; may be repeated for .nmd.",
            show_default="0; at Γ 3, above the translations",
        ),
        Limits(low=0, why="counted from 0"),
    ] = ()
    cells: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="NA NB NC",
            help="Number of cells shown along each axis.",
            show_default="until the wave repeats",
        ),
        ONE_OR_MORE,
    ] = None
    amplitude: Annotated[
        float | None,
        typer.Option(
            help="Largest displacement of an atom, in Å.",
            show_default="1, or from --thermal",
        ),
        Limits(low=0, above=True, why="in Å"),
    ] = None
    thermal: Annotated[
        float | None,
        typer.Option(
            help="Amplitude in units of the thermal amplitude (energy kT), instead of --amplitude."
        ),
        POSITIVE,
    ] = None
    travelling: Annotated[
        bool,
        typer.Option("--travelling", help="Show a travelling instead of a standing wave."),
    ] = False
    frames: Annotated[int, typer.Option(help="Number of frames per period."), ONE_OR_MORE] = 24
    atoms: Annotated[
        str,
        typer.Option(metavar="all|backbone|ca", help="Atoms shown; ca: C-alpha and phosphorus."),
    ] = "all"

    def check_together(self, given: Given) -> None:
        """Raise InputError for options that would be ignored."""
        if self.animate is None:
            given.refuse(*self.names(), why="only for --animate FILE; add it, or leave this out")
            return
        if self.animate.suffix.lower() == ".nmd":
            given.refuse("travelling", "frames", why="not for .nmd, in which viewers make frames")
        if self.amplitude is not None:
            given.refuse("thermal", why="another amplitude than --amplitude; give one of the two")

    def check(self) -> None:
        """Check the options, before anything is computed.

        Raises
        ------
        InputError
            If an option is invalid.
        """
        from onephonon.viz.trajectory.structure_files import CIF_ENDINGS, PDB_ENDINGS

        file = self.animate
        if file is None:
            return
        endings = (*PDB_ENDINGS, *CIF_ENDINGS, ".nmd")
        if file.suffix.lower() not in endings:
            raise InputError(f"--animate {file}: the ending must be one of {', '.join(endings)}")
        if len(self.modes) > 1 and file.suffix.lower() != ".nmd":
            raise InputError(f"--animate {file}: give one --mode, or write .nmd for several")

    def pattern_arguments(self) -> dict[str, Any]:
        """Keywords of `mode_pattern`."""
        return {
            "cells": self.cells,
            "amplitude": self.amplitude,
            "thermal": self.thermal,
            "travelling": self.travelling,
            "atoms": self.atoms,
        }
