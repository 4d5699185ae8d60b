"""Options of a comparison and of its output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ..checks import SHELLS, WRITES
from ..groups import OptionGroup
from ..options.isotropic import IsotropicOptions
from ..options.output import OutputOptions
from ..options.resolution import ResolutionOptions

if TYPE_CHECKING:
    from onephonon.compare.settings import Settings


@dataclass(frozen=True)
class ComparisonOptions(IsotropicOptions):
    """Settings of a comparison."""

    panel: ClassVar[str] = "Comparison"

    shells: Annotated[int, typer.Option(help="Number of resolution shells to report."), SHELLS] = 10
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

    def settings(self, resolution: ResolutionOptions, reindex: str) -> Settings:
        """Settings of `compare_maps`.

        Raises
        ------
        InputError
            If a value is out of its range.
        """
        from onephonon.compare.settings import Settings

        d_min, d_max = resolution.limits
        return Settings(
            d_min=d_min,
            d_max=d_max,
            n_shells=self.shells,
            isotropic=self.isotropic(),
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
