from .measured_density import MeasuredDensity
from .one_phonon import OnePhonon
from .voxels import average_of, points_at, voxel_average

__all__ = [
    "MeasuredDensity",
    "OnePhonon",
    "average_of",
    "points_at",
    "voxel_average",
]
