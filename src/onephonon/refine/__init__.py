"""Fitting a crystal's springs to a measured map."""

from .certainty import Certainty
from .families import RUNGS, LogSprings, MatrixSprings, Rung, make_family
from .fit import fit_springs
from .ladder import Known, Ladder, RungFit
from .objective import Loss, Objective
from .optimize import Minimum, minimize_objective
from .predictions import Band, Predictions, predict
from .profile import Profile, profile
from .quality import Quality
from .result import Fit
from .settings import FitSettings
from .table import SpringRow, spring_table
from .voxels import FitVoxels, select_voxels

__all__ = [
    "RUNGS",
    "Band",
    "Certainty",
    "Fit",
    "FitSettings",
    "FitVoxels",
    "Known",
    "Ladder",
    "LogSprings",
    "Loss",
    "MatrixSprings",
    "Minimum",
    "Objective",
    "Predictions",
    "Profile",
    "Quality",
    "Rung",
    "RungFit",
    "SpringRow",
    "fit_springs",
    "make_family",
    "minimize_objective",
    "predict",
    "profile",
    "select_voxels",
    "spring_table",
]
