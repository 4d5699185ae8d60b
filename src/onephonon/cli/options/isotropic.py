"""Options of the isotropic part that is subtracted from maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..checks import SHELLS, Given
from ..groups import OptionGroup

if TYPE_CHECKING:
    from onephonon.maps.isotropic import Isotropic


@dataclass(frozen=True)
class IsotropicOptions(OptionGroup):
    """The isotropic part that is subtracted; for groups that derive from this one."""

    remove: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Isotropic part subtracted from both maps: in each shell of |q| a line in |q| "
            "(line) or the mean (mean); the interpolated mean (profile); or nothing (none).",
        ),
    ] = "line"
    remove_shells: Annotated[
        int, typer.Option(help="Number of shells of |q| for --remove."), SHELLS
    ] = 50

    def check_together(self, given: Given) -> None:
        """Raise InputError for shells of an isotropic part that is not removed."""
        super().check_together(given)
        if self.remove == "none":
            given.refuse("remove_shells", why="not with --remove none, which subtracts nothing")

    def isotropic(self) -> Isotropic:
        """The isotropic part.

        Raises
        ------
        InputError
            If its kind is unknown.
        """
        from onephonon.maps.isotropic import Isotropic

        return Isotropic(self.remove, self.remove_shells)
