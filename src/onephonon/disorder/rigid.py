"""`Rigid`: bodies that move independently of each other, by translations or by T, L and S."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.crystal import mean_square
from onephonon.network.bodies import Bodies
from onephonon.scattering.amplitudes.base import AmplitudeEngine
from onephonon.scattering.amplitudes.choice import choose_engine
from onephonon.scattering.multiphonon.higher_orders import HigherOrders, largest_q, mean_radius
from onephonon.scattering.multiphonon.pairs import BodyPairs
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import QPoints

from .amount import Number, amount_parameters, check_amount, check_names
from .component import Parameter
from .notation import component_text
from .rigid_motion import cartesian_displacements, fitted_motion
from .sums import NUMBERS_AT_A_TIME, at_valid_points, orders_of_exponential, squared_along

MOTIONS = ("translations", "tls")


@dataclass(frozen=True)
class Rigid:
    """Rigid bodies that move independently of each other.

    ``C_jk = A_j C_b A_k^T`` for two atoms of the same body b, and zero otherwise, with C_b the
    covariance of the body's translations and librations. The bodies are those of the `Bodies` that
    the methods are given.

    Parameters
    ----------
    motion : {'translations', 'tls'}
        'translations': isotropic translations, ``T = sigma^2 1`` or ``T = share <U> 1`` with <U>
        the mean ``tr(U)/3`` of the body's atoms. 'tls': translations and librations, T, L and S
        fitted to the U of the crystal, times the share.
    sigma : float or Tensor, optional
        Root-mean-square translation along one direction, Å, of all bodies.
    share : float or Tensor, optional
        Share of the atoms' mean U; 1 if neither is given.
    numerics : Numerics
        How the sums of waves are computed.

    Raises
    ------
    InputError
        If the motion is unknown, or an amount cannot be.
    """

    name: ClassVar[str] = "rigid"

    motion: str = "translations"
    sigma: Number | None = None
    share: Number | None = None
    numerics: Numerics = field(default_factory=Numerics, repr=False)

    def __post_init__(self) -> None:
        if self.motion not in MOTIONS:
            raise InputError(f"rigid: motion={self.motion!r} is not one of {', '.join(MOTIONS)}")
        check_amount(self.name, self.sigma, self.share)
        if self.motion == "tls" and self.sigma is not None:
            raise InputError(
                "rigid: with motion=tls the displacements are those of the file; give share "
                "instead of sigma"
            )

    @property
    def text(self) -> str:
        """As it is written."""
        motion = None if self.motion == "translations" else self.motion
        options = {"motion": motion, "sigma": self.sigma, "share": self.share}
        return component_text(self.name, options)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """'sigma' if it was given, otherwise 'share'."""
        return amount_parameters(self.sigma, self.share, "the mean U of a body's atoms")

    def with_parameters(self, values: Mapping[str, Tensor]) -> Self:
        """The same with another sigma or share; see `Component.with_parameters`."""
        check_names(self, values)
        return replace(self, **values)  # type: ignore[arg-type]

    def covariances(self, bodies: Bodies) -> Tensor:
        """C_b of every body of the cell.

        Parameters
        ----------
        bodies : Bodies

        Returns
        -------
        Tensor, shape (n_bodies, 3, 3) or (n_bodies, 6, 6)
            Of translations (Å^2), with 'tls' and bodies of several atoms also of librations
            (rad^2) about the bodies' centroids, in Cartesian axes. Differentiable.
        """
        (amount,) = (parameter.value for parameter in self.parameters.values())
        amount = amount.to(bodies.U)
        if self.motion == "tls":
            return amount * fitted_motion(bodies)
        eye = torch.eye(3, dtype=bodies.U.dtype, device=bodies.U.device)
        if self.sigma is not None:
            return (amount.square() * eye).expand(bodies.n_bodies, 3, 3)
        return (amount * mean_of_bodies(bodies, mean_square(bodies.U)))[:, None, None] * eye

    def displacements(self, bodies: Bodies) -> Tensor:
        """``A_j C_b A_j^T``; see `Component.displacements`."""
        C = self.covariances(bodies)[bodies.body]
        if C.shape[1] == 3:
            return C
        A = cartesian_displacements(bodies.offsets)
        return A @ C @ A.mT

    def intensity(
        self,
        bodies: Bodies,
        points: QPoints,
        U: Tensor,
        order: int | None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Intensity of independent bodies; see `Component.intensity`.

        Translations: ``sum_b |F_b(q)|^2 [exp(q^T T_b q) - 1]``, exactly. With librations the first
        order is ``G_b^H C_b G_b``, and further ones the series of `HigherOrders`, to
        ``numerics.rtol``. Differentiable in the parameters, q, and the crystal.
        """
        C = self.covariances(bodies)
        degree = 0 if C.shape[1] == 3 else 1
        n, rtol = int(points.valid.sum()), self.numerics.rtol
        engine = choose_engine(self.numerics.engine, rtol, bodies, n, False, degree)
        first = order if degree == 0 else 1
        intensity = self._sum(bodies, points, U, C, engine, first, progress)
        if degree == 0 or order == 1 or n == 0:
            return intensity
        pairs = own_pairs(bodies, C)
        higher = HigherOrders.prepare(pairs, order, largest_q(points.q, points.valid), rtol)
        engine = choose_engine(self.numerics.engine, rtol, bodies, n, False, higher.degree)
        size = self.numerics.batch_size
        return intensity + higher.at_points(engine, points, U, size, progress)

    def _sum(
        self,
        bodies: Bodies,
        points: QPoints,
        U: Tensor,
        C: Tensor,
        engine: AmplitudeEngine,
        order: int | None,
        progress: Progress | None,
    ) -> Tensor:
        """All wanted orders of translations, or the first of translations and librations."""
        length = mean_radius(bodies)

        def of_translations(q: Tensor) -> Tensor:
            F = engine.moments(bodies, q, U, 0, 1.0)[:, :, 0]
            bracket = orders_of_exponential(squared_along(q, C), order)
            return ((F.real.square() + F.imag.square()) * bracket).sum(1)

        def of_librations(q: Tensor) -> Tensor:
            sums = engine.moments(bodies, q, U, 1, length)
            G = amplitudes(q, sums[:, :, 0], length * sums[:, :, 1:])
            parts = (torch.einsum("qbx,bxy,qby->q", g, C, g) for g in (G.real, G.imag))
            return sum(parts, start=torch.zeros_like(q[:, 0]))

        chosen = of_translations if C.shape[1] == 3 else of_librations
        size = self.numerics.batch_size or max(1, NUMBERS_AT_A_TIME // (8 * bodies.n_bodies))
        return at_valid_points(points, chosen, size, "independent bodies", progress)


def amplitudes(q: Tensor, F: Tensor, first: Tensor) -> Tensor:
    """G of Cartesian translations and librations from the bodies' waves and first moments.

    ``A_j^T q = (q, (r_j - o) x q)``.

    Parameters
    ----------
    q : Tensor, shape (n_q, 3)
    F : Tensor, shape (n_q, n_bodies), complex
    first : Tensor, shape (n_q, n_bodies, 3), complex
        First moments, e Å.

    Returns
    -------
    Tensor, shape (n_q, n_bodies, 6), complex
    """
    along = torch.complex(q, torch.zeros_like(q))[:, None, :].expand_as(first)
    return torch.cat([F[:, :, None] * along, torch.linalg.cross(first, along, dim=2)], dim=2)


def own_pairs(bodies: Bodies, C: Tensor) -> BodyPairs:
    """The pairs of each body with itself, with their covariances (n_bodies, w, w)."""
    each = torch.arange(bodies.n_bodies, device=C.device)
    index = torch.stack([each, each, torch.zeros_like(each)], dim=1)
    cells = torch.zeros(1, 3, dtype=torch.int64, device=C.device)
    return BodyPairs(bodies, index, cells, torch.ones_like(C[:, 0, 0].detach()), C)


def mean_of_bodies(bodies: Bodies, values: Tensor) -> Tensor:
    """Mean over the atoms of each body, weighted by `Bodies.shares`, shape (n_bodies,).

    Parameters
    ----------
    bodies : Bodies
    values : Tensor, shape (n_cell_atoms,)
    """
    sums = values.new_zeros(2, bodies.n_bodies)
    weighted = torch.stack([bodies.shares * values, bodies.shares])
    total, weight = sums.index_add(1, bodies.body, weighted)
    return total / torch.where(weight > 0, weight, 1.0)  # 0 for absent alternatives alone
