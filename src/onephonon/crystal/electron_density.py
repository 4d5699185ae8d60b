"""The electron density of a unit cell on a grid, as measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI

from .cell import UnitCell

#: A grid has to resolve the finest wave of its density with this many points at least; the sums
#: over the grid are exact below twice the frequency, with a margin for the moments of bodies.
MIN_POINTS_PER_D = 2.0


@dataclass(frozen=True, eq=False)
class ElectronDensity:
    """Electron density of a unit cell, on a grid along its axes.

    Parameters
    ----------
    values : Tensor, shape (n_1, n_2, n_3)
        At fractional coordinates (i/n_1, j/n_2, k/n_3), in e/Å^3 up to a factor and an additive
        constant.
    cell : UnitCell
    d_min : float
        Resolution of the density, Å.
    source : str
        Where it comes from, for reports.

    Raises
    ------
    InputError
        If the values are not three-dimensional, not finite or all equal, or the grid is too coarse
        for the resolution.
    """

    values: Tensor
    cell: UnitCell
    d_min: float
    source: str = "density"

    def __post_init__(self) -> None:
        values = self.values
        if values.ndim != 3:
            raise InputError(
                f"{self.source}: an electron density has three axes, this has shape "
                f"{tuple(values.shape)}"
            )
        if not bool(values.isfinite().all()):
            n = int((~values.isfinite()).sum())
            raise InputError(
                f"{self.source}: {n:,} points of the density are not finite; give a map of the "
                "whole cell"
            )
        if float(values.max()) == float(values.min()):
            raise InputError(f"{self.source}: the density is {float(values.min()):g} everywhere")
        widest = self.finest_resolvable() if self.d_min > 0 else np.inf
        if not self.d_min >= widest * (1 - 1e-6):
            raise InputError(
                f"{self.source}: a density to {self.d_min:g} Å needs a finer grid than "
                f"{' x '.join(map(str, values.shape))}, which resolves {widest:.3g} Å"
            )

    def finest_resolvable(self) -> float:
        """The smallest d (Å) of waves that the grid samples twice a period along every axis."""
        n = torch.tensor(self.values.shape, dtype=torch.float64)
        # Planes of reciprocal points +-n_i/2 have the distance n_i |axis of the cell|^-1 / 2.
        lengths = torch.linalg.vector_norm(self._matrix(), dim=0)
        return float((MIN_POINTS_PER_D * lengths / n).max())

    def _matrix(self) -> Tensor:
        matrix = self.cell.matrix
        return torch.as_tensor(matrix, dtype=torch.float64).detach()

    def structure_factors(self, hkl: Tensor) -> Tensor:
        """``F(hkl) = integral rho exp(2 pi i hkl.x)`` over the cell.

        Parameters
        ----------
        hkl : Tensor, shape (n, 3), whole numbers
            Within what the grid resolves.

        Returns
        -------
        Tensor, shape (n,), complex
            In e up to the factor of the values.
        """
        volume = float(torch.linalg.det(self._matrix()).abs())
        sums = torch.fft.ifftn(self.values.to(torch.float64)) * volume
        index = hkl.long() % torch.tensor(self.values.shape)
        return sums[index[:, 0], index[:, 1], index[:, 2]]

    @property
    def q_max(self) -> float:
        """Largest |q| of the data, 1/Å."""
        return TWO_PI / self.d_min


def density_of_structure_factors(
    F: NDArray[np.complex128], cell: UnitCell, d_min: float, source: str
) -> ElectronDensity:
    """The density of structure factors on a grid of Miller indices.

    Parameters
    ----------
    F : ndarray, shape (n_1, n_2, n_3), complex
        ``F(hkl)`` at index hkl modulo the shape; zero where not measured. Of a real density:
        ``F(-h) = F(h)*``.
    cell : UnitCell
    d_min : float
        Å.
    source : str

    Returns
    -------
    ElectronDensity
        ``rho(x) = 1/V sum_h F(h) exp(-2 pi i h.x)``.
    """
    volume = float(np.abs(np.linalg.det(np.asarray(cell.matrix))))
    values = np.fft.fftn(np.asarray(F, dtype=np.complex128)).real / volume
    return ElectronDensity(torch.from_numpy(values), cell, d_min, source)
