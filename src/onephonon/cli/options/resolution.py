"""Options of the resolution range of comparisons and fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from onephonon.core.errors import InputError

from ..checks import NOT_NEGATIVE, Given, Limits
from ..groups import OptionGroup

#: Resolutions.
RESOLUTION = Limits(low=0, above=True, why="in Å")


@dataclass(frozen=True)
class ResolutionOptions(OptionGroup):
    """Resolution range; None means no limit."""

    panel: ClassVar[str] = "Resolution"

    d_min: Annotated[
        float | None,
        typer.Option(help="Finest resolution, in Å.", show_default="no limit"),
        NOT_NEGATIVE,
    ] = None
    d_max: Annotated[
        float | None,
        typer.Option(help="Coarsest resolution, in Å.", show_default="no limit"),
        RESOLUTION,
    ] = None

    @property
    def limits(self) -> tuple[float, float]:
        """Finest and coarsest d, Å: 0 and infinity without limit."""
        return (
            0.0 if self.d_min is None else self.d_min,
            math.inf if self.d_max is None else self.d_max,
        )

    def check_together(self, given: Given) -> None:
        """Raise InputError unless the finest resolution is finer than the coarsest."""
        super().check_together(given)
        if self.d_min is not None and self.d_max is not None and self.d_min >= self.d_max:
            raise InputError(
                f"--d-min {self.d_min:g} and --d-max {self.d_max:g} leave nothing between them; "
                "the first must be the smaller, in Å"
            )
