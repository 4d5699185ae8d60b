"""Whether the intensity of a bound model has the Laue symmetry of its crystal."""

from __future__ import annotations

import torch

from onephonon.disorder.atoms import Atoms
from onephonon.disorder.component import Component
from onephonon.disorder.lattice import Lattice
from onephonon.disorder.liquid import Liquid
from onephonon.disorder.rigid import Rigid
from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.laue_symmetry import has_laue_symmetry, images_agree, trial_points
from onephonon.scattering.multiphonon.higher_orders import HigherOrders

from .bound_sum import BoundSum

#: Components that are the same in each copy of the asymmetric unit, turned with it.
SYMMETRIC = (Atoms, Liquid, Rigid)


@torch.no_grad()
def is_symmetric(
    bound: BoundModel,
    use_data_adp: bool | None = None,
    orders: int | str | None = None,
    q_max: float = 0.0,
) -> bool:
    """Whether intensities have the symmetry of the crystal's Laue group.

    Parameters
    ----------
    bound : BoundModel
        Of a sum of components all must have it; they are tested at a few q unless they have it
        by their nature.
    use_data_adp : bool, optional
        As for `OnePhonon.apply_disorder`.
    orders : int or 'all', optional
        Instead of the model's.
    q_max : float
        Largest |q|, 1/Å, for orders beyond the first; by default these are not tested.
    """
    summed = bound.orders.with_number(orders)
    if isinstance(bound, BoundSum):
        components = bound.disorder.settled(bound.lattice.bodies).components
        lattices = [c for c in components if isinstance(c, Lattice)]
        others = [c for c in components if not isinstance(c, (*SYMMETRIC, Lattice))]
        if not all(_images_agree(c, bound, summed.number, q_max) for c in others):
            return False
        return not lattices or is_symmetric(bound.of_lattice(), True, orders, q_max)
    lattice, rtol = bound.lattice, bound.numerics.rtol
    U, scale = lattice.displacements_and_scale(bound.uses_data_adp(use_data_adp))
    pairs, higher = bound.pairs(summed), None
    if pairs is not None and q_max:
        higher = HigherOrders.prepare(pairs, summed.number, q_max, rtol)
    return has_laue_symmetry(lattice, U, scale, higher, q_max, rtol)


def _images_agree(component: Component, bound: BoundModel, order: int | None, q_max: float) -> bool:
    """Whether images of a few q have the same intensity of a component."""
    bodies = bound.lattice.bodies
    points = trial_points(bodies.crystal, q_max)
    return images_agree(component.intensity(bodies, points, bodies.U, order), bound.numerics.rtol)
