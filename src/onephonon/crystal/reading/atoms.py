"""Checks of single atoms of a structure file, and their displacements."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import gemmi
import torch

from onephonon.core.errors import StructureError
from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.crystal import AtomLabel

#: Mean-square displacements below this (Å^2) give a warning: at d = 1.5 Å they amplify a wave by
#: half or more. Refined ANISOU of good structures go below zero by less.
NEGATIVE_U = -0.05


def check_atom(label: AtomLabel, atom: gemmi.Atom, path: Path) -> None:
    """Refuse an atom without element, or with numbers that are none."""
    if atom.element.atomic_number == 0:
        raise StructureError(
            f"{path}: atom {label} (serial {atom.serial}) has no known element; correct the "
            "element column (77-78 in PDB, type_symbol in mmCIF)"
        )
    if atom.occ < 0:
        raise StructureError(
            f"{path}: atom {label} (serial {atom.serial}) has occupancy {atom.occ:g}; correct it, "
            "or remove the atom"
        )
    for name, values in (
        ("coordinates", atom.pos.tolist()),
        ("occupancy", [atom.occ]),
        ("B-factor", [atom.b_iso]),
        ("anisotropic displacement", atom.aniso.elements_pdb()),
    ):
        if not all(math.isfinite(v) for v in values):
            raise StructureError(
                f"{path}: atom {label} (serial {atom.serial}) has {name} {values}, not a number; "
                "correct or remove the atom"
            )


def check_displacements(U: torch.Tensor, labels: list[AtomLabel], path: Path) -> None:
    """Warn of displacements that are negative in some direction, whose amplitudes grow with q."""
    wrong = torch.linalg.eigvalsh(U)[:, 0] < NEGATIVE_U
    if bool(wrong.any()):
        names = ", ".join(str(labels[i]) for i in wrong.nonzero().flatten().tolist()[:3])
        warnings.warn(
            f"{path}: B or U is negative in some direction for {int(wrong.sum())} of the atoms "
            f"({names}); correct them, or use B only (anisotropic=False)",
            stacklevel=3,
        )


def displacement(atom: gemmi.Atom, anisotropic: bool) -> list[list[float]]:
    """U of one atom, Cartesian (ANISOU's axes), Å^2."""
    if anisotropic and atom.aniso.nonzero():
        matrix: list[list[float]] = atom.aniso.as_mat33().tolist()
        return matrix
    u = atom.b_iso / EIGHT_PI_SQUARED
    return [[u, 0.0, 0.0], [0.0, u, 0.0], [0.0, 0.0, u]]
