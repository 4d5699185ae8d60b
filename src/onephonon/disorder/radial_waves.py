"""Radial parts of the atoms' waves where all displacements are isotropic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammainc
from torch import Tensor

from onephonon.crystal.crystal import mean_square
from onephonon.network.bodies import Bodies

from .pair_motion import PairMotion

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class RadialWaves:
    """Atoms that scatter and move isotropically, as functions of ``x = |q|^2``.

    Parameters
    ----------
    bodies : Bodies
    U : ndarray, shape (n_cell_atoms,)
        In the Debye-Waller factors, Å^2.
    root : ndarray, shape (n_cell_atoms,)
        Root-mean-square displacement by the motion, Å.
    order : int or None
        Number of orders; None for all.
    """

    bodies: Bodies
    U: Float64
    root: Float64
    order: int | None

    @classmethod
    def of(cls, bodies: Bodies, U: Tensor, motion: PairMotion, order: int | None) -> RadialWaves:
        """From the tensors of the exact sum."""
        mean, root = (x.detach().cpu().double().numpy() for x in (mean_square(U), motion.root))
        return cls(bodies, mean, root, order)

    def amplitudes(self, x: Float64) -> Float64:
        """``occ_j f_j exp(-x U_j / 2)``, shape (len(x), n_cell_atoms)."""
        crystal = self.bodies.crystal
        f = crystal.form_factors.evaluate(torch.from_numpy(x).to(crystal.U))
        f = f[:, crystal.form_factors.kind] * crystal.occupancies
        values = f.detach().cpu().double().numpy()[:, self.bodies.asu_atom.cpu().numpy()]
        return np.asarray(values * np.exp(-0.5 * np.outer(x, self.U)))

    def bracket(self, x: Float64, square: Float64) -> Float64:
        """``[exp(x u) - 1] / x``, or its first orders, u in Å^2: shape broadcast.

        Divided by x, so that relative errors at small q are those at large q.
        """
        y = x * square
        if self.order == 1:
            return np.broadcast_to(square, y.shape)
        small = np.where(y > 1e-12, y, 1.0)
        value = np.where(y > 1e-12, np.expm1(np.minimum(small, 700.0)) / small, 1.0)
        if self.order is not None:  # the first orders are a share of all of them
            # sum_{n>N} y^n/n! = exp(y) P(N + 1, y), with the regularized incomplete gamma function
            rest = np.exp(np.minimum(small, 700.0)) * gammainc(self.order + 1, small) / small
            value = np.where(y > 1e-12, value - rest, 1.0)
        return np.asarray(value * square)

    def self_terms(self, x: Float64) -> Float64:
        """Each atom's term with itself divided by x, shape (len(x), n_cell_atoms)."""
        square = self.root**2
        return self.amplitudes(x) ** 2 * self.bracket(x[:, None], square)
