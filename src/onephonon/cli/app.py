"""The application that the commands join."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="One-phonon diffuse X-ray scattering from protein crystals.",
)
