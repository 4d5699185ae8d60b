"""The model at the voxels of a fit, as a function of springs with stored amplitudes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.errors import InputError, NetworkError
from onephonon.core.files import in_bytes
from onephonon.core.memory import PROGRAM_BYTES
from onephonon.core.progress import Progress, ProgressLike
from onephonon.model.one_phonon import OnePhonon
from onephonon.model.voxels import points_at
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants
from onephonon.scattering.diffuse import point_amplitudes
from onephonon.scattering.intensity import one_phonon_intensity
from onephonon.scattering.jacobian import SpringBasis, SpringDependence, spring_slopes
from onephonon.scattering.points import QPoints
from onephonon.scattering.voxels import weighted_sums

from .higher_orders import HigherModel
from .voxels import FitVoxels

#: Nodes handled at a time: limits the memory of a Jacobian.
NODES_AT_A_TIME = 100_000

#: Nodes whose amplitudes are computed at a time: many, since the mesh is set up each time.
AMPLITUDES_AT_A_TIME = 1_000_000

#: Default maximum size of the amplitudes, bytes.
MAX_BYTES = 12 * 2**30


@dataclass(frozen=True, eq=False)
class _Part:
    """A range of voxels: nodes, weights, and G at the nodes.

    `weight` and `voxel` are None where every voxel is one node; `moments` is None where orders
    beyond the first are not summed, or moments are not stored.
    """

    voxels: slice
    points: QPoints
    G: Tensor
    weight: Tensor | None
    voxel: Tensor | None
    moments: Tensor | None = None

    def average(self, values: Tensor) -> Tensor:
        """Values at the nodes (P, ...) averaged over the voxels."""
        if self.weight is None or self.voxel is None:
            return values
        n = self.voxels.stop - self.voxels.start
        return weighted_sums(values, self.weight, self.voxel, n)


@dataclass(frozen=True, eq=False)
class VoxelModel:
    """Intensity at the voxels of a fit as a function of force constants.

    Of one phonon at thermal scale 1, or, with orders beyond the first, at that of `higher`.
    Debye-Waller factors are the file's, so amplitudes and moments do not change with the springs.

    Parameters
    ----------
    bodies : Bodies
    n : int
        Number of voxels.
    parts : tuple of _Part
    higher : HigherModel, optional
        Orders beyond the first, if they are summed.
    """

    bodies: Bodies
    n: int
    parts: tuple[_Part, ...]
    higher: HigherModel | None = None

    @property
    def n_nodes(self) -> int:
        """Number of q at which the model is evaluated."""
        return sum(part.points.n_q for part in self.parts)

    def intensity(self, constants: ForceConstants, solver: str = "auto") -> Tensor:
        """Intensity, averaged over each voxel, shape (n,); differentiable.

        Raises
        ------
        NetworkError
            If the springs do not stabilize the crystal, or are so soft that the sum of all orders
            is beyond the range of numbers.
        """
        found = []
        U, orders = self.bodies.U, None
        scale: Tensor | float = 1.0
        if self.higher is not None:
            lattice = self.higher.lattice_at(constants)
            scale, orders = lattice.thermal_scale, self.higher.at(lattice)
        for part in self.parts:
            I = one_phonon_intensity(  # noqa: E741
                self.bodies, constants, part.points, U, scale, G=part.G, solver=solver
            )
            if self.higher is not None and orders is not None:
                I = I + self.higher.intensity(orders, part.points, part.moments)  # noqa: E741
            found.append(part.average(I))
        total = torch.cat(found)
        if orders is not None and not bool(torch.isfinite(total.detach()).all()):
            raise NetworkError(
                "the springs are so soft that the sum of the orders is beyond the range of numbers"
            )
        return total

    def slopes(self, basis: SpringBasis, values: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Intensity and its derivative by spring constants, some voxels at a time.

        Yields
        ------
        voxels : slice
        intensity : Tensor, shape (n,)
        slopes : Tensor, shape (n, n_values)
        """
        U, by_scale, orders = self.bodies.U, None, None
        scale: Tensor | float = 1.0
        if self.higher is not None:
            with torch.no_grad():
                lattice = self.higher.lattice_at(basis.constants(values))
                scale = lattice.thermal_scale
            by_scale = self.higher.scale_slope(basis, values)
            orders = self.higher.slopes_at(lattice, basis, by_scale)
        for part in self.parts:
            n = part.voxels.stop - part.voxels.start
            total = values.new_zeros(n, 1 + basis.n_springs)
            at = SpringDependence(self.bodies, basis, values, part.points, U, scale, by_scale)
            every = spring_slopes(at, G=part.G)
            for some in every:
                rows = torch.cat([some.value[:, None], some.slopes], dim=1)
                if part.weight is None or part.voxel is None:
                    total[some.points] = rows
                else:
                    rows *= part.weight[some.points, None]
                    total.index_add_(0, part.voxel[some.points], rows)
            if self.higher is not None and orders is not None:
                total += part.average(self.higher.rows(orders, part.points, part.moments))
            yield part.voxels, total[:, 0], total[:, 1:]

    def with_b_factor(self, factor: float) -> VoxelModel:
        """With the thermal scale of orders beyond the first for another mean B-factor."""
        higher = None if self.higher is None else replace(self.higher, b_factor=factor)
        return replace(self, higher=higher)

    def suited_to(self, constants: ForceConstants) -> VoxelModel:
        """With longer series of orders beyond the first if springs need them; itself if not."""
        higher = None if self.higher is None else self.higher.suited_to(constants)
        return self if higher is self.higher else replace(self, higher=higher).with_moments()

    @torch.no_grad()
    def with_moments(self, progress: Progress | None = None) -> VoxelModel:
        """With the moments for orders beyond the first stored at the nodes, if not too large."""
        higher, parts = self.higher, []
        if higher is None:
            return self
        stored = self.n_nodes * higher.bytes_per_node <= higher.max_bytes
        for part in self.parts:
            parts.append(replace(part, moments=higher.moments(part.points) if stored else None))
            if progress and stored:
                progress.step("moments", part.voxels.stop, self.n)
        return replace(self, parts=tuple(parts))


def make_forward(
    model: OnePhonon,
    voxels: FitVoxels,
    progress: ProgressLike | None = None,
    *,
    start: float = 1.0,
    absolute: bool = False,
    max_bytes: int = MAX_BYTES,
    nodes_at_a_time: int = NODES_AT_A_TIME,
    amplitudes_at_a_time: int = AMPLITUDES_AT_A_TIME,
) -> VoxelModel:
    """Compute and store the amplitudes at every node, and moments for orders beyond the first.

    Parameters
    ----------
    model : OnePhonon
        Defines crystal, bodies, engine and orders; its springs are not used.
    voxels : FitVoxels
    progress : Progress or callable, optional
    start : float
        Starting spring constant of all contacts, for which the series of orders beyond the first
        are chosen.
    absolute : bool
        Whether springs are in kT/Å^2. Otherwise the file's mean B-factor sets the thermal scale
        of orders beyond the first.
    max_bytes : int
        Maximum size of the amplitudes, and of the moments, which are not stored if larger.
    nodes_at_a_time, amplitudes_at_a_time : int
        Affect memory, not the result.

    Raises
    ------
    InputError
        If the amplitudes exceed the maximum size, or if a voxel is a Bragg point.
    """
    progress = Progress.of(progress)
    n_nodes = voxels.averaging.n_nodes(_centres(voxels), voxels.order)
    size = 16 * model.bodies.n_dof * int(n_nodes.sum())
    if size > max_bytes:
        raise InputError(
            f"amplitudes at {voxels.n} voxels need {size / 2**30:.1f} GB of memory, more than "
            f"{max_bytes / 2**30:.1f}; fit fewer halos, a narrower range or larger bodies, or "
            "average over voxels with a lower order"
        )
    progress.message(
        f"amplitudes at {voxels.n} voxels, about {in_bytes(size + PROGRAM_BYTES)} of memory"
    )
    ranges = _ranges(n_nodes, nodes_at_a_time)
    per_batch = max(1, amplitudes_at_a_time // nodes_at_a_time)
    parts: list[_Part] = []
    with torch.no_grad():
        for i in range(0, len(ranges), per_batch):
            some = [_nodes(voxels, where) for where in ranges[i : i + per_batch]]
            parts += _make_parts(model, some)
            progress.step("amplitudes", some[-1].voxels.stop, voxels.n)
    nodes = [part.points for part in parts]
    higher = HigherModel.of(model, start, absolute, nodes, max_bytes)
    forward = VoxelModel(model.bodies, voxels.n, tuple(parts), higher)
    if higher is not None:
        progress.message(higher.description(forward.n_nodes))
    return forward.with_moments(progress)


def _ranges(n_nodes: NDArray[np.int64], nodes_at_a_time: int) -> list[slice]:
    """Ranges of voxels with about so many nodes, at least one voxel each."""
    part = (np.cumsum(n_nodes) - n_nodes) // nodes_at_a_time
    starts = np.flatnonzero(np.diff(part, prepend=-1)).tolist()
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(n_nodes)], strict=True)]


def _centres(voxels: FitVoxels) -> NDArray[np.float64]:
    """Centres of the voxels in the data's indices, along whose axes they are boxes."""
    return np.asarray(voxels.hkl @ np.linalg.inv(voxels.rotation))


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Nodes of a range of voxels, in the model's indices."""

    voxels: slice
    hkl: Tensor
    weight: Tensor | None
    voxel: Tensor | None


def _nodes(voxels: FitVoxels, where: slice) -> _Nodes:
    hkl, order = voxels.hkl[where], voxels.order[where]
    if (order == 1).all():
        return _Nodes(where, torch.from_numpy(np.ascontiguousarray(hkl)), None, None)
    # Nodes are placed in the data's indices, then rotated.
    centre = hkl @ np.linalg.inv(voxels.rotation)
    nodes, weight, voxel = voxels.averaging.nodes(centre, order)
    return _Nodes(
        where,
        torch.from_numpy(nodes @ voxels.rotation),
        torch.from_numpy(weight),
        torch.from_numpy(voxel),
    )


def _make_parts(model: OnePhonon, some: list[_Nodes]) -> list[_Part]:
    """Parts of these nodes; their amplitudes are computed together."""
    hkl = torch.cat([nodes.hkl for nodes in some])
    points = points_at(model, hkl)
    if not bool(points.valid.all()):
        bad = hkl[~points.valid.cpu()][0].tolist()
        raise InputError(
            f"hkl {bad} is a Bragg point or beyond the model's resolution limit, where there is "
            "no intensity; give bragg_radius, or average over voxels"
        )
    lattice = model.lattice
    G = point_amplitudes(lattice, points, lattice.bodies.U, model.numerics)
    every = G.split([len(nodes.hkl) for nodes in some])
    parts = []
    for nodes, G in zip(some, every, strict=True):
        weight = None if nodes.weight is None else nodes.weight.to(model.bodies.U)
        voxel = None if nodes.voxel is None else nodes.voxel.to(model.bodies.U.device)
        at = points_at(model, nodes.hkl)
        parts.append(_Part(nodes.voxels, at, G.clone(), weight, voxel))
    return parts
