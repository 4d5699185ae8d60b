"""Dispersion along a path through the zone, with the density of states."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from onephonon.core.units import thermal_frequency
from onephonon.dynamics.spectra import DensityOfStates, Dispersion

from .style import FAINT, LINES, PAGE, new_figure, styled

Float64 = NDArray[np.float64]

#: Translation is blue, libration vermilion, mixed modes in between.
TRANSLATION, MIXED_COLOUR, LIBRATION = LINES[0], "#9A8FA0", LINES[1]
MIXED = LinearSegmentedColormap.from_list("mixed", [LIBRATION, MIXED_COLOUR, TRANSLATION])

#: Minimum width of a segment, relative to the whole, so that labels do not overlap.
MIN_SEGMENT_WIDTH = 0.055

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@styled
def draw_modes(
    dispersion: Dispersion,
    states: DensityOfStates | None = None,
    *,
    temperature: float,
    title: str = "",
    band: tuple[Float64, Float64] | None = None,
) -> Figure:
    """Draw branches along the path, and the density of states on the same axis.

    Parameters
    ----------
    dispersion : Dispersion
    states : DensityOfStates, optional
    temperature : float
        In K; converts reduced frequencies to THz.
    title : str
    band : pair of ndarray, shape (n, m), optional
        Lower and upper limits of the reduced frequencies, drawn behind the branches.
    """
    unit = thermal_frequency(temperature)
    figure = new_figure(PAGE, 0.5 * PAGE)
    panels = figure.subplots(1, 2 if states else 1, sharey=True, squeeze=False).ravel().tolist()
    mixed = _branches(panels[0], dispersion, unit)
    highest = float(dispersion.frequencies.max())
    if band is not None and np.isfinite(band[1]).all():
        _band(panels[0], dispersion, unit * band[0], unit * band[1])
        highest = max(highest, float(band[1].max()))
    panels[0].set_ylabel(f"ν / THz at {temperature:g} K")
    panels[0].set_ylim(0.0, 1.03 * unit * highest)
    if states:
        panels[0].get_gridspec().set_width_ratios((3.6, 1.0))
        mixed |= _states(panels[1], states, unit)
    reduced = panels[-1].secondary_yaxis(
        "right", functions=(lambda nu: nu / unit, lambda w: w * unit)
    )
    reduced.set_ylabel("ω / (kT / Å² Da)$^{1/2}$", color=FAINT)
    reduced.tick_params(colors=FAINT)
    figure.suptitle(title)
    if mixed:
        handles = [Patch(color=TRANSLATION), Patch(color=MIXED_COLOUR), Patch(color=LIBRATION)]
        names = ["translation of the bodies", "both", "libration"]
        figure.legend(
            handles, names, loc="outside lower center", ncols=3, frameon=False, labelcolor=FAINT
        )
    return figure


def _branches(panel: Axes, dispersion: Dispersion, unit: float) -> bool:
    """Draw branches coloured by their character; return whether characters differ."""
    w = unit * dispersion.frequencies.numpy(force=True)
    fraction = dispersion.translation.numpy(force=True)
    piece = dispersion.piece.numpy(force=True)
    x, corners = _abscissae(dispersion)
    together = piece[1:] == piece[:-1]
    ends = np.stack([np.broadcast_to(x[:, None], w.shape), w], axis=-1)
    lines = np.stack([ends[:-1], ends[1:]], axis=2)[together].reshape(-1, 2, 2)
    colour = (0.5 * (fraction[:-1] + fraction[1:]))[together].reshape(-1)
    mixed = bool(colour.min() < 1 - 1e-6)
    is_dense = w.shape[1] > 60
    branches = LineCollection(
        list(lines),
        cmap=MIXED,
        norm=Normalize(0.0, 1.0),
        linewidths=0.4 if is_dense else 1.1,
        alpha=0.6 if is_dense else 1.0,
        capstyle="round",
        rasterized=is_dense,
    )
    branches.set_array(colour)
    panel.add_collection(branches)
    panel.set_xlim(x[0], x[-1])
    panel.set_xticks([at for at, _ in corners], [name for _, name in corners])
    panel.tick_params(axis="x", length=0, labelsize="medium")
    for at, name in corners[1:-1]:
        broken = "|" in name
        panel.axvline(at, color="0.25" if broken else "0.75", lw=0.8 if broken else 0.5, zorder=0)
    return mixed


def _band(panel: Axes, dispersion: Dispersion, low: Float64, high: Float64) -> None:
    """Uncertainty bands of all branches, for each piece of the path."""
    x, _ = _abscissae(dispersion)
    piece = dispersion.piece.numpy(force=True)
    for own in (piece == number for number in np.unique(piece)):
        for branch in range(low.shape[1]):
            panel.fill_between(
                x[own], low[own, branch], high[own, branch], color="0.5", alpha=0.25, lw=0, zorder=0
            )


def _abscissae(dispersion: Dispersion) -> tuple[Float64, list[tuple[float, str]]]:
    """Abscissae of the points, with short segments widened, and those of the labelled corners.

    Where one piece ends and the next begins, both names are at one position.
    """
    distance = dispersion.distance.numpy(force=True)
    marks: list[tuple[float, str]] = []
    for index, label in dispersion.corners:
        at, name = float(distance[index]), label.translate(SUBSCRIPTS)
        if marks and abs(marks[-1][0] - at) < 1e-9 * distance[-1]:
            marks[-1] = (at, f"{marks[-1][1]}|{name}")
        else:
            marks.append((at, name))
    place = np.array([at for at, _ in marks])
    widths = np.maximum(np.diff(place), MIN_SEGMENT_WIDTH * distance[-1])
    drawn = np.concatenate([[0.0], np.cumsum(widths)])
    return np.interp(distance, place, drawn), list(
        zip(drawn.tolist(), [name for _, name in marks], strict=True)
    )


def _states(panel: Axes, states: DensityOfStates, unit: float) -> bool:
    """Density of states along the frequency axis, stacked from translation and libration."""
    nu = unit * states.frequencies.numpy(force=True)
    total, part = (x.numpy(force=True) / unit for x in (states.density, states.translation))
    panel.fill_betweenx(nu, 0.0, part, color=TRANSLATION, alpha=0.75, lw=0)
    panel.fill_betweenx(nu, part, total, color=LIBRATION, alpha=0.75, lw=0)
    panel.plot(total, nu, color="black", lw=0.7)
    panel.set_xlim(0.0, 1.08 * float(total.max()))
    panel.set_xlabel("modes / (THz cell)")
    panel.tick_params(axis="y", left=False, labelleft=False)
    return bool((total - part).max() > 1e-6 * total.max())
