"""Share of the one-phonon intensity in that of every order, by shells of resolution."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onephonon.core.arguments import as_real, as_whole
from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.crystal.zone import check_mesh
from onephonon.dynamics.lattice_model import LatticeModel

from .bound_model import BoundModel
from .multiphonon.higher_orders import SeriesError, SeriesWarning
from .multiphonon.pairs import expected_pairs
from .multiphonon.settings import Orders
from .numerics import Numerics
from .q_source import QSource

#: Number of shells of equal volume in reciprocal space.
N_SHELLS = 8

#: Most shells; each takes seconds.
MAX_SHELLS = 1000

#: Offsets within the zone along each axis: a mesh between the Bragg points.
OFFSETS = 4

#: Accuracy of the sum of all orders: far below the scatter of a few q.
RTOL = 1e-3

#: Pairs of bodies times q that take a few seconds.
QUICK = 5_000_000

#: Directions tried for each offset until a q is within the shell.
TRIES = 200


@dataclass(frozen=True)
class OnePhononShare:
    """Share of the one-phonon intensity in shells of resolution.

    Parameters
    ----------
    d : tuple of (float, float)
        Largest and smallest resolution of each shell, Å; the first may be infinite.
    share : tuple of float
        Mean one-phonon intensity over the mean of all orders.
    """

    d: tuple[tuple[float, float], ...]
    share: tuple[float, ...]

    @property
    def smallest(self) -> float:
        """Smallest share of a shell."""
        return min(self.share)


@torch.no_grad()
def one_phonon_share(
    lattice: LatticeModel,
    d_min: float,
    d_max: float = math.inf,
    *,
    n_shells: int = N_SHELLS,
    use_data_adp: bool = False,
    mesh: tuple[int, int, int] | None = None,
) -> OnePhononShare:
    """Estimate how much of the diffuse intensity of every order is of one phonon.

    Intensities are averaged over a mesh of wavevectors between the Bragg points, each around a
    random Bragg point of the shell, as voxels are; directly at Bragg points one phonon is all.
    Amplitudes are those of the atoms, also of a model with a measured density.

    Parameters
    ----------
    lattice : LatticeModel
    d_min, d_max : float
        Range of resolution, Å.
    n_shells : int
        Number of shells, of equal volume.
    use_data_adp : bool
        Debye-Waller factors from the file's U.
    mesh : three int, optional
        See `Orders`.

    Returns
    -------
    OnePhononShare
        Accurate to a few percent of itself; 0 where bodies move so far that it is below 1 %.
        Without gradient.

    Raises
    ------
    InputError
        If the range is empty, or a number is none.
    """
    if not 0 < as_real(d_min) < as_real(d_max):
        raise InputError(f"d_min {d_min!r} and d_max {d_max!r}: give lengths in Å, d_min < d_max")
    number = as_whole(n_shells)
    if number is None or not 1 <= number <= MAX_SHELLS:
        raise InputError(f"n_shells {n_shells!r}: give a whole number, 1 to {MAX_SHELLS}")
    mesh = None if mesh is None else check_mesh(mesh)
    d_min, d_max = as_real(d_min), as_real(d_max)
    ends = torch.linspace((1 / d_max) ** 3, (1 / d_min) ** 3, number + 1, dtype=torch.float64)
    ends = ends ** (1 / 3)
    generator = torch.Generator().manual_seed(0)
    parts = [
        sample_shell(lattice, float(a), float(b), generator) for a, b in itertools.pairwise(ends)
    ]
    of_atoms = replace(lattice, bodies=replace(lattice.bodies, density=None))
    bound = BoundModel(
        of_atoms,
        QSource(),
        Numerics("direct", RTOL),
        orders=Orders(None, mesh),
    )
    share = tuple(_share(bound.at(part), use_data_adp) for part in parts)
    inner = [1 / float(end) for end in ends[1:-1]]
    shells = tuple(itertools.pairwise([d_max, *inner, d_min]))
    return OnePhononShare(shells, share)


def _share(bound: BoundModel, use_data_adp: bool) -> float:
    """One phonon in the intensity of every order at all q together."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeriesWarning)
        try:
            every = bound.intensity(use_data_adp=use_data_adp)
        except (SeriesWarning, SeriesError):
            return 0.0  # q^T U q of 8 and more, at which it is below 1 %
    return float(bound.intensity(use_data_adp=use_data_adp, orders=1).nansum() / every.nansum())


def is_quick(
    lattice: LatticeModel, n_shells: int = N_SHELLS, mesh: tuple[int, int, int] | None = None
) -> bool:
    """Whether `one_phonon_share` takes no more than a few seconds: not with many bodies."""
    n_pairs = expected_pairs(lattice.bodies, mesh or lattice.mesh)
    return n_pairs * n_shells * OFFSETS**3 <= QUICK


def sample_shell(
    lattice: LatticeModel, low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Q in a shell of ``1/d``, at offsets from Bragg points that form a mesh of the zone.

    Parameters
    ----------
    lattice : LatticeModel
    low, high : float
        Ends of the shell, 1/Å.
    generator : torch.Generator

    Returns
    -------
    Tensor, shape (n, 3), 1/Å
    """
    cell = lattice.crystal.cell
    steps = (torch.arange(OFFSETS, dtype=torch.float64) + 0.5) / OFFSETS - 0.5
    offsets = torch.cartesian_prod(steps, steps, steps)
    direction = torch.randn(TRIES, len(offsets), 3, generator=generator, dtype=torch.float64)
    direction = torch.nn.functional.normalize(direction, dim=2)
    u = torch.rand(TRIES, len(offsets), 1, generator=generator, dtype=torch.float64)
    length = TWO_PI * (low**3 + u * (high**3 - low**3)) ** (1 / 3)
    wanted = cell.hkl_from_q((length * direction).to(cell.matrix)).double()
    hkl = torch.round(wanted - offsets) + offsets
    q = cell.q_from_hkl(hkl.to(cell.matrix))
    size = torch.linalg.vector_norm(q, dim=2) / TWO_PI
    inside = (size >= low) & (size <= high)
    first = inside.to(torch.int8).argmax(0)
    kept = q[first, torch.arange(len(offsets))][inside.any(0)]
    # A shell thinner than the distance of Bragg points may hold none of an offset.
    return kept if len(kept) else (length * direction).to(q)[0]
