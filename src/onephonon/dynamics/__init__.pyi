from .normal_modes import Modes
from .spectra import (
    DensityOfStates,
    Dispersion,
    density_of_states,
    dispersion,
    frequencies,
    sound_speeds,
)

__all__ = [
    "DensityOfStates",
    "Dispersion",
    "Modes",
    "density_of_states",
    "dispersion",
    "frequencies",
    "sound_speeds",
]
