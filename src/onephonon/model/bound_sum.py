"""A sum of components of disorder bound to scattering vectors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress, ProgressLike
from onephonon.disorder.component import Component
from onephonon.disorder.disorder import Disorder
from onephonon.disorder.lattice import Lattice
from onephonon.dynamics.normal_modes import Modes
from onephonon.network.bodies import Bodies
from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.points import QPoints


@dataclass(frozen=True, eq=False)
class BoundSum(BoundModel):
    """Several components of disorder, scattering vectors, and options of the calculation.

    Parameters
    ----------
    disorder : Disorder
        The components; `lattice` is the lattice of theirs, or without one gives the crystal and
        its bodies alone. Debye-Waller factors are those of the crystal's U, which is that of all
        motion.
    """

    disorder: Disorder = field(kw_only=True)

    @property
    def has_lattice(self) -> bool:
        """Whether the lattice is one of the components."""
        return any(isinstance(c, Lattice) for c in self.disorder.components)

    def of_lattice(self) -> BoundModel:
        """The lattice alone, at its share of the motion.

        Raises
        ------
        InputError
            If it is none of the components.
        """
        for component in self.disorder.settled(self.lattice.bodies).components:
            if isinstance(component, Lattice):
                scale = component.at_its_share().thermal_scale
                return self._plain(replace(self, lattice=replace(self.lattice, fixed_scale=scale)))
        raise no_lattice(self.disorder.text)

    def uses_data_adp(self, wanted: bool | None) -> bool:
        """True: Debye-Waller factors are those of all motion.

        Raises
        ------
        InputError
            If those of the model are wanted.
        """
        if wanted is not None and not wanted:
            raise InputError(
                f"use_data_adp=False, but with disorder {self.disorder.text!r} all motion together "
                "is that of the U of the file, of which the lattice is a part; leave use_data_adp "
                "out, or give True"
            )
        return True

    def check_lattice_alone(self, what: str) -> None:
        """Raise `InputError`: `what` belongs to the lattice, which is not alone."""
        _refuse(what, self.disorder.text)

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
        """Sum of the components' intensities, shape (N,), e^2 per cell.

        See `OnePhonon.apply_disorder`; the options of the lattice alone are refused.
        """
        if not (isinstance(rank, int) and rank == -1):
            self.check_lattice_alone(f"rank={rank!r}")
        for name, given in (("G", G is not None), ("hold", bool(hold))):
            if given:
                self.check_lattice_alone(name)
        self.uses_data_adp(use_data_adp)
        disorder = Disorder(tuple(self._on_grid(c) for c in self.disorder.components))
        number = self.orders.with_number(orders).number
        return disorder.intensity(self.lattice.bodies, self.points, number, Progress.of(progress))

    def amplitudes(self, use_data_adp: bool = True) -> Tensor:  # noqa: ARG002
        """Refused: the amplitudes are those of the lattice."""
        _refuse("amplitudes", self.disorder.text)

    def modes(self) -> Modes:
        """Refused: the modes are those of the lattice."""
        if not self.has_lattice:
            raise no_lattice(self.disorder.text)
        _refuse("modes", self.disorder.text)

    def _on_grid(self, component: Component) -> Component:
        """The component, of the lattice the one that has the points of the grid."""
        if self.grid is None or not isinstance(component, Lattice):
            return component
        own = component.model, component.share, component.mesh, component.numerics
        return GridLattice(*own, bound=self._plain(self))

    @staticmethod
    def _plain(bound: BoundModel) -> BoundModel:
        """The lattice alone of the same binding."""
        limits = bound.res_limit, bound.bragg_tolerance
        caches = bound.cache, bound.shared
        return BoundModel(
            bound.lattice, bound.source, bound.numerics, *limits, bound.orders, *caches
        )


@dataclass(frozen=True, eq=False)
class GridLattice(Lattice):
    """The lattice at the points of a grid, which are known to its engine.

    Parameters
    ----------
    bound : BoundModel
        The model bound to the grid; the points that `intensity` is given are those of the grid,
        and U that of the crystal.
    """

    bound: BoundModel = field(kw_only=True, repr=False)

    def intensity(
        self,
        bodies: Bodies,
        points: QPoints,  # noqa: ARG002
        U: Tensor,  # noqa: ARG002
        order: int | None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Intensity on the grid; see `Component.intensity`."""
        self._check(bodies)
        lattice = replace(self.model, fixed_scale=self.at_its_share().thermal_scale)
        orders = "all" if order is None else order
        bound = replace(self.bound, lattice=lattice)
        return bound.intensity(use_data_adp=True, orders=orders, progress=progress)


def no_lattice(text: str) -> InputError:
    """The error for what only a lattice has."""
    return InputError(
        f"disorder {text!r} has no lattice, so there are no springs, modes or thermal scale; add "
        "it, 'lattice+...'"
    )


def _refuse(what: str, text: str) -> NoReturn:
    raise InputError(
        f"{what}: only for the lattice alone, but the model is the sum of disorder {text!r}; "
        "build it with disorder=None"
    )
