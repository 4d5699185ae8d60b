"""Where the crystal of a model comes from: a file, and tensors that replace parts of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.caching import ResultCache
from onephonon.core.tensors import map_tensors, match_dtype_and_device
from onephonon.crystal.crystal import Crystal
from onephonon.network.bodies import Bodies, GroupBy, gather_bodies

from .inputs import check_tensors


@dataclass(frozen=True, eq=False)
class CrystalSource:
    """A crystal as it was read, the caller's tensors in place of parts of it, and its bodies.

    Parameters
    ----------
    read : Crystal
    group_by : str, None or sequence of int
        See `gather_bodies`.
    overrides : dict of Tensor
        The caller's own tensors by name: positions, B, U, occupancies, cell.
    """

    read: Crystal
    group_by: GroupBy
    overrides: dict[str, Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """What crystal and bodies are made from."""
        return [*self.overrides.values(), *self.read.tensors()]

    def crystal(self) -> Crystal:
        """The crystal, with gradients to the caller's tensors."""
        moved = {name: match_dtype_and_device(t, self.read.U) for name, t in self.overrides.items()}
        return self.read.with_tensors(**moved) if moved else self.read

    def bodies(self, memory: ResultCache) -> Bodies:
        """The unit cell's atoms by body, kept for as long as the tensors have the same values."""
        return memory.get(
            "bodies", self.tensors, lambda: gather_bodies(self.crystal(), self.group_by)
        )

    def with_tensors(self, **tensors: Tensor) -> CrystalSource:
        """Other tensors in place of parts of the file's crystal; B and U take each other's place.

        Raises
        ------
        InputError
            If a name is unknown or a shape does not fit.
        """
        new = check_tensors(tensors)
        overrides = self.overrides | new
        for name, other in (("B", "U"), ("U", "B")):
            if name in new and other not in new:
                overrides.pop(other, None)
        source = replace(self, overrides=overrides)
        with torch.no_grad():
            source.crystal()  # raises here if a shape does not fit
        return source

    def moved(self, fn: Callable[[Tensor], Tensor]) -> CrystalSource:
        """The crystal read moved to another device or dtype; the caller's tensors stay."""
        return replace(self, read=map_tensors(self.read, fn))
