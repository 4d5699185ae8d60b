from .points import QPoints
from .quadrature import Quadrature
from .softest import softest_intensity
from .voxels import VoxelPoints, voxel_points

__all__ = [
    "QPoints",
    "Quadrature",
    "VoxelPoints",
    "softest_intensity",
    "voxel_points",
]
