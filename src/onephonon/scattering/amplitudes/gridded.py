"""Amplitudes G on a regular grid of hkl, by one matrix product for each axis.

On a mesh along the cell's axes the phase factors of ``sum_x rho(x) exp(2 pi i hkl.x)`` separate,
and the sum over the mesh is three small matrices applied one after the other, for any range and
sampling of hkl. Points that share a zone point lie a whole Miller index apart, so the grid is
walked by residue classes: every tile needs K at one zone point for each class of l.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.zone import fold, is_bragg
from onephonon.network.bodies import Bodies

from ..points import SAME_RESOLUTION, within_square
from .density import Box, Domain, Mesh, choose_mesh, extent, least_B, wary
from .deposit import deposit

#: Points of a tile times the complex numbers held for each: about the size of a cache.
TILE_NUMBERS = 400_000

#: Bytes of the partial transform held for a block of rows.
BLOCK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Densities:
    """The bodies' densities on one mesh along the cell's axes.

    Parameters
    ----------
    mesh : Mesh
    fractions : tuple of three float
        Steps of the mesh in fractional coordinates.
    density : tuple of Tensor
        Of each body, shape (n_weights, n_1, n_2, n_3).
    boxes : tuple of Box
    """

    mesh: Mesh
    fractions: tuple[float, float, float]
    density: tuple[Tensor, ...]
    boxes: tuple[Box, ...]


def grid_densities(
    bodies: Bodies, grid: HklGrid, U: Tensor, rtol: float, q_max: float = math.inf
) -> Densities:
    """Put every body on a mesh that serves a grid of hkl within a tolerance.

    Parameters
    ----------
    bodies : Bodies
    grid : HklGrid
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.
    rtol : float
        Wanted accuracy of intensities, relative to the map's rms.
    q_max : float
        Largest |q| that matters, 1/Å.
    """
    cell = bodies.crystal.cell
    mesh = mesh_for_grid(bodies, grid, U, rtol, q_max)
    lengths = torch.linalg.vector_norm(cell.matrix.detach(), dim=0)
    fractions = torch.linalg.vector_norm(mesh.steps, dim=0) / lengths
    # Fixed in fractional coordinates, so that phases do not depend on the cell.
    mesh = Mesh(cell.matrix * fractions, mesh.blur, mesh.reach)
    density, boxes = zip(
        *(deposit(bodies, body, mesh, U) for body in range(bodies.n_bodies)), strict=True
    )
    f = fractions.tolist()
    return Densities(mesh, (f[0], f[1], f[2]), density, boxes)


def mesh_for_grid(bodies: Bodies, grid: HklGrid, U: Tensor, rtol: float, q_max: float) -> Mesh:
    """The mesh that `grid_densities` uses."""
    matrix = bodies.crystal.cell.matrix.detach()
    ends = [torch.from_numpy(axis[[0, -1]]) for axis in grid.axes]
    corners = UnitCell(matrix).q_from_hkl(torch.cartesian_prod(*ends).to(matrix))
    q_max = min(q_max, float(torch.linalg.vector_norm(corners, dim=1).max()))
    domain = Domain(corners, q_max)
    return choose_mesh(matrix, domain, wary(rtol, bodies), least_B(U), extent(bodies))


@dataclass(frozen=True)
class Tile:
    """Points of a grid whose l fall into classes, each with one zone point.

    Parameters
    ----------
    h, k : slice
        Indices along the first two axes, of one residue class each.
    l : tuple of two int
        First and last + 1 index along the third; a whole number of periods from the start, so
        that class c holds ``l[0] + c, l[0] + c + n, ...``. The last may lie beyond the axis.
    k_frac : Tensor, shape (n_classes, 3)
        Zone points, folded.
    valid : Tensor, shape (n_classes, n_points)
        False beyond q_max, at Bragg points and beyond the axis.
    G : Tensor, shape (n_classes, D, n_points), complex
        Points in the order l, h, k within the class.
    shape : tuple of three int
        Points along l, h and k within each class.
    """

    h: slice
    k: slice
    l: tuple[int, int]  # noqa: E741
    k_frac: Tensor
    valid: Tensor
    G: Tensor
    shape: tuple[int, int, int]

    def in_order(self, values: Tensor) -> Tensor:
        """Values (n_classes, n_points) of the tile by index along h, k and l."""
        by_class = values.reshape(-1, *self.shape).permute(2, 3, 1, 0)
        return by_class.reshape(*self.shape[1:], -1)[:, :, : self.l[1] - self.l[0]]


@dataclass(frozen=True)
class Walk:
    """A grid cut into blocks of rows.

    Parameters
    ----------
    grid : HklGrid
    cell : UnitCell
    res_limit : float
        Points of smaller d are not valid, Å.
    bragg_tolerance : float, optional
    region : tuple of three slice
        The part of the grid to walk: steps of one.
    """

    grid: HklGrid
    cell: UnitCell
    res_limit: float
    bragg_tolerance: float | None
    region: tuple[slice, slice, slice]

    @cached_property
    def axes(self) -> tuple[Tensor, ...]:
        """The grid's h, k and l values as tensors, float64."""
        return tuple(torch.from_numpy(axis) for axis in self.grid.axes)

    @property
    def q_max(self) -> float:
        """Largest |q| that can be valid, 1/Å."""
        if self.res_limit == 0:
            return math.inf
        return TWO_PI / self.res_limit * (1 + 2 * SAME_RESOLUTION)

    def blocks(self, n_rows: int) -> list[slice]:
        """Rows of one residue class of h each, not more than a number at a time."""
        first, last, _ = self.region[0].indices(self.grid.shape[0])
        n = self.grid.samples[0]
        found = []
        for start in range(first, min(first + n, last)):
            rows = range(start, last, n)
            for i in range(0, len(rows), n_rows):
                part = rows[i : i + n_rows]
                found.append(slice(part[0], part[-1] + 1, n))
        return found


def rows_at_a_time(densities: Densities) -> int:
    """Rows of a block whose partial transforms fit the memory set aside."""
    per_row = sum(
        d.shape[0] * d.shape[2] * d.shape[3] * 2 * d.element_size() for d in densities.density
    )
    return max(1, min(64, BLOCK_BYTES // per_row))


def tiles(bodies: Bodies, densities: Densities, walk: Walk, rows: slice) -> Iterator[Tile]:
    """Amplitudes of a block of rows, tile by tile.

    Parameters
    ----------
    bodies : Bodies
    densities : Densities
    walk : Walk
    rows : slice
        From ``walk.blocks``.

    Yields
    ------
    Tile
        Only those with a valid point.
    """
    axes = [axis.to(densities.mesh.steps.device) for axis in walk.axes]
    n_k = walk.grid.samples[1]
    parts = list(zip(densities.density, densities.boxes, strict=True))
    depth = _Depth.of(densities, walk)
    along_h = [_apply_real(_waves(axes[0][rows], d, box, densities, 0), d) for d, box in parts]
    k_first, k_last, _ = walk.region[1].indices(len(axes[1]))
    held = bodies.n_bodies * (4 + bodies.width) + bodies.n_dof
    n_columns = max(1, TILE_NUMBERS // (held * depth.l.numel() * along_h[0].shape[1]))
    for start in range(k_first, min(k_first + n_k, k_last)):
        k = axes[1][start:k_last:n_k]
        along_k = [
            _waves(k, d, box, densities, 1) @ partial
            for (d, box), partial in zip(parts, along_h, strict=True)
        ]
        indices = range(start, k_last, n_k)
        for i in range(0, len(indices), n_columns):
            part = indices[i : i + n_columns]
            columns = slice(part[0], part[-1] + 1, n_k)
            here = [partial[:, :, i : i + n_columns] for partial in along_k]
            tile = _tile(bodies, densities, walk, depth, (rows, columns), here)
            if tile is not None:
                yield tile


@dataclass(frozen=True)
class _Depth:
    """The third axis by residue class: values, indices and phase factors of each body.

    Shapes (n_classes, m) and (n_classes, m, n_3); the last of a class may lie beyond the axis.
    """

    first: int
    last: int
    index: Tensor
    l: Tensor  # noqa: E741
    waves: tuple[Tensor, ...]

    @classmethod
    def of(cls, densities: Densities, walk: Walk) -> _Depth:
        axis, n = walk.axes[2].to(densities.mesh.steps.device), walk.grid.samples[2]
        first, last, _ = walk.region[2].indices(len(axis))
        m = -(-(last - first) // n)
        index = first + torch.arange(m * n, device=axis.device).reshape(m, n).T
        l = axis[index.clamp(max=last - 1)]  # noqa: E741
        waves = tuple(
            _waves(l.reshape(-1), d, box, densities, 2).reshape(n, m, -1)
            for d, box in zip(densities.density, densities.boxes, strict=True)
        )
        return cls(first, last, index, l, waves)


def _tile(
    bodies: Bodies,
    densities: Densities,
    walk: Walk,
    depth: _Depth,
    where: tuple[slice, slice],
    along_k: list[Tensor],
) -> Tile | None:
    """One tile, or None where no point of it is valid."""
    axes, n = walk.axes, walk.grid.samples[2]
    like = densities.mesh.steps
    h, k = (axis[part].to(like.device) for axis, part in zip(axes, where, strict=False))
    begin, end = _reach_of_l(walk, h, k)
    if end <= begin:
        return None
    periods = slice((begin - depth.first) // n, -(-(end - depth.first) // n))
    l, index = depth.l[:, periods], depth.index[:, periods]  # noqa: E741
    shape = (l.shape[1], len(h), len(k))
    reciprocal = TWO_PI * walk.cell.inverse
    of_h, of_k = (torch.outer(x.to(like), row) for x, row in zip((h, k), reciprocal, strict=False))
    of_hk = (of_h[:, None] + of_k).reshape(-1, 3).T
    q = (reciprocal[2][:, None] * l.to(like)[:, None])[..., None] + of_hk[:, None]
    q_squared = (q * q).sum(1)
    k_frac = fold(torch.stack([h[:1].expand(n), k[:1].expand(n), l[:, 0]], dim=1))
    possible = (index < end) & ~is_bragg(k_frac, walk.bragg_tolerance)[:, None]
    valid = possible[:, :, None] & within_square(q_squared.detach(), walk.res_limit)
    sharp = q * densities.mesh.sharpen(q_squared)[:, None]
    parts = []
    for body, partial in enumerate(along_k):
        waves = depth.waves[body][:, periods].reshape(-1, partial.shape[-1])
        sums = waves @ partial.reshape(-1, partial.shape[-1]).T
        sums = sums.reshape(n, shape[0], partial.shape[0], -1)
        parts += body_amplitudes(bodies, body, sums.movedim(2, 0), sharp.unbind(1))
    G = bodies.gather(torch.stack(parts, dim=1).reshape(n, len(parts), -1), 1)
    valid = valid.reshape(n, -1)
    return Tile(*where, (begin, end), k_frac.to(like.dtype), valid, G, shape)


def body_amplitudes(
    bodies: Bodies, body: int, sums: Tensor, q: Sequence[Tensor] | Tensor
) -> list[Tensor]:
    """G of one body from its sum of waves and its first moments.

    Parameters
    ----------
    bodies : Bodies
    body : int
    sums : Tensor, shape (1 or 4, ...), complex
    q : three Tensor, shape (...)

    Returns
    -------
    list of Tensor, shape (...), complex
        One for each degree of freedom in the padded layout.
    """
    x, y, z = q
    wave = sums[0]
    translation = [wave * x, wave * y, wave * z]
    if bodies.width == 3:
        return translation
    X, Y, Z = sums[1:]
    libration = [Y * z - Z * y, Z * x - X * z, X * y - Y * x]
    axes = bodies.axes[body]
    if torch.equal(axes, torch.eye(3).to(axes)):
        return translation + libration
    turned = torch.einsum("xa,x...->a...", axes.to(wave.dtype), torch.stack(libration))
    return translation + list(turned)


def _waves(hkl: Tensor, density: Tensor, box: Box, densities: Densities, axis: int) -> Tensor:
    """``exp(2 pi i h x)`` for values of one index and the box's mesh points along its axis."""
    m = box.start[axis] + torch.arange(box.shape[axis], device=density.device)
    angle = TWO_PI * torch.outer(hkl, m.to(hkl.dtype) * densities.fractions[axis])
    wave = torch.polar(torch.ones_like(angle), angle)
    return wave.to(density.dtype.to_complex())


def _apply_real(waves: Tensor, density: Tensor) -> Tensor:
    """A complex matrix applied to the first axis of a real density, (n_w, n_rows, n_2, n_3)."""
    n_w, n_1, n_2, n_3 = density.shape
    flat = density.reshape(n_w, n_1, -1)
    both = torch.complex(waves.real @ flat, waves.imag @ flat)
    return both.reshape(n_w, -1, n_2, n_3)


def _reach_of_l(walk: Walk, h: Tensor, k: Tensor) -> tuple[int, int]:
    """Indices along l between which points may lie within q_max; whole periods from the start."""
    axis, n = walk.axes[2], walk.grid.samples[2]
    first, last, _ = walk.region[2].indices(len(axis))
    if walk.q_max == math.inf:
        return first, last
    reciprocal = TWO_PI * walk.cell.inverse.detach().to(torch.float64)
    hk = torch.cartesian_prod(h, k).reshape(-1, 2).to(reciprocal)
    p = hk @ reciprocal[:2]
    c = reciprocal[2]
    along = (p @ c) / (c @ c)
    height = walk.q_max**2 - (p * p).sum(1) + along**2 * (c @ c)
    inside = height >= 0
    if not bool(inside.any()):
        return first, first
    half = torch.sqrt(height[inside] / (c @ c))
    low, high = float((-along[inside] - half).min()), float((-along[inside] + half).max())
    begin = int(torch.searchsorted(axis, low - 1e-9))
    end = int(torch.searchsorted(axis, high + 1e-9, right=True))
    begin = first + (max(first, begin) - first) // n * n
    return begin, max(begin, min(last, end))
