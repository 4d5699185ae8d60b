"""`MeshEngine`: amplitudes transformed from densities on a mesh, exact to a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies

from ...grid_rows import GridRows
from .gridded import GridAmplitudes, grid_densities
from .scattered import scattered_amplitudes


@dataclass(frozen=True)
class MeshEngine:
    """Amplitudes from densities on a mesh, with first derivatives.

    Parameters
    ----------
    rtol : float
        Wanted accuracy of intensities, relative to themselves and their rms, added.
    reason : str
        Why this engine.
    """

    name: ClassVar[str] = "mesh"

    rtol: float
    reason: str = "as requested"

    def __str__(self) -> str:
        return f"mesh to {self.rtol:g} of the rms ({self.reason})"

    def at(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,
        batch_size: int | None = None,  # noqa: ARG002  (its transforms bound their own memory)
        progress: Progress | None = None,  # noqa: ARG002  (one transform, done or not)
    ) -> Tensor:
        """G at a list of q, all at once; see `AmplitudeEngine.at`."""
        return scattered_amplitudes(bodies, q, U, self.rtol)

    def on_grid(self, bodies: Bodies, rows: GridRows, U: Tensor) -> GridAmplitudes:
        """G on a regular grid, to be had row by row.

        Parameters
        ----------
        bodies : Bodies
        rows : GridRows
        U : Tensor, shape (n_cell_atoms, 3, 3)
            Mean-square displacements in the Debye-Waller factors, Å^2.
        """
        densities = grid_densities(bodies, rows.grid, U, self.rtol, rows.q_max)
        return GridAmplitudes(bodies, densities, rows)
