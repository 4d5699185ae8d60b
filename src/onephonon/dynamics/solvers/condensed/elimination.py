"""Order in which the bodies of a crystal are eliminated.

Bodies whose contacts stay within their own cell have a real stiffness independent of the
wavevector. They are eliminated once, as in a sparse Cholesky factorization; the
few remaining bodies, the boundary, contain all dependence on k. The order depends on which pairs
are coupled, not on the values of the springs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu
from torch import Tensor

from onephonon.network.force_constants import ForceConstants

Ints = NDArray[np.int64]
Group = list[int]

#: Number of extra zeros accepted to merge two groups: the overhead of a group takes as long as
#: about this many multiplications.
ZEROS_FOR_A_GROUP = 1500

#: Base of the code that represents a cell as one number; larger than any cell index.
CELL_BASE = 2**16


@dataclass(frozen=True)
class Front:
    """A group of degrees of freedom eliminated together, and the later ones coupled to it.

    Rows are the interior in the order of elimination, then the images of the boundary.

    Parameters
    ----------
    start, stop : int
        The group's own rows.
    touched : Tensor, shape (n_touched,), int64
        Later rows coupled to it, directly or through eliminated rows.
    parent : int
        The front that contains the first of them; -1 if all are images.
    into : Tensor, shape (n_touched,), int64
        Their indices among the parent's own and touched rows, or among the images.
    position, source : Tensor, shape (n,), int64
        Element of ``[own, own + touched]``, and the element of the force constants added to it.
    """

    start: int
    stop: int
    touched: Tensor
    parent: int
    into: Tensor
    position: Tensor
    source: Tensor


@dataclass(frozen=True)
class Elimination:
    """The elimination order of a network, and the structure of its boundary.

    An image is a boundary body in one of the cells where it is coupled to the interior.

    Parameters
    ----------
    fronts : tuple of Front
        Each before its parent.
    interior : Tensor, shape (n_interior,), int64
        Degrees of freedom in the order of elimination.
    boundary : Tensor, shape (n_boundary,), int64
    image, image_cell : Tensor, shapes (n_images,) and (n_images, 3), int64
        Index into `boundary`, and the cell; the boundary itself, in cell 0, comes first.
    cells : Tensor, shape (n_cells, 3), int64
        Lattice vectors between coupled boundary cells, one of each (R, -R); 0 is the first.
    position, source : Tensor, shape (n,), int64
        Element of ``[cells, boundary, boundary]``, and the force constant added to it.
    pair_position, pair_source : Tensor, shape (n,), int64
        The same for the elements of ``[images, images]`` that elimination adds.
    """

    fronts: tuple[Front, ...]
    interior: Tensor
    boundary: Tensor
    image: Tensor
    image_cell: Tensor
    cells: Tensor
    position: Tensor
    source: Tensor
    pair_position: Tensor
    pair_source: Tensor

    @property
    def n_dof(self) -> int:
        """Number of degrees of freedom of a cell."""
        return len(self.interior) + len(self.boundary)

    @property
    def n_numbers(self) -> int:
        """Number of elements of the factor of the interior."""
        return sum((f.stop - f.start) * (f.stop - f.start + len(f.touched)) for f in self.fronts)


def plan_elimination(constants: ForceConstants, dof: Tensor) -> Elimination:
    """Find the boundary of a network, and an order of elimination with little fill.

    Parameters
    ----------
    constants : ForceConstants
        Defines the coupled pairs; the values are not used.
    dof : Tensor, shape (n_dof,), int64
        As in `Bodies`: index of each degree of freedom in [n_bodies * width].

    Returns
    -------
    Elimination
        On the device of the force constants; the last few plans are cached.
    """
    n, width = constants.onsite.shape[:2]
    pairs = torch.column_stack([constants.a, constants.b, constants.cell]).numpy(force=True)
    exists = dof.numpy(force=True).astype(np.int64)
    return _plan(n, width, pairs.tobytes(), exists.tobytes(), constants.onsite.device)


@lru_cache(maxsize=8)
def _plan(n: int, width: int, pairs: bytes, dof: bytes, device: torch.device) -> Elimination:
    a, b, *axes = np.frombuffer(pairs, dtype=np.int64).reshape(-1, 5).T
    cell = np.stack(axes, axis=1)
    links = _Links.between(a, b, cell, boundary_bodies(a, b, cell), n)
    groups, touched = _groups(links, width)
    dofs = np.frombuffer(dof, dtype=np.int64)
    number = np.full(n * width, -1)
    number[dofs] = np.arange(len(dofs))
    rows = _Rows.of(links, [x for group in groups for x in group], number.reshape(n, width))

    def tensor(x: Ints) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(x), dtype=torch.int64, device=device)

    codes, (position, source), (pair_position, pair_source) = _boundary_entries(links, rows)
    return Elimination(
        fronts=tuple(_fronts(links, rows, groups, touched, tensor)),
        interior=tensor(rows.dof[: rows.n_interior]),
        boundary=tensor(rows.boundary),
        image=tensor(rows.image),
        image_cell=tensor(_decode(rows.image_code)),
        cells=tensor(_decode(codes)),
        position=tensor(position),
        source=tensor(source),
        pair_position=tensor(pair_position),
        pair_source=tensor(pair_source),
    )


def boundary_bodies(a: Ints, b: Ints, cell: Ints) -> set[int]:
    """A small set of bodies that holds one end of every contact between cells."""
    across = (cell != 0).any(1)
    meets: dict[int, set[int]] = {}
    for x, y in zip(a[across].tolist(), b[across].tolist(), strict=True):
        meets.setdefault(x, set()).add(y)
        meets.setdefault(y, set()).add(x)
    chosen = {x for x in meets if x in meets[x]}
    rest = {x: meets[x] - chosen for x in meets if x not in chosen}
    while rest:
        # Greedy choice: the body with the most remaining contacts.
        best = max(rest, key=lambda x: (len(rest[x]), -x))
        if not rest[best]:
            break
        chosen.add(best)
        for x in rest.pop(best):
            rest[x].discard(best)
    return chosen


def _encode(cell: Ints) -> Ints:
    """Encode cells as numbers, which preserves sums and the order (first index first)."""
    return cell @ np.array([CELL_BASE**2, CELL_BASE, 1])


def _decode(code: Ints) -> Ints:
    """Inverse of `_encode`, shape (n, 3)."""
    digits = []
    for _ in range(3):
        digits.append((code + CELL_BASE // 2) % CELL_BASE - CELL_BASE // 2)
        code = (code - digits[-1]) // CELL_BASE
    return np.stack(digits[::-1], axis=1)


@dataclass(frozen=True)
class _Links:
    """Pairs of coupled nodes, in both directions. A node is a body, or ``n_bodies + image``.

    ``source`` is the index of the block that couples them, onsite blocks first, then those of
    pairs; it is transposed where ``transposed`` is true.
    """

    n_bodies: int
    is_boundary: NDArray[np.bool_]
    head: Ints
    tail: Ints
    code: Ints
    source: Ints
    transposed: NDArray[np.bool_]
    image_body: Ints
    image_code: Ints

    @classmethod
    def between(cls, a: Ints, b: Ints, cell: Ints, boundary: set[int], n: int) -> _Links:
        own, block = np.arange(n), n + np.arange(len(a))
        is_boundary = np.isin(own, sorted(boundary))
        code = np.concatenate([0 * own, _encode(cell), -_encode(cell)])
        head, tail = np.concatenate([own, a, b]), np.concatenate([own, b, a])
        meets = is_boundary[tail] & ~is_boundary[head]
        top = np.flatnonzero(is_boundary)
        keys = np.column_stack([np.append(top, tail[meets]), np.append(0 * top, code[meets])])
        images = np.unique(keys, axis=0)
        images = images[np.argsort(images[:, 1] != 0, kind="stable")]
        place = {(x, c): n + i for i, (x, c) in enumerate(images.tolist())}
        tail[meets] = [
            place[key] for key in zip(tail[meets].tolist(), code[meets].tolist(), strict=True)
        ]
        return cls(
            n_bodies=n,
            is_boundary=is_boundary,
            head=head,
            tail=tail,
            code=code,
            source=np.concatenate([own, block, block]),
            transposed=np.repeat([False, False, True], [n, len(a), len(a)]),
            image_body=images[:, 0],
            image_code=images[:, 1],
        )


def _groups(links: _Links, width: int) -> tuple[list[Group], list[Group]]:
    """Groups of interior bodies in the order of elimination, and the later nodes each touches."""
    n = links.n_bodies
    near: list[set[int]] = [set() for _ in range(n)]
    for x, y in zip(links.head.tolist(), links.tail.tolist(), strict=True):
        near[x].add(y)
    order = _minimum_degree(near, np.flatnonzero(~links.is_boundary).tolist())
    place = {x: i for i, x in enumerate(order)}
    place |= {n + i: len(order) + i for i in range(len(links.image_body))}
    touched: list[set[int]] = [set() for _ in order]
    children: list[Group] = [[] for _ in order]
    parent: list[int] = []
    for i, x in enumerate(order):
        later = near[x].union(*(touched[c] for c in children[i]))
        touched[i] = {y for y in later if place[y] > i}
        parent.append(min((place[y] for y in touched[i]), default=len(order)))
        if parent[i] < len(order):
            children[parent[i]].append(i)
    members = [[x] for x in order]
    for i, p in enumerate(parent):
        if p >= len(order):
            continue
        # All nodes that i touches are in p or touched by p; merging stores this many more zeros.
        zeros = len(members[i]) * (len(members[p]) + len(touched[p]) - len(touched[i]))
        if zeros * width**2 <= ZEROS_FOR_A_GROUP:
            members[p] = members[i] + members[p]
            members[i] = []
    kept = [i for i in range(len(order)) if members[i]]
    return [members[i] for i in kept], [list(touched[i]) for i in kept]


def _minimum_degree(near: list[set[int]], interior: list[int]) -> list[int]:
    """Order the interior by minimum degree, with SuperLU and a matrix of this pattern."""
    if not interior:
        return []
    place = {x: i for i, x in enumerate(interior)}
    pairs = [(i, place[y]) for i, x in enumerate(interior) for y in near[x] | {x} if y in place]
    rows, columns = np.array(pairs).T
    # Diagonally dominant, so that pivoting does not change the order.
    values = np.where(rows == columns, 1.0 + len(interior), -1.0)
    matrix = csc_array((values, (rows, columns)), shape=(len(interior), len(interior)))
    options = {"SymmetricMode": True}
    factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    return [interior[i] for i in np.argsort(factor.perm_c)]


@dataclass(frozen=True)
class _Rows:
    """Rows of the nodes: the interior in order of elimination, then the images.

    ``row[node, axis]`` is -1 where a degree of freedom does not exist; ``dof`` is that of a row.
    """

    row: Ints
    dof: Ints
    n_interior: int
    boundary: Ints
    image: Ints
    image_code: Ints

    @classmethod
    def of(cls, links: _Links, order: Group, number: Ints) -> _Rows:
        """Count the rows, given the number of each body's degrees of freedom, or -1."""
        n, n_images = links.n_bodies, len(links.image_body)
        nodes = np.concatenate([np.array(order, dtype=np.int64), n + np.arange(n_images)])
        numbers = number[np.concatenate([nodes[: len(order)], links.image_body])]
        exists = numbers >= 0
        row = np.full((n + n_images, number.shape[1]), -1)
        row[nodes] = np.where(exists, np.cumsum(exists).reshape(exists.shape) - 1, -1)
        n_interior = int(exists[: len(order)].sum())
        boundary = number[links.is_boundary]
        boundary = boundary[boundary >= 0]
        within = np.full(number.size, -1)
        within[boundary] = np.arange(len(boundary))
        dof = numbers[exists]
        codes = np.repeat(links.image_code, exists[len(order) :].sum(1))
        return cls(row, dof, n_interior, boundary, within[dof[n_interior:]], codes)

    def entries(self, links: _Links, which: Ints, head: Ints, tail: Ints) -> list[Ints]:
        """Row, column, link and source of all elements that some links contribute."""
        width = self.row.shape[1]
        x, y = np.divmod(np.arange(width**2), width)
        within = np.where(links.transposed[which][:, None], y * width + x, x * width + y)
        source = links.source[which][:, None] * width**2 + within
        row, column = self.row[head][:, x], self.row[tail][:, y]
        link = np.broadcast_to(which[:, None], row.shape)
        exists = (row >= 0) & (column >= 0)
        return [part[exists] for part in (row, column, link, source)]


def _fronts(
    links: _Links,
    rows: _Rows,
    groups: list[Group],
    touched: list[Group],
    tensor: Callable[[Ints], Tensor],
) -> Iterator[Front]:
    """Fronts of the groups, with the entries of their rows."""
    starts = np.cumsum([0, *(int((rows.row[group] >= 0).sum()) for group in groups)])
    inner = np.flatnonzero(~links.is_boundary[links.head])
    row, column, _, source = rows.entries(links, inner, links.head[inner], links.tail[inner])
    owner = np.searchsorted(starts, np.arange(rows.n_interior), side="right") - 1
    order = np.argsort(owner[row], kind="stable")
    order = order[column[order] >= starts[owner[row[order]]]]  # already included in earlier ones
    cuts = np.searchsorted(owner[row[order]], np.arange(len(groups) + 1))
    later = [np.sort(rows.row[nodes][rows.row[nodes] >= 0]) for nodes in touched]
    local = np.empty(len(rows.dof), dtype=np.int64)
    for g, beyond in enumerate(later):
        start, stop = int(starts[g]), int(starts[g + 1])
        n = stop - start
        local[start:stop] = np.arange(n)
        local[beyond] = n + np.arange(len(beyond))
        here = order[cuts[g] : cuts[g + 1]]
        position = (row[here] - start) * (n + len(beyond)) + local[column[here]]
        parent, into = -1, beyond - rows.n_interior
        if len(beyond) and beyond[0] < rows.n_interior:
            parent = int(owner[beyond[0]])
            theirs = np.concatenate([np.arange(starts[parent], starts[parent + 1]), later[parent]])
            into = np.searchsorted(theirs, beyond)
        yield Front(
            start,
            stop,
            tensor(beyond),
            parent,
            tensor(into),
            tensor(position),
            tensor(source[here]),
        )


def _boundary_entries(
    links: _Links, rows: _Rows
) -> tuple[Ints, tuple[Ints, Ints], tuple[Ints, Ints]]:
    """Lattice vectors between boundary cells, and the positions of all elements there."""
    top = np.flatnonzero(links.is_boundary[links.head] & (links.code >= 0))
    top = top[links.is_boundary[links.tail[top]]]
    # The images in cell 0 come first: they are the boundary itself.
    home = links.n_bodies + np.cumsum(links.is_boundary) - 1
    row, column, link, source = rows.entries(
        links, top, home[links.head[top]], home[links.tail[top]]
    )
    apart = rows.image_code[None, :] - rows.image_code[:, None]
    pair_source = np.flatnonzero(apart >= 0)
    codes = np.unique(np.concatenate([[0], links.code[top], apart.reshape(-1)[pair_source]]))
    n = len(rows.boundary)

    def entry(code: Ints, x: Ints, y: Ints) -> Ints:
        return (np.searchsorted(codes, code) * n + x) * n + y

    i, j = np.divmod(pair_source, len(rows.image))
    pairs = entry(apart[i, j], rows.image[i], rows.image[j])
    start = rows.n_interior
    return (
        codes,
        (entry(links.code[link], row - start, column - start), source),
        (pairs, pair_source),
    )
