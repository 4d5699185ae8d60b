"""Comparison of the model with an explicit supercell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import Crystal, mean_square
from onephonon.network.bodies import Bodies, GroupBy, gather_bodies
from onephonon.network.force_constants import SpringValue
from onephonon.scattering.intensity import mode_intensity
from onephonon.scattering.multiphonon.settings import check_orders

from .one_phonon import OnePhonon
from .supercell import MAX_ORDER, Array, Index, SpringRule, Supercell, build_supercell
from .supercell_orders import intensity_of_orders

#: Sizes tried by default. Three cells along an axis, not two: at k = 1/2 K(k) is real,
#: and a missing complex conjugate would not be detected.
SIZES = ((3, 3, 3), (3, 3, 2), (3, 2, 2), (3, 2, 1), (3, 1, 1), (2, 1, 1))

#: Largest order of the supercell's stiffness matrix that is inverted in seconds.
MAX_DEFAULT_ORDER = 2500

#: Pairs of atoms that the double sum of higher orders visits in some seconds.
MAX_PAIRS = 2e8

#: Fewest points of the double sum.
MIN_PAIR_POINTS = 3

#: Accuracy of the model's series of orders, relative to the intensity and its rms. Checks are
#: relative to the intensity alone: a hundredth of their tolerance, and the least that can be asked.
ORDERS_RTOL = 1e-12

#: Both sides are float64 sums over about 1e5 terms and inverses of condition 1e4 or so, and
#: agree to about 1e-12. A wrong sign, index or factor makes a difference of 1e-3 or more.
TOLERANCE = 1e-10

#: Differences are relative to the value, or to this fraction of the largest one if that is larger:
#: intensities that vanish by symmetry are only rounding errors.
FLOOR = 1e-6


@dataclass(frozen=True)
class Check:
    """One comparison: its largest relative difference, and how many numbers it covers."""

    name: str
    difference: float
    count: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance; false for NaN."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Verification:
    """Result of `verify`."""

    checks: tuple[Check, ...]
    size: tuple[int, int, int]
    n_atoms: int
    n_dof: int

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def verify(
    crystal: Crystal,
    *,
    size: tuple[int, int, int] | None = None,
    group_by: GroupBy = "asu",
    model: str = "gnm",
    gnm_cutoff: float = 4.0,
    gamma_intra: float = 1.0,
    gamma_inter: float = 1.0,
    k_par: SpringValue | None = None,
    k_perp: SpringValue | None = None,
    hkl_range: tuple[int, int] = (-2, 2),
    n_points: int = 60,
    tolerance: float = TOLERANCE,
    orders: int | str = 1,
) -> Verification:
    """Compare grid and arbitrary-q mode with an explicit supercell.

    The supercell is summed atom by atom, and its full stiffness matrix is pseudo-inverted.
    Intensities are compared at up to `n_points` points of the grid that the size of the supercell
    defines; grid mode is compared with arbitrary q and with the sum over modes at all points, and
    the displacements of all atoms are compared. With `orders`, their sum is compared as well, with
    the double sum over all pairs of atoms.

    Parameters
    ----------
    crystal : Crystal
    size : three int, optional
        Cells along each axis; by default the largest of a few small boxes that takes seconds.
    group_by, model, gnm_cutoff, gamma_intra, gamma_inter, k_par, k_perp
        As for `OnePhonon`, but numbers only.
    hkl_range : (int, int)
        Lowest and highest Miller index on each axis.
    n_points : int
        Number of points computed from the supercell, evenly spread over the grid.
    tolerance : float
        Largest accepted relative difference.
    orders : int or 'all'
        Above 1 the sum of so many orders, or of all, is compared too: at up to `n_points` points,
        but no more than take some seconds, at least three.

    Returns
    -------
    Verification

    Raises
    ------
    OnePhononError
        Errors of the model and of the supercell.
    """
    if n_points < 1:
        raise InputError(f"n_points {n_points}: give 1 or more")
    n_orders = check_orders(orders)
    if size is not None and max(size) < 2:
        raise InputError(f"a supercell of {size} has only Bragg points; give 2 cells along an axis")
    crystal = crystal.to("cpu", torch.float64)
    bodies = gather_bodies(crystal, group_by)
    size = size or _default_size(bodies, math.inf if n_orders == 1 else MAX_PAIRS)
    settings: dict[str, Any] = {
        "hsampling": (*hkl_range, size[0]),
        "ksampling": (*hkl_range, size[1]),
        "lsampling": (*hkl_range, size[2]),
        "zone_average": "supercell",
        "group_by": group_by,
        "model": model,
        "gnm_cutoff": gnm_cutoff,
        "gamma_intra": gamma_intra,
        "gamma_inter": gamma_inter,
        "k_par": k_par,
        "k_perp": k_perp,
    }
    with torch.no_grad(), warnings.catch_warnings():
        # The supercell breaks the symmetry in the same way.
        warnings.filterwarnings("ignore", "mesh .* is less symmetric")
        grid = OnePhonon(crystal, **settings)
        listed = OnePhonon(crystal, q_vectors=grid.q_grid, **settings)
        box = build_supercell(
            crystal,
            bodies.body[: crystal.n_atoms].tolist(),
            gnm_cutoff,
            spring_rule(model, gamma_intra, gamma_inter, k_par, k_perp),
            size,
        )
        checks = _checks(grid, listed, box, n_points, tolerance)
        if n_orders != 1:
            some = _spread(grid, min(n_points, _affordable_points(bodies, size)))
            settings |= {"engine": "direct", "rtol": ORDERS_RTOL}
            grid = OnePhonon(crystal, **settings)
            listed = OnePhonon(crystal, q_vectors=grid.q_grid[some], **settings)
            checks += _order_checks(grid, listed, box, some, tolerance, n_orders)
    return Verification(tuple(checks), size, crystal.n_atoms, bodies.n_dof)


def spring_rule(
    model: str,
    gamma_intra: float,
    gamma_inter: float,
    k_par: SpringValue | None = None,
    k_perp: SpringValue | None = None,
) -> SpringRule:
    """Spring constants of the supercell's contacts, by whether they stay within a copy."""
    gamma = (float(gamma_intra), float(gamma_inter))
    par, perp = {
        "gnm": (gamma, gamma),
        "anm": (gamma, (0.0, 0.0)),
        "hybrid": (_intra_inter(k_par), _intra_inter(k_perp)),
    }[model]

    def rule(i: Index, j: Index, cell: Index, same_copy: Array) -> tuple[Array, Array]:  # noqa: ARG001
        return (
            np.where(same_copy, par[0], par[1]),
            np.where(same_copy, perp[0], perp[1]),
        )

    return rule  # type: ignore[return-value]


def _intra_inter(value: SpringValue | None) -> tuple[float, float]:
    if isinstance(value, Sequence):
        return float(value[0]), float(value[1])
    return (float(value or 0.0),) * 2


def _default_size(bodies: Bodies, max_pairs: float) -> tuple[int, int, int]:
    """The largest box whose stiffness matrix is inverted in seconds, with few enough pairs."""
    order = bodies.width * bodies.n_bodies
    for size in SIZES:
        quick = order * math.prod(size) <= MAX_DEFAULT_ORDER
        if quick and _pairs(bodies, size) <= max_pairs:
            return size
    for size in reversed(SIZES):
        if order * math.prod(size) <= MAX_ORDER:
            return size
    raise InputError(
        f"{bodies.n_bodies} bodies in a cell make even two cells too large to invert in full; "
        "verify with larger bodies (group_by 'asu', 'chain' or 'residue')"
    )


def _pairs(bodies: Bodies, size: tuple[int, int, int]) -> int:
    """Pairs of an atom of one cell and an atom of the box."""
    return bodies.n_cell_atoms**2 * math.prod(size)


def _affordable_points(bodies: Bodies, size: tuple[int, int, int]) -> int:
    """Points at which the double sum over pairs takes some seconds, or the fewest."""
    return max(MIN_PAIR_POINTS, int(MAX_PAIRS // _pairs(bodies, size)))


def _checks(
    grid: OnePhonon, listed: OnePhonon, box: Supercell, n_points: int, tolerance: float
) -> list[Check]:
    def check(name: str, ours: Tensor, theirs: Tensor | Array | Sequence[float]) -> Check:
        reference = torch.as_tensor(theirs)
        return Check(name, relative_difference(ours, reference), reference.numel(), tolerance)

    valid = grid.valid
    some = _spread(grid, n_points)
    q = grid.q_grid[some].numpy()
    s = grid.thermal_scale
    data_U, model_U = box.file_U, (s * torch.as_tensor(box.U)).numpy()
    by_data = float(s) * box.intensity(q, data_U)
    by_model = float(s) * box.intensity(q, model_U)
    on_grid = {adp: grid(use_data_adp=adp) for adp in (True, False)}
    in_list = {adp: listed(use_data_adp=adp) for adp in (True, False)}
    modes = mode_intensity(grid.bodies, grid.modes(), grid.points, grid.bodies.U, s)
    n = grid.crystal.n_atoms
    every = mean_square(torch.as_tensor(box.U))
    share = torch.as_tensor(box.shares)
    target = (share[:n] * mean_square(grid.crystal.U)).sum() / share[:n].sum()
    mean = (share * every).sum() / share.sum()
    return [
        check("grid vs supercell, file's ADPs", on_grid[True][some], by_data),
        check("grid vs supercell, model's ADPs", on_grid[False][some], by_model),
        check("arbitrary q vs supercell, file's ADPs", in_list[True][some], by_data),
        check("arbitrary q vs supercell, model's ADPs", in_list[False][some], by_model),
        check("arbitrary q vs grid, every point", in_list[False][valid], on_grid[False][valid]),
        check("sum over modes vs solve, every point", modes[valid], on_grid[True][valid]),
        check("ADPs vs supercell", grid.ADP, every[:n] * (target / mean)),
        Check("U tensors vs supercell", _tensor_difference(grid.U, model_U[:n]), n, tolerance),
    ]


def _spread(grid: OnePhonon, n: int) -> Tensor:
    """Numbers of up to n valid points, evenly spread over a grid."""
    valid = grid.valid.nonzero().squeeze(1)
    return valid[torch.linspace(0, len(valid) - 1, min(n, len(valid))).long()]


def _order_checks(
    grid: OnePhonon,
    listed: OnePhonon,
    box: Supercell,
    some: Tensor,
    tolerance: float,
    n_orders: int | None,
) -> list[Check]:
    """Sums of orders at some points of the grid; the list holds these points alone."""
    what = "all orders" if n_orders is None else f"orders 1 to {n_orders}"
    orders = "all" if n_orders is None else n_orders
    s = float(grid.thermal_scale)
    checks = []
    for by_data, whose, U in ((True, "file's", box.file_U), (False, "model's", s * box.U)):
        slow = torch.as_tensor(intensity_of_orders(box, listed.q_grid.numpy(), U, n_orders, s))
        on_grid = grid.apply_disorder(use_data_adp=by_data, orders=orders)[some]
        in_list = listed.apply_disorder(use_data_adp=by_data, orders=orders)
        for mode, ours in (("grid", on_grid), ("arbitrary q", in_list)):
            name = f"{what}, {mode} vs supercell, {whose} ADPs"
            checks.append(Check(name, relative_difference(ours, slow), len(some), tolerance))
    return checks


def _tensor_difference(ours: Tensor, theirs: Array) -> float:
    """Largest ``|A-B|/|B|`` of 3 x 3 tensors, in the Frobenius norm."""
    reference = torch.as_tensor(theirs)
    norm = torch.linalg.matrix_norm
    return float((norm(ours - reference) / norm(reference)).max())


def relative_difference(ours: Tensor, reference: Tensor) -> float:
    """Largest ``|a-b|/|b|``, with |b| at least `FLOOR` times the largest; NaN if any is NaN."""
    if not reference.numel():
        return float("nan")
    largest = float(reference.abs().max())
    if largest == 0.0:
        return float(ours.abs().max())
    size = reference.abs().clamp(min=FLOOR * largest)
    return float(((ours - reference).abs() / size).max())
