"""Indexing ambiguities: the lattice may have more symmetry than the Laue group.

A rotation that keeps the lattice, but not the structure, gives another set of Miller indices that
fits the Bragg peak positions equally well. Only intensities distinguish them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError

from .cell import numpy_cell
from .symmetry import find_group, laue_operators, parse_triplet, triplet

Float64 = NDArray[np.float64]

#: Largest obliquity: angle between a lattice row and the normal of its plane, degrees.
MAX_OBLIQUITY = 3.0

#: Largest relative change of 1/d of an hkl, corresponding to `MAX_OBLIQUITY`.
MAX_MISFIT = 0.06


@dataclass(frozen=True, eq=False)
class Reindexing:
    """A change of Miller indices, ``hkl_new = matrix @ hkl_old``.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        Its determinant is 1 or -1. Its elements are whole numbers, except for centred cells whose
        lattice has a higher symmetry than the axes show.
    misfit : float
        Largest relative change of 1/d of an hkl; 0 if the operator keeps the cell exactly.
    """

    matrix: Float64
    misfit: float = 0.0

    @property
    def name(self) -> str:
        """The new indices in terms of the old ones, as in ``k,h,-l``."""
        return triplet(self.operator)

    @property
    def is_identity(self) -> bool:
        """Whether indices stay as they are."""
        return bool((self.matrix == np.eye(3)).all())

    @property
    def operator(self) -> Float64:
        """The same change as ``hkl_new = hkl_old @ operator`` on rows, shape (3, 3)."""
        return self.matrix.T


def find_reindexings(
    cell: Sequence[float], spacegroup: str, max_obliquity: float = MAX_OBLIQUITY
) -> tuple[Reindexing, ...]:
    """All indexings of the lattice that are not equivalent in the Laue group.

    Parameters
    ----------
    cell : sequence of six float
        a, b, c in Å; alpha, beta, gamma in degrees.
    spacegroup : str
        Hermann-Mauguin symbol; only centring and Laue group matter. See `laue_operators`.
    max_obliquity : float
        Largest deviation in degrees from a two-fold axis of the lattice; see Le Page, J. Appl.
        Cryst. 15 (1982) 255. 0 asks for exact symmetry.

    Returns
    -------
    tuple of Reindexing
        One operator of each coset of the Laue group in the point group of the lattice, the
        identity first: the simplest proper rotation, with few terms and few minus signs.

    Raises
    ------
    InputError
        If the space group is not known or the cell does not have its symmetry.
    """
    if not (math.isfinite(max_obliquity) and 0 <= max_obliquity <= 45):
        raise InputError(f"max_obliquity {max_obliquity}: must be an angle from 0 to 45 degrees")
    laue = laue_operators(spacegroup, cell).astype(np.float64)
    group = find_group(spacegroup, cell)
    lattice = gemmi.find_lattice_symmetry(
        gemmi.UnitCell(*cell), group.centring_type(), max(max_obliquity, 1e-4)
    )
    rotations = [np.array(op.rot, dtype=np.float64) / gemmi.Op.DEN for op in lattice.sym_ops]
    found = [Reindexing(np.eye(3))]
    known = {_key(L) for L in laue}
    for rotation in rotations:
        if _key(rotation) in known:
            continue
        coset = rotation @ laue
        known |= {_key(operator) for operator in coset}
        operator = min(coset, key=_complexity)
        found.append(Reindexing(operator.T.copy(), misfit_of(operator.T, cell)))
    return tuple(sorted(found, key=lambda r: (not r.is_identity, _complexity(r.operator))))


def parse_reindexing(
    text: str, cell: Sequence[float], to_cell: Sequence[float] | None = None
) -> Reindexing:
    """Parse a reindexing operator such as ``k,h,-l``.

    Parameters
    ----------
    text : str
        New indices in terms of those of the data.
    cell : sequence of six float
        Of the data.
    to_cell : sequence of six float, optional
        Cell that the new indices belong to; by default the data's own.

    Raises
    ------
    InputError
        If it cannot be read, its determinant is not 1 or -1, or it does not map onto the cell.
    """
    operator = parse_triplet(text)
    if operator is None or abs(abs(np.linalg.det(operator)) - 1) > 1e-9:
        raise InputError(
            f"reindexing {text!r}: give three indices with determinant 1 or -1, such as k,h,-l"
        )
    matrix = operator.T
    misfit = misfit_of(matrix, cell, to_cell)
    if misfit > MAX_MISFIT:
        raise InputError(
            f"reindexing by {text} changes 1/d of some hkl by {100 * misfit:.2g} %: the lattice of "
            f"cell {tuple(cell)} does not allow it; see the operators that `auto` tries"
        )
    return Reindexing(matrix, misfit)


def misfit_of(
    matrix: ArrayLike, cell: Sequence[float], to_cell: Sequence[float] | None = None
) -> float:
    """Largest relative change of 1/d when hkl is replaced by ``matrix @ hkl``.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
    cell : sequence of six float
        Of hkl.
    to_cell : sequence of six float, optional
        Of ``matrix @ hkl``; by default the same.
    """
    old, new = numpy_cell(cell).inverse, numpy_cell(to_cell or cell).inverse
    stretch = np.linalg.svd(np.linalg.inv(old) @ np.asarray(matrix).T @ new, compute_uv=False)
    return float(np.abs(stretch - 1).max())


def _key(operator: Float64) -> bytes:
    return bytes(np.rint(operator * gemmi.Op.DEN).astype(np.int16).tobytes())


def _complexity(operator: Float64) -> tuple[float, ...]:
    """Sort key of operators: handedness, fractions, number of terms, minus signs."""
    proper = np.linalg.det(operator) > 0
    whole = bool((operator == np.rint(operator)).all())
    terms, minus = np.count_nonzero(operator), int((operator < 0).sum())
    # Prefer an operator that leaves h, k or l unchanged.
    return (not proper, not whole, terms, minus, *(-operator.diagonal()), *operator.reshape(-1))


def check_reindexing_matrix(matrix: ArrayLike | str) -> NDArray[np.int64]:
    """Check a user's reindexing matrix, or read one written as 'k,h,-l', shape (3, 3).

    Unlike `parse_reindexing` it requires whole numbers, and no cell: a map keeps its voxels under
    any such matrix, and its cell is transformed.

    Raises
    ------
    InputError
        If its elements are not whole numbers, or its determinant is not 1 or -1.
    """
    P: NDArray[np.float64] | None
    if isinstance(matrix, str):
        operator = parse_triplet(matrix)
        P = None if operator is None else operator.T
    else:
        try:
            P = np.asarray(matrix, dtype=np.float64)
        except (TypeError, ValueError):
            P = None
    whole = P is not None and P.shape == (3, 3) and bool((np.rint(P) == P).all())
    if P is None or not whole or abs(round(float(np.linalg.det(P)))) != 1:
        raise InputError(
            f"reindexing by {matrix!r}: give three rows of whole numbers with determinant 1 or -1, "
            "or three indices as 'k,h,-l'"
        )
    return P.astype(np.int64)
