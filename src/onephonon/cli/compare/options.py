"""What is compared, and what is saved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ..groups import OptionGroup
from ..options.resolution import ResolutionOptions

if TYPE_CHECKING:
    from onephonon.compare.settings import Settings


@dataclass(frozen=True)
class ComparisonOptions(OptionGroup):
    """What is compared."""

    panel: ClassVar[str] = "Comparison"

    shells: Annotated[int, typer.Option(help="Number of shells of resolution to report.")] = 10
    remove: Annotated[
        str,
        typer.Option(
            metavar="line|mean|none",
            help="Isotropic part that is removed from both: in each shell of |q| a line in |q|, "
            "the mean, or nothing.",
        ),
    ] = "line"
    remove_shells: Annotated[int, typer.Option(help="Number of shells of |q| for --remove.")] = 50
    weights: Annotated[
        str,
        typer.Option(
            metavar="unit|sigma|counts",
            help="Weight voxels alike, by 1/sigma², or by the number of observations.",
        ),
    ] = "unit"

    def settings(self, resolution: ResolutionOptions, reindex: str) -> Settings:
        """What `compare_maps` takes.

        Raises
        ------
        InputError
            If a value is out of its range.
        """
        from onephonon.compare.settings import Settings
        from onephonon.maps.isotropic import Isotropic

        return Settings(
            d_min=0.0 if resolution.d_min is None else resolution.d_min,
            d_max=math.inf if resolution.d_max is None else resolution.d_max,
            shells=self.shells,
            isotropic=Isotropic(self.remove, self.remove_shells),
            weighting=self.weights,
            reindex=reindex,
        )


@dataclass(frozen=True)
class ResultOptions(OptionGroup):
    """What is saved of a comparison."""

    panel: ClassVar[str] = "Results"

    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Save the table of shells.")] = (
        None
    )
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Save all numbers.")] = None
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Save a picture.")] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Save the model at the data's voxels, in the data's indices, as a map.",
        ),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Everything that is saved."""
        files = (self.csv, self.json, self.png, self.output)
        return [path for path in files if path is not None]

    def check(self, force: bool) -> None:
        """Check before long work that everything can be written.

        Raises
        ------
        MapFileError, InputError
            If something cannot.
        """
        from onephonon.core.files import check_writable

        for path in (self.csv, self.json):
            if path is not None:
                check_writable(path, force)
        if self.png is not None:
            from onephonon.viz.plot.saving import check_picture_path

            check_writable(check_picture_path(self.png), force)
        if self.output is not None:
            from onephonon.maps.io.registry import check_map_path

            check_map_path(self.output, force)
