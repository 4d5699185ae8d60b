"""How much of a measured map each kind of correlated motion explains, alone and together.

Every model is judged by the voxels that were left out of its fit, beside baselines that contain no
model of the motion in question: what the smoothness of the map alone predicts, molecules that move
independently, liquid-like motions of one length, and the same flexible model with the mirror image
of the molecule in place of the molecule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.compare.baselines import null_models
from onephonon.compare.comparison import with_cell
from onephonon.core.errors import InputError
from onephonon.core.memory import check_memory
from onephonon.core.progress import Progress, ProgressLike
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.reindexing import Reindexing
from onephonon.disorder.building import build_disorder
from onephonon.disorder.component import Component
from onephonon.disorder.notation import ComponentSpec, disorder_text
from onephonon.disorder.segments import Segments
from onephonon.maps.diffuse import DiffuseMap
from onephonon.model.one_phonon import OnePhonon

from ..quality import ISOTROPIC
from ..second_map import SecondMap, second_map
from ..settings import FitSettings
from ..voxels import FitVoxels
from .bench import Bench, ExplainedModel, make_bench
from .covariance_terms import CovarianceTerm, SegmentTerm, covariance_term
from .liquid_term import START, PattersonLiquidTerm
from .mirror import mirror_image
from .nulls import null_term
from .preparation import prepare
from .smoothness import smoothness_kernel
from .terms import ComponentTerm, Term, lattice_term

Float64 = NDArray[np.float64]

#: Most voxels: the regression needs the inverse of a matrix of this order.
MAX_VOXELS = 25_000

#: Weights to start from, relative to the variance of the data.
SMOOTHNESS_START, OTHERS_START = 2.0, 1.0

#: Springs of the component 'lattice'.
LATTICE_LEVEL = "interface"

#: Components with few parameters, besides the lattice.
PARAMETRIC = ("liquid", "rigid", "atoms")


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
    written = [spec.text for spec in disorder]
    for spec in disorder:
        check_spec(spec, crystal)
        if written.count(spec.text) > 1:
            raise InputError(f"disorder component {spec.text!r} is given twice; give it once")
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
    bench = make_bench(problem, data, settings, judge_map, shown)
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
    model: OnePhonon, bench: Bench, disorder: Sequence[ComponentSpec], controls: bool
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
        term = null_term(null, bench.problem, bench.progress)
        yield bench.few_parameters(null.name, "baseline", [term])
    liquid = PattersonLiquidTerm(bench.crystal, bench.frame, fixed=True)
    yield bench.few_parameters(f"liquid-like motions over {liquid.gamma:g} Å", "baseline", [liquid])
    kernels: dict[str, Tensor] = {}
    starts: dict[str, float] = {}
    flexible: dict[str, CovarianceTerm] = {}
    terms: list[Term] = []
    alone, others = len(disorder) > 1, np.zeros(bench.voxels.n)
    for spec in disorder:
        if spec.for_fits_only:
            flexible[spec.text] = prior = covariance_term(spec)
            kernels[spec.text] = bench.kernel(prior, bench.crystal)
            starts[spec.text] = prior.start
            if alone:
                own = {spec.text: kernels[spec.text]}
                yield bench.regression(spec.text, "component", own, starts)
        else:
            terms.append(_parametric_term(spec, model, bench))
            if alone:
                found = bench.few_parameters(spec.text, "component", [terms[-1]])
                others = found.fitted
                yield found
    kind, text = ("together" if alone else "component"), disorder_text(disorder)
    if not kernels:
        yield bench.few_parameters(text, kind, terms)
        return
    if terms:
        if len(terms) > 1:
            others = bench.fitted(terms)
        column = bench.part.of_values(torch.from_numpy(others))
        kernels["others"] = bench.part.of_kernel(torch.outer(column, column).to(torch.float32))
        starts["others"] = OTHERS_START
    yield bench.regression(text, kind, kernels, starts)
    if controls:
        image = mirror_image(bench.crystal)
        wrong = {text: bench.kernel(term, image) for text, term in flexible.items()}
        text = f"{'+'.join(flexible)} of the mirror image"
        yield bench.regression(text, "control", wrong, starts)


def _parametric_term(spec: ComponentSpec, model: OnePhonon, bench: Bench) -> Term:
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
    if spec.name not in PARAMETRIC:
        raise InputError(
            f"disorder component {spec.name!r} has nothing to fit; give lattice, segments, "
            f"{', '.join(PARAMETRIC)}"
        )
    start = {"gamma": START} if spec.name == "liquid" else {}
    return build_disorder([ComponentSpec(spec.name, start | dict(spec.options))]).components[0]


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
