"""Options of atomic displacements and Debye-Waller factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from onephonon.core.arguments import MAX_MESH_POINTS

from ..checks import POSITIVE, Counts, Given
from ..groups import OptionGroup


@dataclass(frozen=True)
class DisplacementOptions(OptionGroup):
    """Thermal scale, and mesh in the Brillouin zone for displacements."""

    panel: ClassVar[str] = "Displacements"

    thermal_scale: Annotated[
        float | None,
        typer.Option(
            help="Thermal scale s, which multiplies intensities and mean-square displacements.",
            show_default="mean B of the model equal to that of the file",
        ),
        POSITIVE,
    ] = None
    mesh: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="NH NK NL",
            help="Mesh in the Brillouin zone over which displacements are averaged.",
            show_default="a box of 60 Å",
        ),
        Counts(most=MAX_MESH_POINTS),
    ] = None
    zone_average: Annotated[
        str,
        typer.Option(
            metavar="crystal|supercell",
            help="Average displacements over the zone of the crystal, or over the wavevectors of a "
            "finite supercell, which leaves out the longest waves.",
        ),
    ] = "crystal"

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {
            "thermal_scale": self.thermal_scale,
            "mesh": self.mesh,
            "zone_average": self.zone_average,
        }


@dataclass(frozen=True)
class DebyeWallerOptions(DisplacementOptions):
    """The same, and the source of the Debye-Waller factors."""

    use_data_adp: Annotated[
        bool,
        typer.Option(
            "--use-data-adp",
            help="Compute Debye-Waller factors from B or U of the file, not from the model.",
        ),
    ] = False

    def check_together(self, given: Given) -> None:
        """Raise InputError for a mesh over which nothing is averaged."""
        super().check_together(given)
        if self.use_data_adp and self.thermal_scale is not None:
            given.refuse(
                "mesh",
                why="nothing is averaged over it with --use-data-adp and --thermal-scale; leave "
                "out one of the three",
            )
