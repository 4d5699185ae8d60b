"""Options of amplitudes from a measured electron density."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from ..checks import READS, Given, Limits
from ..groups import OptionGroup


@dataclass(frozen=True)
class AmplitudeOptions(OptionGroup):
    """Amplitudes from a measured electron density in place of atoms."""

    panel: ClassVar[str] = "Amplitudes"

    amplitudes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Compute amplitudes from a measured electron density, divided among the bodies, "
            "in place of atoms: map coefficients (.mtz, or structure factors in .cif) or a CCP4 "
            "map. Debye-Waller factors are in it.",
            show_default="from the atoms",
        ),
        READS,
    ] = None
    amplitude_columns: Annotated[
        str | None,
        typer.Option(
            metavar="F,PHI",
            help="Columns of amplitudes and phases in --amplitudes.",
            show_default="2mFo-DFc of refinement programs, or measured F and calculated phases",
        ),
    ] = None
    solvent_level: Annotated[
        float | None,
        typer.Option(
            metavar="DENSITY",
            help="Density of the bulk solvent in --amplitudes, in e/Å³ on the scale of the map.",
            show_default="read off the map",
        ),
        Limits(low=-100, high=100, why="in electrons per Å³"),
    ] = None

    def check_together(self, given: Given) -> None:
        """Raise InputError for options that a density lacks, or that need atoms in its place."""
        if self.amplitudes is None:
            given.refuse(
                *("amplitude_columns", "solvent_level"),
                why="only for a measured density; add --amplitudes FILE",
            )
        else:
            given.refuse(
                *("engine", "solvent", "solvent_smoothing", "disorder"),
                why="not for --amplitudes, which are those of a measured density; leave it out",
            )

    def read(self) -> dict[str, Any]:
        """The density, for `OnePhonon`."""
        if self.amplitudes is None:
            return {}
        from onephonon.crystal.reading import read_electron_density
        from onephonon.model.measured_density import MeasuredDensity

        density = read_electron_density(self.amplitudes, self.amplitude_columns)
        return {"density": MeasuredDensity(density, level=self.solvent_level)}

    def recorded(self) -> dict[str, Any]:
        """The file's name and how it was read, as recorded in calculated maps."""
        if self.amplitudes is None:
            return {}
        return {
            "amplitudes": self.amplitudes.name,
            "amplitude_columns": self.amplitude_columns,
            "solvent_level": self.solvent_level,
        }
