"""Amplitudes G on a regular grid of hkl, by one matrix product per axis.

On a mesh along the cell's axes the phase factors of ``sum_x rho(x) exp(2 pi i hkl.x)`` separate,
and the sum over the mesh is three small matrices applied one after the other, for any range and
sampling of hkl. Points that share a zone point differ by whole Miller indices, so the grid is
traversed by residue classes: each tile needs K at one zone point for each class of l.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.zone import fold, is_bragg
from onephonon.network.bodies import Bodies

from ...grid_rows import GridRows, Region
from ...points import within_square
from ..monomials import amplitude_degree
from .density import Box, Domain, Mesh, choose_mesh, mean_extent, mesh_tolerance, smallest_B
from .deposit import deposit_body
from .moments import amplitudes_from_moments

#: Number of complex elements of a tile: about the size of a processor cache.
MAX_TILE_NUMBERS = 400_000

#: Wavevector used in place of a Bragg point, whose intensity is not defined.
ELSEWHERE = (0.5, 0.5, 0.5)

#: Bytes of the partial transforms of a block of rows.
BLOCK_BYTES = 128 * 2**20

#: Bytes of a block of rows in differentiable computations, which store a graph for each block.
GRAPH_BYTES = 256 * 2**20

#: Bytes of temporary arrays while densities are deposited.
DEPOSIT_BYTES = 100 * 2**20


@dataclass(frozen=True)
class GridDensities:
    """Densities of the bodies on one mesh along the cell's axes.

    Parameters
    ----------
    mesh : Mesh
    fractions : tuple of three float
        Steps of the mesh in fractional coordinates.
    density : tuple of Tensor
        Density of each body, shape (n_weights, n_1, n_2, n_3).
    boxes : tuple of Box
    """

    mesh: Mesh
    fractions: tuple[float, float, float]
    density: tuple[Tensor, ...]
    boxes: tuple[Box, ...]


def grid_densities(
    bodies: Bodies, grid: HklGrid, U: Tensor, rtol: float, q_max: float = math.inf
) -> GridDensities:
    """Sample the density of every body on a mesh that is accurate enough for a grid of hkl.

    Parameters
    ----------
    bodies : Bodies
    grid : HklGrid
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2.
    rtol : float
        Requested accuracy of intensities, relative to the rms of the map.
    q_max : float
        Largest |q| needed, 1/Å.
    """
    cell = bodies.crystal.cell
    mesh = mesh_for_grid(bodies, grid, U, rtol, q_max)
    lengths = torch.linalg.vector_norm(cell.matrix.detach(), dim=0)
    fractions = torch.linalg.vector_norm(mesh.steps, dim=0) / lengths
    # Fixed in fractional coordinates, so that phases do not depend on the cell.
    mesh = Mesh(cell.matrix * fractions, mesh.blur, mesh.reach)
    density, boxes = zip(
        *(
            deposit_body(bodies, body, mesh, U, amplitude_degree(bodies), 1.0)
            for body in range(bodies.n_bodies)
        ),
        strict=True,
    )
    f = fractions.tolist()
    return GridDensities(mesh, (f[0], f[1], f[2]), density, boxes)


def mesh_for_grid(bodies: Bodies, grid: HklGrid, U: Tensor, rtol: float, q_max: float) -> Mesh:
    """The mesh that `grid_densities` uses."""
    matrix = bodies.crystal.cell.matrix.detach()
    ends = [torch.from_numpy(axis[[0, -1]]) for axis in grid.axes]
    corners = UnitCell(matrix).q_from_hkl(torch.cartesian_prod(*ends).to(matrix))
    q_max = min(q_max, float(torch.linalg.vector_norm(corners, dim=1).max()))
    domain = Domain(corners, q_max)
    return choose_mesh(
        matrix, domain, mesh_tolerance(rtol, bodies), smallest_B(U), mean_extent(bodies)
    )


@dataclass(frozen=True)
class Tile:
    """Points of a grid by residue class of l; the points of a class share a zone point.

    Parameters
    ----------
    h, k : slice
        Indices along the first two axes, of one residue class each.
    l : tuple of two int
        First and last + 1 index along the third axis, a whole number of periods n: class c
        contains ``l[0] + c, l[0] + c + n, ...``. The last ones may be beyond the axis.
    k_frac : Tensor, shape (n_classes, 3)
        Zone points, folded; a Bragg point, where no point is valid, is replaced by another.
    valid : Tensor, shape (n_classes, n_points)
        False beyond q_max, at Bragg points and beyond the axis.
    G : Tensor, shape (n_classes, D, n_points), complex
        Within a class the points are in the order l, h, k.
    shape : tuple of three int
        Number of points along l, h and k within each class.
    """

    h: slice
    k: slice
    l: tuple[int, int]  # noqa: E741
    k_frac: Tensor
    valid: Tensor
    G: Tensor
    shape: tuple[int, int, int]

    def in_order(self, values: Tensor) -> Tensor:
        """Rearrange values (n_classes, n_points) of the tile to the axes h, k, l."""
        by_class = values.reshape(-1, *self.shape).permute(2, 3, 1, 0)
        return by_class.reshape(*self.shape[1:], -1)[:, :, : self.l[1] - self.l[0]]


@dataclass(frozen=True)
class GridAmplitudes:
    """Amplitudes on a regular grid, computed in blocks of rows.

    Parameters
    ----------
    bodies : Bodies
    densities : GridDensities
    rows : GridRows
    """

    bodies: Bodies
    densities: GridDensities
    rows: GridRows

    def within(self, region: Region) -> GridAmplitudes:
        """The amplitudes on another part of the grid."""
        return replace(self, rows=replace(self.rows, region=region))

    def memory_bytes(self) -> int:
        """Approximate number of bytes needed in addition to the result."""
        number = 2 * self.densities.mesh.steps.element_size()
        density = sum(d.numel() for d in self.densities.density) * number // 2
        transforms = 3 * BLOCK_BYTES + 8 * MAX_TILE_NUMBERS * number
        return 2 * density + transforms + DEPOSIT_BYTES

    def blocks(self) -> list[slice]:
        """Blocks of rows, each of one residue class of h."""
        # Memory for the partial transforms of a row.
        densities = self.densities.density
        per_row = sum(d.shape[0] * d.shape[2:].numel() * 2 * d.element_size() for d in densities)
        n_rows = max(1, min(64, BLOCK_BYTES // per_row))
        if torch.is_grad_enabled():
            shape = self.rows.grid.shape
            held = 64 * (self.bodies.n_dof + 8 * self.bodies.n_bodies)
            n_rows = max(1, min(n_rows, GRAPH_BYTES // (held * shape[1] * shape[2])))
        return self.rows.blocks(n_rows)

    def tiles(self, block: slice) -> Iterator[Tile]:
        """Amplitudes of a block of rows, one tile after another.

        Yields
        ------
        Tile
            Only tiles with a valid point. Successive tiles with the same zone points share the
            same `k_frac` object.
        """
        bodies, densities, grid = self.bodies, self.densities, self.rows.grid
        axes = [axis.to(densities.mesh.steps.device) for axis in self.rows.axes]
        n_k = grid.samples[1]
        parts = list(zip(densities.density, densities.boxes, strict=True))
        depth = _ThirdAxis.of(densities, self.rows)
        along_h = [_apply_real(_waves(axes[0][block], d, box, densities, 0), d) for d, box in parts]
        k_first, k_last, _ = self.rows.region[1].indices(len(axes[1]))
        held = bodies.n_bodies * (4 + bodies.width) + bodies.n_dof
        n_columns = max(1, MAX_TILE_NUMBERS // (held * depth.l.numel() * along_h[0].shape[1]))
        for start in range(k_first, min(k_first + n_k, k_last)):
            k = axes[1][start:k_last:n_k]
            k_frac, bragg = depth.zone_points(axes[0][block.start], k[0], self.rows.bragg_tolerance)
            along_k = [
                _waves(k, d, box, densities, 1) @ partial
                for (d, box), partial in zip(parts, along_h, strict=True)
            ]
            indices = range(start, k_last, n_k)
            for i in range(0, len(indices), n_columns):
                part = indices[i : i + n_columns]
                columns = slice(part[0], part[-1] + 1, n_k)
                here = [partial[:, :, i : i + n_columns] for partial in along_k]
                tile = self._tile(depth, (k_frac, bragg), (block, columns), here)
                if tile is not None:
                    yield tile

    def _tile(
        self,
        depth: _ThirdAxis,
        zone: tuple[Tensor, Tensor],
        where: tuple[slice, slice],
        along_k: list[Tensor],
    ) -> Tile | None:
        """One tile, or None if it has no valid point."""
        bodies, mesh, rows = self.bodies, self.densities.mesh, self.rows
        (k_frac, bragg), like = zone, mesh.steps
        n = len(k_frac)
        h, k = (axis[part].to(like.device) for axis, part in zip(rows.axes, where, strict=False))
        begin, end = rows.range_along_l(h, k)
        if end <= begin:
            return None
        periods = slice((begin - depth.first) // n, -(-(end - depth.first) // n))
        l, index = depth.l[:, periods], depth.index[:, periods]  # noqa: E741
        shape = (l.shape[1], len(h), len(k))
        reciprocal = TWO_PI * rows.cell.inverse
        of_h, of_k = (
            torch.outer(x.to(like), row) for x, row in zip((h, k), reciprocal, strict=False)
        )
        of_hk = (of_h[:, None] + of_k).reshape(-1, 3).T
        q = (reciprocal[2][:, None] * l.to(like)[:, None])[..., None] + of_hk[:, None]
        q_squared = (q * q).sum(1)
        possible = (index < end) & ~bragg[:, None]
        valid = possible[:, :, None] & within_square(q_squared.detach(), rows.res_limit)
        sharp = q * mesh.sharpen(q_squared)[:, None]
        parts = []
        for body, partial in enumerate(along_k):
            waves = depth.waves[body][:, periods].reshape(-1, partial.shape[-1])
            sums = waves @ partial.reshape(-1, partial.shape[-1]).T
            sums = sums.reshape(n, shape[0], partial.shape[0], -1)
            parts += amplitudes_from_moments(bodies, body, sums.movedim(2, 0), sharp.unbind(1))
        G = bodies.gather(torch.stack(parts, dim=1).reshape(n, len(parts), -1), 1)
        return Tile(*where, (begin, end), k_frac, valid.reshape(n, -1), G, shape)

    def all_points(self) -> Tensor:
        """G at all points of the grid, shape (n_h n_k n_l, D); zero where not valid."""
        shape = self.rows.grid.shape
        like = self.densities.mesh.steps
        index = torch.arange(math.prod(shape), device=like.device).reshape(shape)
        where, values = [], []
        for block in self.blocks():
            for tile in self.tiles(block):
                good = tile.in_order(tile.valid)
                where.append(index[block, tile.k, tile.l[0] : tile.l[1]][good])
                each = [tile.in_order(tile.G[:, i])[good] for i in range(tile.G.shape[1])]
                values.append(torch.stack(each, dim=1))
        dtype = like.dtype.to_complex()
        empty = torch.zeros(index.numel(), self.bodies.n_dof, dtype=dtype, device=like.device)
        return empty.index_put((torch.cat(where),), torch.cat(values)) if where else empty


@dataclass(frozen=True)
class _ThirdAxis:
    """The third axis by residue class: values, indices, and phase factors of each body.

    Shapes (n_classes, m) and (n_classes, m, n_3); the last ones may be beyond the axis.
    """

    first: int
    last: int
    index: Tensor
    l: Tensor  # noqa: E741
    waves: tuple[Tensor, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, densities: GridDensities, rows: GridRows) -> _ThirdAxis:
        axis, n = rows.axes[2].to(densities.mesh.steps.device), rows.grid.samples[2]
        first, last, _ = rows.region[2].indices(len(axis))
        m = -(-(last - first) // n)
        index = first + torch.arange(m * n, device=axis.device).reshape(m, n).T
        l = axis[index.clamp(max=last - 1)]  # noqa: E741
        waves = tuple(
            _waves(l.reshape(-1), d, box, densities, 2).reshape(n, m, -1)
            for d, box in zip(densities.density, densities.boxes, strict=True)
        )
        return cls(first, last, index, l, waves, densities.mesh.steps.dtype)

    def zone_points(
        self, h: Tensor, k: Tensor, bragg_tolerance: float | None
    ) -> tuple[Tensor, Tensor]:
        """Zone points of the classes at one h and k, and whether each is a Bragg point."""
        n = len(self.l)
        k_frac = fold(torch.stack([h.expand(n), k.expand(n), self.l[:, 0]], dim=1))
        bragg = is_bragg(k_frac, bragg_tolerance)
        k_frac = torch.where(bragg[:, None], k_frac.new_tensor(ELSEWHERE), k_frac)
        return k_frac.to(self.dtype), bragg


def _waves(hkl: Tensor, density: Tensor, box: Box, densities: GridDensities, axis: int) -> Tensor:
    """``exp(2 pi i h x)`` for values of one Miller index and the mesh points of a box."""
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
