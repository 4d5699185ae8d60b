"""``onephonon verify``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from .app import command
from .checks import NOT_NEGATIVE, Counts, Limits
from .models import model_arguments
from .options.network import NetworkOptions
from .options.orders import NumberOfOrders, OrderOptions
from .options.output import MessageOptions
from .options.springs import SpringOptions
from .options.structure import StructureFile, StructureOptions
from .remarks import show_bodies, show_remarks
from .tables import print_table
from .terminal import status

if TYPE_CHECKING:
    from onephonon.model.verify import Verification


@dataclass(frozen=True)
class ComparedOrders(OrderOptions):
    """The orders whose sum is compared."""

    orders: Annotated[
        str,
        typer.Option(
            metavar="N|all", help="Compare also the sum of so many orders, or of all of them."
        ),
        NumberOfOrders(),
    ] = "1"


@command("onephonon verify model.pdb --group-by residue --supercell 3 1 1")
def verify(
    file: StructureFile,
    *,
    supercell: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="NA NB NC",
            help="Number of cells along each axis.",
            show_default="the largest small box that is quick",
        ),
        Counts(most=100_000),
    ] = None,
    points: Annotated[
        int,
        typer.Option(help="Number of points compared with the supercell."),
        Limits(low=1, high=1_000_000),
    ] = 60,
    tolerance: Annotated[
        float, typer.Option(help="Maximum relative difference that passes."), NOT_NEGATIVE
    ] = 1e-10,
    messages: MessageOptions,
    structure: StructureOptions,
    network: NetworkOptions,
    springs: SpringOptions,
    orders: ComparedOrders,
) -> None:
    """Compare the model with an explicit supercell.

    Builds a small periodic box of cells, inverts its full stiffness matrix, sums over all atoms,
    and prints the largest relative differences from grid mode, arbitrary-q mode, the sum over
    modes and the ADPs; with --orders also from the sum of orders, by a double sum over all pairs of
    atoms. The exit code is 1 if one exceeds its tolerance.
    """
    from onephonon.model.verify import verify as run
    from onephonon.network.bodies import gather_bodies

    crystal = structure.read_crystal(file)
    show_remarks(crystal, file.name, messages.quiet)
    show_bodies(gather_bodies(crystal, network.group_by), network.group_by, messages.quiet)
    with status(f"verifying {file.name}", messages.quiet):
        result = run(
            crystal,
            size=supercell,
            n_points=points,
            tolerance=tolerance,
            **model_arguments(network, springs, orders),
        )
    if not messages.quiet:
        _print(result, f"{file.name}: {result.n_atoms} atoms, {crystal.spacegroup}")
    if not result.passed:
        raise typer.Exit(1)


def _print(result: Verification, what: str) -> None:
    """Print a line for each comparison."""
    from rich.text import Text

    from .console import SafeConsole

    size = " x ".join(map(str, result.size))
    rows: list[list[str | Text]] = [
        [
            check.name,
            str(check.count),
            f"{check.difference:.1e}",
            f"{check.tolerance:.0e}",
            Text("pass", "green") if check.passed else Text("FAIL", "bold red"),
        ]
        for check in result.checks
    ]
    title = f"{what}, {result.n_dof} degrees of freedom, supercell {size}"
    headings = ["compared", "numbers", "max rel. diff.", "limit", ""]
    print_table(SafeConsole(), title, headings, rows)
