from .agreement import Agreement, BaselineAgreement, Pairs, Statistics, Trial
from .baselines import NullModel, null_models
from .comparison import compare_maps
from .indexing import MapPair, in_same_indices
from .report import baseline_table, summary, table, to_dict, trial_table, write_csv, write_json
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
    "BaselineAgreement",
    "BlockSums",
    "Isotropic",
    "MapPair",
    "NullModel",
    "Pairs",
    "Settings",
    "Statistics",
    "Trial",
    "baseline_table",
    "cc_star",
    "compare_maps",
    "compare_model",
    "in_same_indices",
    "jackknife_error",
    "least_squares_scale",
    "null_models",
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
