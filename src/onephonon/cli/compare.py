"""``onephonon compare``."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onephonon.core.errors import InputError, MapFileError

from .app import app
from .options import (
    ConformersOption,
    CutoffOption,
    ForceOption,
    GroupByOption,
    HydrogensOption,
    InterOption,
    IntraOption,
    IsotropicOption,
    LigandsOption,
    ModelNumberOption,
    ModelOption,
    NoExpandOption,
    ParOption,
    PerpOption,
    QuietOption,
    RadiationOption,
    SmoothingOption,
    SolventOption,
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
    read_with,
)
from .simulate import make_model
from .terminal import progress, tables_that_fit

if TYPE_CHECKING:
    from onephonon.compare.agreement import Agreement
    from onephonon.compare.settings import Settings
    from onephonon.maps.diffuse import DiffuseMap

#: Endings of structures; everything else is a map.
STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")

#: Headings of groups of options in --help.
WHAT, MODEL, RESULTS = "What is compared", "Model, if a structure is given", "Results"


@app.command(
    epilog="Examples: [bold]onephonon compare model.h5 data.nxs[/]; [bold]onephonon compare "
    "1stn.pdb snase_diffuse.lat[/] --d-min 1.667 --d-max 10 --average 2 --leave-out 0.4 "
    "--use-data-adp --csv agreement.csv --png agreement.png"
)
def compare(
    model: Annotated[
        Path,
        typer.Argument(help="A calculated map; or a structure, computed at the data's voxels."),
    ],
    data: Annotated[Path, typer.Argument(help="The map to compare with, in any format.")],
    d_min: Annotated[
        float, typer.Option("--d-min", help="Finest resolution, Å.", rich_help_panel=WHAT)
    ] = 0.0,
    d_max: Annotated[
        float, typer.Option("--d-max", help="Coarsest resolution, Å.", rich_help_panel=WHAT)
    ] = math.inf,
    shells: Annotated[
        int, typer.Option("--shells", help="Shells to report.", rich_help_panel=WHAT)
    ] = 10,
    reindex: Annotated[
        str,
        typer.Option(
            "--reindex",
            metavar="auto|best|none|OP",
            help="Ways of indexing that the lattice allows: auto tries all and leaves the data's "
            "own for one that is clearly better; best takes the best; none tries no other; or "
            "one such as k,h,-l (the model's indices in terms of the data's).",
            rich_help_panel=WHAT,
        ),
    ] = "auto",
    remove: Annotated[
        str,
        typer.Option(
            "--remove",
            metavar="line|mean|none",
            help="Isotropic part: in each shell of |q| a line in |q|, the mean, or nothing.",
            rich_help_panel=WHAT,
        ),
    ] = "line",
    remove_shells: Annotated[
        int,
        typer.Option("--remove-shells", help="Shells of --remove.", rich_help_panel=WHAT),
    ] = 50,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="unit|sigma|counts",
            help="What voxels are weighted by: nothing, 1/sigma², or observations.",
            rich_help_panel=WHAT,
        ),
    ] = "unit",
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Save the table of shells.", rich_help_panel=RESULTS),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Save all numbers.", rich_help_panel=RESULTS)
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", help="Save a picture.", rich_help_panel=RESULTS)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Save the model at the data's voxels, in the data's indices, as a map.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    average: Annotated[
        int | None,
        typer.Option(
            "--average",
            metavar="ORDER",
            help="Average the model over each voxel, 2 or more nodes along an axis, or 0: take it "
            "at the voxels' centres (default: 2 for voxels of half an index or more, else 0).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    leave_out: Annotated[
        float,
        typer.Option(
            "--leave-out",
            metavar="SHARE",
            help="With --average: leave the part of a voxel out that is within this share of the "
            "way from its Bragg point to its faces, for data whose Bragg peaks were removed.",
            rich_help_panel=MODEL,
        ),
    ] = 0.0,
    use_data_adp: Annotated[
        bool,
        typer.Option(
            "--use-data-adp",
            help="Debye-Waller factors from the file's B or U.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    group_by: GroupByOption = "asu",
    spring_model: ModelOption = "gnm",
    cutoff: CutoffOption = 4.0,
    gamma_intra: IntraOption = 1.0,
    gamma_inter: InterOption = 1.0,
    k_par: ParOption = None,
    k_perp: PerpOption = None,
    thermal_scale: Annotated[
        float | None,
        typer.Option(help="Thermal scale s; default: the model's mean B is the file's."),
    ] = None,
    hydrogens: HydrogensOption = False,
    waters: WatersOption = False,
    ligands: LigandsOption = False,
    conformers: ConformersOption = "highest",
    isotropic: IsotropicOption = False,
    model_number: ModelNumberOption = 1,
    radiation: RadiationOption = "xray",
    solvent: SolventOption = 0.0,
    solvent_smoothing: SmoothingOption = 0.0,
    no_expand: NoExpandOption = False,
    batch_size: Annotated[int | None, typer.Option(help="Most q-vectors at a time.")] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    engine: Annotated[
        str, typer.Option(help="auto, direct (sum over atoms) or mesh (fast; exact to --rtol).")
    ] = "auto",
    rtol: Annotated[
        float, typer.Option(help="Accuracy of the mesh, relative to the rms intensity.")
    ] = 1e-6,
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
    """Compare a model with data: correlation overall and by shell of resolution.

    A structure is computed at the data's own voxels. Both intensities and what is left of them
    without their isotropic parts are correlated. Every way to index the lattice is tried.
    """
    from onephonon.compare.comparison import compare_maps
    from onephonon.compare.settings import Settings
    from onephonon.maps.io.choice import read_map
    from onephonon.maps.isotropic import Isotropic

    _check_outputs(csv, json, png, output, force)
    settings = Settings(
        d_min=d_min,
        d_max=d_max,
        shells=shells,
        isotropic=Isotropic(remove, remove_shells),
        weighting=weights,
        reindex=reindex,
    )
    said: dict[str, Any] = {
        "cell": cell,
        "cell_from": cell_from,
        "spacegroup": spacegroup,
        "ranges": (h, k, l),
        "per_index": per_index,
        "origin": origin,
        "dataset": dataset,
    }
    if not is_structure(model):
        if average or leave_out or use_data_adp:
            raise InputError(
                f"--average, --leave-out and --use-data-adp are for structures; {model} is taken "
                "for a map"
            )
        found = compare_maps(read_map(model), read_data(data, model, said), settings)
        _report(found, (model, data), csv, json, png, output, force, quiet)
        return
    options: dict[str, Any] = {
        "group_by": group_by,
        "model": spring_model,
        "gnm_cutoff": cutoff,
        "gamma_intra": gamma_intra,
        "gamma_inter": gamma_inter,
        "k_par": k_par,
        "k_perp": k_perp,
        "thermal_scale": thermal_scale,
        "batch_size": batch_size,
        "engine": engine,
        "rtol": rtol,
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
    measured = read_data(data, model, said)
    run = {"average": average, "leave_out": leave_out, "use_data_adp": use_data_adp}
    found = _simulated(model, measured, settings, options, run, (dtype, device), quiet)
    _report(found, (model, data), csv, json, png, output, force, quiet)


def is_structure(path: Path) -> bool:
    """Whether a file's ending means a structure, plain or compressed."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(STRUCTURES)


def _check_outputs(
    csv: Path | None, json: Path | None, png: Path | None, output: Path | None, force: bool
) -> None:
    """Refuse, before long work, what could not be written."""
    from onephonon.core.files import check_writable

    for path in (csv, json):
        if path is not None:
            check_writable(path, force)
    if png is not None:
        from onephonon.viz.plot.saving import check_picture_path

        check_writable(check_picture_path(png), force)
    if output is not None:
        from onephonon.maps.io.choice import check_map_path

        check_map_path(output, force)


def read_data(data: Path, model: Path, said: dict[str, Any]) -> DiffuseMap:
    """Read the data; a cell that neither their file nor the user says is the model's."""
    try:
        return read_with(data, **said)
    except MapFileError:
        if said["cell"] is not None or said["cell_from"] is not None:
            raise
        return read_with(data, **said | {"cell_from": model})


def _simulated(
    structure: Path,
    data: DiffuseMap,
    settings: Settings,
    options: dict[str, Any],
    run: dict[str, Any],
    numbers: tuple[str, str],
    quiet: bool,
) -> Agreement:
    """Build the model that the options describe, and compare."""
    import numpy as np

    from onephonon import __version__
    from onephonon.compare.simulated import compare_model
    from onephonon.scattering.quadrature import choose_quadrature

    quadrature = choose_quadrature(data.grid, run["average"], run["leave_out"])
    # The voxels take the place of this q.
    model = make_model(structure, [None] * 3, np.array([[0.1, 0.2, 0.3]]), *numbers, options)
    run = run | {"average": quadrature.order if quadrature else 0}
    with progress(quiet) as report:
        found = compare_model(model, data, settings, **run, progress=report)
    made_with = {"structure": structure.name, **options, **run, "dtype": numbers[0]}
    made_with["thermal_scale"] = float(model.thermal_scale.detach())
    computed = replace(found.model, parameters=made_with, version=__version__)
    return replace(found, model=computed)


def _report(
    found: Agreement,
    files: tuple[Path, Path],
    csv: Path | None,
    json: Path | None,
    png: Path | None,
    output: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Print tables, and save what was asked for."""
    from onephonon.compare.report import write_csv, write_json

    title = f"{files[0].name} against {files[1].name}"
    if not quiet:
        _print(found, title)
    written = [path for path in (csv, json, png, output) if path is not None]
    if csv is not None:
        write_csv(found, csv, force)
    if json is not None:
        write_json(found, json, force)
    if png is not None:
        from onephonon.viz.plot.agreement import draw_agreement
        from onephonon.viz.plot.saving import save

        save(draw_agreement(found, title=title), png, force)
    if output is not None:
        from onephonon.maps.io.choice import write_map

        write_map(found.model, output, force)
    if written and not quiet:
        typer.echo(f"wrote {', '.join(str(path) for path in written)}")


def _print(found: Agreement, title: str) -> None:
    """Tables of shells and of ways of indexing, and what must be said with them."""
    from rich.console import Console

    from onephonon.compare.report import summary, table, trial_table

    console = Console()
    for part in tables_that_fit(title, *table(found), console.width, total=True):
        console.print(part, "")
    headings, rows = trial_table(found)
    if len(rows) > 1:
        for part in tables_that_fit("ways to index the lattice", headings, rows, console.width):
            console.print(part, "")
    for line in summary(found):
        console.print(f"- {line}", markup=False, highlight=False)
