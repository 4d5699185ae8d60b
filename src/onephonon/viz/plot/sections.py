"""Sections: the values of a map on a plane, without copying the map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from onephonon.core.errors import InputError
from onephonon.crystal.grid import HklGrid
from onephonon.maps.diffuse import Array, DiffuseMap

from .planes import AXES, Float64, Plane

#: Tolerance (in voxels) within which a plane is a layer of voxels.
ON_LAYER = 1e-2

#: Maximum number of points along an axis of an oblique section.
MAX_SECTION_POINTS = 1000

#: Largest acceptable fraction of missing Bragg points in a drawn layer.
MAX_HOLE_SHARE = 0.045


@dataclass(frozen=True)
class Section:
    """Values of a map on a plane.

    Parameters
    ----------
    plane : Plane
    values : ndarray, shape (n_y, n_x)
        NaN where missing.
    x, y : ndarray, shapes (n_x,) and (n_y,)
        Coordinates of the columns and rows in the plane, increasing in equal steps.
    outline : ndarray, shape (n, 2)
        Corners, in x and y, of the part of the plane inside the grid.
    interpolated : bool
        Whether values are interpolated between voxels.
    """

    plane: Plane
    values: Array
    x: Float64
    y: Float64
    outline: Float64
    interpolated: bool = False

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Outer edges of the pixels: left, right, lower, upper."""
        return (*_edges(self.x), *_edges(self.y))

    def cropped(self, columns: slice, rows: slice) -> Section:
        """Part of the section."""
        part = replace(self, values=self.values[rows, columns], x=self.x[columns], y=self.y[rows])
        left, right, low, high = part.extent
        return replace(part, outline=_clip(self.outline, (left, right), (low, high)))


def cut(diffuse: DiffuseMap, plane: Plane, like: Section | None = None) -> Section:
    """Take the values of a map on a plane.

    A layer of voxels is used without copying. Between layers and on other planes, values are
    interpolated linearly between the surrounding voxels that have a value; a point whose own voxel
    is missing has none.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    plane : Plane
    like : Section, optional
        Take the values at the points of this section, so that two maps can be compared.

    Raises
    ------
    InputError
        For a list, or if the plane misses the map.
    """
    grid, _ = diffuse.require_grid()
    if like is not None and not _same_points(grid, like):
        values = _sample(diffuse, grid, plane, like.x, like.y)
        return replace(like, values=values, interpolated=True)
    if plane.fixed is not None:
        return _layer(diffuse, grid, plane, *plane.fixed)
    return _oblique(diffuse, grid, plane)


def central_plane(diffuse: DiffuseMap, axis: int) -> Plane:
    """Choose the plane of one constant index through the middle of a map.

    The index is 0 (or the middle of the range, if it does not include 0). If missing Bragg points
    would dominate the picture, it is half an index higher, where there are no Bragg points.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    axis : int
        The constant index: 0, 1 or 2.
    """
    middle, between = _middle_layers(diffuse, axis)
    return Plane.normal_to(axis, between if has_bragg_holes(diffuse, axis) else middle)


def has_bragg_holes(diffuse: DiffuseMap, axis: int) -> bool:
    """Whether missing Bragg points dominate the middle layer.

    They are counted relative to the layer half an index above, and to other missing points of the
    layer, such as a wedge that was not measured.
    """
    middle, between = _middle_layers(diffuse, axis)
    layer = cut(diffuse, Plane.normal_to(axis, middle))
    above = np.isfinite(cut(diffuse, Plane.normal_to(axis, between)).values)
    bragg = above & (layer.y[:, None] % 1 == 0) & (layer.x % 1 == 0) & (middle % 1 == 0)
    missing = np.isnan(layer.values)
    others = above & ~bragg
    elsewhere = (missing & others).sum() / max(int(others.sum()), 1)
    holes = (missing & bragg).sum() - elsewhere * bragg.sum()
    return bool(holes > MAX_HOLE_SHARE * above.sum())


def _middle_layers(diffuse: DiffuseMap, axis: int) -> tuple[float, float]:
    """Index of the middle layer, and of the layer nearest to half an index above."""
    values = diffuse.require_grid()[0].axes[axis]
    target = 0.0 if values[0] <= 0 <= values[-1] else float(np.round(values[len(values) // 2]))
    # Of two equally near layers use the lower one, independent of rounding.
    at = (np.abs(values - target - offset).argmin() for offset in (0.0, 0.5 - 1e-6))
    middle, between = (float(values[i]) for i in at)
    return middle, between


def _same_points(grid: HklGrid, like: Section) -> bool:
    """Whether a section of the grid would have the points of another."""
    if like.plane.fixed is None:
        return False
    x, y = (a for i, a in enumerate(grid.axes) if i != like.plane.fixed[0])
    return all(
        len(a) == len(b) and np.allclose(a, b, rtol=0, atol=1e-9)
        for a, b in ((x, like.x), (y, like.y))
    )


def _view(diffuse: DiffuseMap, axis: int, layer: int) -> Array:
    """View of one layer of voxels, (n_y, n_x)."""
    index: list[slice | int] = [slice(None)] * 3
    index[axis] = layer
    return diffuse.volume[tuple(index)].T


def _layer(diffuse: DiffuseMap, grid: HklGrid, plane: Plane, axis: int, value: float) -> Section:
    """Section of one constant index."""
    x, y = (a for i, a in enumerate(grid.axes) if i != axis)
    where = (value - grid.origin[axis]) / grid.step[axis]
    last = grid.shape[axis] - 1
    if not -0.5 <= where <= last + 0.5:
        low, high = grid.origin[axis], grid.end[axis]
        raise InputError(
            f"plane {AXES[axis]} = {value:g} misses the map, whose {AXES[axis]} runs from "
            f"{low:g} to {high:g}"
        )
    nearest = min(max(round(where), 0), last)
    edges = (*_edges(x), *_edges(y))
    outline = np.array([[edges[i], edges[j]] for i, j in ((0, 2), (1, 2), (1, 3), (0, 3))])
    if abs(where - nearest) <= ON_LAYER:
        return Section(plane, _view(diffuse, axis, nearest), x, y, outline)
    return Section(plane, _sample(diffuse, grid, plane, x, y), x, y, outline, interpolated=True)


def _oblique(diffuse: DiffuseMap, grid: HklGrid, plane: Plane) -> Section:
    """Section along any other plane."""
    outline = _reach(grid, plane)
    lines = []
    for direction, reach in zip((plane.along, plane.up), outline.T, strict=True):
        # Two points for each voxel along the line.
        step = 0.5 / np.abs(np.divide(direction, grid.step)).max()
        step = max(step, (reach.max() - reach.min()) / MAX_SECTION_POINTS)
        first, last = np.ceil(reach.min() / step - 1e-6), np.floor(reach.max() / step + 1e-6)
        lines.append(np.arange(first, last + 1) * step)
    x, y = lines
    return Section(plane, _sample(diffuse, grid, plane, x, y), x, y, outline, interpolated=True)


def _sample(diffuse: DiffuseMap, grid: HklGrid, plane: Plane, x: Float64, y: Float64) -> Array:
    """Values at points of a plane, (n_y, n_x), linear between the voxels that have a value.

    For pictures: a missing voxel appears as one voxel, not as the eight cells around it.
    """
    index = grid.index_of(plane.hkl(x[None, :], y[:, None]))
    last = np.array(grid.shape) - 1
    inside = ((index >= -0.5) & (index <= last + 0.5)).all(axis=-1)
    at = np.clip(index[inside], 0, last)
    below = np.minimum(np.floor(at).astype(np.intp), np.maximum(last - 1, 0))
    fraction = at - below
    h, k, l = np.rint(at).astype(np.intp).T  # noqa: E741
    own = diffuse.volume[h, k, l]
    total, weights = np.zeros(len(at)), np.zeros(len(at))
    for corner in product((0, 1), repeat=3):
        weight = np.where(corner, fraction, 1 - fraction).prod(axis=1)
        h, k, l = np.minimum(below + corner, last).T  # noqa: E741
        found = diffuse.volume[h, k, l]
        weight[np.isnan(found) | np.isnan(own)] = 0
        total += weight * np.nan_to_num(found)
        weights += weight
    values = np.full(inside.shape, np.nan)
    values[inside] = np.divide(total, weights, out=np.full(len(at), np.nan), where=weights > 0)
    return values


def _reach(grid: HklGrid, plane: Plane) -> Float64:
    """Corners of the part of a plane that lies within a grid, in order, shape (n, 2)."""
    low = np.array(grid.origin) - 0.5 * np.array(grid.step)
    high = np.array(grid.end) + 0.5 * np.array(grid.step)
    # Start from a square that contains all of it, and clip it by the six faces.
    far = np.linalg.norm(np.maximum(np.abs(low), np.abs(high))) + np.linalg.norm(plane.origin)
    directions = np.array([plane.along, plane.up])
    far = 2 * far / np.linalg.svd(directions, compute_uv=False).min()
    corners = far * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    for axis in range(3):
        slope = directions[:, axis]
        corners = _half_plane(corners, slope, high[axis] - plane.origin[axis])
        corners = _half_plane(corners, -slope, plane.origin[axis] - low[axis])
    if len(corners) < 3:
        raise InputError(f"plane {plane.title} misses the map, whose grid is {grid}")
    return corners


def _clip(outline: Float64, x: tuple[float, float], y: tuple[float, float]) -> Float64:
    """Cut a polygon to a rectangle."""
    for slope, limit in (
        ((1.0, 0.0), x[1]),
        ((-1.0, 0.0), -x[0]),
        ((0.0, 1.0), y[1]),
        ((0.0, -1.0), -y[0]),
    ):
        outline = _half_plane(outline, np.array(slope), limit)
    return outline


def _half_plane(corners: Float64, slope: Float64, limit: float) -> Float64:
    """Part of a convex polygon with ``slope . xy <= limit`` (Sutherland and Hodgman)."""
    kept = []
    excess = corners @ slope - limit
    for i in range(len(corners)):
        j = i - 1
        if (excess[i] <= 0) != (excess[j] <= 0):
            fraction = excess[j] / (excess[j] - excess[i])
            kept.append(corners[j] + fraction * (corners[i] - corners[j]))
        if excess[i] <= 0:
            kept.append(corners[i])
    return np.array(kept).reshape(-1, 2)


def _edges(values: Float64) -> tuple[float, float]:
    """Outer edges of the first and last pixel."""
    half = 0.5 * float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 0.5
    return float(values[0]) - half, float(values[-1]) + half
