"""Options of the resolution range of comparisons and fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..groups import OptionGroup


@dataclass(frozen=True)
class ResolutionOptions(OptionGroup):
    """Resolution range; None means no limit."""

    panel: ClassVar[str] = "Resolution"

    d_min: Annotated[
        float | None, typer.Option(help="Finest resolution, in Å.", show_default="no limit")
    ] = None
    d_max: Annotated[
        float | None, typer.Option(help="Coarsest resolution, in Å.", show_default="no limit")
    ] = None
