"""Whole maps: the intensity on a regular grid, computed in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.progress import Progress
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid
from onephonon.dynamics.solvers.base import Solver
from onephonon.dynamics.solvers.choice import SolverLike, make_solver
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .amplitudes.base import GridEngine
from .amplitudes.mesh.gridded import GridAmplitudes, MomentTile, Tile
from .amplitudes.monomials import amplitude_degree
from .grid_rows import WHOLE, GridRows, Region
from .grid_symmetry import Symmetry, row_images
from .multiphonon.higher_orders import HigherOrders


@dataclass(frozen=True)
class GridIntensity:
    """The intensity on a regular grid, computed in blocks of rows.

    Parameters
    ----------
    amplitudes : GridAmplitudes
    solver : Solver
    scale : Tensor or float
        Thermal scale s.
    higher : HigherOrders, optional
        The orders beyond the first.
    """

    amplitudes: GridAmplitudes
    solver: Solver
    scale: Tensor | float
    higher: HigherOrders | None = None

    @classmethod
    def prepare(
        cls,
        bodies: Bodies,
        constants: ForceConstants,
        grid: HklGrid,
        U: Tensor,
        scale: Tensor | float = 1.0,
        *,
        engine: GridEngine,
        solver: SolverLike = "auto",
        res_limit: float = 0.0,
        bragg_tolerance: float | None = None,
        region: Region = WHOLE,
        higher: HigherOrders | None = None,
    ) -> GridIntensity:
        """Compute the densities and arrange the rows.

        Parameters
        ----------
        bodies, constants, U, scale, solver
            As for `one_phonon_intensity`.
        grid : HklGrid
        engine : MeshEngine or DensityEngine
        res_limit : float
            Points of smaller d (Å) are not valid.
        bragg_tolerance : float, optional
            See `is_bragg`.
        region : three slice, optional
            The part of the grid to compute.
        higher : HigherOrders, optional
            The orders beyond the first.
        """
        rows = GridRows(grid, bodies.crystal.cell, res_limit, bragg_tolerance, region)
        made = make_solver(bodies, constants, solver)
        if higher is None:
            return cls(engine.on_grid(bodies, rows, U), made, scale)
        degree = max(higher.degree, amplitude_degree(bodies))
        return cls(engine.on_grid(bodies, rows, U, degree, higher.length), made, scale, higher)

    @property
    def grid(self) -> HklGrid:
        """The whole grid."""
        return self.amplitudes.rows.grid

    def memory_bytes(self) -> int:
        """Approximate memory in bytes, without the map itself."""
        return self.amplitudes.memory_bytes() + (self.higher.memory_bytes() if self.higher else 0)

    def within(self, region: Region) -> GridIntensity:
        """The intensity on another part of the grid."""
        return replace(self, amplitudes=self.amplitudes.within(region))

    def blocks(self) -> list[slice]:
        """Blocks of rows, each of one residue class of h."""
        return self.amplitudes.blocks()

    def empty(self, n_rows: int) -> Tensor:
        """Rows filled with NaN, shape (n_rows, n_k, n_l)."""
        like = self.amplitudes.densities.mesh.steps
        shape = (n_rows, *self.grid.shape[1:])
        return torch.full(shape, torch.nan, dtype=like.dtype, device=like.device)

    def at(self, block: slice) -> Tensor:
        """Intensities of a block of rows, shape (n_rows, n_k, n_l); NaN where not valid."""
        out = self.empty(len(range(*block.indices(self.grid.shape[0]))))
        if torch.is_grad_enabled():
            return self._differentiable(block, out)
        k_frac = None
        for tile in self._tiles(block):
            if tile.k_frac is not k_frac:
                k_frac, factored = tile.k_frac, self.solver.at(tile.k_frac)
            value = self.scale * factored.quadratic_form(tile.G.mT)
            if isinstance(tile, MomentTile):
                value = value + self._beyond(tile)
            value = tile.in_order(torch.where(tile.valid, value, torch.nan))
            out[_within(tile.h, block), tile.k, tile.l[0] : tile.l[1]] = value
        return out

    def _tiles(self, block: slice) -> Iterator[Tile]:
        """Tiles with what is needed: amplitudes, or moments, too."""
        return (
            self.amplitudes.tiles(block)
            if self.higher is None
            else self.amplitudes.moment_tiles(block)
        )

    def _beyond(self, tile: MomentTile) -> Tensor:
        """Orders beyond the first at the valid points of a tile, else zero, (n_classes, n)."""
        assert self.higher is not None
        where = tile.valid.reshape(-1).nonzero().squeeze(1)
        q = tile.q.reshape(-1, 3)[where]
        hkl = self.amplitudes.rows.cell.hkl_from_q(q)
        found = self.higher.at(q, hkl, tile.moments.flatten(0, 1)[where])
        every = found.new_zeros(tile.valid.numel()).index_put((where,), found)
        return every.reshape(tile.valid.shape)

    def _differentiable(self, block: slice, out: Tensor) -> Tensor:
        """The same with gradients: only the valid points, all at once."""
        where, values = [], []
        index = torch.arange(out.numel(), device=out.device).reshape(out.shape)
        for tile in self._tiles(block):
            good = tile.in_order(tile.valid)
            here = index[_within(tile.h, block), tile.k, tile.l[0] : tile.l[1]]
            value = self.scale * self._form(tile)
            if isinstance(tile, MomentTile):
                value = value + self._beyond(tile)
            where.append(here[good])
            values.append(tile.in_order(value)[good])
        if not where:
            return out
        flat = out.reshape(-1).index_put((torch.cat(where),), torch.cat(values))
        return flat.reshape(out.shape)

    def _form(self, tile: Tile) -> Tensor:
        """``G^H K^-1 G`` of a tile, differentiable, shape (n_classes, n_points)."""
        hkl = tile.k_frac[:, None].expand(-1, tile.G.shape[2], 3)
        return self.solver.quadratic_form(tile.k_frac, hkl, tile.G.mT)


def _within(rows: slice, block: slice) -> slice:
    """Position of some rows of a block in it."""
    step = block.step
    return slice((rows.start - block.start) // step, (rows.stop - 1 - block.start) // step + 1)


def largest_q_of_grid(grid: HklGrid, cell: UnitCell, res_limit: float = 0.0) -> float:
    """Largest |q| of a grid within a resolution limit, 1/Å."""
    return GridRows(grid, cell, res_limit).largest_q()


def map_intensity(
    intensity: GridIntensity, symmetry: Symmetry, progress: Progress | None = None
) -> Tensor:
    """Intensity at every point of a grid.

    Parameters
    ----------
    intensity : GridIntensity
        Restricted to the region of `symmetry`.
    symmetry : Symmetry
    progress : callable, optional
        Called with the number of rows done.

    Returns
    -------
    Tensor, shape (n_h, n_k, n_l), e^2 per cell
        NaN beyond the resolution limit and at Bragg points. Once differentiable in everything
        it depends on; the backward pass recomputes each block.
    """
    shape, blocks = intensity.grid.shape, intensity.blocks()
    out = intensity.empty(shape[0])
    total = sum(len(range(*block.indices(shape[0]))) for block in blocks)
    done, parts, rows = 0, [], []
    for block in blocks:
        if torch.is_grad_enabled():
            part = checkpoint(intensity.at, block, use_reentrant=False)
        else:
            part = intensity.at(block)
        parts.append(part)
        rows.append(torch.arange(shape[0], device=out.device)[block])
        done += len(part)
        if progress:
            progress("map", done, total)
    out = out.index_put((torch.cat(rows),), torch.cat(parts))
    return out if symmetry.whole else _expand(intensity, symmetry, out)


def _expand(intensity: GridIntensity, symmetry: Symmetry, computed: Tensor) -> Tensor:
    """Generate a map from the computed region."""
    shape = symmetry.grid.shape
    source = torch.full(shape, -1, dtype=torch.int64)
    for row in range(shape[0]):
        for here, image in row_images(symmetry, row):
            source[row][here] = (image[:, 0] * shape[1] + image[:, 1]) * shape[2] + image[:, 2]
    source = source.to(computed.device)
    filled = computed.reshape(-1)[source.clamp(min=0)]
    # Points at the ends of a grid that no operator generates are computed like the region.
    lost = (source < 0).reshape(shape[0], -1).any(1).nonzero().squeeze(1)
    if len(lost):
        every = intensity.within(WHOLE)
        rows = torch.cat([every.at(slice(row, row + 1)) for row in lost.tolist()])
        filled = filled.index_put((lost,), rows)
    return filled


def slab(intensity: GridIntensity, rows: slice) -> Tensor:
    """Intensity of consecutive rows of the region, shape (n_rows, n_k, n_l)."""
    part = intensity.within((rows, *intensity.amplitudes.rows.region[1:]))
    out = intensity.empty(rows.stop - rows.start)
    for block in part.blocks():
        out[block.start - rows.start : block.stop - rows.start : block.step] = part.at(block)
    return out


def filled_slab(
    intensity: GridIntensity, symmetry: Symmetry, rows: slice, read: Callable[[Region], Tensor]
) -> Tensor:
    """Consecutive rows, generated from the computed region by symmetry.

    Parameters
    ----------
    intensity : GridIntensity
        For points that no operator generates.
    symmetry : Symmetry
    rows : slice
    read : callable
        Returns the computed values of a region.
    """
    out = intensity.empty(rows.stop - rows.start)
    for i, row in enumerate(range(rows.start, rows.stop)):
        missing = torch.ones(symmetry.grid.shape[1:], dtype=torch.bool)
        for here, image in row_images(symmetry, row):
            low, high = image.min(0).values, image.max(0).values + 1
            box = [slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
            values = read((box[0], box[1], box[2]))
            a, b, c = (image - low).unbind(1)
            out[i][here.to(out.device)] = values[a, b, c].to(out)
            missing &= ~here
        if bool(missing.any()):
            out[i] = intensity.within(WHOLE).at(slice(row, row + 1))[0]
    return out
