"""Liquid-like motions with a free correlation function, as a sum over a ladder of lengths.

The intensity of liquid-like motions of the crystal is the Fourier transform of the Patterson map
times the correlation of motion against distance, averaged over each voxel. Any correlation that is
a sum of exponentials and Gaussians of several lengths is a sum of such intensities, here with atoms
weighted by powers of their U, with and without the solvent that they displace, and each with a
strength that is a smooth function of |q|: orders beyond the first and Debye-Waller factors do that.

In equation (3) of the theory form and Debye-Waller factors are those at q. The Patterson map is
therefore made of structure factors that are divided by the root-mean-square factor of the atoms,
and the intensity is multiplied by it at q: exact for atoms of one kind and one B. Otherwise the
ratio of an atom's factor to the mean is taken at the Bragg points that q gets its intensity from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from onephonon.core.compiled import compiled, in_threads
from onephonon.core.progress import Progress
from onephonon.core.units import TWO_PI
from onephonon.crystal.crystal import Crystal, mean_square
from onephonon.crystal.solvent import with_solvent
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes.choice import choose_engine

from .voxel_frame import VoxelFrame

Float64 = NDArray[np.float64]

#: Structure factors are summed to this much beyond the largest 1/d of the voxels, 1/Å: the
#: transform of the shortest length is 1 % of its centre there.
MARGIN = 0.36

#: Correlations end at this many lengths, or at this distance, Å: averages over voxels of a whole
#: Miller index leave little beyond.
CUTOFF, MAX_DISTANCE = 6.0, 110.0


@dataclass(frozen=True)
class Ladder:
    """Correlation functions whose sum is free, and weights of atoms.

    Parameters
    ----------
    exponential, gaussian : tuple of float
        Lengths in Å of ``exp(-r / length)`` and of ``exp(-r^2 / (2 length^2))``.
    powers : tuple of float
        Atoms are weighted by these powers of their mean-square displacement.
    solvent : tuple of float
        Densities of the displaced solvent, e/Å^3.
    """

    exponential: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0)
    gaussian: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
    powers: tuple[float, ...] = (0.0, 0.5, 1.0)
    solvent: tuple[float, ...] = (0.0, 0.334)

    def names(self) -> tuple[str, ...]:
        """Name of each function, in the order of `liquid_features`."""
        kinds = [f"exponential {x:g} Å" for x in self.exponential]
        return tuple(kinds + [f"Gaussian {x:g} Å" for x in self.gaussian])


def liquid_features(
    crystal: Crystal,
    frame: VoxelFrame,
    ladder: Ladder | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Intensity of each step of the ladder at the voxels, without the factor |q|^2.

    Parameters
    ----------
    crystal : Crystal
    frame : VoxelFrame
    ladder : Ladder, optional
    progress : Progress, optional

    Returns
    -------
    Tensor, shape (N, n_weights n_functions), float32
        Weights of atoms (power by power, with each density of solvent) in the outer loop; each
        column has a mean square of 1.
    """
    ladder = ladder or Ladder()
    maps = [PattersonMap.of(weighted, frame) for weighted in _weighted(crystal, ladder)]
    steps = [(x, False) for x in ladder.exponential] + [(x, True) for x in ladder.gaussian]
    columns = torch.empty(frame.n, len(maps), len(steps), dtype=torch.float64)
    for f, (length, gaussian) in enumerate(steps):
        columns[:, :, f] = liquid_intensities(maps, frame, length, gaussian)
        if progress:
            progress.step("liquid-like motions", f + 1, len(steps))
    flat = columns.reshape(frame.n, -1)
    return (flat / flat.square().mean(dim=0).sqrt()).to(torch.float32)


@dataclass(frozen=True, eq=False)
class PattersonMap:
    """The Patterson map of a crystal, for liquid-like motions at the voxels of a fit.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        Columns are the axes of the cell, Å.
    values : ndarray, shape (n_x, n_y, n_z)
        On a grid in the cell, without the atoms' correlation with themselves.
    own : float
        That correlation, the sum of squares of the atoms' relative factors.
    factor : ndarray, shape (N,)
        Mean square factor of the atoms at the voxels.
    """

    matrix: Float64
    values: NDArray[Any]
    own: float
    factor: Float64

    @classmethod
    def of(cls, crystal: Crystal, frame: VoxelFrame) -> PattersonMap:
        """Of a crystal, fine enough for the voxels."""
        matrix = crystal.cell.matrix.detach().cpu().double().numpy()
        square, own = _squares(crystal, frame)
        factor = _mean_square_factor(crystal, frame.q).cpu().numpy()
        return cls(matrix, np.fft.fftn(square), own, factor)


def liquid_intensities(
    maps: Sequence[PattersonMap], frame: VoxelFrame, length: float, gaussian: bool = False
) -> Tensor:
    """Intensity of motion with one correlation length at the voxels, without the factor |q|^2.

    Parameters
    ----------
    maps : sequence of PattersonMap
        Of the same cell.
    frame : VoxelFrame
    length : float
        Å.
    gaussian : bool
        Whether the correlation is ``exp(-r^2 / (2 length^2))`` instead of ``exp(-r / length)``.

    Returns
    -------
    Tensor, shape (N, n_maps)
        For a mean-square displacement of 1 Å^2, e^2 Å^2 per cell.
    """
    hkl = frame.hkl.detach().cpu().double().numpy()
    whole = np.rint(hkl)
    offsets, place = np.unique(np.round(hkl - whole, 9), axis=0, return_inverse=True)
    place = place.reshape(-1)
    shape = maps[0].values.shape
    found = np.empty((len(hkl), len(maps)))
    for o, offset in enumerate(offsets):
        inside = np.flatnonzero(place == o)
        index = tuple((whole[inside].astype(np.int64) % shape).T)
        kernel = _folded(maps[0].matrix, frame, length, gaussian, offset, shape)
        for m, patterson in enumerate(maps):
            others = np.fft.ifftn(patterson.values * kernel).real[index]
            own = patterson.own * kernel[0, 0, 0].real
            found[inside, m] = patterson.factor[inside] * (own + others)
    return torch.from_numpy(found)


def _weighted(crystal: Crystal, ladder: Ladder) -> list[Crystal]:
    """The crystal with atoms weighted as the ladder says."""
    u = mean_square(crystal.U)
    found = []
    for power in ladder.powers:
        made = crystal.with_tensors(occupancies=crystal.occupancies * (u / u.mean()) ** power)
        found += [
            made if density == 0 else with_solvent(made, density) for density in ladder.solvent
        ]
    return found


def _squares(crystal: Crystal, frame: VoxelFrame) -> tuple[Float64, float]:
    """|F|^2 of atoms with relative factors, less its mean, and that mean.

    At the Bragg points, in the order of a transform, zero beyond the limit. The mean is that of a
    crystal of the same atoms at random places: what each atom contributes with itself.
    """
    limit = float(frame.s.max()) + MARGIN
    lengths = np.linalg.norm(crystal.cell.matrix.detach().cpu().numpy(), axis=0)
    reach = np.ceil(limit * lengths).astype(np.int64)
    shape = tuple(next_fast_len(int(2 * n + 1)) for n in reach)
    # One of each pair of Friedel mates.
    axes = [np.arange(-reach[0], reach[0] + 1), np.arange(-reach[1], reach[1] + 1)]
    mesh = np.meshgrid(*axes, np.arange(reach[2] + 1), indexing="ij")
    hkl = np.stack(mesh, axis=-1).reshape(-1, 3)
    q = crystal.cell.q_from_hkl(torch.from_numpy(hkl).to(crystal.cell.matrix))
    inside = torch.linalg.vector_norm(q, dim=1) <= TWO_PI * limit
    q, kept = q[inside], hkl[inside.cpu().numpy()]
    bodies = gather_bodies(crystal, "asu")
    engine = choose_engine("auto", 1e-6, bodies, len(q), False, 0)
    with torch.no_grad():
        waves = engine.moments(bodies, q, bodies.U, 0, 1.0)[:, :, 0].sum(dim=1)
        square = waves.real.square() + waves.imag.square()
        relative = (square / _mean_square_factor(crystal, q)).cpu().numpy()
    whole = np.zeros(shape)
    own = float(bodies.n_cell_atoms)
    whole[tuple((kept % shape).T)] = relative - own
    whole[tuple((-kept % shape).T)] = relative - own
    return whole, own


@torch.no_grad()
def _mean_square_factor(crystal: Crystal, q: Tensor) -> Tensor:
    """Mean of ``(occ f exp(-W))^2`` over the atoms, with isotropic W, shape (N,)."""
    found, u = [], mean_square(crystal.U)
    for some in q.split(100_000):
        square = some.square().sum(dim=1)
        f = crystal.form_factors.evaluate(square)[:, crystal.form_factors.kind]
        factors = crystal.occupancies * f * torch.exp(-0.5 * square[:, None] * u)
        found.append(factors.square().mean(dim=1))
    return torch.cat(found)


def _folded(
    matrix: Float64,
    frame: VoxelFrame,
    length: float,
    gaussian: bool,
    offset: Float64,
    shape: tuple[int, ...],
) -> NDArray[Any]:
    """Correlation times the average of the wave over a voxel, summed over lattice vectors.

    With the wave of the offset from an integer hkl. On the grid of the Patterson map.
    """
    spacing = 1 / np.linalg.norm(np.linalg.inv(matrix), axis=1)
    cutoff = min(CUTOFF * length, MAX_DISTANCE)
    images = np.ceil(cutoff / spacing).astype(np.int64)
    box = frame.box.detach().cpu().double().numpy()
    real, imag = np.zeros(shape), np.zeros(shape)
    slabs = np.array_split(np.arange(shape[0]), max(1, min(shape[0], 16)))

    def work(rows: NDArray[np.int64]) -> None:
        if len(rows):
            _fold(real, imag, rows, matrix, box, offset, images, length, gaussian, cutoff)

    in_threads(work, slabs)
    return real + 1j * imag if offset.any() else real


@compiled
def _fold(
    real: Float64,
    imag: Float64,
    rows: NDArray[np.int64],
    matrix: Float64,
    box: Float64,
    offset: Float64,
    images: NDArray[np.int64],
    length: float,
    gaussian: bool,
    cutoff: float,
) -> None:
    nx, ny, nz = real.shape
    limit = cutoff * cutoff
    for i in rows:
        for j in range(ny):
            for k in range(nz):
                x, y, z = i / nx, j / ny, k / nz
                x, y, z = x - round(x), y - round(y), z - round(z)
                for a in range(-images[0], images[0] + 1):
                    for b in range(-images[1], images[1] + 1):
                        for c in range(-images[2], images[2] + 1):
                            u, v, w = x + a, y + b, z + c
                            square = 0.0
                            for n in range(3):
                                r = matrix[n, 0] * u + matrix[n, 1] * v + matrix[n, 2] * w
                                square += r * r
                            if square > limit:
                                continue
                            if gaussian:
                                value = math.exp(-0.5 * square / (length * length))
                            else:
                                value = math.exp(-math.sqrt(square) / length)
                            for n in range(3):
                                t = math.pi * (box[n, 0] * u + box[n, 1] * v + box[n, 2] * w)
                                if abs(t) > 1e-9:
                                    value *= math.sin(t) / t
                            turn = 2 * math.pi * (offset[0] * u + offset[1] * v + offset[2] * w)
                            real[i, j, k] += value * math.cos(turn)
                            imag[i, j, k] += value * math.sin(turn)
