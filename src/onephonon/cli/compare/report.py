"""Results of a comparison as tables in the terminal and as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tables import print_remarks, print_table
from ..terminal import echo
from .options import ResultOptions

if TYPE_CHECKING:
    from onephonon.compare.agreement import Agreement


def print_agreement(found: Agreement, title: str) -> None:
    """Print tables of shells, indexings and null models, and remarks."""
    from onephonon.compare.report import baseline_table, summary, table, trial_table

    from ..console import SafeConsole

    console = SafeConsole()
    print_table(console, title, *table(found), text_keys=False, total=True)
    console.print()
    headings, rows = trial_table(found)
    if len(rows) > 1:
        print_table(console, "indexings of the lattice", headings, rows)
        console.print()
    headings, rows = baseline_table(found)
    if rows:
        print_table(console, "null models, without any spring", headings, rows)
        console.print()
    print_remarks(console, summary(found))


def save_agreement(
    found: Agreement,
    title: str,
    results: ResultOptions,
    force: bool,
    quiet: bool,
    held_out: Agreement | None = None,
) -> None:
    """Save the requested files, and print their names.

    Of a fit, the JSON file has the comparison of voxels left out of it as 'held_out'.
    """
    from onephonon.compare.report import write_csv, write_json

    if results.csv is not None:
        write_csv(found, results.csv, force)
    if results.json is not None:
        write_json(found, results.json, force, held_out)
    if results.png is not None:
        from onephonon.viz.plot.agreement import draw_agreement
        from onephonon.viz.plot.saving import save

        save(draw_agreement(found, title=title), results.png, force)
    if results.output is not None:
        from onephonon.maps.io.registry import write_map

        write_map(found.model, results.output, force)
    if results.files and not quiet:
        echo(f"wrote {', '.join(str(path) for path in results.files)}")
