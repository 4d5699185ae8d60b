"""The Bravais lattice of a crystal and its standard axes, for any setting of the cell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .crystal import Crystal

Array = NDArray[np.float64]

#: Tolerance of fractional coordinates and cosines: operators are exact twelfths, and refined
#: cells have their symmetry to 1e-3 or so.
TOLERANCE = 1e-6
ANGLE_TOLERANCE = 1e-2

#: Order of a proper rotation from its trace.
ORDERS = {3: 1, -1: 2, 0: 3, 1: 4, 2: 6}

#: Largest coefficient of the combinations of axes searched for lattice vectors.
MAX_MULTIPLE = 3


@dataclass(frozen=True)
class StandardCell:
    """Standard axes of a Bravais lattice.

    Parameters
    ----------
    lattice : str
        Crystal family and centring: aP, mP, mC, oP, oC, oI, oF, tP, tI, hP, hR, cP, cI or cF.
    axes : ndarray, shape (3, 3)
        Columns are the standard axes in fractional coordinates of the crystal's own cell.
    matrix : ndarray, shape (3, 3)
        Columns are the standard axes, Cartesian, Å.
    """

    lattice: str
    axes: Array
    matrix: Array

    @property
    def lengths(self) -> Array:
        """Lengths of the standard axes, Å."""
        return np.linalg.norm(self.matrix, axis=0)


def standard_cell(crystal: Crystal) -> StandardCell:
    """Find the Bravais lattice and its standard axes from a crystal's operators.

    The crystal's own axes are kept where they are standard. Monoclinic axes have b unique, and
    a centred cell is C-centred with the shortest axes; orthorhombic axes with one centred face
    are permuted so that it is C; rhombohedral lattices have hexagonal axes in the obverse setting.

    Parameters
    ----------
    crystal : Crystal

    Returns
    -------
    StandardCell
    """
    matrix = crystal.cell.numpy().matrix
    centrings = crystal.centring
    vectors = _lattice_vectors(matrix, centrings)
    rotations = _rotations(crystal)
    axes = {order: _axes(found) for order, found in rotations.items()}
    n_axes = {order: len(axes.get(order, ())) for order in (2, 3, 4, 6)}
    if n_axes[3] > 1:
        family, chosen = "c", [_along(vectors, axis) for axis in axes.get(4, axes[2])]
    elif n_axes[3]:
        family, chosen = "h", _around(matrix, vectors, rotations[3])
        if _contains(centrings, np.stack(chosen, 1) @ [1 / 3, 2 / 3, 1 / 3]):  # reverse
            chosen = [-chosen[0], -chosen[1], chosen[2]]
    elif n_axes[4]:
        family, chosen = "t", _around(matrix, vectors, rotations[4])
    elif n_axes[2] > 1:
        family, chosen = "o", [_along(vectors, axis) for axis in axes[2]]
    elif n_axes[2]:
        family, chosen = "m", _monoclinic(matrix, vectors, centrings, axes[2][0])
    else:
        family, chosen = "a", list(np.eye(3)) if len(centrings) == 1 else _shortest(vectors)
    P, centring = _centring(np.stack(chosen, axis=1), centrings, family)
    return StandardCell(family + centring, P, matrix @ P)


def _lattice_vectors(matrix: Array, centrings: Array) -> Array:
    """Short lattice vectors in fractional coordinates, the shortest first, without zero."""
    steps = range(-MAX_MULTIPLE, MAX_MULTIPLE + 1)
    cells = np.array(list(itertools.product(steps, steps, steps)), dtype=np.float64)
    every = (cells[:, None, :] + centrings).reshape(-1, 3)
    every = every[np.abs(every).max(axis=1) > TOLERANCE]
    lengths = np.linalg.norm(every @ matrix.T, axis=1)
    # Of equally long vectors (at least v and -v), prefer the one along the cell's own axes.
    v = np.round(every, 6)
    order = np.lexsort((*-v.T[::-1], np.abs(v).sum(axis=1), np.round(lengths, 6)))
    return every[order]


def _rotations(crystal: Crystal) -> dict[int, list[Array]]:
    """The proper rotations of the point group by order, in fractional coordinates."""
    found: dict[int, list[Array]] = {}
    for rotation in crystal.rotations.detach().cpu().double().numpy():
        proper = rotation * round(float(np.linalg.det(rotation)))
        found.setdefault(ORDERS[round(float(np.trace(proper)))], []).append(proper)
    return found


def _axis(rotation: Array) -> Array:
    """Axis of a rotation, with its first index positive."""
    order = ORDERS[round(float(np.trace(rotation)))]
    # Averaging over the powers of the rotation leaves only the part along the axis.
    total = np.sum([np.linalg.matrix_power(rotation, n) for n in range(order)], axis=0)
    axis = total[:, np.argmax(np.abs(total).sum(axis=0))]
    axis = axis / np.abs(axis).max()
    return np.asarray(axis * np.sign(axis[np.argmax(np.abs(axis) > TOLERANCE)]))


def _axes(rotations: list[Array]) -> list[Array]:
    """The distinct axes of some rotations; those along the cell's own axes are in their order."""
    different = {tuple(np.round(_axis(rotation), 6)) for rotation in rotations}
    return [np.array(axis) for axis in sorted(different, reverse=True)]


def _along(vectors: Array, axis: Array) -> Array:
    """The shortest lattice vector along an axis."""
    parallel = np.linalg.norm(np.cross(vectors, axis), axis=1) < TOLERANCE
    return np.asarray(vectors[parallel & (vectors @ axis > 0)][0])


def _across(matrix: Array, vectors: Array, axis: Array) -> Array:
    """Lattice vectors perpendicular to an axis, the shortest first."""
    cart = vectors @ matrix.T
    along = matrix @ axis
    cosine = cart @ along / (np.linalg.norm(cart, axis=1) * np.linalg.norm(along))
    return vectors[np.abs(cosine) < ANGLE_TOLERANCE]


def _around(matrix: Array, vectors: Array, rotations: list[Array]) -> list[Array]:
    """a, b and c with c along the axis of these rotations, and b the image of a under one."""
    axis = _axis(rotations[0])
    a, c = _across(matrix, vectors, axis)[0], _along(vectors, axis)
    return next(
        [a, rotation @ a, c] for rotation in rotations if np.linalg.det([a, rotation @ a, c]) > 0
    )


def _monoclinic(matrix: Array, vectors: Array, centrings: Array, axis: Array) -> list[Array]:
    """a, b and c with b unique; the cell's own a and c if it is primitive."""
    b = _along(vectors, axis)
    if len(centrings) == 1:
        unique = int(np.argmax(np.abs(axis)))
        c, a = np.eye(3)[(unique + 1) % 3], np.eye(3)[(unique + 2) % 3]
        return [a, b, c]
    across = _across(matrix, vectors, axis)
    centred = [v for v in across if _contains(centrings, (v + b) / 2)]
    a = centred[0] if centred else across[0]
    square = np.linalg.norm(np.cross(across @ matrix.T, matrix @ a), axis=1)
    shortest_square = square[square > TOLERANCE * square.max()].min()
    c = across[np.abs(square - shortest_square) < ANGLE_TOLERANCE * shortest_square][0]
    return [a, b, c]


def _shortest(vectors: Array) -> list[Array]:
    """The three shortest independent lattice vectors."""
    chosen: list[Array] = []
    for v in vectors:
        if np.linalg.matrix_rank(np.stack([*chosen, v]), tol=TOLERANCE) > len(chosen):
            chosen.append(v)
        if len(chosen) == 3:
            break
    return chosen


def _contains(centrings: Array, vector: Array) -> bool:
    """Whether a vector (fractional) is a lattice vector."""
    off = centrings - vector
    return bool((np.abs(off - np.round(off)).max(axis=1) < TOLERANCE).any())


def _centring(P: Array, centrings: Array, family: str) -> tuple[Array, str]:
    """Centring letter of the axes P, and P permuted so that one centred face is C."""
    n = round(abs(float(np.linalg.det(P))) * len(centrings))
    if n == 1:
        return P, "P"
    if n == 3:
        return P, "R"
    if n == 4:
        return P, "F"
    if _contains(centrings, P @ [0.5, 0.5, 0.5]):
        return P, "I"
    if _contains(centrings, P @ [0.0, 0.5, 0.5]) and family == "o":
        return P[:, [1, 2, 0]], "C"
    if _contains(centrings, P @ [0.5, 0.0, 0.5]) and family == "o":
        return P[:, [2, 0, 1]], "C"
    return P, "C"
