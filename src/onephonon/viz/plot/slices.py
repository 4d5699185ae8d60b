"""Slices of one map, and model, data and their difference side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from onephonon.compare.comparison import check_same_cell
from onephonon.core.correlation import pearson
from onephonon.core.errors import InputError
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.interpolation import interpolate
from onephonon.maps.isotropic import split_isotropic
from onephonon.maps.resampling import onto_coarser

from .histograms import draw_histogram_panel
from .layout import panel_figure
from .panels import aspect_of, draw_section, round_resolutions, window_of
from .planes import Plane
from .sections import Section, central_plane, cut
from .style import (
    Colours,
    caption,
    choose_colours,
    colour_bar,
    intensity_label,
    italic,
    literal,
    styled,
)

SCALES = "grey scales: q / Å⁻¹ (2π included)"
CIRCLES = "circles: resolution d"

#: Number of voxels used to determine the scale factor between two maps.
SAMPLE = 500_000


@styled
def draw_slices(
    diffuse: DiffuseMap,
    planes: Sequence[Plane | str] | None = None,
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
    scale: str = "auto",
    with_histogram: bool = False,
) -> Figure:
    """Draw planes of a map in true reciprocal-space geometry, on one colour scale.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    planes : sequence of Plane or str, optional
        Such as ``"hk0"``, see `Plane.named`; by default the three central ones, see
        `central_plane`.
    title : str
    limits : pair of float, optional
        Lowest and highest colour; see `choose_colours`.
    scale : {'auto', 'log', 'linear', 'diverging'}
    with_histogram : bool
        Add a histogram of the intensities of the whole map.

    Raises
    ------
    InputError
        For a list, if a plane misses the map, or if nothing on the planes has a value.
    """
    _, cell = diffuse.require_grid()
    chosen = _to_planes(planes) or [central_plane(diffuse, axis) for axis in (2, 1, 0)]
    sections = [cut(diffuse, p) for p in chosen]
    colours = choose_colours([s.values for s in sections], limits, scale)
    aspects = [aspect_of(window_of(s, cell)) for s in sections] + [0.9] * with_histogram
    columns = len(aspects) if len(aspects) < 4 else 2
    margins = (0.85, 0.75) if columns < 3 else (0.45, 0.6)
    figure, panels = panel_figure(aspects, columns, margins=margins, beside=0.9)
    for panel, section in zip(panels, sections, strict=False):
        image = draw_section(panel, section, cell, colours, scales=columns < 3)
    if with_histogram:
        draw_histogram_panel(panels[-1], diffuse, colours)
    drawn = panels[: len(sections)]
    colour_bar(figure, image, drawn, colours, intensity_label(diffuse), shrink=0.8)
    figure.suptitle(title, parse_math=False)
    lines = [
        "no value: Bragg points, masked or not measured;  " + colours.description,
        ";  ".join([CIRCLES, SCALES][: 1 + (columns < 3)]),
        _between_voxels(sections),
        "" if planes else _between_bragg_layers(chosen),
    ]
    caption(figure, lines)
    return figure


@styled
def draw_comparison(
    model: DiffuseMap,
    data: DiffuseMap,
    planes: Sequence[Plane | str] | None = None,
    *,
    title: str = "",
    names: tuple[str, str] = ("model", "data"),
    factor: float | None = None,
    anisotropic: bool = False,
    limits: tuple[float, float] | None = None,
    scale: str = "auto",
) -> Figure:
    """Draw model, data and data - model side by side, one row per plane.

    All are drawn at the points of the data, and both maps on one colour scale. The difference uses
    the same scale if that is symmetric about zero, otherwise a separate symmetric scale.

    Parameters
    ----------
    model, data : DiffuseMap
        On grids, which may differ: the model is interpolated at the points of the data, or
        averaged over the voxels of the data if it is finer in every direction. The same hkl are
        compared: see `onephonon.compare.in_same_indices` for other indexings.
    planes, limits, scale
        See `draw_slices`; by default the data's central plane hk.
    title : str
    names : pair of str
    factor : float, optional
        Scale factor of the model; by default that of `match`, which makes the root mean squares
        equal.
    anisotropic : bool
        Draw the anisotropic parts of both (without their means over resolution shells).

    Raises
    ------
    InputError
        If the cells differ, the maps have no point in common, or a plane misses them.
    """
    grid, cell = data.require_grid()
    check_same_cell(model.require_grid()[1], cell)
    whole, model = model, onto_coarser(model, grid)
    averaged = "" if model is whole else " and averaged over the voxels"
    if anisotropic:
        model, data = split_isotropic(model)[1], split_isotropic(data)[1]
    chosen = _to_planes(planes) or [central_plane(data, 2)]
    matching, cc = match(model, data)
    factor = matching if factor is None else factor
    rows = [_compared(model, data, plane, factor) for plane in chosen]
    both = choose_colours([s.values for row in rows for s in row[:2]], limits, scale)
    about_zero = both.norm.vmin == -(both.norm.vmax or 0)
    apart = both if about_zero else choose_colours([r[2].values for r in rows], None, "diverging")
    unit = intensity_label(data, "anisotropic I" if anisotropic else "I")
    figure = _draw_rows(rows, data, names, both, apart, unit)
    figure.suptitle(title, parse_math=False)
    lines = [
        f"no value in one of the two;  {both.description};  {CIRCLES}",
        f"{names[0]} multiplied by {factor:.4g}{averaged};  CC overall {cc:.3f}",
        _between_voxels([row[1] for row in rows]),
        "" if planes else _between_bragg_layers(chosen),
    ]
    caption(figure, lines)
    return figure


def _draw_rows(
    rows: Sequence[tuple[Section, Section, Section]],
    data: DiffuseMap,
    names: tuple[str, str],
    both: Colours,
    apart: Colours,
    unit: str,
) -> Figure:
    """Draw rows of three panels, with one colour bar below, or a second one for differences."""
    _, cell = data.require_grid()
    heads = (*names, f"{names[1]} − {names[0]}")
    windows = [window_of(row[2], cell) for row in rows]
    aspects = [aspect_of(window) for window in windows for _ in heads]
    figure, panels = panel_figure(aspects, 3, margins=(0.5, 0.62), below=0.6)
    images = []
    for i, row in enumerate(rows):
        circles = round_resolutions([row[2]], cell)
        for j, (section, head) in enumerate(zip(row, heads, strict=True)):
            image = draw_section(
                panels[3 * i + j],
                section,
                cell,
                both if j < 2 else apart,
                circles=circles,
                scales=False,
                title=f"{literal(head)}, {italic(section.plane.title)}",
                window=windows[i],
            )
            images.append(image)
    bars = {"location": "bottom", "fraction": 0.05}
    if apart is both:
        colour_bar(figure, images[1], panels, both, unit, shrink=0.5, aspect=40, **bars)
        return figure
    of_both = [panel for i, panel in enumerate(panels) if i % 3 < 2]
    colour_bar(figure, images[1], of_both, both, unit, shrink=0.6, aspect=32, **bars)
    label = intensity_label(data, "difference")
    colour_bar(figure, images[2], panels[2::3], apart, label, shrink=0.9, aspect=24, **bars)
    return figure


def match(model: DiffuseMap, data: DiffuseMap) -> tuple[float, float]:
    """Scale factor of a model relative to data for pictures, and their correlation.

    Both are determined from at most 500,000 random voxels. The factor makes the root mean squares
    equal and so gives both the same contrast even where they disagree, unlike a least-squares
    scale. The model is averaged over the voxels of the data as in `draw_comparison`.

    Returns
    -------
    factor : float
    cc : float
        Pearson correlation coefficient; NaN if one of the two is constant.

    Raises
    ------
    InputError
        If fewer than two voxels have a value in both.
    """
    grid, _ = data.require_grid()
    model = onto_coarser(model, grid)
    if grid.size > SAMPLE:
        # Random, since a stride could coincide with the Bragg points.
        place = np.random.default_rng(0).integers(grid.size, size=SAMPLE)
    else:
        place = np.arange(grid.size)
    index = np.unravel_index(place, grid.shape)
    m, d = interpolate(model, grid.hkl_of_voxels(index)), data.volume[index].astype(np.float64)
    both = np.isfinite(m) & np.isfinite(d)
    m, d = m[both], d[both]
    if len(d) < 2 or not m.any() or not d.any():
        raise InputError(
            "no voxel has a value in both maps; check that their indices and resolutions overlap. "
            "A model has no values at Bragg points: simulate it at 3 or more points per Miller "
            "index, so that it is averaged over the voxels"
        )
    return math.sqrt(float(d @ d) / float(m @ m)), pearson(m, d)


def _between_voxels(sections: Sequence[Section]) -> str:
    """Caption that names interpolated planes, with remarks on planes."""
    names = ", ".join(s.plane.title for s in sections if s.interpolated)
    description = [f"{names}: interpolated between voxels"] if names else []
    notes = dict.fromkeys(s.plane.note for s in sections if s.plane.note)
    return italic(";  ".join([*description, *notes]))


def _between_bragg_layers(planes: Sequence[Plane]) -> str:
    """Caption that explains why planes between Bragg layers were chosen, if so."""
    off = [p for p in planes if p.fixed and p.fixed[1] % 1]
    if not off:
        return ""
    names = italic(", ".join(p.title for p in off))
    return f"{names}: drawn between Bragg layers, whose missing points would dominate the picture"


def _to_planes(planes: Sequence[Plane | str] | None) -> list[Plane]:
    return [Plane.named(p) if isinstance(p, str) else p for p in planes or ()]


def _compared(
    model: DiffuseMap, data: DiffuseMap, plane: Plane, factor: float
) -> tuple[Section, Section, Section]:
    """Sections of the scaled model, the data, and data - model, at the same points."""
    measured = cut(data, plane)
    calculated = cut(model, plane, measured)
    calculated = replace(calculated, values=calculated.values * factor)
    difference = replace(measured, values=measured.values - calculated.values)
    return calculated, measured, difference
