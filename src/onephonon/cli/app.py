"""The application in which the commands are registered."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import typer

from .groups import expand_options

#: Former spellings of options, which are still accepted, and the current ones.
FORMER_SPELLINGS = {
    "dmin": "d-min",
    "dmax": "d-max",
    "spacegroup": "space-group",
    "no-expand": "whole-cell",
    "ladder": "levels",
}


def _current_spelling(name: str) -> str:
    return FORMER_SPELLINGS.get(name, name)


#: Option, of all commands, that shows the traceback of an error; `main` reads it.
TRACEBACK = "--traceback"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="One-phonon diffuse X-ray scattering from protein crystals.",
    epilog=f"Errors are one line; with [bold]{TRACEBACK}[/] after any command, or the environment "
    "variable ONEPHONON_TRACEBACK=1, all of where they came up is shown.",
    context_settings={
        # --h is a Miller index; -h is free.
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": _current_spelling,
    },
)


def command(*examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function to the application as a command, with its groups of options expanded.

    Parameters
    ----------
    *examples : str
        Command lines shown at the end of the help, after the docstring of the function.
    """
    heading = "Example:" if len(examples) == 1 else "Examples:"
    epilog = "\n\n".join([heading, *(f"[bold]{example}[/]" for example in examples)])

    def add(function: Callable[..., None]) -> Callable[..., None]:
        expanded = expand_options(function)
        app.command(help=_reflowed(function.__doc__ or ""), epilog=epilog)(expanded)
        return expanded

    return add


def _reflowed(text: str) -> str:
    """Join the lines of each paragraph of a docstring, so that it fits any width."""
    return re.sub(r"(?<!\n)\n(?![\n ])", " ", inspect.cleandoc(text))
