"""Comparison of data with a calculated map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.reindexing import Reindexing, find_reindexings, misfit_of, parse_reindexing
from onephonon.crystal.symmetry import laue_operators, spacegroup_name
from onephonon.maps.diffuse import DiffuseMap

from .agreement import Agreement, scales_of, shell_statistics, statistics
from .matching import at_data_voxels, values_of
from .settings import WEIGHTINGS, Settings
from .target import Target
from .trials import Values, choose, run_trials

Float64 = NDArray[np.float64]

#: Tolerance of cells of the same crystal form (relative, in 1/d of any hkl).
CELL_TOLERANCE = 0.03

#: Cells that differ by less are the same but for decimals.
SAME_CELL = 2e-4


def compare_maps(
    model: DiffuseMap,
    data: DiffuseMap,
    settings: Settings | None = None,
    *,
    multiplicity: NDArray[Any] | None = None,
) -> Agreement:
    """Compare a calculated map with data.

    Parameters
    ----------
    model : DiffuseMap
        On a grid that contains the points of the data; a finer one is averaged over the voxels
        of the data. Missing values are taken from equivalent voxels. Or a list of the same
        q-vectors as the data.
    data : DiffuseMap
        Its sigma, counts and half-sets are used if present.
    settings : Settings, optional
    multiplicity : ndarray, shape of the data, optional
        Weight of each voxel, such as that of `symmetrize`.

    Returns
    -------
    Agreement

    Raises
    ------
    InputError
        If the two have no voxel in common, the cells differ, or the weights are not available.
    """
    settings = settings or Settings()
    data = with_cell(data, model.cell)
    symmetry = model.spacegroup or data.spacegroup
    cell = model.cell or data.cell
    both = model.grid is not None and symmetry != ""
    candidates = candidates_for(settings, symmetry if both else "", cell, data.cell)
    laue = laue_operators(symmetry, cell) if both else np.eye(3, dtype=np.int64)[None]
    taken, quadrature = at_data_voxels(model, data)
    target = Target.of(data, settings, multiplicity)

    def values(reindexing: Reindexing) -> Float64:
        return values_of(taken, target, reindexing, laue)

    notes = comparison_notes(settings, symmetry, cell, data)
    return compare_values(target, values, candidates, settings, laue, quadrature, notes, model)


def compare_values(
    target: Target,
    values: Values,
    candidates: Sequence[Reindexing],
    settings: Settings,
    laue: NDArray[Any],
    quadrature: str,
    notes: Sequence[str],
    source: DiffuseMap | None = None,
) -> Agreement:
    """Try the indexings, choose one, and compute its statistics."""
    operators = [c.operator @ L for c in candidates for L in laue]
    trials = run_trials(target, values, candidates, settings, operators)
    chosen, decision = choose(trials, settings)
    model = values(chosen.reindexing)
    pairs = target.pair(model, settings.isotropic)
    scales = scales_of(pairs)
    lacking = target.n - pairs.n
    missing = [f"the model has no value at {lacking} of {target.n} voxels"] if lacking else []
    step = f"model at the data's voxels, indexed {chosen.reindexing.name}: {quadrature}"
    return Agreement(
        overall=statistics(pairs, target.limits, scales),
        shells=tuple(shell_statistics(pairs, target.limits, settings.n_shells, scales)),
        scale=scales[0],
        scale_anisotropic=scales[1],
        reindexing=chosen.reindexing,
        trials=trials,
        decision=decision,
        isotropic=settings.isotropic,
        weighting=WEIGHTINGS[settings.weighting],
        quadrature=quadrature,
        notes=(*notes, *missing),
        pairs=pairs,
        model=target.data.changed(
            step,
            {"intensity": target.to_map_shape(model)},
            units="e^2 per cell" if source is None else source.units,
        ),
        data=target.data,
    )


def candidates_for(
    settings: Settings,
    symmetry: str,
    cell: Sequence[float] | None,
    data_cell: Sequence[float] | None,
) -> tuple[Reindexing, ...]:
    """The indexings to try, that of the data first."""
    own = Reindexing(np.eye(3))
    requested = settings.reindex
    if cell is None or data_cell is None:
        raise InputError("neither model nor data has a cell; give the data one when reading them")
    if requested not in ("auto", "best", "none"):
        from_operator = parse_reindexing(requested, data_cell, cell)
        others = find_reindexings(cell, symmetry) if symmetry else (own,)
        if misfit_of(np.eye(3), data_cell, cell) > CELL_TOLERANCE:
            return (from_operator,)  # the data are indexed in another setting of the cell
        return (*(o for o in others if o.name != from_operator.name), from_operator)
    check_same_cell(cell, data_cell)
    return find_reindexings(cell, symmetry) if symmetry and requested != "none" else (own,)


def check_same_cell(cell: Sequence[float], data_cell: Sequence[float]) -> None:
    """Check that model and data have the same cell, so that the same hkl mean the same.

    Raises
    ------
    InputError
        If 1/d of some hkl differs by more than `CELL_TOLERANCE`.
    """
    misfit = misfit_of(np.eye(3), data_cell, cell)
    if misfit > CELL_TOLERANCE:
        raise InputError(
            f"the data's cell {_shown(data_cell)} is not the model's {_shown(cell)}: 1/d of some "
            f"hkl differs by {100 * misfit:.2g} %; if the axes are named differently, "
            "give the operator (reindex='l,h,k'); otherwise give the right structure"
        )


def comparison_notes(
    settings: Settings, symmetry: str, cell: Sequence[float] | None, data: DiffuseMap
) -> list[str]:
    """Remarks needed to interpret the numbers."""
    notes = [f"resolution from the data's cell {_shown(data.cell or ())}"]
    notes += crystal_differences(symmetry, cell, data)
    if not symmetry and settings.reindex != "none":
        notes.append("no other indexing was tried, because the space group is unknown")
    return notes


def crystal_differences(symmetry: str, cell: Sequence[float] | None, data: DiffuseMap) -> list[str]:
    """What the data's file says otherwise of cell and space group than the model."""
    notes = []
    if cell is not None and data.cell is not None:
        misfit = misfit_of(np.eye(3), data.cell, cell)
        if SAME_CELL < misfit <= CELL_TOLERANCE:  # beyond, an operator was asked for
            notes.append(
                f"the model's cell {_shown(cell)} is not that of the data, {_shown(data.cell)}: "
                f"1/d differs by up to {100 * misfit:.2g} %; the model is evaluated at the same hkl"
            )
    named = spacegroup_name(symmetry, cell), spacegroup_name(data.spacegroup, data.cell)
    if all(named) and named[0] != named[1]:
        notes.append(
            f"the data are of space group {data.spacegroup!r}, the model of {symmetry!r}, which "
            "is used"
        )
    return notes


def with_cell(data: DiffuseMap, cell: Sequence[float] | None) -> DiffuseMap:
    """The data with their own cell, or that of the model if they have none."""
    if data.cell is not None or cell is None:
        return data
    return data.changed("cell of the model", cell=tuple(cell))


def _shown(cell: Sequence[float]) -> str:
    return "(" + ", ".join(f"{x:.5g}" for x in cell) + ")"
