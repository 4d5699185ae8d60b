"""Pictures of a fit: series of models, agreement by shell, springs, information, background."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from .style import FAINT, LINES, PAGE, new_figure, resolution_scale, styled, written

if TYPE_CHECKING:
    from onephonon.refine.model_series import LevelFit, ModelSeries
    from onephonon.refine.profile import Profile
    from onephonon.refine.quality import Quality
    from onephonon.refine.table import SpringRow
    from onephonon.refine.uncertainty import Uncertainty

Float64 = NDArray[np.float64]

#: Ratio of chi-squares from which the axis is logarithmic.
MIN_LOG_RATIO = 5.0

#: Intervals of springs are drawn up to this factor beyond the outermost values, because some extend
#: from zero to infinity.
MAX_INTERVAL_FACTOR = 6.0

#: Correlations below this are drawn from zero.
NEAR_ZERO = 0.4

#: Lower limit of the drawn information, relative to the prior.
MIN_PRIOR_SHARE = 1e-2

#: Maximum number of bins of the profile.
BINS = 60

#: Colours of the directions of springs, by the first word of their names.
WAYS = {"along": 0, "across": 1, "all": 0, "translation": 0, "libration": 1}


@styled
def draw_series(series: ModelSeries, *, title: str = "") -> Figure:
    """Draw chi-square and correlation of every model, fitted and held out.

    Parameters
    ----------
    series : ModelSeries
    title : str
    """
    levels = (series.start, *series.levels)
    names = ["start", *(r.level.name for r in series.levels)]
    figure = new_figure(PAGE, 0.38 * PAGE)
    left, right = figure.subplots(1, 2)
    x = np.arange(len(levels))
    for panel, what in ((left, "chi2"), (right, "cc_anisotropic")):
        every = []
        for part, name, form, colour in _parts():
            values = np.array([getattr(getattr(r, part), what) for r in levels])
            panel.plot(x, values, form, color=colour, label=name, ms=4.5, lw=1.0)
            every.append(values)
        panel.axvline(1 + series.chosen, color="0.85", lw=9, zorder=0)
        panel.set_xticks(x, names)
        panel.set_xlim(-0.4, len(levels) - 0.6)
        if what == "chi2":
            _chi2_axis(panel, np.concatenate(every))
        else:
            panel.set_ylabel("anisotropic CC")
    handles, labels_shown = left.get_legend_handles_labels()
    handles.append(Patch(color="0.85"))
    figure.legend(
        handles, [*labels_shown, "chosen level"], loc="outside lower center", ncols=3, frameon=False
    )
    figure.suptitle(title, parse_math=False)
    return figure


@styled
def draw_fit_shells(start: LevelFit, best: LevelFit, *, title: str = "") -> Figure:
    """Draw chi-square and correlation in shells: fitted, held out, and the starting model.

    Parameters
    ----------
    start, best : LevelFit
    title : str
    """
    figure = new_figure(PAGE, 0.42 * PAGE)
    left, right = figure.subplots(1, 2)
    for panel, what in ((left, "chi2"), (right, "cc_anisotropic")):
        every = []
        for part, name, form, colour in _parts():
            for fitted, labels_shown, line in ((start, "start, ", ":"), (best, "", "-")):
                s, values = _by_shell(getattr(fitted, f"{part}_shells"), what)
                style = {"color": colour, "ls": line, "marker": form[1], "ms": 3.5, "lw": 1.0}
                if line == ":":
                    style |= {"alpha": 0.75, "marker": ""}
                panel.plot(s, values, label=f"{labels_shown}{name}", **style)
                every.append(values)
        if what == "chi2":
            _chi2_axis(panel, np.concatenate(every))
        else:
            panel.set_ylabel("anisotropic CC")
            if np.nanmin(np.concatenate(every), initial=1.0) < NEAR_ZERO:
                panel.axhline(0, color="0.7", lw=0.6, zorder=0)
        panel.set_xlabel("1/d / Å⁻¹")
        resolution_scale(panel)
    right.legend(frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


@styled
def draw_springs(rows: Sequence[SpringRow], *, title: str = "") -> Figure:
    """Draw spring constants with 68 % intervals on a logarithmic axis, and the starting springs.

    Parameters
    ----------
    rows : sequence of SpringRow
        One or more; librations, whose units differ, are drawn in a separate panel.
    title : str
    """
    kinds = [
        [r for r in rows if r.direction.startswith("libration") is librations]
        for librations in (False, True)
    ]
    kinds = [kind for kind in kinds if kind]
    longest = max(len(kind) for kind in kinds)
    figure = new_figure(PAGE, 0.9 + 0.175 * longest)
    panels = figure.subplots(1, len(kinds), squeeze=False).ravel().tolist()
    for panel, kind in zip(panels, kinds, strict=True):
        _forest(panel, kind)
    figure.suptitle(title, parse_math=False)
    return figure


def _forest(panel: Axes, rows: Sequence[SpringRow]) -> None:
    """Forest plot: one spring per line."""
    y = np.arange(len(rows))
    value = np.array([r.value for r in rows])
    start = np.array([r.value / r.ratio for r in rows])
    middle = np.concatenate([value, start])
    middle = middle[np.isfinite(middle) & (middle > 0)]
    floor, top = (
        float(middle.min()) / MAX_INTERVAL_FACTOR,
        float(middle.max()) * MAX_INTERVAL_FACTOR,
    )
    low = np.clip(np.nan_to_num([r.low for r in rows], nan=floor), floor, top)
    high = np.clip(np.nan_to_num([r.high for r in rows], nan=top, posinf=top), floor, top)
    colours = [LINES[WAYS.get(r.direction.split()[0], 0)] for r in rows]
    known = [r.by_data >= 0.5 for r in rows]
    panel.hlines(y, low, high, colors=colours, lw=1.4)
    panel.scatter(start, y, marker="|", s=45, color="0.55", lw=1.0, zorder=3)
    panel.scatter(
        value,
        y,
        s=17,
        edgecolors=colours,
        facecolors=[c if k else "white" for c, k in zip(colours, known, strict=True)],
        linewidths=1.0,
        zorder=4,
    )
    panel.set_xscale("log")
    left, right = min(low.min(), middle.min()) / 1.15, max(high.max(), middle.max()) * 1.15
    panel.set_xlim(left, right)
    _log_ticks(panel, left, right)
    panel.set_yticks(y, [r.name for r in rows], parse_math=False)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", color="0.93", lw=0.6)
    panel.set_axisbelow(True)
    librations = rows[0].direction.startswith("libration")
    panel.set_xlabel("stiffness / kT rad⁻²" if librations else "spring constant / kT Å⁻²")


@styled
def draw_spectrum(uncertainty: Uncertainty, *, title: str = "") -> Figure:
    """Draw the information of the data on each combination of springs, compared with the prior.

    Parameters
    ----------
    uncertainty : Uncertainty
    title : str
    """
    values = uncertainty.spectrum[0].numpy(force=True)
    floor = max(1e-12 * float(values.max(initial=0.0)), 1e-300)
    known = values > max(uncertainty.prior, floor)
    # Values far below the prior are drawn at one lower limit.
    shown = np.maximum(values, max(floor, MIN_PRIOR_SHARE * uncertainty.prior))
    figure = new_figure(PAGE, 0.36 * PAGE)
    panel = figure.subplots()
    number = np.arange(1, len(values) + 1)
    lowest = min(float(shown.min()), uncertainty.prior or math.inf) / 3
    size = 4.5 if len(values) <= 60 else 2.5
    for which, name, face in (
        (known, "determined by the data", LINES[0]),
        (~known, "determined by the prior", "white"),
    ):
        if which.any():
            panel.vlines(number[which], lowest, shown[which], color=LINES[0], lw=0.6, alpha=0.4)
            panel.plot(number[which], shown[which], "o", ms=size, mfc=face, mec=LINES[0],
                       label=name)  # fmt: skip
    if uncertainty.prior > 0:
        panel.axhline(uncertainty.prior, color=LINES[1], lw=1.0, label="prior")
    panel.set_yscale("log")
    panel.set(xlim=(0.4, len(values) + 0.6), ylim=(lowest, 3 * float(shown.max())))
    panel.set(xlabel="combination of springs, best determined first", ylabel="information")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    right = panel.secondary_yaxis(
        "right",
        functions=(
            lambda v: 1 / np.sqrt(np.maximum(v, 1e-300)),
            lambda u: 1 / np.maximum(np.square(u), 1e-300),
        ),
    )
    right.set_ylabel("uncertainty of the logarithm", color=FAINT)
    right.tick_params(colors=FAINT)
    panel.legend(frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


@styled
def draw_fit_profile(
    s: Float64, data: Float64, model: Float64, background: Float64, label: str, *, title: str = ""
) -> Figure:
    """Draw means over shells of data, fit and background.

    Parameters
    ----------
    s : ndarray, shape (N,)
        1/d, 1/Å.
    data, model, background : ndarray, shape (N,)
    label : str
        Name of the intensities, with their unit.
    title : str
    """
    n = int(np.clip(len(s) // 30, 4, BINS))
    edges = np.linspace(float(s.min()), float(s.max()), n + 1)
    number = np.clip(np.searchsorted(edges, s, side="right") - 1, 0, n - 1)
    count = np.bincount(number, minlength=n)
    middle = 0.5 * (edges[1:] + edges[:-1])[count > 0]
    figure = new_figure(PAGE, 0.36 * PAGE)
    panel = figure.subplots()
    for values, name, form, colour in (
        (data, "data", "-", LINES[6]),
        (model + background, "model + background", "--", LINES[1]),
        (model, "model", "-", LINES[0]),
        (background, "background", "-", LINES[2]),
    ):
        mean = np.bincount(number, values, n)[count > 0] / count[count > 0]
        panel.plot(middle, mean, form, color=colour, label=name)
    panel.axhline(0, color="0.7", lw=0.6, zorder=0)
    panel.set(xlabel="1/d / Å⁻¹", ylabel=label)
    resolution_scale(panel)
    panel.legend(frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


@styled
def draw_spring_profiles(profiles: Sequence[Profile], *, title: str = "") -> Figure:
    """Draw the increase of chi-square when single springs are fixed at other values.

    Parameters
    ----------
    profiles : sequence of Profile
    title : str
    """
    columns = min(3, len(profiles))
    rows = -(-len(profiles) // columns)
    figure = new_figure(PAGE, 2.3 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel in panels[len(profiles) :]:
        panel.set_axis_off()
    for panel, found in zip(panels, profiles, strict=False):
        panel.plot(found.value, found.parabola, ":", color=FAINT, label="Gauss-Newton")
        panel.plot(found.value, found.chi2, "-o", ms=3, color=LINES[0], label="others refitted")
        for level, name in ((1.0, "68 %"), (4.0, "95 %")):
            panel.axhline(level, color="0.8", lw=0.6, zorder=0)
            panel.text(1.0, level, name, transform=panel.get_yaxis_transform(), ha="right",
                       va="bottom", color=FAINT, size=6)  # fmt: skip
        panel.set(ylim=(-0.3, 10), xscale="log")
        _log_ticks(panel, float(found.value.min()), float(found.value.max()))
        panel.set_title(found.name, parse_math=False)
        panel.set_xlabel("spring constant / kT Å⁻²")
    panels[0].set_ylabel("increase of chi-square / dispersion")
    panels[0].legend(frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


def _log_ticks(panel: Axes, low: float, high: float) -> None:
    """Set round ticks on a logarithmic axis, also if it spans less than a decade."""
    decades = math.log10(high / low)
    if decades < 0.6:
        panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    else:
        few = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
        subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0) if decades < 1.2 else few
        panel.xaxis.set_major_locator(LogLocator(subs=subs))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda v, _: written(float(f"{v:.3g}"))))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _parts() -> tuple[tuple[str, str, str, str], ...]:
    """Fitted and held-out voxels: attribute, name, form and colour."""
    return (("used", "fitted", "-o", LINES[0]), ("held_out", "held out", "-s", LINES[1]))


def _by_shell(shells: Sequence[Quality], what: str) -> tuple[Float64, Float64]:
    """Centre of each non-empty shell, and one of its statistics."""
    full = [q for q in shells if q.n]
    s = np.array([0.5 * (1 / q.d_max + 1 / q.d_min) for q in full])
    return s, np.array([getattr(q, what) for q in full], dtype=np.float64)


def _chi2_axis(panel: Axes, values: Float64) -> None:
    """Set a logarithmic axis if chi-squares differ strongly, else a linear one from zero."""
    known = values[np.isfinite(values) & (values > 0)]
    panel.set_ylabel("chi-square per voxel")
    if len(known) and known.max() > MIN_LOG_RATIO * known.min():
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda v, _: written(v)))
        panel.yaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_ylim(0, 1.08 * float(known.max()) if len(known) else 1.0)
