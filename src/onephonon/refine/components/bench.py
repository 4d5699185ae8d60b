"""One model of a map, fitted and judged like every other beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.crystal.crystal import Crystal
from onephonon.maps.diffuse import DiffuseMap

from ..quality import ISOTROPIC
from ..second_map import SecondMap
from ..settings import FitSettings
from ..voxels import FitVoxels
from .covariance_terms import CovarianceTerm
from .folds import NEVER
from .judgement import Judgement, judge
from .left_out import LeftOut, guarded_blocks, small_blocks, wide_blocks
from .parametric import fit_parametric
from .parametric_result import ParametricFit
from .preparation import MapProblem
from .regression import AnisotropicPart, solve, tune
from .terms import Term
from .voxel_frame import VoxelFrame

Float64 = NDArray[np.float64]

#: Weights are chosen with at most this many voxels, in whole blocks.
MAX_TUNED = 2500

#: Weights of the errors of voxels left out when weights are chosen, by the way of leaving out.
TUNED_BY = {"small": 1.0, "wide": 0.5}

#: Noise to start from, relative to the variance of the data.
NOISE_START = 0.06


@dataclass(frozen=True, eq=False)
class ExplainedModel:
    """One model, and what it predicts.

    Parameters
    ----------
    name : str
        As it is written, or a few words.
    kind : {'baseline', 'component', 'together', 'control'}
    n_effective : float
        Number of parameters that the data determine.
    weights : mapping of str to float
        Of the parts of a regression and of its noise, relative to the variance of the data; empty
        for models with few parameters.
    parametric : ParametricFit or None
        The fit of a model with few parameters.
    fitted : ndarray, shape (N,)
        Anisotropic part of the fit to all voxels, in the data's units.
    held_out : mapping of str to ndarray of shape (N,)
        Predictions of voxels that were left out, by the way of leaving out.
    judgement : Judgement
    """

    name: str
    kind: str
    n_effective: float
    weights: Mapping[str, float]
    parametric: ParametricFit | None
    fitted: Float64
    held_out: Mapping[str, Float64]
    judgement: Judgement


@dataclass(frozen=True, eq=False)
class Bench:
    """Everything that the models of one explanation share.

    Parameters
    ----------
    problem : MapProblem
    crystal : Crystal
    voxels : FitVoxels
    frame : VoxelFrame
    part : AnisotropicPart
    y : Tensor, shape (N,)
        Anisotropic part of the data, of unit variance.
    size : float
        Its standard deviation in the data's units.
    ways : mapping of str to LeftOut
        'small', 'wide' and 'guarded'.
    second : SecondMap or None
    tuned : ndarray of int64
        Voxels with which weights are chosen, sorted.
    progress : Progress
    """

    problem: MapProblem
    crystal: Crystal
    voxels: FitVoxels
    frame: VoxelFrame
    part: AnisotropicPart
    y: Tensor
    size: float
    ways: Mapping[str, LeftOut]
    second: SecondMap | None
    tuned: NDArray[np.int64]
    progress: Progress

    def regression(
        self, name: str, kind: str, kernels: Mapping[str, Tensor], start: Mapping[str, float]
    ) -> ExplainedModel:
        """A model that is a sum of prior covariances."""
        names, every = list(kernels), list(kernels.values())
        starts = [*(start[n] for n in names), NOISE_START]
        some = torch.from_numpy(self.tuned)
        parts = [
            (_restricted(self.ways[way], self.tuned), share) for way, share in TUNED_BY.items()
        ]
        weights = tune(
            [k[some][:, some] for k in every],
            self.y[some],
            parts,
            starts,
            progress=self.progress,
            task=f"weights of {name}",
        )
        found = solve(every, weights[:-1], weights[-1], self.y)
        held_out = {
            way: self.size * found.left_out(left).numpy() for way, left in self.ways.items()
        }
        fitted = self.size * found.fitted.numpy()
        judgement = judge(self.voxels, fitted, held_out, self.second)
        by_name = dict(zip([*names, "noise"], weights, strict=True))
        n = found.n_effective
        return ExplainedModel(name, kind, n, by_name, None, fitted, held_out, judgement)

    def few_parameters(self, name: str, kind: str, terms: Sequence[Term]) -> ExplainedModel:
        """A model of amplitudes and few parameters, fitted anew for every part left out."""
        held_out = {}
        fit: ParametricFit | None = None
        for way, parts in self.ways.items():
            if way == "guarded" or (way == "wide" and any(term.n for term in terms)):
                continue  # few parameters do not follow the neighbours of a voxel
            fold = np.full(self.voxels.n, NEVER)
            for number, removed in enumerate(parts.removed):
                fold[removed] = number
            fit = fit_parametric(terms, self.problem, fold=fold, progress=self.progress)
            held_out[way] = fit.held_out
        assert fit is not None
        judgement = judge(self.voxels, fit.fitted, held_out, self.second)
        n = len(fit.amplitudes) + sum(t.n for t in terms)
        return ExplainedModel(name, kind, n, {}, fit, fit.fitted, held_out, judgement)

    def kernel(self, term: CovarianceTerm, crystal: Crystal) -> Tensor:
        """Prior covariance of a component's anisotropic intensities, (N, N)."""
        return self.part.of_kernel(term.kernel(crystal, self.frame, self.progress))

    def fitted(self, terms: Sequence[Term]) -> Float64:
        """The sum of components with few parameters, fitted to all voxels, (N,)."""
        never = np.full(self.voxels.n, NEVER)
        return fit_parametric(terms, self.problem, fold=never, progress=self.progress).fitted


def make_bench(
    problem: MapProblem,
    data: DiffuseMap,
    settings: FitSettings,
    second: SecondMap | None,
    progress: Progress,
) -> Bench:
    """Voxels, projection and ways of leaving out of a problem."""
    voxels, crystal = problem.voxels, problem.model.crystal
    frame = VoxelFrame.of(voxels, data, crystal)
    part = AnisotropicPart.of(frame.s, ISOTROPIC.n_shells)
    y = part.of_values(torch.from_numpy(voxels.data))
    size = float(y.square().mean().sqrt())
    ways = {
        "small": small_blocks(voxels, seed=settings.seed),
        "wide": wide_blocks(voxels, crystal, seed=settings.seed),
        "guarded": guarded_blocks(voxels, crystal, seed=settings.seed),
    }
    return Bench(
        problem=problem,
        crystal=crystal,
        voxels=voxels,
        frame=frame,
        part=part,
        y=y / size,
        size=size,
        ways=ways,
        second=second,
        tuned=_tuned(voxels, settings.seed),
        progress=progress,
    )


def _tuned(voxels: FitVoxels, seed: int) -> NDArray[np.int64]:
    """Voxels with which weights are chosen: whole blocks at random, sorted."""
    if voxels.n <= MAX_TUNED:
        return np.arange(voxels.n)
    order = np.random.default_rng(seed).permutation(int(voxels.orbit.max()) + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    size = np.bincount(voxels.orbit)[order]
    last = int(np.searchsorted(np.cumsum(size), MAX_TUNED))
    return np.flatnonzero(rank[voxels.orbit] < max(last, 2))


def _restricted(ways: LeftOut, some: NDArray[np.int64]) -> LeftOut:
    """Parts of a selection of voxels, numbered within it."""

    def inside(part: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(some, np.intersect1d(part, some))

    kept = [(inside(r), inside(p)) for r, p in zip(ways.removed, ways.predicted, strict=True)]
    kept = [(r, p) for r, p in kept if len(p)]
    return LeftOut(tuple(r for r, _ in kept), tuple(p for _, p in kept), ways.text)
