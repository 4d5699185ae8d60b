"""Rigidity: whether the network resists every motion, and if not, the cutoff it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from onephonon.core.errors import NetworkError
from onephonon.core.tensors import map_tensors
from onephonon.network.bodies import Bodies
from onephonon.network.contacts import (
    Contacts,
    atoms_hold_together,
    check_connected,
    find_contacts,
    name_bodies,
    warn_of_coincidences,
)
from onephonon.network.force_constants import (
    ForceConstants,
    Springs,
    check_springs,
    force_constants,
)
from onephonon.network.springs import ConstantSprings, SpringSource

from .lattice_model import LatticeModel
from .normal_modes import mass_factors
from .solvers.base import Solver
from .solvers.choice import make_solver
from .stiffness_matrix import inverse_factor

T = TypeVar("T")

#: A network is floppy if the ratio of its softest to its stiffest mode is below this, for force
#: constants of this dtype: zeros are at 1e-16 (1e-8) with rounding, stable lattices above 1e-6 at
#: the wavevectors tested.
FLOPPY = {torch.float64: 1e-11, torch.float32: 1e-7}

#: Wavevectors, besides Gamma, at which K is tested, in reciprocal lattice units: a general one, and
#: one along each axis, where layers may slide that are held at other wavevectors. Irrational, so
#: that no mode vanishes by chance.
PROBES = (
    (0.2360679775, 0.4142135624, 0.3166247904),
    (0.2360679775, 0.0, 0.0),
    (0.0, 0.4142135624, 0.0),
    (0.0, 0.0, 0.3166247904),
)

#: For a floppy network, longer cutoffs are tried up to this multiple of the cutoff.
MAX_CUTOFF_GROWTH = 3.0


def check_rigid(
    bodies: Bodies,
    contacts: Contacts,
    constants: ForceConstants,
    springs: Springs | None = None,
    longer: Callable[[Contacts], Springs] | None = None,
) -> None:
    """Check that the network resists every motion.

    Parameters
    ----------
    bodies : Bodies
    contacts : Contacts
    constants : ForceConstants
    springs : Springs, optional
        Springs of the contacts, if `constants` are their sums; may avoid forming K.
    longer : callable, optional
        Assigns springs to the contacts of a longer cutoff, to find a sufficient one.

    Raises
    ------
    NetworkError
        Names the bodies that move freely and, where `longer` is given, the smallest cutoff
        that holds them.
    """
    if springs is not None:
        across = bool((springs.k_perp > 0).all() & (springs.k_par > 0).all())
        if across and atoms_hold_together(bodies, contacts):
            return  # every motion stretches a contact
    # In float64: single precision cannot tell a free motion from a soft one.
    bodies, contacts = _in_double(bodies), _in_double(contacts)
    if springs is not None:
        constants = force_constants(bodies, contacts, _in_double(springs))
    found = floppy_bodies(bodies, constants)
    if not found:
        return
    message = (
        f"with gnm_cutoff {contacts.cutoff:g} Å the network is floppy: "
        f"{name_bodies(bodies, found)} can move without stretching a spring; "
    )
    if longer is None:
        raise NetworkError(message + "raise gnm_cutoff, or let springs act across contacts too")
    raise NetworkError(message + _cutoff_that_holds(bodies, contacts.cutoff, longer))


def _in_double(x: T) -> T:
    """A dataclass of tensors in float64, without gradient."""
    return map_tensors(x, lambda t: t.detach().double() if t.is_floating_point() else t)


def _cutoff_that_holds(bodies: Bodies, cutoff: float, assign: Callable[[Contacts], Springs]) -> str:
    """Text with the smallest cutoff without floppy bodies, or that none was found."""

    def loose(at: float) -> list[int]:
        contacts = find_contacts(bodies, at)
        return floppy_bodies(bodies, force_constants(bodies, contacts, assign(contacts)))

    low, high = cutoff, 1.25 * cutoff
    while loose(high):
        low, high = high, 1.25 * high
        if high > MAX_CUTOFF_GROWTH * cutoff:
            return "a longer cutoff does not help: check whether some springs are zero"
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if loose(middle) else (low, middle)
    return f"the smallest cutoff that holds them is {high:.2f} Å"


def floppy_bodies(bodies: Bodies, constants: ForceConstants) -> list[int]:
    """Bodies that can move without stretching a spring, softest first; empty if none."""
    with torch.no_grad():
        inverse = inverse_factor(mass_factors(bodies, torch.float64))
        scaled = _per_mass(constants, inverse)
        shift = FLOPPY[constants.onsite.dtype] * _largest_row(scaled)
        eye = torch.eye(bodies.width, dtype=torch.float64, device=inverse.device)
        try:
            solver = make_solver(bodies, replace(scaled, onsite=scaled.onsite + shift * eye))
            for k in ((0.0, 0.0, 0.0), *PROBES):
                motion = _free_motion(bodies, solver, inverse, k, shift)
                if motion is None:
                    continue
                amount = motion.abs().square().sum(1)
                order = torch.argsort(amount, descending=True)
                return [int(i) for i in order if float(amount[i]) > 0.05 * float(amount.max())]
        except NetworkError:  # not positive definite: report all bodies
            return list(range(bodies.n_bodies))
        return []


def _per_mass(constants: ForceConstants, inverse: Tensor) -> ForceConstants:
    """Force constants whose K(k) is the dynamical matrix ``L^-1 K L^-T``."""
    onsite = inverse @ constants.onsite.double() @ inverse.mT
    coupling = inverse[constants.a] @ constants.coupling.double() @ inverse[constants.b].mT
    return replace(constants, onsite=onsite, coupling=coupling)


def _largest_row(constants: ForceConstants) -> float:
    """Largest row sum of magnitudes of K(k) at any k, an upper bound of its eigenvalues."""
    rows = constants.onsite.abs().sum(2)
    rows = rows.index_add(0, constants.a, constants.coupling.abs().sum(2))
    rows = rows.index_add(0, constants.b, constants.coupling.abs().sum(1))
    return float(rows.max())


def _free_motion(
    bodies: Bodies, solver: Solver, inverse: Tensor, k: Sequence[float], shift: float
) -> Tensor | None:
    """A motion with zero eigenvalue of the dynamical matrix, shape (n_bodies, width), or None.

    The solver must be for the dynamical matrix with `shift` added to its diagonal.
    """
    n, w, D = bodies.n_bodies, bodies.width, bodies.n_dof
    drift = torch.zeros(D, 0, dtype=torch.complex128, device=inverse.device)
    if not any(k):
        moved = torch.linalg.inv(inverse)[:, :3].mT  # L^T times three translations
        drift = bodies.gather(moved.reshape(n * w, 3), 0).to(drift.dtype)
        drift = torch.linalg.qr(drift).Q
    # Inverse iteration: a zero eigenvalue dominates the inverse of D + shift immediately.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(D, min(4, D), dtype=drift.dtype, generator=generator).to(drift.device)
    x = torch.linalg.qr(x - drift @ (drift.mH @ x)).Q
    factored = solver.at(inverse.new_tensor([list(k)]))
    for _ in range(3):
        y = factored.solve(x.mT[None])[1][0].mT
        y = y - drift @ (drift.mH @ y)
        strength, mix = torch.linalg.eigh(x.mH @ y)
        x = torch.linalg.qr(y @ mix.flip(1)).Q
    # The last Ritz value of the inverse bounds the softest mode from above.
    if float(strength[-1]) * 11.0 * shift < 1.0:
        return None
    motion = bodies.scatter(x[:, 0], 0).reshape(n, w, 1)
    return (inverse.mT.to(motion.dtype) @ motion)[:, :, 0]


def check_lattice(lattice: LatticeModel, springs: SpringSource, where: str) -> None:
    """Check the springs and the rigidity of a lattice before anything is computed.

    Parameters
    ----------
    lattice : LatticeModel
    springs : SpringSource
        Its source of springs; if these are constants, longer cutoffs are tried, too.
    where : str
        Name of the springs in an error message.

    Raises
    ------
    InputError
        If a spring constant is negative or not finite.
    NetworkError
        Names the bodies that are not connected, or that move freely.
    """
    bodies, contacts = lattice.bodies, lattice.contacts
    if lattice.springs is not None:
        check_springs(lattice.springs, where)
    warn_of_coincidences(bodies, contacts)
    check_connected(bodies, contacts)
    longer = None
    if isinstance(springs, ConstantSprings):
        longer = partial(springs.contact_springs, bodies)
    check_rigid(bodies, contacts, lattice.force_constants, lattice.springs, longer)
