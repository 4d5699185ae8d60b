"""Condensation: the interior of the cell is factored once, the boundary at each wavevector.

The interior of `Elimination` has a real stiffness ``K_ii``, the same at every k. Its Cholesky
factor is sparse, and is stored as one small dense matrix per group of bodies. What remains is a
lattice of the boundary bodies alone, with force constants

    ``S(k) = K_bb(k) - K_bi(k) K_ii^-1 K_ib(k) = sum_R H(R) exp(i k.R)``

of slightly longer range. With ``h = G_b - K_bi K_ii^-1 G_i`` everything follows exactly:
``G^H K^-1 G = G_i^H K_ii^-1 G_i + h^H S^-1 h``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.errors import NetworkError
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from ...bloch import phase
from .elimination import Elimination, plan_elimination


@dataclass(frozen=True)
class Condensed:
    """A crystal with its interior factored.

    Parameters
    ----------
    plan : Elimination
    steps : tuple of Tensor, each of shape (n_own + n_touched, n_own), real
        For each front ``[L^-1; -X^T L^-1]``, with ``L L^T`` its diagonal block and
        ``X = L^-1 K_own,touched``.
    lattice : Tensor, shape (n_cells, n_boundary, n_boundary), real
        H(R) of the boundary for the lattice vectors ``plan.cells``; ``H(-R) = H(R)^T``.
    components : int
        3 if every block is a multiple of the identity: the same matrix holds for x, y and z, and
        rows are bodies. Otherwise 1.
    """

    plan: Elimination
    steps: tuple[Tensor, ...]
    lattice: Tensor
    components: int

    @property
    def n_boundary(self) -> int:
        """Number of rows of ``S(k)``."""
        return int(self.lattice.shape[-1])

    def stiffness(self, k_frac: Tensor) -> Tensor:
        """``S(k)``, shape (n_k, n_boundary, n_boundary), complex."""
        waves = phase(k_frac, self.plan.cells)
        n, transposed = self.n_boundary, self.lattice.mT
        # H e + H^T e* with real products: (H + H^T) cos + i (H - H^T) sin.
        even = torch.cat([self.lattice[:1], (self.lattice + transposed)[1:]]).reshape(-1, n * n)
        odd = (self.lattice - transposed)[1:].reshape(-1, n * n)
        parts = waves.real @ even, waves.imag[:, 1:] @ odd
        return torch.complex(*parts).reshape(-1, n, n)

    def forward(self, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Eliminate the interior from right-hand sides.

        Parameters
        ----------
        rows : Tensor, shape (n_interior, n), real
            In the order of elimination.

        Returns
        -------
        reduced : list of Tensor
            ``L^-1 G_i``, front by front; their squares sum to ``G_i^H K_ii^-1 G_i``.
        images : Tensor, shape (n_images, n)
            ``-K_bi K_ii^-1 G_i``, by image.
        """
        images = rows.new_zeros(len(self.plan.image), rows.shape[1])
        waiting: dict[int, list[tuple[Tensor, Tensor]]] = {}
        reduced = []
        for f, (front, step) in enumerate(zip(self.plan.fronts, self.steps, strict=True)):
            n = front.stop - front.start
            local = rows.new_zeros(len(step), rows.shape[1])
            local[:n] = rows[front.start : front.stop]
            for into, update in waiting.pop(f, ()):
                local.index_add_(0, into, update)
            product = step @ local[:n]
            reduced.append(product[:n])
            update = local[n:] + product[n:]
            if front.parent < 0:
                images = images.index_add(0, front.into, update)
            else:
                waiting.setdefault(front.parent, []).append((front.into, update))
        return reduced, images

    def backward(self, reduced: list[Tensor], images: Tensor) -> Tensor:
        """Solution in the interior, shape (n_interior, n), from that at the images."""
        by_front: dict[int, Tensor] = {-1: images}
        left = Counter(front.parent for front in self.plan.fronts)
        parts = []
        for f in range(len(reduced) - 1, -1, -1):
            front = self.plan.fronts[f]
            beyond = by_front[front.parent].index_select(0, front.into)
            own = self.steps[f].mT @ torch.cat([reduced[f], beyond])
            parts.append(own)
            left[front.parent] -= 1
            if left[front.parent] == 0:
                del by_front[front.parent]
            if left[f]:
                by_front[f] = torch.cat([own, beyond])
        return torch.cat([images[:0], *reversed(parts)])

    def solve(self, rows: Tensor, factor: Tensor) -> Tensor:
        """Solution for real right-hand sides, given a Cholesky factor of a real S.

        Parameters
        ----------
        rows : Tensor, shape (n_rows, n)
        factor : Tensor, shape (n_boundary, n_boundary)
        """
        plan = self.plan
        reduced, images = self.forward(rows[plan.interior])
        h = rows[plan.boundary].index_add(0, plan.image, images)
        x = torch.cholesky_solve(h, factor)
        inner = self.backward(reduced, x[plan.image])
        order = torch.argsort(torch.cat([plan.interior, plan.boundary]))
        return torch.cat([inner, x])[order]

    def to_rows(self, x: Tensor) -> Tensor:
        """Convert real right-hand sides (D, n) to rows of the factored matrix."""
        return x.reshape(len(x) // self.components, -1)

    def from_rows(self, rows: Tensor) -> Tensor:
        """Inverse of `to_rows`."""
        return rows.reshape(len(rows) * self.components, -1)


def condense(bodies: Bodies, constants: ForceConstants, components: int | None = None) -> Condensed:
    """Factor the interior of a crystal, and form the lattice of its boundary.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    components : {1, 3}, optional
        3 represents each block by its first element; by default if all are multiples of 1.

    Returns
    -------
    Condensed
        Differentiable in the force constants by autograd.

    Raises
    ------
    NetworkError
        If the stiffness of the interior is not positive definite.
    """
    dof = bodies.dof
    if components is None:
        components = 3 if is_isotropic(constants) else 1
    if components == 3:
        dof = torch.arange(bodies.n_bodies, device=dof.device)
        constants = replace(
            constants, onsite=constants.onsite[:, :1, :1], coupling=constants.coupling[:, :1, :1]
        )
    plan = plan_elimination(constants, dof)
    values = torch.cat([constants.onsite.reshape(-1), constants.coupling.reshape(-1)])
    steps, images = _factor(plan, values)
    n = len(plan.boundary)
    lattice = values.new_zeros(len(plan.cells) * n * n)
    lattice = lattice.index_add(0, plan.position, values[plan.source])
    lattice = lattice.index_add(0, plan.pair_position, images.reshape(-1)[plan.pair_source])
    return Condensed(plan, steps, lattice.reshape(-1, n, n), components)


def is_isotropic(constants: ForceConstants) -> bool:
    """Whether every block is a multiple of the 3 x 3 identity, as between single atoms."""
    if constants.onsite.shape[-1] != 3:
        return False
    blocks = torch.cat([constants.onsite, constants.coupling]).detach()
    eye = torch.eye(3, dtype=blocks.dtype, device=blocks.device)
    return bool((blocks == blocks[:, :1, :1] * eye).all())


def _factor(plan: Elimination, values: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """Steps of each front, and the blocks that elimination adds between the images."""
    n_images = len(plan.image)
    images = values.new_zeros(n_images, n_images)
    waiting: dict[int, list[tuple[Tensor, Tensor]]] = {}
    steps = []
    for f, front in enumerate(plan.fronts):
        n, size = front.stop - front.start, front.stop - front.start + len(front.touched)
        own = values.new_zeros(n * size).index_add(0, front.position, values[front.source])
        total = torch.cat([own, values.new_zeros((size - n) * size)]).reshape(size, size)
        for into, update in waiting.pop(f, ()):
            total = total + _spread(update, into, size)
        L = _cholesky(total[:n, :n])
        eye = torch.eye(n, dtype=values.dtype, device=values.device)
        solved = torch.linalg.solve_triangular(L, torch.cat([eye, total[:n, n:]], 1), upper=False)
        inverse, X = solved[:, :n], solved[:, n:]
        steps.append(torch.cat([inverse, -X.mT @ inverse]))
        update = total[n:, n:] - X.mT @ X
        if front.parent < 0:
            images = images + _spread(update, front.into, n_images)
        else:
            waiting.setdefault(front.parent, []).append((front.into, update))
    return tuple(steps), images


def _spread(block: Tensor, into: Tensor, size: int) -> Tensor:
    """Place a symmetric block at some rows and columns of a larger matrix of zeros."""
    return block.new_zeros(size, size).index_put((into[:, None], into), block)


def _cholesky(block: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(block)
    if int(info):
        raise NetworkError(
            "the stiffness of the bodies within a cell is not positive definite; springs must be "
            "positive, and the network must resist every motion (raise gnm_cutoff)"
        )
    return factor
