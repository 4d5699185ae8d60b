"""The springs of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from ..groups import OptionGroup


@dataclass(frozen=True)
class SpringOptions(OptionGroup):
    """Kind and constants of the springs, which are known up to the thermal scale."""

    panel: ClassVar[str] = "Springs"

    model: Annotated[
        str,
        typer.Option(
            metavar="gnm|anm|hybrid",
            help="Springs that resist any motion alike (gnm), motion along the contact (anm), or "
            "motion along and across it with constants of their own (hybrid).",
        ),
    ] = "gnm"
    gamma_intra: Annotated[
        float,
        typer.Option(help="Constant of springs within a copy of the asymmetric unit, in kT/Å²."),
    ] = 1.0
    gamma_inter: Annotated[
        float, typer.Option(help="Constant of springs between copies, in kT/Å².")
    ] = 1.0
    k_par: Annotated[
        float | None,
        typer.Option(help="Constant along each contact, in kT/Å², for the hybrid model only."),
    ] = None
    k_perp: Annotated[
        float | None,
        typer.Option(help="Constant across each contact, in kT/Å², for the hybrid model only."),
    ] = None

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {
            "model": self.model,
            "gamma_intra": self.gamma_intra,
            "gamma_inter": self.gamma_inter,
            "k_par": self.k_par,
            "k_perp": self.k_perp,
        }
