"""Options of the output: overwriting and messages, and the check of all outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ..groups import INPUTS, OptionGroup


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

    force: Annotated[
        bool, typer.Option("--force", help="Overwrite existing files, but never an input.")
    ] = False

    inputs: Annotated[tuple[Path, ...], INPUTS] = ()

    def check(self, *outputs: Path | None) -> None:
        """Check, before long computations, that all outputs can be written.

        Raises
        ------
        FileError
            If an output is an input, whatever the options say; if two outputs are the same file;
            or if one exists and --force is not given, or cannot be written.
        """
        from onephonon.core.files import check_outputs

        check_outputs([path for path in outputs if path is not None], self.inputs, self.force)
