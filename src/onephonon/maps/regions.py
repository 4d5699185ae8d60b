"""Parts of a map: blocks, shells of resolution, planes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.grid import SAME_POINT, HklGrid

from .diffuse import DiffuseMap
from .interpolation import ON_VOXEL

Bounds = tuple[float, float]

#: Relative tolerance of a resolution limit, for rounding.
ON_LIMIT = 1e-9


def crop(
    diffuse: DiffuseMap,
    h: Bounds | None = None,
    k: Bounds | None = None,
    l: Bounds | None = None,  # noqa: E741
) -> DiffuseMap:
    """Cut the block of voxels whose indices are within bounds, both ends included.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    h, k, l : (min, max), optional
        In Miller indices; None keeps the whole axis.

    Returns
    -------
    DiffuseMap
        Its arrays are views of the map's.

    Raises
    ------
    InputError
        If no voxel is within the bounds.
    """
    grid, _ = diffuse.require_grid()
    slices, ranges = [], []
    for name, bounds, axis, step in zip("hkl", (h, k, l), grid.axes, grid.step, strict=True):
        if bounds is None:
            slices.append(slice(0, len(axis)))
            continue
        low, high = (float(b) for b in bounds)
        inside = np.flatnonzero(
            (axis >= low - SAME_POINT * step) & (axis <= high + SAME_POINT * step)
        )
        if not len(inside):
            raise InputError(
                f"{name} from {low:g} to {high:g} holds no voxel of the map, whose {name} runs "
                f"from {axis[0]:g} to {axis[-1]:g} in steps of {step:g}"
            )
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
        ranges.append(f"{name} {low:g} to {high:g}")
    return _block(diffuse, (slices[0], slices[1], slices[2]), f"cropped to {', '.join(ranges)}")


def crop_resolution(
    diffuse: DiffuseMap, d_min: float = 0.0, d_max: float = math.inf, *, shrink: bool = False
) -> DiffuseMap:
    """Mask the voxels outside a resolution range.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid or a list.
    d_min, d_max : float
        Smallest and largest d to keep, Å.
    shrink : bool
        Also cut the grid down to the smallest block that contains the range, or drop the list's
        other points.

    Raises
    ------
    InputError
        If no voxel is within the range, or d_max is below d_min.
    """
    if not 0 <= d_min <= d_max:
        raise InputError(f"resolution from d_min {d_min:g} to d_max {d_max:g} Å is no range")
    arrays = {name: values.copy() for name, values in diffuse.arrays.items()}
    kept = [np.zeros(n, dtype=bool) for n in diffuse.intensity.shape]
    for part, s in diffuse.slabs():
        inside = (s * d_min <= 1 + ON_LIMIT) & (s >= (1 - ON_LIMIT) / d_max)
        for values in arrays.values():
            values[part][~inside] = np.nan
        kept[0][part] = inside.reshape(len(inside), -1).any(axis=1)
        if inside.ndim == 3:
            kept[1] |= inside.any(axis=(0, 2))
            kept[2] |= inside.any(axis=(0, 1))
    step = f"cropped to {d_max:.4g} to {d_min:.4g} Å"
    if not kept[0].any():
        raise InputError(f"no point of the map is between {d_max:g} and {d_min:g} Å")
    if not shrink:
        return diffuse.changed(step, arrays)
    if diffuse.points is not None:
        arrays = {name: values[kept[0]] for name, values in arrays.items()}
        return diffuse.changed(step, arrays, points=diffuse.points[kept[0]], list_shape=None)
    ends = [np.flatnonzero(axis)[[0, -1]] for axis in kept]
    h, k, l = (slice(int(low), int(high) + 1) for low, high in ends)  # noqa: E741
    return _block(diffuse, (h, k, l), step, arrays)


def slice_plane(diffuse: DiffuseMap, axis: str | int, value: float = 0.0) -> DiffuseMap:
    """Cut the plane of one index: a map one voxel thick.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    axis : {'h', 'k', 'l'} or 0, 1, 2
        The index that is constant on the plane.
    value : float
        Value of that index; between two layers of voxels, values are interpolated, and are
        missing where either voxel is missing.

    Raises
    ------
    InputError
        If the axis is none of the three, or the value outside the map.
    """
    grid, _ = diffuse.require_grid()
    normal = {"h": 0, "k": 1, "l": 2}.get(axis, -1) if isinstance(axis, str) else axis
    if normal not in (0, 1, 2):
        raise InputError(f"axis {axis!r} is not one of h, k, l")
    name, n = "hkl"[normal], grid.shape[normal]
    at = (value - grid.origin[normal]) / grid.step[normal]
    at = round(at) if abs(at - round(at)) <= ON_VOXEL else at
    if not 0 <= at <= n - 1:
        raise InputError(
            f"{name} = {value:g} is outside the map, whose {name} runs from "
            f"{grid.origin[normal]:g} to {grid.end[normal]:g}"
        )
    below = math.floor(at)
    weight = at - below

    def plane(values: NDArray[Any], squared: bool) -> NDArray[Any]:
        low = np.take(values, [below], axis=normal)
        if weight == 0:
            return low
        high = np.take(values, [below + 1], axis=normal)
        if squared:
            return np.hypot((1 - weight) * low, weight * high)
        return (1 - weight) * low + weight * high

    arrays = {name: plane(values, name == "sigma") for name, values in diffuse.arrays.items()}
    origin, shape = list(grid.origin), list(grid.shape)
    origin[normal], shape[normal] = float(grid.axes[normal][below]) if weight == 0 else value, 1
    thin = HklGrid(tuple(origin), grid.step, tuple(shape))  # type: ignore[arg-type]
    return diffuse.changed(f"plane {name} = {value:g}", arrays, grid=thin)


def _block(
    diffuse: DiffuseMap,
    slices: tuple[slice, slice, slice],
    step: str,
    arrays: dict[str, NDArray[Any]] | None = None,
) -> DiffuseMap:
    """Cut a block of voxels from the map's arrays, or from other arrays if given."""
    grid, _ = diffuse.require_grid()
    cut = {name: a[slices] for name, a in (arrays or diffuse.arrays).items()}
    return diffuse.changed(step, cut, grid=grid.sub(slices))
