"""Interface of the engines: compute the amplitudes G at a list of q."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies

from ..points import QPoints

if TYPE_CHECKING:
    from ..grid_rows import GridRows
    from .mesh.gridded import GridAmplitudes


class AmplitudeEngine(Protocol):
    """A method of computing amplitudes, and why it was chosen."""

    @property
    def name(self) -> str:
        """'direct', 'mesh' or 'density'."""

    @property
    def has_grid(self) -> bool:
        """Whether it is a `GridEngine`."""

    @property
    def rtol(self) -> float:
        """Accuracy of intensities, relative to the sum of intensity and rms; 0 if exact."""

    @property
    def reason(self) -> str:
        """Why this engine was chosen."""

    def at(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Amplitudes at a list of q.

        Parameters
        ----------
        bodies : Bodies
        q : Tensor, shape (n_q, 3)
            1/Å, 2*pi included.
        U : Tensor, shape (n_cell_atoms, 3, 3)
            Mean-square displacements in the Debye-Waller factors, Å^2.
        batch_size : int, optional
            Maximum number of q per batch, if the engine works in batches.
        progress : callable, optional
            Called with the number of q done, if the engine works in batches.

        Returns
        -------
        Tensor, shape (n_q, D), complex
            In e/Å for translations and e for librations (X-rays); differentiable in q, the
            crystal's coordinates, cell and occupancies, and U.
        """

    def moments(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,
        degree: int,
        length: float,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Moments of each body's waves at a list of q.

        ``P_b,alpha(q) = sum_{j in b} occ_j f_j(|q|) exp(-q^T U_j q / 2) exp(+i q.r_j)
        x_j^a y_j^b z_j^c`` with ``(x, y, z) = (r_j - o_b) / length``, o_b the body's centroid.

        Parameters
        ----------
        bodies, q, U, batch_size, progress
            As for `at`.
        degree : int
            Largest a + b + c, for all bodies; 0 gives the sums of waves alone.
        length : float
            Unit of the offsets, Å: about the radius of a body keeps high moments comparable.

        Returns
        -------
        Tensor, shape (n_q, n_bodies, n_monomials(degree)), complex
            In e (X-rays), in the order of `monomials.exponents`; differentiable like `at`, with
            the centroids as constants.

        Raises
        ------
        InputError
            If the degree or the length cannot be.
        """


class GridEngine(AmplitudeEngine, Protocol):
    """An engine that computes the amplitudes of a whole grid of hkl, in blocks of rows."""

    def on_grid(
        self,
        bodies: Bodies,
        rows: GridRows,
        U: Tensor,
        degree: int | None = None,
        length: float = 1.0,
    ) -> GridAmplitudes:
        """Amplitudes on a regular grid, and moments if wanted; see `MeshEngine.on_grid`."""


def amplitudes_at(
    engine: AmplitudeEngine,
    bodies: Bodies,
    points: QPoints,
    U: Tensor,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Amplitudes at every valid q, which do not depend on the springs and can be reused.

    Parameters
    ----------
    engine : AmplitudeEngine
    points : QPoints
    bodies, U, batch_size, progress
        As for `AmplitudeEngine.at`.

    Returns
    -------
    Tensor, shape (n_q, D), complex
        Zero where not valid. Differentiable like those of the engine.
    """
    where = points.valid.nonzero().squeeze(1)
    G = engine.at(bodies, points.q[where], U, batch_size, progress)
    empty = torch.zeros(points.n_q, bodies.n_dof, dtype=G.dtype, device=G.device)
    return empty.index_put((where,), G)
