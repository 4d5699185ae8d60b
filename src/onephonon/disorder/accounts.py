"""What components of disorder take of the atoms' U, and what they leave."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.text import counted
from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.crystal import mean_square
from onephonon.network.bodies import Bodies

#: A mean square is negative below this, Å^2: B-factors have two decimals, U-factors four.
NEGATIVE = -1e-6


@dataclass(frozen=True, repr=False)
class Accounts:
    """What components of disorder take of the atoms' U, and what they leave.

    Parameters
    ----------
    texts : tuple of str, length n
        The components.
    taken : Tensor, shape (n, n_cell_atoms, 3, 3)
        U that each gives to every atom, Å^2.
    left : Tensor, shape (n_cell_atoms, 3, 3)
        U of the crystal less all of these, Å^2.
    B : Tensor, shape (n,)
        Mean B-factor of each component, Å^2.
    B_of_crystal : Tensor, shape ()
    smallest : Tensor, shape (n_cell_atoms,)
        Smallest principal value of `left`, Å^2; without gradient.
    remarks : tuple of str
        What was decided, and what does not fit, one sentence each without a full stop.
    """

    texts: tuple[str, ...]
    taken: Tensor
    left: Tensor
    B: Tensor
    B_of_crystal: Tensor
    smallest: Tensor
    remarks: tuple[str, ...] = ()

    @property
    def shares(self) -> Tensor:
        """Share of the crystal's mean B that each component takes, shape (n,)."""
        return self.B / self.B_of_crystal

    @property
    def overdrawn(self) -> Tensor:
        """Atoms of which the components take more than they have, shape (n_cell_atoms,), bool."""
        return self.smallest < NEGATIVE

    def __str__(self) -> str:
        """How the mean B is divided, in a line: ``lattice 7.6, liquid 7.6, left 0``."""
        names = [text.partition(":")[0] for text in self.texts]
        alike = len(set(names)) < len(names)
        B, whole = self.B.detach().tolist(), float(self.B_of_crystal.detach())
        parts = zip(self.texts if alike else names, B, strict=True)
        divided = [f"{name} {_shown(b)}" for name, b in parts]
        return (
            f"of the file's mean B of {_shown(whole)} Å^2: {', '.join(divided)}, "
            f"left {_shown(whole - sum(B))}"
        )

    def __repr__(self) -> str:
        """The division of the mean B, and the remarks, each in a line."""
        return "\n".join([str(self), *self.remarks])


def _shown(B: float) -> str:
    """A B-factor with the digits that files have."""
    return "0" if abs(B) < 0.005 else f"{B:.3g}"


def accounts_of(
    bodies: Bodies, texts: tuple[str, ...], taken: list[Tensor], remarks: tuple[str, ...]
) -> Accounts:
    """Accounts of components with given displacements, each (n_cell_atoms, 3, 3)."""
    all_taken = torch.stack(taken)
    left = bodies.U - all_taken.sum(0)
    B = torch.stack([EIGHT_PI_SQUARED * bodies.mean(mean_square(x)) for x in taken])
    B_of_crystal = EIGHT_PI_SQUARED * bodies.mean(mean_square(bodies.U))
    with torch.no_grad():
        smallest = torch.linalg.eigvalsh(0.5 * (left + left.mT))[:, 0]
    found = Accounts(texts, all_taken, left, B, B_of_crystal, smallest, remarks)
    n = int(found.overdrawn[: bodies.crystal.n_atoms].sum())
    if not n:
        return found
    atom = int(smallest.argmin())
    label = bodies.crystal.labels[int(bodies.asu_atom[atom])]
    has = float(mean_square(bodies.U[atom].detach()))
    amounts = [float(mean_square(x[atom].detach())) for x in taken]
    most = max(range(len(amounts)), key=lambda i: amounts[i])
    shared = "" if len(taken) == 1 else f" of {sum(amounts):.3g}"
    overdraft = (
        f"{counted(n, 'atom')} of {bodies.crystal.n_atoms} would move more, in some direction, "
        f"than the file's U allows, most of all {label}: its U is {has:.3g} Å^2 on average over "
        f"directions, and {texts[most]!r} gives it {amounts[most]:.3g}{shared} Å^2; the intensity "
        "at high resolution is too large there, take a smaller share"
    )
    return Accounts(texts, all_taken, left, B, B_of_crystal, smallest, (*remarks, overdraft))
