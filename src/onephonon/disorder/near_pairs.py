"""Lists of pairs of atoms: those near each other in the crystal, or all of the same group."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class PairList:
    """Pairs of atoms, each once.

    Parameters
    ----------
    first, second : ndarray, shape (n,), int
    vector : ndarray, shape (n, 3)
        From the first atom to the second, Å.
    weight : ndarray, shape (n,)
        2, since (j, k) stands for (k, j), too; 1 for an atom with itself.
    """

    first: Index
    second: Index
    vector: Float64
    weight: Float64

    @property
    def distance(self) -> Float64:
        """Distances in Å, shape (n,)."""
        return np.linalg.norm(self.vector, axis=1)


def near_pairs(matrix: Float64, frac: Float64, reach: float) -> PairList:
    """All pairs of the crystal within a distance, one atom of each in the first cell.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        Columns are the axes of the cell, Å.
    frac : ndarray, shape (n, 3)
        Atoms of one cell, fractional, in [0, 1).
    reach : float
        Å.
    """
    margin = reach * np.linalg.norm(np.linalg.inv(matrix), axis=1)
    cells = [range(-math.ceil(m), math.ceil(m) + 1) for m in margin]
    images, atoms, first_half = [], [], []
    for cell in itertools.product(*cells):
        moved = frac + cell
        inside = np.flatnonzero(((moved >= -margin) & (moved <= 1 + margin)).all(1))
        images.append(moved[inside])
        atoms.append(inside)
        first_half.append(np.full(len(inside), cell > (0, 0, 0)))
    image, atom = np.concatenate(images), np.concatenate(atoms)
    later = np.concatenate(first_half)
    places = image @ matrix.T
    home = frac @ matrix.T
    found = cKDTree(home).sparse_distance_matrix(cKDTree(places), reach, output_type="ndarray")
    first, other = found["i"], found["j"]
    second = atom[other]
    vector = places[other] - home[first]
    itself = (first == second) & ((image[other] == frac[first]).all(1))
    keep = (first < second) | ((first == second) & later[other]) | itself
    weight = np.where(itself, 1.0, 2.0)
    return PairList(first[keep], second[keep], vector[keep], weight[keep])


def pairs_within_groups(position: Float64, group: Index) -> PairList:
    """All pairs of atoms of one group.

    Parameters
    ----------
    position : ndarray, shape (n, 3)
        Å.
    group : ndarray, shape (n,), int
    """
    firsts, seconds = [], []
    for number in np.unique(group):
        atoms = np.flatnonzero(group == number)
        i, j = np.triu_indices(len(atoms))
        firsts.append(atoms[i])
        seconds.append(atoms[j])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    weight = np.where(first == second, 1.0, 2.0)
    return PairList(first, second, position[second] - position[first], weight)
