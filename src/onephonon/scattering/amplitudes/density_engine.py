"""`DensityEngine`: amplitudes of bodies whose electron density was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.core.units import TWO_PI
from onephonon.network.bodies import Bodies
from onephonon.network.body_density import BodyDensity

from ..grid_rows import GridRows
from .mesh.density import Box, Mesh
from .mesh.grid_densities import GridDensities
from .mesh.gridded import GridAmplitudes
from .mesh.moments import amplitudes_of_list
from .mesh.scattered import transform_densities
from .monomials import amplitude_degree, check_moments, monomials, n_monomials

#: Accuracy of the transform at listed q, relative to its rms: that of rounding.
TRANSFORM_ACCURACY = {torch.float64: 1e-13, torch.float32: 1e-6}

#: |q| may exceed that of the data by this factor, for rounding.
Q_MARGIN = 1.0 + 1e-6


@dataclass(frozen=True)
class DensityEngine:
    """Amplitudes from the measured density of each body.

    ``P_b,alpha(q) = sum_m n_b(m) exp(+i q.x_m) x^a y^b z^c`` over the points x_m of the grid with
    n_b electrons each. What is measured is the mean density, so the Debye-Waller factors are in
    it, and none are multiplied: the U of `AmplitudeEngine.at` are not used.
    """

    name: ClassVar[str] = "density"
    rtol: ClassVar[float] = 0.0
    has_grid: ClassVar[bool] = True

    reason: str = "a measured density is given"

    def __str__(self) -> str:
        return f"density ({self.reason})"

    def at(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Amplitudes at a list of q; see `AmplitudeEngine.at`. Once differentiable in q."""
        sums = self.moments(bodies, q, U, amplitude_degree(bodies), 1.0, batch_size, progress)
        return amplitudes_of_list(bodies, sums, q)

    def moments(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,  # noqa: ARG002  (the density contains the Debye-Waller factors)
        degree: int,
        length: float,
        batch_size: int | None = None,  # noqa: ARG002  (the transforms limit their memory)
        progress: Progress | None = None,  # noqa: ARG002  (a single transform)
    ) -> Tensor:
        """Moments at a list of q, all at once; see `AmplitudeEngine.moments`."""
        check_moments(degree, length)
        shape = (len(q), bodies.n_bodies, n_monomials(degree))
        if not len(q):
            return torch.zeros(shape, dtype=q.dtype.to_complex(), device=q.device)
        density = _density_of(bodies)
        _check_q(density, float(torch.linalg.vector_norm(q.detach(), dim=1).max()))
        steps = _steps(bodies, density)
        made = [_weighted(bodies, density, b, degree, length) for b in range(bodies.n_bodies)]
        accuracy = TRANSFORM_ACCURACY[q.dtype]
        sums = transform_densities(iter(made), q @ steps, accuracy)
        return torch.stack(sums).permute(2, 0, 1).contiguous()

    def on_grid(
        self,
        bodies: Bodies,
        rows: GridRows,
        U: Tensor,  # noqa: ARG002
        degree: int | None = None,
        length: float = 1.0,
    ) -> GridAmplitudes:
        """Amplitudes on a regular grid, and moments; see `MeshEngine.on_grid`."""
        degree = amplitude_degree(bodies) if degree is None else degree
        check_moments(degree, length)
        density = _density_of(bodies)
        _check_q(density, rows.largest_q())
        steps, fractions = _steps(bodies, density), tuple(1.0 / n for n in density.shape)
        values, boxes = zip(
            *(_weighted(bodies, density, b, degree, length) for b in range(bodies.n_bodies)),
            strict=True,
        )
        mesh = Mesh(steps, blur=0.0, reach=0.0)
        densities = GridDensities(mesh, fractions, values, boxes, degree, length)  # type: ignore[arg-type]
        return GridAmplitudes(bodies, densities, rows)


def _density_of(bodies: Bodies) -> BodyDensity:
    if bodies.density is None:
        raise InputError("these bodies have no measured density; give one, or use another engine")
    return bodies.density


def _check_q(density: BodyDensity, q_max: float) -> None:
    if q_max > density.q_max * Q_MARGIN:
        raise InputError(
            f"{density.source} ends at {TWO_PI / density.q_max:.4g} Å, and amplitudes are wanted "
            f"to {TWO_PI / q_max:.4g} Å; limit the resolution to that of the density (res_limit)"
        )


def _steps(bodies: Bodies, density: BodyDensity) -> Tensor:
    """Steps of the grid as columns, Å; differentiable in the cell."""
    matrix = bodies.crystal.cell.matrix
    return matrix / torch.tensor(density.shape, dtype=matrix.dtype, device=matrix.device)


def _weighted(
    bodies: Bodies, density: BodyDensity, body: int, degree: int, length: float
) -> tuple[Tensor, Box]:
    """Electrons of a body times the monomials of their offsets, (n_monomials, n_1, n_2, n_3)."""
    electrons, start = density.electrons[body], density.starts[body]
    shape: tuple[int, int, int] = tuple(electrons.shape)  # type: ignore[assignment]
    if degree == 0:
        return electrons[None], Box(start, shape)
    offsets = density.points(body, bodies.crystal.cell.matrix) - bodies.centroids[body]
    weight = monomials(offsets / length, degree).T.reshape(-1, *shape)
    return weight * electrons, Box(start, shape)
