"""Orders beyond the first in the model of a fit, as a function of springs.

The intensity of one phonon is proportional to the thermal scale s, so that a fitted scale of the
map makes s superfluous. That of n phonons goes as s^n. With a fitted scale, s is such that the mean
B-factor of the model equals the file's for the current springs: a common factor of all springs then
changes nothing, as with one phonon. With an absolute scale springs are in kT/Å^2, and s is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.files import in_bytes
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.model.one_phonon import OnePhonon
from onephonon.network.force_constants import ForceConstants, Springs
from onephonon.scattering.amplitudes.base import AmplitudeEngine
from onephonon.scattering.amplitudes.monomials import n_monomials
from onephonon.scattering.diffuse import engine_for
from onephonon.scattering.jacobian import SpringBasis
from onephonon.scattering.multiphonon.higher_orders import HigherOrders, largest_q, warn_of_error
from onephonon.scattering.multiphonon.pairs import body_pairs, pair_tangents
from onephonon.scattering.multiphonon.slopes import HigherSlopes
from onephonon.scattering.multiphonon.truncation import Truncation, truncate, truncation_error
from onephonon.scattering.points import QPoints

#: The series are extended where springs have changed so much that the estimated error exceeds the
#: model's tolerance by more than this factor. In between, the same terms are summed for all
#: springs: the objective would otherwise have steps.
ERROR_FACTOR = 10.0


@dataclass(frozen=True, eq=False)
class HigherModel:
    """What orders beyond the first depend on, besides the springs.

    Parameters
    ----------
    lattice : LatticeModel
        Its springs are not used.
    scale : float or None
        Thermal scale; None if it follows from the mean B-factor of the file.
    mesh : three int, optional
        Mesh of the covariances; by default that of the ADPs.
    engine : AmplitudeEngine
        Computes the moments.
    rtol : float
        Accepted error, relative to the intensity of all orders.
    q_max : float
        Largest |q| of the fit, 1/Å.
    series : HigherOrders
        Defines how far the series go for each pair of bodies; its covariances are not used.
    max_bytes : int
        Moments of a larger size are not stored but computed at each evaluation.
    b_factor : float
        Multiplies the mean B-factor that sets the thermal scale; amplitudes and moments keep the
        Debye-Waller factors of the file.
    """

    lattice: LatticeModel
    scale: float | None
    mesh: tuple[int, int, int] | None
    engine: AmplitudeEngine
    rtol: float
    q_max: float
    series: HigherOrders
    max_bytes: int
    b_factor: float = 1.0

    @classmethod
    def of(
        cls,
        model: OnePhonon,
        start: float,
        absolute: bool,
        nodes: Sequence[QPoints],
        max_bytes: int,
    ) -> HigherModel | None:
        """The orders of a model, with series that suffice for the starting springs.

        Parameters
        ----------
        model : OnePhonon
        start : float
            Spring constant of all contacts.
        absolute : bool
            Whether springs are in kT/Å^2; otherwise the mean B-factor sets the thermal scale.
        nodes : sequence of QPoints
            Where the model is evaluated.
        max_bytes : int

        Returns
        -------
        HigherModel or None
            None if the model is of the first order alone.
        """
        bound = model.bound
        if bound.orders.first_only:
            return None
        scale, rtol = 1.0 if absolute else None, bound.numerics.rtol
        q_max = max(largest_q(points.q, points.valid) for points in nodes)
        equal = torch.full_like(bound.lattice.contacts.distance, start)
        with torch.no_grad():
            starting = bound.lattice.with_springs(Springs(equal, equal), scale)
            pairs = body_pairs(starting, bound.orders.mesh)
        series = HigherOrders.prepare(pairs, bound.orders.number, q_max, rtol)
        n_nodes = sum(points.n_q for points in nodes)
        engine = engine_for(bound.lattice, bound.numerics, n_nodes)
        return cls(bound.lattice, scale, bound.orders.mesh, engine, rtol, q_max, series, max_bytes)

    @property
    def bytes_per_node(self) -> int:
        """Size of the moments at a node."""
        return 16 * self.lattice.bodies.n_bodies * n_monomials(self.series.degree)

    def description(self, n_nodes: int) -> str:
        """What is stored, or why not, in one line."""
        size = n_nodes * self.bytes_per_node
        text = f"moments up to degree {self.series.degree} for orders beyond the first"
        if size <= self.max_bytes:
            return f"{text}, about {in_bytes(size)} of memory"
        return (
            f"{text} would need {in_bytes(size)} of memory, more than "
            f"{in_bytes(self.max_bytes)}: they are not stored but computed at each step, which "
            "takes longer; fit fewer halos, a narrower range or lower orders of averages to "
            "avoid that"
        )

    def lattice_at(self, constants: ForceConstants) -> LatticeModel:
        """The lattice with springs, at the thermal scale of the fit; differentiable."""
        made = self.lattice.with_force_constants(constants, self.scale)
        if self.scale is not None or self.b_factor == 1.0:
            return made
        return self.lattice.with_force_constants(constants, self.b_factor * made.thermal_scale)

    def scale_slope(self, basis: SpringBasis, values: Tensor) -> Tensor | None:
        """Derivative of the thermal scale by the spring constants (n_springs,); None if fixed."""
        if self.scale is not None:
            return None
        with torch.enable_grad():
            leaf = values.detach().clone().requires_grad_()
            scale = self.lattice_at(basis.constants(leaf)).thermal_scale
            (slope,) = torch.autograd.grad(scale, leaf)
        return slope

    def at(self, lattice: LatticeModel) -> HigherOrders:
        """Orders beyond the first of a lattice with springs; differentiable."""
        return self.series.with_pairs(body_pairs(lattice, self.mesh))

    def slopes_at(
        self, lattice: LatticeModel, basis: SpringBasis, scale_slope: Tensor | None
    ) -> HigherSlopes:
        """The same with derivatives by the springs; without gradient."""
        with torch.no_grad():
            higher = self.at(lattice)
            changes = basis.changes
            tangents = pair_tangents(lattice, higher.pairs, changes, self.mesh, scale_slope)
        return HigherSlopes(higher, tangents)

    @torch.no_grad()
    def suited_to(self, constants: ForceConstants) -> HigherModel:
        """With longer series if these springs need them by far; itself if not.

        A fit goes on, with a `SeriesWarning`, where no series is long enough.
        """
        pairs, order = self.at(self.lattice_at(constants)).pairs, self.series.order
        degrees = self.series.truncation.degrees
        if truncation_error(pairs, degrees, self.q_max, order) <= ERROR_FACTOR * self.rtol:
            return self
        needed = truncate(pairs, self.q_max, self.rtol, order)
        warn_of_error(needed, self.q_max, self.rtol)
        longer = Truncation(torch.maximum(degrees, needed.degrees), needed.error)
        if torch.equal(longer.degrees, degrees):  # as long as series can be
            return self
        return replace(self, series=replace(self.series, truncation=longer))

    def moments(self, points: QPoints) -> Tensor:
        """Moments of all bodies with the Debye-Waller factors of the file."""
        bodies, series = self.lattice.bodies, self.series
        return self.engine.moments(bodies, points.q, bodies.U, series.degree, series.length)

    def intensity(self, higher: HigherOrders, points: QPoints, moments: Tensor | None) -> Tensor:
        """Intensity of these orders at nodes, from stored moments if there are; differentiable."""
        if moments is None:
            return higher.at_points(self.engine, points, self.lattice.bodies.U)
        step = higher.batch(self.engine)
        every = zip(*(x.split(step) for x in (points.q, points.hkl, moments)), strict=True)
        return torch.cat([higher.at(*some) for some in every])

    def rows(self, higher: HigherSlopes, points: QPoints, moments: Tensor | None) -> Tensor:
        """Intensity and its derivatives by the springs, shape (n_nodes, 1 + n_springs)."""
        if moments is None:
            value, slopes = higher.at_points(self.engine, points, self.lattice.bodies.U)
        else:
            value, slopes = higher.at(points.q, points.hkl, moments)
        return torch.cat([value[:, None], slopes], dim=1)
