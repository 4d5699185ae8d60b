"""The model at the voxels of a fit, as a function of springs.

Amplitudes do not change with the springs: they are stored, or computed again at each evaluation
where they are too large for that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.errors import InputError, NetworkError
from onephonon.core.files import in_bytes
from onephonon.core.memory import PROGRAM_BYTES, available_memory
from onephonon.core.progress import Progress, ProgressLike
from onephonon.model.one_phonon import OnePhonon
from onephonon.model.voxels import points_at
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants
from onephonon.scattering.amplitudes.base import AmplitudeEngine, amplitudes_at
from onephonon.scattering.diffuse import engine_for
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

#: It is halved down to this where there is less memory.
MIN_BYTES = 2**28

#: Arrays of the size of the amplitudes that exist at once while these are computed and solved with.
COPIES = 5

#: Parts of amplitudes that are not stored take the maximum size over this. With smaller parts, more
#: K are factored twice.
PART_FRACTION = 4

#: Nodes by which the time of amplitudes is estimated.
N_TIMED = 2000

#: Decimals of Miller indices by which voxels at the same wavevector are told.
DECIMALS = 6


@dataclass(frozen=True, eq=False)
class _Amplitudes:
    """Computes G at nodes, with the Debye-Waller factors of the file."""

    bodies: Bodies
    engine: AmplitudeEngine
    batch_size: int | None

    def at(self, points: QPoints) -> Tensor:
        """G at points, shape (n_q, D)."""
        return amplitudes_at(self.engine, self.bodies, points, self.bodies.U, self.batch_size)


@dataclass(frozen=True, eq=False)
class _Part:
    """Some voxels, by their indices: nodes, weights, and G at the nodes.

    `weight` and `voxel` are None where every voxel is one node; `G` is None where it is not stored;
    `moments` is None where orders beyond the first are not summed, or moments are not stored.
    """

    voxels: Tensor
    points: QPoints
    G: Tensor | None
    weight: Tensor | None
    voxel: Tensor | None
    moments: Tensor | None = None

    def average(self, values: Tensor) -> Tensor:
        """Values at the nodes (P, ...) averaged over the voxels."""
        if self.weight is None or self.voxel is None:
            return values
        return weighted_sums(values, self.weight, self.voxel, len(self.voxels))


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
    amplitudes : _Amplitudes
        Computes what the parts do not store.
    higher : HigherModel, optional
        Orders beyond the first, if they are summed.
    """

    bodies: Bodies
    n: int
    parts: tuple[_Part, ...]
    amplitudes: _Amplitudes
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

            def first(part: _Part = part) -> Tensor:
                G = self._G(part)
                return one_phonon_intensity(
                    self.bodies, constants, part.points, U, scale, G=G, solver=solver
                )

            # Only one part's amplitudes exist at a time, also in the backward pass.
            again = part.G is None and torch.is_grad_enabled()
            I = checkpoint(first, use_reentrant=False) if again else first()  # noqa: E741
            if self.higher is not None and orders is not None:
                I = I + self.higher.intensity(orders, part.points, part.moments)  # noqa: E741
            found.append(part.average(I))
        total = self.gather(found)
        if orders is not None and not bool(torch.isfinite(total.detach()).all()):
            raise NetworkError(
                "the springs are so soft that the sum of the orders is beyond the range of numbers"
            )
        return total

    def gather(self, found: Sequence[Tensor]) -> Tensor:
        """Values of the voxels of each part, (n_part, ...), in the order of all voxels."""
        order = torch.cat([part.voxels for part in self.parts])
        total = torch.cat(list(found))
        return torch.zeros_like(total).index_copy(0, order, total)

    def slopes(self, basis: SpringBasis, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Intensity and its derivative by spring constants, some voxels at a time.

        Yields
        ------
        voxels : Tensor, shape (n,), int64
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
            total = values.new_zeros(len(part.voxels), 1 + basis.n_springs)
            at = SpringDependence(self.bodies, basis, values, part.points, U, scale, by_scale)
            every = spring_slopes(at, G=self._G(part))
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

    def _G(self, part: _Part) -> Tensor:
        """Amplitudes of a part, stored or computed."""
        if part.G is not None:
            return part.G
        with torch.no_grad():
            return self.amplitudes.at(part.points)

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
        higher, parts, n_done = self.higher, [], 0
        if higher is None:
            return self
        stored = self.n_nodes * higher.bytes_per_node <= higher.max_bytes
        for part in self.parts:
            parts.append(replace(part, moments=higher.moments(part.points) if stored else None))
            n_done += len(part.voxels)
            if progress and stored:
                progress.step("moments", n_done, self.n)
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
    """Compute the amplitudes at every node, and moments for orders beyond the first.

    Amplitudes that are too large to be stored are computed at each evaluation, part by part.

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
        If even the amplitudes of one voxel exceed the maximum size, or if a voxel is a Bragg
        point.
    """
    progress = Progress.of(progress)
    n_nodes = voxels.averaging.n_nodes(_centres(voxels), voxels.order)
    per_node, total = 16 * model.bodies.n_dof, int(n_nodes.sum())
    size, max_bytes = per_node * total, _within_memory(max_bytes)
    stored = size <= max_bytes
    if stored:
        memory = in_bytes(size + PROGRAM_BYTES)
        progress.message(f"amplitudes at {voxels.n} voxels, about {memory} of memory")
    else:
        most = max_bytes // (COPIES * per_node)
        if most < n_nodes.max():
            raise InputError(
                f"amplitudes of one voxel need {in_bytes(COPIES * per_node * int(n_nodes.max()))} "
                f"of memory, more than {in_bytes(max_bytes)}: {model.bodies.n_dof} degrees of "
                f"freedom at {int(n_nodes.max())} points; take larger bodies, or average over "
                "voxels with a lower order"
            )
        part = max(most // PART_FRACTION, int(n_nodes.max()))
        nodes_at_a_time = min(nodes_at_a_time, part)
    # Voxels of one wavevector come together: its K is factored for few parts. No help where
    # all voxels are alike, one per Bragg point.
    order = _by_wavevector(voxels)
    ranges = [order[some] for some in _ranges(n_nodes[order], nodes_at_a_time)]
    engine = engine_for(model.lattice, model.numerics, total)
    amplitudes = _Amplitudes(model.bodies, engine, model.numerics.batch_size)
    per_batch = max(1, amplitudes_at_a_time // nodes_at_a_time) if stored else 1
    parts: list[_Part] = []
    n_done = 0
    with torch.no_grad():
        for i in range(0, len(ranges), per_batch):
            some = [_nodes(voxels, where) for where in ranges[i : i + per_batch]]
            parts += _make_parts(model, some, amplitudes if stored else None)
            n_done += sum(len(nodes.voxels) for nodes in some)
            progress.step("amplitudes" if stored else "wavevectors", n_done, voxels.n)
    if not stored:
        progress.message(_cost(amplitudes, parts, size, max_bytes))
    nodes = [part.points for part in parts]
    higher = HigherModel.of(model, start, absolute, nodes, max_bytes)
    forward = VoxelModel(model.bodies, voxels.n, tuple(parts), amplitudes, higher)
    if higher is not None:
        progress.message(higher.description(forward.n_nodes))
    return forward.with_moments(progress)


def _within_memory(max_bytes: int) -> int:
    """The maximum size, halved as often as the available memory requires.

    By halves, so that parts and the rounding of their sums seldom differ from run to run.
    """
    available = available_memory()
    while available is not None and max_bytes > available and max_bytes >= 2 * MIN_BYTES:
        max_bytes //= 2
    return max_bytes


def _cost(amplitudes: _Amplitudes, parts: list[_Part], size: int, max_bytes: int) -> str:
    """What amplitudes that are not stored cost, in one line; the time of some is measured."""
    largest = max((part.points for part in parts), key=lambda points: points.n_q)
    n_timed, n_nodes = min(N_TIMED, largest.n_q), sum(part.points.n_q for part in parts)
    some = largest.part(torch.arange(n_timed, device=largest.q.device))
    begin = time.perf_counter()
    with torch.no_grad():
        amplitudes.at(some)
    seconds = (time.perf_counter() - begin) * n_nodes / n_timed
    memory = in_bytes(COPIES * size * largest.n_q // n_nodes + PROGRAM_BYTES)
    return (
        f"amplitudes would need {in_bytes(size)} of memory, more than {in_bytes(max_bytes)}: they "
        f"are not stored but computed at each step in {len(parts)} parts, with about {memory}, "
        f"which adds about {seconds:.2g} s to each step; fit fewer halos, a narrower range, larger "
        "bodies or lower orders of averages to avoid that"
    )


def _by_wavevector(voxels: FitVoxels) -> NDArray[np.int64]:
    """Indices of the voxels, sorted by wavevector and by the order of their averages."""
    k = np.round(voxels.hkl - np.floor(voxels.hkl), DECIMALS) % 1.0
    return np.lexsort((voxels.order, *k.T))


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
    """Nodes of some voxels, in the model's indices."""

    voxels: NDArray[np.int64]
    hkl: Tensor
    weight: Tensor | None
    voxel: Tensor | None


def _nodes(voxels: FitVoxels, where: NDArray[np.int64]) -> _Nodes:
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


def _make_parts(
    model: OnePhonon, some: list[_Nodes], amplitudes: _Amplitudes | None
) -> list[_Part]:
    """Parts of these nodes; their amplitudes are computed together, if they are stored."""
    hkl = torch.cat([nodes.hkl for nodes in some])
    points = points_at(model, hkl)
    if not bool(points.valid.all()):
        bad = hkl[~points.valid.cpu()][0].tolist()
        raise InputError(
            f"hkl {bad} is a Bragg point or beyond the model's resolution limit, where there is "
            "no intensity; give bragg_radius, or average over voxels"
        )
    every: Sequence[Tensor | None] = [None] * len(some)
    if amplitudes is not None:
        every = amplitudes.at(points).split([len(nodes.hkl) for nodes in some])
    parts = []
    for nodes, G in zip(some, every, strict=True):
        weight = None if nodes.weight is None else nodes.weight.to(model.bodies.U)
        voxel = None if nodes.voxel is None else nodes.voxel.to(model.bodies.U.device)
        at = points_at(model, nodes.hkl)
        where = torch.from_numpy(nodes.voxels).to(model.bodies.U.device)
        parts.append(_Part(where, at, None if G is None else G.clone(), weight, voxel))
    return parts
