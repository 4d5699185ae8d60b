"""Fitting springs to a structure and a measured map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from onephonon.compare.agreement import Agreement
from onephonon.compare.comparison import candidates_for, crystal_differences, with_cell
from onephonon.compare.indexing import thinned
from onephonon.compare.settings import Settings
from onephonon.compare.simulated import compare_model
from onephonon.core.errors import InputError
from onephonon.core.progress import Progress, ProgressLike
from onephonon.crystal.reindexing import Reindexing
from onephonon.maps.diffuse import DiffuseMap
from onephonon.model.one_phonon import OnePhonon
from onephonon.network.force_constants import Springs
from onephonon.scattering.quadrature import Quadrature, choose_quadrature

from .averaging import (
    Averaging,
    choose_orders,
    estimate_errors,
    judge_orders,
    orders_text,
)
from .background import make_background
from .forward import make_forward
from .minimizations import SavedMinimum
from .model_series import LevelFit, SeriesFitter
from .objective import Loss, Objective
from .parametrization import LEVELS, make_parametrization
from .result import Fit
from .settings import FitSettings
from .voxels import FitVoxels, fits_all_voxels, resolution_range, select_voxels

#: Maximum number of nodes (of all voxels) used to compare indexings.
MAX_NODES_COMPARED = 250_000

#: Units of calculated maps and of data on an absolute scale.
ABSOLUTE = "e^2 per cell"


def fit_springs(
    model: OnePhonon,
    data: DiffuseMap,
    settings: FitSettings | None = None,
    *,
    progress: ProgressLike | None = None,
    on_level: Callable[[LevelFit], None] | None = None,
    on_minimum: Callable[[SavedMinimum], None] | None = None,
    saved: Sequence[SavedMinimum] = (),
) -> Fit:
    """Fit the springs of a crystal to a measured map.

    Parameters
    ----------
    model : OnePhonon
        Defines structure, bodies and contacts. The fit starts from equal springs for all contacts.
        The q-vectors of the model are not used.
    data : DiffuseMap
        On a grid.
    settings : FitSettings, optional
    progress : Progress or callable, optional
        Receives the steps of the calculation, and a message for every decision; see
        `onephonon.core.progress.Progress`.
    on_level : callable, optional
        Called with each level (`LevelFit`) as soon as it is fitted.
    on_minimum : callable, optional
        Called with the result of each minimization (`SavedMinimum`), for example to save it.
    saved : sequence of SavedMinimum
        Results of an interrupted fit of the same model, data and settings, in their order: they
        are not computed again, and the fit ends as if it had not been interrupted.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If there are too few data, if model and data do not match, or if the modes of the model
        have another than classical occupation.
    """
    settings = settings or FitSettings()
    model.bound.check_lattice_alone("a fit of springs")
    if model.occupation is not None:
        raise InputError(
            "springs are fitted with classical motion, whose intensities are proportional to the "
            "thermal scale; give a model without temperature and populations"
        )
    crystal = model.crystal
    data = with_cell(data, crystal.cell.parameters)
    progress = Progress.of(progress)
    messages: list[str] = []

    def record(*lines: str) -> None:
        messages.extend(lines)
        for line in lines:
            progress.message(line)

    reindexing, indexing = choose_indexing(model, data, settings, progress)
    record(indexing.decision if indexing else "the lattice allows no other indexing")
    record(*crystal_differences(crystal.spacegroup, crystal.cell.parameters, data))
    voxels = select_voxels(data, crystal, reindexing, settings)
    record(*voxels.messages)
    absolute = is_absolute(data, settings)
    voxels, averaging = with_orders(model, data, voxels, settings)
    record(_averaging_message(voxels, averaging))
    record(
        f"intensities are on an absolute scale, {ABSOLUTE}"
        if absolute
        else "a scale is fitted, so the mean B-factor of the file sets the unit of the springs; "
        f"its uncertainty is taken to be {100 * settings.b_uncertainty:g} %"
    )
    record(*_orders_messages(model, absolute))
    objective, kind = make_objective(model, data, voxels, settings, absolute, progress)
    record(f"background: {BACKGROUND_DESCRIPTIONS[kind]}")
    fitter = SeriesFitter(voxels, objective, settings, progress)
    series = fitter.fit_levels(on_level, on_minimum, saved)
    return Fit(
        model=model,
        data=data,
        settings=settings,
        voxels=voxels,
        series=series,
        background=kind,
        absolute=absolute,
        reindexing=reindexing,
        indexing=indexing,
        messages=(*messages, *series.messages),
        averaging=averaging,
        objective=objective,
    )


def with_orders(
    model: OnePhonon, data: DiffuseMap, voxels: FitVoxels, settings: FitSettings
) -> tuple[FitVoxels, Averaging | None]:
    """Voxels with the orders of their averages, and the errors that are left.

    Errors are None for maps calculated at the points of a grid.
    """
    if settings.average is None and data.calculated_at_points:
        return replace(voxels, order=np.ones_like(voxels.order)), None
    errors = estimate_errors(model, voxels)
    if settings.average is None:
        return choose_orders(voxels, errors)
    return voxels, judge_orders(voxels, errors)


def _averaging_message(voxels: FitVoxels, averaging: Averaging | None) -> str:
    if averaging is None:
        return "the map was calculated at the points of its grid, and so is the model"
    return (
        f"averages over voxels: {orders_text(voxels)}; estimated errors are {averaging.rms:.2g} "
        f"sigma, and move no spring by more than {averaging.shift:.2g} standard errors"
    )


def _orders_messages(model: OnePhonon, absolute: bool) -> list[str]:
    orders = model.bound.orders
    if orders.first_only:
        return []
    text = "all orders" if orders.number is None else f"the first {orders.number} orders"
    text = f"the model is the sum of {text} of the scattering, with the file's Debye-Waller factors"
    if absolute:
        return [text]
    return [f"{text}; whatever the springs, their thermal scale gives the file's mean B-factor"]


#: Descriptions of the kinds of background.
BACKGROUND_DESCRIPTIONS = {
    "isotropic": "a smooth function of |q|, fitted with the scale",
    "halo": "a constant and a slope in each halo, fitted with the scale",
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
    """The objective of the starting model, and the kind of its background."""
    kind = settings.background
    if kind == "auto":
        kind = "isotropic" if fits_all_voxels(data, settings) else "halo"
    start = 1 / float(unit_scale(model)) if absolute else 1.0
    forward = make_forward(model, voxels, progress, start=start, absolute=absolute)
    like = model.bodies.U
    background = make_background(kind, voxels, model.crystal.cell.parameters, settings.knots)
    background = replace(
        background,
        columns=background.columns.to(like),
        group=background.group.to(like.device),
    )
    return (
        Objective(
            forward=forward,
            parametrization=make_parametrization(LEVELS[0], model.bodies, model.contacts, start),
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
    """Compare the possible indexings of the lattice with the starting model.

    Returns
    -------
    reindexing : Reindexing
    agreement : Agreement or None
        None if there is only one indexing.
    """
    if data.grid is None:
        raise InputError("the data are a list of q-vectors; give a map on a grid of hkl")
    low, high = resolution_range(data, settings)
    compare_settings = Settings(d_min=low, d_max=high, reindex=settings.reindex)
    cell = model.crystal.cell.parameters
    candidates = candidates_for(compare_settings, model.crystal.spacegroup, cell, data.cell)
    if len(candidates) == 1:
        return candidates[0], None
    quadrature = choose_quadrature(data.grid, settings.average, settings.leave_out)
    agreement = compare_model(
        model,
        _thinned(data, compare_settings, quadrature),
        compare_settings,
        average=settings.average,
        leave_out=settings.leave_out,
        use_data_adp=True,
        progress=progress,
    )
    return agreement.reindexing, agreement


def _thinned(
    data: DiffuseMap, compare_settings: Settings, quadrature: Quadrature | None
) -> DiffuseMap:
    """A random subset of the voxels of a large map, sufficient to compare indexings."""
    max_voxels = MAX_NODES_COMPARED // quadrature.around_bragg if quadrature else MAX_NODES_COMPARED
    keep = np.zeros(data.intensity.shape, dtype=bool)
    low, high = compare_settings.s_limits
    for part, s in data.slabs():
        keep[part] = data.mask[part] & (s >= low) & (s <= high)
    return thinned(data, np.flatnonzero(keep), max_voxels)
