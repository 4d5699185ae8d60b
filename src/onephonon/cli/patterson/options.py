"""Options of Patterson maps and of their output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ..checks import POSITIVE, READS, WRITES, Given
from ..groups import OptionGroup
from ..options.isotropic import IsotropicOptions
from ..options.output import OutputOptions
from ..options.resolution import ResolutionOptions

if TYPE_CHECKING:
    from onephonon.realspace import Preparation


@dataclass(frozen=True)
class PreparationOptions(IsotropicOptions):
    """How a map is made ready for its Fourier transform."""

    panel: ClassVar[str] = "Preparation of the map"

    remove: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Isotropic part subtracted in shells of |q|: the interpolated mean (profile), a "
            "line, the mean in steps, or none.",
        ),
    ] = "profile"
    fill: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Missing voxels: mean of known ones within two voxels (neighbours); zero, with "
            "all others of the shell of |q| divided by its share of known ones (share); or zero.",
        ),
    ] = "neighbours"
    taper: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Factor that falls towards the finest resolution, against ripples: hann, "
            "gaussian or none.",
        ),
    ] = "hann"
    no_symmetry: Annotated[
        bool, typer.Option("--no-symmetry", help="Do not average over the Laue group first.")
    ] = False

    def preparation(self, resolution: ResolutionOptions) -> Preparation:
        """Settings of `prepare`.

        Raises
        ------
        InputError
            If a value is not possible.
        """
        from onephonon.realspace import Preparation

        d_min, d_max = resolution.limits
        return Preparation(
            d_min=d_min,
            d_max=d_max,
            isotropic=self.isotropic(),
            fill=self.fill,
            taper=self.taper,
            symmetric=not self.no_symmetry,
        )


@dataclass(frozen=True)
class SecondMapOptions(OptionGroup):
    """A model to compare with, or to subtract."""

    panel: ClassVar[str] = "Model"

    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A calculated map, scaled to MAP: its Patterson map is compared with that of MAP, "
            "by distance and by resolution.",
        ),
        READS,
    ] = None
    subtract: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A calculated map, scaled to MAP and subtracted from it before the transform: "
            "what the model does not explain.",
        ),
        READS,
    ] = None
    difference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save MAP less the scaled model of --subtract, in any format of maps, such as "
            ".nxs for mdx2.",
        ),
        WRITES,
    ] = None

    def check_together(self, given: Given) -> None:
        """Raise InputError for a difference without a model."""
        if self.subtract is None:
            given.refuse("difference", why="only for a model to subtract; add --subtract MODEL")


@dataclass(frozen=True)
class RealSpaceOptions(OptionGroup):
    """Points and shells in real space."""

    panel: ClassVar[str] = "Real space"

    spacing: Annotated[
        float | None,
        typer.Option(
            help="Largest distance of points, in Å.", show_default="a third of the finest d"
        ),
        POSITIVE,
    ] = None
    shell_width: Annotated[
        float, typer.Option(help="Width of the shells of |r|, in Å."), POSITIVE
    ] = 2.0
    radius: Annotated[
        tuple[float, ...],
        typer.Option(
            metavar="R",
            help="Distances, in Å, between which intensities are compared by resolution with "
            "--against; may be repeated.",
            show_default="10, 20",
        ),
        POSITIVE,
    ] = ()

    @property
    def radii(self) -> tuple[float, ...]:
        """Increasing distances, Å."""
        return tuple(sorted(self.radius)) or (10.0, 20.0)


@dataclass(frozen=True)
class PattersonFiles(OptionGroup):
    """Further files."""

    panel: ClassVar[str] = "Further files"

    png: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Save a picture: sections, and curves against |r|."),
        WRITES,
    ] = None
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the shells of |r| as CSV."), WRITES
    ] = None
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save all numbers as JSON."), WRITES
    ] = None

    def check(self, writing: OutputOptions, output: Path, difference: Path | None) -> None:
        """Check, before long computations, that all files can be written.

        Raises
        ------
        FileError, InputError
            If a file cannot be written, or its ending is not possible.
        """
        from onephonon.realspace.writing import check_ending

        check_ending(output)
        if difference is not None:
            from onephonon.maps.io.registry import check_map_ending

            check_map_ending(difference)
        if self.png is not None:
            from onephonon.viz.plot.saving import check_picture_path

            check_picture_path(self.png)
        writing.check(output, difference, self.png, self.csv, self.json)
