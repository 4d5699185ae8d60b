"""``onephonon simulate``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
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
    Structure,
    WatersOption,
)
from .terminal import progress

if TYPE_CHECKING:
    from ..maps import DiffuseMap
    from ..model import OnePhonon


#: Points this close to a Bragg point, in Miller indices, are suspect: four decimals of q give 1e-3.
NEAR_BRAGG = 1e-3


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
    from ..formats import check_map_path, read_q_vectors

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
    diffuse = run_model(
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
        bragg_tolerance=bragg_tolerance,
        expand_p1=not no_expand,
        hydrogens=hydrogens,
        waters=waters,
        ligands=ligands,
        conformers=conformers,
        anisotropic=not isotropic,
        model_number=model_number,
        radiation=radiation,
    )
    write(diffuse, output, force, quiet)


def run_model(
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

    from ..model import OnePhonon

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
        _warn_of_near_bragg_points(model)
        with progress(quiet) as report:
            intensity = model(**run, progress=report)
        made_with = {"structure": structure.name, **options, **run, "dtype": dtype}
        return _as_map(model, intensity, shape, made_with)


def _as_map(model: OnePhonon, intensity: Any, shape: Any, made_with: dict[str, Any]) -> DiffuseMap:
    import torch

    from .. import __version__
    from ..maps import DiffuseMap

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


def _warn_of_near_bragg_points(model: OnePhonon) -> None:
    """Say which points are all but Bragg points, as in lists rounded to a few decimals."""
    from ..lattice import is_bragg

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

    from ..formats import write_map

    write_map(diffuse, output, force)
    if not quiet:
        n = int(np.isfinite(diffuse.intensity).sum())
        typer.echo(f"wrote {output}: {n} intensities of {diffuse.intensity.size} points")
