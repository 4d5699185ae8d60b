"""Writing of figures."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from onephonon.core.errors import FileError, InputError
from onephonon.core.files import replacing

from .style import styled

#: Allowed endings of picture names, and metadata options that omit dates, so that the same map
#: gives the same file.
FORMATS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}

#: Dots per inch of a PNG, and of the images inside a PDF or SVG.
DPI = 200


@styled
def save(
    figure: Figure, path: str | os.PathLike[str], force: bool = False, dpi: float = DPI
) -> None:
    """Write a figure as PNG, PDF or SVG, depending on the ending.

    PDF and SVG contain vector lines and text; maps are embedded images.

    Parameters
    ----------
    figure : Figure
    path : path
    force : bool
        Overwrite an existing file.
    dpi : float
        Dots per inch.

    Raises
    ------
    FileError
        If the ending is another, or the file exists and `force` is not set.
    InputError
        If dpi is not between 20 and 2400.
    """
    path = check_picture_path(path)
    check_dpi(dpi)
    ending = path.suffix.lower()
    drawn = io.BytesIO()
    figure.savefig(
        drawn,
        format=ending[1:],
        dpi=dpi,
        bbox_inches="tight",
        pad_inches=0.08,
        metadata=FORMATS[ending],
    )
    with replacing(path, force) as temporary:
        temporary.write_bytes(drawn.getbuffer())


@styled
def to_svg(figure: Figure, dpi: float = DPI) -> bytes:
    """Return a figure as the bytes of an SVG file, for embedding; see `save`."""
    check_dpi(dpi)
    whole = io.BytesIO()
    figure.savefig(
        whole,
        format="svg",
        dpi=dpi,
        bbox_inches="tight",
        pad_inches=0.08,
        metadata=FORMATS[".svg"],
    )
    return whole.getvalue()


def check_dpi(dpi: float) -> None:
    """Check that dots per inch are between 20 and 2400."""
    if not 20 <= dpi <= 2400:
        raise InputError(f"dpi {dpi:g} is not between 20 and 2400 dots per inch")


def check_picture_path(path: str | os.PathLike[str]) -> Path:
    """Check the ending of a picture's file name."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise FileError(f"{path}: pictures are {', '.join(FORMATS)} files; change the ending")
    return path
