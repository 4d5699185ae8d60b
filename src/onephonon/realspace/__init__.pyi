from .distances import DistanceShell, ResolutionShell, distance_shells, resolution_shells
from .patterson_map import PattersonMap
from .preparation import Preparation, prepare
from .transform import intensity, patterson, same_voxels, transformed
from .writing import write_patterson

__all__ = [
    "DistanceShell",
    "PattersonMap",
    "Preparation",
    "ResolutionShell",
    "distance_shells",
    "intensity",
    "patterson",
    "prepare",
    "resolution_shells",
    "same_voxels",
    "transformed",
    "write_patterson",
]
