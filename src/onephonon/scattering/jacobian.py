"""Derivatives of the intensity with respect to all springs, and normal equations of a fit.

After one solve per q, ``dI/dx = -v^H (dK/dx) v``. K is linear in the springs: if many q share a
zone point, dK/dx is formed once, and each q needs a product with the D^2 elements of its v v^H;
otherwise it needs a product with the elements of each pair of bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress
from onephonon.core.units import TWO_PI
from onephonon.dynamics.bloch import Layout, PairSum, bloch_sum, phase
from onephonon.dynamics.lattice_model import LatticeModel
from onephonon.dynamics.solvers.choice import make_solver
from onephonon.network.bodies import Bodies
from onephonon.network.force_constants import ForceConstants

from .amplitudes.base import AmplitudeEngine
from .amplitudes.choice import exact_engine
from .amplitudes.direct import default_batch_size
from .multiphonon.slopes import HigherSlopes
from .points import QPoints

#: Number of elements per batch of the table (q, springs or products).
NUMBERS_AT_A_TIME = 3_000_000

#: Maximum number of elements of dK/dx of all cells and springs for which it is formed.
DENSE_NUMBERS = 30_000_000


@dataclass(frozen=True)
class SpringBasis:
    """Derivatives of the force constants, which are linear in the spring constants.

    Parameters
    ----------
    onsite : Tensor, shape (n_springs, n_bodies, width, width)
    coupling : Tensor, shape (n_springs, n_blocks, width, width)
    a, b, cell : Tensor
        As in `ForceConstants`.
    """

    onsite: Tensor
    coupling: Tensor
    a: Tensor
    b: Tensor
    cell: Tensor

    @property
    def n_springs(self) -> int:
        """Number of spring constants."""
        return int(self.onsite.shape[0])

    @property
    def changes(self) -> list[ForceConstants]:
        """Derivatives of the force constants by each spring constant."""
        return [
            ForceConstants(onsite, coupling, self.a, self.b, self.cell)
            for onsite, coupling in zip(self.onsite, self.coupling, strict=True)
        ]

    def constants(self, springs: Tensor) -> ForceConstants:
        """Force constants of these spring constants, (n_springs,)."""
        onsite, coupling = (torch.tensordot(springs, x, 1) for x in (self.onsite, self.coupling))
        return ForceConstants(onsite, coupling, self.a, self.b, self.cell)


def spring_basis(constants: Callable[[Tensor], ForceConstants], springs: Tensor) -> SpringBasis:
    """Force constants of each spring alone.

    Parameters
    ----------
    constants : callable
        Force constants as a function of `springs`, linear in them.
    springs : Tensor, shape (n_springs,)
        Defines their number, dtype and device; the values are not used.
    """

    def blocks(x: Tensor) -> tuple[Tensor, Tensor]:
        at = constants(x)
        return at.onsite, at.coupling

    with torch.no_grad():
        at = constants(springs.detach())
        eye = torch.eye(len(springs), dtype=springs.dtype, device=springs.device)
        onsite, coupling = torch.func.vmap(blocks, chunk_size=8)(eye)
    return SpringBasis(onsite, coupling, at.a, at.b, at.cell)


def scale_slope(lattice: LatticeModel, basis: SpringBasis, springs: Tensor) -> Tensor | None:
    """Derivative of a lattice's thermal scale by its spring constants (n_springs,); None if fixed.

    Parameters
    ----------
    lattice : LatticeModel
        Its force constants are not used.
    basis : SpringBasis
    springs : Tensor, shape (n_springs,)
    """
    if lattice.fixed_scale is not None:
        return None
    with torch.enable_grad():
        leaf = springs.detach().clone().requires_grad_()
        scale = lattice.with_force_constants(basis.constants(leaf)).thermal_scale
        (slope,) = torch.autograd.grad(scale, leaf)
    return slope


@dataclass(frozen=True)
class SpringDependence:
    """What the intensity at some q depends on, as a function of the spring constants.

    Parameters
    ----------
    bodies : Bodies
    basis : SpringBasis
    springs : Tensor, shape (n_springs,)
        Spring constants.
    points : QPoints
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Mean-square displacements in the Debye-Waller factors, Å^2; constant.
    scale : Tensor or float
        Thermal scale.
    scale_slope : Tensor, shape (n_springs,), optional
        Derivative of the scale with respect to the springs, if it depends on them.
    higher : HigherSlopes, optional
        Orders beyond the first; without them the intensity is that of one phonon.
    engine : AmplitudeEngine, optional
        Computes the moments for these.
    """

    bodies: Bodies
    basis: SpringBasis
    springs: Tensor
    points: QPoints
    U: Tensor
    scale: Tensor | float = 1.0
    scale_slope: Tensor | None = None
    higher: HigherSlopes | None = None
    engine: AmplitudeEngine | None = None


@dataclass(frozen=True)
class SpringSlopes:
    """Intensity at some q and its derivatives with respect to the spring constants.

    Parameters
    ----------
    points : Tensor, shape (n,), int64
        Indices of the q.
    value : Tensor, shape (n,)
        Intensity.
    slopes : Tensor, shape (n, n_springs)
        Derivatives of the intensity.
    """

    points: Tensor
    value: Tensor
    slopes: Tensor


@torch.no_grad()
def spring_slopes(
    at: SpringDependence,
    *,
    G: Tensor | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    solver: str = "auto",
) -> Iterator[SpringSlopes]:
    """One-phonon intensity and its derivatives by the spring constants, in batches of q.

    Parameters
    ----------
    at : SpringDependence
        Its orders beyond the first are not used; see `every_order`.
    G, batch_size, progress, solver
        As for `one_phonon_intensity`; G is treated as constant.

    Yields
    ------
    SpringSlopes
        Each valid q is in one of them.
    """
    done, total = 0, int(at.points.valid.sum())
    engine = exact_engine(at.bodies)
    products = _Products.of(at.basis, at.bodies)
    made = make_solver(at.bodies, at.basis.constants(at.springs), solver)
    batch = max(1, NUMBERS_AT_A_TIME // products.widest)
    batch = min(batch, batch_size or (default_batch_size(at.bodies) if G is None else batch))
    for chunk in at.points.zone_groups().chunks(batch, made.zone_batch):
        k_frac, flat = at.points.zone.k_frac[chunk.zone], chunk.points.reshape(-1)
        rows = (
            engine.at(at.bodies, at.points.q[flat], at.U) if G is None else G.index_select(0, flat)
        )
        value, v = made.at(k_frac).solve(rows.reshape(*chunk.points.shape, -1))
        slopes = at.scale * products.slopes(k_frac, v)
        if at.scale_slope is not None:
            slopes.addcmul_(value[:, :, None], at.scale_slope)
        where = chunk.where
        yield SpringSlopes(where, chunk.pick(at.scale * value), chunk.pick(slopes))
        done += len(where)
        if progress:
            progress("jacobian", done, total)


@torch.no_grad()
def every_order(at: SpringDependence, **options: Any) -> Iterator[SpringSlopes]:
    """Intensity of all orders of `at` and its derivatives, in batches of q.

    Parameters
    ----------
    at, **options
        As for `spring_slopes`.

    Yields
    ------
    SpringSlopes
        Each valid q is in one of them.
    """
    if at.higher is None or at.engine is None:
        yield from spring_slopes(at, **options)
        return
    batch_size = options.get("batch_size")
    where = at.points.valid.nonzero().squeeze(1)
    for part in where.split(batch_size or at.higher.higher.batch(at.engine)):
        here = replace(at, points=at.points.part(part))
        value, slopes = at.higher.at_points(at.engine, here.points, at.U, batch_size)
        for some in spring_slopes(here, **options):
            value[some.points] += some.value
            slopes[some.points] += some.slopes
        yield SpringSlopes(part, value, slopes)


@dataclass(frozen=True)
class _Products:
    """Computes ``-v^H (dK/dx) v`` by the faster of two methods.

    Parameters
    ----------
    layout : Layout
    pairs : Tensor, shape (n_numbers, n_springs)
        Blocks of the basis: onsite, then coupling.
    cells : Tensor, shape (n_cells, 3)
    table : Tensor, shape (1 + 2 n_cells, n_springs * D * D), or None if too large
        Coefficients of the cells' cosines and sines in dK/dx, real minus imaginary part.
    """

    layout: Layout
    pairs: Tensor
    cells: Tensor
    table: Tensor | None

    @classmethod
    def of(cls, basis: SpringBasis, bodies: Bodies) -> _Products:
        """Create for these springs."""
        blocks = (basis.onsite, basis.coupling)
        pairs = torch.cat([x.reshape(basis.n_springs, -1) for x in blocks], dim=1).T
        sums = bloch_sum(*blocks, basis.a, basis.b, basis.cell, bodies.dof, DENSE_NUMBERS)
        if isinstance(sums, PairSum):
            return cls(sums.layout, pairs, sums.coupling.new_zeros(0, 3), None)
        every = [sums.onsite[:, None], sums.even, -sums.odd]
        table = torch.cat(every, dim=1).transpose(0, 1).flatten(1)
        return cls(sums.layout, pairs, sums.cells, table)

    @property
    def widest(self) -> int:
        """Maximum number of elements per q."""
        square = 0 if self.table is None else len(self.layout.dof) ** 2
        return max(1, square, *self.pairs.shape)

    def slopes(self, k_frac: Tensor, v: Tensor) -> Tensor:
        """``-v^H (dK/dx) v``, shape (n_k, m, n_springs)."""
        m, square = v.shape[1], v.shape[2] ** 2
        if self.table is None or (m + len(self.table)) * square > m * len(self.pairs):
            return self._by_pair(k_frac, v)
        return self._by_zone_point(self.table, k_frac, v)

    def _by_zone_point(self, table: Tensor, k_frac: Tensor, v: Tensor) -> Tensor:
        """Use dK/dx at every zone point.

        For Hermitian K, ``v^H K v`` is the sum over ``(Re - Im) K_ij`` times
        ``(Re + Im) conj(v_i) v_j``: products of symmetric and antisymmetric parts vanish.
        """
        angle = TWO_PI * (k_frac @ self.cells.T)
        waves = torch.cat([torch.ones_like(angle[:, :1]), torch.cos(angle), torch.sin(angle)], 1)
        by_spring = (waves @ table).reshape(len(v), -1, v.shape[2] ** 2)
        re, im = v.real.mT, v.imag.mT
        even = re[:, :, None] * (re + im)[:, None] + im[:, :, None] * (im - re)[:, None]
        return -(even.flatten(1, 2).mT @ by_spring.mT)

    def _by_pair(self, k_frac: Tensor, v: Tensor) -> Tensor:
        """Use the blocks of every pair."""
        layout = self.layout
        u = layout.by_body(v)
        shifted = phase(k_frac, layout.cell)[:, None, :, None] * u[:, :, layout.b]
        onsite, coupling = _real_products(u, u), _real_products(u[:, :, layout.a], shifted)
        return -(torch.cat([onsite.flatten(2), 2 * coupling.flatten(2)], dim=2) @ self.pairs)


def _real_products(x: Tensor, y: Tensor) -> Tensor:
    """``Re conj(x_i) y_j`` along the last dimension."""
    return x.real[..., :, None] * y.real[..., None, :] + x.imag[..., :, None] * y.imag[..., None, :]


def spring_jacobian(
    at: SpringDependence,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Intensity and its derivatives with respect to all spring constants.

    Parameters
    ----------
    at, **options
        As for `spring_slopes`.

    Returns
    -------
    intensity : Tensor, shape (n_q,)
    jacobian : Tensor, shape (n_q, n_springs)
        NaN, like the intensity, where a point is not valid.
    """
    n_q = at.points.n_q
    value = torch.full((n_q,), torch.nan, dtype=at.U.dtype, device=at.U.device)
    jacobian = value.new_full((n_q, at.basis.n_springs), torch.nan)
    for some in every_order(at, **options):
        value[some.points] = some.value
        jacobian[some.points] = some.slopes
    return value, jacobian


def spring_normal_equations(
    at: SpringDependence,
    *,
    residual: Tensor,
    weights: Tensor | None = None,
    columns: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Normal equations ``A^T W A x = A^T W r`` of a step, without storing the Jacobian A.

    Parameters
    ----------
    at, **options
        As for `spring_slopes`.
    residual : Tensor, shape (n_q,)
        Data minus intensity.
    weights : Tensor, shape (n_q,), optional
        Not negative; 1 if not given. Residual and columns may be NaN where they are zero.
    columns : Tensor, shape (n_q, n_more), optional
        Additional columns of A for linear parameters, such as a background.

    Returns
    -------
    matrix : Tensor, shape (n_springs + n_more, n_springs + n_more)
    vector : Tensor, shape (n_springs + n_more,)
        Summed over the valid points.

    Raises
    ------
    InputError
        If a shape does not fit, or a weight is negative or not finite.
    """
    weights = torch.ones_like(residual) if weights is None else weights
    columns = residual.new_zeros(len(residual), 0) if columns is None else columns
    _check_shapes(at.points.n_q, residual, weights, columns)
    n = at.basis.n_springs + columns.shape[1]
    total = at.U.new_zeros(n, n + 1)
    for some in every_order(at, **options):
        here = some.points
        w = weights[here, None]
        rows = torch.cat([some.slopes, columns[here], residual[here, None]], dim=1)
        rows = torch.where(w > 0, rows * w.sqrt(), 0.0)
        total += rows[:, :n].T @ rows
    return total[:, :n], total[:, n]


def _check_shapes(n_q: int, residual: Tensor, weights: Tensor, columns: Tensor) -> None:
    """Check shapes, and that weights are finite and not negative."""
    for name, x, dims in (
        ("residual", residual, 1),
        ("weights", weights, 1),
        ("columns", columns, 2),
    ):
        if x.ndim != dims or len(x) != n_q:
            raise InputError(
                f"{name} have shape {tuple(x.shape)} for {n_q} points; give one row for each point"
            )
    bad = weights[~(torch.isfinite(weights) & (weights >= 0))]
    if len(bad):
        raise InputError(
            f"weights: {len(bad)} are negative or not finite, such as {float(bad[0]):g}; "
            "give 1/sigma^2, or zero where there are no data"
        )
