"""What is recorded in the file of a calculated map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.order_error import order_error


def map_header(
    bound: BoundModel, parameters: Mapping[str, Any], use_data_adp: bool = False
) -> dict[str, Any]:
    """Metadata of a calculated map for its file."""
    from onephonon import __version__

    lattice = bound.lattice
    own = {
        "thermal_scale": float(lattice.thermal_scale.detach()),
        "mesh": list(lattice.mesh),
        "zone_average": lattice.zone_average,
        "occupation": "classical" if lattice.occupation is None else str(lattice.occupation),
        "engine": str(bound.engine),
    }
    own |= orders_header(bound, use_data_adp)
    return {
        "cell": lattice.crystal.cell.parameters,
        "spacegroup": lattice.crystal.spacegroup,
        "units": "e^2 per cell",
        "parameters": dict(parameters) | own,
        "version": __version__,
    }


def orders_header(bound: BoundModel, use_data_adp: bool = False) -> dict[str, Any]:
    """Which orders a map is the sum of and, beyond the first, their mesh and errors."""
    orders = bound.orders
    if orders.first_only:
        return {"orders": 1}
    error = order_error(bound, use_data_adp)
    known = {"order_error": error.order, "multiphonon_mesh_error": error.mesh}
    return {
        "orders": orders.name,
        "multiphonon_mesh": list(orders.mesh or bound.lattice.mesh),
        **{name: value if math.isfinite(value) else None for name, value in known.items()},
    }
