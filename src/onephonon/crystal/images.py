"""Shortest images of vectors in a lattice."""

from __future__ import annotations

import torch
from torch import Tensor

#: A vector has at most so many shortest images in a lattice, as at the centre of a right-angled
#: cell.
N_IMAGES = 8

#: Images that differ by less share, in units of the axes: fractional coordinates are rounded.
TIE = 1e-6

#: Vectors per batch.
CHUNK = 20_000


@torch.no_grad()
def shortest_images(v: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
    """Lattice vectors that make vectors as short as possible.

    Parameters
    ----------
    v : Tensor, shape (n, 3)
        In units of the axes.
    axes : Tensor, shape (3, 3)
        Columns are the axes, Å.

    Returns
    -------
    shift : Tensor, shape (n, 8, 3), int64
        ``v + shift`` are images; those that are the shortest have a share, equal for all of them.
    share : Tensor, shape (n, 8)
        Shares, which add up to 1; zero for other images.
    """
    folded = torch.round(v)
    inside = v - folded
    metric = axes.mT @ axes
    farthest = torch.einsum("ni,ij,nj->n", inside, metric, inside).max().sqrt() if len(v) else 0.0
    # An image within this distance has components of at most so much.
    reach = (farthest * torch.linalg.vector_norm(torch.linalg.inv(axes), dim=1) + 0.5).floor()
    steps = [torch.arange(-r, r + 1, device=v.device) for r in reach.clamp(min=1).long().tolist()]
    near = torch.cartesian_prod(*steps)
    shifts, shares = [], []
    for part in inside.split(CHUNK):
        images = part[:, None] + near.to(v)
        squares = torch.einsum("nci,ij,ncj->nc", images, metric, images)
        length, chosen = squares.topk(N_IMAGES, dim=1, largest=False)
        tied = (length - length[:, :1] <= 2.0 * TIE * metric.trace()).to(v)
        shifts.append(near[chosen])
        shares.append(tied / tied.sum(1, keepdim=True))
    return torch.cat(shifts) - folded.long()[:, None], torch.cat(shares)
