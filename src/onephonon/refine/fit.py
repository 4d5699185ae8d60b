"""Fitting springs to a structure and a measured map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from onephonon.compare.agreement import Agreement
from onephonon.compare.comparison import candidates_for, with_cell
from onephonon.compare.settings import Settings
from onephonon.compare.simulated import compare_model
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.crystal.reindexing import Reindexing
from onephonon.maps.diffuse import DiffuseMap
from onephonon.model.one_phonon import OnePhonon
from onephonon.network.force_constants import Springs
from onephonon.scattering.quadrature import Quadrature, choose_quadrature

from .background import make_background
from .forward import make_forward
from .objective import Loss, Objective
from .parametrization import RUNGS, make_family
from .result import Fit
from .series import Climb, Done, Known, Watch
from .settings import FitSettings
from .voxels import FitVoxels, resolution_range, select_voxels, takes_all

#: Maximum number of nodes (of all voxels) used to compare indexings.
TRIED = 250_000

#: Units of calculated maps and of data on an absolute scale.
ABSOLUTE = "e^2 per cell"


def fit_springs(
    model: OnePhonon,
    data: DiffuseMap,
    settings: FitSettings | None = None,
    *,
    progress: Progress | None = None,
    watch: Watch | None = None,
    say: Callable[[str], None] | None = None,
    done: Done | None = None,
    known: dict[str, Known] | None = None,
) -> Fit:
    """Fit the springs of a crystal to a measured map.

    Parameters
    ----------
    model : OnePhonon
        Structure, bodies and cutoff; its springs are the start, equal for all contacts. Its
        q-vectors are not used.
    data : DiffuseMap
        On a grid.
    settings : FitSettings, optional
    progress : callable, optional
        Called with (stage, steps done, total) before the series.
    watch, done : callable, optional
        Called after every step and every model; see `Climb`.
    say : callable, optional
        Called with a message for every decision.
    known : dict, optional
        Models fitted before, to continue from.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If there are too few data, or model and data do not match.
    """
    settings = settings or FitSettings()
    crystal = model.crystal
    data = with_cell(data, crystal.cell.parameters)
    said: list[str] = []

    def tell(*lines: str) -> None:
        said.extend(lines)
        for line in lines if say else ():
            say(line)  # type: ignore[misc]

    reindexing, indexing = choose_indexing(model, data, settings, progress)
    tell(indexing.decision if indexing else "there is no other indexing of this lattice")
    voxels = select_voxels(data, crystal, reindexing, settings)
    tell(*voxels.messages)
    if voxels.quadrature is not None:
        tell(f"the model is {voxels.quadrature}")
    absolute = is_absolute(data, settings)
    tell(
        f"intensities are assumed to be in {ABSOLUTE}"
        if absolute
        else "a scale is fitted: the mean B-factor of the file sets the unit of the springs, kT/Å^2"
    )
    objective, kind = make_objective(model, data, voxels, settings, absolute, progress)
    tell(f"background: {DESCRIBED[kind]}")
    ladder = Climb(voxels, objective, settings, watch).climb(done, known)
    tell(*ladder.said)
    return Fit(
        model=model,
        data=data,
        settings=settings,
        voxels=voxels,
        ladder=ladder,
        background=kind,
        absolute=absolute,
        reindexing=reindexing,
        indexing=indexing,
        said=tuple(said),
        objective=objective,
    )


#: Descriptions of the kinds of background.
DESCRIBED = {
    "isotropic": "a smooth function of |q|, solved for with the scale",
    "halo": "a constant and a slope in each halo, solved for with the scale",
    "none": "none",
}


def is_absolute(data: DiffuseMap, settings: FitSettings) -> bool:
    """Whether intensities are on an absolute scale: as requested, or from the map's units."""
    return settings.scale == "absolute" or (settings.scale == "auto" and data.units == ABSOLUTE)


def make_objective(
    model: OnePhonon,
    data: DiffuseMap,
    voxels: FitVoxels,
    settings: FitSettings,
    absolute: bool,
    progress: Progress | None = None,
) -> tuple[Objective, str]:
    """The objective of the untuned model, and the kind of its background."""
    kind = settings.background
    if kind == "auto":
        kind = "isotropic" if takes_all(data, settings) else "halo"
    forward = make_forward(model, voxels, progress)
    like = model.bodies.U
    background = make_background(kind, voxels, model.crystal.cell.parameters, settings.knots)
    background = replace(
        background,
        columns=background.columns.to(like),
        group=background.group.to(like.device),
    )
    start = 1 / float(unit_scale(model)) if absolute else 1.0
    return (
        Objective(
            forward=forward,
            family=make_family(RUNGS[0], model.bodies, model.contacts, start),
            data=torch.from_numpy(voxels.data).to(like),
            sigma=torch.from_numpy(voxels.sigma).to(like),
            used=torch.from_numpy(~voxels.held_out).to(like.device),
            background=background,
            fit_scale=not absolute,
            loss=Loss(settings.loss, settings.outlier),
        ),
        kind,
    )


def unit_scale(model: OnePhonon) -> torch.Tensor:
    """Thermal scale that gives unit springs the mean B-factor of the file."""
    lattice = model.lattice
    ones = torch.ones_like(lattice.contacts.distance)
    return lattice.with_springs(Springs(ones, ones)).thermal_scale.detach()


def choose_indexing(
    model: OnePhonon,
    data: DiffuseMap,
    settings: FitSettings,
    progress: Progress | None = None,
) -> tuple[Reindexing, Agreement | None]:
    """Compare the possible indexings of the lattice with the untuned model.

    Returns
    -------
    reindexing : Reindexing
    agreement : Agreement or None
        None if there is only one indexing.
    """
    if data.grid is None:
        raise InputError("the data are a list of q-vectors; a fit needs a map on a grid of hkl")
    low, high = resolution_range(data, settings)
    asked = Settings(d_min=low, d_max=high, reindex=settings.reindex)
    cell = model.crystal.cell.parameters
    candidates = candidates_for(asked, model.crystal.spacegroup, cell, data.cell)
    if len(candidates) == 1:
        return candidates[0], None
    quadrature = choose_quadrature(data.grid, settings.average, settings.leave_out)
    agreement = compare_model(
        model,
        _thinned(data, asked, quadrature),
        asked,
        average=settings.average,
        leave_out=settings.leave_out,
        use_data_adp=True,
        progress=progress,
    )
    return agreement.reindexing, agreement


def _thinned(data: DiffuseMap, asked: Settings, quadrature: Quadrature | None) -> DiffuseMap:
    """Random subset of the voxels of a large map, sufficient for statistics."""
    most = TRIED // quadrature.around_bragg if quadrature else TRIED
    keep = np.zeros(data.intensity.shape, dtype=bool)
    low, high = asked.s_limits
    for part, s in data.slabs():
        keep[part] = data.mask[part] & (s >= low) & (s <= high)
    place = np.flatnonzero(keep)
    if len(place) <= most:
        return data
    chosen = np.random.default_rng(0).choice(place, most, replace=False)
    values = np.full(data.intensity.size, np.nan)
    values[chosen] = data.intensity.reshape(-1)[chosen]
    arrays = {"intensity": values.reshape(data.intensity.shape)}
    return data.changed(f"{most} voxels chosen at random", arrays)
