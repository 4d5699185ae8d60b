"""Agreement of symmetry-equivalent voxels under a Laue group, before averaging."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.core.correlation import pearson
from onephonon.crystal.cell import numpy_cell
from onephonon.crystal.symmetry import laue_operators

from .affine import index_map, pick
from .diffuse import DiffuseMap
from .isotropic import shell_profile

Float64 = NDArray[np.float64]

#: Maximum number of voxels compared; more do not change two decimals.
MAX_VOXELS = 1_000_000

#: Minimum number of pairs for a correlation: two points always lie on a line.
MIN_PAIRS = 3

#: Number of resolution shells whose means are the isotropic part.
N_SHELLS = 50


@dataclass(frozen=True)
class PairAgreement:
    """Agreement of pairs of equivalent voxels.

    Parameters
    ----------
    n_pairs : int
        Pairs in which both have an intensity and are not the same voxel.
    cc : float
        Pearson correlation; NaN with fewer than three pairs.
    cc_anisotropic : float
        The same after subtraction of the mean over each resolution shell: the common fall-off
        with resolution alone gives a high correlation.
    r : float
        Sum of |a - b| over sum of |a| + |b|: the R-factor of merging pairs.
    """

    n_pairs: int
    cc: float
    cc_anisotropic: float
    r: float


@dataclass(frozen=True)
class SymmetryAgreement:
    """Agreement under a Laue group.

    Parameters
    ----------
    symmetry : str
        As requested.
    n_operators : int
        Number of operators of the Laue group, the inversion included.
    friedel : PairAgreement
        Of voxels at hkl and -hkl.
    rotations : PairAgreement
        Of voxels that any other operator relates; no pairs in Laue class -1.
    """

    symmetry: str
    n_operators: int
    friedel: PairAgreement
    rotations: PairAgreement


def symmetry_agreement(diffuse: DiffuseMap, symmetry: str = "") -> SymmetryAgreement:
    """Compare voxels with their equivalents in a Laue group.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid; of more than a million valid voxels an evenly spaced subset is used.
    symmetry : str
        Space group or Laue class; by default the map's space group, and -1 without one.

    Raises
    ------
    InputError
        If the symmetry is not known, or the cell does not have it.
    """
    grid, cell = diffuse.require_grid()
    symmetry = symmetry or diffuse.spacegroup or "-1"
    operators = laue_operators(symmetry, cell)
    voxels = _some_voxels(diffuse)
    own = diffuse.intensity[tuple(voxels)].astype(np.float64)
    isotropic = _isotropic(diffuse, voxels, own)
    friedel, rotations = _Pairs(), _Pairs()
    for operator in operators[1:]:
        carried = index_map(grid, grid, operator)
        if not carried.exact:  # such as a rotation of a grid with different steps along h and k
            continue
        index = list(carried.matrix.T @ voxels + carried.shift[:, None])
        other = pick(diffuse.intensity, index).astype(np.float64)
        moved = (np.array(index) != voxels).any(axis=0)
        use = moved & ~np.isnan(other)
        pairs = friedel if (operator == -np.eye(3)).all() else rotations
        pairs.add(own[use], other[use], isotropic[use])
    return SymmetryAgreement(symmetry, len(operators), friedel.agreement(), rotations.agreement())


def _some_voxels(diffuse: DiffuseMap) -> NDArray[np.intp]:
    """Indices (3, n) of valid voxels, evenly thinned."""
    found = np.flatnonzero(diffuse.mask)
    # A stride coprime to most shapes, so that no plane is preferred.
    stride = math.ceil(len(found) / MAX_VOXELS)
    chosen = found[:: stride + (stride > 1 and stride % 2 == 0)]
    return np.array(np.unravel_index(chosen, diffuse.intensity.shape))


def _isotropic(diffuse: DiffuseMap, voxels: NDArray[np.intp], own: Float64) -> Float64:
    """Mean intensity at the resolution of each voxel, the same for its equivalents."""
    grid, cell = diffuse.require_grid()
    s = np.linalg.norm(grid.hkl_of_voxels(voxels) @ numpy_cell(cell).inverse, axis=1)
    limits = (0.0, float(s.max(initial=0.0)))
    return shell_profile(own, s, limits, np.ones(len(own)), N_SHELLS)


class _Pairs:
    """Pairs of intensities, collected operator by operator; each pair counts both ways."""

    def __init__(self) -> None:
        self._a: list[Float64] = []
        self._b: list[Float64] = []
        self._isotropic: list[Float64] = []

    def add(self, a: Float64, b: Float64, isotropic: Float64) -> None:
        self._a.append(a)
        self._b.append(b)
        self._isotropic.append(isotropic)

    def agreement(self) -> PairAgreement:
        if not self._a:
            return PairAgreement(0, math.nan, math.nan, math.nan)
        a, b = np.concatenate(self._a), np.concatenate(self._b)
        isotropic = np.concatenate(self._isotropic)
        total = float((np.abs(a) + np.abs(b)).sum())
        return PairAgreement(
            len(a),
            pearson(a, b) if len(a) >= MIN_PAIRS else math.nan,
            pearson(a - isotropic, b - isotropic) if len(a) >= MIN_PAIRS else math.nan,
            float(np.abs(a - b).sum()) / total if total else math.nan,
        )
