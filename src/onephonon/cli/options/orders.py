"""Options of the orders of the scattering that are summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from onephonon.core.arguments import MAX_MESH_POINTS
from onephonon.core.errors import InputError
from onephonon.scattering.multiphonon.settings import Orders, check_orders

from ..checks import Counts, Given
from ..groups import OptionGroup


@dataclass(frozen=True)
class NumberOfOrders:
    """A number of orders, or 'all'."""

    def check(self, option: str, value: Any) -> None:
        """Raise InputError for anything else."""
        try:
            check_orders(value)
        except InputError as error:
            raise InputError(str(error).replace("orders", option, 1)) from None


@dataclass(frozen=True)
class OrderOptions(OptionGroup):
    """How many orders are summed."""

    panel: ClassVar[str] = "Orders"

    orders: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Sum the intensities of so many orders, from the first (one phonon), or of all.",
        ),
        NumberOfOrders(),
    ] = "1"

    @property
    def summed(self) -> Orders:
        """The orders, with the default mesh."""
        return Orders().with_number(self.orders)

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return {"orders": self.summed.name}


@dataclass(frozen=True)
class MultiphononOptions(OrderOptions):
    """The same, and the mesh of the orders beyond the first."""

    multiphonon_mesh: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="NH NK NL",
            help="Mesh in the Brillouin zone for the orders beyond the first; their error falls "
            "as the square of its number of points along an axis.",
            show_default="that of --mesh",
        ),
        Counts(most=MAX_MESH_POINTS),
    ] = None

    def check_together(self, given: Given) -> None:
        """Raise InputError for a mesh that nothing depends on."""
        super().check_together(given)
        if self.summed.first_only:
            given.refuse("multiphonon_mesh", why="only for --orders N or all; add it")

    def model_arguments(self) -> dict[str, Any]:
        """Keywords of `OnePhonon`."""
        return super().model_arguments() | {"multiphonon_mesh": self.multiphonon_mesh}
