"""Picture of a comparison of model and data."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from .panels import draw_section
from .sections import central_plane, cut
from .style import (
    LINES,
    PAGE,
    SEQUENTIAL,
    caption,
    choose_colours,
    colour_bar,
    intensity_label,
    new_figure,
    resolution_scale,
    styled,
)

if TYPE_CHECKING:
    from onephonon.compare.agreement import Agreement

#: Percentiles shown in the scatter plot: a few points next to Bragg peaks would compress the rest.
SHOWN_PERCENTILES = (0.3, 99.7)

#: Characters per line of the caption.
CAPTION_WIDTH = 118


@styled
def draw_agreement(agreement: Agreement, *, title: str = "") -> Figure:
    """Draw a comparison: sections, correlation by shell, profile, scatter plot, indexings.

    Parameters
    ----------
    agreement : Agreement
        From `compare_maps` or `compare_model`. Sections are only drawn for maps on grids.
    title : str

    Returns
    -------
    matplotlib Figure
    """
    on_grid = agreement.data.grid is not None
    heights = ([1.25] if on_grid else []) + [1.0, 1.0]
    figure = new_figure(PAGE, 2.6 * sum(heights) + 0.6)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)  # panels have individual shapes
    layout = GridSpec(len(heights), 2, figure=figure, height_ratios=heights)
    if on_grid:
        _draw_sections(figure, layout, agreement)
    first = len(heights) - 2
    panels = [figure.add_subplot(layout[first + i, j]) for i in range(2) for j in range(2)]
    _draw_correlations(panels[0], agreement)
    _draw_profile(panels[1], agreement)
    _draw_scatter(figure, panels[2], agreement)
    _draw_trials(panels[3], agreement)
    figure.suptitle(title, parse_math=False)
    description = f"model: {agreement.quadrature};  anisotropic part: {agreement.isotropic}"
    drawn = "no value;  in the sections the model has the contrast of the data" if on_grid else ""
    lines = [drawn, *textwrap.wrap(description, CAPTION_WIDTH)]
    caption(figure, lines, missing=on_grid)
    return figure


def _draw_sections(figure: Figure, layout: GridSpec, agreement: Agreement) -> None:
    """Anisotropic parts of model and data, side by side on one colour scale."""
    model, data = agreement.anisotropic_maps()
    _, cell = data.require_grid()
    plane = central_plane(data, 2)
    # A least-squares scale would make a poor model look flat.
    contrast = agreement.contrast
    model = model.changed("contrast", {"intensity": contrast * model.intensity})
    sections = [cut(m, plane) for m in (model, data)]
    colours = choose_colours([s.values for s in sections], None, "diverging")
    panels, image = [], None
    for i, (section, name) in enumerate(zip(sections, ("model", "data"), strict=True)):
        panel = figure.add_subplot(layout[0, i])
        image = draw_section(panel, section, cell, colours, scales=False)
        panel.set_title(f"{name}, {panel.get_title()}")
        panels.append(panel)
    colour_bar(figure, image, panels, colours, intensity_label(data, "anisotropic I"), shrink=0.8)


def _draw_correlations(panel: Axes, agreement: Agreement) -> None:
    """Correlation coefficients by resolution shell."""
    shells = agreement.shells
    s = np.array([[1 / x.d_max, 1 / x.d_min] for x in shells])
    curves = [("cc", "CC", "-o"), ("cc_anisotropic", "CC anisotropic", "-s")]
    if agreement.has_halves:
        curves += [("cc_star", "CC*", "--"), ("cc_star_anisotropic", "CC* anisotropic", ":")]
    low = 0.0
    for (name, label, form), colour in zip(curves, LINES, strict=False):
        values = np.array([getattr(x, name) for x in shells])
        panel.plot(s.mean(axis=1), values, form, ms=3, color=colour, label=label)
        low = min(low, float(np.nanmin(values, initial=0.0)))
    panel.axhline(0, color="0.6", lw=0.6, zorder=0)
    panel.set(xlim=(0, s.max()), ylim=(1.1 * low - 0.02, 1.02))
    panel.set(xlabel="1/d / Å⁻¹", ylabel="correlation coefficient")
    resolution_scale(panel)
    panel.legend(frameon=False)


def _draw_profile(panel: Axes, agreement: Agreement) -> None:
    """Mean intensities against resolution, the model on the data's scale."""
    edges = np.linspace(1 / agreement.overall.d_max, 1 / agreement.overall.d_min, 51)
    pairs = agreement.pairs
    for values, name, form, colour in (
        (pairs.data, "data", "-", LINES[0]),
        (agreement.scale * pairs.model, "model", "--", LINES[1]),
    ):
        total, _ = np.histogram(pairs.s, edges, weights=pairs.weight * values)
        weight, _ = np.histogram(pairs.s, edges, weights=pairs.weight)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(weight > 0, total / weight, np.nan)
        panel.plot(0.5 * (edges[1:] + edges[:-1]), mean, form, color=colour, label=name)
    panel.set(xlim=(0, edges[-1]), xlabel="1/d / Å⁻¹")
    panel.set_ylabel(intensity_label(agreement.data, "mean I"))
    if panel.get_ylim()[0] > 0:
        panel.set_ylim(bottom=0)
    resolution_scale(panel)
    panel.legend(frameon=False)


def _draw_scatter(figure: Figure, panel: Axes, agreement: Agreement) -> None:
    """Anisotropic part of the data against that of the model, as a density of voxels."""
    pairs = agreement.pairs
    x = agreement.scale_anisotropic * pairs.model_anisotropic
    y = pairs.data_anisotropic
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if not x.size:
        panel.set_axis_off()
        return
    limits = (*_range(x), *_range(y))
    counted = panel.hexbin(
        x, y, gridsize=45, extent=limits, bins="log", mincnt=1, cmap=SEQUENTIAL, lw=0
    )
    low, high = max(limits[0], limits[2]), min(limits[1], limits[3])
    panel.plot([low, high], [low, high], color="0.4", lw=0.8, ls="--")
    panel.set(xlim=limits[:2], ylim=limits[2:], xlabel="model, anisotropic, scaled")
    panel.set_ylabel(intensity_label(agreement.data, "data, anisotropic I"))
    cc, error = agreement.overall.cc_anisotropic, agreement.error
    title_text = f"CC {cc:.3f}" + (f" ± {error:.3f}" if np.isfinite(error) else "")
    panel.set_title(title_text)
    figure.colorbar(counted, ax=panel, label="voxels")


def _draw_trials(panel: Axes, agreement: Agreement) -> None:
    """Correlation under every indexing, with its standard error."""
    trials = agreement.trials
    rows = np.arange(len(trials))
    values = np.nan_to_num([t.cc_anisotropic for t in trials])
    errors = np.nan_to_num([t.error for t in trials])
    used = [t.reindexing is agreement.reindexing for t in trials]
    colours = [LINES[1] if u else "0.65" for u in used]
    panel.barh(rows, values, xerr=errors, color=colours, height=0.6, ecolor="0.2", capsize=2)
    panel.set_yticks(rows, [t.reindexing.name for t in trials])
    panel.set_ylim(len(trials) - 0.4, -0.6)
    panel.axvline(0, color="0.4", lw=0.6)
    panel.set(xlabel="CC anisotropic", title="indexings tried; coloured: used")


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, SHOWN_PERCENTILES)
    return (float(low), float(high)) if high > low else (float(low) - 1, float(low) + 1)
