"""Close-ups of the diffuse intensity around Bragg points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.grid import HklGrid
from onephonon.crystal.symmetry import laue_operators
from onephonon.maps.diffuse import Array, DiffuseMap

from .layout import panel_figure
from .panels import aspect_of, draw_section, whole_window
from .planes import AXES, Plane, tidy
from .sections import Section, cut
from .style import caption, choose_colours, colour_bar, intensity_label, literal, styled

#: Minimum voxels per Miller index for drawing halos.
MIN_VOXELS_PER_INDEX = 1.99

#: Minimum number of the six voxels next to a Bragg point that must have a value.
MIN_NEIGHBOURS = 5

COLUMNS = 4

#: Small sections are drawn without circles and second scale.
_draw_halo = partial(draw_section, circles=False, scales=False, ticks=3)


@styled
def draw_halos(
    diffuse: DiffuseMap,
    peaks: int | Sequence[Sequence[int]] = 12,
    *,
    axis: int | None = None,
    title: str = "",
    limits: tuple[float, float] | None = None,
    scale: str = "auto",
) -> Figure:
    """Draw the neighbourhood of Bragg points as small sections of the map.

    All are drawn on one colour scale and in true proportions, and extend by half the longer
    reciprocal axis to each side of the Bragg point.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    peaks : int or sequence of three int
        Number of strongest halos (see `strongest_halos`), or Miller indices.
    axis : int, optional
        The index that is fixed, 0, 1 or 2; by default the most coarsely sampled.
    title : str
    limits, scale
        See `choose_colours`.

    Raises
    ------
    InputError
        If the map is too coarse, has fewer Bragg points, or a Bragg point is outside the map.
    """
    grid, cell = diffuse.require_grid()
    is_list = not isinstance(peaks, int)
    chosen = strongest_halos(diffuse, peaks) if isinstance(peaks, int) else np.asarray(peaks)
    if chosen.ndim != 2 or chosen.shape[1] != 3 or (chosen % 1).any() or not len(chosen):
        raise InputError(f"peaks {peaks} are not whole Miller indices of Bragg points")
    normal = int(np.argmax(np.round(grid.step, 9)[::-1]))
    normal = 2 - normal if axis is None else axis
    sections = [_close_up(diffuse, peak, normal) for peak in chosen]
    colours = choose_colours([s.values for s in sections], limits, scale)
    windows = [whole_window(s, cell) for s in sections]
    aspects = [aspect_of(window) for window in windows]
    columns = min(COLUMNS, len(sections))
    figure, panels = panel_figure(aspects, columns, margins=(0.4, 0.55), beside=0.8)
    d = 1 / np.linalg.norm(chosen @ numpy_cell(cell).inverse, axis=1)
    for i, (panel, section, peak) in enumerate(zip(panels, sections, chosen, strict=True)):
        name = " ".join(tidy(int(x)) for x in peak)
        title_text = f"{name}:  {d[i]:.2f} Å"
        image = _draw_halo(panel, section, cell, colours, title=title_text, window=windows[i])
        if i % columns:
            panel.set_ylabel("")
        if i + columns < len(sections):
            panel.set_xlabel("")
    colour_bar(figure, image, panels, colours, intensity_label(diffuse), shrink=0.8)
    figure.suptitle(title, parse_math=False)
    order = "in the given order" if is_list else "strongest first, without symmetry equivalents"
    lines = [
        f"no value: Bragg points, masked or not measured;  {colours.description}",
        f"sections at constant ${AXES[normal]}$ through the Bragg points, {order}",
    ]
    caption(figure, lines)
    return figure


@styled
def draw_halo_comparison(
    model: DiffuseMap,
    data: DiffuseMap,
    peaks: Sequence[Sequence[int]] | NDArray[np.int64],
    *,
    title: str = "",
    names: tuple[str, str] = ("model", "data"),
) -> Figure:
    """Draw the neighbourhood of Bragg points in model, data and their difference, one row each.

    Each row has its own colour scales; that of the difference is symmetric about zero.

    Parameters
    ----------
    model, data : DiffuseMap
        On the same grid and scale.
    peaks : sequence of three int
        Miller indices, one or more.
    title : str
    names : pair of str

    Raises
    ------
    InputError
        If the grids differ, or a Bragg point is outside the map or has no values.
    """
    grid, cell = data.require_grid()
    if model.grid != grid:
        raise InputError("model and data are on different grids; resample one to the other")
    normal = 2 - int(np.argmax(np.round(grid.step, 9)[::-1]))
    rows = []
    for peak in np.asarray(peaks):
        first, second = (_close_up(m, peak, normal) for m in (model, data))
        rows.append((first, second, replace(first, values=second.values - first.values)))
    windows = [whole_window(row[0], cell) for row in rows]
    aspects = [aspect_of(window) for window in windows for _ in range(3)]
    figure, panels = panel_figure(aspects, 3, margins=(0.75, 0.55))
    heads = (*names, f"{names[1]} − {names[0]}")
    for i, (row, peak) in enumerate(zip(rows, np.asarray(peaks), strict=True)):
        both = choose_colours([s.values for s in row[:2]])
        apart = choose_colours([row[2].values], None, "diverging")
        hkl = " ".join(tidy(int(x)) for x in peak)
        for j, (section, head) in enumerate(zip(row, heads, strict=True)):
            panel, colours = panels[3 * i + j], both if j < 2 else apart
            title_text = f"{hkl}: {literal(head)}"
            image = _draw_halo(panel, section, cell, colours, title=title_text, window=windows[i])
            if j:
                colour_bar(figure, image, panel, colours, "", shrink=0.85, aspect=14)
    figure.suptitle(title, parse_math=False)
    unit = intensity_label(data)
    caption(
        figure, [f"no value;  {unit};  sections at constant ${AXES[normal]}$; one scale per row"]
    )
    return figure


def strongest_halos(diffuse: DiffuseMap, n: int) -> NDArray[np.int64]:
    """Find the Bragg points with the strongest halos, by the mean of the neighbouring voxels.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid with at least two voxels per Miller index. Its space group defines equivalent
        points; without one, only Friedel's law is used.
    n : int

    Returns
    -------
    ndarray, shape (n, 3)
        Strongest first, one of each set of equivalent points.

    Raises
    ------
    InputError
        If the map is too coarse, or has fewer such points.
    """
    grid, _ = diffuse.require_grid()
    if n < 1:
        raise InputError(f"{n} halos: must be 1 or more")
    if max(grid.step) * MIN_VOXELS_PER_INDEX > 1:
        per_index = " x ".join(f"{1 / s:.3g}" for s in grid.step)
        raise InputError(
            f"a map of {per_index} voxels per Miller index has no voxels between the Bragg points "
            "along each axis; simulate or resample it with 2 or more"
        )
    lines = [_bragg_lines(grid, axis) for axis in range(3)]
    strength = _mean_of_neighbours(diffuse.volume, [places for _, places in lines])
    index = np.nonzero(np.isfinite(strength))
    hkl = np.stack([whole[i] for (whole, _), i in zip(lines, index, strict=True)], axis=1)
    # Equal by symmetry up to rounding: keep the last in the order of h, k, l.
    level = np.round(strength[index] / np.abs(strength[index]).max(initial=1e-30), 7)
    hkl = hkl[np.lexsort((*hkl.T[::-1], level))[::-1]]
    hkl = hkl[(hkl != 0).any(axis=1)]
    operators = laue_operators(diffuse.spacegroup or "-1")
    found: dict[tuple[int, ...], NDArray[np.int64]] = {}
    for peak in hkl:
        orbit = max(tuple(int(x) for x in image) for image in peak @ operators)
        found.setdefault(orbit, peak)
        if len(found) == n:
            return np.array(list(found.values()))
    raise InputError(f"{n} halos: the map has only {len(found)} symmetry-independent Bragg points")


def _bragg_lines(grid: HklGrid, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whole indices along an axis with voxels on both sides, and the nearest voxels."""
    low, high = grid.origin[axis], grid.end[axis]
    whole = np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
    places = np.rint((whole - low) / grid.step[axis])
    inner = (places >= 1) & (places <= grid.shape[axis] - 2)
    return whole[inner].astype(np.int64), places[inner].astype(np.int64)


def _mean_of_neighbours(volume: Array, places: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Mean of the six neighbours of each place; NaN if too few of them have a value."""
    shape = tuple(len(p) for p in places)
    total, count = np.zeros(shape), np.zeros(shape)
    for axis in range(3):
        for side in (-1, 1):
            moved = [p + side * (a == axis) for a, p in enumerate(places)]
            values = volume[np.ix_(*moved)]
            known = np.isfinite(values)
            total += np.where(known, values, 0)
            count += known
    return np.where(count >= MIN_NEIGHBOURS, total / np.maximum(count, 1), np.nan)


def _close_up(diffuse: DiffuseMap, peak: NDArray[np.int64], axis: int) -> Section:
    """Section around one Bragg point."""
    grid, cell = diffuse.require_grid()
    section = cut(diffuse, Plane.normal_to(axis, float(peak[axis])))
    across = [i for i in range(3) if i != axis]
    lengths = np.linalg.norm(numpy_cell(cell).inverse, axis=1)[across]
    reach = 0.5 * lengths.max() / lengths
    slices = []
    for i, line, half in zip(across, (section.x, section.y), reach, strict=True):
        inside = np.flatnonzero(np.abs(line - peak[i]) <= half + 0.5 * grid.step[i])
        if not grid.origin[i] <= peak[i] <= grid.end[i] or not len(inside):
            raise InputError(
                f"Bragg point {peak.tolist()} is outside the map, whose grid is {grid}"
            )
        slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return section.cropped(slices[0], slices[1])
