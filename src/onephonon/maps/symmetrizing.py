"""Averaging over the operators of the Laue group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.grid import SLAB, HklGrid
from onephonon.crystal.symmetry import laue_operators, triplet

from .affine import IndexMap, enclosing, index_map, pick
from .diffuse import Array, DiffuseMap
from .interpolation import ON_VOXEL, trilinear


@dataclass(frozen=True, eq=False)
class Symmetrized:
    """Result of averaging over equivalent voxels.

    Parameters
    ----------
    map : DiffuseMap
    multiplicity : ndarray of uint8, shape of the map
        Number of distinct equivalent voxels that have an intensity.
    spread : ndarray, shape of the map
        Their standard deviation (divided by n - 1); NaN for fewer than two.
    """

    map: DiffuseMap
    multiplicity: NDArray[np.uint8]
    spread: Array


def symmetrize(
    diffuse: DiffuseMap,
    laue: str | None = None,
    *,
    weighted: bool = False,
    fill: bool = False,
    interpolate: bool = False,
) -> Symmetrized:
    """Average each voxel with its equivalents in the Laue group.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid, which need not be symmetric about the origin: equivalents outside it
        and missing ones are ignored.
    laue : str, optional
        Space group or Laue class; by default the map's space group. See `laue_operators`.
    weighted : bool
        Weight each voxel by 1/sigma^2; voxels without a positive sigma are then ignored.
    fill : bool
        Enlarge the grid to hold all equivalents of its voxels.
    interpolate : bool
        Interpolate where an operator maps voxels between voxels.

    Returns
    -------
    Symmetrized
        Sigma is that of a mean of independent voxels (the spread is the observed counterpart);
        counts are summed; both half-sets are averaged in the same way.

    Raises
    ------
    InputError
        If the symmetry is unknown or incompatible with the cell, an operator does not map the
        points of the grid onto each other and `interpolate` is not set, or weights lack sigmas.
    """
    grid, cell = diffuse.require_grid()
    symmetry = laue or diffuse.spacegroup
    if not symmetry:
        raise InputError("the map has no space group; give its Laue class or space group")
    if weighted and diffuse.sigma is None:
        raise InputError("weights of 1/sigma^2 need sigmas, and the map has none")
    operators = laue_operators(symmetry, cell)
    new = enclosing(grid, operators, grid) if fill else grid
    maps = [index_map(new, grid, operator) for operator in operators]
    if not interpolate:
        _check_exact(maps, operators, grid, symmetry)
    arrays = {name: np.empty(new.shape, values.dtype) for name, values in diffuse.arrays.items()}
    multiplicity = np.empty(new.shape, dtype=np.uint8)
    spread = np.empty(new.shape, dtype=diffuse.intensity.dtype)
    for rows in new.slabs(SLAB // len(maps)):
        found = _equivalents(diffuse, maps, rows, new.shape)
        own = _site_multiplicity(maps, rows, new.shape)
        mean, multiplicity[rows], spread[rows] = _average(found, own, weighted)
        for name, values in mean.items():
            arrays[name][rows] = values
    how = "weighted by 1/sigma^2, " if weighted else ""
    step = f"symmetrized in {symmetry} ({how}{len(operators)} operators of the Laue group)"
    return Symmetrized(diffuse.changed(step, arrays, grid=new), multiplicity, spread)


def _check_exact(
    maps: list[IndexMap], operators: NDArray[np.int64], grid: HklGrid, symmetry: str
) -> None:
    for found, operator in zip(maps, operators, strict=True):
        if not found.exact:
            raise InputError(
                f"the operator {triplet(operator)} of {symmetry!r} does not map the points of the "
                f"grid ({grid}) onto its points; resample to a grid with the same step along "
                "equivalent axes and a point at hkl = 0, or interpolate"
            )


def _equivalents(
    diffuse: DiffuseMap, maps: list[IndexMap], rows: slice, shape: tuple[int, int, int]
) -> dict[str, NDArray[np.float64]]:
    """Values at the equivalents of some rows, by name, shape (n_operators, rows)."""
    whole = (rows.stop - rows.start, *shape[1:])
    found = {name: np.empty((len(maps), *whole)) for name in diffuse.arrays}
    for n, operator in enumerate(maps):
        index = operator.source(rows, shape)
        for name, values in diffuse.arrays.items():
            if operator.exact:
                found[name][n] = pick(values, index)
            else:
                found[name][n] = trilinear(values, index, sigma=name == "sigma")
    return found


def _site_multiplicity(
    maps: list[IndexMap], rows: slice, shape: tuple[int, int, int]
) -> NDArray[np.int64]:
    """Number of operators that leave each voxel in place (each equivalent occurs as often)."""
    own = maps[0].source(rows, shape)
    times = np.zeros((rows.stop - rows.start, *shape[1:]), dtype=np.int64)
    for operator in maps:
        same: Any = True
        for a, b in zip(operator.source(rows, shape), own, strict=True):
            same = same & (np.abs(a - b) <= ON_VOXEL)
        times += same
    return times


def _average(
    found: dict[str, NDArray[np.float64]], times: NDArray[np.int64], weighted: bool
) -> tuple[dict[str, NDArray[np.float64]], NDArray[Any], NDArray[np.float64]]:
    """Mean of equivalents by name, their number and spread, over the first axis of `found`."""
    intensity = found["intensity"]
    valid = ~np.isnan(intensity)
    weight = valid.astype(np.float64)
    if weighted:
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(valid & (found["sigma"] > 0), found["sigma"] ** -2.0, 0.0)
        valid = weight > 0
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 gives NaN where there is no value
        number = valid.sum(axis=0) // times
        mean = {"intensity": _mean(intensity, weight)}
        squares = np.where(valid, weight * (intensity - mean["intensity"]) ** 2, 0.0).sum(axis=0)
        variance = squares / weight.sum(axis=0) * number / (number - 1)
        spread = np.where(number > 1, np.sqrt(variance), np.nan)
        if weighted:
            mean["sigma"] = 1.0 / np.sqrt(weight.sum(axis=0) / times)
        elif "sigma" in found:
            squares = np.where(valid, found["sigma"] ** 2, 0.0).sum(axis=0)
            mean["sigma"] = np.sqrt(squares / times) / number
        for name in ("half1", "half2"):
            if name in found:
                mean[name] = _mean(found[name], np.where(np.isnan(found[name]), 0.0, weight))
    if "counts" in found:
        mean["counts"] = np.where(valid, found["counts"], 0.0).sum(axis=0) / times
    if "sigma" in mean:
        mean["sigma"][number == 0] = np.nan
    return mean, number, spread


def _mean(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean over the first axis; NaN where all weights are zero."""
    total = np.where(weight > 0, weight * values, 0.0).sum(axis=0)
    return np.asarray(total / weight.sum(axis=0))
