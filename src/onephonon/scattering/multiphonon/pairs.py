"""Covariances of the displacements of pairs of bodies, for orders beyond the first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.memory import state_memory
from onephonon.crystal.images import shortest_images
from onephonon.dynamics.covariance_slopes import covariance_slopes
from onephonon.dynamics.displacements import copy_separations
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.dynamics.pair_covariance import cartesian_librations
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

#: Bytes of the numbers of a pair's bodies and cell, and of its weight.
PAIR_BYTES = 32


@dataclass(frozen=True)
class BodyPairs:
    """Covariances ``C_ab(R) = <u_a(0) u_b(R)^T>`` of pairs of bodies.

    Of a pair and its reverse, ``C_ba(-R) = C_ab(R)^T``, only one is listed, with twice the weight.
    Pairs include each body with itself in the same cell.

    Parameters
    ----------
    bodies : Bodies
    index : Tensor, shape (n_pairs, 3), int64
        Bodies a and b, and the row of `cells`.
    cells : Tensor, shape (n_cells, 3), int64
        Lattice vectors R in cell units.
    weight : Tensor, shape (n_pairs,)
        2 for a pair and its reverse, 1 for a body with itself; less where the images of a pair
        share it.
    blocks : Tensor, shape (n_pairs, w, w), Å^2 for translations
        Covariances, for Cartesian translations and librations about the bodies' centroids; w is
        3 if no body has librations, else 6.
    """

    bodies: Bodies
    index: Tensor
    cells: Tensor
    weight: Tensor
    blocks: Tensor

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return int(self.index.shape[0])

    @property
    def own(self) -> Tensor:
        """True for each body with itself in the same cell, shape (n_pairs,), bool."""
        a, b, cell = self.index.unbind(1)
        return (a == b) & (self.cells[cell] == 0).all(1)


def body_pairs(
    lattice: LatticeModel, mesh: Sequence[int] | None = None, scale: Tensor | None = None
) -> BodyPairs:
    """Pairs of bodies at the shortest distance that a mesh of the Brillouin zone allows.

    Parameters
    ----------
    lattice : LatticeModel
    mesh : three int, optional
        Mesh of the covariance; by default that of the ADPs. Each pair of copies of the
        asymmetric unit is listed at the shortest vector between them modulo the mesh; several
        that are the shortest share the pair.
    scale : Tensor, optional
        Thermal scale; by default that of the lattice.

    Returns
    -------
    BodyPairs
        Covariances include the thermal scale. Differentiable in the force constants, the scale,
        and the positions and the cell.

    Raises
    ------
    InputError
        If the mesh is less symmetric than the crystal, or the pairs need more memory than there is.
    """
    bodies = lattice.bodies
    name = "multiphonon_mesh" if mesh else "mesh"
    mesh = tuple(mesh or lattice.mesh)
    n_pairs = expected_pairs(bodies, mesh)
    state_memory(
        _memory(bodies, mesh),
        f"orders beyond the first: covariances of {n_pairs:.2g} pairs of bodies",
        "take larger bodies (group_by), or a coarser mesh (multiphonon_mesh)",
    )
    a, b, cell, weight = _listed(bodies, mesh)
    cells, row = torch.unique(cell, dim=0, return_inverse=True)
    index = torch.stack([a, b, row], dim=1)
    blocks = _of_pairs(bodies, index, lattice.covariance(cells, mesh, name))
    scale = lattice.thermal_scale if scale is None else scale
    return BodyPairs(bodies, index, cells, weight.to(blocks), scale * blocks)


def pair_tangents(
    lattice: LatticeModel,
    pairs: BodyPairs,
    changes: Sequence[ForceConstants],
    mesh: Sequence[int] | None = None,
    scale_slope: Tensor | None = None,
) -> Tensor:
    """Derivatives of the covariances of pairs along changes of the force constants.

    Parameters
    ----------
    lattice, mesh
        As for `body_pairs`.
    pairs : BodyPairs
        Those of the lattice.
    changes : sequence of ForceConstants
        Of the same blocks as those of the lattice.
    scale_slope : Tensor, shape (n_changes,), optional
        Derivative of the thermal scale along each, if it depends on the force constants.

    Returns
    -------
    Tensor, shape (n_changes, n_pairs, w, w), Å^2 for translations
        Without gradient.
    """
    mesh = tuple(mesh or lattice.mesh)
    average = lattice.zone_average
    slopes = covariance_slopes(
        lattice.bodies, lattice.force_constants, changes, mesh, pairs.cells, average
    )
    scale, blocks = lattice.thermal_scale.detach(), pairs.blocks.detach()
    found = blocks.new_zeros(len(changes), *blocks.shape)
    for i, slope in enumerate(slopes):
        found[i] = scale * _of_pairs(lattice.bodies, pairs.index, slope)
    if scale_slope is not None:
        found += scale_slope[:, None, None, None] * (blocks / scale)
    return found


def expected_pairs(bodies: Bodies, mesh: Sequence[int]) -> int:
    """About how many pairs of bodies a mesh has."""
    return max(1, bodies.n_bodies**2 * math.prod(mesh) // 2)


def _memory(bodies: Bodies, mesh: Sequence[int]) -> float:
    """Bytes that `body_pairs` needs, as measured: four copies of its arrays at a time."""
    number = bodies.positions.element_size()
    blocks = expected_pairs(bodies, mesh) * (bodies.width**2 * number + PAIR_BYTES)
    return float(4 * (math.prod(mesh) * bodies.n_dof**2 * number + blocks))


def _listed(bodies: Bodies, mesh: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bodies a and b, cell R and weight of each listed pair."""
    n_ops, each = bodies.n_ops, bodies.n_bodies // bodies.n_ops
    apart = copy_separations(bodies).detach().double().cpu()
    n = torch.tensor([int(x) for x in mesh])
    axes = bodies.crystal.cell.matrix.detach().double().cpu() * n
    every = torch.cartesian_prod(*(torch.arange(int(x)) for x in mesh)).reshape(-1, 3)
    first, second = torch.cartesian_prod(torch.arange(each), torch.arange(each)).reshape(-1, 2).T
    found = []
    for A, B in itertools.product(range(n_ops), repeat=2):
        shift, shares = shortest_images((every + apart[A, B]) / n, axes)
        used = shares > 0
        here, share = (every[:, None] + n * shift)[used], shares[used]
        # Of a pair and its reverse, the one with the larger R, or else the larger b.
        sign = torch.sign(here @ _ORDER)
        cell, pair = torch.cartesian_prod(torch.arange(len(here)), torch.arange(len(first))).T
        a, b = A * each + first[pair], B * each + second[pair]
        kept = (sign[cell] > 0) | ((sign[cell] == 0) & (a <= b))
        itself = (sign[cell] == 0) & (a == b)
        weight = torch.where(itself, 1.0, 2.0) * share[cell]
        found.append((a[kept], b[kept], here[cell[kept]], weight[kept]))
    device = bodies.positions.device
    a, b, cell, weight = (torch.cat(parts).to(device) for parts in zip(*found, strict=True))
    return a, b, cell, weight


#: Orders lattice vectors: its product with R is positive for one of R and -R.
_ORDER = torch.tensor([10**12, 10**6, 1])


def _of_pairs(bodies: Bodies, index: Tensor, covariance: Tensor) -> Tensor:
    """Blocks of the pairs, of a covariance of all bodies for each lattice vector.

    In Cartesian librations instead of those about the bodies' axes.
    """
    a, b, row = index.unbind(1)
    n, w = bodies.n_bodies, bodies.width
    padded = bodies.scatter(bodies.scatter(covariance, -1), -2).reshape(-1, n, w, n, w)
    blocks = padded[row, a, :, b, :]
    turn = cartesian_librations(bodies)
    return turn[a] @ blocks @ turn[b].mT
