"""Options of the elastic network: bodies and contacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from ..checks import Limits
from ..groups import OptionGroup


@dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """Rigid bodies, and the longest contact."""

    panel: ClassVar[str] = "Network"

    group_by: Annotated[
        str,
        typer.Option(
            metavar="BODIES",
            help="Rigid bodies: asu (the asymmetric unit), chain, residue, atom, auto:N (N "
            "blocks with few contacts between them, which are printed as ranges), or ranges of "
            "residues such as 'A:1-60 A:61-129,B'; a last word 'rest' adds a body of all other "
            "atoms.",
        ),
    ] = "asu"
    cutoff: Annotated[
        float,
        typer.Option(help="Maximum length of contacts, in Å."),
        Limits(low=0, above=True, why="in Å"),
    ] = 4.0

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {"group_by": self.group_by, "gnm_cutoff": self.cutoff}
