"""What determines the intensity of a model: digests of its inputs, by name."""

from __future__ import annotations

from dataclasses import fields

import torch

from onephonon.core.hashing import digest
from onephonon.dynamics.occupation import Occupation
from onephonon.scattering.bound_model import BoundModel

#: Fields of a crystal that do not change the intensity.
UNUSED = ("labels", "remarks")

#: Words for the fields of a crystal.
NAMES = {
    "cell": "the unit cell",
    "spacegroup": "the space group",
    "rotations": "the symmetry operators",
    "translations": "the symmetry operators",
    "positions_frac": "the positions of atoms",
    "U": "the B-factors",
    "occupancies": "the occupancies",
    "masses": "the masses of atoms",
    "form_factors": "the form factors",
}


def inputs_of(bound: BoundModel) -> dict[str, str]:
    """Digests of everything that the intensity of a model is computed from, by name.

    Contents are compared, not names of files. What is derived is left out, since it may differ in
    its last digit between runs.

    Parameters
    ----------
    bound : BoundModel

    Returns
    -------
    dict of str to str
    """
    lattice, crystal = bound.lattice, bound.lattice.crystal
    bodies, contacts, springs = lattice.bodies, lattice.contacts, lattice.springs
    by_name: dict[str, list[object]] = {}
    for field in fields(crystal):
        if field.name not in UNUSED:
            name = NAMES.get(field.name, field.name)
            by_name.setdefault(name, []).append(getattr(crystal, field.name))
    numerics, orders = bound.numerics, bound.orders
    pairs_mesh = None if orders.first_only else orders.mesh or lattice.mesh
    by_name |= {
        "the bodies": [bodies.body, bodies.dof],
        "the density": [bodies.density],
        "the contacts": [contacts.i, contacts.j, contacts.cell],
        "the springs": [lattice.force_constants if springs is None else springs],
        "the zone average": [lattice.mesh, lattice.zone_average],
        "the thermal scale": [lattice.fixed_scale],
        "the occupation of modes": _occupation(lattice.occupation),
        "the orders": [orders.name, pairs_mesh],
        "the numerics": [bound.engine.name, numerics.rtol, lattice.solver],
        "the points": [bound.grid, *bound.limits],
    }
    return {name: digest(*values) for name, values in by_name.items()}


def _occupation(occupation: Occupation | None) -> list[object]:
    """What the factors of modes depend on; of a function its values at some frequencies."""
    if occupation is None:
        return [None]
    squared = torch.logspace(-6.0, 6.0, 200, dtype=torch.float64)
    with torch.no_grad():
        return [occupation.temperature, occupation.factor(squared)]
