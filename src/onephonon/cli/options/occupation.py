"""Options of the occupation of modes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from onephonon.core.arguments import MAX_TEMPERATURE

from ..checks import READS, Given, Limits
from ..groups import OptionGroup


@dataclass(frozen=True)
class OccupationOptions(OptionGroup):
    """Mean squares of the modes: classical, quantum-mechanical, or by frequency from a table."""

    panel: ClassVar[str] = "Occupation of modes"

    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="K",
            help="Modes move as in quantum mechanics at this temperature, in K.",
            show_default="classical motion",
        ),
        Limits(low=0, high=MAX_TEMPERATURE, above=True, why="in K"),
    ] = None
    populations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of frequency (THz) and mean square relative to classical motion, in place "
            "of the quantum-mechanical one; needs --temperature.",
        ),
        READS,
    ] = None
    populations_mode: Annotated[
        str,
        typer.Option(
            metavar="direct|thermal",
            help="Values of --populations are used as they are (direct), or multiply the "
            "quantum-mechanical mean square (thermal).",
        ),
    ] = "direct"

    def check_together(self, given: Given) -> None:
        """Raise InputError for a table without a temperature, or a mode without a table."""
        if self.temperature is None:
            given.refuse(
                "populations",
                why="its frequencies are absolute, and springs are in kT; add --temperature",
            )
        if self.populations is None:
            given.refuse("populations_mode", why="only for a table; add --populations")

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon` that are recorded in calculated maps."""
        return {"temperature": self.temperature}

    def read(self) -> dict[str, Any]:
        """The table, for `OnePhonon`."""
        if self.populations is None:
            return {}
        from onephonon.maps.io.populations import read_populations

        return {"populations": read_populations(self.populations, self.populations_mode)}

    def recorded(self) -> dict[str, Any]:
        """The table's name and mode, as recorded in calculated maps."""
        if self.populations is None:
            return {}
        return {"populations": self.populations.name, "populations_mode": self.populations_mode}
