"""Orders of the averages over voxels in a fit, from their estimated errors.

An error e of the calculated intensities moves the fitted springs by ``F^-1 J^T W e``, which along
any direction is at most ``|e / sigma|`` standard errors (the sum of squares over all voxels). Each
group of voxels at a distance from the Bragg points gets the order with which the whole sum stays
below a limit, at the least number of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onephonon.model.averaging import ORDERS, AveragingErrors, averaging_errors
from onephonon.model.one_phonon import OnePhonon

from .voxels import FitVoxels

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Largest shift of any combination of springs by errors of the averages, in standard errors. It is
#: a bound: errors of both signs cancel, and in tests springs move by a third of it at most.
MAX_SHIFT = 1.0

#: Maximum mean number of nodes of a voxel, unless so few nodes in all that they cost little:
#: the cost of a fit grows in proportion.
MAX_NODES_PER_VOXEL, CHEAP_NODES = 32, 1_000_000


@dataclass(frozen=True)
class Averaging:
    """Errors of the averages over the voxels of a fit.

    Parameters
    ----------
    shift : float
        Bound of the shift of any combination of springs, in standard errors.
    rms : float
        Root mean square of the errors in sigma.
    worst : float
        The same in the group of voxels where it is largest.
    """

    shift: float
    rms: float
    worst: float


def estimate_errors(model: OnePhonon, voxels: FitVoxels) -> AveragingErrors:
    """Errors of voxel averages by a model, at a sample of the voxels of a fit."""
    centre = voxels.hkl @ np.linalg.inv(voxels.rotation)
    rule = voxels.averaging
    return averaging_errors(
        model, centre, rule.step, leave_out=rule.leave_out, rotation=voxels.rotation
    )


def choose_orders(voxels: FitVoxels, errors: AveragingErrors) -> tuple[FitVoxels, Averaging]:
    """Choose the order of every voxel's average by the estimated errors.

    Parameters
    ----------
    voxels : FitVoxels
        Data and sigma are used.
    errors : AveragingErrors
        Of the starting model, which is scaled to the data: the springs are not known yet.
    """
    squares = errors.mean_square(_weight(voxels, errors))
    squares = errors.n_voxels[:, None] * squares
    nodes = _nodes_by_group(voxels, errors)
    max_nodes = max(MAX_NODES_PER_VOXEL * voxels.n, CHEAP_NODES)
    choice = _cheapest(squares, nodes, max_nodes)
    order = np.asarray(ORDERS)[choice][errors.group]
    return replace(voxels, order=order), _summary(squares, choice, errors.n_voxels)


def judge_orders(voxels: FitVoxels, errors: AveragingErrors) -> Averaging:
    """Errors of the averages whose orders are given.

    Orders above those that are estimated have errors of zero; orders between have those of the
    next lower one.
    """
    squares = errors.n_voxels[:, None] * errors.mean_square(_weight(voxels, errors))
    choice = np.zeros(errors.n_groups, dtype=np.int64)
    for i in np.unique(errors.group).tolist():
        given = int(voxels.order[errors.group == i].min())
        known = np.flatnonzero((np.asarray(ORDERS) <= given) & ~np.isnan(squares[i]))
        choice[i] = known[-1]
        if given > ORDERS[-1]:
            squares[i, known[-1]] = 0.0
    return _summary(squares, choice, errors.n_voxels)


def orders_text(voxels: FitVoxels) -> str:
    """How many voxels are averaged with which order."""
    orders, count = np.unique(voxels.order, return_counts=True)
    parts = [
        f"{n} {'at the centre' if order == 1 else f'with order {order}'}"
        for order, n in zip(orders.tolist(), count.tolist(), strict=True)
    ]
    return ", ".join(parts)


def _weight(voxels: FitVoxels, errors: AveragingErrors) -> Float64:
    """Scale over sigma at the sampled voxels."""
    sigma, data = voxels.sigma[errors.sample], voxels.data[errors.sample]
    return np.asarray(_scale(errors.average, data, sigma) / sigma)


def _scale(model: Float64, data: Float64, sigma: Float64) -> float:
    """Scale of the model and a constant to the data."""
    w = sigma**-2.0
    x, y = (values - (w @ values) / w.sum() for values in (model, data))
    scale = float(w * x @ y) / float(w * x @ x)
    # A model that has nothing in common with the data: a background alone is no less.
    return scale if scale > 0 else abs(float(w @ data)) / float(w @ model)


def _nodes_by_group(voxels: FitVoxels, errors: AveragingErrors) -> Float64:
    """Mean number of nodes of a voxel, by group and order."""
    nodes = np.tile(np.asarray(ORDERS, dtype=np.float64) ** 3, (errors.n_groups, 1))
    held = errors.sample[errors.group[errors.sample] == 0]
    centre = voxels.hkl[held] @ np.linalg.inv(voxels.rotation)
    for i, order in enumerate(ORDERS):
        if len(held):
            count = voxels.averaging.n_nodes(centre, np.full(len(held), order))
            nodes[0, i] = float(count.mean())
    return nodes * errors.n_voxels[:, None]


def _cheapest(squares: Float64, nodes: Float64, max_nodes: float) -> Index:
    """Index of the order of each group, for the least nodes within `MAX_SHIFT`.

    The group whose next order lowers the sum of squares most for each node comes first.
    """
    choice = np.array([int(np.flatnonzero(np.isfinite(row))[0]) for row in squares])
    rows = np.arange(len(squares))
    while squares[rows, choice].sum() > MAX_SHIFT**2:
        best, gain = -1, 0.0
        for i in rows.tolist():
            now, after = choice[i], choice[i] + 1
            if after == len(ORDERS) or not np.isfinite(squares[i, after]):
                continue
            more = nodes[i, after] - nodes[i, now]
            own = (squares[i, now] - squares[i, after]) / more if more > 0 else 0.0
            if own > gain and nodes[rows, choice].sum() + more <= max_nodes:
                best, gain = i, own
        if best < 0:
            break
        choice[best] += 1
    return choice


def _summary(squares: Float64, choice: Index, n_voxels: Index) -> Averaging:
    own = squares[np.arange(len(choice)), choice]
    each = own[n_voxels > 0] / n_voxels[n_voxels > 0]
    return Averaging(
        shift=float(np.sqrt(own.sum())),
        rms=float(np.sqrt(own.sum() / n_voxels.sum())),
        worst=float(np.sqrt(each.max())),
    )
