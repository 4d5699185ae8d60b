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
from onephonon.network.bodies import Bodies

from ...grid_rows import GridRows, Region
from ...points import within_square
from ..monomials import amplitude_degree, n_monomials
from .axes import ThirdAxis, apply_real, apply_real_by_point, waves_along
from .grid_densities import GridDensities
from .moments import amplitudes_from_moments

#: Number of complex elements of a tile: about the size of a processor cache.
MAX_TILE_NUMBERS = 400_000

#: Bytes of the partial transforms of a block of rows, or this share of large densities, which
#: every block reads once.
BLOCK_BYTES = 128 * 2**20
BLOCK_SHARE = 0.5

#: Bytes of a block of rows in differentiable computations, which store a graph for each block.
GRAPH_BYTES = 256 * 2**20

#: Bytes of temporary arrays while densities are deposited.
DEPOSIT_BYTES = 100 * 2**20


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
class MomentTile(Tile):
    """A tile with the moments of every body, point by point.

    Parameters
    ----------
    q : Tensor, shape (n_classes, n_points, 3)
        1/Å.
    moments : Tensor, shape (n_classes, n_points, n_bodies, n_monomials(degree)), complex
        See `AmplitudeEngine.moments`; not zero where not valid.
    """

    q: Tensor
    moments: Tensor


@dataclass(frozen=True)
class _Place:
    """Where a tile lies: the fields of `Tile` that need no amplitudes, and its q.

    `periods` are its columns of the third axis; `q` has the shape (n_classes, 3, n_l, n_h n_k) and
    `sharpening` (n_classes, n_l, n_h n_k).
    """

    h: slice
    k: slice
    l: tuple[int, int]  # noqa: E741
    periods: slice
    shape: tuple[int, int, int]
    k_frac: Tensor
    valid: Tensor
    q: Tensor
    sharpening: Tensor


@dataclass(frozen=True)
class GridAmplitudes:
    """Amplitudes and moments on a regular grid, computed in blocks of rows.

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
        density = self._density_bytes()
        block = max(self._block_bytes(), self._row_bytes())
        tile = max(MAX_TILE_NUMBERS, self._numbers_per_point() * self.rows.grid.shape[2])
        return 2 * density + 3 * block + 8 * tile * number + DEPOSIT_BYTES

    def _density_bytes(self) -> int:
        return sum(d.numel() * d.element_size() for d in self.densities.density)

    def _block_bytes(self) -> int:
        """Bytes of the partial transforms of a block of rows."""
        return max(BLOCK_BYTES, int(BLOCK_SHARE * self._density_bytes()))

    def _row_bytes(self) -> int:
        """Bytes of the partial transforms of a row."""
        densities = self.densities.density
        return sum(d.shape[0] * d.shape[2:].numel() * 2 * d.element_size() for d in densities)

    def _numbers_per_point(self) -> int:
        """Complex numbers that a point of a tile with moments takes."""
        n_alpha = n_monomials(self.densities.degree)
        return self.bodies.n_bodies * (2 * n_alpha + self.bodies.width) + self.bodies.n_dof

    def blocks(self) -> list[slice]:
        """Blocks of rows, each of one residue class of h."""
        n_rows = max(1, min(64, self._block_bytes() // self._row_bytes()))
        if torch.is_grad_enabled():
            shape = self.rows.grid.shape
            n_weights = max(4, n_monomials(self.densities.degree))
            held = 64 * (self.bodies.n_dof + 2 * n_weights * self.bodies.n_bodies)
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
        bodies, densities = self.bodies, self.densities
        n_weights = n_monomials(amplitude_degree(bodies))
        depth = self._third_axis()
        along_h = [
            apply_real(waves, density[:n_weights])
            for waves, density in zip(self._waves(0, block), densities.density, strict=True)
        ]
        held = bodies.n_bodies * (4 + bodies.width) + bodies.n_dof
        n_columns = max(1, MAX_TILE_NUMBERS // (held * depth.l.numel() * along_h[0].shape[1]))
        for columns, zone in self._columns(block, depth):
            along_k = [w @ p for w, p in zip(self._waves(1, columns), along_h, strict=True)]
            for few, part in _split(columns, n_columns):
                place = self._place(depth, zone, block, few)
                if place is not None:
                    yield self._tile(place, depth, [partial[:, :, part] for partial in along_k])

    def moment_tiles(self, block: slice) -> Iterator[MomentTile]:
        """Moments and amplitudes of a block of rows, one tile after another.

        Yields
        ------
        MomentTile
            As for `tiles`, but `h` may be a part of the block.
        """
        depth = self._third_axis()
        along_h = [
            apply_real_by_point(waves, density)
            for waves, density in zip(self._waves(0, block), self.densities.density, strict=True)
        ]
        n_pairs = max(1, MAX_TILE_NUMBERS // (self._numbers_per_point() * depth.l.numel()))
        for columns, zone in self._columns(block, depth):
            n_columns = len(range(columns.start, columns.stop, columns.step))
            # Few rows at a time: their products stay in the cache, in memory that is used again.
            for rows, h_part in _split(block, max(1, n_pairs // n_columns)):
                along_k = [
                    (w @ p[h_part].flatten(2)).unflatten(2, p.shape[2:])
                    for w, p in zip(self._waves(1, columns), along_h, strict=True)
                ]
                for few, k_part in _split(columns, n_pairs):
                    place = self._place(depth, zone, rows, few)
                    if place is not None:
                        here = [partial[:, k_part] for partial in along_k]
                        yield self._moment_tile(place, depth, here)

    def _third_axis(self) -> ThirdAxis:
        densities = self.densities
        like, fraction = densities.mesh.steps, densities.fractions[2]
        return ThirdAxis.of(densities.boxes, fraction, self.rows, like)

    def _waves(self, axis: int, part: slice) -> Iterator[Tensor]:
        """Phase factors of each body along an axis of the grid."""
        densities = self.densities
        like = densities.mesh.steps
        hkl = self.rows.axes[axis].to(like.device)[part]
        for box in densities.boxes:
            yield waves_along(hkl, box, axis, densities.fractions[axis], like)

    def _columns(
        self, block: slice, depth: ThirdAxis
    ) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
        """Each residue class of k, with its zone points and whether they are Bragg points."""
        h, k = (axis.to(self.densities.mesh.steps.device) for axis in self.rows.axes[:2])
        first, last, _ = self.rows.region[1].indices(len(k))
        n = self.rows.grid.samples[1]
        for start in range(first, min(first + n, last)):
            zone = depth.zone_points(h[block.start], k[start], self.rows.bragg_tolerance)
            yield slice(start, last, n), zone

    def _place(
        self, depth: ThirdAxis, zone: tuple[Tensor, Tensor], block: slice, columns: slice
    ) -> _Place | None:
        """Where a tile lies, or None if it has no valid point."""
        mesh, rows = self.densities.mesh, self.rows
        (k_frac, bragg), like = zone, mesh.steps
        n = len(k_frac)
        h, k = (
            axis[part].to(like.device)
            for axis, part in zip(rows.axes, (block, columns), strict=False)
        )
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
        return _Place(
            *(block, columns, (begin, end), periods, shape, k_frac, valid.reshape(n, -1), q),
            mesh.sharpen(q_squared),
        )

    def _tile(self, place: _Place, depth: ThirdAxis, along_k: list[Tensor]) -> Tile:
        bodies, length = self.bodies, self.densities.length
        n, n_l = len(place.k_frac), place.shape[0]
        sharp = (place.q * place.sharpening[:, None]).unbind(1)
        parts = []
        for body, partial in enumerate(along_k):
            waves = depth.waves[body][:, place.periods].reshape(-1, partial.shape[-1])
            sums = waves @ partial.reshape(-1, partial.shape[-1]).T
            sums = sums.reshape(n, n_l, partial.shape[0], -1).movedim(2, 0)
            parts += amplitudes_from_moments(bodies, body, sums, sharp, length)
        G = bodies.gather(torch.stack(parts, dim=1).reshape(n, len(parts), -1), 1)
        return Tile(place.h, place.k, place.l, place.k_frac, place.valid, G, place.shape)

    def _moment_tile(self, place: _Place, depth: ThirdAxis, along_k: list[Tensor]) -> MomentTile:
        bodies, length = self.bodies, self.densities.length
        n = len(place.k_frac)
        q, sharpening = place.q.flatten(2), place.sharpening.reshape(n, -1, 1)
        of_bodies, parts = [], []
        for body, partial in enumerate(along_k):
            waves = depth.waves[body][:, place.periods].reshape(-1, partial.shape[-1])
            sums = waves @ partial.reshape(-1, partial.shape[-1]).T
            moments = sums.reshape(n, -1, partial.shape[2]) * sharpening
            of_bodies.append(moments)
            first = moments[:, :, :4].movedim(2, 0)
            parts += amplitudes_from_moments(bodies, body, first, q.unbind(1), length)
        G = bodies.gather(torch.stack(parts, dim=1), 1)
        return MomentTile(
            *(place.h, place.k, place.l, place.k_frac, place.valid, G, place.shape, q.mT),
            torch.stack(of_bodies, dim=2) if len(of_bodies) > 1 else of_bodies[0][:, :, None],
        )

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


def _split(indices: slice, n: int) -> Iterator[tuple[slice, slice]]:
    """Parts of at most n of some indices, and the position of each among them."""
    every = range(indices.start, indices.stop, indices.step)
    for i in range(0, len(every), n):
        few = every[i : i + n]
        yield slice(few[0], few[-1] + 1, indices.step), slice(i, i + n)
