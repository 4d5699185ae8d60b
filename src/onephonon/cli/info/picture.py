"""Central sections of a map, drawn in the terminal with half-block characters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onephonon.maps.diffuse import DiffuseMap

#: Viridis at equal steps: perceptually uniform and readable with colour blindness.
COLOURS = np.array(
    [
        (68, 1, 84), (71, 26, 107), (70, 50, 126), (62, 73, 137), (53, 94, 140), (44, 114, 142),
        (37, 133, 141), (31, 152, 138), (36, 171, 129), (60, 187, 117), (103, 204, 92),
        (159, 218, 57), (216, 226, 25), (253, 231, 36),
    ]
)  # fmt: skip

#: Intensities outside these percentiles saturate.
PERCENTILES = (1.0, 99.5)

#: The colour scale is logarithmic if it spans more than this factor.
MIN_LOG_RATIO = 30.0

#: Maximum width of a section, characters.
MAX_SECTION_WIDTH = 44

#: The upper half of a character cell has the foreground colour, the lower the background colour.
UPPER_HALF_BLOCK = "▀"


@dataclass(frozen=True)
class Section:
    """A central section: brightness from 0 to 1, NaN where there is no value; first row on top."""

    title: str
    pixels: NDArray[np.float64]


def sections(diffuse: DiffuseMap, width: int) -> tuple[list[Section], str]:
    """Central sections of a map on a grid, and a description of the colour scale.

    Parameters
    ----------
    diffuse : DiffuseMap
    width : int
        Total width, characters.
    """
    normals = (2, 1, 0) if width >= 60 else (2,)
    section_width = min(MAX_SECTION_WIDTH, (width - 2 * (len(normals) - 1)) // len(normals))
    found = [
        (_title(diffuse, normal), _section(diffuse, normal, section_width)) for normal in normals
    ]
    values = np.concatenate([pixels[~np.isnan(pixels)] for _, pixels in found])
    if not len(values):
        return [Section(title, pixels) for title, pixels in found], "no values on these sections"
    low, high = (float(x) for x in np.percentile(values, PERCENTILES))
    logarithmic = low > 0 and high / low > MIN_LOG_RATIO
    if high <= low:
        low, high = low - 1.0, high + 1.0
    scaled = []
    for title, pixels in found:
        with np.errstate(invalid="ignore", divide="ignore"):
            part = (
                np.log(np.maximum(pixels, low) / low) / math.log(high / low)
                if logarithmic
                else (pixels - low) / (high - low)
            )
        scaled.append(Section(title, np.clip(part, 0.0, 1.0)))
    return scaled, f"{low:.4g} to {high:.4g}{', logarithmic' if logarithmic else ''}"


def _title(diffuse: DiffuseMap, normal: int) -> str:
    across, up = (x for i, x in enumerate("hkl") if i != normal)
    at = _level(diffuse, normal)[1]
    return f"{'hkl'[normal]} = {at:g}: {across} to the right, {up} up"


def _level(diffuse: DiffuseMap, normal: int) -> tuple[int, float]:
    """Plane of voxels nearest to index 0: its number and its index."""
    axis = diffuse.require_grid()[0].axes[normal]
    plane = int(np.abs(axis).argmin())
    return plane, float(axis[plane])


def _section(diffuse: DiffuseMap, normal: int, width: int) -> NDArray[np.float64]:
    """Mean intensity in each pixel; pixels are squares in 1/Å."""
    grid, cell = diffuse.require_grid()
    from onephonon.crystal.cell import numpy_cell

    axes = numpy_cell(cell).inverse
    across, up = (i for i in range(3) if i != normal)
    a, b = axes[across], axes[up]
    size = float(np.linalg.norm(a))
    along = float(a @ b) / size
    # Rows: a* and b* in the plane's own Cartesian axes, the first along a*.
    plane = np.array([[size, 0.0], [along, math.sqrt(float(b @ b) - along**2)]])
    steps = np.array([grid.step[across], grid.step[up]])
    first = np.array([grid.origin[across], grid.origin[up]])
    shape = np.array([grid.shape[across], grid.shape[up]])
    low, high = first - steps / 2, first + (shape - 0.5) * steps
    corners = np.array([[u, v] for u in (low[0], high[0]) for v in (low[1], high[1])]) @ plane
    start, span = corners.min(axis=0), np.ptp(corners, axis=0)
    pixel = max(span[0] / width, span[1] / (1.5 * width))
    n_x, n_y = (max(1, math.ceil(x / pixel - 1e-9)) for x in span)
    # At least one sample per voxel in each pixel, so that no voxel is skipped.
    fine = int(np.clip(math.ceil(pixel / (steps * np.linalg.norm(plane, axis=1)).min()), 1, 16))
    x = start[0] + (np.arange(n_x * fine) + 0.5) * pixel / fine
    y = start[1] + (np.arange(n_y * fine) + 0.5) * pixel / fine
    xy = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)
    index = np.rint((xy @ np.linalg.inv(plane) - first) / steps).astype(np.intp)
    inside = ((index >= 0) & (index < shape)).all(axis=-1)
    index[~inside] = 0
    values = np.take(diffuse.intensity, _level(diffuse, normal)[0], axis=normal)
    taken = np.where(inside, values[index[..., 0], index[..., 1]].astype(np.float64), np.nan)
    blocks = taken.reshape(n_y, fine, n_x, fine)
    count = (~np.isnan(blocks)).sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        mean = np.nansum(blocks, axis=(1, 3)) / np.where(count, count, np.nan)
    return np.asarray(mean[::-1])


def drawn(section: Section) -> Any:
    """A section as Rich text, two rows of pixels per line; blank for no value."""
    from rich.style import Style
    from rich.text import Text

    pixels = section.pixels
    if len(pixels) % 2:
        pixels = np.vstack([pixels, np.full(pixels.shape[1], np.nan)])
    text = Text(no_wrap=True)
    for top, bottom in zip(pixels[::2], pixels[1::2], strict=True):
        for upper, lower in zip(top, bottom, strict=True):
            colours = _colour(upper), _colour(lower)
            if colours[0] is None and colours[1] is None:
                text.append(" ")
            elif colours[0] is None:
                text.append("▄", Style(color=colours[1]))
            else:
                text.append(UPPER_HALF_BLOCK, Style(color=colours[0], bgcolor=colours[1]))
        text.append("\n")
    text.rstrip()
    return text


def colour_bar(width: int = 24) -> Any:
    """The colours from low to high."""
    from rich.style import Style
    from rich.text import Text

    text = Text()
    for value in np.linspace(0.0, 1.0, width):
        text.append("█", Style(color=_colour(float(value))))
    return text


def _colour(value: float) -> str | None:
    if math.isnan(value):
        return None
    place = value * (len(COLOURS) - 1)
    below = min(int(place), len(COLOURS) - 2)
    rgb = COLOURS[below] + (place - below) * (COLOURS[below + 1] - COLOURS[below])
    return "#" + "".join(f"{round(x):02x}" for x in rgb)
