"""Overview pictures of a map or a list."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.maps.diffuse import DiffuseMap

from .histograms import draw_histogram_panel
from .slices import draw_slices
from .style import LINES, PAGE, SEQUENTIAL, intensity_label, new_figure, resolution_scale, styled

#: Longer lists are drawn as a density of points.
MAX_SCATTER_POINTS = 20_000


def draw(
    diffuse: DiffuseMap,
    title: str = "",
    limits: tuple[float, float] | None = None,
    scale: str = "auto",
) -> Figure:
    """Draw central slices and a histogram of a map, or the values of a list against |q|.

    Parameters
    ----------
    diffuse : DiffuseMap
    title : str
    limits, scale
        Colours of a map; see `choose_colours`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InputError
        If there is no intensity.
    """
    if np.isnan(diffuse.intensity).all():
        raise InputError(
            f"none of the {diffuse.intensity.size} intensities is finite: nothing to draw"
        )
    if diffuse.grid is None:
        return _draw_list(diffuse, title)
    return draw_slices(diffuse, title=title, limits=limits, scale=scale, with_histogram=True)


@styled
def _draw_list(diffuse: DiffuseMap, title: str) -> Figure:
    """Intensity against |q|, and a histogram."""
    figure = new_figure(PAGE, 0.42 * PAGE)
    figure.suptitle(title, parse_math=False)
    left, right = figure.subplots(1, 2)
    known = np.isfinite(diffuse.intensity)
    q = np.linalg.norm(diffuse.q_vectors[known], axis=1)
    values = diffuse.intensity[known]
    positive = bool((values > 0).all())
    if len(values) > MAX_SCATTER_POINTS:
        image = left.hexbin(
            q, values, yscale="log" if positive else "linear", bins="log", cmap=SEQUENTIAL, mincnt=1
        )
        figure.colorbar(image, ax=left, label="points")
    else:
        left.plot(q, values, ".", markersize=3, color=LINES[0], rasterized=True)
        left.set_yscale("log" if positive else "linear")
    left.set(xlabel="|q| / Å⁻¹ (2π included)", ylabel=intensity_label(diffuse))
    resolution_scale(left, TWO_PI)
    draw_histogram_panel(right, diffuse)
    return figure
