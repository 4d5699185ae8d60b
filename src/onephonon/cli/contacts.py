"""``onephonon contacts``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import app
from .options import (
    CutoffOption,
    ForceOption,
    GroupByOption,
    HydrogensOption,
    LigandsOption,
    QuietOption,
    Structure,
    WatersOption,
)

if TYPE_CHECKING:
    from onephonon.network.interfaces import ContactRow


@app.command(epilog="Example: [bold]onephonon contacts model.pdb[/] --by residue -o contacts.csv")
def contacts(
    structure: Structure,
    by: Annotated[
        str, typer.Option("--by", help="Spring classes: global, copy, interface or residue.")
    ] = "interface",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Save every symmetry-unique contact: .csv or .json."),
    ] = None,
    group_by: GroupByOption = "asu",
    cutoff: CutoffOption = 4.0,
    hydrogens: HydrogensOption = False,
    waters: WatersOption = False,
    ligands: LigandsOption = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the contacts between atoms and the classes of springs they fall into.

    The table on the terminal has a line for each class; the file has one for each contact. Edited,
    it can be given back as a labelling of your own (see docs/gradients.md).
    """
    from onephonon.core.files import check_writable
    from onephonon.crystal.reading import read_crystal
    from onephonon.network.bodies import gather_bodies
    from onephonon.network.contact_files import write_contact_table
    from onephonon.network.contacts import find_contacts
    from onephonon.network.springs import ClassSprings, SpringPlan, contact_table

    if output is not None:
        check_writable(output, force)
    crystal = read_crystal(structure, hydrogens=hydrogens, waters=waters, ligands=ligands)
    bodies = gather_bodies(crystal, group_by)
    found = find_contacts(bodies, cutoff)
    springs = ClassSprings(bodies, found, SpringPlan(by=by))
    rows = contact_table(bodies, found, springs.springs(), springs.classes())
    if not quiet:
        _print_classes(rows, f"{structure.name}: contacts within {cutoff:g} Å, springs by {by}")
    if output is not None:
        write_contact_table(rows, output, force)
        if not quiet:
            typer.echo(f"wrote {output}: {len(rows)} contacts")


def _print_classes(rows: list[ContactRow], title: str) -> None:
    """One line for each class: how many contacts, and how long."""
    from rich.console import Console
    from rich.table import Table

    classes: dict[str, list[ContactRow]] = {}
    for row in rows:
        classes.setdefault(row.spring_class, []).append(row)
    table = Table(title=title)
    table.add_column("spring class")
    for column in ("unique contacts", "per cell", "shortest / Å", "mean / Å"):
        table.add_column(column, justify="right")
    for name, members in sorted(classes.items()):
        lengths = [row.distance for row in members]
        table.add_row(
            name,
            str(len(members)),
            str(sum(row.multiplicity for row in members)),
            f"{min(lengths):.2f}",
            f"{sum(lengths) / len(lengths):.2f}",
        )
    Console().print(table)
