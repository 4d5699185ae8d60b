"""Options of the springs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from onephonon.core.errors import InputError

from ..checks import Given, Limits
from ..groups import OptionGroup

#: Spring constants.
CONSTANT = Limits(low=0, why="in kT/Å²")


@dataclass(frozen=True)
class SpringOptions(OptionGroup):
    """Kind and constants of the springs, which the thermal scale multiplies."""

    panel: ClassVar[str] = "Springs"

    model: Annotated[
        str,
        typer.Option(
            metavar="gnm|anm|hybrid",
            help="Springs that resist relative motion equally in all directions (gnm), only along "
            "the contact (anm), or with separate constants along and across it (hybrid).",
        ),
    ] = "gnm"
    gamma_intra: Annotated[
        float,
        typer.Option(help="Constant of springs within a copy of the asymmetric unit, in kT/Å²."),
        CONSTANT,
    ] = 1.0
    gamma_inter: Annotated[
        float, typer.Option(help="Constant of springs between copies, in kT/Å²."), CONSTANT
    ] = 1.0
    k_par: Annotated[
        float | None,
        typer.Option(help="Constant along each contact, in kT/Å², for the hybrid model only."),
        CONSTANT,
    ] = None
    k_perp: Annotated[
        float | None,
        typer.Option(help="Constant across each contact, in kT/Å², for the hybrid model only."),
        CONSTANT,
    ] = None

    def check_together(self, given: Given) -> None:
        """Raise InputError for constants of another kind of springs."""
        if self.model == "hybrid":
            given.refuse(
                *("gamma_intra", "gamma_inter"),
                why="not for --model hybrid, whose constants are --k-par and --k-perp",
            )
            if self.k_par is None or self.k_perp is None:
                raise InputError("--model hybrid needs both --k-par and --k-perp")
        else:
            why = f"only for --model hybrid; {self.model} has --gamma-intra and --gamma-inter"
            given.refuse("k_par", "k_perp", why=why)

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {
            "model": self.model,
            "gamma_intra": self.gamma_intra,
            "gamma_inter": self.gamma_inter,
            "k_par": self.k_par,
            "k_perp": self.k_perp,
        }
