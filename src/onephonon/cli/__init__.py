"""The command line: ``onephonon verify | simulate | visualize | view | info | convert | ...``.

Each command is a separate module and imports the physics only when it runs, so that
``onephonon --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from typing import Any

import typer

from . import (  # noqa: F401  (each registers its command)
    compare,
    contacts,
    convert,
    demo,
    displacements,
    fit,
    info,
    modes,
    patterson,
    simulate,
    verify,
    view,
    visualize,
)
from .app import TRACEBACK, app
from .endings import interruption_message
from .faults import describe, traceback_wanted
from .streams import OutputError, abandon_output, prepare_streams
from .terminal import echo

#: Exit code of a program stopped by Ctrl-C.
INTERRUPTED = 130


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _tell(f"warning: {message}", typer.colors.YELLOW)


def main() -> None:
    """Run the command line; every exception becomes one line and an exit code.

    Exit codes: 0 done; 1 cannot be done; 2 the command line cannot be understood; 70 a fault of the
    program; 130 stopped by Ctrl-C; 141 nobody reads the output.
    """
    prepare_streams()
    warnings.showwarning = _show_warning
    arguments = [argument for argument in sys.argv[1:] if argument != TRACEBACK]
    show_traceback = len(arguments) < len(sys.argv[1:]) or traceback_wanted()
    sys.exit(_run(arguments, show_traceback))


def _run(arguments: list[str], show_traceback: bool) -> int:
    """Run a command, and return the exit code."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    try:
        try:
            app(arguments)
        except SystemExit as stop:
            if stop.code == INTERRUPTED:
                _tell(interruption_message(stop))
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            sys.stdout.flush()
    except Exception as error:
        if isinstance(error, OutputError | BrokenPipeError):
            abandon_output()
        fault = describe(error, command)
        if show_traceback:
            traceback.print_exc()
        if fault.message:
            _tell(fault.message, typer.colors.RED)
        return fault.code
    return 0


def _tell(text: str, colour: str | None = None) -> None:
    """Write a line to standard error, if that can be written to."""
    with contextlib.suppress(OSError):
        echo(f"onephonon: {text}", err=True, colour=colour)
