"""Null models as terms: what any sum of components has to be better than."""

from __future__ import annotations

from onephonon.compare.baselines import NullModel, of_molecules
from onephonon.core.progress import ProgressLike
from onephonon.disorder.component import Component

from ..null_fits import null_intensity
from .preparation import MapProblem
from .terms import ComponentTerm, FixedTerm, Term

#: Rigid translations of each asymmetric unit, independent of all others.
MOLECULES = NullModel("molecules", "rigid:translations", of_molecules)


def null_term(
    null: NullModel, problem: MapProblem, progress: ProgressLike | None = None
) -> FixedTerm:
    """A null model at the voxels of a problem."""
    values = null_intensity(null, problem.model, problem.forward, progress)
    return FixedTerm(null.name, null.meaning, values)


def null_terms(
    problem: MapProblem, liquid: Component | None = None, progress: ProgressLike | None = None
) -> tuple[Term, ...]:
    """The null models at the voxels of a problem, each to be fitted alone.

    Parameters
    ----------
    problem : MapProblem
    liquid : Component, optional
        Liquid-like motions, such as ``Liquid(scope="crystal", gamma=8.0)``; their length is fitted.
    progress : Progress or callable, optional

    Returns
    -------
    tuple of Term
        Molecules that move independently, without any spring: rigid translations of each
        asymmetric unit. And liquid-like motions, if given.
    """
    found: list[Term] = [null_term(MOLECULES, problem, progress)]
    if liquid is not None:
        found.append(ComponentTerm(liquid, problem.forward))
    return tuple(found)
