from .fit import fit_springs
from .minimizations import SavedMinimum
from .model_series import LevelFit, ModelSeries
from .null_fits import NullFit, fit_nulls
from .objective import Loss, Objective
from .optimize import Minimum, minimize_objective
from .parametrization import LEVELS, Level, LogSprings, MatrixSprings, make_parametrization
from .predictions import Band, Predictions, predict
from .profile import Profile, profile
from .quality import Quality
from .result import Fit
from .settings import FitSettings
from .table import SpringRow, spring_table
from .uncertainty import Uncertainty
from .voxels import FitVoxels, select_voxels

__all__ = [
    "LEVELS",
    "Band",
    "Fit",
    "FitSettings",
    "FitVoxels",
    "Level",
    "LevelFit",
    "LogSprings",
    "Loss",
    "MatrixSprings",
    "Minimum",
    "ModelSeries",
    "NullFit",
    "Objective",
    "Predictions",
    "Profile",
    "Quality",
    "SavedMinimum",
    "SpringRow",
    "Uncertainty",
    "fit_nulls",
    "fit_springs",
    "make_parametrization",
    "minimize_objective",
    "predict",
    "profile",
    "select_voxels",
    "spring_table",
]
