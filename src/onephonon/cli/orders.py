"""What commands say of orders: the errors of their sum, and how much of all is one phonon."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onephonon.core.units import TWO_PI

from .terminal import echo, status

if TYPE_CHECKING:
    from torch import Tensor

    from onephonon.maps.diffuse import DiffuseMap
    from onephonon.model.one_phonon import OnePhonon
    from onephonon.scattering.bound_model import BoundModel
    from onephonon.scattering.one_phonon_share import OnePhononShare

#: Shells of resolution in a line.
N_SHELLS = 4

#: One phonon is too little of the intensity below this share.
TOO_SMALL = 0.8

#: A range of d whose ends differ by less than this factor is a point.
NARROW = 1.01


def show_orders(bound: BoundModel, use_data_adp: bool, quiet: bool) -> None:
    """Write the orders that are summed, and the errors of the sum, on standard error.

    Parameters
    ----------
    bound : BoundModel
        At the scattering vectors, or a sample of them.
    use_data_adp : bool
    quiet : bool
    """
    from onephonon.scattering.order_error import order_error

    orders = bound.orders
    if quiet or orders.first_only:
        return
    with status("errors of the orders", quiet):
        error = order_error(bound, use_data_adp)
    what = "all" if orders.number is None else f"1 to {orders.number}"
    mesh = " x ".join(str(n) for n in orders.mesh or bound.lattice.mesh)
    line = f"orders: {what}, series of degree {error.degree}; {error}, {mesh}"
    if error.mesh > error.order:  # of no use where more is left out, or an error is not known
        line += "; refine it with --multiphonon-mesh"
    echo(line, err=True)


def show_share(
    model: OnePhonon, d_range: tuple[float, float], use_data_adp: bool, quiet: bool
) -> OnePhononShare | None:
    """Write how much of the intensity is one phonon, by resolution, on standard error.

    Parameters
    ----------
    model : OnePhonon
    d_range : (float, float)
        Smallest and largest d of the points, Å.
    use_data_adp, quiet : bool

    Returns
    -------
    OnePhononShare or None
        None if it would take long, or if there is no point.
    """
    from onephonon.scattering.one_phonon_share import is_quick

    d_min, d_max = d_range
    if not 0 < d_min < math.inf or not is_quick(model.lattice, N_SHELLS, model.multiphonon_mesh):
        return None
    d_max = math.inf if d_max < NARROW * d_min else d_max
    with status("share of one phonon", quiet):
        share = model.one_phonon_share(d_min, d_max, n_shells=N_SHELLS, use_data_adp=use_data_adp)
    if not quiet:
        line = f"one phonon: {share_text(share)}"
        if model.orders == 1 and share.smallest < TOO_SMALL:
            line += "; add the rest with --orders all"
        echo(line, err=True)
    return share


def share_text(share: OnePhononShare) -> str:
    """Shares of shells: ``97 % of the intensity to 5.1 Å, 43 % at 2.1-2.0 Å``."""
    parts: list[str] = []
    for (d_max, d_min), value in zip(share.d, share.share, strict=True):
        where = f"to {_length(d_min)}" if math.isinf(d_max) else f"at {_length(d_max, d_min)}"
        parts.append(f"{100 * value:.0f} %{'' if parts else ' of the intensity'} {where} Å")
    return ", ".join(parts)


def range_of_model(model: OnePhonon) -> tuple[float, float]:
    """Smallest and largest d of a model's valid points, Å; infinite if there are none."""
    import torch

    from onephonon.scattering.grid_intensity import largest_q_of_grid

    if model.grid is not None:
        q = largest_q_of_grid(model.grid, model.crystal.cell, model.res_limit)
        return TWO_PI / q if q else math.inf, math.inf
    length = torch.linalg.vector_norm(model.q_grid.detach(), dim=1)[model.valid]
    if not len(length):
        return math.inf, math.inf
    return TWO_PI / float(length.max()), TWO_PI / float(length.min())


def range_of_data(
    data: DiffuseMap, model: OnePhonon, d_min: float = 0.0, d_max: float = math.inf
) -> tuple[float, float]:
    """Smallest and largest d of a map's values within limits, Å."""
    from onephonon.compare.comparison import with_cell

    finest = with_cell(data, model.crystal.cell.parameters).d_min
    return max(d_min, finest), d_max


def sample_of_range(model: OnePhonon, d_range: tuple[float, float]) -> Tensor:
    """A few q with d in a range, shape (n, 3), 1/Å."""
    import torch

    from onephonon.scattering.one_phonon_share import sample_shell

    d_min, d_max = d_range
    generator = torch.Generator().manual_seed(0)
    return sample_shell(model.lattice, 1 / d_max, 1 / d_min, generator)


def _length(*d: float) -> str:
    return "–".join(f"{x:.3g}" if x >= 10 else f"{x:.1f}" if x >= 1 else f"{x:.2f}" for x in d)
