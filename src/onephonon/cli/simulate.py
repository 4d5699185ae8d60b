"""``onephonon simulate``."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onephonon.core.errors import InputError

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
    Range,
    SmoothingOption,
    SolventOption,
    Structure,
    WatersOption,
)
from .terminal import messages, progress

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.model.one_phonon import OnePhonon


#: Points this close to a Bragg point, in Miller indices, are suspect: four decimals of q give 1e-3.
NEAR_BRAGG = 1e-3

#: Closer than this they are Bragg points, if nothing else is asked for.
BRAGG = 1e-6


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
    softest: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The share of the N softest modes at each wavevector; says what that neglects. "
            "For many bodies.",
        ),
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
        str,
        typer.Option(
            help="auto, direct (sum over atoms) or mesh (fast; exact to --rtol). Maps on the mesh "
            "go to .h5 as they grow; an interrupted one continues where it stopped."
        ),
    ] = "auto",
    rtol: Annotated[
        float,
        typer.Option(help="Accuracy of the mesh, relative to the intensity and the map's rms."),
    ] = 1e-6,
    unique: Annotated[
        bool,
        typer.Option("--unique", help="Write only the part of the map that symmetry leaves."),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(help="float32 or float64 in the file (default: float32 from the mesh)."),
    ] = None,
    bragg_tolerance: Annotated[
        float | None,
        typer.Option(
            "--bragg-tolerance",
            help="Points with all indices this close to integers are Bragg points (default 1e-6).",
        ),
    ] = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute the diffuse intensity on a grid, or at a list of q-vectors."""
    from onephonon.maps.io.choice import check_map_path
    from onephonon.maps.io.qlist import read_q_vectors

    check_map_path(output, force)
    ranges = {"--h": h, "--k": k, "--l": l}
    given = [name for name, value in ranges.items() if value is not None]
    q_vectors, shape = None, None
    samplings: list[Range | None] = list(ranges.values())
    if q is not None:
        if given:
            raise InputError(f"{', '.join(given)} and --q were given; a list has no ranges")
        q_vectors, shape = read_q_vectors(q)
    elif mesh is not None:
        raise InputError("--mesh goes with --q; a grid's own sampling is its mesh")
    elif len(given) < 3:
        raise InputError("give --h, --k and --l (MIN MAX N each), or --q with a file of q-vectors")
    run: dict[str, Any] = {"rank": rank, "use_data_adp": use_data_adp}
    if softest is not None:
        if rank != -1:
            raise InputError("--softest and --rank are two choices of modes; give one")
        run["softest"] = softest
    options: dict[str, Any] = {
        "res_limit": dmin,
        "mesh": mesh,
        "group_by": group_by,
        "model": model,
        "gnm_cutoff": cutoff,
        "gamma_intra": gamma_intra,
        "gamma_inter": gamma_inter,
        "k_par": k_par,
        "k_perp": k_perp,
        "thermal_scale": thermal_scale,
        "batch_size": batch_size,
        "bragg_tolerance": bragg_tolerance,
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
    built = make_model(structure, samplings, q_vectors, dtype, device, options)
    made_with = {"structure": structure.name, **options, **run, "dtype": dtype}
    chosen = built.chosen_engine
    if not quiet:
        typer.echo(f"engine: {chosen}", err=True)
    stored = take_store(store, "float64" if chosen.name == "direct" else "float32")
    if unique and (built.grid is None or chosen.name == "direct" or rank != -1):
        raise InputError("--unique is for whole maps from the mesh; add --engine mesh and ranges")
    if built.grid is not None and chosen.name == "mesh" and rank == -1 and is_hdf5(output):
        if softest is not None:
            raise InputError(
                "--softest needs all amplitudes at once, and maps on the mesh are streamed to .h5; "
                "write .npz, or add --engine direct"
            )
        with messages(quiet), progress(quiet) as report:
            written = built.write_map(
                output,
                use_data_adp=use_data_adp,
                unique=unique,
                stored=stored,
                parameters=made_with,
                force=force,
                progress=report,
            )
        if not quiet:
            typer.echo(f"wrote {written}")
        return
    if unique:
        raise InputError(f"--unique writes as it computes, to .h5; {output} is something else")
    write(run_model(built, shape, run, made_with, quiet, stored), output, force, quiet)


def is_hdf5(path: Path) -> bool:
    """Whether a file's ending means our HDF5."""
    return path.suffix.lower() in (".h5", ".hdf5")


def take_store(store: str | None, default: str) -> str:
    """The number type of values in the file."""
    if store not in (None, "float32", "float64"):
        raise InputError(f"--store {store!r} is neither float32 nor float64")
    return store or default


def make_model(
    structure: Path,
    samplings: list[Range | None],
    q_vectors: Any,
    dtype: str,
    device: str,
    options: dict[str, Any],
) -> OnePhonon:
    """Build the model that the options describe."""
    import torch

    from onephonon.model.one_phonon import OnePhonon

    dtypes = {"float64": torch.float64, "float32": torch.float32}
    if dtype not in dtypes:
        raise InputError(f"--dtype {dtype!r} is not one of {', '.join(dtypes)}")
    with torch.no_grad():
        model = OnePhonon(
            structure,
            **dict(zip(("hsampling", "ksampling", "lsampling"), samplings, strict=True)),  # type: ignore[arg-type]
            q_vectors=None if q_vectors is None else torch.from_numpy(q_vectors),
            dtype=dtypes[dtype],
            device=_device(device),
            **options,
        )
        _warn_of_near_bragg_points(model)
    return model


def run_model(
    model: OnePhonon,
    shape: tuple[int, int, int] | None,
    run: dict[str, Any],
    made_with: dict[str, Any],
    quiet: bool,
    stored: str = "float64",
) -> DiffuseMap:
    """Compute, and gather the result for a file."""
    if "softest" in run:
        intensity = _softest(model, run["softest"], run["use_data_adp"], quiet)
        return model.to_map(
            intensity=intensity, list_shape=shape, parameters=made_with, stored=stored
        )
    with progress(quiet) as report:
        return model.to_map(
            **run, list_shape=shape, parameters=made_with, stored=stored, progress=report
        )


def _softest(model: OnePhonon, n: int, use_data_adp: bool, quiet: bool) -> Any:
    """Intensity of the softest modes; says what the others have, also when quiet."""
    from onephonon.scattering.softest import softest_intensity

    with progress(quiet) as report:
        found = softest_intensity(model, n, use_data_adp, report)
    typer.echo(
        f"{n} softest of {model.bodies.n_dof} modes: {100 * found.neglected:.2f} % of the summed "
        f"intensity is neglected, at most {100 * found.neglected_most:.2f} % at one q"
    )
    if found.n_split:
        typer.echo(
            f"at {found.n_split} wavevectors {n} modes end within a set of equal frequencies: "
            "their share is an arbitrary part of the set's"
        )
    return found.intensity


def _device(name: str) -> Any:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name!r} cannot be used here ({error})") from error
    return torch.device(name)


def _warn_of_near_bragg_points(model: OnePhonon) -> None:
    """Say which points are all but Bragg points, as in lists rounded to a few decimals."""
    from onephonon.crystal.zone import is_bragg

    if not model.n_points:
        return
    if model.grid is not None:
        near, exact = (
            math.prod(int((abs(axis - axis.round()) < within).sum()) for axis in model.grid.axes)
            for within in (NEAR_BRAGG, model.bragg_tolerance or BRAGG)
        )
        near -= exact
    else:
        near = int((is_bragg(model.hkl_grid, NEAR_BRAGG) & model.valid).sum())
    if near:
        warnings.warn(
            f"{near} points are within {NEAR_BRAGG:g} of a Bragg point, where the intensity "
            "diverges as 1/k²; if they are Bragg points in rounded numbers, mask them with "
            f"--bragg-tolerance {NEAR_BRAGG:g}",
            stacklevel=2,
        )


def write(diffuse: DiffuseMap, output: Path, force: bool, quiet: bool) -> None:
    """Write a map and say so."""
    import numpy as np

    from onephonon.maps.io.choice import write_map

    write_map(diffuse, output, force)
    if not quiet:
        n = int(np.isfinite(diffuse.intensity).sum())
        typer.echo(f"wrote {output}: {n} intensities of {diffuse.intensity.size} points")
