"""Simple shapes in the coordinates of a structure, grouped in layers that programs switch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

#: Red, green and blue, each from 0 to 1.
Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Rod:
    """A straight rod.

    Parameters
    ----------
    start, end : ndarray, shape (3,), Å
    radius : float
        Å.
    colour : three float
    """

    start: Float64
    end: Float64
    radius: float
    colour: Colour


@dataclass(frozen=True, eq=False)
class Tag:
    """Text at a position (3,), Å."""

    position: Float64
    text: str


@dataclass(frozen=True, eq=False)
class Layer:
    """Shapes that belong together.

    Parameters
    ----------
    name : str
        One word, the name of the layer's file and of the object in programs.
    about : str
        What it shows, in one line, with its scale.
    rods : tuple of Rod
    tags : tuple of Tag
    shown : bool
        Whether it is shown at the start.
    """

    name: str
    about: str
    rods: tuple[Rod, ...]
    tags: tuple[Tag, ...] = ()
    shown: bool = True
