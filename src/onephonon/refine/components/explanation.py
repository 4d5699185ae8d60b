"""How much of a measured map each kind of correlated motion explains, alone and together.

Every model is judged by the voxels that were left out of its fit, beside baselines that contain no
model of the motion in question: what the smoothness of the map alone predicts, molecules that move
independently, liquid-like motions of one length, and the same flexible model with the mirror image
of the molecule in place of the molecule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.compare.baselines import NullModel, null_models
from onephonon.compare.comparison import with_cell
from onephonon.core.errors import InputError
from onephonon.core.memory import check_memory
from onephonon.core.progress import Progress, ProgressLike
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.reindexing import Reindexing
from onephonon.disorder.atoms import Atoms
from onephonon.disorder.component import Component
from onephonon.disorder.liquid import Liquid
from onephonon.disorder.notation import ComponentSpec, disorder_text
from onephonon.disorder.rigid import Rigid
from onephonon.disorder.segments import Segments
from onephonon.maps.diffuse import DiffuseMap
from onephonon.model.one_phonon import OnePhonon

from ..null_fits import null_intensity
from ..quality import ISOTROPIC
from ..second_map import SecondMap, second_map
from ..settings import FitSettings
from ..voxels import FitVoxels
from .covariance_terms import CovarianceTerm, SegmentTerm, covariance_term
from .judgement import Judgement, judge
from .left_out import LeftOut, guarded_blocks, small_blocks, wide_blocks
from .liquid_term import START, PattersonLiquidTerm
from .mirror import mirror_image
from .parametric import ParametricSettings, fit_parametric
from .parametric_result import ParametricFit
from .preparation import MapProblem, prepare
from .regression import AnisotropicPart, Solution, solve, tune
from .smoothness import smoothness_kernel
from .terms import ComponentTerm, FixedTerm, Term, lattice_term
from .voxel_frame import VoxelFrame

Float64 = NDArray[np.float64]

#: Weights are chosen with at most this many voxels, in whole blocks.
MAX_TUNED = 2500

#: Weight of the errors of wide blocks when weights are chosen, relative to small ones.
WIDE_SHARE = 0.5

#: Most voxels: the regression needs the inverse of a matrix of this order.
MAX_VOXELS = 25_000

#: Weights to start from, relative to the variance of the data.
SMOOTHNESS_START, OTHERS_START, NOISE_START = 2.0, 1.0, 0.06

#: Springs of the component 'lattice'.
LATTICE_LEVEL = "interface"


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
class Explanation:
    """Components fitted side by side.

    Parameters
    ----------
    model : OnePhonon
    data : DiffuseMap
    settings : FitSettings
    voxels : FitVoxels
    reindexing : Reindexing
        From the data's indices to the model's.
    models : tuple of ExplainedModel
        Baselines, then components alone, then all together, then the control.
    ways : mapping of str to str
        What the ways of leaving out are.
    second : SecondMap or None
    messages : tuple of str
    """

    model: OnePhonon
    data: DiffuseMap
    settings: FitSettings
    voxels: FitVoxels
    reindexing: Reindexing
    models: tuple[ExplainedModel, ...]
    ways: Mapping[str, str]
    second: SecondMap | None
    messages: tuple[str, ...]

    @property
    def best(self) -> ExplainedModel:
        """All components together, or the only component."""
        for kind in ("together", "component"):
            found = [m for m in self.models if m.kind == kind]
            if found:
                return found[-1]
        raise InputError("no component was fitted")

    def baseline(self, i: int = 0) -> ExplainedModel:
        """One of the baselines."""
        return [m for m in self.models if m.kind == "baseline"][i]

    def to_map(self, values: Float64, name: str) -> DiffuseMap:
        """Values at the voxels as a map in the data's indices, with the data's isotropic part."""
        whole = values + self.voxels.data - _anisotropic_of(self.voxels)
        arrays = {"intensity": self.voxels.to_map_shape(whole, self.data)}
        return self.data.changed(f"{name}; isotropic part of the data", arrays)


@dataclass(frozen=True, eq=False)
class _Bench:
    """Everything that the models of one explanation share."""

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
    cache: dict[str, Tensor] = field(default_factory=dict)

    def regression(
        self, name: str, kind: str, kernels: Mapping[str, Tensor], start: Mapping[str, float]
    ) -> ExplainedModel:
        """A model that is a sum of prior covariances."""
        names, every = list(kernels), list(kernels.values())
        starts = [*(start[n] for n in names), NOISE_START]
        some = torch.from_numpy(self.tuned)
        parts = [(_restricted(self.ways["small"], self.tuned), 1.0)]
        if "wide" in self.ways:
            parts.append((_restricted(self.ways["wide"], self.tuned), WIDE_SHARE))
        weights = tune(
            [k[some][:, some] for k in every],
            self.y[some],
            parts,
            starts,
            progress=self.progress,
            task=f"weights of {name}",
        )
        solution = solve(every, weights[:-1], weights[-1], self.y)
        return self._of(name, kind, solution, dict(zip([*names, "noise"], weights, strict=True)))

    def _of(
        self, name: str, kind: str, solution: Solution, weights: Mapping[str, float]
    ) -> ExplainedModel:
        held_out = {}
        for way, parts in self.ways.items():
            held_out[way] = self.size * solution.left_out(parts).numpy()
        fitted = self.size * solution.fitted.numpy()
        judgement = judge(self.voxels, fitted, held_out, self.second)
        n = solution.n_effective
        return ExplainedModel(name, kind, n, weights, None, fitted, held_out, judgement)

    def few_parameters(self, name: str, kind: str, terms: Sequence[Term]) -> ExplainedModel:
        """A model of amplitudes and few parameters, fitted anew for every part left out."""
        problem = self.problem
        held_out = {}
        fit: ParametricFit | None = None
        for way, parts in self.ways.items():
            if way == "guarded" or (way == "wide" and any(term.n for term in terms)):
                continue  # few parameters do not follow the neighbours of a voxel
            fold = np.full(self.voxels.n, -1)
            for number, removed in enumerate(parts.removed):
                fold[removed] = number
            fit = fit_parametric(
                terms, problem, ParametricSettings(), fold=fold, progress=self.progress
            )
            held_out[way] = fit.held_out
        assert fit is not None
        judgement = judge(self.voxels, fit.fitted, held_out, self.second)
        n = len(fit.amplitudes) + sum(t.n for t in terms)
        return ExplainedModel(name, kind, n, {}, fit, fit.fitted, held_out, judgement)


def explain(
    model: OnePhonon,
    data: DiffuseMap,
    disorder: Sequence[ComponentSpec],
    settings: FitSettings | None = None,
    *,
    second: DiffuseMap | None = None,
    second_name: str = "the second map",
    controls: bool = True,
    progress: ProgressLike | None = None,
) -> Explanation:
    """Fit components of disorder to a map, side by side and together, and judge them.

    Parameters
    ----------
    model : OnePhonon
        Defines structure, bodies and contacts. Its q-vectors are not used.
    data : DiffuseMap
        On a grid.
    disorder : sequence of ComponentSpec
        See `parse_disorder`.
    settings : FitSettings, optional
        Those of the choice of voxels are used.
    second : DiffuseMap, optional
        Another map of the same structure, which judges the models and is never fitted.
    second_name : str
        For reports.
    controls : bool
        Fit the mirror image of the molecule, too, where components are flexible.
    progress : Progress or callable, optional

    Returns
    -------
    Explanation

    Raises
    ------
    InputError
        If there are too few or too many voxels, or a component cannot be fitted.
    """
    settings, shown = settings or FitSettings(), Progress.of(progress)
    if not disorder:
        raise InputError("no component to fit; give some, such as lattice+liquid")
    crystal = model.crystal
    for spec in disorder:
        check_spec(spec, crystal)
    data = with_cell(data, crystal.cell.parameters)
    problem = prepare(model, data, settings, shown)
    voxels, messages = problem.voxels, list(problem.messages)
    _check_size(voxels.n)
    judge_map = None
    if second is not None:
        judge_map = second_map(second, data, crystal, voxels, second_name)
        messages.append(
            f"{second_name}, indexed {judge_map.reindexing.name} against the data, agrees with "
            f"them at {judge_map.cc:.3f} ± {judge_map.error:.3f}; it is not fitted"
        )
        shown.message(messages[-1])
    bench = _bench(problem, data, settings, judge_map, shown)
    ways = {way: parts.text for way, parts in bench.ways.items()}
    models: list[ExplainedModel] = []
    for found in _models(model, bench, disorder, controls):
        models.append(found)
        shown.message(summary(found))
    return Explanation(
        model,
        data,
        settings,
        voxels,
        problem.reindexing,
        tuple(models),
        ways,
        judge_map,
        tuple(messages),
    )


def check_spec(spec: ComponentSpec, crystal: Crystal) -> None:
    """Raise `InputError` for a component that cannot be fitted, before anything is computed."""
    if spec.for_fits_only:
        term = covariance_term(spec)
        if isinstance(term, SegmentTerm):
            Segments.of(crystal, term.by)
    elif spec.name != "lattice":
        _component(spec)


def summary(found: ExplainedModel) -> str:
    """Agreement of a model with voxels left out, in one line."""
    parts = []
    for way, value in found.judgement.held_out.items():
        text = f"{way} {value.cc:.3f} ± {value.error:.3f}"
        if way in found.judgement.second:
            text += f" (second map {found.judgement.second[way].cc:.3f})"
        parts.append(text)
    return f"{found.name} ({found.kind}): CC aniso of voxels left out, {', '.join(parts)}"


def _models(
    model: OnePhonon, bench: _Bench, disorder: Sequence[ComponentSpec], controls: bool
) -> Iterator[ExplainedModel]:
    """Baselines, components alone, all together, and the control."""
    smooth = bench.part.of_kernel(smoothness_kernel(bench.crystal, bench.frame))
    yield bench.regression(
        "smoothness of the map",
        "baseline",
        {"smoothness": smooth},
        {"smoothness": SMOOTHNESS_START},
    )
    del smooth
    for null in null_models():
        yield bench.few_parameters(null.name, "baseline", [_null_term(null, model, bench)])
    liquid = PattersonLiquidTerm(bench.crystal, bench.frame, fixed=True)
    yield bench.few_parameters(f"liquid-like motions over {liquid.gamma:g} Å", "baseline", [liquid])
    kernels: dict[str, Tensor] = {}
    starts: dict[str, float] = {}
    flexible: list[CovarianceTerm] = []
    terms: list[Term] = []
    alone = len(disorder) > 1
    for spec in disorder:
        if spec.for_fits_only:
            term = covariance_term(spec)
            flexible.append(term)
            kernels[term.name], starts[term.name] = _kernel(term, bench.crystal, bench), term.start
            if alone:
                own = {term.name: kernels[term.name]}
                yield bench.regression(spec.text, "component", own, starts)
        else:
            terms.append(_parametric_term(spec, model, bench))
            if alone:
                yield bench.few_parameters(spec.text, "component", [terms[-1]])
    kind, text = ("together" if alone else "component"), disorder_text(disorder)
    if not kernels:
        yield bench.few_parameters(text, kind, terms)
        return
    if terms:
        fit = fit_parametric(terms, bench.problem, progress=bench.progress)
        column = bench.part.of_values(torch.from_numpy(fit.fitted))
        kernels["others"] = bench.part.of_kernel(torch.outer(column, column).to(torch.float32))
        starts["others"] = OTHERS_START
    yield bench.regression(text, kind, kernels, starts)
    if controls:
        image = mirror_image(bench.crystal)
        wrong = {term.name: _kernel(term, image, bench) for term in flexible}
        yield bench.regression(
            f"{disorder_text([s for s in disorder if s.for_fits_only])} of the mirror image",
            "control",
            wrong,
            starts,
        )


def _bench(
    problem: MapProblem,
    data: DiffuseMap,
    settings: FitSettings,
    second: SecondMap | None,
    progress: Progress,
) -> _Bench:
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
    return _Bench(
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


def _null_term(null: NullModel, model: OnePhonon, bench: _Bench) -> Term:
    forward = bench.problem.forward
    values = null_intensity(null, model, forward, bench.progress)
    return FixedTerm(null.name, null.meaning, values)


def _parametric_term(spec: ComponentSpec, model: OnePhonon, bench: _Bench) -> Term:
    forward = bench.problem.forward
    if spec.name == "lattice":
        return lattice_term(model, forward, LATTICE_LEVEL)
    if spec.name == "liquid" and set(spec.options) <= {"gamma", "scope", "amplitude"}:
        plain = spec.options.get("scope", "crystal") == "crystal"
        if plain and spec.options.get("amplitude", "atoms") == "atoms":
            gamma = float(spec.options.get("gamma", START))
            order = model.bound.orders.number
            return PattersonLiquidTerm(bench.crystal, bench.frame, gamma, order=order)
    return ComponentTerm(_component(spec), forward)


def _component(spec: ComponentSpec) -> Component:
    """A component from its options."""
    kinds: dict[str, Callable[..., Component]] = {"liquid": Liquid, "rigid": Rigid, "atoms": Atoms}
    if spec.name not in kinds:
        raise InputError(
            f"disorder component {spec.name!r} has nothing to fit; give lattice, segments, "
            f"{', '.join(kinds)}"
        )
    options = dict(spec.options)
    if spec.name == "liquid":
        options.setdefault("gamma", START)
        options.pop("kernel", None)
    return kinds[spec.name](**options)


def _kernel(term: CovarianceTerm, crystal: Crystal, bench: _Bench) -> Tensor:
    return bench.part.of_kernel(term.kernel(crystal, bench.frame, bench.progress))


def _check_size(n: int) -> None:
    if n > MAX_VOXELS:
        raise InputError(
            f"{n:,} voxels: a fit of components takes at most {MAX_VOXELS:,}, since it inverts "
            "a matrix of that order; fit a narrower range (d_min, d_max), or a map with one voxel "
            "per hkl"
        )
    check_memory(48.0 * n**2, f"covariances of {n:,} voxels", "fit a narrower range (d_min, d_max)")


def _anisotropic_of(voxels: FitVoxels) -> Float64:
    limits = float(voxels.s.min()), float(voxels.s.max())
    rest = ISOTROPIC.remove(voxels.data, voxels.s, limits, np.ones(voxels.n))
    return np.where(np.isfinite(rest), rest, 0.0)
