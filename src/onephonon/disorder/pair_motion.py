"""What determines the covariance of two atoms that move like parts of a liquid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.network.bodies import Bodies

from .correlation import Correlation


@dataclass(frozen=True)
class PairMotion:
    """``C_jk(R) = A_j A_k^T Gamma(|r_k + R - r_j|)`` with ``A_j = root_j D_o``, o the copy of j.

    Parameters
    ----------
    root : Tensor, shape (n_cell_atoms,)
        Root-mean-square displacement of each atom, Å; or 1 where `axes` hold all.
    axes : Tensor, shape (n_ops, 3, 3), optional
        D of each copy, symmetric, Å; the unit matrix for all if not given: isotropic motion.
    correlation : Correlation
    group : Tensor, shape (n_cell_atoms,), int64, optional
        Only atoms of one group in one cell move together; None: all atoms of the crystal.
    """

    root: Tensor
    axes: Tensor | None
    correlation: Correlation
    group: Tensor | None

    def tensors(self) -> list[Tensor]:
        """All tensors that may require gradients."""
        own = (self.root, self.axes)
        law = (self.correlation.gamma, self.correlation.gamma2, self.correlation.mix)
        return [x for x in (*own, *law) if x is not None]

    def largest_square(self) -> float:
        """Largest mean-square displacement of an atom along any direction, Å^2."""
        square = float(self.root.detach().square().max())
        if self.axes is not None:
            square *= float(torch.linalg.matrix_norm(self.axes.detach(), 2).square().max())
        return square

    def displacements(self, bodies: Bodies) -> Tensor:
        """``A_j A_j^T`` of each atom, shape (n_cell_atoms, 3, 3), Å^2."""
        square = self.root.square()[:, None, None]
        if self.axes is None:
            return square * torch.eye(3, dtype=square.dtype, device=square.device)
        return square * (self.axes @ self.axes.mT)[bodies.copy]

    def covariance(self, bodies: Bodies) -> Callable[[tuple[int, int, int], Tensor], Tensor]:
        """C of all pairs of atoms, as `pair_reference.double_sum` takes it."""
        A = self.root[:, None, None] * torch.eye(3, dtype=self.root.dtype)
        if self.axes is not None:
            A = self.root[:, None, None] * self.axes[bodies.copy]
        strength = torch.einsum("jxa,kya->jkxy", A, A)
        if self.group is not None:
            together = self.group[:, None] == self.group
            strength = strength * together[:, :, None, None]

        def of_pairs(cell: tuple[int, int, int], vectors: Tensor) -> Tensor:
            if self.group is not None and any(cell):
                return torch.zeros_like(strength)
            r = torch.linalg.vector_norm(vectors, dim=2)
            return strength * self.correlation(r)[:, :, None, None]

        return of_pairs


def waves(bodies: Bodies, q: Tensor, U: Tensor, atoms: Tensor) -> Tensor:
    """``occ_j f_j(|q|) exp(-q^T U_j q / 2) exp(i q.r_j)`` of some atoms of the cell.

    Parameters
    ----------
    bodies : Bodies
    q : Tensor, shape (n_q, 3)
    U : Tensor, shape (n_cell_atoms, 3, 3)
        Å^2.
    atoms : Tensor, shape (n,), int64

    Returns
    -------
    Tensor, shape (n_q, n), complex
    """
    crystal = bodies.crystal
    f = crystal.form_factors.evaluate(q.square().sum(1))[:, crystal.form_factors.kind]
    f = (f * crystal.occupancies)[:, bodies.asu_atom[atoms]]
    outer = (q[:, :, None] * q[:, None, :]).reshape(-1, 9)
    strength = f * torch.exp(-0.5 * (outer @ U[atoms].reshape(-1, 9).T))
    angle = q @ bodies.positions[atoms].T
    return torch.complex(strength * torch.cos(angle), strength * torch.sin(angle))
