"""Interface of the solvers: apply ``K(k)^-1``, and average it over the Brillouin zone.

With another than classical occupation of the modes ``C(k)/s`` stands for ``K(k)^-1`` (`occupied`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants


class FactoredStiffness(Protocol):
    """Factors of K at some zone points, for any number of G; without gradient."""

    def quadratic_form(self, G: Tensor) -> Tensor:
        """``G^H K^-1 G`` of many G, shape (n_k, m), from G of shape (n_k, m, D)."""

    def solve(self, G: Tensor) -> tuple[Tensor, Tensor]:
        """``G^H K^-1 G`` and ``K^-1 G``, shapes (n_k, m) and (n_k, m, D)."""


@dataclass(frozen=True)
class Solver(ABC):
    """``K(k)^-1`` of a crystal. All solvers are exact: they differ in rounding and in cost.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    keep : bool
        Keep the solutions, as large as G, for the backward pass instead of recomputing them.
    """

    bodies: Bodies
    constants: ForceConstants
    keep: bool = True

    @property
    def at_rest(self) -> Tensor | float:
        """Factor of the part of the result that diverges at Gamma; 1 for ``K(k)^-1``."""
        return 1.0

    @property
    def excess(self) -> Callable[[Tensor], Tensor] | None:
        """What else there is, as a function of the squared frequencies of modes.

        Element by element, of a tensor (..., n_modes); before the thermal scale. None for
        ``K(k)^-1``.
        """
        return None

    def excess_at_gamma(self) -> Tensor | None:
        """What `zone_mean` leaves out of the excess at Gamma, shape (D, D); None for ``K(k)^-1``.

        Without the value for the translations of the whole crystal themselves.
        """
        return None

    @property
    @abstractmethod
    def zone_batch(self) -> int:
        """Number of zone points per batch."""

    @property
    @abstractmethod
    def q_batch(self) -> int:
        """Number of q per batch, and between reports of progress, if G is given."""

    @abstractmethod
    def quadratic_form(
        self, k_frac: Tensor, hkl: Tensor, G: Tensor, points: Tensor | None = None
    ) -> Tensor:
        """``G^H K(k)^-1 G`` for several G at each of several zone points.

        Parameters
        ----------
        k_frac : Tensor, shape (n_k, 3)
            Zone points; no gradient.
        hkl : Tensor, shape (n_k, m, 3)
            The wavevectors themselves, equal to `k_frac` modulo 1; they carry the gradient of
            K(k).
        G : Tensor, shape (n_k, m, D), complex
        points : Tensor, shape (n_k, m), int64, optional
            If given, `hkl` (n, 3) and `G` (n, D) are lists, and these are indices into them.

        Returns
        -------
        Tensor, shape (n_k, m)
            Differentiable in the force constants, hkl and G, also twice.

        Raises
        ------
        NetworkError
            If a K(k) is not positive definite.
        """

    @abstractmethod
    def at(self, k_frac: Tensor) -> FactoredStiffness:
        """K factored at zone points (n_k, 3), none of them Gamma."""

    @abstractmethod
    def zone_mean(self, samples: Sequence[int], progress: Progress | None = None) -> Tensor:
        """Mean over the zone of each body's diagonal block of ``K(k)^-1``, at s = 1.

        At Gamma the translation of the whole crystal is excluded, as in `gamma_inverse`.

        Parameters
        ----------
        samples : three int
            Mesh points of the Brillouin zone along each reciprocal axis.
        progress : callable, optional
            Called with the number of mesh points done.

        Returns
        -------
        Tensor, shape (n_bodies, width, width)
            Differentiable in the force constants and the positions.
        """

    @abstractmethod
    def solve_at_gamma(self, loads: Tensor) -> Tensor:
        """Solve ``K(0) X = loads``.

        Parameters
        ----------
        loads : Tensor, shape (D, m), real
            Forces without a resultant: orthogonal to the translation of the whole crystal.

        Returns
        -------
        Tensor, shape (D, m)
            Up to a translation of the whole crystal; differentiable in loads and force constants,
            also twice, for functions that do not depend on this translation.

        Raises
        ------
        NetworkError
            If K(0) is not positive definite except for the translations.
        """
