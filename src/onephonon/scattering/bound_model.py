"""What a lattice model bound to scattering vectors offers: `OnePhonon` is one."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from onephonon.crystal.grid import HklGrid
from onephonon.dynamics.lattice_model import LatticeModel

from .amplitudes.engines import Engine
from .numerics import Numerics
from .points import QPoints


class BoundModel(Protocol):
    """A lattice model, scattering vectors, and how intensities are computed."""

    @property
    def lattice(self) -> LatticeModel:
        """The crystal on its springs."""
        ...

    @property
    def grid(self) -> HklGrid | None:
        """The grid of Miller indices, if the scattering vectors are on one."""
        ...

    @property
    def points(self) -> QPoints:
        """The scattering vectors."""
        ...

    @property
    def numerics(self) -> Numerics:
        """How amplitudes and intensities are computed."""
        ...

    @property
    def chosen_engine(self) -> Engine:
        """How amplitudes are formed at these scattering vectors."""
        ...

    @property
    def limits(self) -> tuple[float, float | None]:
        """Resolution limit (Å) and Bragg tolerance (Miller indices)."""
        ...

    def amplitudes(self, use_data_adp: bool = True) -> Tensor:
        """G at every point, shape (N, D)."""
        ...

    def apply_disorder(self, *args: Any, **options: Any) -> Tensor:
        """Intensity at every point, shape (N,)."""
        ...
