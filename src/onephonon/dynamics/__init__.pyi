from .elastic import Elasticity, elasticity
from .joint import Joint, JointDisplacements, joint_displacements
from .lattice_model import LatticeModel
from .normal_modes import Modes
from .pair_covariance import Pairs, atom_covariance, pair_covariances
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
    "Elasticity",
    "Joint",
    "JointDisplacements",
    "LatticeModel",
    "Modes",
    "Pairs",
    "atom_covariance",
    "density_of_states",
    "dispersion",
    "elasticity",
    "frequencies",
    "joint_displacements",
    "pair_covariances",
    "sound_speeds",
]
