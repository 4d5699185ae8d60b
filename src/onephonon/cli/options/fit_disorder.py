"""Options of ``onephonon fit`` for components of disorder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ..checks import READS, Given
from ..groups import OptionGroup

if TYPE_CHECKING:
    from onephonon.disorder.notation import ComponentSpec


@dataclass(frozen=True)
class FitDisorderOptions(OptionGroup):
    """Kinds of motion that are fitted side by side."""

    panel: ClassVar[str] = "Components of disorder"

    disorder: Annotated[
        str | None,
        typer.Option(
            metavar="COMPONENTS",
            help="Fit kinds of motion, alone and together: lattice, liquid (:gamma=8), "
            "liquid:kernel=free, segments (:by=residue), rigid, joined by +.",
            show_default="springs alone, level by level",
        ),
    ] = None
    validate: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="A second map of the same structure, which judges the components and is never "
            "fitted; indexed and scaled automatically.",
        ),
        READS,
    ] = None
    no_controls: Annotated[
        bool,
        typer.Option("--no-controls", help="Do not fit the mirror image of the molecule, too."),
    ] = False

    def check_together(self, given: Given) -> None:
        """Raise InputError for options that would be ignored."""
        if self.disorder is None:
            given.refuse("validate", "no_controls", why="only with --disorder; add it")

    def components(self) -> tuple[ComponentSpec, ...]:
        """The components; none for springs alone."""
        if self.disorder is None:
            return ()
        from onephonon.disorder.notation import parse_disorder

        return parse_disorder(self.disorder)
