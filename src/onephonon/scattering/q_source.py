"""Source of the scattering vectors of a model: a grid, a list of q, or prepared points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onephonon.core.caching import ValueCache
from onephonon.core.errors import InputError
from onephonon.core.tensors import map_tensors, match_dtype_and_device
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.grid import HklGrid, check_samplings
from onephonon.crystal.zone import ZonePoints

from .points import QPoints, grid_points, list_points

Sampling = Sequence[float]


@dataclass(frozen=True, eq=False)
class QSource:
    """Source of scattering vectors; at most one of the three is given.

    Parameters
    ----------
    grid : HklGrid, optional
        A regular grid of Miller indices; q follow the cell.
    q : Tensor, shape (N, 3), optional
        The tensor of the caller, 1/Å with 2*pi included.
    listed : QPoints, optional
        Points with known wavevectors; their hkl are kept, and q follow the cell.
    """

    grid: HklGrid | None = None
    q: Tensor | None = None
    listed: QPoints | None = None

    @classmethod
    def from_samplings(cls, samplings: Sequence[Sampling | None]) -> QSource:
        """A grid from hsampling, ksampling and lsampling; empty if none of them is given.

        Raises
        ------
        InputError
            If only some are given, or as `check_samplings` raises it.
        """
        names = ("hsampling", "ksampling", "lsampling")
        overrides = [s for s in samplings if s is not None]
        missing = [n for n, s in zip(names, samplings, strict=True) if s is None]
        if not overrides:
            return cls()
        if missing:
            raise InputError(f"{', '.join(missing)} missing; give all three samplings or none")
        return cls(grid=check_samplings(*overrides))

    @classmethod
    def from_q(cls, q_vectors: Any, cell: UnitCell) -> QSource:
        """A list of q, prepared points, or a sample of `onephonon.sampling`.

        Raises
        ------
        InputError
            If the shape does not fit, a value is not finite, or points belong to another cell.
        """
        if hasattr(q_vectors, "points") and callable(q_vectors.points):
            q_vectors = q_vectors.points()
        if isinstance(q_vectors, QPoints) and not q_vectors.hkl.requires_grad:
            check_points(q_vectors, cell)
            return cls(listed=q_vectors)
        return cls(q=check_q(getattr(q_vectors, "q", q_vectors)))

    @property
    def tensors(self) -> list[Tensor]:
        """Tensors that the points depend on, besides the cell."""
        if self.listed is not None:
            return [self.listed.hkl, self.listed.valid]
        return [] if self.q is None else [self.q]

    @property
    def n_points(self) -> int:
        """Number of q."""
        if self.grid is not None:
            return math.prod(self.grid.shape)
        if self.listed is not None:
            return self.listed.n_q
        return 0 if self.q is None else len(self.q)

    @property
    def map_shape(self) -> tuple[int, int, int] | None:
        """Points along h, k and l of a grid; None for a list of q."""
        return None if self.grid is None else self.grid.shape

    def points(
        self, cell: UnitCell, limits: tuple[float, float | None], cache: ValueCache | None = None
    ) -> QPoints:
        """The points in a cell, which may be differentiable.

        Parameters
        ----------
        cell : UnitCell
        limits : (float, float or None)
            Resolution limit (Å) and Bragg tolerance; see `list_points`.
        cache : ValueCache, optional
            Cache for the points.

        Raises
        ------
        InputError
            If there are no points.
        """
        cache = cache or ValueCache()
        if self.q is not None:
            # Sorted once for given values, independent of gradients of cell and q.
            q = self.q.to(cell.matrix)
            bare = UnitCell(cell.matrix.detach())
            known = cache.get(
                "points",
                [bare.matrix, q.detach()],
                lambda: list_points(bare, q.detach(), *limits),
                limits,
            )
            return known.with_graphs(cell, q)
        if self.grid is not None:
            grid = self.grid
            return cache.get(
                "points", [cell.matrix], lambda: grid_points(cell, grid, *limits), limits
            )
        if self.listed is not None:
            listed = map_tensors(self.listed, lambda t: match_dtype_and_device(t, cell.matrix))
            return cache.get(
                "points",
                [cell.matrix, *self.tensors],
                lambda: listed.in_cell(cell, *limits),
                limits,
            )
        raise InputError(
            "there is nothing to compute: give hsampling, ksampling and lsampling for a map, or "
            "q_vectors for a list, or call the model with q"
        )


def points_with_own_modes(points: QPoints) -> QPoints:
    """The points, each with its own wavevector if q requires a gradient through its modes."""
    if not points.hkl.requires_grad:
        return points
    every = torch.arange(points.n_q, device=points.q.device)
    return QPoints(points.q, points.hkl, ZonePoints(points.hkl, every), points.valid)


#: Tolerance between given q and hkl, in Miller indices: rounding at |hkl| of 100.
POINTS_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}


def check_points(points: QPoints, cell: UnitCell) -> None:
    """Check that points were made for a cell.

    Raises
    ------
    InputError
        If their q and hkl are not the same in it.
    """
    hkl = cell.hkl_from_q(points.q.to(cell.matrix)).detach()
    off = float((hkl - points.hkl.to(hkl)).abs().max()) if len(hkl) else 0.0
    if off > POINTS_TOLERANCE[hkl.dtype]:
        raise InputError(
            f"the points' q and hkl differ by up to {off:.2g} in this crystal's cell: they were "
            "made for another cell; give their q instead, or create them again"
        )


def check_q(q: Any) -> Tensor:
    """Check q-vectors and convert them to a tensor; a tensor is returned unchanged."""
    if not isinstance(q, Tensor):
        array = np.asarray(q)
        q = torch.as_tensor(array.astype(np.float64) if array.dtype.kind in "iu" else array)
    if q.ndim != 2 or q.shape[1] != 3 or not q.is_floating_point():
        raise InputError(
            f"q_vectors has shape {tuple(q.shape)} and dtype {q.dtype}; give real numbers of "
            "shape (N, 3), in 1/Å with 2*pi included"
        )
    if not bool(torch.isfinite(q.detach()).all()):
        bad = int((~torch.isfinite(q.detach()).all(1)).nonzero()[0])
        raise InputError(f"q_vectors[{bad}] = {q[bad].tolist()} is not finite; remove it")
    return q
