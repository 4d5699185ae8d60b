"""The command line: ``onephonon verify | simulate | visualize | view | info | convert | ...``.

Each command is a separate module and imports the physics only when it runs, so that
``onephonon --help`` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer

from onephonon.core.errors import OnePhononError

from . import compare, contacts, convert, demo, fit, info, modes, simulate, verify, view, visualize  # noqa: F401  (each registers its command)
from .app import app
from .endings import interruption_message, notes_of

#: Exit code of a program stopped by Ctrl-C.
INTERRUPTED = 130


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.secho(f"onephonon: warning: {message}", err=True, fg=typer.colors.YELLOW)


def main() -> None:
    """Run the command line; errors and warnings are printed as one line, without traceback."""
    warnings.showwarning = _show_warning
    try:
        app()
    except OnePhononError as error:
        text = "; ".join([str(error), *notes_of(error)])
        typer.secho(f"onephonon: {text}", err=True, fg=typer.colors.RED)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.secho(f"onephonon: {interruption_message(stop)}", err=True)
        raise
