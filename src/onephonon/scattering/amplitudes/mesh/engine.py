"""`MeshEngine`: amplitudes as Fourier transforms of densities on a mesh, within a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from onephonon.core.progress import Progress
from onephonon.network.bodies import Bodies

from ...grid_rows import GridRows
from ..monomials import check_moments
from .grid_densities import grid_densities
from .gridded import GridAmplitudes
from .scattered import scattered_amplitudes, scattered_moments


@dataclass(frozen=True)
class MeshEngine:
    """Amplitudes from densities on a mesh, once differentiable.

    Parameters
    ----------
    rtol : float
        Requested accuracy of intensities, relative to the sum of intensity and rms.
    reason : str
        Why this engine was chosen.
    """

    name: ClassVar[str] = "mesh"
    has_grid: ClassVar[bool] = True

    rtol: float
    reason: str = "as requested"

    def __str__(self) -> str:
        return f"mesh to {self.rtol:g} of the rms ({self.reason})"

    def at(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,
        batch_size: int | None = None,  # noqa: ARG002  (the transforms limit their memory)
        progress: Progress | None = None,  # noqa: ARG002  (a single transform)
    ) -> Tensor:
        """Amplitudes at a list of q, all at once; see `AmplitudeEngine.at`."""
        return scattered_amplitudes(bodies, q, U, self.rtol)

    def moments(
        self,
        bodies: Bodies,
        q: Tensor,
        U: Tensor,
        degree: int,
        length: float,
        batch_size: int | None = None,  # noqa: ARG002  (as in `at`)
        progress: Progress | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Moments at a list of q, all at once; see `AmplitudeEngine.moments`."""
        check_moments(degree, length)
        return scattered_moments(bodies, q, U, self.rtol, degree, length).contiguous()

    def on_grid(
        self,
        bodies: Bodies,
        rows: GridRows,
        U: Tensor,
        degree: int | None = None,
        length: float = 1.0,
    ) -> GridAmplitudes:
        """Amplitudes on a regular grid, and moments if wanted, computed in blocks of rows.

        Parameters
        ----------
        bodies : Bodies
        rows : GridRows
        U : Tensor, shape (n_cell_atoms, 3, 3)
            Mean-square displacements in the Debye-Waller factors, Å^2.
        degree : int, optional
            Largest degree of the moments of `GridAmplitudes.moment_tiles`; if not given, the
            least that amplitudes need.
        length : float
            Unit of the offsets in the moments, Å.

        Raises
        ------
        InputError
            If the degree or the length cannot be, or amplitudes need a higher degree.
        """
        densities = grid_densities(bodies, rows.grid, U, self.rtol, rows.q_max, degree, length)
        return GridAmplitudes(bodies, densities, rows)
