"""Helices and strands of proteins, from the hydrogen bonds of the main chain.

The hydrogen bonds, turns and bridges are those of Kabsch & Sander, Biopolymers 22, 2577 (1983).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Energy below which two groups are bonded, kcal/mol.
BOND_ENERGY = -0.5

#: Product of the charges of the two groups, Å kcal/mol.
CHARGES = 27.9

#: The hydrogen of N is on the line of the preceding C=O, at this distance (Å).
N_H = 1.0

#: A main chain continues where C and the next N are closer than this, Å.
PEPTIDE = 2.0

#: Closest distance in the energy, Å: atoms nearer than that are errors of the file.
CLOSEST = 0.5

#: Residues beside each other in the chain that both are in bridges make a strand.
SHORTEST_STRAND = 2


@dataclass(frozen=True)
class MainChain:
    """Main-chain atoms of the residues of proteins, in the order of their chains.

    Parameters
    ----------
    N, CA, C, O : ndarray, shape (n, 3)
        Cartesian, Å; NaN where an atom is missing.
    """

    N: Float64
    CA: Float64
    C: Float64
    O: Float64  # noqa: E741 - the name of the atom

    def continues(self) -> Bools:
        """Whether each residue is bonded to the one before, shape (n,)."""
        gap = np.linalg.norm(self.N[1:] - self.C[:-1], axis=1)
        return np.concatenate([[False], gap < PEPTIDE])[: len(self.N)]


def structure_elements(chain: MainChain) -> list[range]:
    """Alpha-helices and strands, in the order of the chain; none overlap.

    Parameters
    ----------
    chain : MainChain

    Returns
    -------
    list of range
        Residues of each element. Two consecutive turns from C=O of one residue to N-H of the fourth
        after it begin a helix; two or more consecutive residues in bridges make a strand.
    """
    n = len(chain.N)
    if n == 0:
        return []
    linked = chain.continues()
    bond = _bonds(chain, linked)
    piece = np.cumsum(~linked, dtype=np.int64)
    helix = _helices(bond, piece)
    strand = _bridges(bond, piece) & ~helix
    helices = [r for r in _runs(helix, linked) if len(r) > 1]
    strands = [r for r in _runs(strand, linked) if len(r) >= SHORTEST_STRAND]
    return sorted(helices + strands, key=lambda r: r.start)


def _bonds(chain: MainChain, linked: Bools) -> Bools:
    """Whether C=O of the first residue is bonded to N-H of the second, shape (n, n)."""
    towards = np.full_like(chain.N, np.nan)
    towards[1:] = chain.C[:-1] - chain.O[:-1]
    towards[~linked] = np.nan
    H = chain.N + N_H * towards / np.linalg.norm(towards, axis=1, keepdims=True)

    def inverse(a: Float64, b: Float64) -> Float64:
        # Squares from components: the same in all orientations to rounding.
        d = np.sqrt(sum((a[:, None, i] - b[None, :, i]) ** 2 for i in range(3)))
        return np.asarray(1.0 / np.maximum(d, CLOSEST))

    O, C, N = chain.O, chain.C, chain.N  # noqa: E741
    energy = CHARGES * (inverse(O, N) + inverse(C, H) - inverse(O, H) - inverse(C, N))
    found: Bools = np.nan_to_num(energy, nan=0.0) < BOND_ENERGY
    i = np.arange(len(N))
    found[i, i] = False
    found[i[:-1], i[1:]] = False  # C=O and the N-H of its own peptide
    return found


def _helices(bond: Bools, piece: NDArray[np.int64]) -> Bools:
    """Residues of alpha-helices, shape (n,)."""
    n, inside = len(bond), np.zeros(len(bond), dtype=bool)
    i = np.arange(max(0, n - 4))
    turn = bond[i, i + 4] & (piece[i] == piece[i + 4])
    for start in np.flatnonzero(turn[1:] & turn[:-1]) + 1:
        inside[start : start + 4] = True
    return inside


def _bridges(bond: Bools, piece: NDArray[np.int64]) -> Bools:
    """Residues in bridges of parallel or antiparallel strands, shape (n,)."""
    n = len(bond)
    found = np.zeros(n, dtype=bool)
    if n < 3:
        return found
    inner = piece[2:] == piece[:-2]
    before, after = slice(0, n - 2), slice(2, n)
    middle = slice(1, n - 1)
    parallel = bond[before, middle] & bond[middle, after].T
    anti = bond[middle, middle] & bond[middle, middle].T
    anti |= bond[before, after] & bond[before, after].T
    bridge = parallel | parallel.T | anti
    i = np.arange(n - 2)
    near = np.abs(i[:, None] - i[None, :]) < 3
    same = piece[middle][:, None] == piece[middle][None, :]
    bridge &= ~(near & same) & inner[:, None] & inner[None, :]
    found[middle] = bridge.any(1)
    return found


def _runs(inside: Bools, linked: Bools) -> Sequence[range]:
    """Stretches of consecutive residues of the same chain that are inside."""
    runs: list[range] = []
    for i in np.flatnonzero(inside).tolist():
        if runs and runs[-1].stop == i and linked[i]:
            runs[-1] = range(runs[-1].start, i + 1)
        else:
            runs.append(range(i, i + 1))
    return runs
