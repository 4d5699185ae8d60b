"""`Atoms`: atoms that move independently of each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.dynamics.matrix_function import hermitian_function
from onephonon.network.bodies import Bodies
from onephonon.scattering.points import QPoints

from .amount import Number, amount_parameters, check_amount, check_names
from .component import Parameter
from .notation import component_text
from .sums import orders_of_exponential, squared_along, sum_over_atoms


@dataclass(frozen=True)
class Atoms:
    """Atoms that move independently of each other: a smooth background.

    ``C_jk(R) = U'_j`` for an atom with itself, and zero otherwise, so that

        ``I(q) = sum_j occ_j^2 f_j^2 exp(-q^T U_j q) [exp(q^T U'_j q) - 1]``

    Parameters
    ----------
    share : float or Tensor, optional
        ``U'_j = share * U_j``. By default what `others` leave of the crystal's U.
    others : Tensor, shape (n_cell_atoms, 3, 3), optional
        Mean-square displacements by other components, Å^2; `Disorder` sets it.

    Raises
    ------
    InputError
        If the share is not a number above 0.
    """

    name: ClassVar[str] = "atoms"

    share: Number | None = None
    others: Tensor | None = None

    def __post_init__(self) -> None:
        check_amount(self.name, None, self.share)

    @property
    def text(self) -> str:
        """As it is written."""
        return component_text(self.name, {"share": self.share})

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """'share' if it was given; what is left has no parameter."""
        return {} if self.share is None else amount_parameters(None, self.share, "each atom's U")

    def with_parameters(self, values: Mapping[str, Tensor]) -> Self:
        """The same with another share; see `Component.with_parameters`."""
        check_names(self, values)
        return replace(self, **values)

    def displacements(self, bodies: Bodies) -> Tensor:
        """U' of every atom; see `Component.displacements`.

        Of what is left, the negative principal values are set to zero.
        """
        if self.share is not None:
            (share,) = (parameter.value for parameter in self.parameters.values())
            return share.to(bodies.U) * bodies.U
        if self.others is None:
            return bodies.U
        left = bodies.U - self.others
        return hermitian_function(0.5 * (left + left.mT), lambda x: x.clamp(min=0.0))

    def intensity(
        self,
        bodies: Bodies,
        points: QPoints,
        U: Tensor,
        order: int | None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Intensity of independent atoms; see `Component.intensity`.

        Differentiable in the share, the displacements of `others`, q and the crystal.
        """
        own = self.displacements(bodies)

        def bracket(q: Tensor) -> Tensor:
            return orders_of_exponential(squared_along(q, own), order)

        return sum_over_atoms(bodies, points, U, bracket, "independent atoms", progress)
