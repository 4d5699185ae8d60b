"""Comparison of data with a model computed at the voxels of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onephonon.core.files import in_bytes
from onephonon.core.memory import PROGRAM_BYTES
from onephonon.core.progress import Progress, ProgressLike
from onephonon.crystal.reindexing import Reindexing
from onephonon.crystal.symmetry import FRIEDEL, laue_operators
from onephonon.maps.diffuse import DiffuseMap
from onephonon.model.one_phonon import OnePhonon
from onephonon.model.symmetry import is_symmetric
from onephonon.model.voxels import points_at, voxel_average
from onephonon.scattering.quadrature import Quadrature, choose_quadrature, holds_bragg
from onephonon.scattering.voxel_orientations import (
    equivalent_operators,
    find_orientations,
    unique_voxels,
)

from .agreement import Agreement
from .baselines import NullModel, compare_baselines
from .comparison import candidates_for, compare_values, comparison_notes, with_cell
from .settings import Settings
from .target import Target

Float64 = NDArray[np.float64]

#: Memory of a voxel in one indexing, and of the nodes that are computed at a time, bytes, as
#: measured.
VOXEL_BYTES, NODES_BYTES = 200, 3e8

#: Voxels whose centre and average are compared, of all and of those beside Bragg points: closer
#: than this, in steps of the grid.
N_CHECKED, BESIDE = 100, 1.5

#: Relative rms difference of centres and averages from which it is said.
MIN_CENTRE_ERROR = 0.01


def compare_model(
    model: OnePhonon,
    data: DiffuseMap,
    settings: Settings | None = None,
    *,
    average: int | None = None,
    leave_out: float = 0.0,
    use_data_adp: bool | None = None,
    multiplicity: NDArray[Any] | None = None,
    nulls: Sequence[NullModel] = (),
    progress: ProgressLike | None = None,
    **run: Any,
) -> Agreement:
    """Compute a model at the voxels of the data, and compare.

    Parameters
    ----------
    model : OnePhonon
        Its q-vectors are not used.
    data : DiffuseMap
    settings : Settings, optional
    average : int, optional
        Average the model over each voxel, to this order; 0 evaluates it at the voxel centres. By
        default 2 for voxels of half an index or more, else 0; see `choose_quadrature`.
    leave_out : float
        Fraction of the distance from a Bragg point to the faces of its voxel that is excluded
        from the average; see `Quadrature`.
    use_data_adp : bool, optional
        Compute Debye-Waller factors from the B or U of the file, as is always done with
        components of disorder beyond the lattice.
    multiplicity : ndarray, shape of the data, optional
    nulls : sequence of NullModel
        Null models to compare at the same voxels, such as `null_models()`.
    progress : Progress or callable, optional
    **run
        Passed on to `OnePhonon.apply_disorder`.

    Returns
    -------
    Agreement
        Its `model` is the simulated map, in the data's indices.

    Raises
    ------
    InputError
        As in `compare_maps`; or if a list, which has no voxels, is to be averaged.
    """
    settings = settings or Settings()
    crystal = model.crystal
    data = with_cell(data, crystal.cell.parameters)
    quadrature = choose_quadrature(data.grid, average, leave_out)
    candidates = candidates_for(settings, crystal.spacegroup, crystal.cell.parameters, data.cell)
    target = Target.of(data, settings, multiplicity)
    memory = target.n * len(candidates) * VOXEL_BYTES + NODES_BYTES + PROGRAM_BYTES
    Progress.of(progress).message(
        f"model at {target.n} voxels in {len(candidates)} "
        f"indexing{'s' if len(candidates) > 1 else ''}, about {in_bytes(memory)} of memory"
    )
    found = simulate_at(
        model,
        target.hkl(),
        candidates,
        quadrature,
        use_data_adp=use_data_adp,
        progress=progress,
        **run,
    )
    laue = laue_operators(crystal.spacegroup, crystal.cell.parameters)
    notes = comparison_notes(settings, crystal.spacegroup, crystal.cell.parameters, data)
    how = "evaluated at the voxel centres" if quadrature is None else str(quadrature)
    if quadrature is None and data.grid is not None and not data.calculated_at_points:
        operator = candidates[0].operator
        notes += centre_notes(model, target.hkl(), data.grid.step, operator)
    agreement = compare_values(
        target, lambda r: found[r.name], candidates, settings, laue, how, notes
    )
    if not nulls:
        return agreement
    operators = [c.operator @ L for c in candidates for L in laue]
    baselines = compare_baselines(
        nulls, model, agreement, target, settings, operators, quadrature, progress
    )
    return replace(agreement, baselines=baselines)


def centre_notes(
    model: OnePhonon, hkl: Float64, step: Sequence[float], operator: Float64
) -> tuple[str, ...]:
    """A note on how far values at the centres are from averages over voxels, if that matters.

    Parameters
    ----------
    model : OnePhonon
    hkl : ndarray, shape (N, 3)
        Centres of voxels, in the data's indices.
    step : three float
        Extent of a voxel.
    operator : ndarray, shape (3, 3)
        ``hkl @ operator`` are the model's indices.
    """
    hkl = hkl[~holds_bragg(hkl, step)]
    if not len(hkl):
        return ()
    rng = np.random.default_rng(0)
    far = np.linalg.norm((hkl - np.rint(hkl)) / np.asarray(step), axis=1)
    beside = hkl[far < BESIDE]
    found = []
    for some in (hkl, beside):
        chosen = some[rng.choice(len(some), min(N_CHECKED, len(some)), replace=False)]
        if not len(chosen):
            found.append(0.0)
            continue
        with torch.no_grad():
            run: dict[str, Any] = {"use_data_adp": True}
            centre = _at_points(model, chosen @ operator, run)
            mean = voxel_average(model, chosen, step, 3, matrix=operator.T, use_data_adp=True)
        known = torch.isfinite(centre) & torch.isfinite(mean)
        off = (centre - mean)[known].square().sum() / mean[known].square().sum().clamp(min=1e-300)
        found.append(float(off.sqrt()))
    if max(found) < MIN_CENTRE_ERROR:
        return ()
    return (
        f"values at the centres differ from averages over the voxels by {100 * found[0]:.1f} % "
        f"(rms), next to Bragg points by {100 * found[1]:.1f} %: data are averages, so set average "
        "to 2 or more",
    )


def simulate_at(
    model: OnePhonon,
    hkl: Float64,
    reindexings: Sequence[Reindexing],
    quadrature: Quadrature | None = None,
    *,
    use_data_adp: bool | None = None,
    progress: ProgressLike | None = None,
    **run: Any,
) -> dict[str, Float64]:
    """Intensity of a model at (or averaged over) voxels, under each indexing.

    Parameters
    ----------
    model : OnePhonon
    hkl : ndarray, shape (N, 3)
        Centres of voxels, in the data's indices.
    reindexings : sequence of Reindexing
        From the data's indices to the model's.
    quadrature : Quadrature, optional
        Average over voxels, along the axes of the data; by default the model is evaluated at the
        voxel centres.
    use_data_adp : bool, optional
    progress, **run
        See `voxel_average`.

    Returns
    -------
    dict
        By name of the reindexing: intensities, shape (N,); NaN at Bragg points and beyond the
        model's resolution limit.
    """
    cell, orders = model.crystal.cell, run.get("orders")
    q = cell.q_from_hkl(torch.from_numpy(np.ascontiguousarray(hkl)).to(cell.matrix)).detach()
    q_max = float(torch.linalg.vector_norm(q, dim=1).max()) if len(q) else 0.0
    laue = symmetry_of(model, use_data_adp, orders, q_max)
    step = None if quadrature is None else quadrature.step
    run |= {"use_data_adp": use_data_adp, "progress": progress}
    found: dict[str, Float64] = {}
    with torch.no_grad():
        for orientation in find_orientations(reindexings, laue, step):
            shifted = np.concatenate([hkl @ move for _, move in orientation.reindexings_served])
            unique, back = unique_voxels(shifted, equivalent_operators(orientation, laue, step))
            if quadrature is None:
                values = _at_points(model, unique @ orientation.rotation, run)
            else:
                values = voxel_average(
                    model,
                    unique,
                    quadrature.step,
                    quadrature.order,
                    leave_out=quadrature.leave_out,
                    matrix=orientation.rotation.T,
                    **run,
                )
            every = values.to("cpu", torch.float64).numpy()[back]
            parts = every.reshape(len(orientation.reindexings_served), len(hkl))
            found |= {
                r.name: part
                for (r, _), part in zip(orientation.reindexings_served, parts, strict=True)
            }
    return found


def symmetry_of(
    model: OnePhonon,
    use_data_adp: bool | None = None,
    orders: int | str | None = None,
    q_max: float = 0.0,
) -> Float64:
    """Operators on rows of hkl that leave a model's intensity unchanged, shape (n, 3, 3).

    Those of the crystal's Laue group if springs and displacements have its symmetry, otherwise
    the identity and the inversion (Friedel's law).

    Parameters
    ----------
    model : OnePhonon
    use_data_adp : bool, optional
    orders : int or 'all', optional
        Instead of the model's.
    q_max : float
        Largest |q|, 1/Å, for orders beyond the first; by default these are not tested.
    """
    with torch.no_grad():
        symmetric = is_symmetric(model.bound, use_data_adp, orders, q_max)
    return (model.crystal.laue_operators if symmetric else FRIEDEL).astype(np.float64)


def _at_points(model: OnePhonon, hkl: Float64, run: dict[str, Any]) -> torch.Tensor:
    """The model at Miller indices, NaN at Bragg points."""
    points = points_at(model, torch.from_numpy(np.ascontiguousarray(hkl)))
    return model.bound.at(points).intensity(**run)
