"""Which way to ``K(k)^-1``: dense factorizations, or the condensation of many bodies.

Both are exact. Dense factors are quicker for few degrees of freedom, and differentiable at will;
condensed ones make single atoms and residues possible.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from onephonon.core.errors import GradientError, InputError
from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from ..displacements import displacement_covariance as dense_displacements
from ..stiffness_matrix import factorize, stiffness, zone_chunk
from .condensed.condensation import Condensed, condense
from .condensed.elimination import plan_elimination
from .condensed.form import condensed_form, condensed_solve
from .condensed.zone_mean import zone_mean_inverse
from .dense import quadratic_form, solve_form

SOLVERS = ("auto", "dense", "condensed")

#: Up to so many degrees of freedom a dense factorization costs less than the bookkeeping.
SMALL = 150

#: Condensation must leave less than this part of the degrees of freedom to pay.
BOUNDARY_PART = 0.6

#: Wavevectors handled between two reports of progress.
Q_BATCH = 4096

#: Bytes of solutions kept for a backward pass; beyond them they are solved for again.
KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Choice:
    """A way to ``K(k)^-1``, and why it was taken.

    Parameters
    ----------
    name : {'dense', 'condensed'}
    reason : str
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def take_solver(solver: str) -> str:
    """Refuse a solver that is not known."""
    if solver not in SOLVERS:
        raise InputError(f"solver={solver!r} is not one of {', '.join(SOLVERS)}")
    return solver


def choose_solver(bodies: Bodies, constants: ForceConstants, asked: str = "auto") -> Choice:
    """Take the solver that was asked for, or the quicker one.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
        For the coupled pairs; their values play no part.
    asked : {'auto', 'dense', 'condensed'}

    Raises
    ------
    InputError
        If there is no such solver.
    GradientError
        If condensation was asked for inside torch.func, which it does not know.
    """
    inside = torch._C._functorch.peek_interpreter_stack() is not None
    if take_solver(asked) == "condensed" and inside:
        raise GradientError(
            "solver='condensed' has no derivatives inside torch.func; use torch.autograd, or "
            "solver='dense'"
        )
    if asked != "auto":
        return Choice(asked, "as asked")
    D = bodies.n_dof
    if inside:
        return Choice("dense", "inside torch.func")
    if D <= SMALL:
        return Choice("dense", f"{D} degrees of freedom")
    boundary = len(plan_elimination(constants, bodies.dof).boundary)
    what = f"{boundary} of {D} degrees of freedom on the boundary"
    return Choice("condensed" if boundary < BOUNDARY_PART * D else "dense", what)


@dataclass(frozen=True)
class Solver:
    """``K(k)^-1`` of a crystal, ready to be used at any k.

    Parameters
    ----------
    bodies : Bodies
    constants : ForceConstants
    condensed : Condensed, optional
        With it, solves are condensed; without, dense.
    keep : bool
        Keep solutions for a backward pass.
    """

    bodies: Bodies
    constants: ForceConstants
    condensed: Condensed | None = None
    keep: bool = True

    @property
    def zone_batch(self) -> int:
        """How many zone points to handle at a time."""
        if self.condensed is None:
            return zone_chunk(self.bodies.n_dof)
        return max(1, zone_chunk(self.condensed.n_boundary) // 4)

    @property
    def q_batch(self) -> int:
        """How many q to handle between two reports of progress, where G is at hand."""
        return sys.maxsize if self.condensed is None else Q_BATCH

    def form(self, k_frac: Tensor, hkl: Tensor, G: Tensor, points: Tensor | None = None) -> Tensor:
        """``G^H K(k)^-1 G``, shape (n_k, m); see `quadratic_form`."""
        if self.condensed is None:
            return quadratic_form(self.bodies, self.constants, k_frac, hkl, G, points)
        return condensed_form(
            self.bodies, self.constants, self.condensed, k_frac, hkl, G, points, self.keep
        )

    def solve_form(self, k_frac: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
        """``G^H K(k)^-1 G`` and ``K(k)^-1 G``, (n_k, m) and (n_k, m, D), without gradient."""
        return self.solver_at(k_frac)(G)

    def solver_at(self, k_frac: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """`solve_form` at these k, to be used for several G (n_k, m, D)."""
        if self.condensed is not None:
            return partial(condensed_solve, self.condensed, k_frac)
        with torch.no_grad():
            factor = factorize(stiffness(self.bodies, self.constants, k_frac))
        return partial(solve_form, factor)


def make_solver(
    bodies: Bodies, constants: ForceConstants, asked: str = "auto", n_q: int = 0
) -> Solver:
    """Prepare the solver of `choose_solver`.

    Parameters
    ----------
    bodies, constants, asked
        As for `choose_solver`.
    n_q : int
        How many q it will be used for: solutions of too many are not kept for a backward pass.
    """
    if choose_solver(bodies, constants, asked).name == "dense":
        return Solver(bodies, constants)
    with torch.no_grad():
        condensed = condense(bodies, constants)
    return Solver(bodies, constants, condensed, 16 * n_q * bodies.n_dof <= KEPT_BYTES)


def displacement_covariance(
    bodies: Bodies,
    constants: ForceConstants,
    samples: Sequence[int],
    progress: Progress | None = None,
    asked: str = "auto",
) -> Tensor:
    """Mean-square displacements of every atom of the cell at s = 1: ``U_j = A_j C_bb(0) A_j^T``.

    Parameters
    ----------
    bodies, constants, asked
        As for `choose_solver`.
    samples : three int
        Mesh points of the Brillouin zone along each reciprocal axis.
    progress : callable, optional
        Told how many mesh points are done.

    Returns
    -------
    Tensor, shape (n_cell_atoms, 3, 3), Å^2
        Differentiable in the force constants and the positions.
    """
    if choose_solver(bodies, constants, asked).name == "dense":
        return dense_displacements(bodies, constants, samples, progress)
    blocks = zone_mean_inverse(bodies, constants, samples, progress)
    A = bodies.displacements()
    return A @ blocks[bodies.body] @ A.mT
