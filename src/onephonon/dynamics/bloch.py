"""Bloch sums ``K(k) = sum_d H(d) exp(i k.R_d)``, and gradients from K(k) back to its blocks.

For few cells and few degrees of freedom the blocks of each cell form one matrix, and K at many
k is the product of a table of cosines and sines with a table of matrices. Otherwise pairs of bodies
are added one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.units import TWO_PI
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

#: Maximum number of elements of the matrices of all cells for which whole matrices are formed.
DENSE_NUMBERS = 4_000_000

#: Elements per batch while derivatives with respect to k and to single pairs are summed.
GATHERED_AT_A_TIME = 2_000_000

#: Base of the code that represents a cell as one number; larger than any cell index.
CELL_STRIDE = 10**6


def phase(k_frac: Tensor, cell: Tensor) -> Tensor:
    """``exp(i k.R_d)``, shape (n_k, n_cells)."""
    angle = TWO_PI * (k_frac @ cell.to(k_frac).T)
    return torch.polar(torch.ones_like(angle), angle)


@dataclass(frozen=True)
class Layout:
    """Positions of the blocks of `ForceConstants` within K.

    Parameters
    ----------
    a, b : Tensor, shape (n_blocks,), int64
        The two bodies of each pair.
    cell : Tensor, shape (n_blocks, 3), int64
        The cell of the second.
    dof : Tensor, shape (D,), int64
        Index of each degree of freedom among the padded ones of all bodies.
    n : int
        Number of bodies.
    width : int
        Number of degrees of freedom reserved for each body.
    """

    a: Tensor
    b: Tensor
    cell: Tensor
    dof: Tensor
    n: int
    width: int

    @classmethod
    def of(cls, bodies: Bodies, constants: ForceConstants) -> Layout:
        """Layout of a network."""
        c = constants
        return cls(c.a, c.b, c.cell, bodies.dof, bodies.n_bodies, bodies.width)

    def gather(self, blocks: Tensor) -> Tensor:
        """Matrices (..., D, D) from blocks (..., n * n, width, width)."""
        lead, n, w = blocks.shape[:-3], self.n, self.width
        padded = blocks.reshape(*lead, n, n, w, w).transpose(-3, -2).reshape(*lead, n * w, n * w)
        if len(self.dof) == n * w:
            return padded
        return padded.index_select(-2, self.dof).index_select(-1, self.dof)

    def scatter(self, matrices: Tensor) -> Tensor:
        """Inverse of `gather`: blocks (..., n * n, width, width), zero where there is none."""
        lead, n, w = matrices.shape[:-2], self.n, self.width
        matrices = self._pad(self._pad(matrices).mT).mT
        return matrices.reshape(*lead, n, w, n, w).transpose(-3, -2).reshape(*lead, n * n, w, w)

    def by_body(self, v: Tensor) -> Tensor:
        """Rearrange vectors (..., D) by body, shape (..., n, width)."""
        return self._pad(v).reshape(*v.shape[:-1], self.n, self.width)

    def by_body_in_rows(self, v: Tensor) -> Tensor:
        """Rearrange vectors (D, ...) by body, shape (n, width, ...)."""
        length = self.n * self.width
        if len(self.dof) < length:
            v = v.new_zeros(length, *v.shape[1:]).index_copy(0, self.dof, v)
        return v.reshape(self.n, self.width, *v.shape[1:])

    def _pad(self, x: Tensor) -> Tensor:
        """Zeros where a body lacks a degree of freedom, along the last dimension."""
        length = self.n * self.width
        if len(self.dof) == length:
            return x
        return x.new_zeros(*x.shape[:-1], length).index_copy(-1, self.dof, x)


@dataclass(frozen=True)
class CellSum:
    """K as a sum of whole matrices over cells.

    Parameters
    ----------
    onsite : Tensor, shape (D * D,)
    even, odd : Tensor, shape (n_cells, D * D)
        ``H + H^T`` and ``H - H^T`` of each cell: coefficients of the cosine and of the sine.
    cells : Tensor, shape (n_cells, 3)
    at : Tensor, shape (n_blocks,), int64
        The cell of each block.
    layout : Layout
    """

    onsite: Tensor
    even: Tensor
    odd: Tensor
    cells: Tensor
    at: Tensor
    layout: Layout

    def stiffness(self, k_frac: Tensor) -> Tensor:
        """K, shape (n_k, D, D), complex."""
        angle = TWO_PI * (k_frac @ self.cells.T)
        real = torch.addmm(self.onsite, torch.cos(angle), self.even)
        return self._matrices(real, torch.sin(angle) @ self.odd)

    def _matrices(self, real: Tensor, imaginary: Tensor) -> Tensor:
        D = len(self.layout.dof)
        return torch.complex(real, imaginary).reshape(-1, D, D)

    def pull_back(self, k_frac: Tensor, g: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Onsite and coupling blocks of ``-sum g v^H dK v``; g (n_k, m), v (n_k, m, D)."""
        layout, D = self.layout, len(self.layout.dof)
        P = _moment(g, v).flatten(1)
        angle = TWO_PI * (k_frac @ self.cells.T)
        cos, sin = ((f(angle).mT @ P).reshape(-1, D, D) for f in (torch.cos, torch.sin))
        total = P.sum(0).reshape(D, D)
        own = torch.arange(layout.n, device=v.device)
        onsite = layout.scatter(-0.5 * (total + total.mT))[own * layout.n + own]
        coupling = layout.scatter(-(cos + cos.mT + sin - sin.mT))
        return onsite, coupling[self.at, layout.a * layout.n + layout.b]

    def pull_back_k(self, k_frac: Tensor, g: Tensor, v: Tensor) -> Tensor:
        """``-g v^H (dK/dk) v``, k in reciprocal lattice units, shape (n_k, m, 3)."""
        # v^H H v is <H, P>, with P from each v: its derivative along k is one sum over cells.
        n_k, m, D = v.shape
        angle = TWO_PI * (k_frac @ self.cells.T).repeat_interleave(m, dim=0)
        found = []
        step = max(1, GATHERED_AT_A_TIME // D**2)
        each = (x.split(step) for x in (angle, g.reshape(-1, 1), v.reshape(-1, 1, D)))
        for at, weight, one in zip(*each, strict=True):
            P = _moment(weight, one).flatten(1)
            found.append(torch.cos(at) * (P @ self.odd.T) - torch.sin(at) * (P @ self.even.T))
        return -TWO_PI * (torch.cat(found) @ self.cells).reshape(n_k, m, 3)


def _moment(g: Tensor, v: Tensor) -> Tensor:
    """``sum_m g v v^H``, its real part (even) plus its imaginary part (odd), shape (n_k, D, D)."""
    if v.shape[1] == 1:
        re, im = v.real.mT, v.imag.mT
        right = torch.view_as_real(v * (1 + 1j))
        return (g[:, :, None] * re) * right[..., 0] + (g[:, :, None] * im) * right[..., 1]
    # One product of all real and imaginary parts: real products are twice as fast.
    parts = torch.view_as_real(v.resolve_conj()).flatten(2)
    products = ((parts * g[:, :, None]).mT @ parts).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    (rr, ri), (ir, ii) = (x.unbind(-1) for x in products.unbind(2))
    return rr + ii + ir - ri


@dataclass(frozen=True)
class PairSum:
    """K as a sum over pairs of bodies.

    Parameters
    ----------
    onsite : Tensor, shape (n_bodies, width, width)
    coupling : Tensor, shape (n_blocks, width, width)
    layout : Layout
    """

    onsite: Tensor
    coupling: Tensor
    layout: Layout

    def stiffness(self, k_frac: Tensor) -> Tensor:
        """K, shape (n_k, D, D), complex."""
        layout = self.layout
        a, b, n, w = layout.a, layout.b, layout.n, layout.width
        waves = phase(k_frac, layout.cell)
        phased = waves[:, :, None, None] * self.coupling
        own = torch.arange(n, device=waves.device)
        K = torch.zeros(len(k_frac), n * n, w, w, dtype=waves.dtype, device=waves.device)
        onsite = self.onsite.to(waves.dtype).expand(len(k_frac), n, w, w)
        K = K.index_add(1, own * n + own, onsite)
        K = K.index_add(1, a * n + b, phased).index_add(1, b * n + a, phased.mH)
        return layout.gather(K)

    def pull_back(self, k_frac: Tensor, g: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Onsite and coupling blocks of ``-sum g v^H dK v``; g (n_k, m), v (n_k, m, D)."""
        layout = self.layout
        u = layout.by_body(v)
        weighted = (u * g[:, :, None, None]).conj()
        onsite = -torch.einsum("kmbi,kmbj->bij", weighted, u).real
        pairs = [torch.zeros_like(self.coupling[:0])]
        for part in self._parts(u):
            at_a = weighted[:, :, layout.a[part]].permute(0, 2, 3, 1)
            at_b = u[:, :, layout.b[part]].permute(0, 2, 1, 3)
            phased = phase(k_frac, layout.cell[part])[:, :, None, None] * (at_a @ at_b)
            pairs.append(-2 * phased.sum(0).real)
        return onsite, torch.cat(pairs)

    def pull_back_k(self, k_frac: Tensor, g: Tensor, v: Tensor) -> Tensor:
        """``-g v^H (dK/dk) v``, k in reciprocal lattice units, shape (n_k, m, 3)."""
        layout = self.layout
        u = layout.by_body(v)
        found = torch.zeros(*g.shape, 3, dtype=g.dtype, device=g.device)
        for part in self._parts(u):
            at_a, at_b = u[:, :, layout.a[part]], u[:, :, layout.b[part]]
            moved = torch.einsum("pij,kmpj->kmpi", self.coupling[part].to(u.dtype), at_b)
            pulled = (at_a.conj() * moved).sum(-1) * phase(k_frac, layout.cell[part])[:, None]
            found = found + 2 * TWO_PI * (pulled.imag @ layout.cell[part].to(g))
        return g[:, :, None] * found

    def _parts(self, u: Tensor) -> tuple[Tensor, ...]:
        """Batches of pairs that fit the memory limit."""
        n_k, m, _, w = u.shape
        step = max(1, GATHERED_AT_A_TIME // max(1, n_k * m * w))
        return torch.arange(len(self.coupling), device=u.device).split(step)


BlochSum = CellSum | PairSum


def bloch_sum(
    onsite: Tensor,
    coupling: Tensor,
    a: Tensor,
    b: Tensor,
    cell: Tensor,
    dof: Tensor,
    max_numbers: int | None = None,
) -> BlochSum:
    """Choose the faster sum for these blocks (fields of `ForceConstants` and ``Bodies.dof``).

    Its ``stiffness`` is differentiable in the blocks and in k. Blocks may have further leading
    dimensions, which the tensors of the sum then have, too.

    Parameters
    ----------
    max_numbers : int, optional
        Numbers in the matrices of all cells, up to which they are formed; by default
        `DENSE_NUMBERS`.
    """
    lead, (n, w) = onsite.shape[:-3], onsite.shape[-3:-1]
    layout = Layout(a, b, cell, dof, n, w)
    shift = torch.tensor([CELL_STRIDE**2, CELL_STRIDE, 1], device=cell.device)
    keys, at = torch.unique((cell * shift).sum(1), return_inverse=True)
    n_cells = len(keys)
    max_numbers = DENSE_NUMBERS if max_numbers is None else max_numbers
    if lead.numel() * n_cells * (n * w) ** 2 > max_numbers:
        return PairSum(onsite, coupling, layout)
    cells = cell.new_zeros(n_cells, 3)
    cells[at] = cell
    own = torch.arange(n, device=onsite.device)
    H = onsite.new_zeros(*lead, n_cells * n * n, w, w)
    H = H.index_add(-3, (at * n + a) * n + b, coupling)
    H = layout.gather(H.reshape(*lead, n_cells, n * n, w, w))
    alone = onsite.new_zeros(*lead, n * n, w, w).index_add(-3, own * n + own, onsite)
    even, odd = (H + H.mT).flatten(-2), (H - H.mT).flatten(-2)
    alone = layout.gather(alone).flatten(-2)
    return CellSum(alone, even, odd, cells.to(onsite.dtype), at, layout)
