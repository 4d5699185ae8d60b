"""`OccupiedSolver`: the covariance ``C(k)/s`` of modes with another than classical occupation.

``C(k)/s = g(0) K^-1 + (1/s) L^-H e(D/s) L^-1`` (see `dynamics.occupation`): the first term by
`DenseSolver`, the second from the eigenvectors of D, with gradients that need none
(`matrix_function`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from onephonon.core.errors import InputError
from onephonon.core.progress import Progress

from ..bloch import BlochSum, bloch_sum
from ..matrix_function import hermitian_function
from ..normal_modes import mass_factor_inverse
from ..occupation import Occupation, refuse_functorch
from ..stiffness_matrix import factorize, inverse_from, zone_chunk
from .base import Solver
from .dense.form import gather_rows
from .dense.solver import DenseSolver
from .dense.zone_mean import mesh_inverses, own_blocks, without_translation

#: Matrices of more bytes than this are recomputed in the backward pass.
KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class OccupiedFactors:
    """``C(k)/s`` at some zone points, shape (n_k, D, D)."""

    matrices: Tensor

    @torch.no_grad()
    def quadratic_form(self, G: Tensor) -> Tensor:
        """``G^H C G / s`` of many G, shape (n_k, m)."""
        return _form(self.matrices, G)

    def solve(self, G: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Raise InputError: C(k) is not the inverse of a matrix that is linear in the springs."""
        raise InputError(
            "with temperature or populations there is no solution of K v = G from which "
            "derivatives by springs follow; use torch.autograd, or the classical model"
        )


@dataclass(frozen=True)
class OccupiedSolver(Solver):
    """``C(k)/s`` of modes with a given occupation.

    Parameters
    ----------
    occupation : Occupation
    scale : Tensor or float
        Thermal scale s, which with the temperature makes frequencies absolute.
    """

    occupation: Occupation = field(kw_only=True)
    scale: Tensor | float = field(kw_only=True)

    @property
    def at_rest(self) -> Tensor | float:
        """Factor of modes of frequency zero."""
        found = self.occupation.at_rest
        return found.to(self.constants.onsite) if isinstance(found, Tensor) else found

    @property
    def zone_batch(self) -> int:
        """Number of zone points per batch."""
        return zone_chunk(self.bodies.n_dof)

    @property
    def q_batch(self) -> int:
        """All q at once: they are divided into batches later."""
        return sys.maxsize

    @cached_property
    def _classical(self) -> DenseSolver:
        return DenseSolver(self.bodies, self.constants, self.keep)

    def _parts(self) -> tuple[BlochSum, Tensor]:
        """K as a sum over cells, and ``L^-1``."""
        c = self.constants
        sums = bloch_sum(c.onsite, c.coupling, c.a, c.b, c.cell, self.bodies.dof)
        return sums, mass_factor_inverse(self.bodies)

    @cached_property
    def _constant_parts(self) -> tuple[BlochSum, Tensor]:
        """The same without gradients, kept: what a checkpoint recomputes must not be."""
        with torch.no_grad():
            return self._parts()

    def excess_matrices(self, k_frac: Tensor) -> Tensor:
        """``C(k)/s - g(0) K^-1`` at any wavevectors, Gamma among them, shape (n_k, D, D)."""
        refuse_functorch()
        sums, left = self._parts() if torch.is_grad_enabled() else self._constant_parts
        K = sums.stiffness(k_frac)
        left = left.to(K.dtype)
        return left.mH @ hermitian_function(left @ K @ left.mH, self.excess) @ left

    @property
    def excess(self) -> Callable[[Tensor], Tensor]:
        """``e(w^2/s)/s`` of squared frequencies before the thermal scale."""
        s = self.scale
        return lambda w_squared: self.occupation.excess(w_squared / s) / s

    def quadratic_form(
        self, k_frac: Tensor, hkl: Tensor, G: Tensor, points: Tensor | None = None
    ) -> Tensor:
        """``G^H C(k) G / s``; see `Solver`. Once differentiable, also in the occupation and s."""
        first = self.at_rest * self._classical.quadratic_form(k_frac, hkl, G, points)
        recorded = torch.is_grad_enabled()
        n_k, D = len(k_frac), self.bodies.n_dof
        again = recorded and 16 * n_k * D * D > KEPT_BYTES
        every = []
        for part in torch.arange(n_k, device=G.device).split(max(1, self.zone_batch // 4)):
            some = slice(int(part[0]), int(part[-1]) + 1)
            run = partial(self._excess_form, k_frac[some], hkl, G, points, some)
            every.append(checkpoint(run, use_reentrant=False) if again else run())
        return first + torch.cat(every) if every else first

    def _excess_form(
        self, k_frac: Tensor, hkl: Tensor, G: Tensor, points: Tensor | None, some: slice
    ) -> Tensor:
        """``G^H (C/s - g(0) K^-1) G`` at some zone points, shape (n_k, m)."""
        rows = gather_rows(G, points, some, slice(None))
        if not (torch.is_grad_enabled() and hkl.requires_grad):
            return _form(self.excess_matrices(k_frac), rows)
        # The derivative in k needs the matrix at every q of its own.
        k = gather_rows(hkl, points, some, slice(None)).reshape(-1, 3)
        matrices = torch.cat([self.excess_matrices(x) for x in k.split(self.zone_batch)])
        return _form(matrices, rows.reshape(len(k), 1, -1)).reshape(rows.shape[:2])

    def at(self, k_frac: Tensor) -> OccupiedFactors:
        """``C(k)/s`` at zone points (n_k, 3), none of them Gamma; without gradient."""
        with torch.no_grad():
            inverse = inverse_from(factorize(self._constant_parts[0].stiffness(k_frac)))
            return OccupiedFactors(self.at_rest * inverse + self.excess_matrices(k_frac))

    def mesh(
        self, samples: Sequence[int], progress: Progress | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches of ``C(k)/s`` over the zone mesh, as those of `mesh_inverses`.

        At Gamma displacements are relative to their mean over all atoms.
        """
        for k_frac, weight, inverse in mesh_inverses(
            self.bodies, self.constants, samples, progress
        ):
            excess = self.excess_matrices(k_frac)
            if not bool(k_frac.any()):
                first = without_translation(self.bodies, excess[0].real)
                excess = first.to(excess.dtype)[None]
            yield k_frac, weight, self.at_rest * inverse + excess

    def excess_at_gamma(self) -> Tensor:
        """What `zone_mean` leaves out of the excess at Gamma, but for the translations, (D, D)."""
        excess = self.excess_matrices(self.constants.onsite.new_zeros(1, 3))[0].real
        T = self.bodies.translations()
        at_rest = self.excess(excess.new_zeros(1)) / self.bodies.masses.sum()
        return excess - without_translation(self.bodies, excess) - at_rest * (T @ T.mT)

    def zone_mean(self, samples: Sequence[int], progress: Progress | None = None) -> Tensor:
        """Mean of each body's diagonal block of ``C(k)/s``; see `Solver`."""
        every = self.mesh(samples, progress)
        total = sum(torch.einsum("k,kab->ab", weight, C.real) for _, weight, C in every)
        return own_blocks(self.bodies, total) / (samples[0] * samples[1] * samples[2])  # type: ignore[arg-type]

    def solve_at_gamma(self, loads: Tensor) -> Tensor:
        """Solve ``K(0) X = loads``; see `Solver`."""
        return self._classical.solve_at_gamma(loads)


def _form(matrices: Tensor, G: Tensor) -> Tensor:
    """``G^H C G`` of Hermitian matrices (n_k, D, D) and G (n_k, m, D), shape (n_k, m)."""
    return (G.conj() * (G @ matrices.mT)).real.sum(-1)
