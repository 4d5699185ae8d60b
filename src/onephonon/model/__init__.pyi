from .one_phonon import OnePhonon
from .voxels import VoxelPoints, points_at, voxel_average, voxel_points

__all__ = [
    "OnePhonon",
    "VoxelPoints",
    "points_at",
    "voxel_average",
    "voxel_points",
]
