"""Hydrogen sites that are partly deuterium, in crystals for neutrons.

Deuterium scatters with 6.7 fm, hydrogen with -3.7 fm: a site shared by both scatters with the mean,
which neither conformer alone would give.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import gemmi
import torch

from onephonon.core.text import counted
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.form_factors import form_factors
from onephonon.crystal.remarks import Remark


def join_shared_sites(structure: gemmi.Structure) -> None:
    """Join H and D at one site to one atom H with a fraction of deuterium, in place."""
    names = {found.atom.element.name for model in structure for found in model.all()}
    if "D" in names or structure.has_d_fraction:
        structure.store_deuterium_as_fraction(True)


def with_deuterium(crystal: Crystal, fractions: Sequence[float]) -> tuple[Crystal, list[Remark]]:
    """The crystal with scattering lengths and masses of hydrogen sites that hold deuterium.

    Parameters
    ----------
    crystal : Crystal
        For neutrons.
    fractions : sequence of float, length n_atoms
        Of deuterium at each site; 0 for other elements.
    """
    f = torch.tensor(fractions, dtype=torch.float64)
    n = int((f > 0).sum())
    if n == 0:
        return crystal, []
    both = form_factors(["D", "H"], "neutron").c
    factors = crystal.form_factors
    mixed, number = torch.unique(f[f > 0], return_inverse=True)
    kind = factors.kind.clone()
    kind[f > 0] = len(factors.c) + number
    zeros = torch.zeros(len(mixed), factors.a.shape[1], dtype=torch.float64)
    mass_d, mass_h = (gemmi.Element(name).weight for name in "DH")
    joined = dataclasses.replace(
        factors,
        a=torch.cat([factors.a, zeros]),
        b=torch.cat([factors.b, zeros + 1]),
        c=torch.cat([factors.c, mixed * both[0] + (1 - mixed) * both[1]]),
        kind=kind,
    )
    masses = torch.where(f > 0, f * mass_d + (1 - f) * mass_h, crystal.masses)
    text = f"{counted(n, 'hydrogen site')} with deuterium: the mean scattering length of both"
    return crystal.replace(form_factors=joined, masses=masses), [Remark("read", text)]
