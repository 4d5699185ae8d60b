"""The range of resolution in which data are compared or fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from ..groups import OptionGroup


@dataclass(frozen=True)
class ResolutionOptions(OptionGroup):
    """The range of resolution; None where there is no limit."""

    panel: ClassVar[str] = "Resolution"

    d_min: Annotated[
        float | None, typer.Option(help="Finest resolution, in Å.", show_default="no limit")
    ] = None
    d_max: Annotated[
        float | None, typer.Option(help="Coarsest resolution, in Å.", show_default="no limit")
    ] = None
