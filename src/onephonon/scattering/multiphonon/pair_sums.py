"""Sums over pairs of bodies of every order of their scattering but the first, from moments.

An atom of body a moves by ``A_j u_a``, and ``A_j^T q = (q, rho_j x q)`` depends only on the two
components of its position rho_j across q. The exponent of equation (3) is therefore

    ``q^T C_jk q = (1, rho_j)^T c (1, rho_k)``

with a 3 x 3 matrix c for each q and pair of bodies. In powers of rho_j and rho_k, the sum over the
atoms of ``f_j f_k exp(...) [exp(q^T C_jk q) - 1 - q^T C_jk q]`` is a sum over the bodies' moments.
The translations' part of c is in the coefficients, exactly; the series is one of the librations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onephonon.core.compiled import in_threads
from onephonon.core.tensors import derivatives_along, inside_functorch

from . import loops
from .lanes import LANES, Floats
from .pairs import BodyPairs
from .slope_loops import sum_pairs_by_block
from .tables import Tables, tables

#: Number of parts for each thread, so that all finish at about the same time.
PARTS_PER_THREAD = 4

#: Complex numbers per batch of pairs where torch computes the sums, and derivatives by the
#: covariances per batch of q.
NUMBERS_AT_A_TIME = 4_000_000


def pair_sums(
    pairs: BodyPairs,
    q: Tensor,
    hkl: Tensor,
    moments: Tensor,
    length: float,
    degrees: Tensor,
    order: int | None = None,
) -> Tensor:
    """Intensity of the orders from the second on, summed over pairs of bodies.

    ``sum w Re[exp(2 pi i hkl.R) sum_jk conj(w_j) w_k (exp(x_jk) - 1 - x_jk)]`` with
    ``x_jk = q^T A_j C A_k^T q`` and ``w_j = occ_j f_j exp(-q^T U_j q/2 + i q.r_j)``.

    Parameters
    ----------
    pairs : BodyPairs
    q : Tensor, shape (n_q, 3)
        1/Å, 2*pi included; not zero.
    hkl : Tensor, shape (n_q, 3)
        The same in reciprocal lattice units.
    moments : Tensor, shape (n_q, n_bodies, n_moments), complex
        Of each body, in units of `length`; see `AmplitudeEngine.moments`.
    length : float
        Å.
    degrees : Tensor, shape (n_pairs,), int64
        Highest power of rho_j and of rho_k; -1 leaves the pair out.
    order : int, optional
        Sum the orders 2 to this one instead of all.

    Returns
    -------
    Tensor, shape (n_q,), e^2 per cell
        Differentiable in the covariances, q, hkl and the moments; twice and more often by a
        slower calculation, as inside torch.func and on other devices than the CPU.
    """
    series, inputs = _series(pairs, q, hkl, moments, length, degrees, order)
    if inside_functorch() or q.device.type != "cpu":
        return series.by_torch(*inputs)
    sums: Tensor = _PairSums.apply(*inputs, series)
    return sums


@torch.no_grad()
def pair_slopes(
    pairs: BodyPairs,
    tangents: Tensor,
    q: Tensor,
    hkl: Tensor,
    moments: Tensor,
    length: float,
    degrees: Tensor,
    order: int | None = None,
) -> tuple[Tensor, Tensor]:
    """`pair_sums` and their derivatives along changes of the covariances.

    Parameters
    ----------
    pairs, q, hkl, moments, length, degrees, order
        As for `pair_sums`.
    tangents : Tensor, shape (n_tangents, n_pairs, w, w)
        Changes of the covariances.

    Returns
    -------
    sums : Tensor, shape (n_q,)
    slopes : Tensor, shape (n_q, n_tangents)
        Without gradient.
    """
    series, inputs = _series(pairs, q, hkl, moments, length, degrees, order)
    if q.device.type == "cpu":
        flat = np.ascontiguousarray(_array(tangents).reshape(len(tangents), -1).T)
        sums, found = np.zeros(len(q)), np.zeros((len(q), len(tangents)))

        def keep(here: slice, value: Floats, by_block: Floats) -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # as torch does
                sums[here], found[here] = value, by_block @ flat

        series.by_block(inputs, keep)
        return torch.from_numpy(sums).to(q), torch.from_numpy(found).to(q)

    def of_blocks(blocks: Tensor) -> Tensor:
        return series.by_torch(*inputs[:4], blocks)

    slopes = derivatives_along(of_blocks, pairs.blocks, tangents)
    return series.by_torch(*inputs), slopes.T


def _series(
    pairs: BodyPairs,
    q: Tensor,
    hkl: Tensor,
    moments: Tensor,
    length: float,
    degrees: Tensor,
    order: int | None,
) -> tuple[_Series, tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """The series, and Y, across, hkl, moments and blocks, which it is computed from."""
    if pairs.blocks.shape[1] == 3:
        degrees = degrees.clamp(max=0)  # no librations, no powers
    degree = max(0, int(degrees.max())) if len(degrees) else 0
    across = directions_across(q)
    size = length * torch.linalg.vector_norm(q, dim=1)[:, None]
    Y = torch.stack([q, -size * across[:, 1], size * across[:, 0]], dim=1)
    series = _Series(tables(degree), pairs, degrees, -1 if order is None else order)
    count = (degree + 1) * (degree + 2) * (degree + 3) // 6
    return series, (Y, across, hkl, moments[..., :count], pairs.blocks)


def directions_across(q: Tensor) -> Tensor:
    """Two unit vectors e_1, e_2 perpendicular to each q, right-handed with it, (n_q, 2, 3)."""
    least = torch.nn.functional.one_hot(q.detach().abs().argmin(1), 3).to(q)
    first = torch.nn.functional.normalize(torch.linalg.cross(least, q), dim=1)
    second = torch.linalg.cross(torch.nn.functional.normalize(q, dim=1), first)
    return torch.stack([first, second], dim=1)


@dataclass(frozen=True, eq=False)
class _Series:
    """What is not differentiated: tables, pairs, degrees, and the highest order or -1."""

    tables: Tables
    pairs: BodyPairs
    degrees: Tensor
    order: int

    def arrays(self, *inputs: Tensor) -> tuple[Any, ...]:
        """Arguments of the compiled loops."""
        Y, across, hkl, moments, blocks = (_array(x) for x in inputs)
        t = self.tables
        every = (
            t.degree,
            t.parent,
            t.axis,
            t.power,
            t.lower,
            t.lower_space,
            t.rows,
            t.columns,
            t.start,
        )
        pairs = self.pairs
        return (
            Y,
            across,
            hkl,
            moments,
            pairs.index.numpy(),
            _array(pairs.cells),
            _array(pairs.weight),
            blocks,
            self.degrees.numpy(),
            self.order,
            every,
        )

    def by_block(
        self, inputs: Sequence[Tensor], keep: Callable[[slice, Floats, Floats], None]
    ) -> None:
        """Sums and their derivatives by all covariances, given to `keep` for some q at a time.

        As the q's, sums (n,) and derivatives (n, n_pairs w w).
        """
        arrays = self.arrays(*inputs)
        blocks = arrays[7]
        step = max(1, NUMBERS_AT_A_TIME // max(1, blocks.size) // LANES) * LANES

        def work(part: tuple[int, int]) -> None:
            for first in range(*part, step):
                last = min(first + step, part[1])
                sums, slopes = np.zeros(last - first), np.zeros((last - first, *blocks.shape))
                sum_pairs_by_block(first, last, sums, slopes, *arrays)
                keep(slice(first, last), sums, slopes.reshape(last - first, -1))

        in_threads(work, _parts(len(inputs[0])))

    def by_torch(
        self, Y: Tensor, across: Tensor, hkl: Tensor, moments: Tensor, blocks: Tensor
    ) -> Tensor:
        """The same sums by torch, differentiable any number of times."""
        mu = self._project(across, moments)
        phase = torch.exp(2j * torch.pi * (hkl @ self.pairs.cells.to(hkl).T))
        total = torch.zeros_like(hkl[:, 0])
        for degree in range(self.tables.degree + 1):
            chosen = (self.degrees == degree).nonzero().squeeze(1)
            n = len(Y) * int(self.tables.rows[degree + 1]) ** 2
            for some in chosen.split(max(1, NUMBERS_AT_A_TIME // max(1, n))):
                if len(some):
                    total = total + self._share(degree, some, Y, mu, phase, blocks)
        return total

    def _share(
        self, degree: int, some: Tensor, Y: Tensor, mu: Tensor, phase: Tensor, blocks: Tensor
    ) -> Tensor:
        """Sum over some pairs of equal degree."""
        a, b, cell = self.pairs.index[some].unbind(1)
        c = self._exponent(Y, blocks[some])
        E = self._coefficients(c, degree)
        n = int(self.tables.rows[degree + 1])
        of_a, of_b = mu[:, a, :n].conj(), mu[:, b, :n]
        value = torch.einsum("qpi,ijpq,qpj->qp", of_a, E.to(mu), of_b)
        few = 3 if degree else 1
        low = c[:few, :few].clone()
        low[0, 0] = low[0, 0] + 1
        value = value - torch.einsum(
            "qpi,ijpq,qpj->qp", of_a[..., :few], low.to(mu), of_b[..., :few]
        )
        return ((value * phase[:, cell]).real * self.pairs.weight[some]).sum(1)

    def _exponent(self, Y: Tensor, blocks: Tensor) -> Tensor:
        """Exponents of each pair and q, shape (1 or 3, 1 or 3, n_pairs, n_q)."""
        translation = torch.einsum("qi,pij,qj->pq", Y[:, 0], blocks[:, :3, :3], Y[:, 0])
        if blocks.shape[1] == 3:
            return translation[None, None]
        zero = torch.zeros_like(Y)
        y = torch.cat(
            [torch.cat([Y[:, :1], zero[:, 1:]], 1), torch.cat([zero[:, :1], Y[:, 1:]], 1)], 2
        )
        return torch.einsum("qmi,pij,qnj->mnpq", y, blocks, y)

    def _coefficients(self, c: Tensor, degree: int) -> Tensor:
        """Coefficients of the powers of rho_j and rho_k, shape (n, n, n_pairs, n_q)."""
        rows, order = self.tables.rows, self.order
        if order < 0:
            every = self._rows(c, degree, degree, -1)
            return torch.stack([torch.stack(row) for row in every])
        found: list[Tensor] = []
        for d in range(degree + 1):
            if d <= order:
                part = self._rows(c, d, degree, order - d)[rows[d] : rows[d + 1]]
                found += [torch.stack(row) for row in part]
            else:
                found += [torch.zeros_like(found[0])] * (d + 1)
        return torch.stack(found)

    def _rows(self, c: Tensor, high: int, degree: int, base: int) -> list[list[Tensor]]:
        """Rows of the coefficients up to degree `high`; see `loops`."""
        t = self.tables
        n = int(t.rows[degree + 1])
        term = total = torch.ones_like(c[0, 0])
        e = [total]
        for k in range(1, base + 1):
            term = term * c[0, 0] / k
            total = total + term
            e.append(total)
        powers, first = [torch.ones_like(total)], []
        for j in range(1, n):
            powers.append(c[0, 1 + t.axis[j]] * powers[t.parent[j]] / float(t.power[j]))
        for d in range(degree + 1):
            for j in range(t.rows[d], t.rows[d + 1]):
                if base < 0:
                    first.append(powers[j] * torch.exp(c[0, 0]))
                else:
                    first.append(powers[j] * e[base - d] if base >= d else 0 * total)
        found = [first]
        for i in range(1, int(t.rows[high + 1])):
            above, x = found[t.parent[i]], 1 + t.axis[i]
            row = []
            for j in range(n):
                value = c[x, 0] * above[j]
                for k in range(2):
                    if t.lower[j, k] >= 0:
                        value = value + c[x, 1 + k] * above[t.lower[j, k]]
                row.append(value / float(t.power[i]))
            found.append(row)
        return found

    def _project(self, across: Tensor, moments: Tensor) -> Tensor:
        """Moments of the two components across q, shape (n_q, n_bodies, n_plane)."""
        t = self.tables
        matrix = [torch.ones_like(across[:, :1, 0])[:, None]]
        parts = [moments[..., :1]]
        for d in range(1, t.degree + 1):
            low, high = int(t.columns[d]), int(t.columns[d + 1])
            rows = []
            for i in range(int(t.rows[d]), int(t.rows[d + 1])):
                above = matrix[-1][:, int(t.parent[i] - t.rows[d - 1])]
                row = torch.zeros_like(above[:, :1]).expand(-1, high - low)
                for j in range(3):
                    left = torch.from_numpy(t.lower_space[low:high, j]).to(across.device)
                    from_lower = torch.where(left >= 0, above[:, left.clamp(min=0)], 0.0)
                    row = row + across[:, t.axis[i], j, None] * from_lower
                rows.append(row)
            matrix.append(torch.stack(rows, dim=1))
            parts.append(
                torch.einsum("qik,qbk->qbi", matrix[-1].to(moments), moments[..., low:high])
            )
        return torch.cat(parts, dim=2)


class _PairSums(torch.autograd.Function):
    """The sums by compiled loops, with their derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        Y: Tensor,
        across: Tensor,
        hkl: Tensor,
        moments: Tensor,
        blocks: Tensor,
        series: _Series,
    ) -> Tensor:
        ctx.save_for_backward(Y, across, hkl, moments, blocks)
        ctx.series = series
        arrays = series.arrays(Y, across, hkl, moments, blocks)
        out = np.zeros(len(Y))
        in_threads(lambda part: loops.sum_pairs(*part, out, *arrays), _parts(len(Y)))
        return torch.from_numpy(out).to(Y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, series = ctx.saved_tensors, ctx.series
        if torch.is_grad_enabled():
            # Views: one input depends on another, through which no derivative may go here.
            inputs = [x.view_as(x) for x in inputs]
            needed = [x for x, n in zip(inputs, ctx.needs_input_grad, strict=False) if n]
            # A sum of zeros keeps the graph where every pair is left out.
            value = series.by_torch(*inputs) + sum(0.0 * x.sum().real for x in needed)
            found = iter(torch.autograd.grad(value, needed, grad, create_graph=True))
            return (*(next(found) if n else None for n in ctx.needs_input_grad[:5]), None)
        weight = _array(grad)
        if ctx.needs_input_grad[:5] == (False, False, False, False, True):
            return None, None, None, None, _by_blocks(series, inputs, weight).to(inputs[4]), None
        arrays = series.arrays(*inputs)
        shares: list[Any] = [np.zeros_like(arrays[i]) for i in (0, 1, 2, 3)]

        total, lock = np.zeros_like(arrays[7]), Lock()

        def work(part: tuple[int, int]) -> None:
            blocks = np.zeros_like(total)
            loops.sum_pairs_backward(*part, *(weight, *shares, blocks), *arrays)
            with lock:
                total[:] += blocks

        in_threads(work, _parts(len(grad)))
        g_moments = torch.view_as_complex(torch.from_numpy(shares[3]))
        every = [torch.from_numpy(x) for x in shares[:3]] + [g_moments, torch.from_numpy(total)]
        return (*(g.to(x) for g, x in zip(every, inputs, strict=True)), None)


def _by_blocks(series: _Series, inputs: Sequence[Tensor], weight: Floats) -> Tensor:
    """Derivatives by the covariances alone, weighted and summed over q."""
    total, lock = np.zeros(inputs[4].numel()), Lock()

    def add(here: slice, _: Floats, by_block: Floats) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # as torch does
            share = weight[here] @ by_block
        with lock:
            total[:] += share

    series.by_block(inputs, add)
    return torch.from_numpy(total.reshape(inputs[4].shape))


def _array(x: Tensor) -> Any:
    """Values as a contiguous array of float64, complex numbers as pairs."""
    x = x.detach()
    x = torch.view_as_real(x.to(torch.complex128).resolve_conj()) if x.is_complex() else x.double()
    return np.ascontiguousarray(x.numpy())


def _parts(n: int) -> list[tuple[int, int]]:
    """Ranges of q for the threads, whole numbers of lanes."""
    count = torch.get_num_threads() * PARTS_PER_THREAD
    step = max(1, -(-n // (count * LANES))) * LANES
    return [(start, min(start + step, n)) for start in range(0, n, step)]
