"""Common style of all pictures: colours, limits, sizes and captions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from onephonon.core.errors import InputError
from onephonon.maps.diffuse import Array, DiffuseMap

#: Perceptually uniform and readable with colour blindness.
SEQUENTIAL = "viridis"

#: Blue to red through white, readable with colour blindness.
DIVERGING = "RdBu_r"

#: Missing values: a hatched grey that is on neither colour scale.
MISSING, HATCH, HATCHING = "0.82", "0.66", "//////"

#: Lines and points: the palette of Okabe and Ito for all types of colour vision.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

#: Text and thin lines of lesser importance.
FAINT = "0.35"

#: Intensities outside these percentiles saturate, so that a few points next to Bragg peaks do not
#: determine the colours.
PERCENTILES = (1.0, 99.7)

#: Colours are logarithmic if positive intensities span more than this factor.
MIN_LOG_RATIO = 5.0

#: Kinds of colour scales.
SCALES = ("auto", "log", "linear", "diverging")

#: Width of a page, inches: 183 mm, two columns of a journal.
PAGE = 7.2

#: Settings of matplotlib for pictures of that width.
RC: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "figure.titlesize": 10.0,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.4,
    "hatch.color": HATCH,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "onephonon",
}


#: Decorator and context manager for drawing in this style.
styled = matplotlib.rc_context(RC)


@dataclass(frozen=True)
class Colours:
    """A colour scale.

    Parameters
    ----------
    norm : Normalize
    name : str
        Name of the colour map.
    extend : {'neither', 'min', 'max', 'both'}
        Sides on which values exceed the limits.
    description : str
        Description of the limits, for captions.
    """

    norm: Normalize
    name: str
    extend: str
    description: str

    @property
    def map(self) -> Colormap:
        """The colour map; missing values show the background."""
        return matplotlib.colormaps[self.name].with_extremes(bad=(0, 0, 0, 0))

    @property
    def lines(self) -> str:
        """Colour of thin lines that is visible on the map."""
        return "black" if self.name == DIVERGING else "white"

    def shown(self, values: Array) -> Any:
        """Values for an image, with missing ones masked and all others valid for the norm.

        On a logarithmic scale zero and negative values are set to the lower limit, not masked.
        """
        shown = np.asarray(values)
        if isinstance(self.norm, LogNorm):
            shown = np.where(shown <= 0, float(self.norm.vmin or 0), shown)
        return np.ma.masked_invalid(shown)


def choose_colours(
    values: Sequence[Array],
    limits: tuple[float, float] | None = None,
    scale: str = "auto",
) -> Colours:
    """Choose one colour scale for all given arrays.

    Parameters
    ----------
    values : sequence of ndarray
        Values to draw; NaN if missing.
    limits : pair of float, optional
        Lowest and highest colour; by default the 1st and 99.7th percentile of the drawn
        values; symmetric about zero on a diverging scale.
    scale : {'auto', 'log', 'linear', 'diverging'}
        'auto': logarithmic if all values are positive and span more than a factor of 5, diverging
        if they are on both sides of zero, otherwise linear.

    Raises
    ------
    InputError
        If there is nothing to draw, or limits do not fit the scale.
    """
    check_scale(scale)
    finite = np.concatenate([_finite(v) for v in values]) if len(values) else np.empty(0)
    if not finite.size:
        raise InputError("nothing to draw: no point of the section has a value")
    scale = _scale_of(finite, scale)
    if limits is None:
        low, high = _robust_limits(finite, scale)
        chosen = "symmetric about zero" if scale == "diverging" else "1st to 99.7th percentile"
    else:
        low, high = (float(x) for x in limits)
        chosen = "given limits"
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"colour limits {low:g} to {high:g}: the first must be the lower")
        if scale == "log" and low <= 0:
            scale = "linear"
    norm = LogNorm(low, high) if scale == "log" else Normalize(low, high)
    under, over = bool((finite < low).any()), bool((finite > high).any())
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[(under, over)]
    description = f"{'logarithmic ' if scale == 'log' else ''}colours {_span(low, high)}"
    return Colours(
        norm,
        DIVERGING if scale == "diverging" else SEQUENTIAL,
        extend,
        f"{description} ({chosen})",
    )


def check_scale(scale: str) -> None:
    """Check the kind of a colour scale."""
    if scale not in SCALES:
        raise InputError(f"scale {scale!r} is not one of {', '.join(SCALES)}")


def _span(low: float, high: float) -> str:
    """Limits as text."""
    numbers = [written(float(f"{x:.3g}")) for x in (low, high)]
    return f"±{numbers[1]}" if low == -high else f"{numbers[0]} to {numbers[1]}"


def _finite(values: Array) -> Array:
    values = np.asarray(values)
    return values[np.isfinite(values)]


def _scale_of(finite: Array, scale: str) -> str:
    """Kind of the colour scale; 'auto' depends on the values."""
    low, middle, high = np.percentile(finite, (PERCENTILES[0], 50.0, PERCENTILES[1]))
    if scale == "log" and not high > 0:
        raise InputError("a logarithmic scale needs positive intensities; choose scale='linear'")
    if scale != "auto":
        return scale
    if low > 0:
        return "log" if high > MIN_LOG_RATIO * low else "linear"
    # Significant values on both sides of zero, not only noise about the background.
    return "diverging" if -low > 0.2 * high and abs(middle) < 0.5 * high else "linear"


def _robust_limits(finite: Array, scale: str) -> tuple[float, float]:
    low, high = (float(x) for x in np.percentile(finite, PERCENTILES))
    if scale == "diverging":
        far = max(abs(low), abs(high)) or 1.0
        return -far, far
    if scale == "log":
        positive = finite[finite > 0]
        low = max(low, float(np.percentile(positive, PERCENTILES[0])))
        return (low, high) if high > low else (low * 0.9, low * 1.1)
    return (low, high) if high > low else (low - 0.1 * abs(low) - 0.1, low + 0.1 * abs(low) + 0.1)


def intensity_label(diffuse: DiffuseMap, what: str = "I") -> str:
    """Name of the intensity with its unit, for axes and colour bars."""
    unit = (diffuse.units or "arbitrary").replace("^2", "²")
    return f"{what} / {'arbitrary units' if unit == 'arbitrary' else unit}"


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure outside pyplot, so that none stays open."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.07, compress=True)
    return Figure(figsize=(width, height), layout=layout)


def colour_bar(
    figure: Figure, image: Any, panels: Any, colours: Colours, label: str, **options: Any
) -> Colorbar:
    """Add a colour bar with few round numbers, and arrows where values exceed the limits."""
    bar = figure.colorbar(image, ax=panels, extend=colours.extend, **options)
    bar.set_label(label)
    axis = bar.ax.xaxis if options.get("location") in ("top", "bottom") else bar.ax.yaxis
    if isinstance(colours.norm, LogNorm):
        decades = math.log10(float(colours.norm.vmax or 1) / float(colours.norm.vmin or 1))
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
        axis.set_minor_formatter(NullFormatter())
    bar.outline.set_linewidth(0.6)
    return bar


def written(value: float) -> str:
    """Format a number: 0.02, 500, 20 000, 2 × 10⁶."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:,.5g}" if abs(value) < 1e4 else f"{value:,.0f}"
        return text.replace(",", " " if abs(value) >= 1e4 else "").replace("-", "−")
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    front = value / 10.0**exponent
    power = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{power}" if abs(front - 1) < 1e-6 else f"{front:.3g} × 10{power}".replace("-", "−")


def italic(text: str) -> str:
    """Set Miller indices and coordinates in italics, as is conventional."""
    return re.sub(r"(?<![^\W\d])([hklxy])(?!\w)", r"$\1$", text)


def literal(text: str) -> str:
    """Escape dollar signs in text, so that they do not start mathematics."""
    return text.replace("$", r"\$")


def caption(figure: Figure, lines: Sequence[str], missing: bool = True) -> None:
    """Add a caption below the figure; a swatch shows the hatching of missing values."""
    shown = [line for line in lines if line]
    empty = Patch(alpha=0)
    swatch = Patch(facecolor=MISSING, edgecolor=HATCH, hatch=HATCHING, linewidth=0.0)
    figure.legend(
        [swatch if missing and i == 0 else empty for i in range(len(shown))],
        shown,
        loc="outside lower center",
        frameon=False,
        labelcolor=FAINT,
        labelspacing=0.3,
        handlelength=1.8 if missing else 0,
        handletextpad=0.6 if missing else 0,
    )


def resolution_scale(panel: Axes, factor: float = 1.0) -> None:
    """Add a second scale on top: d = factor / x, in Å."""
    low, high = panel.get_xlim()
    top = panel.twiny()
    top.set_xlim(low, high)
    ticks = [t for t in panel.get_xticks() if low <= t <= high and t > 1e-9]
    top.set_xticks(ticks, [f"{factor / t:.3g}" for t in ticks])
    top.tick_params(colors=FAINT)
    top.set_xlabel("d / Å", color=FAINT)
