"""Displacements of files whose B-factors leave out the TLS motion of the refinement.

A refinement with TLS groups may write B-factors of what is left beside them. What the atoms do is
the sum: ``U = B/(8 pi^2) 1 + T + A L A^t + A S + S^t A^t``, with A the matrix of the rotation
``lambda x r = A lambda`` about the group's origin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from onephonon.core.text import counted
from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.remarks import Remark

Float64 = NDArray[np.float64]

#: One range of residues in the words of phenix: chain 'A' and (resid 1 through 100).
_RANGE = re.compile(
    r"chain '?(\w+)'? and resid '?(-?\d+) *(?:through|:|-) *(-?\d+)'?", re.IGNORECASE
)


@dataclass(frozen=True)
class TlsGroup:
    """A rigid group of a refinement.

    Parameters
    ----------
    T, L, S : ndarray, shape (3, 3)
        In Å^2, rad^2, Å rad; ``S[i, j]`` is the mean of libration i times translation j.
    origin : ndarray, shape (3,)
        Å.
    ranges : tuple of (str, int, int)
        Chain, first and last residue.
    """

    T: Float64
    L: Float64
    S: Float64
    origin: Float64
    ranges: tuple[tuple[str, int, int], ...]

    def holds(self, chain: str, number: int) -> bool:
        """Whether a residue belongs to the group."""
        return any(c == chain and first <= number <= last for c, first, last in self.ranges)

    def U(self, position: Float64) -> Float64:
        """Mean-square displacement at a position (Å), shape (3, 3), Å^2."""
        x, y, z = position - self.origin
        A = np.array([[0, z, -y], [-z, 0, x], [y, -x, 0]])
        AS = A @ self.S
        return np.asarray(self.T + A @ self.L @ A.T + AS + AS.T)


def add_tls_motion(structure: gemmi.Structure, b_factors: str) -> list[Remark]:
    """Make the displacements of the atoms whole where the file says that B are residual only.

    Parameters
    ----------
    structure : gemmi.Structure
        Changed in place: ANISOU, where given, are whole already.
    b_factors : {'', 'residual', 'unverified'}
        What the file says of its B-factors.
    """
    atoms = [found for model in structure for found in model.all()]
    anisotropic = [found.atom for found in atoms if found.atom.aniso.nonzero()]
    if not b_factors or len(anisotropic) == len(atoms):
        return []
    if b_factors == "unverified":
        text = "B-factors with the TLS motion: the file does not say that they lack it"
        return [Remark("assumed", text)]
    groups = read_groups(structure)
    if not groups:
        text = (
            "B-factors are those beside the TLS motion only, as the file says, and it holds no "
            "TLS groups that can be read: displacements are too small; give a file with whole "
            "B-factors or ANISOU"
        )
        return [Remark("ignored", text, matters=True)]
    for atom in anisotropic:
        atom.b_iso = EIGHT_PI_SQUARED * atom.aniso.trace() / 3
    n = 0
    for found in atoms:
        atom, number = found.atom, found.residue.seqid.num
        group = next((g for g in groups if g.holds(found.chain.name, number or 0)), None)
        if group is None or atom.aniso.nonzero():
            continue
        U = group.U(np.array(atom.pos.tolist())) + atom.b_iso / EIGHT_PI_SQUARED * np.eye(3)
        atom.aniso = gemmi.SMat33f(U[0, 0], U[1, 1], U[2, 2], U[0, 1], U[0, 2], U[1, 2])
        atom.b_iso = EIGHT_PI_SQUARED * np.trace(U) / 3
        n += 1
    text = f"motion of {counted(len(groups), 'TLS group')} of the file added to residual B"
    return [Remark("changed", f"{text} of {counted(n, 'atom')}")]


def read_groups(structure: gemmi.Structure) -> list[TlsGroup]:
    """TLS groups of a file; empty if there are none, or one of them cannot be understood."""
    groups = []
    for refinement in structure.meta.refinement:
        for group in refinement.tls_groups:
            ranges = [r for s in group.selections for r in _ranges(s)]
            degree = np.pi / 180
            T, L, S = (
                _matrix(group.T),
                _matrix(group.L) * degree**2,
                np.array(group.S.tolist()) * degree,
            )
            origin = np.array(group.origin.tolist())
            if not ranges or not all(np.isfinite(x).all() for x in (T, L, S, origin)):
                return []
            groups.append(TlsGroup(T, L, S, origin, tuple(ranges)))
    return groups


def _matrix(symmetric: Any) -> Float64:
    return np.array(symmetric.as_mat33().tolist())


def _ranges(selection: Any) -> list[tuple[str, int, int]]:
    """Residues of a selection; empty if it cannot be understood."""
    if selection.chain and selection.res_begin.num is not None:
        return [(selection.chain, selection.res_begin.num, selection.res_end.num)]
    found = []
    for part in re.split(r"\bor\b", re.sub(r"[()]", " ", selection.details), flags=re.IGNORECASE):
        match = _RANGE.fullmatch(" ".join(part.split()))
        if match is None:
            return []
        found.append((match[1], int(match[2]), int(match[3])))
    return found
