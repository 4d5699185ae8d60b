"""Terminal output: results on standard output; progress and messages on standard error."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import typer

from onephonon.core.memory import logger as memory_messages
from onephonon.core.progress import Progress
from onephonon.core.text import printable

from .display import QuietProgress, bar, lines, wrapped
from .streams import BROKEN_PIPE


def echo(text: str, *, err: bool = False, colour: str | None = None) -> None:
    """Print a line to standard output or standard error; control characters in it are left out.

    On a terminal it is broken between words.
    """
    stream = sys.stderr if err else sys.stdout
    line = printable(text)
    if stream.isatty():
        line = wrapped(line, shutil.get_terminal_size().columns)
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


@contextmanager
def memory_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Show how much memory large calculations need, before they begin."""
    handler = _Shown(show)
    level = memory_messages.level
    memory_messages.addHandler(handler)
    memory_messages.setLevel(logging.INFO)
    try:
        yield
    finally:
        memory_messages.removeHandler(handler)
        memory_messages.setLevel(level)


class _Shown(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self.show = show

    def emit(self, record: logging.LogRecord) -> None:
        self.show(record.getMessage())
