"""``onephonon fit``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onephonon.core.errors import InputError, MapFileError

from .app import app
from .modes import temperature_of
from .options import (
    ConformersOption,
    CutoffOption,
    ForceOption,
    GroupByOption,
    HydrogensOption,
    IsotropicOption,
    LigandsOption,
    ModelNumberOption,
    NoExpandOption,
    QuietOption,
    RadiationOption,
    SmoothingOption,
    SolventOption,
    Structure,
    WatersOption,
)
from .reading import (
    CellFromOption,
    CellOption,
    DatasetOption,
    HOption,
    KOption,
    LOption,
    OriginOption,
    PerIndexOption,
    SpacegroupOption,
)

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.model.one_phonon import OnePhonon
    from onephonon.refine.result import Fit
    from onephonon.refine.series import Known, RungFit
    from onephonon.refine.settings import FitSettings

#: Headings of groups of options in --help.
VOXELS, LADDER, MODEL, RESULTS = "Which data", "How it is fitted", "What moves", "Results"

#: File that an interrupted fit goes on from.
STATE = "state.json"


@app.command(
    epilog="Example: [bold]onephonon fit 1stn.pdb snase_diffuse.lat -o fit/[/] --d-min 1.67 "
    "--d-max 10 --leave-out 0.4"
)
def fit(
    structure: Structure,
    data: Annotated[Path, typer.Argument(help="The measured map, in any format that is read.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the results; made if missing.")
    ],
    voxels: Annotated[
        str,
        typer.Option(
            metavar="auto|halos|all",
            help="Zones around the strongest Bragg peaks, or all voxels of the range; auto takes "
            "halos where the map is finely sampled.",
            rich_help_panel=VOXELS,
        ),
    ] = "auto",
    n_peaks: Annotated[
        int, typer.Option("--peaks", help="Halos at most.", rich_help_panel=VOXELS)
    ] = 400,
    d_min: Annotated[
        float | None,
        typer.Option("--d-min", help="Finest resolution, Å (halos: 2.0).", rich_help_panel=VOXELS),
    ] = None,
    d_max: Annotated[
        float | None,
        typer.Option("--d-max", help="Coarsest, Å (halos: 2.5).", rich_help_panel=VOXELS),
    ] = None,
    bragg_radius: Annotated[
        float | None,
        typer.Option(
            help="Leave voxels nearer to a Bragg point out, 1/Å (default: half a voxel's "
            "diagonal; none if voxels are averaged over).",
            rich_help_panel=VOXELS,
        ),
    ] = None,
    average: Annotated[
        int | None,
        typer.Option(
            metavar="ORDER",
            help="Average the model over each voxel (default: 2 for voxels of half an index or "
            "more, else 0).",
            rich_help_panel=VOXELS,
        ),
    ] = None,
    leave_out: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Leave this share of each voxel around its Bragg point out of the average.",
            rich_help_panel=VOXELS,
        ),
    ] = 0.0,
    reindex: Annotated[
        str,
        typer.Option(
            metavar="auto|best|none|OP",
            help="Ways of indexing that the lattice allows; see compare.",
            rich_help_panel=VOXELS,
        ),
    ] = "auto",
    held_out: Annotated[
        float, typer.Option(help="Share of the halos held out.", rich_help_panel=VOXELS)
    ] = 0.2,
    seed: Annotated[
        int, typer.Option(help="Of the choice of what is held out.", rich_help_panel=VOXELS)
    ] = 0,
    ladder: Annotated[
        str,
        typer.Option(
            help="Rungs, from: global, interface, hybrid, residue, stiffness.",
            rich_help_panel=LADDER,
        ),
    ] = "global,interface,hybrid,residue,stiffness",
    patience: Annotated[
        int,
        typer.Option(
            help="Rungs without a clear gain on held-out data before the ladder ends.",
            rich_help_panel=LADDER,
        ),
    ] = 1,
    prior: Annotated[
        float | None,
        typer.Option(
            help="Weight of the log-ratios to the start (default: the best on held-out data).",
            rich_help_panel=LADDER,
        ),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            metavar="auto|absolute|fitted",
            help="Data in e² per cell, or on a scale of their own.",
            rich_help_panel=LADDER,
        ),
    ] = "auto",
    background: Annotated[
        str,
        typer.Option(
            metavar="auto|isotropic|halo|none",
            help="Smooth in |q|; a constant and a slope in each halo; nothing.",
            rich_help_panel=LADDER,
        ),
    ] = "auto",
    knots: Annotated[
        int, typer.Option(help="Of the isotropic background.", rich_help_panel=LADDER)
    ] = 12,
    loss: Annotated[
        str,
        typer.Option(
            metavar="squares|soft_l1", help="soft_l1 bears outliers.", rich_help_panel=LADDER
        ),
    ] = "squares",
    outlier: Annotated[
        float, typer.Option(help="soft_l1: linear beyond so many sigma.", rich_help_panel=LADDER)
    ] = 3.0,
    max_steps: Annotated[
        int, typer.Option(help="Of one minimization.", rich_help_panel=LADDER)
    ] = 200,
    group_by: GroupByOption = "asu",
    cutoff: CutoffOption = 4.0,
    hydrogens: HydrogensOption = False,
    waters: WatersOption = False,
    ligands: LigandsOption = False,
    conformers: ConformersOption = "highest",
    isotropic: IsotropicOption = False,
    model_number: ModelNumberOption = 1,
    radiation: RadiationOption = "xray",
    no_expand: NoExpandOption = False,
    solvent: SolventOption = 0.0,
    solvent_smoothing: SmoothingOption = 0.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...", rich_help_panel=MODEL)] = "cpu",
    temperature: Annotated[
        float | None,
        typer.Option(
            help="K, for speeds of sound and THz (default: the file's, or 295).",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(help="Draws behind the bands; 0 for none.", rich_help_panel=RESULTS)
    ] = 40,
    profiles: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="SPRING",
            help="Profile of a spring, by its name in springs.csv; may be repeated.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    cell: CellOption = None,
    cell_from: CellFromOption = None,
    spacegroup: SpacegroupOption = "",
    h: HOption = None,
    k: KOption = None,
    l: LOption = None,  # noqa: E741
    per_index: PerIndexOption = None,
    origin: OriginOption = None,
    dataset: DatasetOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit the springs between molecules to a measured diffuse map.

    Rung by rung more springs are fitted, for as long as data that were held out are explained
    better. The folder holds a report to read (report.html), every number (JSON, CSV), the
    calculated map, and the state that an interrupted fit goes on from: give the same command
    again.
    """
    from onephonon.refine.settings import FitSettings

    from .compare import read_data

    settings = FitSettings(
        voxels=voxels,
        n_peaks=n_peaks,
        d_min=d_min,
        d_max=d_max,
        bragg_radius=bragg_radius,
        held_out=held_out,
        seed=seed,
        ladder=tuple(ladder.replace(",", " ").split()),
        patience=patience,
        prior=prior,
        scale=scale,
        background=background,
        knots=knots,
        loss=loss,
        outlier=outlier,
        average=average,
        leave_out=leave_out,
        reindex=reindex,
        max_steps=max_steps,
    )
    said = {
        "cell": cell,
        "cell_from": cell_from,
        "spacegroup": spacegroup,
        "ranges": (h, k, l),
        "per_index": per_index,
        "origin": origin,
        "dataset": dataset,
    }
    options = {
        "group_by": group_by,
        "gnm_cutoff": cutoff,
        "expand_p1": not no_expand,
        "hydrogens": hydrogens,
        "waters": waters,
        "ligands": ligands,
        "conformers": conformers,
        "anisotropic": not isotropic,
        "model_number": model_number,
        "radiation": radiation,
        "solvent": solvent,
        "solvent_smoothing": solvent_smoothing,
    }
    if draws < 0:
        raise InputError(f"--draws {draws}: give a whole number, 0 or more")
    measured = read_data(data, structure, said)
    model = _model(structure, options, device)
    state = State.open(output, structure, measured, settings, options, force)
    found = _run(model, measured, settings, state, quiet)
    _write(found, state, structure, temperature, draws, profiles or [], quiet)


class State:
    """The folder of a fit: what was fitted before, and what has been since."""

    def __init__(self, folder: Path, mark: str, known: dict[str, Known]) -> None:
        self.folder, self.mark, self.known = folder, mark, known
        self.done: dict[str, Known] = {}

    @classmethod
    def open(
        cls,
        folder: Path,
        structure: Path,
        data: DiffuseMap,
        settings: FitSettings,
        options: dict[str, Any],
        force: bool,
    ) -> State:
        """Make the folder, or go on with the fit that is in it.

        Raises
        ------
        MapFileError
            If it holds something else.
        """
        from onephonon.refine.state import fingerprint, read_fit_state

        if folder.exists() and not folder.is_dir():
            raise MapFileError(f"{folder} is a file; name a folder for the results")
        asked = asdict(settings) | options
        # Rungs stay what they are on a longer ladder, if it begins with the same single spring.
        asked["ladder"] = settings.ladder[0] == "global"
        for name in ("patience", "max_steps"):
            asked.pop(name)
        mark = fingerprint(structure, data, asked)
        known: dict[str, Known] = {}
        path = folder / STATE
        if path.exists() and not force:
            other, known = read_fit_state(path)
            if other != mark:
                raise MapFileError(
                    f"{folder} holds a fit of other data, another structure or other options; "
                    "choose another folder, or overwrite it with --force"
                )
        elif folder.is_dir() and any(folder.iterdir()) and not force:
            raise MapFileError(
                f"{folder} is not empty and holds no fit to go on with; choose another folder, or "
                "write into it with --force"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, mark, known)

    def save(self, fitted: RungFit | None = None, complete: bool = False) -> None:
        """Save a rung, or that all is done."""
        from onephonon.refine.series import Known
        from onephonon.refine.state import write_fit_state

        if fitted is not None:
            self.done[fitted.rung.name] = Known.of(fitted)
        write_fit_state(self.folder / STATE, self.mark, self.known | self.done, complete=complete)


def _model(structure: Path, options: dict[str, Any], device: str) -> OnePhonon:
    """The model that the fit begins with."""
    from .simulate import make_model

    return make_model(structure, [None] * 3, None, "float64", device, options)


def _run(
    model: OnePhonon, data: DiffuseMap, settings: FitSettings, state: State, quiet: bool
) -> Fit:
    """Fit, saying every decision and showing where it is."""
    from onephonon.refine.fit import fit_springs

    with _telling(quiet) as (say, progress, watch):
        if state.known:
            say(f"going on with the fit in {state.folder}: {', '.join(state.known)} known")

        def done(fitted: RungFit) -> None:
            state.save(fitted)
            say(
                f"{fitted.rung.said}: chi-square {fitted.used.chi2:.4g} per voxel, held out "
                f"{fitted.held_out.chi2:.4g}; anisotropic CC {fitted.used.cc_anisotropic:.3f}, "
                f"held out {fitted.held_out.cc_anisotropic:.3f}"
                + ("" if fitted.minimum.converged else f" (not converged: {fitted.minimum.why})")
            )

        return fit_springs(
            model,
            data,
            settings,
            progress=progress,
            watch=watch,
            say=say,
            done=done,
            known=state.known,
        )


@contextmanager
def _telling(quiet: bool) -> Iterator[tuple[Callable[[str], None], Any, Any]]:
    """Ways to say a line, to show progress, and to show a minimization at work."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    out = Console(highlight=False)
    if quiet or not sys.stderr.isatty():

        def plain(line: str) -> None:
            if not quiet:
                typer.echo(f"- {line}")

        yield plain, None, None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeLeft())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, visible=done < total)

        def watch(rung: str, prior: float, steps: int, value: float, moved: float) -> None:
            if "fit" not in tasks:
                tasks["fit"] = bars.add_task("", total=None)
            what = f"{rung}, prior {prior:g}: step {steps}, {value:.6g} per voxel, "
            bars.update(tasks["fit"], description=what + f"springs move by {moved:.2g}")

        def say(line: str) -> None:
            out.print(f"- {line}", markup=False)

        yield say, report, watch


def _write(
    found: Fit,
    state: State,
    structure: Path,
    temperature: float | None,
    draws: int,
    profiles: list[str],
    quiet: bool,
) -> None:
    """Write the report, the numbers and the maps, and name the files."""
    from onephonon.maps.io.choice import write_map
    from onephonon.network.contact_files import write_contact_table
    from onephonon.refine.parametrization import LogSprings
    from onephonon.refine.predictions import predict
    from onephonon.refine.profile import profile
    from onephonon.viz.report.writing import write_report

    folder = state.folder
    kelvin = temperature_of(structure, temperature, quiet)
    with _telling(quiet) as (say, progress, _):
        predictions = None
        if draws:
            predictions = predict(found, temperature=kelvin, n_draws=draws, progress=progress)
        traced = tuple(profile(found, name) for name in profiles)
        command = f"onephonon {' '.join(sys.argv[1:])}"
        written = write_report(found, folder, predictions, traced, command, force=True)
        model, background, _data = found.maps()
        for name, diffuse in (("model.h5", model), ("background.h5", background)):
            write_map(diffuse, folder / name, force=True)
            written.append(folder / name)
        if isinstance(found.best.family, LogSprings):
            path = folder / "contacts.csv"
            write_contact_table(found.fitted_model().contact_table(), path, force=True)
            written.append(path)
        state.save(complete=True)
        if not quiet:
            say(f"wrote {', '.join(str(path) for path in written)}")
