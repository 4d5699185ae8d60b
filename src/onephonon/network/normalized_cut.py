"""Cutting a weighted network into well connected blocks: the normalized cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

#: Changes of the sum below this are rounding.
ROUNDING = 1e-10


def cut_network(weight: Float64, n_blocks: int) -> Index:
    """Cut a network into blocks with little weight between and much inside.

    Parameters
    ----------
    weight : ndarray, shape (n, n)
        Symmetric, positive; the diagonal is the weight inside a node.
    n_blocks : int
        From 1 to n.

    Returns
    -------
    ndarray, shape (n,), int
        Block of each node, from 0 to ``n_blocks - 1``; each has a node.

    Notes
    -----
    The sum over blocks of ``cut(b)/volume(b)`` is made small: cut(b) is the weight between b and
    the rest, volume(b) all weight of its nodes (Shi & Malik, IEEE Trans. Pattern Anal. 22, 888
    (2000)). Blocks are split one at a time, at the best place along the second eigenvector of the
    block's normalized Laplacian; then single nodes move while the sum falls. The minimum is a local
    one. There is no random start: equal input gives equal output.
    """
    block = np.zeros(len(weight), dtype=np.int64)
    splits: dict[bytes, Index] = {}
    for n in range(1, n_blocks):
        best: tuple[float, Index] | None = None
        for b in range(n):
            members = np.flatnonzero(block == b)
            if len(members) < 2:
                continue
            key = members.tobytes()
            if key not in splits:
                splits[key] = _split(weight, members)
            tried = block.copy()
            tried[splits[key]] = n
            total = normalized_cut(weight, tried, n + 1)
            if best is None or total < best[0] - ROUNDING:
                best = total, tried
        assert best is not None  # there are more nodes than blocks
        block = _refined(weight, best[1], n + 1)
    return block


def normalized_cut(weight: Float64, block: Index, n_blocks: int) -> float:
    """Sum over the blocks of their weight to the rest over all their weight."""
    volume, inside = _sums(weight, block, n_blocks)
    return float((1 - inside / volume).sum())


def _sums(weight: Float64, block: Index, n_blocks: int) -> tuple[Float64, Float64]:
    """All weight of the nodes of each block, and the weight within it."""
    member = np.eye(n_blocks)[block]
    volume = member.T @ weight.sum(1)
    inside = np.einsum("nb,nb->b", member, weight @ member)
    return volume, inside


def _split(weight: Float64, members: Index) -> Index:
    """The members that are on one side of the best cut of their own network."""
    w = weight[np.ix_(members, members)]
    degree = w.sum(1)
    root = np.sqrt(degree)
    _, vectors = np.linalg.eigh(-w / root[:, None] / root[None, :])
    second = vectors[:, 1] / root
    order = np.argsort(second, kind="stable")
    w, degree = w[np.ix_(order, order)], degree[order]
    # The first m nodes of this order against the others, for every m.
    volume = np.cumsum(degree)[:-1]
    within = np.cumsum(2 * np.tril(w, -1).sum(1) + w.diagonal())[:-1]
    cut = volume - within
    best = int(np.argmin(cut / volume + cut / (degree.sum() - volume)))
    one, other = members[order[: best + 1]], members[order[best + 1 :]]
    # The sign of an eigenvector is arbitrary: the side is the same for both.
    return one if degree[: best + 1].sum() < degree[best + 1 :].sum() else other


def _refined(weight: Float64, block: Index, n_blocks: int) -> Index:
    """Move single nodes to other blocks, the best move first, while the sum falls."""
    block, degree, own = block.copy(), weight.sum(1), weight.diagonal()
    nodes = np.arange(len(block))
    to = weight @ np.eye(n_blocks)[block]
    volume, inside = _sums(weight, block, n_blocks)
    while True:
        # The part of the sum of each block, with a node less and with one more.
        left_volume = volume[block] - degree
        alone = left_volume <= ROUNDING * degree
        left = (inside[block] - 2 * to[nodes, block] + own) / np.where(alone, 1.0, left_volume)
        joined = (inside + 2 * to + own[:, None]) / (volume + degree[:, None])
        now = inside / volume
        gain = joined - now + (left - now[block])[:, None]
        gain[alone] = -np.inf
        gain[nodes, block] = -np.inf
        at = int(np.argmax(gain))
        node, target = divmod(at, n_blocks)
        if gain[node, target] <= ROUNDING:
            return block
        source = block[node]
        block[node] = target
        inside[source] -= 2 * to[node, source] - own[node]
        inside[target] += 2 * to[node, target] + own[node]
        volume[source] -= degree[node]
        volume[target] += degree[node]
        to[:, source] -= weight[:, node]
        to[:, target] += weight[:, node]
