"""Options of a comparison and of its output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ..checks import SHELLS, WRITES, Given
from ..groups import OptionGroup
from ..options.output import OutputOptions
from ..options.resolution import ResolutionOptions

if TYPE_CHECKING:
    from onephonon.compare.settings import Settings


@dataclass(frozen=True)
class ComparisonOptions(OptionGroup):
    """Settings of a comparison."""

    panel: ClassVar[str] = "Comparison"

    shells: Annotated[int, typer.Option(help="Number of resolution shells to report."), SHELLS] = 10
    remove: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Isotropic part subtracted from both maps: in each shell of |q| a line in |q| "
            "(line) or the mean (mean); the interpolated mean (profile); or nothing (none).",
        ),
    ] = "line"
    remove_shells: Annotated[
        int, typer.Option(help="Number of shells of |q| for --remove."), SHELLS
    ] = 50
    weights: Annotated[
        str,
        typer.Option(
            metavar="unit|sigma|counts",
            help="Weights of voxels: unit, 1/sigma², or the number of observations.",
        ),
    ] = "unit"

    no_baselines: Annotated[
        bool,
        typer.Option(
            "--no-baselines",
            help="Do not compare null models without springs, such as molecules that move "
            "independently, at the same voxels.",
        ),
    ] = False

    def check_together(self, given: Given) -> None:
        """Raise InputError for shells of an isotropic part that is not removed."""
        if self.remove == "none":
            given.refuse("remove_shells", why="not with --remove none, which subtracts nothing")

    def settings(self, resolution: ResolutionOptions, reindex: str) -> Settings:
        """Settings of `compare_maps`.

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
            n_shells=self.shells,
            isotropic=Isotropic(self.remove, self.remove_shells),
            weighting=self.weights,
            reindex=reindex,
        )


@dataclass(frozen=True)
class ResultOptions(OptionGroup):
    """Files to which the results are saved."""

    panel: ClassVar[str] = "Results"

    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the table of shells as CSV."), WRITES
    ] = None
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save all numbers as JSON."), WRITES
    ] = None
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Save a picture."), WRITES] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Save the model as a map on the voxels and in the indices of the data.",
        ),
        WRITES,
    ] = None

    @property
    def files(self) -> list[Path]:
        """All files to be written."""
        files = (self.csv, self.json, self.png, self.output)
        return [path for path in files if path is not None]

    def check(self, writing: OutputOptions) -> None:
        """Check, before long computations, that all files can be written.

        Raises
        ------
        FileError
            If a file cannot be written.
        """
        if self.png is not None:
            from onephonon.viz.plot.saving import check_picture_path

            check_picture_path(self.png)
        if self.output is not None:
            from onephonon.maps.io.registry import check_map_ending

            check_map_ending(self.output)
        writing.check(*self.files)
