"""What is drawn, and how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from ..groups import OptionGroup

#: Kinds of pictures; the files of all but slices end so.
SLICES, HALOS, PROFILE = "slices", "halos", "profile"


@dataclass(frozen=True)
class PictureOptions(OptionGroup):
    """What is drawn."""

    panel: ClassVar[str] = "Pictures"

    planes: Annotated[
        tuple[str, ...],
        typer.Option(
            "--plane",
            metavar="PLANE",
            help="Plane to draw, may be repeated: hk0, h0l, hk0.5, hhl; origin:along:up in Miller "
            "indices, as 0,0,0:1,1,0:0,0,1; or q=origin:along:up, Cartesian, in 1/Å with 2π.",
            show_default="central slices",
        ),
    ] = ()
    halos: Annotated[
        int | None,
        typer.Option(metavar="N", help="Draw close-ups of the N strongest halos."),
    ] = None
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Draw mean and spread of the intensity against resolution."),
    ] = False
    animate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILM",
            help="Film (.gif, .mp4) through the layers parallel to the first --plane.",
        ),
    ] = None

    @property
    def kinds(self) -> list[str]:
        """Kinds of pictures asked for; slices unless something else alone is."""
        draw_options = {HALOS: self.halos, PROFILE: self.profile}
        kinds = [kind for kind, value in draw_options.items() if value]
        return [SLICES, *kinds] if self.planes or not (kinds or self.animate) else kinds


@dataclass(frozen=True)
class LookOptions(OptionGroup):
    """How it is drawn."""

    panel: ClassVar[str] = "Looks"

    anisotropic: Annotated[
        bool,
        typer.Option(
            "--anisotropic", help="Draw what is left without the average over shells of |q|."
        ),
    ] = False
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range",
            metavar="LOW HIGH",
            help="Intensities of the first and last colour.",
            show_default="by the map's own",
        ),
    ] = None
    scale: Annotated[
        str, typer.Option(metavar="KIND", help="Scale of colours: auto, log, linear or diverging.")
    ] = "auto"
    dpi: Annotated[float, typer.Option(help="Resolution of the picture, in dots per inch.")] = 200
    title: Annotated[
        str | None, typer.Option(help="Heading of the picture.", show_default="the files' names")
    ] = None

    def arguments(self, files: str) -> dict[str, Any]:
        """Keywords of everything that draws intensities; `files` is the heading by default."""
        title = files if self.title is None else self.title
        return {"title": title, "limits": self.limits, "scale": self.scale}
