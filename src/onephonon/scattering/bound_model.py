"""A lattice model bound to scattering vectors: everything needed to compute intensities."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor

from onephonon.core.caching import ValueCache
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress, ProgressLike
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.zone import is_bragg
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.dynamics.normal_modes import Modes

from . import diffuse
from .amplitudes.base import AmplitudeEngine
from .multiphonon.pairs import BodyPairs, body_pairs
from .multiphonon.settings import Orders
from .numerics import Numerics
from .points import QPoints
from .q_source import QSource, points_with_own_modes


@dataclass(frozen=True, eq=False)
class BoundModel:
    """A lattice model, scattering vectors, and options of the calculation.

    Parameters
    ----------
    lattice : LatticeModel
    source : QSource
        The scattering vectors.
    numerics : Numerics
    res_limit : float
        Points of smaller d (Å) are masked.
    bragg_tolerance : float, optional
        See `is_bragg`.
    orders : Orders
        Which orders are summed.
    cache : ValueCache
        Cache of points and modes.
    shared : ValueCache
        Cache of what does not depend on the scattering vectors.
    """

    lattice: LatticeModel
    source: QSource
    numerics: Numerics = field(default_factory=Numerics)
    res_limit: float = 0.0
    bragg_tolerance: float | None = None
    orders: Orders = field(default_factory=Orders)
    cache: ValueCache = field(default_factory=ValueCache, repr=False)
    shared: ValueCache = field(default_factory=ValueCache, repr=False)

    def at(self, q_vectors: Any) -> BoundModel:
        """The same model at other q: a tensor (N, 3) in 1/Å, points, or a sample."""
        source = QSource.from_q(q_vectors, self.lattice.crystal.cell)
        return replace(self, source=source, cache=ValueCache())

    @property
    def grid(self) -> HklGrid | None:
        """The grid of Miller indices, if the scattering vectors are on one."""
        return self.source.grid

    @property
    def limits(self) -> tuple[float, float | None]:
        """Resolution limit (Å) and Bragg tolerance (Miller indices)."""
        return self.res_limit, self.bragg_tolerance

    @property
    def points(self) -> QPoints:
        """The scattering vectors, the zone points they share, and which are valid."""
        return self.source.points(self.lattice.crystal.cell, self.limits, self.cache)

    @property
    def engine(self) -> AmplitudeEngine:
        """The engine used at these scattering vectors, and why."""
        n_points, on_grid = self.source.n_points, self.grid is not None
        return diffuse.engine_for(self.lattice, self.numerics, n_points, on_grid)

    def uses_data_adp(self, wanted: bool | None) -> bool:
        """Whether Debye-Waller factors are from the U of the crystal; by default they are not."""
        return bool(wanted)

    def check_lattice_alone(self, what: str) -> None:
        """Check that all motion is that of the lattice, to which `what` belongs.

        Raises
        ------
        InputError
            If there is other disorder; here there is none.
        """

    def intensity(
        self,
        rank: int | Sequence[int] = -1,
        use_data_adp: bool | None = None,
        *,
        orders: int | str | None = None,
        G: Tensor | None = None,
        hold: Collection[str] = (),
        progress: ProgressLike | None = None,
    ) -> Tensor:
        """Diffuse intensity at every point, shape (N,), e^2 per cell.

        See `OnePhonon.apply_disorder`.
        """
        lattice, progress = self.lattice, Progress.of(progress)
        use_data_adp = self.uses_data_adp(use_data_adp)
        ranks = check_ranks(rank, lattice.bodies.n_dof)
        summed = self.orders.with_number(orders)
        if ranks is not None:
            summed.check_first_only(f"rank={rank!r}")
        if G is not None:
            summed.check_first_only("G")
        beyond: dict[str, Any] = {"pairs": self.pairs(summed, hold), "order": summed.number}
        if G is None and self.grid is not None and self.engine.has_grid:
            if ranks is None:
                return diffuse.grid_map(
                    lattice,
                    self.grid,
                    self.numerics,
                    use_data_adp=use_data_adp,
                    res_limit=self.res_limit,
                    bragg_tolerance=self.bragg_tolerance,
                    hold=hold,
                    progress=progress,
                    **beyond,
                )
            G = self.amplitudes(use_data_adp)
        points, modes = self.points, None
        if ranks is not None:
            points = points_with_own_modes(points)
            modes = self._modes_at(points)
        return diffuse.point_intensity(
            lattice,
            points,
            self.numerics,
            use_data_adp=use_data_adp,
            ranks=ranks,
            modes=modes,
            G=G,
            hold=hold,
            progress=progress,
            **beyond,
        )

    def pairs(self, orders: Orders, hold: Collection[str] = ()) -> BodyPairs | None:
        """Covariances of pairs of bodies; None for the first order alone.

        With 'scale' in `hold` the thermal scale is constant for gradients.
        """
        if orders.first_only:
            return None
        lattice, scale = self.lattice, self.lattice.thermal_scale
        scale = scale.detach() if "scale" in hold else scale
        return self.shared.get(
            "pairs",
            [*lattice.tensors, scale],
            lambda: body_pairs(lattice, orders.mesh, scale),
            (orders.mesh, lattice.mesh, lattice.zone_average),
        )

    def amplitudes(self, use_data_adp: bool = True) -> Tensor:
        """G at every point, shape (N, D)."""
        U, _ = self.lattice.displacements_and_scale(use_data_adp)
        if self.grid is not None and self.engine.has_grid:
            return diffuse.grid_amplitudes(self.lattice, self.grid, U, self.numerics, *self.limits)
        return diffuse.point_amplitudes(self.lattice, self.points, U, self.numerics)

    def modes(self) -> Modes:
        """Normal modes: for a grid at the distinct wavevectors, for a list at each q."""
        if self.grid is not None:
            return self._modes_at(self.points)
        points = points_with_own_modes(self.points)
        found, index = self._modes_at(points), points.zone.index
        factor = None if found.factor is None else found.factor[index]
        return Modes(found.V[index], found.w_squared[index], factor)

    def _modes_at(self, points: QPoints) -> Modes:
        """Normal modes at the distinct wavevectors of points."""
        k, tolerance = points.zone.k_frac, self.bragg_tolerance
        found = self.cache.get(
            "modes",
            [*self.lattice.tensors, k],
            lambda: self.lattice.modes(k, is_bragg(k, tolerance)),
            (tolerance,),
        )
        return self.lattice.occupied(found)


class HasBound(Protocol):
    """An object with a bound model, such as `OnePhonon`."""

    @property
    def bound(self) -> BoundModel:
        """The bound model."""
        ...


def bound_of(model: BoundModel | HasBound) -> BoundModel:
    """Return the bound model, or the one that a model holds."""
    return model if isinstance(model, BoundModel) else model.bound


def check_ranks(rank: int | Sequence[int], n_dof: int) -> list[int] | None:
    """Check mode numbers; return None for the sum over all modes."""
    try:
        ranks = [operator.index(r) for r in rank] if isinstance(rank, Iterable) else None
        one = operator.index(rank) if ranks is None else 0  # type: ignore[arg-type]
    except TypeError:
        ranks, one = [], n_dof
    if ranks is None and one == -1:
        return None
    ranks = [one] if ranks is None else ranks
    if not ranks or not all(0 <= r < n_dof for r in ranks):
        raise InputError(
            f"rank {rank}: modes are numbered from 0 to {n_dof - 1}; -1 is the sum of all"
        )
    return ranks
