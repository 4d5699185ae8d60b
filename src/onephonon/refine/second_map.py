"""A second map of the same structure, which judges a fit and is never fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.compare.comparison import compare_maps, with_cell
from onephonon.compare.settings import Settings
from onephonon.core.errors import InputError
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.reindexing import Reindexing
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.symmetrizing import symmetrize

from .quality import anisotropic_sums
from .voxels import FitVoxels

Float64 = NDArray[np.float64]

#: Smallest number of common voxels that judge anything.
MIN_COMMON = 100


@dataclass(frozen=True, eq=False)
class SecondMap:
    """A second map at the voxels of a fit.

    Parameters
    ----------
    name : str
        For reports, such as the file's name.
    values : ndarray, shape (N,)
        Means over equivalent voxels, on the map's own scale; NaN where it has none.
    reindexing : Reindexing
        From the indices of the fitted map to those of this one.
    decision : str
        Why this indexing was used.
    cc : float
        Correlation of the anisotropic parts of both maps: what any model can be expected to
        reach on either.
    error : float
        Standard error of it.
    """

    name: str
    values: Float64
    reindexing: Reindexing
    decision: str
    cc: float
    error: float

    @property
    def n(self) -> int:
        """Number of voxels that it has a value at."""
        return int(np.isfinite(self.values).sum())


def second_map(
    other: DiffuseMap, data: DiffuseMap, crystal: Crystal, voxels: FitVoxels, name: str = ""
) -> SecondMap:
    """Values of another map at the voxels of a fit.

    The indexing of the other map is the one, of those that the lattice allows, under which the two
    maps agree best; neither a model nor a scale is needed for that.

    Parameters
    ----------
    other : DiffuseMap
        On a grid with the same points, or a finer one, which is averaged.
    data : DiffuseMap
        The map that is fitted.
    crystal : Crystal
    voxels : FitVoxels
    name : str

    Raises
    ------
    InputError
        If the maps have no voxels in common, or too few.
    """
    cell, symmetry = crystal.cell.parameters, crystal.spacegroup
    data, other = with_cell(data, cell), with_cell(other, cell)
    other = symmetrize(other.changed("space group of the model", spacegroup=symmetry)).map
    low, high = 1 / float(voxels.s.max()), 1 / float(voxels.s.min())
    wide = Settings(d_min=low * (1 - 1e-6), d_max=high * (1 + 1e-6), reindex="best")
    found = compare_maps(other, data, wide)
    values = found.model.intensity.reshape(-1)[voxels.voxel_index].astype(np.float64)
    n = int(np.isfinite(values).sum())
    if n < MIN_COMMON:
        raise InputError(
            f"{name or 'the second map'} has a value at {n} of {voxels.n} voxels of the fit, fewer "
            f"than {MIN_COMMON}: it covers another range, or is another crystal form"
        )
    sums = anisotropic_sums(voxels, voxels.data, values)
    return SecondMap(name, values, found.reindexing, found.decision, sums.cc, sums.error)
