from .one_phonon import OnePhonon
from .voxels import points_at, voxel_average

__all__ = [
    "OnePhonon",
    "points_at",
    "voxel_average",
]
