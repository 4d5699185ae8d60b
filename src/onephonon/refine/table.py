"""Springs as a table: constants in kT/Å^2 with their uncertainties, by interface."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.network.interfaces import find_interfaces, residue_pairs

from .model_series import LevelFit
from .parametrization import MatrixSprings, Parametrization
from .result import Fit

Float64 = NDArray[np.float64]

#: Maximum number of residue pairs named in a row.
MAX_RESIDUES = 3

#: Number of draws for the intervals of principal stiffnesses.
N_DRAWS = 400

#: Percentiles of a 68 % interval and its median. Where many springs are poorly determined, draws
#: from the Gauss-Newton quadratic are biased, since it neglects the curvature of sums that the data
#: do determine: intervals are shifted so that the median is the best value.
PERCENTILES = (16.0, 50.0, 84.0)

#: A logarithm with a smaller squared gradient does not depend on the free parameters: rounding of
#: the gradient of the mean B-factor.
MIN_SQUARED_SLOPE = 1e-12


@dataclass(frozen=True)
class SpringRow:
    """A spring constant of a fit.

    Parameters
    ----------
    name : str
        Interface or pair of residues, and direction.
    interface : str
        Symmetry operator, ``within`` for contacts within an asymmetric unit, or ``all``.
    direction : str
        ``along`` or ``across`` contacts, or ``all``; for a 6 x 6 stiffness the principal axes
        ``translation 1`` to 3 and ``libration 1`` to 3, the softest first.
    value : float
        kT/Å^2; for librations kT/rad^2, about the centre of the interface.
    low, high : float
        68 % interval.
    ratio : float
        Ratio to the starting spring, for the same motion.
    sigma_log : float
        Standard uncertainty of the logarithm.
    sigma_log_at_b : float
        The same if the mean B-factor of the file is exact; equal to `sigma_log` unless a scale
        was fitted.
    by_data : float
        Fraction of the information on the logarithm that is not from the prior, in [0, 1]: from
        the data or, if a scale was fitted, from the data and the mean B-factor of the file
        together. No more springs are near 1 than the data determine directions, and one more
        for the mean B.
    n_contacts : int
        Per unit cell.
    residues : tuple of str
        The pairs of residues with the most contacts.
    """

    name: str
    interface: str
    direction: str
    value: float
    low: float
    high: float
    ratio: float
    sigma_log: float
    sigma_log_at_b: float
    by_data: float
    n_contacts: int
    residues: tuple[str, ...]


def spring_table(fit: Fit, level: LevelFit | None = None) -> tuple[SpringRow, ...]:
    """Spring constants of a level in kT/Å^2, with 68 % intervals.

    Uncertainties of logarithms are from the Gauss-Newton covariance. If a scale was fitted, the
    file's mean B-factor sets the unit of the springs: a common factor of all cancels, and
    uncertainties include that of the mean B (`FitSettings.b_uncertainty`), through the unit and
    through orders beyond the first. Intervals of
    principal stiffnesses are from draws.

    Parameters
    ----------
    fit : Fit
    level : LevelFit, optional
        By default the chosen level.
    """
    level = level or fit.best
    x = level.x.detach()
    logs, slopes = log_slopes(fit, level, x)
    sigma = (slopes @ root(fit, level)).square().sum(1).sqrt()
    log = _numpy(logs)
    low, high = log - _numpy(sigma), log + _numpy(sigma)
    spread = _numpy(sigma)
    if isinstance(level.parametrization, MatrixSprings):
        low, high = _drawn_interval(fit, level)
        spread = 0.5 * (high - low)
    at_b, of_b = spread, _of_mean_b(fit, level, slopes)
    low, high = log - np.hypot(log - low, of_b), log + np.hypot(high - log, of_b)
    spread = np.hypot(spread, of_b)
    # Intervals of undetermined springs are 0 to infinity.
    with np.errstate(over="ignore"):
        value, low, high = np.exp(log), np.exp(low), np.exp(high)
    by_data = _share(fit, level, slopes, sigma)
    ratio = _ratios(fit, level)
    rows = []
    for i, (group, interface, direction) in enumerate(row_names(level.parametrization)):
        n_contacts, residues = _contacts_of(level, group)
        rows.append(
            SpringRow(
                name=row_title(group, direction),
                interface=interface,
                direction=direction,
                value=float(value[i]),
                low=float(low[i]),
                high=float(high[i]),
                ratio=float(ratio[i]),
                sigma_log=float(spread[i]),
                sigma_log_at_b=float(at_b[i]),
                by_data=float(by_data[i]),
                n_contacts=n_contacts,
                residues=residues,
            )
        )
    return tuple(rows)


def _of_mean_b(fit: Fit, level: LevelFit, slopes: Tensor) -> Float64:
    """Uncertainty of the logarithms from that of the file's mean B-factor.

    It sets the unit of the springs, and with orders beyond the first also moves the free
    parameters.
    """
    by_b = slopes.new_full((len(slopes),), -1.0)
    if level.b_shift is not None:
        by_b = by_b + slopes @ level.b_shift
    return fit.unit_sigma * _numpy(by_b.abs())


def row_names(parametrization: Parametrization) -> list[tuple[str, str, str]]:
    """Group of contacts, interface and direction of each row of the table."""
    if isinstance(parametrization, MatrixSprings):
        directions = [f"{kind} {n}" for kind in ("translation", "libration") for n in (1, 2, 3)]
        return [
            (name, name, direction)
            for name in parametrization.module.names
            for direction in directions
        ]
    directions = ["all"] if parametrization.n_constants == 1 else ["along", "across"]
    return [
        (name, _interface(name), direction)
        for name in parametrization.module.names
        for direction in directions
    ]


def row_title(group: str, direction: str) -> str:
    """Name of a row."""
    return group if direction == "all" else f"{group} {direction}"


def log_values(fit: Fit, level: LevelFit, x: Tensor) -> Tensor:
    """Logarithms of the table's values, kT/Å^2 or kT/rad^2; differentiable in x."""
    parametrization = level.parametrization
    if isinstance(parametrization, MatrixSprings):
        logs = principal(parametrization.stiffness(x)).log().reshape(-1)
    else:
        logs = parametrization.values(x).log()
    return logs + fit.unit(level, x).log()


def principal(S: Tensor) -> Tensor:
    """Principal stiffnesses of translation and libration, the softest first, shape (n, 6)."""
    blocks = (S[:, :3, :3], S[:, 3:, 3:])
    return torch.cat([torch.linalg.eigvalsh(block) for block in blocks], dim=1)


def log_slopes(fit: Fit, level: LevelFit, x: Tensor) -> tuple[Tensor, Tensor]:
    """`log_values` and their derivative, (n_rows,) and (n_rows, n)."""
    parametrization = level.parametrization
    if isinstance(parametrization, MatrixSprings):
        leaf = x.detach().clone().requires_grad_()
        logs = principal(parametrization.stiffness(leaf)).log().reshape(-1)
        every = [torch.autograd.grad(log, leaf, retain_graph=True)[0] for log in logs]
        logs, slopes = logs.detach(), torch.stack(every)
    else:
        logs = parametrization.values(x.detach()).log()
        slopes = torch.eye(parametrization.n).to(x)
    unit, slope = _log_unit(fit, level, x)
    return logs + unit, slopes + slope


def log_slope(fit: Fit, level: LevelFit, row: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """One of `log_values` and its derivative, () and (n,)."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        log = log_values(fit, level, leaf)[row]
        (slope,) = torch.autograd.grad(log, leaf)
    return log.detach(), slope


def _log_unit(fit: Fit, level: LevelFit, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of the springs' unit, and its slope."""
    if fit.absolute:
        return x.new_zeros(()), torch.zeros_like(x)
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        unit = fit.unit(level, leaf).log()
        (slope,) = torch.autograd.grad(unit, leaf)
    return unit.detach(), slope


def root(fit: Fit, level: LevelFit) -> Tensor:
    """A root R of the covariance ``R R^T``, without the common factor of all springs.

    If a scale is fitted the data do not determine a common factor of all springs, and the unit
    compensates it: removing it changes no spring constant.
    """
    total, vectors = level.uncertainty.precision()
    return without_common(fit, level, (vectors / total.sqrt()).T).T


def without_common(fit: Fit, level: LevelFit, moves: Tensor) -> Tensor:
    """Changes of the free parameters, (m, n), without the common factor of all springs."""
    if fit.absolute:
        return moves
    common = level.parametrization.common.to(moves)
    # The unit compensates any common factor, so it can be removed.
    return moves - (moves @ common)[:, None] * common


def draw_parameters(fit: Fit, level: LevelFit, n: int, seed: int = 0) -> Tensor:
    """Draws of the free parameters from the posterior distribution, shape (n, len(x))."""
    x = level.x.detach()
    return x + without_common(fit, level, level.uncertainty.draw(x, n, seed) - x)


def moved_with_unit(level: LevelFit, x: Tensor, factor: float) -> Tensor:
    """Drawn free parameters, moved with the mean B-factor whose unit is wrong by a factor."""
    return x if level.b_shift is None else x - math.log(factor) * level.b_shift


def draw_units(fit: Fit, n: int, seed: int = 0) -> Float64:
    """Draws of the factor by which the unit of the springs may be wrong, shape (n,)."""
    return np.exp(fit.unit_sigma * np.random.default_rng(seed).normal(size=n))


def _drawn_interval(fit: Fit, level: LevelFit) -> tuple[Float64, Float64]:
    """68 % intervals of the logarithms."""
    with torch.no_grad():
        every = [_numpy(log_values(fit, level, x)) for x in draw_parameters(fit, level, N_DRAWS)]
    low, middle, high = np.nanpercentile(np.stack(every), PERCENTILES, axis=0)
    best = _numpy(log_values(fit, level, level.x.detach()))
    return best + low - middle, best + high - middle


def _share(fit: Fit, level: LevelFit, slopes: Tensor, sigma: Tensor) -> Float64:
    """Fraction of the information on each logarithm that is not from the prior.

    Where it does not depend on the free parameters, the mean B-factor determines all of it.
    """
    size = slopes.square().sum(1)
    free = size > MIN_SQUARED_SLOPE
    share = 1 - level.uncertainty.prior * sigma.square() / torch.where(free, size, 1.0)
    return _numpy(torch.where(free, share.clamp(0.0, 1.0), 0.0 if fit.absolute else 1.0))


def _ratios(fit: Fit, level: LevelFit) -> Float64:
    """Ratios of the values to those of the starting springs."""
    parametrization, x = level.parametrization, level.x.detach()
    with torch.no_grad():
        unit = fit.unit(level, x) / fit.unit(level, torch.zeros_like(x))
        if not isinstance(parametrization, MatrixSprings):
            return _numpy(unit * torch.exp(x))
        ratios = []
        S, start = parametrization.stiffness(x), parametrization.root @ parametrization.root.mT
        for part in (slice(0, 3), slice(3, 6)):
            values, Q = torch.linalg.eigh(S[:, part, part])
            same = (Q.mT @ start[:, part, part] @ Q).diagonal(dim1=1, dim2=2)
            ratios.append(values / same)
        return _numpy(unit * torch.cat(ratios, dim=1).reshape(-1))


def _interface(name: str) -> str:
    """Interface of a class of contacts."""
    if name == "global":
        return "all"
    return name.rsplit("(", 1)[1].rstrip(")") if name.endswith(")") else name


def _contacts_of(level: LevelFit, group: str) -> tuple[int, tuple[str, ...]]:
    """Number of contacts of a group, and the residue pairs with most contacts."""
    parametrization = level.parametrization
    found = find_interfaces(parametrization.bodies, parametrization.contacts)
    if isinstance(parametrization, MatrixSprings):
        here = found.index == found.names.index(group)
    else:
        here = parametrization.module.contact_class == parametrization.module.names.index(group)
    pairs = residue_pairs(parametrization.bodies, parametrization.contacts, found)
    which = here.nonzero().squeeze(1).tolist()
    count = Counter(f"{pairs[c][0]} - {pairs[c][1]}" for c in which)
    commonest = sorted(count, key=lambda pair: (-count[pair], pair))[:MAX_RESIDUES]
    return len(which), tuple(commonest)


def _numpy(x: Tensor) -> Float64:
    return np.asarray(x.detach().cpu().double().numpy())
