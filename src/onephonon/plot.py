"""Pictures of diffuse maps."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .errors import MapFileError
from .files import replacing
from .lattice import UnitCell
from .maps import Array, DiffuseMap
from .units import TWO_PI

#: Perceptually uniform and readable by the colour-blind.
COLOURS = "viridis"

#: What is missing: a grey that is not on the colour scale.
MISSING = "0.78"

#: Intensities outside these percentiles saturate, so a few points beside a Bragg peak do not
#: darken the rest.
PERCENTILES = (1.0, 99.7)

AXES = "hkl"


def draw(diffuse: DiffuseMap, title: str = "") -> Figure:
    """Draw what is there: central slices of a map, or a list's intensity against |q|.

    Parameters
    ----------
    diffuse : DiffuseMap
    title : str

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    MapFileError
        If no intensity is a positive number.
    """
    if not (np.isfinite(diffuse.intensity) & (diffuse.intensity > 0)).any():
        raise MapFileError(
            f"none of the {diffuse.intensity.size} intensities is a positive number: there is "
            "nothing to draw"
        )
    if diffuse.shape_problem:
        return _draw_list(diffuse, title)
    return _draw_slices(diffuse, title)


def save(figure: Figure, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write a figure as PNG.

    Raises
    ------
    MapFileError
        If the ending is not .png, or the file exists and `force` is not set.
    """
    path = check_picture_path(path)
    with replacing(path, force) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def check_picture_path(path: str | os.PathLike[str]) -> Path:
    """Check that a path names a PNG."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise MapFileError(f"{path}: pictures are written as .png; name the file so")
    return path


def _draw_slices(diffuse: DiffuseMap, title: str) -> Figure:
    """Central slices along the three axes and a histogram."""
    volume = diffuse.volume
    axes_hkl = _axis_values(diffuse)
    steps = _reciprocal_lengths(diffuse)
    norm = LogNorm(*_limits(volume))
    figure = Figure(figsize=(11.5, 9.5), layout="constrained")
    figure.suptitle(title or "One-phonon diffuse intensity")
    panels = figure.subplots(2, 2)
    image: Any = None
    for panel, normal in zip(panels.flat[:3], (2, 1, 0), strict=True):
        across, up = (i for i in range(3) if i != normal)
        middle = volume.shape[normal] // 2
        plane = np.take(volume, middle, axis=normal)
        image = _draw_plane(
            panel,
            plane,
            (axes_hkl[across], axes_hkl[up]),
            norm,
            steps[up] / steps[across],
        )
        where = axes_hkl[normal][middle]
        panel.set(xlabel=f"{AXES[across]}", ylabel=f"{AXES[up]}")
        panel.set_title(f"{AXES[normal]} = {where:.4g}")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    bar = figure.colorbar(image, ax=panels[:, :].ravel()[:3].tolist(), shrink=0.7, extend="both")
    bar.set_label("I / e² per cell")
    missing = "grey: no value (Bragg points, masked, or beyond the resolution limit)"
    if diffuse.cell is not None and max(abs(angle - 90) for angle in diffuse.cell[3:]) > 1:
        missing += "; the cell's oblique axes are drawn at right angles"
    figure.supxlabel(missing, fontsize="small", color="0.35")
    _draw_histogram(panels[1, 1], volume)
    return figure


def _draw_plane(
    panel: Axes, plane: Array, values: tuple[Array, Array], norm: LogNorm, aspect: float
) -> Any:
    """One slice; the first index runs across, the second up; grey where there is no value."""
    panel.set_facecolor(MISSING)
    shown = np.ma.masked_invalid(np.where(plane > 0, plane, np.nan)).T
    edges = [_pixel_edges(v) for v in values]
    return panel.imshow(
        shown,
        origin="lower",
        extent=(*edges[0], *edges[1]),
        norm=norm,
        cmap=COLOURS,
        aspect=aspect,
        interpolation="nearest",
    )


def _draw_histogram(panel: Axes, values: Array) -> None:
    """How often each intensity occurs, on logarithmic axes; what is missing is counted."""
    finite = values[np.isfinite(values) & (values > 0)]
    missing = values.size - finite.size
    low, high = float(finite.min()), float(finite.max())
    bins = np.geomspace(low, high if high > low else low * 1.01, _n_bins(finite.size))
    panel.hist(finite.ravel(), bins=list(bins), color="#33638d")
    panel.set(xscale="log", yscale="log", xlabel="I / e² per cell", ylabel="points")
    panel.set_title(f"{finite.size:,} points, {missing:,} missing")


def _n_bins(n: int) -> int:
    """Edges of a histogram: fine for maps, coarse enough to see a shape in short lists."""
    return 1 + max(10, min(80, round(2 * math.sqrt(n))))


def _draw_list(diffuse: DiffuseMap, title: str) -> Figure:
    """A list's histogram, and intensity against |q|."""
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    figure.suptitle(title or "One-phonon diffuse intensity")
    left, right = figure.subplots(1, 2)
    I = diffuse.intensity  # noqa: E741
    good = np.isfinite(I) & (I > 0)
    q = np.linalg.norm(diffuse.q_vectors[good], axis=1)
    if good.sum() > 20_000:
        image = left.hexbin(q, I[good], yscale="log", bins="log", cmap=COLOURS, mincnt=1)
        figure.colorbar(image, ax=left, label="points")
    else:
        left.semilogy(q, I[good], ".", markersize=3, color="#33638d")
    left.set(xlabel="|q| / Å⁻¹ (2π included)", ylabel="I / e² per cell")
    _resolution_axis(left)
    _draw_histogram(right, I)
    return figure


def _resolution_axis(panel: Axes) -> None:
    """A second scale on top: d = 2 pi/|q|."""
    low, high = panel.get_xlim()
    top = panel.twiny()
    top.set_xlim(low, high)
    ticks = [t for t in panel.get_xticks() if low <= t <= high and t > 0]
    top.set_xticks(ticks, [f"{TWO_PI / t:.3g}" for t in ticks])
    top.set_xlabel("d / Å")


def _limits(values: Array) -> tuple[float, float]:
    finite = values[np.isfinite(values) & (values > 0)]
    low, high = (float(x) for x in np.percentile(finite, PERCENTILES))
    return (low, high) if high > low else (low * 0.9, high * 1.1)


def _axis_values(diffuse: DiffuseMap) -> list[Array]:
    """The Miller indices along each axis; pixel numbers where the file does not say."""
    shape = diffuse.volume.shape
    if diffuse.hkl is None:
        return [np.arange(n, dtype=np.float64) for n in shape]
    hkl = diffuse.hkl.reshape(*shape, 3)
    return [hkl[:, 0, 0, 0], hkl[0, :, 0, 1], hkl[0, 0, :, 2]]


def _reciprocal_lengths(diffuse: DiffuseMap) -> tuple[float, float, float]:
    """|a*|, |b*|, |c*|, so that pixels keep their proportions in 1/Å."""
    if diffuse.cell is None:
        return (1.0, 1.0, 1.0)
    a, b, c = (1.0 / float(x) for x in UnitCell.from_parameters(diffuse.cell).spacings)
    return (a, b, c)


def _pixel_edges(values: Array) -> tuple[float, float]:
    """Outer edges of the first and last pixel."""
    half = 0.5 * (float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 1.0)
    if not math.isfinite(half) or half == 0:
        half = 0.5
    return float(values[0]) - half, float(values[-1]) + half
