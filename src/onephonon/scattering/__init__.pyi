from .multiphonon.settings import check_orders
from .one_phonon_share import OnePhononShare
from .order_error import OrderError
from .points import QPoints
from .quadrature import Quadrature
from .softest import softest_intensity
from .voxels import VoxelPoints, voxel_points

__all__ = [
    "OnePhononShare",
    "OrderError",
    "QPoints",
    "Quadrature",
    "VoxelPoints",
    "check_orders",
    "softest_intensity",
    "voxel_points",
]
