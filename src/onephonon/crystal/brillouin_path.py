"""The standard path through the Brillouin zone, for each of the fourteen Bravais lattices.

Names and paths are those of Hinuma, Pizzi, Kumagai, Oba & Tanaka, Comput. Mater. Sci. 128, 140
(2017), which follow the Bilbao Crystallographic Server (Aroyo et al., Acta Cryst. A70, 126, 2014).
Points that depend on the shape of the cell are not tabulated: they are where a symmetry line
leaves the zone, and are computed. Frequencies are equal at k and -k, so the paths are those of
crystals with an inversion.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.errors import InputError

from .cell import UnitCell
from .crystal import Crystal
from .standard_cell import StandardCell, standard_cell

Array = NDArray[np.float64]

#: Lengths of wavevectors closer than this (relative) are equal: they are tabulated coordinates
#: multiplied by an inverted matrix, with its rounding.
LENGTH_TOLERANCE = 1e-7

#: Fraction along a segment that lies on no other symmetry element; used to compare segments.
TEST_FRACTION = 0.2871

#: ASCII spellings of Greek labels.
LABEL_SPELLINGS = {"GAMMA": "Γ", "SIGMA": "Σ", "DELTA": "Δ", "LAMBDA": "Λ"}

#: By Bravais lattice and shape: the path, its pieces separated by bars, and the points in the
#: standard reciprocal axes. "Z0 M+ 0 0 1" is the end of the line that starts at M along 0 0 1. A
#: piece with "unless" is omitted if an operator maps it onto the segment named there.
RECIPES = {
    "cP": ("Γ X M Γ R X|R M|M X1 unless M X", "X 0 1/2 0, M 1/2 1/2 0, R 1/2 1/2 1/2, X1 1/2 0 0"),
    "cF": (
        "Γ X U|K Γ L W X|X W2 unless X W",
        "X 0 1 0, L 1/2 1/2 1/2, W 1/2 1 0, W2 0 1 1/2, K 3/4 3/4 0, U 1/4 1 1/4",
    ),
    "cI": ("Γ H N Γ P H|P N", "H 0 1 0, P 1/2 1/2 1/2, N 1/2 1/2 0"),
    "tP": (
        "Γ X M Γ Z R A Z|X R|M A",
        "X 0 1/2 0, M 1/2 1/2 0, Z 0 0 1/2, R 0 1/2 1/2, A 1/2 1/2 1/2",
    ),
    "tI1": (
        "Γ X M Γ Z|Z0 M|X P N Γ",
        "M 1 0 0, X 1/2 1/2 0, P 1/2 1/2 1/2, N 1/2 0 1/2, Z Γ+ 0 0 1, Z0 M+ 0 0 1",
    ),
    "tI2": (
        "Γ X P N Γ M S|S0 Γ|X R|G M",
        "M 0 0 1, X 1/2 1/2 0, P 1/2 1/2 1/2, N 1/2 0 1/2, S0 Γ+ 1 0 0, S M+ 1 0 0, "
        "R X+ 1 -1 0, G M+ 1 1 0",
    ),
    "oP": (
        "Γ X S Y Γ Z U R T Z|X U|Y T|S R",
        "X 1/2 0 0, Y 0 1/2 0, Z 0 0 1/2, S 1/2 1/2 0, U 1/2 0 1/2, T 0 1/2 1/2, R 1/2 1/2 1/2",
    ),
    "oC1": (
        "Γ Y C0|Σ0 Γ Z A0|E0 T Y|Γ S R Z T",
        "Y 0 1 0, T 0 1 1/2, Z 0 0 1/2, S 1/2 1/2 0, R 1/2 1/2 1/2, "
        "Σ0 Γ+ 1 0 0, C0 Y+ 1 0 0, A0 Z+ 1 0 0, E0 T+ 1 0 0",
    ),
    "oC2": (
        "Γ Y F0|Δ0 Γ Z B0|G0 T Y|Γ S R Z T",
        "Y 1 0 0, T 1 0 1/2, Z 0 0 1/2, S 1/2 1/2 0, R 1/2 1/2 1/2, "
        "Δ0 Γ+ 0 1 0, F0 Y+ 0 1 0, B0 Z+ 0 1 0, G0 T+ 0 1 0",
    ),
    "oI1": (
        "Γ X F2|Σ0 Γ Y0|U0 X|Γ R W S Γ T W",
        "X 0 0 1, S 0 1/2 1/2, R 1/2 0 1/2, T 1/2 1/2 0, W 1/2 1/2 1/2, "
        "Σ0 Γ+ 1 0 0, F2 X+ 1 0 0, Y0 Γ+ 0 1 0, U0 X+ 0 1 0",
    ),
    "oI2": (
        "Γ X U2|Y0 Γ Λ0|G2 X|Γ R W S Γ T W",
        "X 1 0 0, S 0 1/2 1/2, R 1/2 0 1/2, T 1/2 1/2 0, W 1/2 1/2 1/2, "
        "Y0 Γ+ 0 1 0, U2 X+ 0 1 0, Λ0 Γ+ 0 0 1, G2 X+ 0 0 1",
    ),
    "oI3": (
        "Γ X F0|Σ0 Γ Λ0|G0 X|Γ R W S Γ T W",
        "X 0 1 0, S 0 1/2 1/2, R 1/2 0 1/2, T 1/2 1/2 0, W 1/2 1/2 1/2, "
        "Σ0 Γ+ 1 0 0, F0 X+ 1 0 0, Λ0 Γ+ 0 0 1, G0 X+ 0 0 1",
    ),
    "oF1": (
        "Γ Y T Z Γ Σ0|U0 T|Y C0|A0 Z|Γ L",
        "T 0 1 1, Z 0 0 1, Y 0 1 0, L 1/2 1/2 1/2, "
        "Σ0 Γ+ 1 0 0, U0 T+ 1 0 0, A0 Z+ 1 0 0, C0 Y+ 1 0 0",
    ),
    "oF2": (
        "Γ T Z Y Γ Λ0|Q0 Z|T G0|H0 Y|Γ L",
        "T 1 0 0, Z 1 1 0, Y 0 1 0, L 1/2 1/2 1/2, "
        "Λ0 Γ+ 0 0 1, Q0 Z+ 0 0 1, G0 T+ 0 0 1, H0 Y+ 0 0 1",
    ),
    "oF3": (
        "Γ Y C0|A0 Z B0|D0 T G0|H0 Y|T Γ Z|Γ L",
        "T 1 0 0, Z 0 0 1, Y 0 1 0, L 1/2 1/2 1/2, "
        "A0 Z+ 1 0 0, C0 Y+ 1 0 0, B0 Z+ 0 1 0, D0 T+ 0 1 0, G0 T+ 0 0 1, H0 Y+ 0 0 1",
    ),
    "hP": (
        "Γ M K Γ A L H A|L M|H K|K H2 unless K H",
        "A 0 0 1/2, K 1/3 1/3 0, H 1/3 1/3 1/2, H2 1/3 1/3 -1/2, M 1/2 0 0, L 1/2 0 1/2",
    ),
    "hR1": (
        "Γ T H2|H0 L Γ S0|S2 F Γ",
        "T 0 0 3/2, L 1/2 0 1/2, F 1/2 -1/2 1, "
        "H2 T+ 2 -1 0, H0 L+ 1 -2 0, S0 Γ+ 2 -1 0, S2 F+ 1 1 0",
    ),
    "hR2": (
        "Γ L T P0|P2 Γ F",
        "T 1 -1 1/2, L 1/2 0 1/2, F 1 -1/2 0, P2 Γ+ 0 0 1, P0 T+ 0 0 -1",
    ),
    # From here on a point represents all points that differ from it by a lattice vector; which of
    # them is nearest to the origin depends on the angles.
    "mP": (
        "Γ Z D B Γ A E Z C Y Γ",
        "Z 0 1/2 0, B 0 0 1/2, Y 1/2 0 0, A 1/2 0 1/2, C 1/2 1/2 0, D 0 1/2 1/2, E 1/2 1/2 1/2",
    ),
    "mC1": (
        "Γ C|C2 Y Γ M D|D2 A Γ|L Γ V",
        "Y 1 0 0, A 0 0 1/2, M 1 0 1/2, V 1/2 1/2 0, L -1/2 1/2 1/2, "
        "C Γ+ 0 1 0, C2 Y+ 0 1 0, D M+ 0 1 0, D2 A+ 0 1 0",
    ),
    "mC2": (
        "Γ Y M A Γ|L Γ V",
        "Y 1 0 0, A 0 0 1/2, M 1 0 1/2, V 1/2 1/2 0, L -1/2 1/2 1/2",
    ),
    "mC3": (
        "Γ A I2|I M Γ Y|L Γ V",
        "Y 1 0 0, A 0 0 1/2, M 1 0 1/2, V 1/2 1/2 0, L -1/2 1/2 1/2, I M+ 0 1 0, I2 A+ 0 1 0",
    ),
    "aP": (
        "X Γ Y|Z Γ R|T Γ U|Γ V",
        "X 1/2 0 0, Y 0 1/2 0, Z 0 0 1/2, T 0 1/2 1/2, U 1/2 0 1/2, V 1/2 1/2 0, R 1/2 1/2 1/2",
    ),
}


@dataclass(frozen=True)
class ZonePath:
    """The standard path of a crystal.

    Parameters
    ----------
    lattice : str
        Bravais lattice, with the number of the zone's shape where there are several: 'mP', 'oI2'.
    points : dict of str to three float
        The named points, in the reciprocal axes of the crystal's own cell. In a centred cell
        they may lie beyond 1/2: the zone is that of the primitive cell.
    pieces : tuple of tuple of str
        Unbroken sequences of points.
    """

    lattice: str
    points: dict[str, tuple[float, float, float]]
    pieces: tuple[tuple[str, ...], ...]

    def find(self, name: str) -> tuple[float, float, float]:
        """A point by its name; GAMMA, SIGMA, DELTA and LAMBDA may be spelled out.

        Raises
        ------
        InputError
            If the path has no such point.
        """
        wanted = name.strip().upper().replace("_", "")
        for spelled, letter in LABEL_SPELLINGS.items():
            wanted = wanted.replace(spelled, letter)
        if wanted not in self.points:
            raise InputError(
                f"the zone of lattice {self.lattice} has no point {name!r}; its points are "
                f"{', '.join(self.points)}"
            )
        return self.points[wanted]


def zone_path(crystal: Crystal) -> ZonePath:
    """The standard path of a crystal's lattice, in the crystal's own reciprocal axes.

    Parameters
    ----------
    crystal : Crystal

    Returns
    -------
    ZonePath
    """
    standard = standard_cell(crystal)
    own_lattice = reciprocal_lattice(crystal)
    lattice, standard = _shape(standard, _Zone(standard, own_lattice))
    zone = _Zone(standard, own_lattice)
    path, table = RECIPES[lattice]
    points: dict[str, Array] = {"Γ": np.zeros(3)}
    for entry in table.split(","):
        label, *numbers = entry.split()
        start = numbers.pop(0)[:-1] if numbers[0].endswith("+") else ""
        k = np.array([float(Fraction(x)) for x in numbers])
        if start:
            k = zone.leave(points[start], k)
        elif lattice[0] in "am":
            k = zone.nearest(k)
        points[label] = k
    back = np.linalg.inv(standard.axes)
    own = {label: k @ back for label, k in points.items()}
    pieces = tuple(_pieces(path, own, crystal))
    used = {label for piece in pieces for label in piece}
    # Remove rounding of the inverted matrix: 0 instead of -0, 1/2 instead of 1/2 - 1e-17.
    rounded = {label: tuple(float(x) for x in np.round(k, 12) + 0.0) for label, k in own.items()}
    return ZonePath(lattice, {n: k for n, k in rounded.items() if n in used}, pieces)  # type: ignore[misc]


def reciprocal_lattice(crystal: Crystal) -> Array:
    """Reciprocal lattice vectors around the origin, without it, in the crystal's own axes.

    They are those of the primitive lattice: in a centred cell, the Miller indices that are not
    extinct. Shape (n, 3), enough of them to bound the first zone.
    """
    shifts = crystal.centring
    inverse = crystal.cell.inverse.detach().cpu().double().numpy()
    # Every box of `widest` cells is a cell of the primitive reciprocal lattice. The zone reaches
    # no farther than half its diagonal, so longer vectors than the diagonal bound nothing.
    widest = len(shifts) if len(shifts) < 4 else 2
    reach = widest * np.linalg.norm(inverse)
    max_index = np.floor(reach * np.array(crystal.cell.parameters[:3]) + LENGTH_TOLERANCE).astype(
        int
    )
    hkl = np.array(
        list(itertools.product(*(range(-m, m + 1) for m in max_index))), dtype=np.float64
    )
    whole = hkl @ shifts.T
    kept = (np.abs(whole - np.round(whole)) < LENGTH_TOLERANCE).all(axis=1) & hkl.any(axis=1)
    kept &= np.linalg.norm(hkl @ inverse, axis=1) <= reach * (1 + LENGTH_TOLERANCE)
    return np.asarray(hkl[kept])


class _Zone:
    """The first Brillouin zone, in the standard reciprocal axes."""

    def __init__(self, standard: StandardCell, own_lattice: Array) -> None:
        self.inverse = np.linalg.inv(standard.matrix)
        self.lattice = np.round(own_lattice @ standard.axes)

    def length(self, k: Array) -> Array:
        return np.asarray(np.linalg.norm(k @ self.inverse, axis=-1))

    def leave(self, start: Array, direction: Array) -> Array:
        """The point where a line that starts inside the zone leaves it."""
        G = self.lattice @ self.inverse
        towards = G @ (direction @ self.inverse)
        distance_left = (G * G).sum(1) / 2 - G @ (start @ self.inverse)
        ahead = towards > LENGTH_TOLERANCE * np.abs(towards).max()
        return np.asarray(start + direction * (distance_left[ahead] / towards[ahead]).min())

    def nearest(self, k: Array) -> Array:
        """The shortest wavevector equivalent to k; on a tie, the one with positive l, k and h."""
        every = np.concatenate([[k], k + self.lattice])
        length = self.length(every)
        short = every[length < length.min() * (1 + LENGTH_TOLERANCE)]
        return np.asarray(max(short, key=lambda v: (v[2], v[1], v[0])))


def _shape(standard: StandardCell, zone: _Zone) -> tuple[str, StandardCell]:
    """The zone shape of a cell, with its lattice, and its axes, reordered where needed."""
    a, b, c = standard.lengths
    lattice, number = standard.lattice, ""
    if lattice == "tI":
        number = "1" if c <= a else "2"
    elif lattice == "oC":
        number = "1" if a <= b else "2"
    elif lattice == "oI":
        number = "123"[int(np.argmax([c, a, b]))]
    elif lattice == "hR":
        number = "1" if 3 * a**2 <= 2 * c**2 else "2"
    elif lattice == "oF":
        inverse_squares = np.array([a, b, c]) ** -2
        large = inverse_squares > inverse_squares.sum() / 2
        number = "1" if large[0] else "2" if large[2] else "3"
        if large[1]:
            axis_order = [1, 2, 0]
            standard = StandardCell(
                lattice, standard.axes[:, axis_order], standard.matrix[:, axis_order]
            )
            number = "1"
    elif lattice == "mC":
        # Whether the shortest of Y and of M lie in the plane across the axis.
        flat = [not zone.nearest(np.array(k))[1] for k in ((1.0, 0.0, 0.0), (1.0, 0.0, 0.5))]
        number = "1" if flat[0] else "3" if flat[1] else "2"
    return lattice + number, standard


def _pieces(path: str, points: dict[str, Array], crystal: Crystal) -> list[tuple[str, ...]]:
    """The pieces of a path, without those equivalent by the crystal's operators."""
    found = []
    for piece in path.split("|"):
        labels_text, _, twin = piece.partition(" unless ")
        if twin:
            ends = [[points[label] for label in words.split()] for words in (labels_text, twin)]
            one, other = (start + TEST_FRACTION * (end - start) for start, end in ends)
            if _equivalent(one, other, crystal):
                continue
        found.append(tuple(labels_text.split()))
    return found


def _equivalent(k: Array, other: Array, crystal: Crystal) -> bool:
    """Whether an operator or time reversal maps one wavevector onto another."""
    rotations = crystal.rotations.detach().cpu().double().numpy()
    shifts = crystal.centring
    for axis_order in itertools.chain(k @ rotations, -(k @ rotations)):
        apart = axis_order - other
        on_lattice = np.concatenate([apart, shifts @ apart])
        if np.abs(on_lattice - np.round(on_lattice)).max() < LENGTH_TOLERANCE:
            return True
    return False


def points_along(
    cell: UnitCell, corners: Tensor, counts: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Points on straight segments from corner to corner.

    Each segment includes its first corner but not its last, which begins the next segment, so no
    corner appears twice; the last corner ends the list.

    Parameters
    ----------
    cell : UnitCell
        Differentiable.
    corners : Tensor, shape (n_corners, 3)
        Miller indices; differentiable.
    counts : sequence of int, length n_corners - 1
        Steps along each segment.

    Returns
    -------
    hkl : Tensor, shape (n, 3)
    distance : Tensor, shape (n,)
        From the first corner, 1/Å with 2*pi.
    corner : Tensor, shape (n_corners,), int64
        Index of each corner in the list.
    """
    lengths = torch.linalg.vector_norm(cell.q_from_hkl(corners[1:] - corners[:-1]), dim=1)
    distance = torch.cat([lengths.new_zeros(1), torch.cumsum(lengths, 0)])
    corner = torch.tensor([0, *counts], device=corners.device).cumsum(0)
    return _along(corners, counts), _along(distance, counts), corner


def _along(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Interpolate linearly from each value to the next in `counts` steps, the last included."""
    pieces = []
    for start, end, n in zip(values[:-1], values[1:], counts, strict=True):
        fraction = torch.arange(n, dtype=values.dtype, device=values.device) / n
        pieces.append(start + fraction.reshape(-1, *[1] * start.ndim) * (end - start))
    return torch.cat([*pieces, values[-1:]])
