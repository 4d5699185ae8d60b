from .base import Solver
from .choice import SolverChoice, choose_solver, make_solver
from .condensed.solver import CondensedSolver
from .dense.solver import DenseSolver

__all__ = [
    "CondensedSolver",
    "DenseSolver",
    "Solver",
    "SolverChoice",
    "choose_solver",
    "make_solver",
]
