"""Preparation of the data of a comparison: selection, weights and blocks of voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import InputError
from onephonon.crystal.cell import numpy_cell
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.isotropic import Isotropic

from .agreement import Pairs
from .settings import Settings

Float64 = NDArray[np.float64]

#: Number of blocks across the sphere of the data: blocks are large compared with the correlation
#: length of neighbouring voxels (one over a molecule's size), and numerous enough.
BLOCKS_ACROSS = 11


@dataclass(frozen=True, eq=False)
class Target:
    """Voxels of the data to compare with, sorted by 1/d.

    Parameters
    ----------
    data : DiffuseMap
    voxel_index : ndarray, shape (N,), int64
        Flat indices of the voxels in the data.
    s : ndarray, shape (N,)
        1/d, 1/Å, in increasing order.
    weight, multiplicity : ndarray, shape (N,)
    limits : (float, float)
        Lowest and highest s of shells.
    """

    data: DiffuseMap
    voxel_index: NDArray[np.int64]
    s: Float64
    weight: Float64
    multiplicity: Float64
    limits: tuple[float, float]

    @classmethod
    def of(
        cls, data: DiffuseMap, settings: Settings, multiplicity: NDArray[np.float64] | None = None
    ) -> Target:
        """Select the voxels that have a value and a weight and are in the resolution range.

        Raises
        ------
        InputError
            If there are none, or the map lacks the sigmas or counts for the weights.
        """
        every = _weights(data, settings.weighting)
        repeats = np.ones(data.intensity.shape) if multiplicity is None else multiplicity
        if np.shape(repeats) != data.intensity.shape:
            raise InputError(
                f"multiplicity has shape {np.shape(repeats)}, the data {data.intensity.shape}"
            )
        keep = data.mask & np.isfinite(every) & (every > 0) & (np.asarray(repeats) > 0)
        voxel_index, s = _in_range(data, keep, settings.s_limits)
        if not len(voxel_index):
            raise InputError(
                f"none of the data's {data.n_valid} values has a weight and lies between "
                f"{settings.range_text}; widen the range"
            )
        order = np.argsort(s, kind="stable")
        voxel_index, s = voxel_index[order], s[order]
        taken = np.asarray(repeats, dtype=np.float64).reshape(-1)[voxel_index]
        low, high = settings.s_limits
        limits = (low or float(s[0]), high if math.isfinite(high) else float(s[-1]))
        weight = every.reshape(-1)[voxel_index] * taken
        return cls(data, voxel_index, s, weight, taken, limits)

    @property
    def n(self) -> int:
        """Number of voxels."""
        return len(self.voxel_index)

    def hkl(self, part: slice = slice(None)) -> Float64:
        """Miller indices of some of the voxels, shape (n, 3)."""
        return hkl_of_voxels(self.data, self.voxel_index[part])

    def pair(self, model: Float64, isotropic: Isotropic) -> Pairs:
        """Pair a model's values (N,) with the data's, where both exist.

        Raises
        ------
        InputError
            If the model has no value.
        """
        known = np.isfinite(model)
        if not known.any():
            raise InputError(
                f"the model has no value at any of the {self.n} voxels of data that are compared: "
                "they are outside its grid, or all are Bragg points; average it over the voxels"
            )
        voxel_index, s, weight = self.voxel_index[known], self.s[known], self.weight[known]
        values = np.asarray(model[known], dtype=np.float64)
        measured = self._select(self.data.intensity, voxel_index)

        def rest(intensities: Float64) -> Float64:
            return isotropic.remove(intensities, s, self.limits, weight)

        halves = rest_of_halves = None
        if self.data.halves is not None:
            halves = np.stack([self._select(half, voxel_index) for half in self.data.halves])
            rest_of_halves = np.full(halves.shape, np.nan)
            both = np.isfinite(halves).all(axis=0)
            for half, left in zip(halves, rest_of_halves, strict=True):
                left[both] = isotropic.remove(half[both], s[both], self.limits, weight[both])
        return Pairs(
            voxel_index=voxel_index,
            s=s,
            model=values,
            data=measured,
            model_anisotropic=rest(values),
            data_anisotropic=rest(measured),
            weight=weight,
            multiplicity=self.multiplicity[known],
            halves=halves,
            halves_anisotropic=rest_of_halves,
        )

    @staticmethod
    def _select(values: NDArray[np.float64], voxel_index: NDArray[np.int64]) -> Float64:
        return values.reshape(-1)[voxel_index].astype(np.float64)

    def to_map_shape(self, values: Float64) -> Float64:
        """Values (N,) at their voxels in an array of the data's shape, NaN elsewhere."""
        whole = np.full(self.data.intensity.size, np.nan)
        whole[self.voxel_index] = values
        return whole.reshape(self.data.intensity.shape)

    def blocks(self, operators: Sequence[Float64]) -> NDArray[np.int64]:
        """Block index of each voxel, shape (N,), from 0.

        Blocks are boxes of about equal size in 1/Å; boxes that an operator (on rows of hkl) maps
        onto each other form one block, because their contents are not independent.
        """
        cell = self.data.cell
        assert cell is not None
        lengths = np.linalg.norm(numpy_cell(cell).inverse, axis=1)
        width = 2 * float(self.s[-1]) / BLOCKS_ACROSS / lengths
        box = np.rint(self.hkl() / width).astype(np.int64)
        reach = np.abs(box).max(axis=0)
        shape = 2 * reach + 1
        centres = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1) - reach
        label = np.full(len(centres), len(centres))
        for operator in operators:
            image = np.rint((centres * width) @ operator / width).astype(np.int64)
            inside = (np.abs(image) <= reach).all(axis=1)
            code = np.ravel_multi_index(tuple((np.clip(image, -reach, reach) + reach).T), shape)
            label = np.where(inside, np.minimum(label, code), label)
        own = label[np.ravel_multi_index(tuple((box + reach).T), shape)]
        return np.asarray(np.unique(own, return_inverse=True)[1].reshape(-1))


def hkl_of_voxels(data: DiffuseMap, voxel_index: NDArray[np.int64]) -> Float64:
    """Miller indices of voxels with given flat indices, shape (n, 3)."""
    if data.grid is None:
        return np.asarray(data.hkl[voxel_index])
    index = np.unravel_index(voxel_index, data.grid.shape)
    return data.grid.hkl_of_voxels(index)


def _in_range(
    data: DiffuseMap, keep: NDArray[np.bool_], limits: tuple[float, float]
) -> tuple[NDArray[np.int64], Float64]:
    """Flat indices and s of the kept voxels whose s is within limits."""
    places, found, before = [], [], 0
    for part, s in data.slabs():
        chosen = keep[part] & (s >= limits[0]) & (s <= limits[1])
        places.append(np.flatnonzero(chosen) + before)
        found.append(s[chosen])
        before += s.size
    return np.concatenate(places), np.concatenate(found)


def _weights(data: DiffuseMap, weighting: str) -> Float64:
    """Weight of every voxel; NaN or 0 if it has none."""
    if weighting == "unit":
        return np.ones(data.intensity.shape)
    source = {"sigma": data.sigma, "counts": data.counts}[weighting]
    if source is None:
        raise InputError(f"weights by {weighting}, but the data have none; use weighting='unit'")
    values = source.astype(np.float64)
    if weighting == "counts":
        return values
    with np.errstate(divide="ignore"):
        return np.where(values > 0, values**-2.0, np.nan)
