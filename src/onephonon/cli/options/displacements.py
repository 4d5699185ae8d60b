"""How far atoms move, and their Debye-Waller factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from ..groups import OptionGroup


@dataclass(frozen=True)
class DisplacementOptions(OptionGroup):
    """How far atoms move: the thermal scale, and the zone mesh that is averaged over."""

    panel: ClassVar[str] = "Displacements"

    thermal_scale: Annotated[
        float | None,
        typer.Option(
            help="Thermal scale s, which multiplies intensities and mean-square displacements.",
            show_default="the mean B of the model is the file's",
        ),
    ] = None
    mesh: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="NH NK NL",
            help="Mesh in the Brillouin zone over which displacements are averaged.",
            show_default="the samples per index of a grid, or a box of 60 Å",
        ),
    ] = None

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {"thermal_scale": self.thermal_scale, "mesh": self.mesh}


@dataclass(frozen=True)
class DebyeWallerOptions(DisplacementOptions):
    """The same, and where the Debye-Waller factors come from."""

    use_data_adp: Annotated[
        bool,
        typer.Option(
            "--use-data-adp",
            help="Take the Debye-Waller factors from the file's B or U, not from the model.",
        ),
    ] = False
