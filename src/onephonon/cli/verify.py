"""``onephonon verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from onephonon.core.errors import InputError

from .app import app
from .options import (
    ConformersOption,
    CutoffOption,
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
    Structure,
    WatersOption,
)
from .terminal import status


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
    from onephonon.crystal.reading import read_crystal
    from onephonon.model.verify import verify as run

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
    with status(f"comparing {structure.name} with an explicit supercell", quiet):
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
