"""``onephonon contacts``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import command
from .checks import WRITES
from .options.network import NetworkOptions
from .options.output import OutputOptions
from .options.structure import StructureFile, StructureOptions
from .remarks import show_bodies, show_remarks
from .tables import print_table
from .terminal import echo

if TYPE_CHECKING:
    from onephonon.network.interfaces import ContactRow


@command("onephonon contacts model.pdb --by residue -o contacts.csv")
def contacts(
    file: StructureFile,
    *,
    by: Annotated[
        str,
        typer.Option(
            metavar="CLASS",
            help="Contacts that share a spring class: all (global), those within and those between "
            "copies (copy), those of each pair of copies (interface) or of residues (residue).",
        ),
    ] = "interface",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Save all symmetry-unique contacts: .csv or .json."),
        WRITES,
    ] = None,
    writing: OutputOptions,
    structure: StructureOptions,
    network: NetworkOptions,
) -> None:
    """List the contacts between atoms and their spring classes.

    The printed table has a line for each class, the file one for each contact. An edited file can
    define your own classes (see docs/gradients.md).
    """
    from onephonon.network.bodies import gather_bodies
    from onephonon.network.contact_files import write_contact_table
    from onephonon.network.contacts import find_contacts
    from onephonon.network.springs import ClassSprings, SpringPlan, contact_table

    writing.check(output)
    crystal = structure.read_crystal(file)
    show_remarks(crystal, file.name, writing.quiet)
    bodies = gather_bodies(crystal, network.group_by)
    show_bodies(bodies, network.group_by, writing.quiet)
    found = find_contacts(bodies, network.cutoff)
    springs = ClassSprings(bodies, found, SpringPlan(by=by))
    rows = contact_table(bodies, found, springs.springs(), springs.classes())
    if not writing.quiet:
        title = f"{file.name}: contacts within {network.cutoff:g} Å, springs by {by}"
        _print_classes(rows, title)
    if output is not None:
        write_contact_table(rows, output, writing.force)
        if not writing.quiet:
            echo(f"wrote {output}: {len(rows)} contacts")


def _print_classes(rows: list[ContactRow], title: str) -> None:
    """Print a line for each class: number and lengths of contacts."""
    from .console import SafeConsole

    classes: dict[str, list[ContactRow]] = {}
    for row in rows:
        classes.setdefault(row.spring_class, []).append(row)
    lines = []
    for name, members in sorted(classes.items()):
        lengths = [row.distance for row in members]
        lines.append(
            [
                name,
                str(len(members)),
                str(sum(row.multiplicity for row in members)),
                f"{min(lengths):.2f}",
                f"{sum(lengths) / len(lengths):.2f}",
            ]
        )
    headings = ["spring class", "unique contacts", "per cell", "shortest / Å", "mean / Å"]
    print_table(SafeConsole(), title, headings, lines)
