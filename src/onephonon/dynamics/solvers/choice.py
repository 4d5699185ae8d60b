"""Choice of the solver: dense factorizations, or condensation for many bodies.

Both are exact. Dense factorizations are faster for few degrees of freedom and have derivatives of
any order; condensation is needed for single atoms or residues as bodies.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from onephonon.core.errors import GradientError, InputError
from onephonon.core.tensors import inside_functorch
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from ..occupation import Occupation
from .base import Solver
from .condensed.elimination import plan_elimination
from .condensed.solver import CondensedSolver
from .dense.solver import DenseSolver
from .occupied import OccupiedSolver

SOLVERS = ("auto", "dense", "condensed")

#: Up to this many degrees of freedom a dense factorization is faster.
MAX_DENSE_DOF = 150

#: Largest fraction of boundary degrees of freedom for which condensation is faster.
MAX_BOUNDARY_SHARE = 0.6

#: Maximum bytes of solutions kept for the backward pass; larger ones are recomputed.
KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class OccupiedModes:
    """A request for the covariance of modes with another than classical occupation.

    Parameters
    ----------
    occupation : Occupation
    scale : Tensor or float
        Thermal scale s.
    solver : {'auto', 'dense', 'condensed'}
        The last one is refused.
    """

    occupation: Occupation
    scale: Tensor | float
    solver: str = "auto"


#: How K(k) is inverted: the name of a solver, or a name with an occupation of the modes.
SolverLike = str | OccupiedModes


@dataclass(frozen=True)
class SolverChoice:
    """Name of a solver, and why it was chosen.

    Parameters
    ----------
    name : {'dense', 'condensed'}
    reason : str
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def check_solver(solver: str) -> str:
    """Raise `InputError` unless a solver of this name exists."""
    if solver not in SOLVERS:
        raise InputError(f"solver={solver!r} is not one of {', '.join(SOLVERS)}")
    return solver


def check_occupied_solver(solver: str) -> str:
    """Raise `InputError` unless a solver of this name can take the occupation of modes."""
    if check_solver(solver) == "condensed":
        raise InputError(
            "solver='condensed' has no modes, whose occupation temperature and populations "
            "change; give solver='dense' or 'auto'"
        )
    return solver


def choose_solver(
    bodies: Bodies, constants: ForceConstants, solver: SolverLike = "auto"
) -> SolverChoice:
    """Return the requested solver, or the faster one for 'auto'.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
        Defines the coupled pairs; the values are not used.
    solver : {'auto', 'dense', 'condensed'} or OccupiedModes

    Raises
    ------
    InputError
        If there is no such solver, or if it knows classical occupation alone.
    GradientError
        If condensation was requested inside torch.func, which it does not support.
    """
    if isinstance(solver, OccupiedModes):
        check_occupied_solver(solver.solver)
        return SolverChoice("dense", "another than classical occupation needs all modes")
    if check_solver(solver) == "condensed" and inside_functorch():
        raise GradientError(
            "solver='condensed' has no derivatives inside torch.func; use torch.autograd, or "
            "solver='dense'"
        )
    if solver != "auto":
        return SolverChoice(solver, "as requested")
    if inside_functorch():
        return SolverChoice("dense", "inside torch.func")
    D = bodies.n_dof
    if D <= MAX_DENSE_DOF:
        return SolverChoice("dense", f"{D} degrees of freedom")
    boundary = len(plan_elimination(constants, bodies.dof).boundary)
    reason = f"{boundary} of {D} degrees of freedom on the boundary"
    return SolverChoice("condensed" if boundary < MAX_BOUNDARY_SHARE * D else "dense", reason)


def make_solver(
    bodies: Bodies, constants: ForceConstants, solver: SolverLike = "auto", n_q: int = 0
) -> Solver:
    """Create the solver chosen by `choose_solver`.

    Parameters
    ----------
    bodies, constants, solver
        As for `choose_solver`.
    n_q : int
        Number of q; for many, the solutions are recomputed in the backward pass.
    """
    chosen = choose_solver(bodies, constants, solver)
    if isinstance(solver, OccupiedModes):
        return OccupiedSolver(bodies, constants, occupation=solver.occupation, scale=solver.scale)
    if chosen.name == "dense":
        return DenseSolver(bodies, constants)
    return CondensedSolver(bodies, constants, keep=16 * n_q * bodies.n_dof <= KEPT_BYTES)
