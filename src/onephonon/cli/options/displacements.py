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
            show_default="that of a box of 60 Å",
        ),
    ] = None

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {"thermal_scale": self.thermal_scale}

    def mesh_arguments(self) -> dict[str, Any]:
        """Keywords of an `OnePhonon` that is given a list of q, or none."""
        if self.mesh is None:
            return {}
        samplings = [(0.0, 1.0, float(n)) for n in self.mesh]
        return dict(zip(("hsampling", "ksampling", "lsampling"), samplings, strict=True))


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
