from .base import AmplitudeEngine, amplitudes_at
from .choice import choose_engine
from .density_engine import DensityEngine
from .direct import DirectEngine, moments, structure_factor, transform
from .mesh.engine import MeshEngine
from .monomials import exponents, monomials, n_monomials

__all__ = [
    "AmplitudeEngine",
    "DensityEngine",
    "DirectEngine",
    "MeshEngine",
    "amplitudes_at",
    "choose_engine",
    "exponents",
    "moments",
    "monomials",
    "n_monomials",
    "structure_factor",
    "transform",
]
