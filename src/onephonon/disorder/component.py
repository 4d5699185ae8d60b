"""Interface of the components of disorder: kinds of correlated motion whose covariances add.

Every component stands for a covariance of atomic displacements ``C_jk(R) = <u_j(0) u_k(R)^T>`` and
gives the diffuse intensity per unit cell that follows from it,

    I(q) = sum_R sum_jk f_j f_k exp(i q.(r_k + R - r_j)) exp(-W_j - W_k) [exp(q^T C_jk(R) q) - 1]

with ``W_j = q^T U_j q / 2`` of *all* motion, whichever component it belongs to. Independent motions
add in the covariance, so their first orders add; see `Disorder` for orders beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies
from onephonon.scattering.points import QPoints


@dataclass(frozen=True)
class Parameter:
    """A number of a component that can be fitted.

    Parameters
    ----------
    name : str
        As in text, ``liquid:gamma=8``.
    value : Tensor, shape ()
        May require grad.
    unit : str
        Empty for pure numbers.
    meaning : str
        A few words for reports.
    low, high : float
        Limits, both excluded.
    """

    name: str
    value: Tensor
    unit: str
    meaning: str
    low: float
    high: float


class Component(Protocol):
    """A kind of correlated motion."""

    @property
    def name(self) -> str:
        """As in text: 'lattice', 'liquid', 'rigid', ..."""

    @property
    def text(self) -> str:
        """The component with all its options, as it is written: 'liquid:scope=crystal,gamma=8'."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The numbers that can be fitted, by name; empty if there are none."""

    def with_parameters(self, values: Mapping[str, Tensor]) -> Self:
        """The same with other values of some parameters, used without copying.

        Raises
        ------
        InputError
            If there is no such parameter, or its value is outside its limits.
        """

    def displacements(self, bodies: Bodies) -> Tensor:
        """Mean-square displacements that the component gives to each atom.

        Parameters
        ----------
        bodies : Bodies
            The atoms of one unit cell, in any grouping.

        Returns
        -------
        Tensor, shape (n_cell_atoms, 3, 3)
            In Å^2; differentiable in the parameters and in the crystal.
        """

    def intensity(
        self,
        bodies: Bodies,
        points: QPoints,
        U: Tensor,
        order: int | None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Diffuse intensity of the component alone.

        Parameters
        ----------
        bodies : Bodies
            The atoms of one unit cell.
        points : QPoints
        U : Tensor, shape (n_cell_atoms, 3, 3)
            Mean-square displacements of all motion, in the Debye-Waller factors, Å^2.
        order : int or None
            Number of orders that are summed, from the first; None for all.
        progress : Progress, optional

        Returns
        -------
        Tensor, shape (n_q,)
            In e^2 per cell; NaN where the points are not valid. Differentiable in the component's
            parameters; each component states what else.
        """
