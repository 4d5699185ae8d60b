from .base import AmplitudeEngine, amplitudes_at
from .choice import choose_engine
from .direct import DirectEngine, structure_factor, transform
from .mesh.engine import MeshEngine

__all__ = [
    "AmplitudeEngine",
    "DirectEngine",
    "MeshEngine",
    "amplitudes_at",
    "choose_engine",
    "structure_factor",
    "transform",
]
