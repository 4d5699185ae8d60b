"""Options of the output: overwriting and messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..groups import OptionGroup


@dataclass(frozen=True)
class MessageOptions(OptionGroup):
    """Whether a command prints."""

    #: Panel of --help, and of --output of each command.
    panel: ClassVar[str] = "Options"

    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
    ] = False


@dataclass(frozen=True)
class OutputOptions(MessageOptions):
    """Whether a command overwrites and prints."""

    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False
