"""Source of the crystal of a model: a file, and tensors that replace some of its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.caching import ValueCache
from onephonon.core.tensors import map_tensors, match_dtype_and_device
from onephonon.crystal.crystal import Crystal
from onephonon.network.bodies import Bodies, GroupBy, gather_bodies
from onephonon.network.body_density import BodyDensity

from .inputs import check_tensors


@dataclass(frozen=True, eq=False)
class CrystalSource:
    """A crystal as read, tensors of the caller that replace some of its values, and its bodies.

    Parameters
    ----------
    read : Crystal
    group_by : str, None or sequence of int
        See `gather_bodies`.
    overrides : dict of Tensor
        Tensors of the caller by name: positions, B, U, occupancies, cell.
    density : BodyDensity, optional
        What scatters in place of the atoms.
    """

    read: Crystal
    group_by: GroupBy
    overrides: dict[str, Tensor]
    density: BodyDensity | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that crystal and bodies depend on."""
        return [*self.overrides.values(), *self.read.tensors()]

    def crystal(self) -> Crystal:
        """The crystal, differentiable in the caller's tensors."""
        moved = {name: match_dtype_and_device(t, self.read.U) for name, t in self.overrides.items()}
        return self.read.with_tensors(**moved) if moved else self.read

    def bodies(self, cache: ValueCache) -> Bodies:
        """The atoms of the unit cell, grouped into bodies; cached by the values of the tensors."""

        def gather() -> Bodies:
            return replace(gather_bodies(self.crystal(), self.group_by), density=self.density)

        return cache.get("bodies", self.tensors, gather)

    def with_tensors(self, **tensors: Tensor) -> CrystalSource:
        """The same source with other tensors of the caller; B and U replace each other.

        Raises
        ------
        InputError
            If a name is unknown or a shape is wrong.
        """
        new = check_tensors(tensors)
        overrides = self.overrides | new
        for name, other in (("B", "U"), ("U", "B")):
            if name in new and other not in new:
                overrides.pop(other, None)
        source = replace(self, overrides=overrides)
        with torch.no_grad():
            source.crystal()  # raises if a shape is wrong
        return source

    def with_density(self, density: BodyDensity) -> CrystalSource:
        """The same source whose bodies scatter as this density."""
        return replace(self, density=density)

    def moved(self, fn: Callable[[Tensor], Tensor]) -> CrystalSource:
        """The same source with the read crystal on another device or in another dtype."""
        density = None if self.density is None else self.density.to(fn)
        return replace(self, read=map_tensors(self.read, fn), density=density)
