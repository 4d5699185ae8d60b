"""Numbers among the arguments of a user, and limits that Python and the commands share."""

from __future__ import annotations

import math
import numbers
import operator

#: Highest temperature, K.
MAX_TEMPERATURE = 10_000.0

#: Most points of a mesh of the Brillouin zone.
MAX_MESH_POINTS = 10_000_000


def as_real(value: object) -> float:
    """A real number as float; NaN for anything else, so that a check of its range refuses it.

    Truth values and text are no numbers; arrays and tensors without dimensions are.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.nan


def as_whole(value: object) -> int | None:
    """A whole number as int; None for anything else, among it truth values and text."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None
