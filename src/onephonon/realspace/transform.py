"""From a map of intensity to its Patterson map, and back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fftn, ifftn, next_fast_len

from onephonon.core.errors import InputError
from onephonon.core.memory import state_memory
from onephonon.crystal.cell import numpy_cell
from onephonon.maps.arithmetic import check_same_points
from onephonon.maps.diffuse import DiffuseMap

from .patterson_map import PattersonMap
from .preparation import Preparation, prepare

Float64 = NDArray[np.float64]

#: Points per d_min of the finest wave, where none is given.
POINTS_PER_D = 3.0

#: Bytes per point: a complex array and its transform, and the result.
POINT_BYTES = 40.0

#: Largest imaginary part, relative to the largest value, of the transform of a map with Friedel's
#: symmetry: rounding, and single precision of files.
REAL = 1e-5


def patterson(
    diffuse: DiffuseMap, how: Preparation | None = None, spacing: float | None = None
) -> PattersonMap:
    """The diffuse Patterson map of a map of intensity.

    Parameters
    ----------
    diffuse : DiffuseMap
        On a grid.
    how : Preparation, optional
        Averaging over symmetry, isotropic part, missing voxels and taper.
    spacing : float, optional
        Largest distance of points along the axes, Å; by default a third of the finest d. Never so
        large that waves of the map are lost.

    Returns
    -------
    PattersonMap

    Raises
    ------
    InputError
        As in `prepare`, or if the spacing is not positive, or the map would not fit into memory.
    """
    prepared = prepare(diffuse, how)
    return transformed(prepared, spacing)


def transformed(prepared: DiffuseMap, spacing: float | None = None) -> PattersonMap:
    """The Fourier transform of a map without missing voxels, as it is.

    ``P(x) = dV sum_h I(h) exp(2 pi i h.x)`` over the voxels of volume dV (Å^-3), x in cells;
    the real part, which is all of it if I(-h) = I(h).

    Parameters
    ----------
    prepared : DiffuseMap
        See `prepare`.
    spacing : float, optional
        See `patterson`.
    """
    grid, cell = prepared.require_grid()
    shape = _shape(prepared, spacing)
    advice = "give a larger spacing, or crop the resolution"
    state_memory(POINT_BYTES * math.prod(shape), f"Patterson map of {_by(shape)} points", advice)
    volume = abs(float(np.linalg.det(np.asarray(numpy_cell(cell).matrix))))
    dV = math.prod(grid.step) / volume
    # exp(2 pi i (h_0 + m step) x) at x = j / (n step): a phase for the first voxel, and a FFT.
    padded = np.zeros(shape, dtype=np.complex128)
    padded[tuple(slice(n) for n in grid.shape)] = prepared.intensity
    sums = ifftn(padded, norm="forward", workers=-1, overwrite_x=True)
    for axis, (first, step, n) in enumerate(zip(grid.origin, grid.step, shape, strict=True)):
        x = np.fft.fftfreq(n, 1.0 / n) / (n * step)
        sums *= _along(np.exp(2j * np.pi * first * x), axis)
    largest = float(np.abs(sums.real).max())
    if float(np.abs(sums.imag).max()) > REAL * max(largest, 1e-300):
        raise InputError(
            "the map is not the same at h and -h, so its transform is not real; average it over "
            "symmetry first"
        )
    values = np.fft.fftshift(sums.real) * dV
    a, b, c = (1.0 / step for step in grid.step)
    units = f"{prepared.units or 'arbitrary'} / Å^3"
    return PattersonMap(values, (a, b, c), cell, grid, units, prepared.history)


def intensity(patterson_map: PattersonMap) -> DiffuseMap:
    """The map of intensity of a Patterson map, on the grid that it came from.

    Exactly that of `transformed` if nothing was changed; of a part in real space
    (`PattersonMap.within`), what that part contributes.

    Parameters
    ----------
    patterson_map : PattersonMap

    Returns
    -------
    DiffuseMap
    """
    grid, shape = patterson_map.grid, patterson_map.values.shape
    volume = abs(float(np.linalg.det(np.asarray(numpy_cell(patterson_map.cell).matrix))))
    dV = math.prod(grid.step) / volume
    sums = np.fft.ifftshift(patterson_map.values / dV).astype(np.complex128)
    for axis, (first, step, n) in enumerate(zip(grid.origin, grid.step, shape, strict=True)):
        x = np.fft.fftfreq(n, 1.0 / n) / (n * step)
        sums *= _along(np.exp(-2j * np.pi * first * x), axis)
    back = fftn(sums, norm="forward", workers=-1, overwrite_x=True)
    values = back.real[tuple(slice(n) for n in grid.shape)]
    return DiffuseMap.on_grid(
        np.ascontiguousarray(values),
        grid,
        patterson_map.cell,
        units=patterson_map.units.removesuffix(" / Å^3"),
        history=(*patterson_map.history, "transformed back"),
    )


def _shape(prepared: DiffuseMap, spacing: float | None) -> tuple[int, int, int]:
    """Points along each axis: enough for the voxels of the map, and for the spacing."""
    grid, cell = prepared.require_grid()
    finest = _finest_d(prepared)
    wanted = finest / POINTS_PER_D if spacing is None else float(spacing)
    if not (math.isfinite(wanted) and wanted > 0):
        raise InputError(f"spacing {wanted:g} Å of points: give a positive length")
    found = []
    for length, step, n in zip(cell[:3], grid.step, grid.shape, strict=True):
        points = math.ceil(float(length) / step / wanted)
        found.append(next_fast_len(max(points, n), real=False))
    return found[0], found[1], found[2]


def _finest_d(prepared: DiffuseMap) -> float:
    """Finest d of a voxel that is not zero, Å."""
    finest = _without(prepared, prepared.intensity == 0).d_min
    if math.isinf(finest):
        raise InputError("the map is zero everywhere once its isotropic part is removed")
    return finest


def _along(values: NDArray[np.complex128], axis: int) -> NDArray[np.complex128]:
    return values.reshape([-1 if i == axis else 1 for i in range(3)])


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def same_voxels(first: DiffuseMap, second: DiffuseMap) -> tuple[DiffuseMap, DiffuseMap]:
    """Two maps of one grid, each missing where either is.

    Raises
    ------
    InputError
        If their grids differ.
    """
    check_same_points(first, second)
    missing = np.isnan(first.intensity) | np.isnan(second.intensity)
    return _without(first, missing), _without(second, missing)


def _without(diffuse: DiffuseMap, missing: NDArray[np.bool_]) -> DiffuseMap:
    values = np.where(missing, np.nan, diffuse.intensity)
    return diffuse.changed("voxels that both maps have", {"intensity": values})
