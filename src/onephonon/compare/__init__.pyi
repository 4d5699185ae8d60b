from .agreement import Agreement, Pairs, Statistics, Trial
from .comparison import compare_maps
from .indexing import MapPair, in_same_indices
from .report import summary, table, to_dict, trial_table, write_csv, write_json
from .settings import Isotropic, Settings
from .simulated import compare_model, simulate_at, symmetry_of
from .statistics import (
    BlockSums,
    cc_star,
    jackknife_error,
    least_squares_scale,
    pearson,
    r_factor,
    weighted_r,
)

__all__ = [
    "Agreement",
    "BlockSums",
    "Isotropic",
    "MapPair",
    "Pairs",
    "Settings",
    "Statistics",
    "Trial",
    "cc_star",
    "compare_maps",
    "compare_model",
    "in_same_indices",
    "jackknife_error",
    "least_squares_scale",
    "pearson",
    "r_factor",
    "simulate_at",
    "summary",
    "symmetry_of",
    "table",
    "to_dict",
    "trial_table",
    "weighted_r",
    "write_csv",
    "write_json",
]
