"""Options of the pairs that are listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..checks import POSITIVE
from ..groups import OptionGroup


@dataclass(frozen=True)
class PairOptions(OptionGroup):
    """Pairs whose joint displacements are listed."""

    panel: ClassVar[str] = "Pairs"

    within: Annotated[
        float | None,
        typer.Option(
            help="Largest distance between centroids of molecules, and of bodies, in Å.",
            show_default="twice that of neighbours in contact; once for many bodies",
        ),
        POSITIVE,
    ] = None
