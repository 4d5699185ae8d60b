"""The temperature of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from onephonon.core.errors import InputError

from ..groups import OptionGroup

#: Room temperature, K, for files without a temperature.
ROOM = 295.0


@dataclass(frozen=True)
class TemperatureOptions(OptionGroup):
    """The temperature that turns displacements into frequencies."""

    panel: ClassVar[str] = "Temperature"

    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            "-T",
            metavar="K",
            help="Temperature at which the B-factors were measured, in K, for frequencies and "
            "speeds of sound.",
            show_default="the file's, or 295",
        ),
    ] = None

    def kelvin(self, structure: Path, quiet: bool) -> float:
        """The temperature given, or the file's, or that of a room, which is printed.

        Raises
        ------
        InputError
            If the one given is not positive.
        """
        from onephonon.crystal.experiment import measured_temperature

        if self.temperature is not None and not self.temperature > 0:
            raise InputError(f"--temperature {self.temperature:g}: must be positive, in K")
        known = self.temperature or measured_temperature(structure)
        if known is None and not quiet and structure.exists():
            typer.echo(
                f"{structure.name} does not say the temperature of its B-factors: {ROOM:g} K "
                "assumed; say --temperature"
            )
        return known or ROOM
