"""What moves, and which atoms touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from ..groups import OptionGroup


@dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """What moves as one body, and which atoms springs join."""

    panel: ClassVar[str] = "Network"

    group_by: Annotated[
        str,
        typer.Option(
            metavar="BODIES",
            help="What moves as one body: asu (the asymmetric unit), chain, residue, atom, or "
            "ranges of residues such as 'A:1-60 A:61-129,B', where a last word 'rest' is one more "
            "body of all other atoms.",
        ),
    ] = "asu"
    cutoff: Annotated[float, typer.Option(help="Longest contact that a spring joins, in Å.")] = 4.0

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {"group_by": self.group_by, "gnm_cutoff": self.cutoff}
