from .lattice_model import LatticeModel
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
    "LatticeModel",
    "Modes",
    "density_of_states",
    "dispersion",
    "frequencies",
    "sound_speeds",
]
