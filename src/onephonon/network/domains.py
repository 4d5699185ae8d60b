"""Rigid blocks proposed from the contacts of a structure: ``group_by='auto:N'``.

Residues that touch each other on many sides move together. The contacts of the asymmetric unit are
cut into N blocks by the normalized cut (Shi & Malik, IEEE Trans. Pattern Anal. 22, 888 (2000)):
the sum over the blocks of their contacts with the rest over all their contacts is made small. It
starts from the whole, splits one block at a time by the second eigenvector of its network, and
moves residues between blocks as long as that improves the sum. Helices and strands are kept whole
where there are at least N pieces of that kind. Distances alone decide, so that the result depends
neither on the orientation nor on names or the order of the atoms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from onephonon.core.errors import InputError
from onephonon.core.memory import check_memory
from onephonon.crystal.conformers import find_conformers
from onephonon.crystal.crystal import Crystal

from .normalized_cut import cut_network
from .residue_ranges import ResidueKey, residue_key, write_ranges
from .secondary_structure import MainChain, structure_elements

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: What automatic blocks are called; N follows.
AUTO = "auto:"

#: Longest contact, Å. Its weight falls from 1 at zero to 0 here without a step, so that no atom
#: counts by the last decimal of its position.
CUTOFF = 7.0

#: A bond between residues counts this much more than a contact: chains are cut last.
BOND_WEIGHT = 15.0

#: Atoms of different residues closer than this are bonded, Å; the longest is a disulfide, 2.05 Å.
BOND = 2.2

#: Weight between residues without contact, far below that of any contact: it tells which of
#: several molecules apart from each other are close.
FAR_WEIGHT = 1e-4

#: Distance (Å) over which this weight falls.
FAR = 10.0

_PROTEIN = frozenset(("N", "CA", "C"))
_NUCLEIC = frozenset(("C3'", "C4'", "C5'"))


def automatic_number(group_by: str) -> int | None:
    """N of 'auto:N'; None if the text is of another kind.

    Raises
    ------
    InputError
        If N is not a whole number of at least 1.
    """
    if group_by != "auto" and not group_by.startswith(AUTO):
        return None
    text = group_by[len(AUTO) :]
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise InputError(
            f"group_by {group_by!r}: {text!r} is no number of rigid blocks; give 1 or more, for "
            "example auto:3"
        )
    return int(text)


def rigid_blocks(crystal: Crystal, n_blocks: int) -> tuple[list[int], tuple[str, ...]]:
    """Rigid blocks of the asymmetric unit, from its own contacts.

    Parameters
    ----------
    crystal : Crystal
        Coordinates and shares of conformers are taken as constants.
    n_blocks : int

    Returns
    -------
    numbers : list of int, length n_atoms
        Number of each atom's block; blocks are in the order of their first residue.
    names : tuple of str, length n_blocks
        Ranges of residues, such as ``A:1-40,A:61-80``: joined by blanks, they are text for
        `named_ranges` with the same result.

    Raises
    ------
    InputError
        If there are fewer residues than blocks, or a residue number that ranges cannot name.

    Notes
    -----
    Waters, ligands and ions belong to the block of the residue of the chains that is nearest. A
    crystal without protein or nucleic acid is cut into blocks of all its residues.
    """
    residues = _Residues.of(crystal)
    cut = residues.polymer
    if n_blocks > len(cut):
        raise InputError(
            f"group_by '{AUTO}{n_blocks}': the asymmetric unit has {len(cut)} residues to divide; "
            f"give at most {len(cut)} blocks"
        )
    weight = residues.weights()
    pieces = residues.pieces()
    if max(pieces) + 1 < n_blocks:
        pieces = list(range(len(cut)))
    block = np.full(len(residues.keys), -1)
    block[cut] = cut_network(_merged(weight[np.ix_(cut, cut)], pieces), n_blocks)[pieces]
    block = residues.with_neighbours(block)
    return _ordered(residues, block)


@dataclass(frozen=True, eq=False)
class _Residues:
    """Residues of the asymmetric unit as ranges name them: by chain and number.

    Parameters
    ----------
    keys : list of (chain, residue key)
    of_atom : ndarray, shape (n_atoms,)
    r : ndarray, shape (n_atoms, 3)
        Cartesian, Å.
    share : ndarray, shape (n_atoms,)
        Shares of the conformers; 0 for hydrogens, which are no contacts.
    polymer : list of int
        Residues of proteins and nucleic acids, sorted by chain and number; all, if there are none.
    names : list of dict
        First atom of each name, by residue.
    """

    keys: list[tuple[str, ResidueKey]]
    of_atom: Index
    r: Float64
    share: Float64
    polymer: list[int]
    names: list[dict[str, int]]

    @classmethod
    def of(cls, crystal: Crystal) -> _Residues:
        keys = []
        for label in crystal.labels:
            key = residue_key(label.residue_number)
            if key is None:
                raise InputError(
                    f"group_by 'auto:N' names residues by numbers, which {label.residue} has not; "
                    "give the number of each atom's body"
                )
            keys.append((label.chain.strip(), key))
        every = sorted(set(keys))
        number = {key: i for i, key in enumerate(every)}
        of_atom = np.array([number[key] for key in keys])
        names: list[dict[str, int]] = [{} for _ in every]
        hydrogen = np.zeros(len(keys), dtype=bool)
        for atom, label in enumerate(crystal.labels):
            names[of_atom[atom]].setdefault(label.atom_name.strip(), atom)
            hydrogen[atom] = label.element.upper() in ("H", "D")
        polymer = [i for i, n in enumerate(names) if n.keys() >= _PROTEIN or n.keys() >= _NUCLEIC]
        r = crystal.positions_frac @ crystal.cell.matrix.T
        share = np.where(hydrogen, 0.0, find_conformers(crystal).shares)
        return cls(
            every,
            of_atom,
            np.asarray(r.numpy(force=True), dtype=np.float64),
            share,
            polymer or list(range(len(every))),
            names,
        )

    def weights(self) -> Float64:
        """Weights of the contacts between residues, and within each, (n_residues, n_residues)."""
        n = len(self.keys)
        check_memory(
            6 * 8 * n * n, f"rigid blocks of {n} residues", "name the ranges of residues instead"
        )
        heavy = np.flatnonzero(self.share > 0)
        r, share, residue = self.r[heavy], self.share[heavy], self.of_atom[heavy]
        pairs = cKDTree(r).query_pairs(CUTOFF, output_type="ndarray")
        i, j = pairs.T
        d = np.linalg.norm(r[i] - r[j], axis=1)
        w = (1 - (d / CUTOFF) ** 2) ** 2
        # Bonds are counted by a smooth step, too.
        w += np.where(residue[i] != residue[j], BOND_WEIGHT * np.clip(1 - (d / BOND) ** 8, 0, 1), 0)
        w *= share[i] * share[j]
        total: Float64 = np.zeros((n, n))
        np.add.at(total, (residue[i], residue[j]), w)
        total = total + total.T
        sums = np.stack([np.bincount(self.of_atom, x, n) for x in self.r.T], axis=1)
        centre = sums / np.bincount(self.of_atom, minlength=n)[:, None]
        apart = np.linalg.norm(centre[:, None] - centre[None], axis=2)
        return np.asarray(total + FAR_WEIGHT / (1 + (apart / FAR) ** 2))

    def pieces(self) -> list[int]:
        """Helix, strand or single residue of each residue of `polymer`."""
        empty = np.full(3, np.nan)
        atoms = {
            name: np.array(
                [
                    self.r[self.names[i][name]] if name in self.names[i] else empty
                    for i in self.polymer
                ]
            ).reshape(-1, 3)
            for name in ("N", "CA", "C", "O")
        }
        number = list(range(len(self.polymer)))
        for element in structure_elements(MainChain(**atoms)):
            for i in element:
                number[i] = element.start
        order = {first: i for i, first in enumerate(dict.fromkeys(number))}
        return [order[first] for first in number]

    def with_neighbours(self, block: Index) -> Index:
        """Give residues that have no block (-1) that of the nearest atom which has one."""
        known = block[self.of_atom] >= 0
        if known.all():
            return block
        found, left = block.copy(), np.flatnonzero(~known)
        distance, nearest = cKDTree(self.r[known]).query(self.r[left])
        owner = block[self.of_atom[known]][nearest]
        # The closest atom of each residue comes last, and its block remains.
        for at in np.argsort(-distance, kind="stable").tolist():
            found[self.of_atom[left[at]]] = owner[at]
        return found


def _merged(weight: Float64, pieces: list[int]) -> Float64:
    """Weights between pieces, sums of those between their residues."""
    member = np.zeros((max(pieces) + 1, len(pieces)))
    member[pieces, np.arange(len(pieces))] = 1.0
    return np.asarray(member @ weight @ member.T)


def _ordered(residues: _Residues, block: Index) -> tuple[list[int], tuple[str, ...]]:
    """Number the blocks by their first residue, and name them."""
    new = {old: i for i, old in enumerate(dict.fromkeys(block[residues.polymer].tolist()))}
    numbers = [new[old] for old in block.tolist()]
    names = write_ranges(dict(zip(residues.keys, numbers, strict=True)), len(new))
    return [numbers[i] for i in residues.of_atom.tolist()], names
