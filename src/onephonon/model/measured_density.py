"""Amplitudes from a measured electron density in place of atoms."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.electron_density import ElectronDensity
from onephonon.crystal.reading import read_crystal, read_electron_density
from onephonon.network.bodies import Bodies
from onephonon.network.body_density import BodyDensity
from onephonon.network.density_of_bodies import EDGE, cut_out_bodies
from onephonon.scattering.amplitudes.direct import structure_factor

#: Å: structure factors of larger d depend on the bulk solvent, which the atoms lack.
SOLVENT_D = 4.0

#: Number of structure factors that are compared.
N_COMPARED = 3000

#: Smallest correlation with the atoms' structure factors; models that fit have 0.8 or more.
MIN_AGREEMENT = 0.5


@dataclass(frozen=True)
class MeasuredDensity:
    """A measured electron density, and how molecules are cut out of it.

    Parameters
    ----------
    density : path or ElectronDensity
        See `read_electron_density`.
    columns : str or pair of str, optional
        Amplitudes and phases in a file of structure factors, such as ``'FWT,PHWT'``.
    level : float, optional
        Density of the solvent, e/Å^3; by default read off the map where no molecule is.
    scale : float, optional
        Factor to e/Å^3; by default the one that makes the structure factors those of the atoms.
    edge : pair of float, optional
        See `cut_out_bodies`.
    """

    density: str | os.PathLike[str] | ElectronDensity
    columns: str | Sequence[str] | None = None
    level: float | None = None
    scale: float | None = None
    edge: tuple[float, float] | None = EDGE

    def __post_init__(self) -> None:
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale={self.scale!r} of a density: give a positive factor to e/Å^3")
        if self.level is not None and not math.isfinite(self.level):
            raise InputError(f"level={self.level!r}: give the density of the solvent in e/Å^3")

    def of(self, bodies: Bodies, ordered: Crystal | None = None) -> BodyDensity:
        """The density of each body.

        Parameters
        ----------
        bodies : Bodies
        ordered : Crystal, optional
            Waters and ligands, which move with their nearest body.

        Raises
        ------
        MapFileError, InputError
            As in `read_electron_density` and `cut_out_bodies`, or if the density is not that of
            this structure.
        """
        density = self.density
        if not isinstance(density, ElectronDensity):
            density = read_electron_density(density, self.columns)
        found, agreement = scale_to_atoms(density, bodies)
        scale = found if self.scale is None else self.scale
        scaled = replace(density, values=density.values * scale)
        cut = cut_out_bodies(scaled, bodies, level=self.level, edge=self.edge, ordered=ordered)
        return replace(cut, scale=scale, agreement=agreement)


#: A density as users give it.
DensityLike = str | os.PathLike[str] | ElectronDensity | MeasuredDensity


def body_density(
    density: DensityLike,
    bodies: Bodies,
    source: str | os.PathLike[str] | Crystal,
    reading: Mapping[str, Any],
) -> BodyDensity:
    """The density of the bodies of a model.

    Parameters
    ----------
    density : path, ElectronDensity or MeasuredDensity
    bodies : Bodies
    source : path or Crystal
        Where the structure came from. Waters and ligands of a file move with their nearest body.
    reading : mapping
        Options of `read_crystal` with which it was read.

    Raises
    ------
    MapFileError, InputError
        As in `MeasuredDensity.of`, or if displaced solvent is given too.
    """
    if reading.get("solvent"):
        raise InputError(
            f"solvent={reading['solvent']:g}: a measured density is its own contrast with the "
            "solvent, whose density is that of the measured bulk solvent or `level`; leave it out"
        )
    if not isinstance(density, MeasuredDensity):
        density = MeasuredDensity(density)
    ordered = None
    if not isinstance(source, Crystal):
        options = {k: v for k, v in reading.items() if not k.startswith("solvent")}
        every = options | {"waters": True, "ligands": True, "hydrogens": False}
        ordered = read_crystal(source, **every)
    return density.of(bodies, ordered)


@torch.no_grad()
def scale_to_atoms(density: ElectronDensity, bodies: Bodies) -> tuple[float, float]:
    """The factor that puts a density on the scale of the atoms.

    ``k = sum |F_c|^2 / sum Re(F_c^* F)`` over structure factors of d below 4 Å, where the solvent
    adds nothing; what the atoms do not explain is taken as uncorrelated with them.

    Parameters
    ----------
    density : ElectronDensity
    bodies : Bodies

    Returns
    -------
    scale : float
    agreement : float
        Correlation of the structure factors, with their phases.

    Raises
    ------
    InputError
        If they do not agree.
    """
    hkl = _reflections(density, bodies)
    q = bodies.crystal.cell.q_from_hkl(hkl.to(bodies.positions))
    calculated = structure_factor(bodies, q, bodies.U).to(torch.complex128).cpu()
    measured = density.structure_factors(hkl)
    crossed = float((calculated.conj() * measured).real.sum())
    own, other = (float(F.abs().square().sum()) for F in (calculated, measured))
    agreement = crossed / math.sqrt(own * other) if own * other > 0 else 0.0
    if not agreement >= MIN_AGREEMENT:
        raise InputError(
            f"{density.source}: structure factors correlate with those of the atoms at "
            f"{agreement:.2f} only; the density belongs to another structure, or to another "
            "setting or origin"
        )
    return own / crossed, agreement


def _reflections(density: ElectronDensity, bodies: Bodies) -> Tensor:
    """Some Miller indices of half of reciprocal space to compare, shape (n, 3)."""
    shape = density.values.shape
    axes = [torch.arange(-((n - 1) // 2), (n - 1) // 2 + 1) for n in shape[:2]]
    hkl = torch.cartesian_prod(*axes, torch.arange((shape[2] - 1) // 2 + 1))
    cell = bodies.crystal.cell
    length = torch.linalg.vector_norm(cell.q_from_hkl(hkl.to(bodies.positions)), dim=1)
    length = length.detach().cpu()
    inside = (length <= density.q_max) & (length > 0)
    fine = inside & (length >= 2 * math.pi / SOLVENT_D)
    hkl = hkl[fine if bool(fine.any()) else inside]
    generator = torch.Generator().manual_seed(0)
    return hkl[torch.randperm(len(hkl), generator=generator)[:N_COMPARED]]
