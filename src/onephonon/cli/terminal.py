"""Terminal output: progress and messages (on standard error), and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from onephonon.core.progress import Progress
from onephonon.core.text import printable

from .streams import BROKEN_PIPE

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console
    from rich.table import Table

#: Width between columns of a table, and at its sides.
COLUMN_GAP = 2

#: Shortest time between two lines about steps where standard error is not a terminal, seconds.
LINE_INTERVAL = 30.0


def echo(text: str, *, err: bool = False, colour: str | None = None) -> None:
    """Print a line to standard output or standard error; control characters in it are left out."""
    try:
        typer.secho(printable(text), err=err, fg=colour)
    except BrokenPipeError:  # nobody reads on
        raise SystemExit(BROKEN_PIPE) from None


@contextmanager
def status(message: str, quiet: bool) -> Iterator[None]:
    """A spinner on the terminal."""
    from rich.markup import escape

    from .console import SafeConsole

    console = SafeConsole(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(escape(printable(message))):
        yield


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """Show steps and messages on standard error: bars on a terminal, else lines; quiet: nothing."""
    if quiet:
        yield QuietProgress()
    elif sys.stderr.isatty():
        from .console import SafeConsole

        with progress_bars(SafeConsole(stderr=True)) as bars:
            yield bars
    else:
        yield LineProgress()


class QuietProgress(Progress):
    """Shows nothing."""

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""


class LineProgress(Progress):
    """Writes messages as lines, and the steps of long tasks as an occasional line.

    Parameters
    ----------
    write : callable
        Called with each line; by default it is written to standard error.
    clock : callable
        Returns the time in seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.write = write or _write_to_stderr
        self.clock, self.last_line = clock, clock()
        self.time_left = TimeLeft(clock)

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Write a line if the last one was long ago."""
        left = self.time_left(task, done, total)
        now = self.clock()
        if now - self.last_line < LINE_INTERVAL:
            return
        self.last_line = now
        facts = [f"{task}: {done} of {'at most ' if detail else ''}{total}", detail or left]
        self.write(", ".join(fact for fact in facts if fact))

    def message(self, text: str) -> None:
        """Write a line."""
        self.write(text)


class BarProgress(Progress):
    """Shows a bar for every unfinished task, and messages as lines above the bars.

    Parameters
    ----------
    bars : rich.progress.Progress
        With a field `state`.
    """

    def __init__(self, bars: rich.progress.Progress) -> None:
        self.bars = bars
        self.tasks: dict[str, rich.progress.TaskID] = {}
        self.time_left = TimeLeft()

    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Move the bar of a task, and remove it with the last step."""
        state = detail or self.time_left(task, done, total)
        if done >= total:
            if task in self.tasks:
                self.bars.remove_task(self.tasks.pop(task))
        elif task in self.tasks:
            self.bars.update(self.tasks[task], completed=done, total=total, state=state)
        else:
            self.tasks[task] = self.bars.add_task(task, completed=done, total=total, state=state)

    def message(self, text: str) -> None:
        """Print a line above the bars."""
        self.bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bars(console: Console) -> Iterator[BarProgress]:
    """Bars on a console, which disappear at the end; messages remain."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    text = TextColumn("{task.description}", markup=False)
    state = TextColumn("{task.fields[state]}", markup=False)
    with Bars(
        text, BarColumn(), MofNCompleteColumn(), state, console=console, transient=True
    ) as bars:
        yield BarProgress(bars)


class TimeLeft:
    """Estimates the time until a task is complete, from its steps so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.first: dict[str, tuple[float, int]] = {}
        self.last: dict[str, int] = {}

    def __call__(self, task: str, done: int, total: int) -> str:
        """Time left, as text; empty as long as it is not known."""
        now = self.clock()
        if task not in self.first or done < self.last[task]:  # a task may be done again
            self.first[task] = (now, done)
        self.last[task] = done
        start, done_at_start = self.first[task]
        if done == done_at_start or done >= total:
            return ""
        return f"{duration((now - start) * (total - done) / (done - done_at_start))} left"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _write_to_stderr(line: str) -> None:
    echo(line, err=True)


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
