"""Null models: what any model of springs or of several components has to be better than."""

from __future__ import annotations

import torch

from onephonon.compare.baselines import molecules_intensity
from onephonon.core.progress import Progress, ProgressLike
from onephonon.disorder.component import Component
from onephonon.network.bodies import gather_bodies

from .preparation import MapProblem
from .terms import ComponentTerm, FixedTerm, Term


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
    found: list[Term] = [molecules_term(problem, progress)]
    if liquid is not None:
        found.append(ComponentTerm(liquid, problem.forward))
    return tuple(found)


@torch.no_grad()
def molecules_term(problem: MapProblem, progress: ProgressLike | None = None) -> FixedTerm:
    """Rigid translations of each asymmetric unit, independent of all others.

    Parameters
    ----------
    problem : MapProblem
    progress : Progress or callable, optional
    """
    progress, numerics = Progress.of(progress), problem.model.bound.numerics
    bodies = gather_bodies(problem.model.crystal, "asu")
    values = []
    for part in problem.forward.parts:
        intensity = molecules_intensity(bodies, part.points, bodies.U, numerics)
        values.append(part.average(intensity))
        progress.step("independent molecules", part.voxels.stop, problem.voxels.n)
    return FixedTerm("molecules", "rigid:translations", torch.cat(values))
