"""The softest modes of many bodies: truncated equation (2) and the neglected fraction.

For thousands of degrees of freedom a full eigendecomposition is too slow. The softest modes of
``D = L^-1 K L^-H`` are the largest of its inverse ``L^H K^-1 L``, which a factored solver applies
quickly, and are computed by a block Krylov method. With blocks it finds degenerate modes, such as
the three of single atoms on isotropic springs, together.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress, ProgressLike
from onephonon.crystal.zone import ZonePoints
from onephonon.dynamics.normal_modes import Modes, mass_factors, modes
from onephonon.dynamics.solvers.base import Solver
from onephonon.dynamics.solvers.choice import make_solver
from onephonon.dynamics.stiffness_matrix import CHUNK_BYTES
from onephonon.network.bodies import Bodies

from .bound_model import BoundModel, HasBound, bound_of
from .diffuse import point_intensity
from .intensity import mode_intensity
from .points import QPoints

#: Extra vectors, which speed up convergence and complete degenerate sets.
N_GUARD_VECTORS = 6

#: Number of blocks of a basis before it is restarted with its best vectors.
MAX_BLOCKS = 5

#: Number of restarts after which a dense eigendecomposition is used.
MAX_CYCLES = 60

#: Relative tolerance of squared frequencies in a degenerate set; rounding is larger in float32.
DEGENERACY_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}


@dataclass(frozen=True)
class SoftestModes:
    """Intensity of the n softest modes at each wavevector, and of all modes.

    Parameters
    ----------
    intensity : Tensor, shape (N,), e^2 per cell
        NaN where not valid.
    whole : Tensor, shape (N,), e^2 per cell
        Equation (1), by the solve with K.
    w_squared : Tensor, shape (n_k, n), kT/(Å^2 Da) before the thermal scale
        At each zone point of the model's `points`; NaN where no valid q has that wavevector.
    n_split : int
        Number of wavevectors at which n splits a degenerate set: their intensity depends on an
        arbitrary choice within the set.
    """

    intensity: Tensor
    whole: Tensor
    w_squared: Tensor
    n_split: int

    @property
    def neglected(self) -> float:
        """Fraction of the summed intensity that is due to the other modes."""
        valid = ~self.whole.isnan()
        whole = float(self.whole[valid].sum())
        return 1.0 - float(self.intensity[valid].sum()) / whole if whole > 0 else 0.0

    @property
    def max_neglected(self) -> float:
        """Largest neglected fraction at a single q."""
        lit = self.whole > 0
        shares = 1.0 - self.intensity[lit] / self.whole[lit]
        return float(shares.max()) if len(shares) else 0.0


def softest_intensity(
    model: BoundModel | HasBound,
    n_modes: int,
    use_data_adp: bool = False,
    progress: ProgressLike | None = None,
) -> SoftestModes:
    """Intensity of the softest modes at each wavevector, and of all modes.

    Parameters
    ----------
    model : OnePhonon or BoundModel
    n_modes : int
        Number of modes, from 1 to D.
    use_data_adp : bool
        Debye-Waller factors from the file's U instead of the model's.
    progress : Progress or callable, optional

    Returns
    -------
    SoftestModes
        Without gradient; ``model(rank=range(n))``, with dense modes, is differentiable.

    Raises
    ------
    InputError
        If there are not as many modes, or the model sums orders beyond the first.
    """
    bound, progress = bound_of(model), Progress.of(progress)
    bound.check_lattice_alone(f"softest={n_modes}")
    lattice, points, numerics = bound.lattice, bound.points, bound.numerics
    bodies = lattice.bodies
    n = check_n_modes(n_modes, bodies.n_dof)
    bound.orders.check_first_only(f"softest={n}")
    with torch.no_grad():
        U, scale = lattice.displacements_and_scale(use_data_adp, progress)
        mesh = bound.engine.has_grid
        G = bound.amplitudes(use_data_adp) if mesh else None
        whole = point_intensity(
            lattice, points, numerics, use_data_adp=use_data_adp, G=G, progress=progress
        )
        made = make_solver(bodies, lattice.force_constants, lattice.solver)
        zone = points.zone
        used = torch.unique(zone.index[points.valid])
        partial = torch.full_like(whole, torch.nan)
        w_squared = whole.new_full((zone.n_k, n), torch.nan)
        n_split = done = 0
        for part in used.split(min(made.zone_batch, _at_a_time(bodies.n_dof, n))):
            found, split = softest_modes(made, zone.k_frac[part], n)
            found = lattice.occupied(found)
            w_squared[part], n_split = found.w_squared, n_split + split
            where, those = _points_at(points, part)
            kept = None if G is None else G[where]
            options = {"G": kept, "batch_size": numerics.batch_size}
            partial[where] = mode_intensity(bodies, found, those, U, scale, **options)  # type: ignore[arg-type]
            done += len(part)
            progress.step("softest modes", done, len(used))
    return SoftestModes(partial, whole, w_squared, n_split)


def check_n_modes(n_modes: int, n_dof: int) -> int:
    """Check the number of modes: a whole number from 1 to D."""
    try:
        n = operator.index(n_modes)
    except TypeError:
        n = 0
    if not 1 <= n <= n_dof:
        raise InputError(
            f"softest {n_modes}: give a number from 1 to {n_dof}, the number of all modes"
        )
    return n


def softest_modes(
    solver: Solver, k_frac: Tensor, n: int, max_cycles: int = MAX_CYCLES
) -> tuple[Modes, int]:
    """The n softest modes at some wavevectors, none of them Gamma.

    Parameters
    ----------
    solver : Solver
    k_frac : Tensor, shape (n_k, 3)
    n : int
    max_cycles : int
        Number of restarts after which a dense eigendecomposition is used.

    Returns
    -------
    modes : Modes
        With V (n_k, D, n) and w_squared (n_k, n), from the softest; no gradient.
    n_split : int
        Number of wavevectors at which n splits a degenerate set.

    Notes
    -----
    Block Krylov method on ``L^H K^-1 L`` with full orthogonalization and thick restarts. If the
    basis would fill the space, or does not converge, a dense eigendecomposition is used.
    """
    bodies, D = solver.bodies, solver.bodies.n_dof
    with torch.no_grad():
        if (n + N_GUARD_VECTORS) * MAX_BLOCKS >= D:
            every = _dense(solver, k_frac)
            return _first(every, n), _count_split(every.w_squared, n)
        L = mass_factors(bodies, bodies.positions.dtype)
        solve = solver.at(k_frac).solve

        def inverse(X: Tensor) -> Tensor:
            """``L^H K^-1 L X`` of columns (n_k, D, m)."""
            return _by_body(bodies, L.mT, solve(_by_body(bodies, L, X).mT.contiguous())[1].mT)

        theta, X, converged = largest_eigenpairs(inverse, len(k_frac), D, n, L, max_cycles)
        w_squared = 1.0 / theta
        V = _by_body(bodies, torch.linalg.inv(L).mT, X[:, :, :n])
        slow = (~converged).nonzero().squeeze(1)
        if len(slow):
            every = _dense(solver, k_frac[slow])
            V[slow], w_squared[slow] = every.V[:, :, :n], every.w_squared[:, : n + N_GUARD_VECTORS]
        return Modes(V, w_squared[:, :n]), _count_split(w_squared, n)


def largest_eigenpairs(
    apply: Callable[[Tensor], Tensor],
    n_k: int,
    D: int,
    n: int,
    like: Tensor,
    max_cycles: int = MAX_CYCLES,
) -> tuple[Tensor, Tensor, Tensor]:
    """The largest eigenvalues of Hermitian positive matrices given as products with vectors.

    Parameters
    ----------
    apply : callable
        Products with columns (n_k, D, m).
    n_k, D, n : int
        Number of matrices, their size, and number of eigenpairs that must converge.
    like : Tensor
        For dtype and device.
    max_cycles : int
        Maximum number of restarts.

    Returns
    -------
    theta : Tensor, shape (n_k, n + GUARD)
        Descending; values beyond n are estimates.
    X : Tensor, shape (n_k, D, n + GUARD)
    converged : Tensor, shape (n_k,), bool
    """
    block = n + N_GUARD_VECTORS
    eps = torch.finfo(like.dtype).eps
    start = torch.Generator().manual_seed(0)
    X = torch.randn(D, block, 2, generator=start, dtype=torch.float64)
    X = torch.view_as_complex(X).to(like.dtype.to_complex()).to(like.device)
    X = torch.linalg.qr(X)[0].expand(n_k, D, block)
    AX = apply(X)
    for _ in range(max_cycles):
        Q, AQ, new = X, AX, AX
        for _ in range(MAX_BLOCKS - 1):
            for _ in range(2):  # the second pass removes rounding errors
                new = torch.linalg.qr(new - Q @ (Q.mH @ new))[0]
            image = apply(new)
            Q, AQ, new = torch.cat([Q, new], 2), torch.cat([AQ, image], 2), image
        H = Q.mH @ AQ
        values, s = torch.linalg.eigh(0.5 * (H + H.mH))
        theta, s = values.flip(1)[:, :block], s.flip(2)[:, :, :block]
        X, AX = Q @ s, AQ @ s
        residual = torch.linalg.vector_norm(AX - X * theta[:, None], dim=1)[:, :n].amax(1)
        # Errors of the vectors are residual/gap; rounding is some eps of the largest value.
        enough = torch.maximum(eps ** (2 / 3) * theta[:, n - 1], 1e3 * eps * theta[:, 0])
        converged = residual < enough
        if bool(converged.all()):
            break
    return theta, X, converged


def _by_body(bodies: Bodies, blocks: Tensor, X: Tensor) -> Tensor:
    """A block-diagonal real matrix times columns (n_k, D, m)."""
    padded = bodies.scatter(X, 1).reshape(len(X), bodies.n_bodies, bodies.width, -1)
    return bodies.gather((blocks.to(X.dtype) @ padded).reshape(len(X), -1, X.shape[2]), 1)


def _dense(solver: Solver, k_frac: Tensor) -> Modes:
    nowhere = torch.zeros(len(k_frac), dtype=torch.bool, device=k_frac.device)
    return modes(solver.bodies, solver.constants, k_frac, nowhere)


def _first(every: Modes, n: int) -> Modes:
    return Modes(every.V[:, :, :n], every.w_squared[:, :n])


def _count_split(w_squared: Tensor, n: int) -> int:
    """Number of wavevectors at which the cut splits a degenerate set."""
    if w_squared.shape[1] <= n:
        return 0
    last, after = w_squared[:, n - 1], w_squared[:, n]
    return int(((after - last).abs() <= DEGENERACY_TOLERANCE[after.dtype] * after.abs()).sum())


def _at_a_time(n_dof: int, n: int) -> int:
    """Number of wavevectors per batch, so that bases and products fit the memory limit."""
    return max(1, CHUNK_BYTES // (16 * 2 * MAX_BLOCKS * (n + N_GUARD_VECTORS) * n_dof))


def _points_at(points: QPoints, part: Tensor) -> tuple[Tensor, QPoints]:
    """Indices of the valid q at these zone points (ascending), and their points."""
    zone = points.zone
    where = (points.valid & torch.isin(zone.index, part)).nonzero().squeeze(1)
    index = torch.searchsorted(part, zone.index[where])
    own = ZonePoints(zone.k_frac[part], index)
    return where, QPoints(points.q[where], points.hkl[where], own, points.valid[where])
