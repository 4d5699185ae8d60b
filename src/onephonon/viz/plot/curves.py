"""Curves against resolution: radial profiles, and agreement by resolution shell."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from onephonon.core.errors import InputError
from onephonon.maps.radial import RadialProfile

from .style import LINES, PAGE, caption, new_figure, resolution_scale, styled


@styled
def draw_profiles(
    profiles: Mapping[str, RadialProfile], *, title: str = "", label: str = "I"
) -> Figure:
    """Draw intensity against resolution: mean and spread over directions.

    Parameters
    ----------
    profiles : mapping of name to RadialProfile
        From `radial_average`; in the same units.
    title : str
    label : str
        Label of the vertical axis, with its unit.

    Raises
    ------
    InputError
        If there is no profile, or one is empty.
    """
    if not profiles:
        raise InputError("no profiles to draw")
    figure = new_figure(0.72 * PAGE, 0.46 * PAGE)
    panel = figure.subplots()
    top, bottom = 0.0, 0.0
    for i, (name, profile) in enumerate(profiles.items()):
        held = profile.count > 0
        if not held.any():
            raise InputError(f"the profile of {name} has no values")
        s, mean = profile.position[held], profile.mean[held]
        spread = np.nan_to_num(profile.std[held])
        colour, dash = LINES[i % len(LINES)], ("-", "--", "-.", ":")[i % 4]
        panel.plot(s, mean, dash, color=colour, label=name)
        panel.fill_between(s, mean - spread, mean + spread, color=colour, alpha=0.18, lw=0)
        # A few bright voxels at low angle must not compress the curve.
        top = max(top, min(float((mean + spread).max()), 2.5 * float(mean.max())))
        bottom = min(bottom, float((mean - spread).min()) if mean.min() < 0 else 0.0)
    panel.set_xlim(left=0.0)
    panel.set_ylim(bottom * 1.05, top * 1.05 if top > 0 else None)
    _shell_axes(figure, panel, title, label, list(profiles))
    caption(figure, ["line: mean in each shell;  band: ± standard deviation of the voxels in it"],
            missing=False)  # fmt: skip
    return figure


@styled
def draw_shells(
    edges: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    limits: Mapping[str, ArrayLike] | None = None,
    title: str = "",
    label: str = "correlation coefficient",
) -> Figure:
    """Draw statistics of agreement by resolution shell.

    Parameters
    ----------
    edges : array, shape (n + 1,)
        Edges of the shells, 1/d in 1/Å, increasing.
    curves : mapping of name to array, shape (n,)
        One value per shell, such as a correlation coefficient; NaN where there is none.
    limits : mapping of name to array, shape (n,), optional
        Upper limits, such as CC*, drawn as dashed lines.
    title, label : str

    Raises
    ------
    InputError
        If there are no curves, or a length does not fit the edges.
    """
    rim = np.asarray(edges, dtype=np.float64).reshape(-1)
    if len(rim) < 2 or not (np.diff(rim) > 0).all():
        raise InputError(f"edges of shells are two or more increasing numbers (1/Å), got {rim}")
    lines = {name: np.asarray(c, dtype=np.float64) for name, c in curves.items()}
    best = {name: np.asarray(c, dtype=np.float64) for name, c in (limits or {}).items()}
    for name, values in (lines | best).items():
        if values.shape != (len(rim) - 1,):
            raise InputError(
                f"{name} has {values.size} values; {len(rim)} edges have {len(rim) - 1} shells"
            )
    if not lines:
        raise InputError("no curves to draw")
    figure = new_figure(0.72 * PAGE, 0.46 * PAGE)
    panel = figure.subplots()
    middle = 0.5 * (rim[1:] + rim[:-1])
    for i, (name, values) in enumerate(lines.items()):
        marker, colour = "os^Dv"[i % 5], LINES[i % len(LINES)]
        panel.plot(middle, values, f"-{marker}", ms=3, color=colour, label=name)
    for i, (name, values) in enumerate(best.items()):
        panel.plot(middle, values, ("--", ":", "-.")[i % 3], color="0.25", label=name)
    every = np.concatenate(list((lines | best).values()))
    low = float(np.nanmin(every)) if np.isfinite(every).any() else 0.0
    panel.axhline(0, color="0.6", lw=0.6, zorder=0)
    panel.set_xlim(0.0, rim[-1])
    panel.set_ylim(min(-0.05, 1.1 * low), 1.02)
    _shell_axes(figure, panel, title, label, list(lines | best))
    return figure


def _shell_axes(figure: Figure, panel: Axes, title: str, label: str, names: list[str]) -> None:
    """Label the axes, add d on top, and a legend for several curves."""
    panel.set(xlabel="1/d / Å⁻¹", ylabel=label)
    panel.spines.right.set_visible(False)
    resolution_scale(panel)
    figure.suptitle(title, parse_math=False)
    if len(names) > 1 or names != [""]:
        panel.legend(frameon=False)
