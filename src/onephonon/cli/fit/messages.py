"""What a fit shows while it works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer


@contextmanager
def fit_messages(quiet: bool) -> Iterator[tuple[Callable[[str], None], Any, Any]]:
    """Callbacks to log a line, to show progress, and to show the steps of a minimization."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    out = Console(highlight=False)
    if quiet or not sys.stderr.isatty():

        def plain(line: str) -> None:
            if not quiet:
                typer.echo(f"- {line}")

        yield plain, None, None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeLeft())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, visible=done < total)

        def watch(level: str, prior: float, steps: int, value: float, moved: float) -> None:
            if "fit" not in tasks:
                tasks["fit"] = bars.add_task("", total=None)
            what = f"{level}, prior {prior:g}: step {steps}, {value:.6g} per voxel, "
            bars.update(tasks["fit"], description=what + f"springs move by {moved:.2g}")

        def log(line: str) -> None:
            out.print(f"- {line}", markup=False)

        yield log, report, watch
