from .bench import ExplainedModel
from .comparison import HeldOutGain, held_out_gain
from .explanation import Explanation, explain
from .folds import make_folds, single_fold
from .nulls import null_terms
from .parametric import ParametricSettings, fit_parametric
from .parametric_result import AmplitudeRow, ParameterRow, ParametricFit
from .preparation import MapProblem, prepare
from .terms import ComponentTerm, FixedTerm, LatticeTerm, Term, lattice_term

__all__ = [
    "AmplitudeRow",
    "ComponentTerm",
    "ExplainedModel",
    "Explanation",
    "FixedTerm",
    "HeldOutGain",
    "LatticeTerm",
    "MapProblem",
    "ParameterRow",
    "ParametricFit",
    "ParametricSettings",
    "Term",
    "explain",
    "fit_parametric",
    "held_out_gain",
    "lattice_term",
    "make_folds",
    "null_terms",
    "prepare",
    "single_fold",
]
