"""Option of the temperature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from onephonon.core.arguments import MAX_TEMPERATURE

from ..checks import Limits
from ..groups import OptionGroup
from ..terminal import echo

#: Room temperature, K, for files without a temperature.
ROOM = 295.0


@dataclass(frozen=True)
class TemperatureOptions(OptionGroup):
    """Temperature that relates displacements to frequencies."""

    panel: ClassVar[str] = "Temperature"

    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            "-T",
            metavar="K",
            help="Temperature at which the B-factors were measured, in K; frequencies and speeds "
            "of sound depend on it.",
            show_default="from the file, or 295",
        ),
        Limits(low=0, high=MAX_TEMPERATURE, above=True, why="in K"),
    ] = None

    def kelvin(self, structure: Path, quiet: bool) -> float:
        """The given temperature, that of the file, or room temperature with a message."""
        from onephonon.crystal.experiment import measured_temperature

        known = self.temperature or measured_temperature(structure)
        if known is None and not quiet and structure.exists():
            echo(
                f"{structure.name} does not state the temperature of its B-factors: "
                f"{ROOM:g} K is assumed; change it with --temperature"
            )
        return known or ROOM
