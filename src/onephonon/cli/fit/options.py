"""What is fitted to which data, how, and what is reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from onephonon.core.errors import InputError

from ..groups import OptionGroup
from ..options.resolution import ResolutionOptions
from ..options.voxels import VoxelOptions

if TYPE_CHECKING:
    from onephonon.refine.settings import FitSettings


@dataclass(frozen=True)
class FitResolution(ResolutionOptions):
    """The range of resolution, which for halos is that of their Bragg peaks."""

    d_min: Annotated[
        float | None,
        typer.Option(
            help="Finest resolution, in Å, of the voxels, or of the halos' Bragg peaks.",
            show_default="2.0 for halos, else no limit",
        ),
    ] = None
    d_max: Annotated[
        float | None,
        typer.Option(
            help="Coarsest resolution, in Å, of the voxels, or of the halos' Bragg peaks.",
            show_default="2.5 for halos, else no limit",
        ),
    ] = None


@dataclass(frozen=True)
class DataOptions(OptionGroup):
    """Which voxels are fitted, and which are held out."""

    panel: ClassVar[str] = "Data"

    voxels: Annotated[
        str,
        typer.Option(
            metavar="auto|halos|all",
            help="Fit zones around the strongest Bragg peaks (halos), all voxels (all), or halos "
            "where the map is finely sampled (auto).",
        ),
    ] = "auto"
    n_peaks: Annotated[int, typer.Option("--peaks", help="Largest number of halos.")] = 400
    bragg_radius: Annotated[
        float | None,
        typer.Option(
            help="Leave out voxels nearer than this to a Bragg point, in 1/Å.",
            show_default="half a voxel's diagonal; none if voxels are averaged over",
        ),
    ] = None
    held_out: Annotated[
        float, typer.Option(help="Share of the halos that is held out of the fit.")
    ] = 0.2
    seed: Annotated[int, typer.Option(help="Seed of the random choice of what is held out.")] = 0


@dataclass(frozen=True)
class ObjectiveOptions(OptionGroup):
    """What is minimized."""

    panel: ClassVar[str] = "Objective"

    scale: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Take the data to be in e² per cell (absolute), fit their scale (fitted), or "
            "decide by their units (auto).",
        ),
    ] = "auto"
    background: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Background to fit: smooth in |q| (isotropic), a constant and a slope in each "
            "halo (halo), nothing (none), or the first for all voxels and the second for halos "
            "(auto).",
        ),
    ] = "auto"
    knots: Annotated[int, typer.Option(help="Number of knots of the isotropic background.")] = 12
    loss: Annotated[
        str,
        typer.Option(
            metavar="squares|soft_l1",
            help="Sum squares, or sum squares that grow linearly for outliers.",
        ),
    ] = "squares"
    outlier: Annotated[
        float,
        typer.Option(metavar="SIGMA", help="For soft_l1: where growth becomes linear, in sigma."),
    ] = 3.0
    prior: Annotated[
        float | None,
        typer.Option(
            help="Weight of the springs' log-ratios to the start.",
            show_default="the best on held-out data",
        ),
    ] = None


@dataclass(frozen=True)
class SeriesOptions(OptionGroup):
    """Which models are fitted, from few springs to many."""

    panel: ClassVar[str] = "Series of models"

    levels: Annotated[
        str,
        typer.Option(metavar="LEVEL,...", help="Models to fit in turn, from few springs to many."),
    ] = "global,interface,hybrid,residue,stiffness"
    patience: Annotated[
        int,
        typer.Option(
            help="Number of levels without a clear gain on held-out data before the series ends."
        ),
    ] = 1
    max_steps: Annotated[int, typer.Option(help="Largest number of steps of a minimization.")] = 200


@dataclass(frozen=True)
class ReportOptions(OptionGroup):
    """What is reported beside the springs."""

    panel: ClassVar[str] = "Report"

    draws: Annotated[
        int,
        typer.Option(help="Number of draws behind the bands of predictions; 0 for no predictions."),
    ] = 40
    profiles: Annotated[
        tuple[str, ...],
        typer.Option(
            "--profile",
            metavar="SPRING",
            help="Profile of a spring, by its name in springs.csv; may be repeated.",
        ),
    ] = ()

    def check(self) -> None:
        """Check before long work what does not need the fit.

        Raises
        ------
        InputError
            If the number of draws is negative.
        """
        if self.draws < 0:
            raise InputError(f"--draws {self.draws}: give a whole number, 0 or more")


def fit_settings(
    data: DataOptions,
    resolution: ResolutionOptions,
    voxels: VoxelOptions,
    objective: ObjectiveOptions,
    levels: SeriesOptions,
) -> FitSettings:
    """What `fit_springs` takes.

    Raises
    ------
    InputError
        If a word is unknown or a number cannot be.
    """
    from dataclasses import asdict

    from onephonon.refine.settings import FitSettings

    given: dict[str, Any] = {}
    for group in (data, resolution, voxels, objective, levels):
        given |= asdict(group)
    given["levels"] = tuple(levels.levels.replace(",", " ").split())
    return FitSettings(**given)
