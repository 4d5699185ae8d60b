"""Flat (bulk) solvent displaced by atoms: only the contrast scatters."""

from __future__ import annotations

import math
from dataclasses import replace
from operator import mul

import gemmi
import torch
from torch import Tensor

from onephonon.core.errors import InputError

from .conformers import find_conformers
from .crystal import Crystal
from .form_factors import FormFactors

#: Electron density of water, e/Å^3.
WATER_DENSITY = 0.334

#: Volumes that atoms displace, Å^3: Fraser, MacRae & Suzuki, J. Appl. Cryst. 11 (1978) 693.
FRASER_VOLUMES = {
    "H": 5.15,
    "D": 5.15,
    "C": 16.44,
    "N": 2.49,
    "O": 9.13,
    "Mg": 17.16,
    "P": 5.73,
    "S": 19.86,
    "Ca": 31.89,
    "Mn": 9.20,
    "Fe": 7.99,
    "Cu": 8.78,
    "Zn": 9.85,
}

#: Partial specific volume of proteins, Å^3/Da: 0.73 cm^3/g.
PROTEIN_VOLUME = 1.21

#: Hydrogens per carbon of the average protein residue, C4.94 H7.76 N1.36 O1.48 S0.04: Senko, Beu &
#: McLafferty, J. Am. Soc. Mass Spectrom. 6 (1995) 229.
HYDROGENS_PER_CARBON = 7.7583 / 4.9384

HYDROGEN_MASS = 1.008


def with_solvent(
    crystal: Crystal,
    density: float | Tensor = WATER_DENSITY,
    smoothing: float | Tensor = 0.0,
    specific_volume: float = PROTEIN_VOLUME,
) -> Crystal:
    """Subtract the solvent displaced by each atom from its scattering factor.

    ``f(q) - density v exp(-q^2 v^(2/3)/4 pi) exp(-smoothing q^2/16 pi^2)``: the Gaussian of an
    atom's volume v, which moves with the atom (Fraser, MacRae & Suzuki, J. Appl. Cryst. 11 (1978)
    693). The scattering factors get one more Gaussian; nothing else changes.

    Parameters
    ----------
    crystal : Crystal
        With X-ray scattering factors, and no solvent yet.
    density : float or Tensor, shape ()
        Electron density of the solvent, e/Å^3; 0: no change.
    smoothing : float or Tensor, shape ()
        Additional B-factor of the displaced solvent, Å^2. Fraser's Gaussian of a carbon atom
        has a B of 80 Å^2 already.
    specific_volume : float
        Volume of the molecule per mass, Å^3/Da; about 0.91 for nucleic acids.

    Returns
    -------
    Crystal
        Differentiable in density and smoothing.

    Raises
    ------
    InputError
        If the scattering factors are not for X-rays, or a number is negative or not finite.

    Notes
    -----
    Element volumes are Fraser's; elements not in that table displace a sphere, metals of their
    covalent radius and others of their van der Waals radius. One factor scales all of them to
    the volume that follows from the mass of the molecule. If a crystal has no hydrogen atoms, 1.57
    per carbon atom are added to the mass, but not to the electrons: if the file has hydrogens,
    keep them for a more accurate contrast at low resolution.
    """
    _check("density", density, "e/Å^3, 0.334 for water")
    _check("smoothing", smoothing, "a B-factor in Å^2")
    _check("specific_volume", specific_volume, "Å^3/Da, 1.21 for proteins")
    if not isinstance(density, Tensor) and density == 0:
        return crystal
    radiation = crystal.form_factors.radiation
    if radiation != "xray":
        raise InputError(
            f"solvent of a density in e/Å^3 is for X-rays, not {radiation}s; "
            "use X-ray scattering factors or omit the solvent"
        )
    volumes = displaced_volumes(crystal, specific_volume)
    factors, pairs = _kinds_by_volume(crystal.form_factors, volumes)
    like = factors.a
    v = torch.tensor(pairs, dtype=like.dtype, device=like.device)
    density, smoothing = (
        torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in (density, smoothing)
    )
    a = torch.cat([factors.a, (-density * v)[:, None]], dim=1)
    # exp(-b q^2/16 pi^2) with b = 4 pi v^(2/3) is exp(-q^2 v^(2/3)/4 pi).
    b = torch.cat([factors.b, (4 * math.pi * v ** (2 / 3) + smoothing)[:, None]], dim=1)
    return crystal.replace(form_factors=replace(factors, a=a, b=b))


def displaced_volumes(crystal: Crystal, specific_volume: float = PROTEIN_VOLUME) -> list[float]:
    """Volume that each atom displaces where its occupancy is 1, Å^3, length n_atoms.

    Raises
    ------
    InputError
        If an atom's label has no known element.
    """
    elements = [label.element for label in crystal.labels]
    table = {name: _element_volume(name) for name in sorted(set(elements))}
    volumes = [table[name] for name in elements]
    # Alternative conformers count by their shares.
    shares = find_conformers(crystal).shares.tolist()
    mass = math.fsum(map(mul, crystal.masses.tolist(), shares))
    if not {"H", "D"} & set(elements):
        carbons = math.fsum(w for w, e in zip(shares, elements, strict=True) if e == "C")
        mass += HYDROGENS_PER_CARBON * HYDROGEN_MASS * carbons
    scale = specific_volume * mass / math.fsum(map(mul, volumes, shares))
    return [scale * v for v in volumes]


def _element_volume(name: str) -> float:
    """Fraser's volume, or that of a sphere."""
    if name in FRASER_VOLUMES:
        return FRASER_VOLUMES[name]
    element = gemmi.Element(name)
    if element.atomic_number == 0:
        raise InputError(
            f"element {name!r} of an atom's label is unknown, and so is the volume it displaces; "
            "correct the label or leave the atoms out"
        )
    radius = element.covalent_r if element.is_metal else element.vdw_r
    return 4 / 3 * math.pi * float(radius) ** 3


def _kinds_by_volume(factors: FormFactors, volumes: list[float]) -> tuple[FormFactors, list[float]]:
    """Scattering factors whose kinds have one volume each, and those volumes."""
    pairs = list(zip(factors.kind.tolist(), volumes, strict=True))
    number = {pair: i for i, pair in enumerate(sorted(set(pairs)))}
    old = torch.tensor([kind for kind, _ in number], device=factors.kind.device)
    kind = torch.tensor([number[pair] for pair in pairs], device=factors.kind.device)
    split = replace(factors, a=factors.a[old], b=factors.b[old], c=factors.c[old], kind=kind)
    return split, [volume for _, volume in number]


def _check(name: str, value: float | Tensor, what: str) -> None:
    number = float(value.detach()) if isinstance(value, Tensor) else float(value)
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"solvent {name} {number:g} is invalid; give {what}, 0 or more")
