"""Pictures of components of disorder: how much each explains, and covariances of segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from onephonon.core.errors import InputError

from .style import FAINT, LINES, PAGE, new_figure, resolution_scale, styled

Float64 = NDArray[np.float64]

#: Inches of a row of a bar chart.
ROW = 0.34

#: Up to so many segments are named along the axes.
MAX_NAMED = 12


@dataclass(frozen=True)
class Explained:
    """How well one model predicts data that it was not fitted to.

    Parameters
    ----------
    name : str
    baseline : bool
        Whether it is there to be compared with, and explains nothing.
    cc, error : float
        Correlation of anisotropic parts, small blocks left out of the fit; and standard error.
    cc_wide, error_wide : float
        The same with wider surroundings left out, too; NaN if not computed.
    cc_second : float
        Predictions of the voxels left out, compared with another crystal's map; NaN without.
    """

    name: str
    baseline: bool
    cc: float
    error: float
    cc_wide: float = math.nan
    error_wide: float = math.nan
    cc_second: float = math.nan


@styled
def draw_explained(
    rows: Sequence[Explained],
    *,
    wide_name: str = "wide blocks left out",
    ceiling: float = math.nan,
    ceiling_name: str = "two crystals",
    chosen: int | None = None,
    title: str = "",
) -> Figure:
    """Draw how much of the map each model predicts, one row each, from the top.

    Parameters
    ----------
    rows : sequence of Explained
    wide_name : str
        What `cc_wide` is.
    ceiling : float
        What a perfect model would reach; NaN if unknown.
    ceiling_name : str
    chosen : int, optional
        Row to highlight.
    title : str

    Raises
    ------
    InputError
        If there is no row.
    """
    if not rows:
        raise InputError("nothing to draw: no model was fitted")
    figure = new_figure(PAGE, 1.1 + ROW * len(rows))
    panel = figure.subplots()
    y = np.arange(len(rows))
    both = any(math.isfinite(row.cc_wide) for row in rows)
    step = 0.19 if both else 0.0
    parts = [("small blocks left out", "cc", "error", -step, LINES[0])]
    if both:
        parts.append((wide_name, "cc_wide", "error_wide", step, LINES[4]))
    handles: list[Any] = []
    for name, value, error, shift, colour in parts:
        values = np.array([getattr(row, value) for row in rows])
        errors = np.nan_to_num(np.array([getattr(row, error) for row in rows]))
        faded = [0.45 if row.baseline else 1.0 for row in rows]
        bars = panel.barh(
            y + shift,
            values,
            0.36 if both else 0.6,
            color=colour,
            xerr=errors,
            error_kw={"lw": 0.8, "ecolor": FAINT},
        )
        for bar, alpha in zip(bars, faded, strict=True):
            bar.set_alpha(alpha)
        handles.append(Patch(color=colour, label=name))
    second = np.array([row.cc_second for row in rows])
    if np.isfinite(second).any():
        label = "small blocks, on the other crystal"
        handles += panel.plot(second, y - step, "D", ms=4, color=LINES[1], label=label)
    if math.isfinite(ceiling):
        handles.append(panel.axvline(ceiling, color="black", lw=1.0, ls="--", label=ceiling_name))
    if chosen is not None:
        panel.axhspan(chosen - 0.5, chosen + 0.5, color="0.93", zorder=0)
    names = [f"{row.name} (baseline)" if row.baseline else row.name for row in rows]
    panel.set_yticks(y, names, parse_math=False)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(min(0.0, float(np.nanmin([row.cc for row in rows]))), 1.0)
    panel.set_xlabel("anisotropic CC with data that were left out of the fit")
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


@styled
def draw_explained_shells(
    s: Float64, curves: Sequence[tuple[str, Float64]], ceiling: Float64 | None = None
) -> Figure:
    """Draw correlations against resolution, one curve a model.

    Parameters
    ----------
    s : ndarray, shape (n_shells,)
        Middle of each shell, 1/d in 1/Å.
    curves : sequence of (str, ndarray of shape (n_shells,))
        Name, and correlation in each shell.
    ceiling : ndarray, shape (n_shells,), optional
        What a perfect model would reach.
    """
    if not curves:
        raise InputError("nothing to draw: no model was fitted")
    figure = new_figure(0.75 * PAGE, 0.45 * PAGE)
    panel = figure.subplots()
    if ceiling is not None:
        panel.plot(s, ceiling, "--", color="black", lw=1.0, label="two crystals")
    for i, (name, values) in enumerate(curves):
        panel.plot(s, values, "o-", ms=3, color=LINES[i % len(LINES)], label=name)
    panel.set_ylim(min(0.0, float(np.nanmin([v for _, v in curves]))), 1.0)
    panel.set_xlabel("1/d / Å⁻¹")
    panel.set_ylabel("anisotropic CC")
    resolution_scale(panel)
    legend = figure.legend(loc="outside right upper", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


@styled
def draw_covariance(
    correlation: Float64,
    error: Float64 | None,
    closeness: Float64,
    names: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draw correlations of motion between segments of a molecule beside their contacts.

    Parameters
    ----------
    correlation : ndarray, shape (n, n)
        -1 to 1: a dynamic cross-correlation map.
    error : ndarray, shape (n, n), optional
        Standard errors.
    closeness : ndarray, shape (n, n)
        Shortest distance between atoms of two segments, Å.
    names : sequence of str, length n
    title : str

    Raises
    ------
    InputError
        If the shapes differ.
    """
    n = len(names)
    given = [correlation, closeness] + ([] if error is None else [error])
    for values in given:
        if np.shape(values) != (n, n):
            raise InputError(f"{n} segments need arrays of shape ({n}, {n}), not {values.shape}")
    figure = new_figure(PAGE, (0.44 if error is not None else 0.6) * PAGE)
    panels = np.atleast_1d(figure.subplots(1, len(given), sharex=True, sharey=True))
    reach = max(float(np.nanmax(np.abs(correlation - np.diag(np.diag(correlation))))), 1e-3)
    shown = [(correlation, "RdBu_r", -min(1.0, reach), min(1.0, reach), "correlation of motion")]
    if error is not None:
        shown.append((error, "viridis", 0.0, float(np.nanmax(error)), "standard error"))
    shown.append((closeness, "gray", 0.0, 12.0, "shortest distance / Å"))
    for panel, (values, colours, low, high, label) in zip(panels, shown, strict=True):
        image = panel.imshow(
            values, cmap=colours, vmin=low, vmax=high, origin="lower", interpolation="nearest"
        )
        figure.colorbar(image, ax=panel, label=label, location="bottom", shrink=0.9)
        if n > MAX_NAMED:
            ticks = [int(t) for t in MaxNLocator(5, integer=True).tick_values(0, n - 1)]
            ticks = [t for t in ticks if 0 <= t < n]
        else:
            ticks = list(range(n))
        panel.set_xticks(ticks, [names[t] for t in ticks], rotation=90, parse_math=False)
        panel.set_yticks(ticks, [names[t] for t in ticks], parse_math=False)
    figure.suptitle(title, parse_math=False)
    return figure
