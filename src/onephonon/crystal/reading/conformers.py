"""Alternative conformers of a residue: which is used, and at which occupancy."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_uppercase, digits

from .residues import MAX_TOTAL_OCCUPANCY, NamedAtom, Residue

#: Letters for conformers that have none in the file.
LETTERS = ascii_uppercase + digits

#: Occupancies have two decimals.
ROUNDING = 0.005


@dataclass(frozen=True)
class Choice:
    """The atoms of a residue that are used.

    Parameters
    ----------
    atoms : tuple of NamedAtom
    occupancies : tuple of float
    altlocs : tuple of str
        Letters of conformers that exclude each other; empty where one stands for the residue.
    given : int
        Number of atoms that were taken as alternatives though they have no letter.
    left_out : int
        Number of atoms of other conformers.
    excess : float
        Largest sum of the occupancies of alternatives, where above one.
    repeated : int
        Number of atoms that have the name of another one and are no alternatives.
    """

    atoms: tuple[NamedAtom, ...]
    occupancies: tuple[float, ...]
    altlocs: tuple[str, ...]
    given: int = 0
    left_out: int = 0
    excess: float = 0.0
    repeated: int = 0

    @property
    def is_alternative(self) -> bool:
        """Whether one of several conformers was chosen."""
        return self.left_out > 0


def choose(residue: Residue, which: str) -> Choice:
    """Choose among the conformers of a residue.

    'all': every atom, with the occupancies of the file. 'highest': the conformer of highest mean
    occupancy, the first on a tie. It stands for the residue: each of its atoms has the sum of the
    occupancies of its alternatives, at most one, so that no electrons are lost. An atom that it
    lacks is taken from the next best one, unless that is another residue type (a point mutation
    modelled as alternatives); then the chosen type stands for all types.
    """
    letters, given = conformer_letters(residue.atoms)
    repeated = _n_repeated(residue.atoms, letters)
    totals = _totals(residue.atoms, letters)
    excess = max((t for t in totals.values() if t > MAX_TOTAL_OCCUPANCY), default=0.0)
    if which == "all" or not any(letters):
        as_read = tuple(float(a.atom.occ) for a in residue.atoms)
        return Choice(residue.atoms, as_read, letters, given, 0, excess, repeated)
    kept = _highest(residue.atoms, letters)
    kind = residue.atoms[next(i for i in kept if letters[i])].residue_name
    mixed = len({a.residue_name for a, x in zip(residue.atoms, letters, strict=True) if x}) > 1
    whole = max(totals.values())
    occupancies: list[float] = []
    for i in kept:
        atom = residue.atoms[i]
        occupancy = float(atom.atom.occ)
        if letters[i]:
            total = whole if mixed and atom.residue_name == kind else totals[atom.atom.name]
            if total > occupancy:
                # Occupancies are in single precision in gemmi; a sum of one is meant as one.
                occupancy = max(occupancy, min(round(total, 6), 1.0))
        occupancies.append(occupancy)
    return Choice(
        tuple(residue.atoms[i] for i in kept),
        tuple(occupancies),
        ("",) * len(kept),
        given,
        len(residue.atoms) - len(kept),
        excess,
        repeated,
    )


def conformer_letters(atoms: tuple[NamedAtom, ...]) -> tuple[tuple[str, ...], int]:
    """Letter of the conformer of each atom, and how many of them are not in the file.

    An atom without a letter is one of the alternatives where an atom of its name has a letter, or
    where several atoms of its name share a site.
    """
    letters = [a.altloc for a in atoms]
    free = iter([x for x in LETTERS if x not in letters])
    types = dict.fromkeys(a.residue_name for a in atoms)
    if len(types) > 1:
        # Alternative types without letters: what is partly occupied belongs to its type alone.
        for name in types:
            partly = [
                i
                for i, a in enumerate(atoms)
                if a.residue_name == name and not letters[i] and a.atom.occ < 1 - ROUNDING
            ]
            letter = next(free, "") if partly else ""
            for i in partly:
                letters[i] = letter
    _letter_shared_sites(atoms, letters, free)
    given = sum(bool(x) and not a.altloc for x, a in zip(letters, atoms, strict=True))
    return tuple(letters), given


def _letter_shared_sites(
    atoms: tuple[NamedAtom, ...], letters: list[str], free: Iterator[str]
) -> None:
    """Give letters to atoms that share a site with others of their name."""
    by_name: dict[str, list[int]] = {}
    for i, a in enumerate(atoms):
        by_name.setdefault(a.atom.name, []).append(i)
    order: list[str] = []
    members: dict[str, list[int]] = {}
    for same in by_name.values():
        blank = [i for i in same if not letters[i]]
        total = sum(atoms[i].atom.occ for i in same)
        # Two atoms of one name that are both whole are two atoms, or a fault: no alternatives.
        if len(same) == 1 or not blank or (len(blank) > 1 and total > MAX_TOTAL_OCCUPANCY):
            continue
        for n, i in enumerate(blank):
            if n == len(order):
                order.append(next(free, ""))
            letters[i] = order[n]
            members.setdefault(order[n], []).append(i)
    if len(order) != 1:
        return
    # Atoms that only this conformer has: partly occupied to the same extent.
    own = members[order[0]]
    mean = sum(atoms[i].atom.occ for i in own) / len(own)
    for i, a in enumerate(atoms):
        partly = not letters[i] and a.atom.occ < 1 - ROUNDING
        if partly and abs(a.atom.occ - mean) < 2 * ROUNDING:
            letters[i] = order[0]


def _totals(atoms: tuple[NamedAtom, ...], letters: tuple[str, ...]) -> dict[str, float]:
    """Sum of the occupancies of the alternatives of each atom."""
    totals: dict[str, float] = {}
    for a, letter in zip(atoms, letters, strict=True):
        if letter:
            totals[a.atom.name] = totals.get(a.atom.name, 0.0) + float(a.atom.occ)
    return totals


def _highest(atoms: tuple[NamedAtom, ...], letters: tuple[str, ...]) -> list[int]:
    """Indices of the atoms of the best conformer, and of those that it lacks or all share."""
    occupancies: dict[str, list[float]] = {}
    heavy = any(letter and not a.is_hydrogen for a, letter in zip(atoms, letters, strict=True))
    for a, letter in zip(atoms, letters, strict=True):
        if letter and not (heavy and a.is_hydrogen):
            occupancies.setdefault(letter, []).append(a.atom.occ)
    for letter in filter(None, letters):
        occupancies.setdefault(letter, [0.0])  # hydrogen atoms only
    mean = {letter: sum(occ) / len(occ) for letter, occ in occupancies.items()}
    ranked = sorted(mean, key=lambda letter: -round(mean[letter], 3))
    rank = {"": -1} | {letter: i for i, letter in enumerate(ranked)}
    kind = next(a.residue_name for a, x in zip(atoms, letters, strict=True) if x == ranked[0])
    best: dict[tuple[str, int], int] = {}
    for i, (a, letter) in enumerate(zip(atoms, letters, strict=True)):
        if letter and a.residue_name != kind:
            continue
        # Atoms without a letter that share a name are all kept.
        same = sum(1 for name, _ in best if name == a.atom.name) if not letter else 0
        held = best.get((a.atom.name, same))
        if held is None or rank[letter] < rank[letters[held]]:
            best[a.atom.name, same] = i
    return list(best.values())


def _n_repeated(atoms: tuple[NamedAtom, ...], letters: tuple[str, ...]) -> int:
    """Number of atoms beyond the first of one name and conformer."""
    keys = ((a.residue_name, a.atom.name, letter) for a, letter in zip(atoms, letters, strict=True))
    return sum(n - 1 for n in Counter(keys).values())


def unique_names(atoms: tuple[NamedAtom, ...], altlocs: tuple[str, ...]) -> list[str]:
    """Names of atoms, unique in each conformer: ``C1``, ``C1#2``."""
    counts: dict[tuple[str, str, str], itertools.count[int]] = {}
    names = []
    for a, letter in zip(atoms, altlocs, strict=True):
        key = (a.residue_name, a.atom.name, letter)
        n = next(counts.setdefault(key, itertools.count(1)))
        names.append(a.atom.name if n == 1 else f"{a.atom.name}#{n}")
    return names
