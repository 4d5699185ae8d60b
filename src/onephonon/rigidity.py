"""Rigidity: whether the network resists every motion, and what to do where it does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from .bodies import Bodies
from .contacts import Contacts, atoms_hold_together, find_contacts, name_bodies
from .dynamics import mass_factor_inverse, stiffness, stiffness_without_drift
from .errors import NetworkError
from .network import ForceConstants, Springs, force_constants

#: A network whose softest mode is this much softer than its stiffest is floppy: rounding leaves
#: true zeros at 1e-16 (1e-8), honest lattices stay above 1e-6 at the wavevectors probed.
FLOPPY = {torch.float64: 1e-11, torch.float32: 1e-7}

#: Where K is probed, in reciprocal lattice units, beside Gamma: a general wavevector, and one
#: along each axis, where layers slide that hold together elsewhere. Irrational, so that no mode
#: vanishes by chance.
PROBES = (
    (0.2360679775, 0.4142135624, 0.3166247904),
    (0.2360679775, 0.0, 0.0),
    (0.0, 0.4142135624, 0.0),
    (0.0, 0.0, 0.3166247904),
)

#: How far beyond the cutoff asked for a floppy network is tried with longer ones.
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
        Of the contacts, if `constants` came from such: may spare forming K.
    longer : callable, optional
        Gives longer contacts their springs, to find the cutoff that would help.

    Raises
    ------
    NetworkError
        Naming the bodies that move freely and, where `longer` is given, the smallest cutoff
        that holds them.
    """
    if springs is not None:
        across = bool((springs.k_perp > 0).all() & (springs.k_par > 0).all())
        if across and atoms_hold_together(bodies, contacts):
            return  # where no contact is stretched nothing moves
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


def _cutoff_that_holds(bodies: Bodies, cutoff: float, assign: Callable[[Contacts], Springs]) -> str:
    """The smallest cutoff without floppy bodies, or that there is none nearby."""

    def loose(at: float) -> list[int]:
        contacts = find_contacts(bodies, at)
        return floppy_bodies(bodies, force_constants(bodies, contacts, assign(contacts)))

    low, high = cutoff, 1.25 * cutoff
    while loose(high):
        low, high = high, 1.25 * high
        if high > MAX_CUTOFF_GROWTH * cutoff:
            return "a longer cutoff does not help: are some springs zero?"
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if loose(middle) else (low, middle)
    return f"the smallest cutoff that holds them is {high:.2f} Å"


def floppy_bodies(bodies: Bodies, constants: ForceConstants) -> list[int]:
    """Bodies that can move without stretching a spring, the freest first; empty if none."""
    with torch.no_grad():
        inverse = mass_factor_inverse(bodies).to(torch.complex128)
        at_gamma = stiffness_without_drift(bodies, constants).to(torch.complex128)
        matrices = itertools.chain(
            (stiffness(bodies, constants, constants.onsite.new_tensor([k]))[0] for k in PROBES),
            [at_gamma],
        )
        limit = FLOPPY[constants.onsite.dtype]
        for K in matrices:
            motion = _free_motion(inverse @ K.to(torch.complex128) @ inverse.mH, limit)
            if motion is None:
                continue
            moved = bodies.scatter(inverse.mH @ motion, 0)
            amount = moved.reshape(bodies.n_bodies, bodies.width).abs().square().sum(1)
            order = torch.argsort(amount, descending=True)
            return [int(i) for i in order if float(amount[i]) > 0.05 * float(amount.max())]
        return []


def _free_motion(D: Tensor, limit: float) -> Tensor | None:
    """A motion that the dynamical matrix does not resist, shape (D,), or None."""
    shift = limit * torch.linalg.matrix_norm(D, ord=1)
    eye = torch.eye(len(D), dtype=D.dtype, device=D.device)
    factor, info = torch.linalg.cholesky_ex(D + shift * eye)
    if int(info) > 0:  # not even positive: every body is suspect
        return torch.ones(len(D), dtype=D.dtype, device=D.device)
    # Inverse iteration: with a true zero the inverse of D + shift is dominated by it at once.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(D), min(4, len(D)), dtype=D.dtype, generator=generator).to(D.device)
    for _ in range(3):
        x = torch.linalg.qr(torch.cholesky_solve(x, factor)).Q
    softest, mix = torch.linalg.eigh(x.mH @ D @ x)
    return x @ mix[:, 0] if float(softest[0]) < 10.0 * float(shift) else None
