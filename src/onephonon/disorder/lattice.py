"""`Lattice`: the vibrations of bodies that springs connect, as a component of disorder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import Tensor

from onephonon.core.caching import ObjectCache
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.network.bodies import Bodies
from onephonon.scattering.diffuse import engine_for, point_amplitudes
from onephonon.scattering.intensity import one_phonon_intensity
from onephonon.scattering.multiphonon.higher_orders import HigherOrders, largest_q
from onephonon.scattering.multiphonon.pairs import body_pairs
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import QPoints

from .amount import Number, amount_parameters, as_tensor, check_amount, check_names
from .component import Parameter
from .notation import component_text


@dataclass(frozen=True, eq=False)
class Lattice:
    """Vibrations of a lattice model.

    Parameters
    ----------
    model : LatticeModel
        Its bodies are those that vibrate, whatever the grouping that the methods are given; its
        crystal is that of the other components.
    share : float or Tensor, optional
        Share of the crystal's mean B that the lattice has: its thermal scale is the one at which
        the model's mean B is this share; 1 by default. A model with a fixed thermal scale has no
        share.
    mesh : three int, optional
        Mesh of the covariances, for orders beyond the first; by default that of the ADPs.
    numerics : Numerics

    Raises
    ------
    InputError
        If the share cannot be, or the thermal scale is fixed too.
    """

    name: ClassVar[str] = "lattice"

    model: LatticeModel = field(repr=False)
    share: Number | None = None
    mesh: tuple[int, int, int] | None = None
    numerics: Numerics = field(default_factory=Numerics, repr=False)

    def __post_init__(self) -> None:
        check_amount(self.name, None, self.share)
        if self.share is not None and self.model.fixed_scale is not None:
            raise InputError(
                f"lattice: share={as_tensor(self.share).detach():g} and a thermal scale of "
                f"{as_tensor(self.model.fixed_scale).detach():g} both say how far "
                "it moves; give one of them"
            )

    @property
    def text(self) -> str:
        """As it is written."""
        return component_text(self.name, {"share": self.share})

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """'share', unless the thermal scale is fixed. Springs belong to the model."""
        if self.model.fixed_scale is not None:
            return {}
        return amount_parameters(None, self.share, "the mean B of the crystal")

    def with_parameters(self, values: Mapping[str, Tensor]) -> Self:
        """The same with another share; see `Component.with_parameters`."""
        check_names(self, values)
        return replace(self, **values)  # type: ignore[arg-type]

    def at_its_share(self) -> LatticeModel:
        """The model at the thermal scale of the share."""
        model = self.model
        if self.share is None:
            return model
        share = as_tensor(self.share).to(model.crystal.U)
        if model.occupation is None:
            return replace(model, fixed_scale=share * model.thermal_scale)
        # The scale is then not proportional to the mean B that it has to give.
        crystal = model.crystal.replace(U=share * model.crystal.U)
        bodies = replace(model.bodies, crystal=crystal)
        return replace(model, bodies=bodies, _results=ObjectCache())

    def displacements(self, bodies: Bodies) -> Tensor:
        """U of the model; see `Component.displacements`."""
        self._check(bodies)
        return self.at_its_share().displacements_and_scale()[0]

    def intensity(
        self,
        bodies: Bodies,
        points: QPoints,
        U: Tensor,
        order: int | None,
        progress: Progress | None = None,
    ) -> Tensor:
        """One-phonon intensity and further orders; see `Component.intensity`.

        Differentiable in the share, and in what the model was made from.
        """
        self._check(bodies)
        model, numerics = self.at_its_share(), self.numerics
        scale, engine = model.thermal_scale, engine_for(model, numerics, points.n_q)
        on_mesh = engine.has_grid
        intensity = one_phonon_intensity(
            model.bodies,
            model.force_constants,
            points,
            U,
            scale,
            G=point_amplitudes(model, points, U, numerics) if on_mesh else None,
            batch_size=numerics.batch_size,
            progress=progress,
            solver=model.solving(scale),
        )
        if order == 1:
            return intensity
        pairs = body_pairs(model, self.mesh, scale)
        q_max = largest_q(points.q, points.valid)
        higher = HigherOrders.prepare(pairs, order, q_max, numerics.rtol)
        engine = engine_for(model, numerics, points.n_q, degree=higher.degree)
        return intensity + higher.at_points(engine, points, U, numerics.batch_size, progress)

    def _check(self, bodies: Bodies) -> None:
        own = self.model.bodies.n_cell_atoms
        if bodies.n_cell_atoms != own:
            raise InputError(
                f"the lattice has {own} atoms in the cell, the other components "
                f"{bodies.n_cell_atoms}; build both from one crystal"
            )
