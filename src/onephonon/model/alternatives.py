"""Alternative conformers for the supercell: the rules of theory.md, one pair of atoms at a time.

Shares no code with `crystal.conformers`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.crystal.crystal import AtomLabel, Crystal

Array = NDArray[np.float64]
Index = NDArray[np.int64]

#: Probability of each conformer, by letter.
Probability = dict[str, float]


@dataclass(frozen=True)
class Alternatives:
    """Alternative conformers of the atoms of the asymmetric unit.

    Parameters
    ----------
    residue, site : list
        Residue of each atom, and its site: residue and name, or its own number.
    letter : list
        Conformer of each atom, None without alternatives.
    probability : dict
        By site, the probability of each conformer; also of those that lack the atom.
    atoms : dict
        By site, the conformers that have the atom.
    single : set
        Residues of a single conformer.
    """

    residue: list[Hashable]
    site: list[Hashable]
    letter: list[str | None]
    probability: dict[Hashable, Probability]
    atoms: dict[Hashable, set[str]]
    single: set[Hashable]

    @classmethod
    def of(cls, crystal: Crystal) -> Alternatives:
        """Find those of a crystal."""
        labels = crystal.labels
        residue, letter = _residues_and_letters(labels)
        site = _sites(labels, residue, letter)
        probability: dict[Hashable, Probability] = {}
        letters: dict[Hashable, set[str]] = {}
        for n, occupancy in enumerate(crystal.occupancies.tolist()):
            conformer = letter[n]
            if conformer is not None:
                probability.setdefault(site[n], {})[conformer] = occupancy
                letters.setdefault(residue[n], set()).add(conformer)
        for p in probability.values():
            if sum(p.values()) == 0:
                p.update(dict.fromkeys(p, 1.0))
        atoms = {x: set(p) for x, p in probability.items()}
        _add_missing(labels, residue, site, letter, probability)
        for p in probability.values():
            total = sum(p.values())
            if total > 0.97:
                p.update({x: value / total for x, value in p.items()})
        single = {r for r, found in letters.items() if len(found) == 1}
        return cls(residue, site, letter, probability, atoms, single)

    def hold_one_site(self, numbers: Index) -> list[bool]:
        """Whether each body is one atom or the alternatives of one."""
        sites: dict[int, set[Hashable]] = {}
        for body, site in zip(numbers.tolist(), self.site, strict=True):
            sites.setdefault(body, set()).add(site)
        return [len(sites[body]) == 1 for body in sorted(sites)]

    def shares(self) -> Array:
        """Share of each atom among its alternatives."""
        return np.array([self._share(a) for a in range(len(self.letter))])

    def _share(self, atom: int) -> float:
        letter = self.letter[atom]
        if letter is None:
            return 1.0
        p = self.probability[self.site[atom]]
        return p[letter] / sum(p.values())

    def weights(self, i: Index, j: Index, same_copy: NDArray[np.bool_]) -> Array:
        """Weight of each contact."""
        known: dict[tuple[int, int, bool], float] = {}
        weights = []
        for pair in zip(i.tolist(), j.tolist(), same_copy.tolist(), strict=True):
            if pair not in known:
                known[pair] = self._weight(*pair)
            weights.append(known[pair])
        return np.array(weights)

    def _weight(self, i: int, j: int, same_copy: bool) -> float:
        a, b = self.letter[i], self.letter[j]
        if not same_copy or a is None or b is None:
            return self._share(i) * self._share(j)
        x, y = self.site[i], self.site[j]
        p, q = self.probability[x], self.probability[y]
        m = {c: min(p[c], q[c]) for c in p.keys() & q.keys()}
        r = {c: p[c] - m.get(c, 0.0) for c in p}
        s = {c: q[c] - m.get(c, 0.0) for c in q}
        M, R, S = sum(m.values()), sum(r.values()), sum(s.values())
        F = min(R, S)
        if self.residue[i] in self.single or self.residue[j] in self.single:
            F = max(0.0, R + S + M - 1)

        def meeting(c: str, d: str) -> float:
            chance = F * r[c] * s[d] / (R * S) if F > 1e-9 else 0.0
            return chance + (m.get(c, 0.0) if c == d else 0.0)

        every = [(c, d) for c in self.atoms[x] for d in self.atoms[y]]
        allowed = every
        if self.residue[i] == self.residue[j]:
            allowed = [
                (c, d) for c, d in every if c == d or not (p.get(d, 0) > 0 and q.get(c, 0) > 0)
            ]
        if (a, b) not in allowed or meeting(a, b) == 0.0:
            return 0.0
        scale = sum(meeting(*x) for x in every) / sum(meeting(*x) for x in allowed)
        return meeting(a, b) * scale / min(M + R, M + S)


def _residues_and_letters(
    labels: Sequence[AtomLabel],
) -> tuple[list[Hashable], list[str | None]]:
    """Residue and conformer of each atom."""
    places = [x.residue_id for x in labels]
    every = list(zip(places, labels, strict=True))
    names: dict[tuple[tuple[str, str, int], str], set[str]] = {}
    for p, x in every:
        names.setdefault((p, x.residue_name), set()).add(x.atom_name)
    lettered = {(p, x.residue_name) for p, x in every if x.altloc}
    merged = set()  # types of residues that stand for one another
    for place, kind in names:
        if (place, kind) in lettered and any(p == place and k != kind for p, k in names):
            merged.add((place, kind))
        others = [names[p, k] for p, k in lettered if p == place and k != kind]
        if any(len(other & names[place, kind]) >= 3 for other in others):
            merged.add((place, kind))
    residue: list[Hashable] = [
        p if (p, x.residue_name) in merged else (p, x.residue_name) for p, x in every
    ]
    twins = {(r, x.atom_name) for r, x in zip(residue, labels, strict=True) if x.altloc}
    letter: list[str | None] = []
    for r, (p, x) in zip(residue, every, strict=True):
        whole = (p, x.residue_name) in merged - lettered
        letter.append(x.altloc if x.altloc or whole or (r, x.atom_name) in twins else None)
    return residue, letter


def _sites(
    labels: Sequence[AtomLabel], residue: list[Hashable], letter: list[str | None]
) -> list[Hashable]:
    """Site of each atom; the second atom of one name and letter belongs to a second site."""
    sites: list[Hashable] = []
    names: list[Hashable] = []
    for n, label in enumerate(labels):
        name = (residue[n], label.atom_name, letter[n])
        again = names.count(name)
        names.append(name)
        sites.append(n if letter[n] is None else (residue[n], label.atom_name, again))
    return sites


def _add_missing(
    labels: Sequence[AtomLabel],
    residue: list[Hashable],
    site: list[Hashable],
    letter: list[str | None],
    probability: dict[Hashable, Probability],
) -> None:
    """Let the conformers of one type of residue be absent where only another has the atom."""
    lettered = [n for n, x in enumerate(letter) if x is not None]
    given = {x: dict(p) for x, p in probability.items()}
    for place, kind in {(residue[n], labels[n].residue_name) for n in lettered}:
        own = [n for n in lettered if (residue[n], labels[n].residue_name) == (place, kind)]
        sites = {site[n] for n in own}
        others = {site[n] for n in lettered if residue[n] == place} - sites
        for c in {letter[n] or "" for n in own}:
            typical = sum(given[x].get(c, 0.0) for x in sites) / len(sites)
            for x in others:
                probability[x][c] = max(probability[x].get(c, 0.0), typical)
