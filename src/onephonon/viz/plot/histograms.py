"""Histograms of intensities."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from onephonon.core.errors import InputError
from onephonon.crystal.grid import SLAB
from onephonon.maps.diffuse import Array, DiffuseMap

from .style import LINES, PAGE, Colours, intensity_label, new_figure, styled

#: Maximum number of bins.
MAX_HISTOGRAM_BINS = 80


@styled
def draw_histogram(diffuse: DiffuseMap, *, title: str = "") -> Figure:
    """Draw the histogram of the intensities of a map or list.

    Raises
    ------
    InputError
        If no point has a value.
    """
    figure = new_figure(PAGE / 2, PAGE / 2.6)
    draw_histogram_panel(figure.subplots(), diffuse)
    figure.suptitle(title, parse_math=False)
    return figure


def draw_histogram_panel(panel: Axes, diffuse: DiffuseMap, colours: Colours | None = None) -> None:
    """Draw a histogram of all voxels; the limits of the colour scale are marked.

    Bins are logarithmic if all values are positive. Missing voxels are counted in the title.

    Raises
    ------
    InputError
        If no point has a value.
    """
    n, low, high = _range(diffuse)
    if not n:
        raise InputError(
            f"none of the {diffuse.intensity.size} points has a value: nothing to draw"
        )
    n_bins = max(10, min(MAX_HISTOGRAM_BINS, round(2 * math.sqrt(n))))
    if low > 0:
        high = high if high > low else low * 1.01
        edges = np.geomspace(low * (1 - 1e-9), high * (1 + 1e-9), n_bins + 1)
        panel.set_xscale("log")
    else:
        high = high if high > low else low + 1.0
        edges = np.linspace(low, high, n_bins + 1)
    counts = sum(np.histogram(part, edges)[0] for part in _parts(diffuse))
    panel.stairs(counts, edges, fill=True, color=LINES[0])
    panel.set_yscale("log")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_formatter(NullFormatter())
    panel.set(xlabel=intensity_label(diffuse), ylabel="voxels" if diffuse.grid else "points")
    panel.set_ylim(bottom=0.7)
    if colours is not None:
        for limit in (colours.norm.vmin, colours.norm.vmax):
            panel.axvline(float(limit or 0), color="black", lw=0.6, ls=(0, (4, 3)))
    missing = diffuse.intensity.size - n
    panel.set_title(", ".join((f"{_spaced(n)} values", f"{_spaced(missing)} missing")))


def _spaced(number: int) -> str:
    return f"{number:,}".replace(",", "\N{THIN SPACE}")


def _parts(diffuse: DiffuseMap) -> Iterator[Array]:
    """Iterate over the values of a map in batches."""
    rows = max(1, SLAB * len(diffuse.intensity) // max(diffuse.intensity.size, 1))
    for start in range(0, len(diffuse.intensity), rows):
        part = diffuse.intensity[start : start + rows]
        yield part[~np.isnan(part)]


def _range(diffuse: DiffuseMap) -> tuple[int, float, float]:
    """Number of values, minimum and maximum."""
    n, low, high = 0, math.inf, -math.inf
    for part in _parts(diffuse):
        n += part.size
        low, high = min(low, part.min(initial=low)), max(high, part.max(initial=high))
    return n, float(low), float(high)
