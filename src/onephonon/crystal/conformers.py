"""Alternative conformers: which atoms exclude each other, and how often two of them meet.

A file gives alternatives of a residue different letters (altloc), and occupancies for how often
each is found. Where all conformers are kept, each must count by its share, or the crystal gains
atoms, mass and springs.

An atom that stands for part of the molecules only (its occupancy is below 1) but has no
alternative counts in full in all that is mechanical, with or without a letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import GradientError
from onephonon.core.tensors import constant_values

from .crystal import AtomLabel, Crystal

Index = NDArray[np.int64]
Float = NDArray[np.float64]

#: Occupancies have two decimals: the sum of a few may miss 1 by this much.
ROUNDING = 0.03

#: Probabilities below this are rounding.
NOTHING = 1e-9

#: Number of elements per batch of the tables (pairs, letters, letters).
NUMBERS_AT_A_TIME = 2_000_000


@dataclass(frozen=True)
class Conformers:
    """Alternatives of the atoms of the asymmetric unit.

    Atoms of one name in one residue, with different letters, are alternatives of one site. Residues
    of different types at one position (microheterogeneity) are one residue. A blank letter among
    lettered alternatives counts as a letter.

    Parameters
    ----------
    residue : ndarray, shape (n_atoms,), int
        The residue of each atom.
    site : ndarray, shape (n_atoms,), int
        The site of each atom; one without alternatives has its own.
    letter : ndarray, shape (n_atoms,), int
        Column of each atom in `probability`; -1 for an atom without a letter.
    probability : ndarray, shape (n_sites, n_letters)
        Probability of each conformer at each site: the occupancy.
    here : ndarray, shape (n_sites, n_letters), bool
        Whether the site has an atom of this letter.
    lone : ndarray, shape (n_sites,), bool
        Whether the site's residue has a single letter.
    """

    residue: Index
    site: Index
    letter: Index
    probability: Float
    here: NDArray[np.bool_]
    lone: NDArray[np.bool_]

    @property
    def shares(self) -> Float:
        """Share of each atom among the conformers of its site, shape (n_atoms,); at most 1."""
        share = np.ones(len(self.site))
        some = np.flatnonzero(self.letter >= 0)
        p = self.probability[self.site[some]]
        share[some] = p[np.arange(len(some)), self.letter[some]] / p.sum(1)
        return share

    def weights(self, i: Index, j: Index, same_copy: NDArray[np.bool_]) -> Float:
        """Weights of contacts between atoms of the asymmetric unit.

        Parameters
        ----------
        i, j : ndarray, shape (n,), int
            Atoms of the asymmetric unit.
        same_copy : ndarray, shape (n,), bool
            Whether both belong to the same copy.

        Returns
        -------
        ndarray, shape (n,)
            Exactly 1 between atoms without alternatives; 0 where two atoms exclude each other.

        Notes
        -----
        The weight is the probability of finding both atoms, over that of finding both sites
        occupied. Copies are independent of each other: ``w = w_i w_j`` of their `shares`; likewise
        an atom without a letter is there with every conformer of the others.

        Within a copy, conformers of the same letter go together as far as their occupancies p and
        p' allow: ``m_a = min(p_a, p'_a)``. What is left over, ``r_a = p_a - m_a`` with the sum R
        (R' for the other site), meets at random: ``p_ab = m_a delta_ab + F r_a r'_b/(R R')``. F is
        ``min(R, R')``, the largest possible, so that the weights of all pairs of conformers of two
        sites sum up to 1. A residue with a single letter of occupancy below 1 (a water that is
        there in one of two cases) avoids other letters as far as possible: then F is the smallest
        possible, ``max(0, R + R' + sum m - 1)``. Within a residue, letters that both sites have
        never meet.
        """
        share = self.shares
        weight: Float = share[i] * share[j]
        both = np.flatnonzero(same_copy & (self.letter[i] >= 0) & (self.letter[j] >= 0))
        pairs = max(1, NUMBERS_AT_A_TIME // max(1, self.probability.shape[1]) ** 2)
        for part in np.split(both, range(pairs, len(both), pairs)):
            weight[part] = self._within_copy(i[part], j[part])
        weight[weight < NOTHING] = 0.0
        return weight

    def _within_copy(self, i: Index, j: Index) -> Float:
        """Weights between lettered atoms of one copy."""
        x, y, a, b = self.site[i], self.site[j], self.letter[i], self.letter[j]
        p, q = self.probability[x], self.probability[y]
        m = np.minimum(p, q)
        r, s = p - m, q - m
        M, R, S = m.sum(1), r.sum(1), s.sum(1)
        F = np.where(self.lone[x] | self.lone[y], R + S + M - 1, np.minimum(R, S))
        by_chance = np.divide(F, R * S, out=np.zeros_like(F), where=F > NOTHING)
        eye = np.eye(p.shape[1], dtype=bool)
        joint = eye * m[:, None] + by_chance[:, None, None] * r[:, :, None] * s[:, None, :]
        joint *= self.here[x, :, None] & self.here[y, None, :]
        # [n, a, b]: the first site has b, too, and the second has a.
        exclusive = ~eye & (p > 0)[:, None, :] & (q > 0)[:, :, None]
        exclusive &= (self.residue[i] == self.residue[j])[:, None, None]
        kept = np.where(exclusive, 0.0, joint)
        total, rest = joint.sum((1, 2)), kept.sum((1, 2))
        of_all = np.divide(total, rest, out=np.zeros_like(total), where=rest > 0)
        weight: Float = kept[np.arange(len(i)), a, b] * of_all / np.minimum(M + R, M + S)
        return weight


def find_conformers(crystal: Crystal) -> Conformers:
    """Find the alternatives among the atoms of a crystal, and their probabilities.

    Occupancies are those of the crystal, as constants: nothing here is differentiable.
    """
    occupancies = np.zeros(crystal.n_atoms)  # not needed without letters
    if any(label.altloc for label in crystal.labels):
        occupancies = constant_values(crystal.occupancies)
        if occupancies.shape != (crystal.n_atoms,):
            raise GradientError(
                "alternative conformers are weighted by one set of occupancies: torch.vmap over "
                "occupancies is not possible; use a loop"
            )
    return _find(crystal.labels, occupancies.tobytes())


@lru_cache(maxsize=8)
def _find(labels: tuple[AtomLabel, ...], occupancies: bytes) -> Conformers:
    occupancy = np.frombuffer(occupancies).clip(min=0.0)
    residue = _numbers([label.residue_id for label in labels])
    letters = _letters(labels, residue)
    names = sorted({letter for letter in letters if letter is not None})
    column = np.array([-1 if x is None else names.index(x) for x in letters], dtype=np.int64)
    site = _sites(labels, residue, letters)

    n_sites = int(site.max(initial=-1)) + 1
    probability, count = np.zeros((n_sites, len(names))), np.zeros((n_sites, len(names)))
    some = np.flatnonzero(column >= 0)
    np.add.at(probability, (site[some], column[some]), occupancy[some])
    np.add.at(count, (site[some], column[some]), 1.0)
    here = count > 0
    # Alternatives that are all given as absent are equally probable.
    empty = here.any(1) & (probability.sum(1) <= 0)
    probability[empty] = here[empty]
    _add_absent(labels, residue, site, column, probability)

    total = probability.sum(1, keepdims=True)
    whole = total > 1 - ROUNDING
    probability = np.where(whole, probability / np.where(whole, total, 1.0), probability)
    # A single letter must be exactly 1.
    of_residue = np.zeros((int(residue.max(initial=-1)) + 1, len(names)), dtype=bool)
    of_residue[residue[some], column[some]] = True
    lone = np.zeros(n_sites, dtype=bool)
    lone[site] = of_residue.sum(1)[residue] == 1
    return Conformers(residue, site, column, probability, here, lone)


def _letters(labels: Sequence[AtomLabel], residue: Index) -> list[str | None]:
    """Letter of each atom's conformer; None for an atom that all conformers have."""
    lettered = {
        (r, label.atom_name) for r, label in zip(residue, labels, strict=True) if label.altloc
    }
    types: dict[int, set[str]] = {}
    for r, label in zip(residue.tolist(), labels, strict=True):
        types.setdefault(r, set()).add(label.residue_name)
    kinds_with_letters = {
        (r, label.residue_name) for r, label in zip(residue, labels, strict=True) if label.altloc
    }
    letters: list[str | None] = []
    for r, label in zip(residue.tolist(), labels, strict=True):
        other_type = len(types[r]) > 1 and (r, label.residue_name) not in kinds_with_letters
        alternative = label.altloc or other_type or (r, label.atom_name) in lettered
        letters.append(label.altloc if alternative else None)
    return letters


def _sites(labels: Sequence[AtomLabel], residue: Index, letters: list[str | None]) -> Index:
    """Number of each atom's site; repeated names of one conformer are different sites."""
    repeats: dict[object, int] = {}
    keys: list[object] = []
    for n, (r, label, letter) in enumerate(zip(residue.tolist(), labels, letters, strict=True)):
        if letter is None:
            keys.append(n)
            continue
        name = (r, label.atom_name, letter)
        repeats[name] = repeats.get(name, 0) + 1
        keys.append((r, label.atom_name, repeats[name]))
    return _numbers(keys)


def _numbers(keys: Sequence[object]) -> Index:
    number = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def _add_absent(
    labels: Sequence[AtomLabel],
    residue: Index,
    site: Index,
    column: Index,
    probability: Float,
) -> None:
    """Where one type of residue lacks an atom of another, it takes its probability there."""
    kinds: dict[int, dict[str, list[int]]] = {}
    for n in np.flatnonzero(column >= 0).tolist():
        kinds.setdefault(int(residue[n]), {}).setdefault(labels[n].residue_name, []).append(n)
    before = probability.copy()
    for types in kinds.values():
        if len(types) == 1:
            continue
        sites = {name: set(site[atoms].tolist()) for name, atoms in types.items()}
        every = set().union(*sites.values())
        for name, atoms in types.items():
            letters = np.unique(column[atoms])
            typical = before[np.ix_(sorted(sites[name]), letters)].mean(0)
            for x in every - sites[name]:
                probability[x, letters] = np.maximum(probability[x, letters], typical)
