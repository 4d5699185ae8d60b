from .fit import fit_springs
from .objective import Loss, Objective
from .optimize import Minimum, minimize_objective
from .parametrization import RUNGS, LogSprings, MatrixSprings, Rung, make_family
from .predictions import Band, Predictions, predict
from .profile import Profile, profile
from .quality import Quality
from .result import Fit
from .series import Known, Ladder, RungFit
from .settings import FitSettings
from .table import SpringRow, spring_table
from .uncertainty import Certainty
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
