"""A map in the indices of another one, to show the two together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.reindexing import Reindexing
from onephonon.crystal.symmetry import laue_operators
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.interpolation import interpolate
from onephonon.maps.reindexing import reindex as reindex_map
from onephonon.maps.resampling import onto_coarser

from .comparison import candidates_for, with_cell
from .settings import Settings
from .target import Target
from .trials import choose, run_trials

Float64 = NDArray[np.float64]

#: Number of voxels by which indexings are compared: the standard error of a correlation depends on
#: the number of blocks of voxels, hardly on the number of voxels in each.
MAX_VOXELS = 250_000


@dataclass(frozen=True, eq=False)
class MapPair:
    """Two maps with the same indices.

    Parameters
    ----------
    first : DiffuseMap
        In the indices of the second.
    second : DiffuseMap
        With the cell of the first if it had none.
    reindexing : Reindexing
        From the second map's indices to those that the first had.
    decision : str
        Why this indexing was used; empty if the lattice allows no other.
    """

    first: DiffuseMap
    second: DiffuseMap
    reindexing: Reindexing
    decision: str


def in_same_indices(first: DiffuseMap, second: DiffuseMap, reindex: str = "auto") -> MapPair:
    """Change the indices of a map to those of a second one, chosen as `compare_maps` does.

    Parameters
    ----------
    first, second : DiffuseMap
        On grids, which may differ: where they do, the first is interpolated to compare indexings,
        or averaged if it is finer in every direction.
    reindex : str
        As in `Settings`: 'auto', 'best', 'none', or an operator from the second map's indices to
        the first's.

    Returns
    -------
    MapPair

    Raises
    ------
    InputError
        If one is a list, the cells differ, or the lattice does not allow the operator.
    """
    settings = Settings(reindex=reindex)
    first.require_grid()
    second = with_cell(second, first.cell)
    grid, _ = second.require_grid()
    symmetry, cell = first.spacegroup or second.spacegroup, first.cell
    candidates = candidates_for(settings, symmetry, cell, second.cell)
    laue = laue_operators(symmetry, cell) if symmetry else np.eye(3, dtype=np.int64)[None]
    if len(candidates) == 1:
        chosen, decision = candidates[0], ""
    else:
        averaged = onto_coarser(first, grid)
        target = Target.of(thinned(second, np.flatnonzero(second.mask), MAX_VOXELS), settings)
        hkl = target.hkl()

        def values(candidate: Reindexing) -> Float64:
            return _interpolated(averaged, hkl @ candidate.operator, laue)

        operators = [c.operator @ L for c in candidates for L in laue]
        trials = run_trials(target, values, candidates, settings, operators)
        trial, decision = choose(trials, settings)
        chosen = trial.reindexing
    if chosen.is_identity:
        return MapPair(first, second, chosen, decision)
    return MapPair(_reindexed(first, second, chosen, laue), second, chosen, decision)


def _interpolated(diffuse: DiffuseMap, hkl: Float64, laue: NDArray[np.int64]) -> Float64:
    """Values at hkl, or where there are none, at equivalent ones."""
    found = np.full(len(hkl), np.nan)
    for operator in laue:
        missing = np.flatnonzero(np.isnan(found))
        if not len(missing):
            break
        found[missing] = interpolate(diffuse, hkl[missing] @ operator)
    return found


def _reindexed(
    first: DiffuseMap, second: DiffuseMap, chosen: Reindexing, laue: NDArray[np.int64]
) -> DiffuseMap:
    """The first map in the second's indices: the same voxels, or interpolated if they do not fit.

    Of the operators that are equivalent by symmetry, the one is used that leaves most voxels of the
    second map with a value: the first may be only a part of reciprocal space.
    """
    hkl = Target.of(thinned(second, np.flatnonzero(second.mask), MAX_VOXELS), Settings()).hkl()
    operators = [chosen.operator @ L for L in laue]
    counts = [np.isfinite(interpolate(first, hkl @ operator)).sum() for operator in operators]
    operator = operators[int(np.argmax(counts))]
    back = np.linalg.inv(operator.T)
    whole = np.abs(back - np.rint(back)).max() < 1e-9
    if whole:
        try:
            found = reindex_map(first, np.rint(back).astype(np.int64))
            # An operator with inversion serves intensities, but turns the screw axes round.
            mirrored = np.linalg.det(back) < 0
            return replace(found, spacegroup=second.spacegroup) if mirrored else found
        except InputError:
            pass  # axes of different steps are mixed
    grid, _ = second.require_grid()
    values = np.empty(grid.shape)
    for rows in grid.slabs():
        index = np.indices((rows.stop - rows.start, *grid.shape[1:])).reshape(3, -1)
        index[0] += rows.start
        at = grid.hkl_of_voxels(tuple(index)) @ operator
        values[rows] = interpolate(first, at).reshape(-1, *grid.shape[1:])
    step = f"interpolated on another grid, at {chosen.name} of its indices"
    there = {"grid": grid, "cell": second.cell, "spacegroup": second.spacegroup}
    return first.changed(step, {"intensity": values}, **there)


def thinned(diffuse: DiffuseMap, voxel_index: NDArray[np.int64], n: int) -> DiffuseMap:
    """A map with n of the given voxels, chosen at random, without sigma, counts and half-sets.

    The map itself if there are no more than n.
    """
    if len(voxel_index) <= n:
        return diffuse
    chosen = np.random.default_rng(0).choice(voxel_index, n, replace=False)
    values = np.full(diffuse.intensity.size, np.nan)
    values[chosen] = diffuse.intensity.reshape(-1)[chosen]
    shaped = {"intensity": values.reshape(diffuse.intensity.shape)}
    return diffuse.changed(f"{n} voxels chosen at random", shaped)
