"""Tables of elastic constants, as rows for CSV and JSON."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from onephonon.core.units import DALTON, thermal_pressure

from .elastic import Elasticity, half_sphere, speed_range
from .tables import Row

#: Elements of the upper triangle, C11, C12, ..., C66.
ELEMENTS = tuple((i, j) for i in range(6) for j in range(i, 6))

#: Names of `moduli`, in their order.
MODULI = ("bulk, Voigt", "bulk, Reuss", "shear, Voigt", "shear, Reuss", "Young")

#: Rows and columns of Voigt's tables.
VOIGT_NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")

#: Constants smaller than this, relative to the largest, are zero by symmetry.
ZERO = 1e-9

#: Springs that resist rotation by a larger share than this are remarked on.
ROTATION = 1e-3

#: Directions over which extreme speeds of sound are sought.
N_DIRECTIONS = 2000


def elastic_rows(found: Elasticity, temperature: float) -> list[Row]:
    """One row for each of the 21 elastic constants, Voigt's indices, in kT/Å^3 and in GPa."""
    C, unit = found.voigt.tolist(), thermal_pressure(temperature)
    return [
        {"constant": f"C{i + 1}{j + 1}", "kT_per_A3": C[i][j], "GPa": C[i][j] * unit}
        for i, j in ELEMENTS
    ]


def moduli(found: Elasticity) -> Tensor:
    """Moduli of a polycrystal, kT/Å^3, shape (5,), named in `MODULI`."""
    return torch.stack([*found.bulk_modulus, *found.shear_modulus, found.youngs_modulus])


def elastic_summary(found: Elasticity, temperature: float, asymmetry: float) -> dict[str, Any]:
    """Moduli, speeds and density as named values.

    Parameters
    ----------
    found : Elasticity
    temperature : float
        K.
    asymmetry : float
        See `symmetry_error`.
    """
    unit = thermal_pressure(temperature)
    slowest, fastest = speed_range(found, temperature, half_sphere(N_DIRECTIONS))
    values = (unit * moduli(found)).tolist()
    return {
        "voigt_kT_per_A3": found.voigt.tolist(),
        "GPa_per_kT_per_A3": unit,
        "moduli_GPa": dict(zip(MODULI, values, strict=True)),
        "rotation_share": float(found.rotation_share),
        "rotation_kT_per_A3": found.rotation.tolist(),
        "density_g_per_cm3": float(found.density) * DALTON * 1e27,
        "slowest_sound_m_per_s": slowest,
        "fastest_sound_m_per_s": fastest,
        "symmetry_error": asymmetry,
    }
