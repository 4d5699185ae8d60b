"""Molecules torn by periodic wrapping, put together again by lattice translations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from onephonon.crystal.crystal import AtomLabel
from onephonon.crystal.remarks import Remark

from .residues import CHAIN_BONDS, MAX_CHAIN_BOND

Float64 = NDArray[np.float64]

#: A bond is at most this much longer than the sum of the covalent radii, Å.
BOND_MARGIN = 0.45

#: Atoms around one, more than which no structure has.
MAX_NEIGHBOURS = 1000


def make_whole(
    fractional: Float64, labels: Sequence[AtomLabel], matrix: Float64
) -> tuple[Float64, list[Remark]]:
    """Move atoms by lattice translations to those that they are bonded to.

    Within a residue, atoms that hang together only across the boundary of the cell are joined to
    the largest part; then each residue to the one before in its chain, where the bond between
    them is across the boundary. Nothing else is moved: coordinates of whole molecules stay as
    they are, bit by bit.

    Parameters
    ----------
    fractional : array, shape (n_atoms, 3)
    labels : sequence of AtomLabel, length n_atoms
    matrix : array, shape (3, 3)
        Columns are the axes of the cell, Å.

    Returns
    -------
    fractional : array, shape (n_atoms, 3)
    remarks : list of Remark
    """
    residue = _numbered(label.residue_id for label in labels)
    shift = np.zeros((len(labels), 3), dtype=np.int64)
    _join_parts_of_residues(fractional, labels, residue, matrix, shift)
    _join_residues(fractional, labels, residue, matrix, shift)
    moved = np.asarray(shift.any(axis=1))
    if not moved.any():
        return fractional, []
    first = labels[int(np.flatnonzero(moved)[0])]
    n = int(moved.sum())
    text = (
        f"{n} {'atom' if n == 1 else 'atoms'} moved by lattice translations to bonded ones, "
        f"{first} the first: molecules were torn at the boundary of the cell"
    )
    return np.where(moved[:, None], fractional + shift, fractional), [Remark("changed", text, True)]


def _numbered(keys: Iterable[object]) -> NDArray[np.int64]:
    number: dict[object, int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys])


def _join_parts_of_residues(
    fractional: Float64,
    labels: Sequence[AtomLabel],
    residue: NDArray[np.int64],
    matrix: Float64,
    shift: NDArray[np.int64],
) -> None:
    """Set the translations that join the parts of torn residues."""
    radii = np.array([gemmi.Element(label.element).covalent_r for label in labels])
    n = len(labels)
    xyz = fractional @ matrix.T
    tree, reach = cKDTree(xyz), 2 * radii.max() + BOND_MARGIN
    if tree.count_neighbors(tree, reach) > MAX_NEIGHBOURS * n:
        return  # no molecule is that dense; contacts will refuse it
    pairs = tree.query_pairs(reach, output_type="ndarray")
    i, j = pairs[residue[pairs[:, 0]] == residue[pairs[:, 1]]].T
    apart: Float64 = np.linalg.norm(xyz[i] - xyz[j], axis=1)
    near = np.flatnonzero(apart <= radii[i] + radii[j] + BOND_MARGIN)
    graph = coo_array((np.ones(len(near)), (i[near], j[near])), shape=(n, n))
    _, part = connected_components(graph.tocsr(), directed=False)
    parts_of: dict[int, set[int]] = {}
    for r, p in zip(residue.tolist(), part.tolist(), strict=True):
        parts_of.setdefault(r, set()).add(p)
    for r, parts in parts_of.items():
        if len(parts) == 1:
            continue
        atoms = np.flatnonzero(residue == r)
        _join(atoms, part[atoms], fractional, radii, matrix, shift)


def _join(
    atoms: NDArray[np.int64],
    part: NDArray[np.int64],
    fractional: Float64,
    radii: Float64,
    matrix: Float64,
    shift: NDArray[np.int64],
) -> None:
    """Join the parts of one residue to its largest, as far as bonds across the cell reach."""
    sizes = {int(p): int((part == p).sum()) for p in np.unique(part)}
    joined = part == max(sizes, key=lambda p: sizes[p])
    limits = radii[atoms][:, None] + radii[atoms][None] + BOND_MARGIN
    while not joined.all():
        x = fractional[atoms] + shift[atoms]
        d = x[:, None] - x[None]
        whole = np.round(d).astype(np.int64)
        bonded = np.linalg.norm((d - whole) @ matrix.T, axis=-1) <= limits
        bonded &= joined[:, None] & ~joined[None]
        if not bonded.any():
            return
        a, b = np.argwhere(bonded)[0]
        mine = part == part[b]
        shift[atoms[mine]] += whole[a, b]
        joined |= mine


def _join_residues(
    fractional: Float64,
    labels: Sequence[AtomLabel],
    residue: NDArray[np.int64],
    matrix: Float64,
    shift: NDArray[np.int64],
) -> None:
    """Set the translations that join residues to the one before in their chain."""
    names = [label.atom_name for label in labels]
    chain = [label.chain for label in labels]
    ends = {
        (r, name): i
        for i, (r, name) in reversed(list(enumerate(zip(residue.tolist(), names, strict=True))))
    }
    first = {r: i for i, r in reversed(list(enumerate(residue.tolist())))}
    members: dict[int, list[int]] = {}
    for i, r in enumerate(residue.tolist()):
        members.setdefault(r, []).append(i)
    last_of_chain: dict[str, int] = {}
    for r, atom in sorted(first.items()):
        before = last_of_chain.get(chain[atom])
        last_of_chain[chain[atom]] = r
        if before is None:
            continue
        for end, start in CHAIN_BONDS:
            if (before, end) not in ends or (r, start) not in ends:
                continue
            a, b = ends[before, end], ends[r, start]
            d = fractional[a] + shift[a] - fractional[b] - shift[b]
            whole = np.round(d)
            direct = np.linalg.norm(matrix @ d)
            if direct > MAX_CHAIN_BOND and np.linalg.norm(matrix @ (d - whole)) <= MAX_CHAIN_BOND:
                shift[members[r]] += whole.astype(np.int64)
