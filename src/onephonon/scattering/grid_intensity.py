"""Whole maps: the intensity on a regular grid, block of rows by block of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.progress import Progress
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.zone import is_bragg
from onephonon.dynamics.bloch import bloch_sum
from onephonon.dynamics.solvers.dense import quadratic_form
from onephonon.dynamics.stiffness_matrix import factorize
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .amplitudes.gridded import (
    BLOCK_BYTES,
    TILE_NUMBERS,
    Densities,
    Tile,
    Walk,
    grid_densities,
    rows_at_a_time,
    tiles,
)
from .grid_symmetry import Region, Symmetry, row_images
from .intensity import intensity
from .points import list_points

#: Where K is formed in place of a Bragg point, whose intensity is not defined.
ELSEWHERE = (0.5, 0.5, 0.5)

WHOLE: Region = (slice(None), slice(None), slice(None))

#: How many q, and how nearly (relative) their images must agree, for a map to be symmetric.
N_TRIED = 3
SYMMETRIC = {torch.float64: 1e-8, torch.float32: 1e-3}

#: Bytes of passing arrays while densities are deposited.
DEPOSIT_BYTES = 100 * 2**20

#: Bytes of a block of rows whose graph is built at a time, in passes that are differentiated.
GRAPH_BYTES = 256 * 2**20


#: ``G^H K(k)^-1 G`` of zone points and amplitudes.
Form = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class MapJob:
    """All that the rows of a map are computed from.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    densities : Densities
    walk : Walk
    scale : Tensor or float
        Thermal scale s.
    """

    bodies: Bodies
    constants: ForceConstants
    densities: Densities
    walk: Walk
    scale: Tensor | float

    @classmethod
    def prepare(
        cls,
        bodies: Bodies,
        constants: ForceConstants,
        grid: HklGrid,
        U: Tensor,
        scale: Tensor | float = 1.0,
        *,
        rtol: float = 1e-6,
        res_limit: float = 0.0,
        bragg_tolerance: float | None = None,
        region: Region | None = None,
    ) -> MapJob:
        """Deposit the densities and lay out the walk over the grid.

        Parameters
        ----------
        bodies, constants, U, scale
            As for `scattering.intensity`.
        grid : HklGrid
        rtol : float
            Wanted accuracy, relative to the intensity and the map's rms, added.
        res_limit : float
            Points of smaller d are left out, Å.
        bragg_tolerance : float, optional
            See `is_bragg`.
        region : three slice, optional
            The part of the grid to compute.
        """
        walk = Walk(grid, bodies.crystal.cell, res_limit, bragg_tolerance, region or WHOLE)
        made = grid_densities(bodies, grid, U, rtol, walk.q_max)
        return cls(bodies, constants, made, walk, scale)

    def memory(self) -> int:
        """Bytes needed beside the map itself, about."""
        number = 2 * self.densities.mesh.steps.element_size()
        density = sum(d.numel() for d in self.densities.density) * number // 2
        transforms = 3 * BLOCK_BYTES + 8 * TILE_NUMBERS * number
        return 2 * density + transforms + DEPOSIT_BYTES

    def blocks(self) -> list[slice]:
        """The rows of each step of the work, one residue class of h at a time."""
        n_rows = rows_at_a_time(self.densities)
        if torch.is_grad_enabled():
            shape = self.walk.grid.shape
            held = 64 * (self.bodies.n_dof + 8 * self.bodies.n_bodies)
            n_rows = max(1, min(n_rows, GRAPH_BYTES // (held * shape[1] * shape[2])))
        return self.walk.blocks(n_rows)

    def rows(self, block: slice) -> Tensor:
        """Intensities of a block of rows, shape (n_rows, n_k, n_l); NaN where there is none."""
        shape = self.walk.grid.shape
        n_rows = len(range(*block.indices(shape[0])))
        like = self.densities.mesh.steps
        out = torch.full((n_rows, *shape[1:]), torch.nan, dtype=like.dtype, device=like.device)
        where, values = [], []
        index = torch.arange(out.numel(), device=like.device).reshape(out.shape)
        graph = torch.is_grad_enabled()
        form = self._form()
        for tile in tiles(self.bodies, self.densities, self.walk, block):
            value = tile.in_order(self._intensity(tile, form))
            if not graph:
                out[:, tile.k, tile.l[0] : tile.l[1]] = self.scale * value
                continue
            good = tile.in_order(tile.valid)
            where.append(index[:, tile.k, tile.l[0] : tile.l[1]][good])
            values.append(value[good])
        if where:
            flat = out.reshape(-1).index_put((torch.cat(where),), self.scale * torch.cat(values))
            out = flat.reshape(out.shape)
        return out

    def _intensity(self, tile: Tile, form: Form) -> Tensor:
        """``G^H K^-1 G`` of a tile, shape (n_classes, n_points)."""
        bragg = is_bragg(tile.k_frac, self.walk.bragg_tolerance)[:, None]
        k_frac = torch.where(bragg, tile.k_frac.new_tensor(ELSEWHERE), tile.k_frac)
        return torch.where(tile.valid, form(k_frac, tile.G), torch.nan)

    def _form(self) -> Form:
        """``G^H K^-1 G`` as a function of zone points (n, 3) and G (n, D, n_points)."""
        bodies, constants = self.bodies, self.constants
        if torch.is_grad_enabled():

            def differentiable(k_frac: Tensor, G: Tensor) -> Tensor:
                hkl = k_frac[:, None].expand(-1, G.shape[2], 3)
                return quadratic_form(bodies, constants, k_frac, hkl, G.mT)

            return differentiable
        c = constants
        sums = bloch_sum(c.onsite, c.coupling, c.a, c.b, c.cell, bodies.dof)

        def plain(k_frac: Tensor, G: Tensor) -> Tensor:
            factor = factorize(sums.stiffness(k_frac))
            eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
            half = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False) @ G
            return (half.real.square() + half.imag.square()).sum(1)

        return plain


def map_intensity(job: MapJob, symmetry: Symmetry, progress: Progress | None = None) -> Tensor:
    """Intensity at every point of a grid.

    Parameters
    ----------
    job : MapJob
        For the region of `symmetry`.
    symmetry : Symmetry
    progress : callable, optional
        Told how many rows are done.

    Returns
    -------
    Tensor, shape (n_h, n_k, n_l), e^2 per cell
        NaN beyond the resolution limit and at Bragg points. First derivatives in all that the job
        was made of; the backward pass forms each block anew.
    """
    shape = job.walk.grid.shape
    like = job.densities.mesh.steps
    blocks = job.blocks()
    total = sum(len(range(*block.indices(shape[0]))) for block in blocks)
    done, parts, rows = 0, [], []
    for block in blocks:
        if torch.is_grad_enabled():
            part = checkpoint(job.rows, block, use_reentrant=False)
        else:
            part = job.rows(block)
        parts.append(part)
        rows.append(torch.arange(shape[0], device=like.device)[block])
        done += len(part)
        if progress:
            progress("map", done, total)
    out = torch.full(shape, torch.nan, dtype=like.dtype, device=like.device)
    out = out.index_put((torch.cat(rows),), torch.cat(parts))
    return out if symmetry.whole else _expand(job, symmetry, out)


def _expand(job: MapJob, symmetry: Symmetry, computed: Tensor) -> Tensor:
    """Fill a map from the region computed."""
    shape = symmetry.grid.shape
    every = replace(job, walk=replace(job.walk, region=WHOLE))
    source = torch.full(shape, -1, dtype=torch.int64)
    for row in range(shape[0]):
        for here, image in row_images(symmetry, row):
            source[row][here] = (image[:, 0] * shape[1] + image[:, 1]) * shape[2] + image[:, 2]
    source = source.to(computed.device)
    filled = computed.reshape(-1)[source.clamp(min=0)]
    # What no operator reaches, at odd ends of a grid, is computed like the region itself.
    lost = (source < 0).reshape(shape[0], -1).any(1).nonzero().squeeze(1)
    if len(lost):
        rows = torch.cat([every.rows(slice(row, row + 1)) for row in lost.tolist()])
        filled = filled.index_put((lost,), rows)
    return filled


def slab(job: MapJob, rows: slice) -> Tensor:
    """Intensity of consecutive rows within the job's region, shape (n_rows, n_k, n_l)."""
    walk = job.walk
    part = replace(job, walk=replace(walk, region=(rows, *walk.region[1:])))
    like = job.densities.mesh.steps
    n_rows = rows.stop - rows.start
    out = torch.full((n_rows, *walk.grid.shape[1:]), torch.nan).to(like)
    for block in part.blocks():
        out[block.start - rows.start : block.stop - rows.start : block.step] = part.rows(block)
    return out


def filled_slab(
    job: MapJob, symmetry: Symmetry, rows: slice, read: Callable[[Region], Tensor]
) -> Tensor:
    """Consecutive rows from the region computed, by symmetry.

    Parameters
    ----------
    job : MapJob
        For what no operator reaches.
    symmetry : Symmetry
    rows : slice
    read : callable
        Gives computed values within a region.
    """
    like = job.densities.mesh.steps
    n_rows = rows.stop - rows.start
    out = torch.full((n_rows, *symmetry.grid.shape[1:]), torch.nan).to(like)
    for i, row in enumerate(range(rows.start, rows.stop)):
        missing = torch.ones(symmetry.grid.shape[1:], dtype=torch.bool)
        for here, image in row_images(symmetry, row):
            low, high = image.min(0).values, image.max(0).values + 1
            box = [slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
            values = read((box[0], box[1], box[2]))
            a, b, c = (image - low).unbind(1)
            out[i][here.to(like.device)] = values[a, b, c].to(like)
            missing &= ~here
        if bool(missing.any()):
            every = replace(job, walk=replace(job.walk, region=WHOLE))
            out[i] = every.rows(slice(row, row + 1))[0]
    return out


def has_symmetry(
    bodies: Bodies, constants: ForceConstants, U: Tensor, operators: NDArray[np.int64]
) -> bool:
    """Whether intensities have the symmetry of a Laue group, tried at a few q.

    A zone mesh less symmetric than the crystal gives its copies different ADPs, and a user's
    springs may do what they like.
    """
    generator = torch.Generator().manual_seed(0)
    cell = bodies.crystal.cell
    hkl = torch.rand(N_TRIED, 3, generator=generator, dtype=torch.float64)
    rotations = torch.as_tensor(operators, dtype=hkl.dtype)
    images = torch.einsum("nx,oxy->noy", hkl, rotations).reshape(-1, 3)
    with torch.no_grad():
        matrix = UnitCell(cell.matrix.detach())
        # About 4 Å away from the origin, where every atom still matters.
        q = matrix.q_from_hkl((images * float(matrix.volume) ** (1 / 3) / 4).to(matrix.matrix))
        found = intensity(bodies, constants, list_points(matrix, q), U).reshape(N_TRIED, -1)
    spread = (found - found[:, :1]).abs().max(1).values
    return bool((spread <= SYMMETRIC[found.dtype] * found.mean(1)).all())


def map_amplitudes(job: MapJob) -> Tensor:
    """G at every point of a grid, to be kept, shape (n_h n_k n_l, D); zero where not valid."""
    shape = job.walk.grid.shape
    like = job.densities.mesh.steps
    index = torch.arange(math.prod(shape), device=like.device).reshape(shape)
    where, values = [], []
    for block in job.blocks():
        for tile in tiles(job.bodies, job.densities, job.walk, block):
            good = tile.in_order(tile.valid)
            where.append(index[block, tile.k, tile.l[0] : tile.l[1]][good])
            each = [tile.in_order(tile.G[:, i])[good] for i in range(tile.G.shape[1])]
            values.append(torch.stack(each, dim=1))
    n_dof = job.bodies.n_dof
    empty = torch.zeros(index.numel(), n_dof, dtype=like.dtype.to_complex(), device=like.device)
    return empty.index_put((torch.cat(where),), torch.cat(values)) if where else empty
