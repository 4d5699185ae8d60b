"""Terminal output: progress and messages (on standard error), and tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import typer

from onephonon.core.progress import Progress
from onephonon.core.text import printable

from .display import QuietProgress, bar, lines
from .streams import BROKEN_PIPE

if TYPE_CHECKING:
    from rich.table import Table

#: Width between columns of a table, and at its sides.
COLUMN_GAP = 2


def echo(text: str, *, err: bool = False, colour: str | None = None) -> None:
    """Print a line to standard output or standard error; control characters in it are left out."""
    stream = sys.stderr if err else sys.stdout
    line = printable(text)
    if colour is not None and shows_colours(stream):
        line = typer.style(line, fg=colour)
    try:
        # Not click's echo: it would write to the terminal itself, through a bar that is shown.
        print(line, file=stream, flush=True)
    except BrokenPipeError:  # nobody reads on
        raise SystemExit(BROKEN_PIPE) from None


def shows_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal with colours, and the user has not declined them."""
    return (
        stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"
    )


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """Show steps and messages on standard error; quiet: nothing.

    On a terminal there is one bar, and messages stand above it; elsewhere, and on terminals that
    cannot move the cursor, lines are written at growing intervals.
    """
    if quiet:
        yield QuietProgress()
        return
    if sys.stderr.isatty():
        from .console import SafeConsole

        console = SafeConsole(stderr=True)
        if not console.is_dumb_terminal:
            with bar(console, with_stdout=sys.stdout.isatty()) as shown:
                yield shown
            return
    with lines(lambda line: echo(line, err=True)) as shown:
        yield shown


@contextmanager
def status(message: str, quiet: bool) -> Iterator[None]:
    """Show that something is being done whose steps are not known."""
    with progress(quiet) as shown:
        shown.step(message, 0, 0)
        yield


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
