"""Pictures of Patterson maps: sections through the origin, around lattice vectors, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from onephonon.crystal.cell import numpy_cell

from .style import DIVERGING, LINES, PAGE, caption, new_figure, styled

if TYPE_CHECKING:
    from onephonon.realspace import DistanceShell, PattersonMap

Float64 = NDArray[np.float64]

#: The peak at the origin, which is the mean square of everything, does not determine the colours.
ORIGIN_RADIUS = 5.0

#: Share of the points whose values are within the colours.
PERCENTILE = 99.7

#: Half the width of the close-ups around lattice vectors, Å.
CLOSE_UP = 8.0

#: Axes of the cell along x and y of each section, and the one at zero.
SECTIONS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))

AXES = "abc"


@styled
def draw_patterson(
    found: PattersonMap,
    other: PattersonMap | None = None,
    shells: Sequence[DistanceShell] = (),
    *,
    title: str = "",
    names: tuple[str, str] = ("", ""),
) -> Figure:
    """Draw sections through the origin, close-ups of lattice vectors, and curves against |r|.

    Parameters
    ----------
    found, other : PattersonMap
        The second one, such as of a model, in a row of its own, with the same colours.
    shells : sequence of DistanceShell, optional
        Standard deviation and correlation by distance.
    title : str
    names : tuple of two str
        Of the maps.

    Returns
    -------
    matplotlib Figure
        Close-ups are drawn of those of a, b and c that lie far enough inside the map.
    """
    maps = [found] + ([] if other is None else [other])
    limit = _limit(found)
    near = [v for v in range(3) if found.periods[v] / 2 * found.cell[v] >= found.cell[v] + CLOSE_UP]
    rows = len(maps) + (len(maps) if near else 0) + (1 if shells else 0)
    figure = new_figure(PAGE, 2.35 * rows + 0.7)
    figure.set_layout_engine("constrained", w_pad=0.05, h_pad=0.06)
    layout = GridSpec(rows, 6, figure=figure)
    image: Any = None
    panels = []
    for row, (shown, name) in enumerate(zip(maps, names, strict=False)):
        for column, (u, v, w) in enumerate(SECTIONS):
            panel = figure.add_subplot(layout[row, 2 * column : 2 * column + 2])
            image = _section(panel, shown, (u, v, w), limit)
            _mark_lattice(panel, shown, (u, v))
            panel.set_title(f"{name + ', ' if name else ''}{AXES[u]}{AXES[v]} plane")
            panels.append(panel)
    for row, (shown, name) in enumerate(zip(maps if near else [], names, strict=False)):
        for column, axis in enumerate(near):
            at = len(maps) + row
            panel = figure.add_subplot(layout[at, 2 * column : 2 * column + 2])
            plane = (axis, (axis + 1) % 3, (axis + 2) % 3)
            image = _section(panel, shown, plane, limit)
            centre = _along(shown, plane)[:, 0] * 1.0
            panel.set_xlim(centre[0] - CLOSE_UP, centre[0] + CLOSE_UP)
            panel.set_ylim(centre[1] - CLOSE_UP, centre[1] + CLOSE_UP)
            panel.set_title(f"{name + ', ' if name else ''}around {AXES[axis]}")
            panels.append(panel)
    bar = figure.colorbar(image, ax=panels, extend="both", shrink=0.7, pad=0.02)
    bar.set_label(f"P / ({found.units})", parse_math=False)
    if shells:
        _draw_curves(figure, layout, rows - 1, shells, names)
    figure.suptitle(title, parse_math=False)
    caption(
        figure,
        [
            "Deviations from the average density this far apart go together (red) or against each "
            "other (blue).",
            f"Colours hold {PERCENTILE} % of the values beyond {ORIGIN_RADIUS:g} Å, less than the "
            "peak at the origin. Crosses: lattice points.",
        ],
        missing=False,
    )
    return figure


def _limit(found: PattersonMap) -> float:
    """Largest colour."""
    values = np.abs(found.values[found.distances() > ORIGIN_RADIUS])
    limit = float(np.percentile(values, PERCENTILE)) if values.size else 0.0
    return limit or float(np.abs(found.values).max()) or 1.0


def _along(found: PattersonMap, plane: tuple[int, int, int]) -> Float64:
    """Axes of a section as columns, in its own Cartesian coordinates, Å: the first along x."""
    matrix = np.asarray(numpy_cell(found.cell).matrix, dtype=np.float64)
    u, v = matrix[:, plane[0]], matrix[:, plane[1]]
    x = u / np.linalg.norm(u)
    along = float(v @ x)
    height = float(np.sqrt(max(float(v @ v) - along**2, 0.0)))
    return np.array([[float(np.linalg.norm(u)), along], [0.0, height]])


def _section(panel: Axes, found: PattersonMap, plane: tuple[int, int, int], limit: float) -> Any:
    """Draw a section through the origin."""
    u, v, w = plane
    values = np.take(found.values, found.values.shape[w] // 2, axis=w)
    values = values if u < v else values.T
    x, y = (_edges(found.axes[axis]) for axis in (u, v))
    across = _along(found, plane)
    place = across[:, 0, None, None] * x[:, None] + across[:, 1, None, None] * y
    image = panel.pcolormesh(
        place[0], place[1], values, cmap=DIVERGING, vmin=-limit, vmax=limit, rasterized=True
    )
    panel.set_aspect("equal")
    panel.set_xlabel("Å")
    return image


def _edges(axis: Float64) -> Float64:
    """Edges of pixels around equidistant points."""
    step = axis[1] - axis[0] if len(axis) > 1 else 1.0
    return np.append(axis, axis[-1] + step) - step / 2


def _mark_lattice(panel: Axes, found: PattersonMap, plane: tuple[int, int]) -> None:
    """Crosses at lattice points other than the origin."""
    across = _along(found, (*plane, 0))
    reach = [int(found.periods[axis] / 2 + 1e-9) for axis in plane]
    points = [
        across @ np.array([i, j], dtype=np.float64)
        for i in range(-reach[0], reach[0] + 1)
        for j in range(-reach[1], reach[1] + 1)
        if (i, j) != (0, 0)
    ]
    if points:
        x, y = np.array(points).T
        panel.plot(x, y, "+", color="black", ms=3.5, mew=0.5, clip_on=True)


def _draw_curves(
    figure: Figure,
    layout: GridSpec,
    row: int,
    shells: Sequence[DistanceShell],
    names: tuple[str, str],
) -> None:
    """Standard deviation and correlation in shells of |r|."""
    r = np.array([0.5 * (x.r_min + x.r_max) for x in shells])
    cc = np.array([x.cc for x in shells])
    two = bool(np.isfinite(cc).any())
    panel = figure.add_subplot(layout[row, 0:3] if two else layout[row, 1:5])
    deviation = np.array([x.deviation for x in shells])
    panel.semilogy(r, deviation, "-o", ms=2.5, color=LINES[0], label=names[0])
    if two:
        of_model = np.array([x.other_deviation for x in shells])
        panel.semilogy(r, of_model, "-s", ms=2.5, color=LINES[1], label=names[1])
        panel.legend(frameon=False)
    panel.set(xlabel="|r| / Å", ylabel="standard deviation of P")
    if two:
        right = figure.add_subplot(layout[row, 3:6])
        right.plot(r, cc, "-o", ms=2.5, color=LINES[2])
        right.axhline(0, color="0.6", lw=0.6, zorder=0)
        low = min(-0.1, float(np.nanmin(cc)))
        right.set(xlabel="|r| / Å", ylabel="CC of data and model", ylim=(low, 1.02))
