"""Options of ``onephonon fit``: data, objective, levels and report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from ..checks import NOT_NEGATIVE, ONE_OR_MORE, Given, Limits
from ..groups import OptionGroup
from ..options.resolution import RESOLUTION, ResolutionOptions
from ..options.voxels import ORDER, VoxelOptions

if TYPE_CHECKING:
    from onephonon.refine.settings import FitSettings


@dataclass(frozen=True)
class FitResolution(ResolutionOptions):
    """The resolution range, which for halos is that of their Bragg peaks."""

    d_min: Annotated[
        float | None,
        typer.Option(
            help="Finest resolution, in Å, of the voxels, or of the halos' Bragg peaks.",
            show_default="2.0 for halos, else no limit",
        ),
        RESOLUTION,
    ] = None
    d_max: Annotated[
        float | None,
        typer.Option(
            help="Coarsest resolution, in Å, of the voxels, or of the halos' Bragg peaks.",
            show_default="2.5 for halos, else no limit",
        ),
        RESOLUTION,
    ] = None


@dataclass(frozen=True)
class FitVoxelOptions(VoxelOptions):
    """How the model is averaged over the voxels of a fit."""

    average: Annotated[
        int | None,
        typer.Option(
            metavar="ORDER",
            help="Average the model over each voxel with this many nodes per axis (2 or more), or "
            "evaluate it at the voxel centres (0).",
            show_default="for each voxel what its estimated error requires; 0 for maps from "
            "onephonon simulate",
        ),
        ORDER,
    ] = None


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """The voxels that are fitted, and those that are held out."""

    panel: ClassVar[str] = "Data"

    voxels: Annotated[
        str,
        typer.Option(
            metavar="auto|halos|all",
            help="Fit zones around the strongest Bragg peaks (halos), all voxels (all), or halos "
            "where the map is finely sampled (auto).",
        ),
    ] = "auto"
    n_peaks: Annotated[
        int, typer.Option("--peaks", help="Maximum number of halos."), ONE_OR_MORE
    ] = 400
    bragg_radius: Annotated[
        float | None,
        typer.Option(
            help="Exclude voxels closer than this to a Bragg point, in 1/Å (including 2π).",
            show_default="half a voxel's diagonal; of voxels of half an index or more, those that "
            "hold a Bragg point, unless all do",
        ),
        Limits(low=0, high=10, why="in 1/Å, including 2π"),
    ] = None
    held_out: Annotated[
        float,
        typer.Option(help="Fraction of the halos that is held out of the fit."),
        Limits(low=0.01, high=0.9, why="a fraction"),
    ] = 0.2
    seed: Annotated[
        int, typer.Option(help="Random seed for choosing the held-out halos."), NOT_NEGATIVE
    ] = 0


@dataclass(frozen=True)
class ObjectiveOptions(OptionGroup):
    """The objective that is minimized."""

    panel: ClassVar[str] = "Objective"

    scale: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Assume that the data are in e² per cell (absolute), fit a scale factor (fitted), "
            "or decide by the units of the map (auto).",
        ),
    ] = "auto"
    background: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Background: a smooth function of |q| (isotropic), a constant and a slope in each "
            "halo (halo), no background (none), or isotropic for all voxels and halo for halos "
            "(auto).",
        ),
    ] = "auto"
    knots: Annotated[
        int,
        typer.Option(help="Number of spline knots of the isotropic background."),
        Limits(low=2, high=200),
    ] = 12
    loss: Annotated[
        str,
        typer.Option(
            metavar="squares|soft_l1",
            help="Sum of squares, or soft_l1, which is robust to outliers.",
        ),
    ] = "squares"
    outlier: Annotated[
        float,
        typer.Option(
            metavar="SIGMA", help="For soft_l1: residual beyond which the loss is linear, in sigma."
        ),
        Limits(low=1e-3, high=1e6, why="in sigma"),
    ] = 3.0
    prior: Annotated[
        float | None,
        typer.Option(
            help="Weight of the prior: of the squared log-ratios to the starting springs.",
            show_default="the best on held-out data",
        ),
        NOT_NEGATIVE,
    ] = None
    b_uncertainty: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="Relative uncertainty of the file's mean B-factor, which sets the unit of the "
            "springs if a scale is fitted.",
        ),
        Limits(low=0, high=10, why="a relative uncertainty, such as 0.2"),
    ] = 0.2

    def check_together(self, given: Given) -> None:
        """Raise InputError for options that would be ignored."""
        if self.loss == "squares":
            given.refuse("outlier", why="only for --loss soft_l1; add it")
        if self.background in ("halo", "none"):
            given.refuse("knots", why=f"only for isotropic, not for --background {self.background}")


@dataclass(frozen=True)
class SeriesOptions(OptionGroup):
    """The levels that are fitted, from few springs to many."""

    panel: ClassVar[str] = "Series of models"

    levels: Annotated[
        str,
        typer.Option(metavar="LEVEL,...", help="Levels to fit in turn, from few springs to many."),
    ] = "global,interface,hybrid,residue,stiffness"
    patience: Annotated[
        int,
        typer.Option(help="Number of further levels to fit without a clear gain on held-out data."),
        Limits(low=0, high=100),
    ] = 1
    max_steps: Annotated[
        int,
        typer.Option(help="Maximum number of steps of a minimization."),
        Limits(low=1, high=10_000),
    ] = 200


@dataclass(frozen=True)
class ReportOptions(OptionGroup):
    """Predictions and profiles in the report."""

    panel: ClassVar[str] = "Report"

    draws: Annotated[
        int,
        typer.Option(help="Random draws for the intervals of predictions; 0 for no predictions."),
        Limits(low=0, high=100_000),
    ] = 40
    profiles: Annotated[
        tuple[str, ...],
        typer.Option(
            "--profile",
            metavar="SPRING",
            help="Profile of the spring with this name in springs.csv; may be repeated.",
        ),
    ] = ()
    no_baselines: Annotated[
        bool,
        typer.Option(
            "--no-baselines",
            help="Do not compare null models without springs, such as molecules that move "
            "independently, on the held-out voxels.",
        ),
    ] = False


def fit_settings(
    data: DataOptions,
    resolution: ResolutionOptions,
    voxels: VoxelOptions,
    objective: ObjectiveOptions,
    levels: SeriesOptions,
) -> FitSettings:
    """The settings of `fit_springs`.

    Raises
    ------
    InputError
        If an option is unknown or a number is out of range.
    """
    from dataclasses import asdict

    from onephonon.refine.settings import FitSettings

    settings: dict[str, Any] = {}
    for group in (data, resolution, voxels, objective, levels):
        settings |= asdict(group)
    settings["levels"] = tuple(levels.levels.replace(",", " ").split())
    return FitSettings(**settings)
