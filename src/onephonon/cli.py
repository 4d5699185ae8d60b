"""The command line: ``onephonon verify | simulate | visualize | demo``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import InputError, OnePhononError

if TYPE_CHECKING:
    from .maps import DiffuseMap
    from .model import OnePhonon

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="One-phonon diffuse X-ray scattering from protein crystals.",
)

#: Exit code of a program stopped by Ctrl-C.
INTERRUPTED = 130

Range = tuple[float, float, float]
Structure = Annotated[Path, typer.Argument(help="PDB or mmCIF file, plain or .gz.")]
GroupByOption = Annotated[
    str, typer.Option("--group-by", help="What moves as one body: asu, chain, residue or atom.")
]
ModelOption = Annotated[
    str, typer.Option("--model", help="Springs: gnm (Gaussian), anm (central) or hybrid.")
]
CutoffOption = Annotated[float, typer.Option("--cutoff", help="Longest contact, Å.")]
IntraOption = Annotated[
    float, typer.Option("--gamma-intra", help="Spring constant within a copy of the ASU.")
]
InterOption = Annotated[
    float, typer.Option("--gamma-inter", help="Spring constant between copies.")
]
ParOption = Annotated[
    float | None, typer.Option("--k-par", help="hybrid: spring constant along a contact.")
]
PerpOption = Annotated[
    float | None, typer.Option("--k-perp", help="hybrid: spring constant across a contact.")
]
HydrogensOption = Annotated[bool, typer.Option("--hydrogens", help="Keep hydrogen atoms.")]
WatersOption = Annotated[bool, typer.Option("--waters", help="Keep waters.")]
LigandsOption = Annotated[bool, typer.Option("--ligands", help="Keep ligands and ions.")]
ConformersOption = Annotated[
    str,
    typer.Option("--conformers", help="Alternative conformers: highest (occupancy) or all."),
]
IsotropicOption = Annotated[
    bool, typer.Option("--isotropic", help="Use B-factors only, no anisotropic displacements.")
]
ModelNumberOption = Annotated[
    int, typer.Option("--model-number", help="Which model of the file, from 1.")
]
RadiationOption = Annotated[
    str, typer.Option("--radiation", help="Form factors: xray, electron or neutron.")
]
NoExpandOption = Annotated[
    bool, typer.Option("--no-expand", help="The file holds the whole cell: apply no operators.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@app.command(
    epilog="Example: [bold]onephonon verify model.pdb[/] --group-by residue --supercell 3 1 1"
)
def verify(
    structure: Structure,
    supercell: Annotated[
        tuple[int, int, int] | None,
        typer.Option("--supercell", metavar="NA NB NC", help="Cells along each axis."),
    ] = None,
    group_by: GroupByOption = "asu",
    model: ModelOption = "gnm",
    cutoff: CutoffOption = 4.0,
    gamma_intra: IntraOption = 1.0,
    gamma_inter: InterOption = 1.0,
    k_par: ParOption = None,
    k_perp: PerpOption = None,
    points: Annotated[int, typer.Option(help="Points summed over the supercell.")] = 60,
    hydrogens: HydrogensOption = False,
    waters: WatersOption = False,
    ligands: LigandsOption = False,
    conformers: ConformersOption = "highest",
    isotropic: IsotropicOption = False,
    model_number: ModelNumberOption = 1,
    radiation: RadiationOption = "xray",
    no_expand: NoExpandOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare the model with an explicit supercell, number by number.

    Builds a small periodic box of cells, inverts its full stiffness matrix, sums over every atom,
    and prints the largest relative difference to grid mode, arbitrary-q mode, the sum over modes
    and the ADPs. Exit code 1 if one is over tolerance.
    """
    from .structures import read_crystal
    from .verify import verify as run

    crystal = read_crystal(
        structure,
        hydrogens=hydrogens,
        waters=waters,
        ligands=ligands,
        conformers=conformers,
        anisotropic=not isotropic,
        model_number=model_number,
        radiation=radiation,
        expand_p1=not no_expand,
    )
    with _status(f"comparing {structure.name} with an explicit supercell", quiet):
        result = run(
            crystal,
            size=_supercell_size(supercell),
            group_by=group_by,
            model=model,
            gnm_cutoff=cutoff,
            gamma_intra=gamma_intra,
            gamma_inter=gamma_inter,
            k_par=k_par,
            k_perp=k_perp,
            n_points=points,
        )
    if not quiet:
        from rich.console import Console
        from rich.table import Table

        table = Table(
            title=f"{structure.name}: {result.n_atoms} atoms, {crystal.spacegroup}, "
            f"{result.n_dof} degrees of freedom, "
            f"supercell {' x '.join(map(str, result.size))}"
        )
        table.add_column("compared")
        for column in ("numbers", "max rel. diff.", "limit", ""):
            table.add_column(column, justify="right")
        for check in result.checks:
            verdict = "[green]pass[/]" if check.passed else "[bold red]FAIL[/]"
            table.add_row(
                check.name,
                str(check.count),
                f"{check.difference:.1e}",
                f"{check.tolerance:.0e}",
                verdict,
            )
        Console().print(table)
    if not result.passed:
        raise typer.Exit(1)


def _supercell_size(given: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    if given is not None and min(given) < 1:
        raise InputError(f"--supercell {given}: give three whole numbers, 1 or more")
    return given


@app.command(
    epilog="Example: [bold]onephonon simulate model.pdb[/] --h -8 8 3 --k -8 8 3 --l -8 8 3 "
    "--dmin 2 -o map.npz"
)
def simulate(
    structure: Structure,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .npz or .h5 (by its ending).")
    ],
    h: Annotated[
        Range | None,
        typer.Option("--h", metavar="MIN MAX N", help="Range of h, N samples per Miller index."),
    ] = None,
    k: Annotated[
        Range | None, typer.Option("--k", metavar="MIN MAX N", help="The same for k.")
    ] = None,
    l: Annotated[  # noqa: E741
        Range | None, typer.Option("--l", metavar="MIN MAX N", help="The same for l.")
    ] = None,
    q: Annotated[
        Path | None,
        typer.Option(
            "--q",
            help="q-vectors (1/Å, 2π included) in place of the ranges: .npy, .npz or text. An "
            "npz's map_shape is passed on.",
        ),
    ] = None,
    mesh: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            "--mesh",
            metavar="NH NK NL",
            help="With --q: Brillouin-zone mesh of the ADPs (default: a box of 60 Å).",
        ),
    ] = None,
    dmin: Annotated[float, typer.Option("--dmin", help="Mask points of smaller d, Å.")] = 0.0,
    group_by: GroupByOption = "asu",
    model: ModelOption = "gnm",
    cutoff: CutoffOption = 4.0,
    gamma_intra: IntraOption = 1.0,
    gamma_inter: InterOption = 1.0,
    k_par: ParOption = None,
    k_perp: PerpOption = None,
    thermal_scale: Annotated[
        float | None,
        typer.Option(help="Thermal scale s; default: the model's mean B is the file's."),
    ] = None,
    use_data_adp: Annotated[
        bool,
        typer.Option("--use-data-adp", help="Debye-Waller factors from the file's B or U."),
    ] = False,
    rank: Annotated[int, typer.Option(help="One mode's share, from 0; -1 for all.")] = -1,
    hydrogens: HydrogensOption = False,
    waters: WatersOption = False,
    ligands: LigandsOption = False,
    conformers: ConformersOption = "highest",
    isotropic: IsotropicOption = False,
    model_number: ModelNumberOption = 1,
    radiation: RadiationOption = "xray",
    no_expand: NoExpandOption = False,
    batch_size: Annotated[int | None, typer.Option(help="Most q-vectors at a time.")] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute the diffuse intensity on a grid, or at a list of q-vectors."""
    from .formats import check_map_path, read_q_vectors

    check_map_path(output, force)
    ranges = {"--h": h, "--k": k, "--l": l}
    given = [name for name, value in ranges.items() if value is not None]
    q_vectors, shape = None, None
    samplings: list[Range | None] = list(ranges.values())
    if q is not None:
        if given:
            raise InputError(f"{', '.join(given)} and --q were given; a list has no ranges")
        q_vectors, shape = read_q_vectors(q)
        if mesh is not None:
            samplings = [(0.0, 1.0, float(n)) for n in mesh]
    elif mesh is not None:
        raise InputError("--mesh goes with --q; a grid's own sampling is its mesh")
    elif len(given) < 3:
        raise InputError("give --h, --k and --l (MIN MAX N each), or --q with a file of q-vectors")
    diffuse = _simulate(
        structure,
        samplings,
        q_vectors,
        shape,
        quiet=quiet,
        run={"rank": rank, "use_data_adp": use_data_adp},
        dtype=dtype,
        device=device,
        res_limit=dmin,
        group_by=group_by,
        model=model,
        gnm_cutoff=cutoff,
        gamma_intra=gamma_intra,
        gamma_inter=gamma_inter,
        k_par=k_par,
        k_perp=k_perp,
        thermal_scale=thermal_scale,
        batch_size=batch_size,
        expand_p1=not no_expand,
        hydrogens=hydrogens,
        waters=waters,
        ligands=ligands,
        conformers=conformers,
        anisotropic=not isotropic,
        model_number=model_number,
        radiation=radiation,
    )
    _write(diffuse, output, force, quiet)


@app.command(epilog="Example: [bold]onephonon visualize map.npz[/] -o map.png")
def visualize(
    file: Annotated[Path, typer.Argument(help="A map or list written by simulate: .npz or .h5.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="PNG to write (default: FILE with ending .png)."),
    ] = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw central slices and a histogram of a map, or the histogram and I(|q|) of a list."""
    from .files import check_writable
    from .formats import read_map
    from .plot import check_picture_path

    output = output or file.with_suffix(".png")
    check_writable(check_picture_path(output), force)
    _draw(read_map(file), output, file.name, force, quiet)


@app.command(epilog="Example: [bold]onephonon demo[/] -o demo")
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")
    ] = Path("demo"),
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute and draw a diffuse map of the bundled crystal, crambin (PDB 1EJG)."""
    from .data import crambin_path
    from .files import check_writable

    output.mkdir(parents=True, exist_ok=True)
    map_file, picture = output / "crambin.npz", output / "crambin.png"
    for path in (map_file, picture):
        check_writable(path, force)
    # To 2 Å, with about the same step in 1/Å along the three axes.
    samplings: list[Range | None] = [(-20, 20, 2), (-9, 9, 4), (-11, 11, 4)]
    diffuse = _simulate(crambin_path(), samplings, None, None, quiet=quiet, run={}, res_limit=2.0)
    _write(diffuse, map_file, force, quiet=True)
    title = "Crambin (PDB 1EJG): one-phonon diffuse intensity to 2 Å"
    _draw(diffuse, picture, title, force, quiet=True)
    if not quiet:
        typer.echo(f"wrote {map_file} and {picture}")


def _simulate(
    structure: Path,
    samplings: list[Range | None],
    q_vectors: Any,
    shape: tuple[int, int, int] | None,
    *,
    quiet: bool,
    run: dict[str, Any],
    dtype: str = "float64",
    device: str = "cpu",
    **options: Any,
) -> DiffuseMap:
    """Build the model, compute, and gather the result for a file."""
    import torch

    from .model import OnePhonon

    dtypes = {"float64": torch.float64, "float32": torch.float32}
    if dtype not in dtypes:
        raise InputError(f"--dtype {dtype!r} is not one of {', '.join(dtypes)}")
    if q_vectors is not None:
        q_vectors = torch.from_numpy(q_vectors)
    with torch.no_grad():
        model = OnePhonon(
            structure,
            **dict(zip(("hsampling", "ksampling", "lsampling"), samplings, strict=True)),  # type: ignore[arg-type]
            q_vectors=q_vectors,
            dtype=dtypes[dtype],
            device=_device(device),
            **options,
        )
        with _progress(quiet) as report:
            intensity = model(**run, progress=report)
        made_with = {"structure": structure.name, **options, **run, "dtype": dtype}
        return _as_map(model, intensity, shape, made_with)


def _as_map(model: OnePhonon, intensity: Any, shape: Any, made_with: dict[str, Any]) -> DiffuseMap:
    import torch

    from . import __version__
    from .maps import DiffuseMap

    def array(x: Any) -> Any:
        return x.detach().to("cpu", torch.float64).numpy()

    scale = float(model.thermal_scale)
    return DiffuseMap(
        q_vectors=array(model.q_grid),
        intensity=array(intensity),
        map_shape=model.map_shape or shape,
        hkl=array(model.hkl_grid),
        cell=model.crystal.cell.parameters,
        spacegroup=model.crystal.spacegroup,
        parameters=made_with | {"thermal_scale": scale, "mesh": list(model.mesh)},
        version=__version__,
    )


def _device(name: str) -> Any:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name!r} cannot be used here ({error})") from error
    return torch.device(name)


def _write(diffuse: DiffuseMap, output: Path, force: bool, quiet: bool) -> None:
    import numpy as np

    from .formats import write_map

    write_map(diffuse, output, force)
    if not quiet:
        n = int(np.isfinite(diffuse.intensity).sum())
        typer.echo(f"wrote {output}: {n} intensities of {diffuse.intensity.size} points")


def _draw(diffuse: DiffuseMap, output: Path, title: str, force: bool, quiet: bool) -> None:
    from .plot import draw, save

    if not quiet and diffuse.shape_problem:
        typer.echo(f"{diffuse.shape_problem}; drawing the histogram and I against |q|")
    save(draw(diffuse, title), output, force)
    if not quiet:
        typer.echo(f"wrote {output}")


@contextmanager
def _status(message: str, quiet: bool) -> Iterator[None]:
    """A spinner on the terminal."""
    from rich.console import Console

    if quiet:
        yield
        return
    with Console(stderr=True).status(message):
        yield


@contextmanager
def _progress(quiet: bool) -> Iterator[Any]:
    """Progress bars with time left, one for each kind of work."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield report


def main() -> None:
    """Run the command line; an error in the input is one line, not a traceback."""
    try:
        app()
    except OnePhononError as error:
        typer.secho(f"onephonon: {error}", err=True, fg=typer.colors.RED)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.secho("onephonon: interrupted; no unfinished file was left", err=True)
        raise
