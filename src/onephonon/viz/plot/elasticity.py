"""Speeds of sound and Young's modulus over all directions."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from onephonon.core.units import thermal_pressure
from onephonon.crystal.crystal import Crystal
from onephonon.dynamics.elastic import Elasticity

from .style import FAINT, PAGE, SEQUENTIAL, caption, literal, new_figure, styled

Float64 = NDArray[np.float64]

#: Points across a disc.
N_POINTS = 121

#: Axes that are marked.
AXES = ("a", "b", "c")


@styled
def draw_elasticity(
    found: Elasticity, crystal: Crystal, *, temperature: float, title: str = ""
) -> Figure:
    """Draw the three speeds of sound and Young's modulus against direction.

    Each disc is a half sphere in equal-area projection, seen along z (c*), with x (a) to the right;
    opposite directions are equal. The crystal's axes are marked.

    Parameters
    ----------
    found : Elasticity
    crystal : Crystal
        Whose axes are marked.
    temperature : float
        K.
    title : str
    """
    figure = new_figure(PAGE, 0.34 * PAGE)
    panels = figure.subplots(1, 4).ravel().tolist()
    x, y, n = _disc()
    inside = np.isfinite(n).all(-1)
    directions = torch.from_numpy(n[inside]).to(found.deformation)
    speeds = found.speeds(directions, temperature).numpy(force=True)
    young = found.young(directions).numpy(force=True) * thermal_pressure(temperature)
    names = ("slowest sound", "middle", "fastest sound", "Young's modulus")
    columns = zip(panels, names, (*speeds.T, young), strict=True)
    for index, (panel, name, values) in enumerate(columns):
        shown = np.full(inside.shape, np.nan)
        shown[inside] = values
        image = panel.pcolormesh(x, y, shown, cmap=SEQUENTIAL, shading="nearest", rasterized=True)
        bar = figure.colorbar(image, ax=panel, location="bottom", shrink=0.9, pad=0.03)
        bar.set_label("m/s" if index < 3 else "GPa")
        bar.ax.locator_params(nbins=4)
        bar.outline.set_linewidth(0.6)
        panel.set_title(name, color=FAINT, pad=9.0)
        _frame(panel, crystal)
    figure.suptitle(literal(title))
    note = f"At {temperature:g} K. Half spheres in equal-area projection along c*, a to the right."
    caption(figure, [note], missing=False)
    return figure


def _disc() -> tuple[Float64, Float64, Float64]:
    """Points of the disc, and their directions (n, n, 3); NaN outside."""
    axis = np.linspace(-1.0, 1.0, N_POINTS)
    x, y = np.meshgrid(axis, axis)
    r2 = x * x + y * y
    # Equal areas: r = sqrt(2) sin(theta/2), so that cos(theta) = 1 - r^2.
    z = np.where(r2 <= 1.0, 1.0 - r2, np.nan)
    across = np.sqrt(np.maximum(1.0 - z * z, 0.0) / np.maximum(r2, 1e-300))
    across = np.where(r2 > 0, across, 0.0)
    return x, y, np.stack([across * x, across * y, z], axis=-1)


def _frame(panel: Axes, crystal: Crystal) -> None:
    """The edge of a disc, and the directions of the crystal's axes."""
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    panel.plot(np.cos(angle), np.sin(angle), color="black", lw=0.6)
    for name, v in zip(AXES, crystal.cell.matrix.numpy(force=True).T, strict=True):
        n = v / np.linalg.norm(v)
        n = -n if n[2] < -1e-9 else n
        across = float(np.hypot(n[0], n[1]))
        r = np.sqrt(max(1.0 - n[2], 0.0))
        x, y = (r * n[:2] / across) if across > 1e-12 else (0.0, 0.0)
        panel.plot(x, y, "o", ms=3.0, color="white", mec="black", mew=0.6, clip_on=False)
        text = panel.annotate(name, (x, y), (3, 3), textcoords="offset points")
        text.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
    panel.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect="equal")
    panel.axis("off")
