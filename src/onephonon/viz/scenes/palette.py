"""Colours of scenes."""

from __future__ import annotations

from .shapes import Colour

#: The palette of Okabe and Ito for all types of colour vision.
PALETTE: tuple[Colour, ...] = (
    (0.0, 0.447, 0.698),
    (0.835, 0.369, 0.0),
    (0.0, 0.62, 0.451),
    (0.8, 0.475, 0.655),
    (0.902, 0.624, 0.0),
    (0.337, 0.706, 0.914),
    (0.941, 0.894, 0.259),
)

TRANSLATION, LIBRATION = PALETTE[0], PALETTE[1]

#: For what is not measured by the scale.
NEUTRAL: Colour = (0.6, 0.6, 0.6)

#: Dark violet, green, yellow: stops of a scale that is even to the eye.
STOPS: tuple[Colour, ...] = (
    (0.267, 0.005, 0.329),
    (0.229, 0.322, 0.546),
    (0.128, 0.567, 0.551),
    (0.369, 0.789, 0.383),
    (0.993, 0.906, 0.144),
)


def graded(x: float) -> Colour:
    """Colour of a number from 0 (dark) to 1 (bright)."""
    at = min(max(x, 0.0), 1.0) * (len(STOPS) - 1)
    low = min(int(at), len(STOPS) - 2)
    r, g, b = (p + (at - low) * (q - p) for p, q in zip(STOPS[low], STOPS[low + 1], strict=True))
    return r, g, b
