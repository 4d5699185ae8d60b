"""Physical constants and the conversions between displacement and B-factor."""

import math

#: B = EIGHT_PI_SQUARED * <u_x^2>
EIGHT_PI_SQUARED: float = 8.0 * math.pi**2

TWO_PI: float = 2.0 * math.pi

#: Boltzmann constant, J/K; exact since 2019.
BOLTZMANN: float = 1.380649e-23

#: Reduced Planck constant, J s; exact since 2019.
HBAR: float = 6.62607015e-34 / TWO_PI

#: Dalton (atomic mass constant), kg: CODATA 2022.
DALTON: float = 1.66053906892e-27


def thermal_speed(temperature: float) -> float:
    """``sqrt(kT/Da)`` in m/s, the unit of speed of reduced units, at a temperature in K."""
    return math.sqrt(BOLTZMANN * temperature / DALTON)


def thermal_frequency(temperature: float) -> float:
    """``sqrt(kT/(Å^2 Da)) / 2 pi`` in THz, the unit of frequency, at a temperature in K."""
    return thermal_speed(temperature) / 1e-10 / TWO_PI / 1e12


def thermal_pressure(temperature: float) -> float:
    """``kT/Å^3`` in GPa, the unit of elastic constants, at a temperature in K: 4.142 at 300 K."""
    return BOLTZMANN * temperature / 1e-30 / 1e9


def quantum_length(temperature: float) -> float:
    """``hbar / (2 sqrt(kT Da))`` in Å at a temperature in K: 0.2011 at 300 K.

    Times the reduced frequency of a mode (`dynamics.spectra`) it is ``hbar omega / 2kT``.
    """
    return HBAR / (2.0 * DALTON * thermal_speed(temperature)) / 1e-10
