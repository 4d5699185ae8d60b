"""Options of the pictures and of their style."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from ..checks import WRITES, Ascending, Limits
from ..groups import OptionGroup

#: Kinds of pictures; all but slices are appended to the names of files.
SLICES, HALOS, PROFILE = "slices", "halos", "profile"


@dataclass(frozen=True)
class PictureOptions(OptionGroup):
    """Pictures to draw."""

    panel: ClassVar[str] = "Pictures"

    planes: Annotated[
        tuple[str, ...],
        typer.Option(
            "--plane",
            metavar="PLANE",
            help="Plane to draw, may be repeated: hk0, h0l, hk0.5, hhl; origin:along:up in Miller "
            "indices, such as 0,0,0:1,1,0:0,0,1; or q=origin:along:up, Cartesian, in 1/Å with 2π.",
            show_default="central slices",
        ),
    ] = ()
    halos: Annotated[
        int | None,
        typer.Option(metavar="N", help="Draw close-ups of the N strongest halos."),
        Limits(low=1, high=1000),
    ] = None
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Draw mean and spread of the intensity against resolution."),
    ] = False
    animate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Animation (.gif, .mp4) through the layers parallel to the first --plane.",
        ),
        WRITES,
    ] = None

    @property
    def kinds(self) -> list[str]:
        """Requested kinds of pictures; slices if nothing else is requested."""
        draw_options = {HALOS: self.halos, PROFILE: self.profile}
        kinds = [kind for kind, value in draw_options.items() if value]
        return [SLICES, *kinds] if self.planes or not (kinds or self.animate) else kinds


@dataclass(frozen=True)
class LookOptions(OptionGroup):
    """Style of the pictures."""

    panel: ClassVar[str] = "Style"

    anisotropic: Annotated[
        bool,
        typer.Option(
            "--anisotropic", help="Draw the anisotropic part: subtract the mean over shells of |q|."
        ),
    ] = False
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range",
            metavar="LOW HIGH",
            help="Intensities of the lowest and highest colour.",
            show_default="from the map",
        ),
        Ascending(),
    ] = None
    scale: Annotated[
        str, typer.Option(metavar="KIND", help="Colour scale: auto, log, linear or diverging.")
    ] = "auto"
    dpi: Annotated[
        float,
        typer.Option(help="Resolution of the picture, in dots per inch."),
        Limits(low=20, high=2400, why="in dots per inch"),
    ] = 200
    title: Annotated[
        str | None, typer.Option(help="Heading of the picture.", show_default="names of the files")
    ] = None

    def arguments(self, files: str) -> dict[str, Any]:
        """Keywords of the drawing functions; `files` is the default heading."""
        title = files if self.title is None else self.title
        return {"title": title, "limits": self.limits, "scale": self.scale}
