"""Elastic constants of ``onephonon modes`` on the terminal."""

from __future__ import annotations

from typing import Any

from onephonon.core.units import thermal_pressure
from onephonon.dynamics.elastic import Elasticity
from onephonon.dynamics.elastic_tables import MODULI, ROTATION, VOIGT_NAMES, ZERO

from ..console import SafeConsole
from ..tables import print_table


def show_elasticity(
    console: SafeConsole, found: Elasticity, summary: dict[str, Any], temperature: float
) -> None:
    """Print the elastic constants, moduli, and what sound does in all directions."""
    C = (thermal_pressure(temperature) * found.voigt).tolist()
    size = max(max(map(abs, row)) for row in C)
    rows = [
        [name, *("" if j < i else _written(C[i][j], size) for j in range(6))]
        for i, name in enumerate(VOIGT_NAMES)
    ]
    title = f"elastic constants at {temperature:g} K, GPa (x along a, z along c*)"
    print_table(console, title, ["", *VOIGT_NAMES], rows)
    values = summary["moduli_GPa"]
    each = ", ".join(f"{name} {values[name]:.3g}" for name in MODULI)
    console.print(f"moduli / GPa: {each}")
    console.print(
        f"sound in any direction: {summary['slowest_sound_m_per_s']:.0f} to "
        f"{summary['fastest_sound_m_per_s']:.0f} m/s, at the density of the model's atoms, "
        f"{summary['density_g_per_cm3']:.2f} g/cm³"
    )
    if summary["rotation_share"] > ROTATION:
        console.print(
            "the springs resist a rotation of the whole crystal, which nature does not: in a "
            f"simple shear it takes {summary['rotation_share']:.2g} times the energy of the "
            "strain, and sound is faster than these constants say (--model anm has no such springs)"
        )


def _written(value: float, size: float) -> str:
    """A number to three digits; zeros by symmetry, which have rounding, as 0."""
    return "0" if abs(value) < ZERO * size else f"{value:.3g}"
