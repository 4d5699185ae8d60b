"""The unit cell of a map, in NumPy: what reading and drawing maps needs without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError

Float64 = NDArray[np.float64]

#: A cell this flat (height of c over the ab plane, relative and squared) spans no volume.
FLAT = 1e-8


def take_cell(cell: Sequence[float] | NDArray[Any]) -> tuple[float, ...]:
    """Check cell parameters and return them as six plain numbers.

    Parameters
    ----------
    cell : sequence of six float
        a, b, c in Å; alpha, beta, gamma in degrees.

    Raises
    ------
    InputError
        If they are not six finite numbers, or span no volume.
    """
    try:
        taken = tuple(float(x) for x in np.asarray(cell, dtype=np.float64).reshape(-1))
    except (TypeError, ValueError):
        taken = ()
    if len(taken) != 6 or not all(math.isfinite(x) for x in taken):
        raise InputError(
            f"cell {taken or cell} is not six finite numbers (a, b, c in Å, alpha, beta, gamma in "
            "degrees)"
        )
    cell_matrix(taken)
    return taken


def cell_matrix(cell: Sequence[float]) -> Float64:
    """Cell axes in columns, ``x_cart = matrix @ x_frac``, a along x and b in the xy plane.

    Parameters
    ----------
    cell : sequence of six float
        a, b, c in Å; alpha, beta, gamma in degrees.

    Returns
    -------
    ndarray, shape (3, 3), Å

    Raises
    ------
    InputError
        If the six numbers span no cell.
    """
    a, b, c = cell[:3]
    cos_a, cos_b, cos_g = np.cos(np.deg2rad(cell[3:]))
    sin_g = math.sin(math.radians(cell[5]))
    flat = min(cell) <= 0 or abs(sin_g) < FLAT
    c_y = 0.0 if flat else (cos_a - cos_b * cos_g) / sin_g
    height_squared = 1.0 - cos_b**2 - c_y**2
    if flat or not height_squared > FLAT:
        raise InputError(
            f"cell {tuple(cell)} spans no volume: lengths must be positive and each angle smaller "
            "than the sum of the other two"
        )
    return np.array(
        [
            [a, b * cos_g, c * cos_b],
            [0.0, b * sin_g, c * c_y],
            [0.0, 0.0, c * math.sqrt(height_squared)],
        ]
    )


def reciprocal_axes(cell: Sequence[float]) -> Float64:
    """Reciprocal axes in rows, without 2*pi, shape (3, 3), 1/Å: ``s = hkl @ axes``."""
    return np.asarray(np.linalg.inv(cell_matrix(cell)), dtype=np.float64)
