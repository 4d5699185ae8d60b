"""Page-wide figures with several panels."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import PAGE, new_figure

#: Maximum height of a panel relative to its width.
MAX_ASPECT = 2.0


def panel_figure(
    aspects: Sequence[float],
    columns: int,
    *,
    margins: tuple[float, float],
    beside: float = 0.0,
    below: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Create a page-wide figure with rows of panels.

    Parameters
    ----------
    aspects : sequence of float
        Height of each panel over its width.
    columns : int
    margins : pair of float
        Space for the labels of one panel, beside and above it, inches.
    beside, below : float
        Space for colour bars and captions, inches.

    Returns
    -------
    figure : Figure
    panels : list of Axes
        One per aspect; the rest of the last row is empty.
    """
    rows = -(-len(aspects) // columns)
    width = (PAGE - beside) / columns - margins[0]
    tallest = [min(max(aspects[i * columns : (i + 1) * columns]), MAX_ASPECT) for i in range(rows)]
    height = sum(width * aspect + margins[1] for aspect in tallest)
    figure = new_figure(PAGE, height + 0.7 + below)
    every = figure.subplots(rows, columns, squeeze=False, height_ratios=tallest).ravel().tolist()
    for panel in every[len(aspects) :]:
        panel.set_axis_off()
    return figure, every[: len(aspects)]
