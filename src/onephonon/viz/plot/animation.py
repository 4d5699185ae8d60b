"""Animation through the layers of a map."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import matplotlib
import numpy as np
from matplotlib.animation import FFMpegWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from onephonon.core.errors import FileError, InputError
from onephonon.core.files import replacing
from onephonon.core.progress import Progress, ProgressLike
from onephonon.maps.diffuse import DiffuseMap

from .panels import Window, aspect_of, draw_section, round_resolutions, window_of
from .planes import AXES, Plane
from .sections import cut, has_bragg_holes
from .style import (
    Colours,
    caption,
    choose_colours,
    colour_bar,
    intensity_label,
    italic,
    new_figure,
    styled,
)

#: Allowed endings of file names.
FILMS = (".gif", ".mp4")

#: Number of layers from which the colours are chosen.
N_SAMPLED_LAYERS = 9

#: Maximum number of frames; longer sweeps omit layers evenly.
MAX_FRAMES = 200

#: Width of an animation, inches.
FILM_WIDTH = 5.6


@styled
def animate(
    diffuse: DiffuseMap,
    path: str | os.PathLike[str],
    *,
    axis: int = 2,
    title: str = "",
    limits: tuple[float, float] | None = None,
    scale: str = "auto",
    frames_per_second: float = 8.0,
    dpi: float = 120,
    force: bool = False,
    progress: ProgressLike | None = None,
) -> int:
    """Write an animation through the layers of a map on one colour scale.

    Layers without any value are omitted, and in coarsely sampled maps also the layers of Bragg
    points, which would flicker; see `central_plane`.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    path : path
        Ends in .gif, or in .mp4 if ffmpeg is installed.
    axis : int
        The index that changes from frame to frame: 0, 1 or 2.
    title : str
    limits, scale
        See `choose_colours`; by default from some of the layers.
    frames_per_second : float
    dpi : float
        Dots per inch; the animation is 5.6 inches wide.
    force : bool
        Overwrite an existing file.
    progress : Progress or callable, optional

    Returns
    -------
    int
        Number of frames.

    Raises
    ------
    FileError
        If the ending is another, ffmpeg is missing, or the file exists and `force` is not set.
    InputError
        If no layer has a value.
    """
    path, progress = check_film_path(path), Progress.of(progress)
    if not 0 < frames_per_second <= 60:
        raise InputError(f"{frames_per_second:g} frames per second: give a number from 1 to 60")
    planes = sweep(diffuse, axis)
    _, cell = diffuse.require_grid()
    some = [cut(diffuse, planes[i]) for i in _spread(len(planes), N_SAMPLED_LAYERS)]
    colours = choose_colours([s.values for s in some], limits, scale)
    windows = [window_of(s, cell) for s in some]
    window = (
        np.min([low for low, _ in windows], axis=0),
        np.max([high for _, high in windows], axis=0),
    )
    circles = round_resolutions(some, cell)
    film = _Film(diffuse, planes, colours, window, circles, title)
    with replacing(path, force) as temporary:
        if path.suffix.lower() == ".gif":
            frames = film.frames(dpi, progress)
            _write_gif(frames, _palette(colours), temporary, frames_per_second)
        else:
            _write_mp4(film, temporary, frames_per_second, dpi, progress)
    return len(planes)


def check_film_path(path: str | os.PathLike[str]) -> Path:
    """Check that a path names an animation that can be written."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in FILMS:
        raise FileError(f"{path}: an animation is a {' or '.join(FILMS)} file; change the ending")
    if ending == ".mp4" and not FFMpegWriter.isAvailable():
        raise FileError(
            f"{path}: an mp4 needs ffmpeg, which is not installed; install it, or write a .gif"
        )
    return path


def sweep(diffuse: DiffuseMap, axis: int) -> list[Plane]:
    """Layers of a map in the order of the animation.

    Raises
    ------
    InputError
        If no layer has a value, or `axis` is not 0, 1 or 2.
    """
    grid, _ = diffuse.require_grid()
    if axis not in (0, 1, 2):
        raise InputError(f"axis {axis} is not 0, 1 or 2 (h, k or l)")
    values = grid.axes[axis]
    if has_bragg_holes(diffuse, axis):
        values = values[values % 1 != 0]
    planes = [Plane.normal_to(axis, float(value)) for value in values]
    held = [p for p in planes if np.isfinite(cut(diffuse, p).values).any()]
    if not held:
        raise InputError("no layer of the map has a value: nothing to draw")
    return [held[i] for i in _spread(len(held), MAX_FRAMES)]


def _spread(n: int, maximum: int) -> list[int]:
    """Indices of at most a given number of n items, evenly spaced."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, maximum))})


class _Film:
    """A figure whose panel is redrawn for each layer; everything else is constant."""

    def __init__(
        self,
        diffuse: DiffuseMap,
        planes: list[Plane],
        colours: Colours,
        window: Window,
        circles: list[float],
        title: str,
    ) -> None:
        self.diffuse, self.planes, self.colours = diffuse, planes, colours
        self.window, self.circles = window, circles
        width = FILM_WIDTH - 1.5
        height = width * min(aspect_of(window), 2.0) + 1.35
        self.figure = new_figure(FILM_WIDTH, height + 0.25 * bool(title))
        self.panel = self.figure.subplots()
        image = self.show(planes[0])
        colour_bar(self.figure, image, self.panel, colours, intensity_label(diffuse), shrink=0.9)
        self.figure.suptitle(title, parse_math=False)
        caption(self.figure, ["no value;  " + colours.description, "circles: resolution d"])
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def show(self, plane: Plane) -> Any:
        """Replace the drawn layer."""
        self.panel.clear()
        _, cell = self.diffuse.require_grid()
        return draw_section(
            self.panel,
            cut(self.diffuse, plane),
            cell,
            self.colours,
            window=self.window,
            circles=self.circles,
            scales=False,
            title=_head(plane),
        )

    def frames(self, dpi: float, progress: Progress) -> Iterator[Image.Image]:
        """Pictures of all layers."""
        self.figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(self.figure)
        for i, plane in enumerate(self.planes):
            self.show(plane)
            canvas.draw()
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
            progress.step("drawing frames", i + 1, len(self.planes))


def _head(plane: Plane) -> str:
    """Title of a frame, of constant width."""
    axis, value = plane.fixed or (2, 0.0)
    sign = "−" if value < 0 else "\N{FIGURE SPACE}"
    return f"{italic(AXES[axis])} = {sign}{abs(value):.2f}"


def _palette(colours: Colours) -> Image.Image:
    """The 256 colours of a GIF: those of the map, and greys from black to white."""
    of_map = matplotlib.colormaps[colours.name](np.linspace(0, 1, 232))[:, :3]
    # Pillow rounds colours to steps of 4 levels: greys must be further apart than that.
    greys = np.linspace(0, 1, 24)[:, None].repeat(3, axis=1)
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * np.concatenate([of_map, greys])).round().astype(np.uint8).tobytes())
    return palette


def _write_gif(
    frames: Iterator[Image.Image], palette: Image.Image, path: Path, rate: float
) -> None:
    """Write a repeating GIF with one palette for all frames, so that it does not flicker."""
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with path.open("wb") as file:
        indexed[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=round(1000 / rate),
            loop=0,
        )


def _write_mp4(film: _Film, path: Path, rate: float, dpi: float, progress: Progress) -> None:
    """Write an MP4 by ffmpeg."""
    writer = FFMpegWriter(
        fps=rate,  # type: ignore[arg-type]  # any number
        extra_args=["-f", "mp4"],
    )
    frames = film.frames(dpi, progress)
    try:
        with writer.saving(film.figure, str(path), dpi):
            for _ in frames:
                writer.grab_frame()
    except CalledProcessError as error:
        last = (error.stderr or error.output or b"").decode("utf-8", "replace").split("\n")
        said = next((line for line in reversed(last) if line.strip()), str(error))
        raise OSError(f"ffmpeg failed: {said}") from error
