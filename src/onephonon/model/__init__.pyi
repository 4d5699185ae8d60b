from .one_phonon import OnePhonon
from .voxels import average_of, points_at, voxel_average

__all__ = [
    "OnePhonon",
    "average_of",
    "points_at",
    "voxel_average",
]
