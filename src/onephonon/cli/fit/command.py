"""The command ``onephonon fit``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onephonon.core.errors import InputError

from ..app import command
from ..checks import READS, WRITES_FOLDER, Given
from ..models import build_model, model_arguments, show_zone_average
from ..options.amplitudes import AmplitudeOptions
from ..options.fit_disorder import FitDisorderOptions
from ..options.map_reading import MapReadingOptions
from ..options.network import NetworkOptions
from ..options.numerics import DeviceOptions
from ..options.orders import MultiphononOptions
from ..options.output import OutputOptions
from ..options.scenes import SceneOptions
from ..options.structure import StructureFile, StructureOptions
from ..options.temperature import TemperatureOptions
from ..orders import (
    TOO_SMALL,
    range_of_data,
    sample_of_range,
    share_text,
    show_orders,
    show_share,
)
from ..remarks import show_bodies, show_remarks
from ..terminal import echo, progress
from .components import FOR_SPRINGS, fit_components
from .folder import RESULTS, FitFolder, summary
from .options import (
    DataOptions,
    FitResolution,
    FitVoxelOptions,
    ObjectiveOptions,
    ReportOptions,
    SeriesOptions,
    fit_settings,
)

if TYPE_CHECKING:
    from onephonon.core.progress import Progress
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.model.one_phonon import OnePhonon
    from onephonon.refine.predictions import Predictions
    from onephonon.refine.profile import Profile
    from onephonon.refine.result import Fit
    from onephonon.refine.settings import FitSettings


@command(
    "onephonon fit 1stn.pdb snase_diffuse.lat -o fit/ --d-min 1.67 --d-max 10 --leave-out 0.4",
    "onephonon fit 1stn.pdb snase_diffuse.lat --disorder lattice+liquid:kernel=free+segments "
    "-o fit/ --d-min 2.5 --d-max 10 --leave-out 0.4",
)
def fit(
    file: StructureFile,
    data_file: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="The measured map, in any supported format."),
        READS,
    ],
    *,
    given: Given,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the results; created if missing."),
        WRITES_FOLDER,
    ],
    writing: OutputOptions,
    scenes: SceneOptions,
    data: DataOptions,
    resolution: FitResolution,
    voxels: FitVoxelOptions,
    disorder: FitDisorderOptions,
    levels: SeriesOptions,
    objective: ObjectiveOptions,
    report: ReportOptions,
    temperature: TemperatureOptions,
    structure: StructureOptions,
    network: NetworkOptions,
    amplitudes: AmplitudeOptions,
    orders: MultiphononOptions,
    numerics: DeviceOptions,
    reading: MapReadingOptions,
) -> None:
    """Fit springs between molecules, or several kinds of motion, to a measured diffuse map.

    A series of models is fitted, with more springs at each level, as long as held-out data fit
    better. The output folder contains a report (report.html), all numbers (JSON, CSV), maps
    (model.h5, background.h5, and total.h5, their sum), and the state of the fit: repeat the command
    to continue an interrupted fit.

    With --disorder, kinds of motion are fitted side by side and together instead, and judged by
    voxels that are left out of the fit and by baselines (report.html, fit.json, models.csv; maps
    model.h5, held_out.h5, residual.h5).
    """
    from onephonon.core.files import check_not_inputs
    from onephonon.refine.profile import check_profile_names

    settings = fit_settings(data, resolution, voxels, objective, levels)
    components = disorder.components()
    if components:
        why = "only for a fit of springs alone, without --disorder"
        given.refuse(*FOR_SPRINGS, *SceneOptions.names(), why=why)
    if not report.draws:
        given.refuse("temperature", why="only for predictions, which --draws 0 leaves out")
    check_not_inputs([output / name for name in RESULTS], writing.inputs)
    kelvin = temperature.kelvin(file, writing.quiet)
    measured = reading.read_for(data_file, file)
    second = None if disorder.validate is None else reading.read_for(disorder.validate, file)
    arguments = model_arguments(network, orders, structure)
    model = build_model(file, arguments, **numerics.tensor_arguments(), **amplitudes.read())
    arguments |= amplitudes.recorded()
    show_remarks(model.crystal, file.name, writing.quiet)
    show_bodies(model.bodies, network.group_by, writing.quiet)
    show_zone_average(model, writing.quiet)
    if components:
        arguments |= {"disorder": disorder.disorder, "validate": str(disorder.validate)}
        with FitFolder.opened(output, file, measured, settings, arguments, writing.force) as folder:
            how = components, disorder, settings, folder, writing.quiet
            fit_components(model, measured, second, *how)
        return
    _show_orders(model, measured, settings, writing.quiet)
    check_profile_names(model, settings, report.profiles)
    with FitFolder.opened(output, file, measured, settings, arguments, writing.force) as folder:
        fitted = _run(model, measured, settings, folder, writing.quiet)
        _write(fitted, folder, kelvin, report, writing.quiet, scenes.scenes)


def _show_orders(model: OnePhonon, data: DiffuseMap, settings: FitSettings, quiet: bool) -> None:
    """Write errors of the orders and the share of one phonon; warn where it is small."""
    from onephonon.refine.voxels import resolution_range

    d_range = range_of_data(data, model, *resolution_range(data, settings))
    if not quiet and model.orders != 1:
        show_orders(model.bound.at(sample_of_range(model, d_range)), True, quiet)
    share = show_share(model, d_range, True, quiet)
    if share is not None and model.orders == 1 and share.smallest < TOO_SMALL:
        warnings.warn(
            f"the fit is of one phonon, which is {share_text(share)}; what is left out changes the "
            "springs: add --orders all",
            stacklevel=2,
        )


def _run(
    model: OnePhonon, data: DiffuseMap, settings: FitSettings, folder: FitFolder, quiet: bool
) -> Fit:
    """Fit, with messages and progress bars."""
    from onephonon.refine.fit import fit_springs

    with progress(quiet) as shown:
        if folder.saved:
            shown.message(
                f"continuing the fit in {folder.path}; minimizations already done: "
                f"{summary(folder.saved)}"
            )
        return fit_springs(
            model,
            data,
            settings,
            progress=shown,
            on_minimum=folder.save,
            saved=folder.saved,
        )


def _write(
    fitted: Fit,
    folder: FitFolder,
    kelvin: float,
    report: ReportOptions,
    quiet: bool,
    scenes: bool,
) -> None:
    """Write the report, the numbers and the maps; print the verdict and the file names."""
    from onephonon.network.contact_files import write_contact_table
    from onephonon.refine.null_fits import fit_nulls
    from onephonon.refine.parametrization import LogSprings
    from onephonon.refine.predictions import predict
    from onephonon.viz.report.verdict import assess_fit
    from onephonon.viz.report.writing import write_report

    predictions = None
    with progress(quiet) as shown:
        if report.draws:
            predictions = predict(fitted, temperature=kelvin, n_draws=report.draws, progress=shown)
        traced = tuple(_profiles(fitted, report.profiles, shown))
        nulls = fit_nulls(fitted, progress=shown) if not report.no_baselines else ()
    command = f"onephonon {' '.join(sys.argv[1:])}"
    written = write_report(
        fitted, folder.path, predictions, traced, command, force=True, nulls=nulls
    )
    if isinstance(fitted.best.parametrization, LogSprings):
        path = folder.path / "contacts.csv"
        write_contact_table(fitted.fitted_model().contact_table(), path, force=True)
        written.append(path)
    if scenes:
        written += _scenes(fitted, folder.path, predictions)
    folder.finish(written)
    if not quiet:
        for line in (*assess_fit(fitted).lines, *(null.text for null in nulls)):
            echo(line)
        echo(f"wrote {', '.join(str(path) for path in written)}")


def _scenes(fitted: Fit, folder: Path, predictions: Predictions | None) -> list[Path]:
    """Files for programs that show molecules, with joint displacements if they are known."""
    from onephonon.viz.scenes import write_scenes

    joint = None if predictions is None else predictions.joint
    lattice = fitted.fitted_model().lattice
    return write_scenes(lattice, folder, joint, title="fitted springs", force=True)


def _profiles(fitted: Fit, names: Iterable[str], shown: Progress) -> Iterator[Profile]:
    """Profiles of springs; a spring that the chosen level lacks is warned of, the fit is kept."""
    from onephonon.refine.profile import profile

    for name in names:
        try:
            yield profile(fitted, name, progress=shown)
        except InputError as error:
            warnings.warn(f"no profile: {error}", stacklevel=2)
