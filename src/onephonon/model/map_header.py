"""What is recorded in the file of a calculated map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.order_error import order_error

from .bound_sum import BoundSum


def map_header(
    bound: BoundModel, parameters: Mapping[str, Any], use_data_adp: bool = False
) -> dict[str, Any]:
    """Metadata of a calculated map for its file."""
    from onephonon import __version__

    crystal = bound.lattice.crystal
    own = motion_header(bound) | {"engine": str(bound.engine)}
    own |= orders_header(bound, use_data_adp)
    return {
        "cell": crystal.cell.parameters,
        "spacegroup": crystal.spacegroup,
        "units": "e^2 per cell",
        "parameters": dict(parameters) | own,
        "version": __version__,
    }


def motion_header(bound: BoundModel) -> dict[str, Any]:
    """What moves: the lattice's scale and mesh, and the components of disorder of a sum."""
    if isinstance(bound, BoundSum):
        settled = bound.disorder.settled(bound.lattice.bodies)
        text = {"disorder": bound.disorder.text, "disorder_amounts": settled.text}
        return text | (motion_header(bound.of_lattice()) if bound.has_lattice else {})
    lattice = bound.lattice
    return {
        "thermal_scale": float(lattice.thermal_scale.detach()),
        "mesh": list(lattice.mesh),
        "zone_average": lattice.zone_average,
        "occupation": "classical" if lattice.occupation is None else str(lattice.occupation),
    }


def orders_header(bound: BoundModel, use_data_adp: bool = False) -> dict[str, Any]:
    """Which orders a map is the sum of and, beyond the first, their mesh and errors."""
    orders = bound.orders
    if orders.first_only:
        return {"orders": 1}
    if isinstance(bound, BoundSum):
        mesh = list(orders.mesh or bound.lattice.mesh)
        return {"orders": orders.name} | ({"multiphonon_mesh": mesh} if bound.has_lattice else {})
    error = order_error(bound, use_data_adp)
    known = {"order_error": error.order, "multiphonon_mesh_error": error.mesh}
    return {
        "orders": orders.name,
        "multiphonon_mesh": list(orders.mesh or bound.lattice.mesh),
        **{name: value if math.isfinite(value) else None for name, value in known.items()},
    }
