"""Checks of the atoms of a structure file, and their displacements."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np
import torch
from numpy.typing import NDArray

from onephonon.core.errors import StructureError
from onephonon.core.text import counted
from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.crystal import AtomLabel
from onephonon.crystal.remarks import Remark

LabelledAtoms = Sequence[tuple[AtomLabel, gemmi.Atom]]

#: Mean-square displacements below this (Å^2) give a warning: at d = 1.5 Å they amplify a wave by
#: half or more. Refined ANISOU of good structures go below zero by less.
NEGATIVE_U = -0.05

#: Occupancies above this are refused: 1, and the second decimal of a sum.
MAX_OCCUPANCY = 1.015

#: Atoms at the same place within the decimals of a file, Å.
SAME_POINT = 1.5e-3

#: More atoms than this at the place of others are no slip of single atoms.
MAX_DOUBLE = 3

#: An atom is far from the rest beyond the cell's a + b + c and this many median distances from the
#: centre; half of a molecule is within one median.
FAR = 10.0

#: Zero-point motion alone gives B of 0.3 to 1 Å^2 and structures at 100 K have 1 to 2 at least;
#: U of a B of 60 Å^2 is 0.8.
LEAST_MEDIAN_B = 0.9

#: Relative difference of the means of B and of ANISOU that is no rounding.
B_AGAINST_U = 0.1

#: Elements of the standard amino acids, and selenium, which may stand for the sulphur of MET.
AMINO_ACID_ELEMENTS = ("H", "D", "C", "N", "O", "S", "Se")


def check_atom(label: AtomLabel, atom: gemmi.Atom, path: Path) -> None:
    """Refuse an atom without element, or with numbers that are none."""
    if atom.element.atomic_number == 0:
        raise StructureError(
            f"{path}: atom {label} (serial {atom.serial}) has no known element; correct the "
            "element column (77-78 in PDB, type_symbol in mmCIF)"
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
    if not 0 <= atom.occ <= MAX_OCCUPANCY:
        percent = ", or divide all by 100 if they are percentages" if atom.occ > 1 else ""
        raise StructureError(
            f"{path}: atom {label} (serial {atom.serial}) has occupancy {atom.occ:g}, which is not "
            f"from 0 to 1; correct it{percent}, or remove the atom"
        )


def check_atoms(atoms: LabelledAtoms, lengths: Sequence[float], path: Path) -> list[Remark]:
    """Check the atoms that are read, one by one and together.

    Parameters
    ----------
    atoms : sequence of (AtomLabel, gemmi.Atom)
    lengths : sequence of three float
        Of the cell axes, Å.

    Raises
    ------
    StructureError
        If a number is none, no atom is occupied, or atoms are where no atom can be.
    """
    for label, atom in atoms:
        check_atom(label, atom, path)
    empty = sum(atom.occ == 0 for _, atom in atoms)
    if empty == len(atoms):
        raise StructureError(
            f"{path}: all {empty} atoms have occupancy 0, so that nothing scatters; correct the "
            "occupancies (columns 55-60 in PDB, 1 for atoms that are always there)"
        )
    remarks = _check_places(atoms, sum(lengths), path)
    if empty:
        text = f"{counted(empty, 'atom')} of occupancy 0: in the network, without scattering"
        remarks.append(Remark("read", text))
    return remarks


def _check_places(atoms: LabelledAtoms, cell_size: float, path: Path) -> list[Remark]:
    """Refuse placeholders: atoms far from all others, or several at one point."""
    positions = np.array([atom.pos.tolist() for _, atom in atoms])
    away = np.linalg.norm(positions - np.median(positions, axis=0), axis=1)
    far = np.flatnonzero(away > cell_size + FAR * np.median(away))
    if len(far):
        label, atom = atoms[far[0]]
        raise StructureError(
            f"{path}: atom {label} (serial {atom.serial}) at {_shown(atom.pos.tolist())} Å is "
            f"{away[far[0]]:.0f} Å from the middle of the structure ({len(far)} such atoms): a "
            "placeholder, it seems; correct or remove it"
        )
    return _shared_points(atoms, positions, path)


def _shared_points(
    atoms: LabelledAtoms, positions: NDArray[np.float64], path: Path
) -> list[Remark]:
    """Refuse several atoms at one point that cannot be there by turns; name single pairs."""
    at_point: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, point in enumerate(np.rint(positions / SAME_POINT).astype(np.int64).tolist()):
        at_point[tuple(point)].append(i)
    crowded = []
    for members in at_point.values():
        # Hydrogen and deuterium share a site, and so do conformers and partly occupied ions.
        heavy = [i for i in members if not atoms[i][1].is_hydrogen()]
        if len(heavy) > 1 and sum(atoms[i][1].occ for i in heavy) > MAX_OCCUPANCY:
            crowded.append(heavy)
    if not crowded:
        return []
    most = max(crowded, key=len)
    names = ", ".join(str(atoms[i][0]) for i in most[:3])
    where = f"{names} at {_shown(positions[most[0]])} Å"
    n = sum(len(heavy) - 1 for heavy in crowded)
    if n > MAX_DOUBLE:
        raise StructureError(
            f"{path}: {n} atoms are at the very place of others, such as {where}, though their "
            "occupancies exceed 1 together: placeholders or atoms written twice; correct or remove "
            "them"
        )
    return [Remark("read", f"{counted(n, 'atom')} at the very place of others ({where})")]


def read_displacements(
    atoms: LabelledAtoms, anisotropic: bool
) -> tuple[torch.Tensor, list[Remark]]:
    """Displacements of the atoms, shape (n, 3, 3), Å^2, and what is odd about them."""
    U = torch.tensor([displacement(atom, anisotropic) for _, atom in atoms], dtype=torch.float64)
    mean_B = EIGHT_PI_SQUARED / 3 * U.diagonal(dim1=1, dim2=2).sum(1)
    remarks = _negative(U, [label for label, _ in atoms])
    median = float(mean_B.median())
    if not bool(U.any()):
        remarks.append(Remark("read", "B-factors are all 0: atoms are at rest", matters=True))
    elif len(atoms) > 1 and float(mean_B.max() - mean_B.min()) == 0:
        remarks.append(Remark("read", f"B-factors are all {median:.4g} Å², as if never refined"))
    if 0 < median < LEAST_MEDIAN_B:
        text = f"B-factors of {median:.2g} Å² (median) are too small: U in their place, it seems"
        remarks.append(Remark("read", f"{text}; multiply them by 8 π²", matters=True))
    both = [(a, b) for (_, a), b in zip(atoms, mean_B.tolist(), strict=True) if a.aniso.nonzero()]
    if anisotropic and both:
        means = np.mean([a.b_iso for a, _ in both]), np.mean([b for _, b in both])
        if abs(means[0] - means[1]) > B_AGAINST_U * means[1]:
            text = f"B-factors of {means[0]:.3g} Å² (mean): ANISOU, used instead, give"
            remarks.append(Remark("ignored", f"{text} {means[1]:.3g} Å²", matters=True))
    return U, remarks


def _negative(U: torch.Tensor, labels: list[AtomLabel]) -> list[Remark]:
    """Displacements that are negative in some direction, whose amplitudes grow with q."""
    wrong = torch.linalg.eigvalsh(U)[:, 0] < NEGATIVE_U
    if not bool(wrong.any()):
        return []
    names = ", ".join(str(labels[i]) for i in wrong.nonzero().flatten().tolist()[:3])
    text = (
        f"B or U is negative in some direction for {int(wrong.sum())} of the atoms ({names}); "
        "correct them, or use B only (anisotropic=False)"
    )
    return [Remark("read", text, matters=True)]


def displacement(atom: gemmi.Atom, anisotropic: bool) -> list[list[float]]:
    """U of one atom, Cartesian (ANISOU's axes), Å^2."""
    if anisotropic and atom.aniso.nonzero():
        matrix: list[list[float]] = atom.aniso.as_mat33().tolist()
        return matrix
    u = atom.b_iso / EIGHT_PI_SQUARED
    return [[u, 0.0, 0.0], [0.0, u, 0.0], [0.0, 0.0, u]]


def correct_elements(structure: gemmi.Structure) -> list[Remark]:
    """Correct elements that no standard amino acid has, such as calcium for a C-alpha."""
    changed: dict[tuple[str, str], int] = defaultdict(int)
    for model in structure:
        for found in model.all():
            info = gemmi.find_tabulated_residue(found.residue.name)
            atom = found.atom
            was = atom.element.name
            if not (info.is_amino_acid() and info.is_standard()) or was in AMINO_ACID_ELEMENTS:
                continue
            first = atom.name.lstrip("0123456789'\"*")[:1].upper()
            if atom.element.atomic_number and first in AMINO_ACID_ELEMENTS:
                atom.element = gemmi.Element(first)
                changed[was, first] += 1
    return [
        Remark(
            "changed",
            f"{counted(n, 'atom')} of amino acids from {was} to {now}, by their names",
            True,
        )
        for (was, now), n in changed.items()
    ]


def _shown(position: Sequence[float]) -> str:
    return "(" + ", ".join(f"{x:.3f}" for x in position) + ")"
