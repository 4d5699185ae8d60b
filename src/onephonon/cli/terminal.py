"""Terminal output: spinners and progress bars (on standard error), and tables."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

#: Between columns of a table, and at its sides.
COLUMN_GAP = 2


@contextmanager
def status(message: str, quiet: bool) -> Iterator[None]:
    """A spinner on the terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(message):
        yield


@contextmanager
def progress(quiet: bool) -> Iterator[Any]:
    """Progress bars with time left, one for each kind of work."""
    if quiet or not sys.stderr.isatty():
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


def tables_that_fit(
    title: str, headings: list[str], rows: list[list[str]], width: int, total: bool = False
) -> list[Table]:
    """One table, or several for a narrow terminal, each with the first column.

    Headings may be broken between words, what is in the rows may not. `total`: the last row is
    over all others.
    """
    from rich import box
    from rich.table import Table

    cells = zip(*rows, strict=True)
    needs = [
        max(*(len(word) for word in heading.split()), *(len(text) for text in column))
        for heading, column in zip(headings, cells, strict=True)
    ]
    parts: list[list[int]] = []
    left = 0
    for i, needed in enumerate(needs[1:], start=1):
        if not parts or needed + COLUMN_GAP > left:
            parts.append([0])
            left = width - needs[0] - 2 * COLUMN_GAP
        parts[-1].append(i)
        left -= needed + COLUMN_GAP
    found = []
    for columns in parts:
        table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for i in columns:
            table.add_column(headings[i], justify="right", width=needs[i])
        for row in rows:
            bold = total and row is rows[-1]
            table.add_row(*(row[i] for i in columns), style="bold" if bold else None)
        found.append(table)
    return found


class _Echo(logging.Handler):
    """Shows the library's messages on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(record.getMessage(), err=True)


@contextmanager
def messages(quiet: bool) -> Iterator[None]:
    """Show what the library says of its work, unless quiet."""
    logger = logging.getLogger("onephonon")
    if quiet:
        yield
        return
    handler, level = _Echo(logging.INFO), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
