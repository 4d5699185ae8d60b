"""Pieces of a periodic graph, and the shortest length at which all of them are joined."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

Index = NDArray[np.int64]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Pieces:
    """Connectivity of a periodic graph: components modulo the lattice, and the lattice of loops.

    The lattice vectors accumulated along its loops must generate all of Z^3 (rank 3,
    index 1), so that a component extends through all cells.
    """

    piece: NDArray[np.int32]
    rank: int
    index: int

    @property
    def whole(self) -> bool:
        """Whether everything is connected."""
        return not self.piece.any() and self.rank == 3 and self.index == 1


def find_pieces(a: Index, b: Index, d: Index, n: int) -> Pieces:
    """Pieces of the periodic graph whose edges join node a in cell 0 with node b in cell d."""
    piece, place = unwrap(a, b, d, n)
    if piece.any():
        return Pieces(piece, 0, 0)
    loops = np.unique(place[a] + d - place[b], axis=0)
    return Pieces(piece, *generated_lattice(loops.tolist()))


def unwrap(a: Index, b: Index, d: Index, n: int) -> tuple[NDArray[np.int32], Index]:
    """Piece of each node, and the cell in which it is joined to the first node of the piece."""
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(n, n)).tocsr()
    _, piece = connected_components(graph, directed=False)
    place = np.zeros((n, 3), dtype=np.int64)
    # Steps along edges in both directions, to look up those of the trees.
    keys, first = np.unique(np.concatenate([a * n + b, b * n + a]), return_index=True)
    steps = np.concatenate([d, -d])[first]
    joined = np.bincount(piece) > 1
    for start in np.unique(piece, return_index=True)[1][joined].tolist():
        order, before = breadth_first_order(graph, start, directed=False)
        nodes, last = order[1:].astype(np.int64), before[order[1:]].astype(np.int64)
        ahead = steps[np.searchsorted(keys, last * n + nodes)]
        for node, previous, step in zip(nodes.tolist(), last.tolist(), ahead, strict=True):
            place[node] = place[previous] + step
    return piece, place


def joining_length(
    positions: Float, body: Index, matrix: Float, edges: tuple[Index, Index, Index], n_bodies: int
) -> float:
    """Shortest length of edges that joins the pieces of a crystal into one network.

    The edges join the closest atoms of two pieces, shortest first (Kruskal's tree, and loops until
    all lattice vectors are among them), so that no list of all contacts is needed.

    Parameters
    ----------
    positions : ndarray, shape (n, 3)
        Cartesian, of the atoms of the cell.
    body : ndarray, shape (n,), int
        Body of each atom.
    matrix : ndarray, shape (3, 3)
        Columns are the axes of the cell.
    edges : three ndarrays
        Bodies a and b joined already, and the cell of b.
    n_bodies : int
    """
    piece, place = unwrap(*edges, n_bodies)
    a, b, d = edges
    loops = np.unique(place[a] + d - place[b], axis=0).tolist() if len(a) else []
    network = _Joined.of(int(piece.max()) + 1, loops)
    points = positions + place[body] @ matrix.T
    members = [points[piece[body] == p] for p in range(len(network.parent))]
    trees = [cKDTree(x) for x in members]
    heap: list[tuple[float, bool, int, int, tuple[int, ...]]] = [
        (low, False, p, q, cell) for low, p, q, cell in _candidates(members, matrix)
    ]
    heapq.heapify(heap)
    longest = 0.0
    while not network.whole:
        length, exact, p, q, cell = heapq.heappop(heap)
        if network.knows(p, q, cell):
            continue
        if not exact:
            moved = members[q] + matrix @ np.array(cell)
            length = float(trees[p].query(moved)[0].min())
            heapq.heappush(heap, (length, True, p, q, cell))
            continue
        network.join(p, q, cell)
        longest = length
    return longest


def _candidates(
    members: list[Float], matrix: Float
) -> list[tuple[float, int, int, tuple[int, ...]]]:
    """A lower bound of the distance, the two pieces and the cell of the second one.

    All that may be shorter than an axis of the cell, and than half its longest diagonal: no longer
    edge is needed.
    """
    axes = np.linalg.norm(matrix, axis=0)
    longest = max(axes.max(), axes.sum() / 2)
    heights = 1 / np.linalg.norm(np.linalg.inv(matrix), axis=1)
    centres = [(x.max(0) + x.min(0)) / 2 for x in members]
    radii = [np.linalg.norm(x - c, axis=1).max() for x, c in zip(members, centres, strict=True)]
    found = []
    for p, q in itertools.combinations_with_replacement(range(len(members)), 2):
        reach = longest + radii[p] + radii[q]
        apart = centres[q] - centres[p]
        nearest = -np.round(np.linalg.solve(matrix, apart)).astype(np.int64)
        sizes = np.ceil(reach / heights + 1).astype(np.int64)
        cells = nearest + np.stack(
            np.meshgrid(*(np.arange(-m, m + 1) for m in sizes), indexing="ij"), axis=-1
        ).reshape(-1, 3)
        if p == q:  # one of d and -d
            first = cells[np.arange(len(cells)), np.argmax(cells != 0, axis=1)]
            cells = cells[first > 0]
        low = np.linalg.norm(apart + cells @ matrix.T, axis=1) - radii[p] - radii[q]
        near = low <= longest * (1 + 1e-9)
        rows = zip(np.maximum(low[near], 0.0).tolist(), cells[near].tolist(), strict=True)
        found += [(bound, p, q, tuple(cell)) for bound, cell in rows]
    return found


@dataclass
class _Joined:
    """Pieces that have been joined, the cell of each in its tree, and the lattice of loops."""

    parent: list[int]
    cell: Index
    rows: list[list[int]]
    lattice: tuple[int, int]

    @classmethod
    def of(cls, n: int, loops: list[list[int]]) -> _Joined:
        return cls(list(range(n)), np.zeros((n, 3), np.int64), loops, generated_lattice(loops))

    @property
    def whole(self) -> bool:
        return len(set(self.parent)) == 1 and self.lattice == (3, 1)

    def _loop(self, p: int, q: int, cell: tuple[int, ...]) -> list[int]:
        found: list[int] = (self.cell[p] + cell - self.cell[q]).tolist()
        return found

    def knows(self, p: int, q: int, cell: tuple[int, ...]) -> bool:
        """Whether an edge would join nothing new."""
        if self.parent[p] != self.parent[q]:
            return False
        return generated_lattice([*self.rows, self._loop(p, q, cell)]) == self.lattice

    def join(self, p: int, q: int, cell: tuple[int, ...]) -> None:
        """Add an edge."""
        loop = self._loop(p, q, cell)
        if self.parent[p] == self.parent[q]:
            self.rows = [*self.rows, loop]
            self.lattice = generated_lattice(self.rows)
            return
        old, new = self.parent[q], self.parent[p]
        for piece, parent in enumerate(self.parent):
            if parent == old:
                self.parent[piece] = new
                self.cell[piece] += loop


def generated_lattice(vectors: list[list[int]]) -> tuple[int, int]:
    """Rank of the lattice that integer vectors generate, and its index in Z^3 at full rank."""
    rows = [list(v) for v in vectors if any(v)]
    index = 1
    rank = 0
    for column in range(3):
        # Euclid's algorithm on this column until only one row has a nonzero element there.
        while True:
            live = [r for r in rows if r[column]]
            if len(live) < 2:
                break
            pivot = min(live, key=lambda r: abs(r[column]))
            for r in live:
                if r is not pivot:
                    m = r[column] // pivot[column]
                    r[:] = [x - m * y for x, y in zip(r, pivot, strict=True)]
        rows = [r for r in rows if any(r)]
        if live:
            rank += 1
            index *= abs(live[0][column])
            rows = [r for r in rows if r is not live[0]]
    return rank, index
