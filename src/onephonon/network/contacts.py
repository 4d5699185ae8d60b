"""Contacts: pairs of atoms within the cutoff, in the same or in different cells."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from onephonon.core.errors import InputError, NetworkError
from onephonon.core.memory import check_memory, state_memory
from onephonon.crystal.conformers import find_conformers

from .bodies import Bodies
from .pieces import find_pieces, joining_length

Index = NDArray[np.int64]

#: Maximum number of contacts.
MAX_CONTACTS = 50_000_000

#: Memory of a contact while contacts are found, bytes.
CONTACT_BYTES = 350

#: Numbers of contacts up to this fit into any memory.
SMALL_NUMBER = 1_000_000

#: Pieces up to this number are joined one by one in the search for a sufficient cutoff.
MAX_PIECES = 64

#: Tolerance of the cutoff (Å): far above rounding, far below the last decimal of a coordinate.
ROUNDING = 1e-7

#: Copies of one atom closer than this (Å) are the same atom.
COINCIDENT = 0.3

#: Largest sum of occupancies at one position, with a margin for rounding to two decimals.
MAX_TOTAL_OCCUPANCY = 1.02


@dataclass(frozen=True)
class Contacts:
    """Pairs of neighbouring atoms, each pair once, and the pair of bodies each belongs to.

    A contact joins atom `i` of cell 0 with atom `j` of cell `cell`. Nothing here is
    differentiable.

    Parameters
    ----------
    i, j : Tensor, shape (n_contacts,), int64
        Atoms of the cell, numbered as in `Bodies`.
    cell : Tensor, shape (n_contacts, 3), int64
    distance : Tensor, shape (n_contacts,)
        Distance in Å at which the contact was found.
    same_copy : Tensor, shape (n_contacts,), bool
        True if both atoms belong to the same copy of the asymmetric unit.
    weight : Tensor, shape (n_contacts,)
        How often the two atoms meet, which multiplies their spring: 1, or less between alternative
        conformers (see `Conformers.weights`).
    block : Tensor, shape (n_contacts,), int64
        The pair of bodies each contact couples.
    block_a, block_b : Tensor, shape (n_blocks,), int64
        The two bodies of each coupled pair.
    block_cell : Tensor, shape (n_blocks, 3), int64
        The cell of the second body.
    cutoff : float
    """

    i: Tensor
    j: Tensor
    cell: Tensor
    distance: Tensor
    same_copy: Tensor
    weight: Tensor
    block: Tensor
    block_a: Tensor
    block_b: Tensor
    block_cell: Tensor
    cutoff: float

    @property
    def n_contacts(self) -> int:
        """Number of contacts in a unit cell."""
        return int(self.i.shape[0])


def find_contacts(bodies: Bodies, cutoff: float) -> Contacts:
    """Find all pairs of atoms within a distance, in as many neighbouring cells as needed.

    Conformers that exclude each other are not joined; the others are weighted by how often they
    meet, with the occupancies of the crystal as constants.

    Parameters
    ----------
    bodies : Bodies
    cutoff : float
        In Å, inclusive.

    Raises
    ------
    InputError
        If the cutoff is not a positive finite number, or would give too many contacts.
    """
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"gnm_cutoff {cutoff} is not a distance; give Å, for example 4.0")
    i, j, cell, distance = _neighbour_pairs(bodies, cutoff + ROUNDING)
    copy = bodies.copy.numpy(force=True)
    same_copy = (copy[i] == copy[j]) & (cell == 0).all(1)
    asu = bodies.asu_atom.numpy(force=True)
    weight = find_conformers(bodies.crystal).weights(asu[i], asu[j], same_copy)
    meet = weight > 0
    i, j, cell, same_copy = i[meet], j[meet], cell[meet], same_copy[meet]
    distance, weight = distance[meet], weight[meet]

    body = bodies.body.numpy(force=True)
    keys = np.column_stack([body[i], body[j], cell])
    unique, block = np.unique(keys, axis=0, return_inverse=True)
    device = bodies.positions.device

    def tensor(x: NDArray[np.generic]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(x), device=device)

    return Contacts(
        i=tensor(i),
        j=tensor(j),
        cell=tensor(cell),
        distance=tensor(distance).to(bodies.positions.dtype),
        same_copy=tensor(same_copy),
        weight=tensor(weight).to(bodies.positions.dtype),
        block=tensor(block.reshape(-1)),
        block_a=tensor(unique[:, 0]),
        block_b=tensor(unique[:, 1]),
        block_cell=tensor(unique[:, 2:]),
        cutoff=cutoff,
    )


def warn_of_coincidences(bodies: Bodies, contacts: Contacts) -> None:
    """Warn of atoms that coincide with symmetry copies or duplicates and count more than once.

    An atom on a symmetry element is a single atom although several operators map it onto itself;
    by convention its occupancy is divided by their number. Otherwise it scatters several times.
    """
    close = contacts.distance < COINCIDENT
    occupancy = bodies.crystal.occupancies.detach()[bodies.asu_atom]
    i, j = contacts.i[close], contacts.j[close]
    crowded = occupancy[i] + occupancy[j] > MAX_TOTAL_OCCUPANCY
    if not bool(crowded.any()):
        return
    pairs = torch.stack([bodies.asu_atom[i[crowded]], bodies.asu_atom[j[crowded]]], dim=1)
    atoms = sorted(set(pairs.flatten().tolist()))
    names = ", ".join(str(bodies.crystal.labels[a]) for a in atoms[:3])
    count = "1 atom lies" if len(atoms) == 1 else f"{len(atoms)} atoms lie"
    warnings.warn(
        f"{count} on another or on a symmetry copy with a total occupancy above 1 ({names}): "
        "on symmetry elements divide the occupancy by the number of copies; remove duplicates",
        stacklevel=4,
    )


def _neighbour_pairs(
    bodies: Bodies, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Atom i of cell 0, atom j, its cell and their distance; each pair once."""
    cell = bodies.crystal.cell
    matrix = cell.matrix.numpy(force=True).astype(np.float64)
    frac = bodies.positions.numpy(force=True) @ np.linalg.inv(matrix).T
    volume = abs(float(np.linalg.det(matrix)))
    expected = 0.5 * len(frac) ** 2 * (4 / 3) * math.pi * cutoff**3 / volume
    _check_number(expected, cutoff - ROUNDING, len(frac), check_memory)
    home = np.floor(frac).astype(np.int64)
    frac = frac - home
    # Images whose fractional coordinates come within the cutoff of the home cell.
    reach = cutoff / cell.spacings.numpy(force=True).astype(np.float64)
    shifts = list(itertools.product(*(range(-math.ceil(r), math.ceil(r) + 1) for r in reach)))
    near = []
    for shift in shifts:
        moved = frac + np.array(shift)
        inside = ((moved >= -reach) & (moved <= 1 + reach)).all(1)
        near.append((np.flatnonzero(inside), shift))
    atom = np.concatenate([n for n, _ in near])
    shift_of = np.concatenate([np.tile(s, (len(n), 1)) for n, s in near]).astype(np.int64)

    tree = cKDTree(frac @ matrix.T)
    images = cKDTree((frac[atom] + shift_of) @ matrix.T)
    # Each contact is counted from both ends, and each atom with itself.
    counted = 0.5 * (float(tree.count_neighbors(images, cutoff)) - len(frac))
    _check_number(counted, cutoff - ROUNDING, len(frac), state_memory)
    found = tree.sparse_distance_matrix(images, cutoff, output_type="ndarray")
    i, distance = found["i"], found["v"]
    j, shift_j = atom[found["j"]], shift_of[found["j"]]
    d = shift_j - home[j] + home[i]
    # Each pair is found from both ends; of an atom and its own images keep the positive half of d.
    first = np.argmax(d != 0, axis=1)
    upward = d[np.arange(len(d)), first] > 0
    once = np.flatnonzero((i < j) | ((i == j) & upward))
    # The order must not depend on the last decimal of a coordinate.
    once = once[np.lexsort((*d[once].T[::-1], j[once], i[once]))]
    return i[once], j[once], d[once], distance[once]


def _check_number(
    expected: float, cutoff: float, n_atoms: int, check: Callable[[float, str, str], None]
) -> None:
    """Raise if the list of contacts would not fit into memory."""
    what = (
        f"gnm_cutoff {cutoff:g} Å gives about {round(expected)} contacts in a cell of "
        f"{n_atoms} atoms"
    )
    if expected > MAX_CONTACTS:
        raise InputError(f"{what}; lower it (the limit is {MAX_CONTACTS})")
    if expected > SMALL_NUMBER:
        check(CONTACT_BYTES * expected, what, "lower it")


def check_connected(bodies: Bodies, contacts: Contacts) -> None:
    """Check that the contacts connect all bodies of the crystal.

    Raises
    ------
    NetworkError
        Names the unconnected bodies or missing directions, and the smallest sufficient cutoff.
    """
    problem = describe_disconnected(bodies, contacts)
    if problem is not None:
        raise NetworkError(
            f"with gnm_cutoff {contacts.cutoff:g} Å {problem}; {_advice(bodies, contacts)}"
        )


def check_any(bodies: Bodies, contacts: Contacts) -> None:
    """Check that there are contacts at all.

    Raises
    ------
    NetworkError
        Names the cutoff and the smallest sufficient one.
    """
    if not contacts.n_contacts:
        raise NetworkError(
            f"no two atoms are within gnm_cutoff {contacts.cutoff:g} Å of each other; "
            f"{_advice(bodies, contacts)}"
        )


def _advice(bodies: Bodies, contacts: Contacts) -> str:
    enough = smallest_cutoff(bodies, contacts)
    if enough is None:
        return "no cutoff joins everything: bodies of alternatives that are never there are loose"
    return f"the smallest cutoff that joins everything is {enough:.2f} Å"


def name_bodies(bodies: Bodies, which: list[int], limit: int = 5) -> str:
    """Name a few bodies for a message."""
    names = ", ".join(bodies.name(b) for b in which[:limit])
    return names if len(which) <= limit else f"{names} and {len(which) - limit} more"


def atoms_hold_together(bodies: Bodies, contacts: Contacts) -> bool:
    """Whether the contacts join every atom of the crystal, not only every body.

    In that case, springs with k_perp > 0 resist every motion.
    """
    i, j, d = (x.numpy(force=True) for x in (contacts.i, contacts.j, contacts.cell))
    pieces = find_pieces(i, j, d, bodies.n_cell_atoms)
    return pieces.whole


def describe_disconnected(
    bodies: Bodies, contacts: Contacts, cutoff: float | None = None
) -> str | None:
    """Describe the unconnected parts, or None; with `cutoff`, using only shorter contacts."""
    a, b, d = _edges(bodies, contacts)
    if cutoff is not None:
        near = contacts.distance.numpy(force=True) <= cutoff + ROUNDING
        a, b, d = a[near], b[near], d[near]
    found = find_pieces(a, b, d, bodies.n_bodies)
    if found.whole:
        return None
    n_pieces = int(found.piece.max()) + 1
    if n_pieces > 1:
        largest = np.bincount(found.piece).argmax()
        loose = np.flatnonzero(found.piece != largest).tolist()
        return (
            f"the network falls into {n_pieces} pieces: {name_bodies(bodies, loose)} "
            f"{'is' if len(loose) == 1 else 'are'} unconnected"
        )
    if found.rank < 3:
        shape = ("separate clusters", "separate chains", "separate layers")[found.rank]
        return f"the crystal falls into {shape}: no contacts connect them"
    return f"the crystal falls into {found.index} interpenetrating networks that are not connected"


def smallest_cutoff(bodies: Bodies, contacts: Contacts) -> float | None:
    """Smallest cutoff, rounded up to 0.01 Å, at which everything is connected.

    Parameters
    ----------
    bodies : Bodies
    contacts : Contacts
        Those of a shorter cutoff, at which it is not.

    Returns
    -------
    float or None
        None if there is none: a body of alternatives of occupancy zero has no contacts.
    """
    share = bodies.shares.numpy(force=True)
    body = bodies.body.numpy(force=True)
    there = share > 0
    if len(np.unique(body[there])) < bodies.n_bodies:
        return None
    # Longer contacts, as long as there are many pieces; then few pieces, by their distances.
    while True:
        edges = _edges(bodies, contacts)
        found = find_pieces(*edges, bodies.n_bodies)
        if found.whole:
            return _shortest_whole(bodies, contacts)
        if found.piece.max() < MAX_PIECES:
            break
        contacts = find_contacts(bodies, 1.25 * contacts.cutoff)
    length = joining_length(
        bodies.positions.numpy(force=True).astype(np.float64)[there],
        body[there],
        bodies.crystal.cell.matrix.numpy(force=True).astype(np.float64),
        edges,
        bodies.n_bodies,
    )
    cutoff = _rounded_up(length)
    if not (find_conformers(bodies.crystal).letter >= 0).any():
        return cutoff
    # Alternatives that exclude each other join no bodies, however close they are.
    while not find_pieces(*_edges(bodies, find_contacts(bodies, cutoff)), bodies.n_bodies).whole:
        cutoff = _rounded_up(1.02 * cutoff)
    return cutoff


def _shortest_whole(bodies: Bodies, contacts: Contacts) -> float:
    """Length of the longest contact that is needed, of contacts that join everything."""
    a, b, d = _edges(bodies, contacts)
    length = contacts.distance.numpy(force=True)
    lengths = np.unique(length)
    low, high = 0, len(lengths) - 1
    while low < high:
        middle = (low + high) // 2
        near = length <= lengths[middle] + ROUNDING
        whole = find_pieces(a[near], b[near], d[near], bodies.n_bodies).whole
        low, high = (low, middle) if whole else (middle + 1, high)
    return _rounded_up(float(lengths[high]))


def _rounded_up(length: float) -> float:
    return math.ceil((length - ROUNDING) * 100) / 100


def _edges(bodies: Bodies, contacts: Contacts) -> tuple[Index, Index, Index]:
    """Bodies a and b of each contact, and the cell of b."""
    a, b = (bodies.body[x].numpy(force=True) for x in (contacts.i, contacts.j))
    return a, b, contacts.cell.numpy(force=True)
