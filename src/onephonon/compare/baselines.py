"""Null models beside a comparison: what a model of springs has to be better than.

A correlation with data means little without that of models that know nothing of springs: rigid
molecules that move independently have the transform of the molecule, which by itself explains most
of what a lattice of rigid molecules does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.crystal.crystal import mean_square
from onephonon.network.bodies import Bodies
from onephonon.scattering.amplitudes.base import amplitudes_at
from onephonon.scattering.amplitudes.choice import choose_engine
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import QPoints

Float64 = NDArray[np.float64]

#: Intensity (n_q,) of a model with the Debye-Waller factors of U, at points; NaN where not valid.
PointIntensity = Callable[[QPoints], Tensor]


def molecules_intensity(
    bodies: Bodies, points: QPoints, U: Tensor, numerics: Numerics | None = None
) -> Tensor:
    """First-order intensity of bodies that translate independently of one another.

    ``I = <u^2>/3 sum_b |q F_b(q)|^2`` with the mean ``<u^2>/3 = tr(U)/3`` of the file: the
    covariance of a body with itself is isotropic, and zero with all others.

    Parameters
    ----------
    bodies : Bodies
    points : QPoints
    U : Tensor, shape (n_cell_atoms, 3, 3)
        For the Debye-Waller factors, Å^2.
    numerics : Numerics, optional

    Returns
    -------
    Tensor, shape (n_q,)
        e^2 per cell; NaN where not valid. Differentiable in the crystal, U and q.
    """
    numerics = numerics or Numerics()
    engine = choose_engine(numerics.engine, numerics.rtol, bodies, points.n_q, False)
    G = amplitudes_at(engine, bodies, points, U, numerics.batch_size)
    padded = bodies.scatter(G, 1).reshape(points.n_q, bodies.n_bodies, bodies.width)[:, :, :3]
    square = (padded.real.square() + padded.imag.square()).sum(dim=(1, 2))
    return torch.where(points.valid, bodies.mean(mean_square(bodies.U)) * square, torch.nan)
