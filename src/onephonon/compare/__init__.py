"""Agreement of calculated with measured diffuse maps.

What computes a model needs torch, and is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .agreement import Agreement, Pairs, Statistics, Trial
from .comparison import compare_maps, suggested_order
from .isotropic import Isotropic
from .quadrature import Quadrature
from .reindexing import Reindexing, find_reindexings, parse_reindexing
from .report import as_dict, summary, table, trial_table, write_csv, write_json
from .settings import Settings
from .statistics import (
    BlockSums,
    cc_star,
    jackknife_error,
    least_squares_scale,
    pearson,
    r_factor,
    weighted_r,
)

if TYPE_CHECKING:
    from .simulated import compare_model, simulate_at, symmetry_of
    from .voxels import VoxelPoints, points_at, voxel_average, voxel_points

#: Where the names that need torch live.
_HOMES = {
    "VoxelPoints": "voxels",
    "compare_model": "simulated",
    "points_at": "voxels",
    "simulate_at": "simulated",
    "symmetry_of": "simulated",
    "voxel_average": "voxels",
    "voxel_points": "voxels",
}

__all__ = [
    "Agreement",
    "BlockSums",
    "Isotropic",
    "Pairs",
    "Quadrature",
    "Reindexing",
    "Settings",
    "Statistics",
    "Trial",
    "VoxelPoints",
    "as_dict",
    "cc_star",
    "compare_maps",
    "compare_model",
    "find_reindexings",
    "jackknife_error",
    "least_squares_scale",
    "parse_reindexing",
    "pearson",
    "points_at",
    "r_factor",
    "simulate_at",
    "suggested_order",
    "summary",
    "symmetry_of",
    "table",
    "trial_table",
    "voxel_average",
    "voxel_points",
    "weighted_r",
    "write_csv",
    "write_json",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
