"""Drawing of one section in true reciprocal-space geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Polygon
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from onephonon.core.units import TWO_PI

from .planes import Float64
from .sections import Section
from .style import FAINT, HATCH, HATCHING, MISSING, Colours, italic

#: Possible resolutions of circles, Å.
ROUND_D = (50, 40, 30, 25, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3.5, 3, 2.5, 2.2, 2, 1.8, 1.6, 1.5, 1.4,
           1.3, 1.2, 1.1, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # fmt: skip

#: Cosine of the angle between axes from which ticks and frame are oblique.
MIN_OBLIQUE_COSINE = 0.02

#: Maximum pixels along an edge drawn without averaging.
MAX_PIXELS = 500

#: Circles smaller than this fraction of the picture's width are omitted.
MIN_CIRCLE = 0.04

#: Candidate angles of the label on a circle, degrees (the first inside the map is used), and the
#: corners of the label.
LABEL_CORNERS = np.array([[-1.5, -0.7], [1.5, -0.7], [1.5, 0.7], [-1.5, 0.7]])
LABEL_ANGLES = (60, 120, 45, 135, 90, 75, 105, 300, 240, 270, 30, 150, 210, 330, 0, 180)


def draw_section(
    panel: Axes,
    section: Section,
    cell: Sequence[float],
    colours: Colours,
    *,
    circles: bool | Sequence[float] = True,
    scales: bool = True,
    title: str | None = None,
    window: Window | None = None,
    ticks: int = 7,
) -> Any:
    """Draw a section in true reciprocal-space geometry.

    The data coordinates of the axes are Cartesian, 1/Å with 2*pi; the ticks below and to the left
    show x and y of the plane (Miller indices), those above and to the right 1/Å.

    Parameters
    ----------
    panel : Axes
    section : Section
    cell : sequence of six float
    colours : Colours
    circles : bool or sequence of float
        Draw circles of equal resolution at round numbers or at the given ones, Å, and oblique
        axes.
    scales : bool
        Draw the scales in 1/Å.
    title : str, optional
        By default the title of the plane.
    window : pair of ndarray, shape (2,), optional
        Lower left and upper right corner of the shown region; see `window_of`.
    ticks : int
        Maximum number of ticks along an axis.

    Returns
    -------
    AxesImage
    """
    matrix = section.plane.shear(cell)
    placed = Affine2D(matrix)
    outline = placed.transform(section.outline)
    ground = {"facecolor": MISSING, "edgecolor": HATCH, "hatch": HATCHING}
    panel.add_patch(Polygon(outline, closed=True, lw=0, zorder=-2, rasterized=True, **ground))
    image = panel.imshow(
        colours.shown(section.values),
        origin="lower",
        extent=section.extent,
        norm=colours.norm,
        cmap=colours.map,
        interpolation="nearest" if max(section.values.shape) <= MAX_PIXELS else "antialiased",
        transform=placed + panel.transData,
        rasterized=True,
        zorder=-1,
    )
    panel.add_patch(Polygon(outline, closed=True, fill=False, edgecolor="black", lw=0.6, zorder=4))
    panel.set_aspect("equal")
    low, high = window or window_of(section, cell)
    panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    _ticks(panel, section, matrix, (low, high), ticks)
    if circles:
        chosen = round_resolutions([section], cell) if circles is True else circles
        _circles(panel, outline, chosen, section.plane.height(cell), colours.lines)
        if _oblique(matrix):
            _axes_lines(panel, section, matrix, colours.lines)
    if scales and section.plane.indexed:
        _scales(panel)
    panel.set_title(italic(section.plane.title) if title is None else title)
    return image


Window = tuple[Float64, Float64]


def whole_window(section: Section, cell: Sequence[float]) -> Window:
    """Lower left and upper right corner of a whole section, 1/Å with 2*pi.

    For a nearly rectangular section, the rectangle inside it, because narrow wedges at the edges
    would look like a second frame.
    """
    matrix = section.plane.shear(cell)
    outline = Affine2D(matrix).transform(section.outline)
    if len(outline) == 4 and not _oblique(matrix):
        ranked = np.sort(outline, axis=0)
        return ranked[1], ranked[2]
    return outline.min(axis=0), outline.max(axis=0)


def window_of(section: Section, cell: Sequence[float]) -> Window:
    """Lower left and upper right corner of the region with values, 1/Å with 2*pi.

    Symmetric about zero, and within the map.
    """
    matrix = section.plane.shear(cell)
    low, high = whole_window(section, cell)
    rows, columns = np.nonzero(np.isfinite(section.values))
    if not len(rows):
        return low, high
    at = Affine2D(matrix).transform(np.stack([section.x[columns], section.y[rows]], axis=1))
    left, right, lower, upper = section.extent
    pixel = np.array([(right - left) / len(section.x), (upper - lower) / len(section.y)])
    margin = np.abs(matrix[:2, :2]) @ pixel
    first, last = at.min(axis=0) - margin, at.max(axis=0) + margin
    around = (low <= 0) & (high >= 0)
    reach = np.maximum(-first, last)
    first, last = np.where(around, -reach, first), np.where(around, reach, last)
    return np.maximum(low, first), np.minimum(high, last)


def aspect_of(window: Window) -> float:
    """Height of a window over its width."""
    low, high = window
    return float((high[1] - low[1]) / (high[0] - low[0]))


def round_resolutions(sections: Sequence[Section], cell: Sequence[float]) -> list[float]:
    """Up to three well separated resolutions for circles within the region with values, Å."""
    reach, height = 0.0, np.inf
    for section in sections:
        rows, columns = np.nonzero(np.isfinite(section.values))
        at = Affine2D(section.plane.shear(cell)).transform(
            np.stack([section.x[columns], section.y[rows]], axis=1)
        )
        # Not up to the corners of a rectangle, where little of a circle would be visible.
        reach = max(reach, float(np.abs(at).max(initial=0.0)))
        height = min(height, section.plane.height(cell))
    chosen: list[float] = []
    radii = {float(d): _radius(d, height) for d in ROUND_D}
    for fraction in (0.36, 0.68, 1.0):
        fitting = [d for d, r in radii.items() if 0.15 * reach < r <= 1.02 * fraction * reach]
        if fitting and all(radii[fitting[-1]] - radii[d] > 0.18 * reach for d in chosen):
            chosen.append(fitting[-1])
    return chosen


def _radius(d: float, height: float) -> float:
    """Radius of the intersection of a resolution sphere with a plane, 1/Å with 2*pi."""
    return math.sqrt(max((TWO_PI / d) ** 2 - height**2, 0.0))


def _ticks(panel: Axes, section: Section, matrix: Float64, window: Window, maximum: int) -> None:
    """Set ticks of x along the lower edge and of y along the left one; x ticks point along y."""
    plane, placed = section.plane, Affine2D(matrix)
    (left, low), (right, high) = section.outline.min(axis=0), section.outline.max(axis=0)
    corners = np.array([window[0], [window[1][0], window[0][1]], window[1]])
    (x0, y0), (x1, _), (_, y1) = placed.inverted().transform(corners)
    x = _round_ticks(max(left, x0), min(right, x1), plane.indexed, maximum)
    y = _round_ticks(max(low, y0), min(high, y1), plane.indexed, maximum)
    below = placed.transform(np.array([(t, y0) for t in x]).reshape(-1, 2))
    beside = placed.transform(np.array([(left, t) for t in y]).reshape(-1, 2))
    panel.set_xticks(below[:, 0], [_number(t) for t in x])
    panel.set_yticks(beside[:, 1], [_number(t) for t in y])
    if _oblique(matrix):
        slant = matrix[:2, 1] / matrix[1, 1]
        panel.tick_params(axis="x", length=0, pad=5)
        mark = Path([(0.0, 0.0), tuple(-slant)])
        panel.plot(*below.T, marker=mark, ms=7, mew=0.6, ls="", color="black", clip_on=False)
    style = "italic" if len(plane.labels[0]) == 1 else "normal"
    panel.set_xlabel(plane.labels[0], style=style)
    panel.set_ylabel(plane.labels[1], style=style)


def _oblique(matrix: Float64) -> bool:
    """Whether x and y are not at right angles."""
    return bool(abs(matrix[0, 1]) > MIN_OBLIQUE_COSINE * abs(matrix[1, 1]))


def _axes_lines(panel: Axes, section: Section, matrix: Float64, colour: str) -> None:
    """Draw the lines x = 0 and y = 0, which show the angle between the axes."""
    (left, low), (right, high) = section.outline.min(axis=0), section.outline.max(axis=0)
    for ends in (((0, low), (0, high)), ((left, 0), (right, 0))):
        line = Affine2D(matrix).transform(ends)
        panel.plot(*line.T, color=colour, lw=0.5, ls=(0, (6, 4)), alpha=0.8, zorder=3)


def _round_ticks(low: float, high: float, indexed: bool, maximum: int) -> list[float]:
    """Round numbers between two bounds; whole ones for indices over a range above 2."""
    locate = MaxNLocator(nbins=maximum, steps=[1, 2, 4, 5, 10], integer=indexed and high - low > 2)
    if high < low:
        return []
    return [float(t) for t in locate.tick_values(low, high) if low <= t <= high]


def _number(value: float) -> str:
    return f"{value + 0.0:.6g}".replace("-", "−")


def _scales(panel: Axes) -> None:
    """Draw Cartesian scales above and to the right."""
    top, right = panel.secondary_xaxis("top"), panel.secondary_yaxis("right")
    for scale, axis in ((top, top.xaxis), (right, right.yaxis)):
        axis.set_major_locator(MaxNLocator(nbins=5))
        scale.tick_params(colors=FAINT)


def _circles(
    panel: Axes, outline: Float64, resolutions: Sequence[float], height: float, colour: str
) -> None:
    """Draw circles of equal resolution, labelled with d in Å."""
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    inside = (Path(outline), Path([(left, low), (right, low), (right, high), (left, high)]))
    stroke = [withStroke(linewidth=1.6, foreground="black" if colour == "white" else "white")]
    style: dict[str, Any] = {"color": colour, "fontsize": 6, "zorder": 5}
    style |= {"ha": "center", "va": "center", "path_effects": stroke}
    for d in resolutions:
        radius = _radius(d, height)
        if radius <= MIN_CIRCLE * (right - left):
            continue
        line = {"fill": False, "ec": colour, "lw": 0.7, "alpha": 0.7, "zorder": 3}
        panel.add_patch(Circle((0, 0), radius, **line))
        for angle in np.deg2rad(LABEL_ANGLES):
            x, y = float(radius * np.cos(angle)), float(radius * np.sin(angle))
            label = np.array([x, y]) + 0.03 * (right - left) * LABEL_CORNERS
            if all(path.contains_points(label).all() for path in inside):
                panel.text(x, y, f"{d:g} Å", **style)
                break
