"""Values of one map at the voxels of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.grid import SAME_POINT
from onephonon.crystal.reindexing import Reindexing
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.resampling import onto_coarser

from .target import Target

Float64 = NDArray[np.float64]

#: Number of voxels processed at a time.
VOXELS_AT_A_TIME = 1_000_000


def values_of(
    model: DiffuseMap, target: Target, reindexing: Reindexing, laue: NDArray[np.int64]
) -> Float64:
    """Intensities of a calculated map at a target's voxels, shape (N,).

    Parameters
    ----------
    model : DiffuseMap
        On a grid, or a list of the same q-vectors as the data.
    target : Target
    reindexing : Reindexing
        From the data's indices to the model's.
    laue : ndarray, shape (n, 3, 3)
        Operators of the model's Laue group on rows of hkl, the identity first: where the model
        has no value at a voxel, that of an equivalent one is taken.

    Returns
    -------
    ndarray
        NaN where the model has no value.

    Raises
    ------
    InputError
        If the two grids have no points in common.
    """
    if model.grid is None:
        return _of_list(model, target, reindexing)
    found = np.full(target.n, np.nan)
    on_point = False
    for start in range(0, target.n, VOXELS_AT_A_TIME):
        part = slice(start, start + VOXELS_AT_A_TIME)
        hkl = target.hkl(part) @ reindexing.operator
        for operator in laue:
            missing = np.flatnonzero(np.isnan(found[part]))
            if not len(missing):
                break
            index = model.grid.index_of(hkl[missing] @ operator)
            near = np.rint(index)
            fits = (np.abs(index - near) <= SAME_POINT).all(axis=1)
            on_point |= bool(fits.any())
            inside = fits & ((near >= 0) & (near < model.grid.shape)).all(axis=1)
            i, j, k = near[inside].astype(np.int64).T
            found[start + missing[inside]] = model.intensity[i, j, k]
    if not on_point:
        raise InputError(
            f"no voxel of the data ({target.data.grid or 'a list'}) is at a point of the model's "
            f"grid ({model.grid}) under {reindexing.name}; resample one to the other's grid, or "
            "give the structure instead of the map"
        )
    return found


def at_data_voxels(model: DiffuseMap, data: DiffuseMap) -> tuple[DiffuseMap, str]:
    """Average a model over the voxels of the data if its own are smaller.

    Returns
    -------
    model : DiffuseMap
        On the lattice of the data's points; or the unchanged model.
    how : str
        Describes how the model is evaluated at the voxels.
    """
    if model.grid is None or data.grid is None:
        return model, "the given map, point by point"
    averaged = onto_coarser(model, data.grid)
    if averaged is model:
        return model, "the given map, voxel by voxel"
    inside = " x ".join(f"{x:.3g}" for x in np.divide(data.grid.step, model.grid.step))
    return averaged, (
        f"the given map, averaged over the data's voxels ({inside} voxels of the map in each; "
        "missing ones, such as Bragg points, are ignored)"
    )


def _of_list(model: DiffuseMap, target: Target, reindexing: Reindexing) -> Float64:
    """Values of a model that is a list of the q-vectors of the data."""
    data = target.data
    same = data.intensity.size == model.intensity.size and reindexing.is_identity
    if not same or not np.allclose(model.q_vectors, data.q_vectors, rtol=0, atol=1e-6):
        raise InputError(
            f"the model is a list of {model.intensity.size} q-vectors that differ from the "
            f"{data.intensity.size} points of the data; lists are compared point by point, "
            "without reindexing"
        )
    return np.asarray(model.intensity.reshape(-1)[target.voxel_index], dtype=np.float64)
