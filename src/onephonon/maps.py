"""Diffuse intensities with all that is needed to use them: on a grid, or as a list."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import MapFileError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DiffuseMap:
    """Intensities at q-vectors, in the order of the q-vectors.

    Parameters
    ----------
    q_vectors : ndarray, shape (N, 3)
        1/Å, 2*pi included.
    intensity : ndarray, shape (N,)
        e^2 per cell; NaN where there is none.
    map_shape : tuple of three int, optional
        Points along h, k, l (l fastest) if the list is a regular grid.
    hkl : ndarray, shape (N, 3), optional
        Miller indices of the q-vectors.
    cell : tuple of six float, optional
        a, b, c in Å; alpha, beta, gamma in degrees.
    spacegroup : str
    parameters : dict
        What the map was made with.
    version : str
        Of the program that made it.
    """

    q_vectors: Array
    intensity: Array
    map_shape: tuple[int, int, int] | None = None
    hkl: Array | None = None
    cell: tuple[float, ...] | None = None
    spacegroup: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def shape_problem(self) -> str | None:
        """Why the list cannot be drawn as a map, or None if it can."""
        if self.map_shape is None:
            return "the file has no map_shape: it is a list of q-vectors"
        if math.prod(self.map_shape) != len(self.intensity):
            return (
                f"map_shape {self.map_shape} stands for {math.prod(self.map_shape)} points, "
                f"the file has {len(self.intensity)}"
            )
        if self.hkl is not None and not _is_regular(self.hkl.reshape(*self.map_shape, 3)):
            return f"hkl in the file do not run along a grid of shape {self.map_shape}, l fastest"
        return None

    @property
    def volume(self) -> Array:
        """The intensities as an array (n_h, n_k, n_l).

        Raises
        ------
        MapFileError
            If there is no shape or it does not fit.
        """
        if self.shape_problem or self.map_shape is None:
            raise MapFileError(f"{self.shape_problem}; it cannot be shaped into a map")
        return self.intensity.reshape(self.map_shape)


def _is_regular(hkl: Array) -> bool:
    """Whether h changes along the first axis only, k along the second, l along the third."""
    corner = hkl[:1, :1, :1]
    expected = np.stack(
        np.broadcast_arrays(hkl[:, :1, :1, 0], hkl[:1, :, :1, 1], hkl[:1, :1, :, 2]), axis=-1
    )
    return bool(np.abs(hkl - expected).max() <= 1e-4 * (1 + np.abs(corner).max()))


def to_arrays(diffuse: DiffuseMap) -> dict[str, NDArray[Any]]:
    """Name the arrays that a file of a map holds."""
    arrays: dict[str, NDArray[Any]] = {
        "q_vectors": diffuse.q_vectors,
        "intensity": diffuse.intensity,
        "spacegroup": np.array(diffuse.spacegroup),
        "parameters": np.array(json.dumps(diffuse.parameters)),
        "version": np.array(diffuse.version),
    }
    if diffuse.map_shape is not None:
        arrays["map_shape"] = np.array(diffuse.map_shape, dtype=np.int64)
    if diffuse.hkl is not None:
        arrays["hkl"] = diffuse.hkl
    if diffuse.cell is not None:
        arrays["cell"] = np.array(diffuse.cell, dtype=np.float64)
    return arrays


def from_arrays(arrays: dict[str, NDArray[Any]], source: str) -> DiffuseMap:
    """Make a map of a file's arrays, checking what they are.

    Parameters
    ----------
    arrays : dict
        ``q_vectors`` and ``intensity`` are needed, the rest is optional.
    source : str
        The file's name, for messages.

    Raises
    ------
    MapFileError
        If something needed is missing or has the wrong shape or kind.
    """
    missing = [name for name in ("q_vectors", "intensity") if name not in arrays]
    if missing:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise MapFileError(f"{source}: {' and '.join(missing)} missing; it holds {held}")
    q = _numbers(arrays["q_vectors"], "q_vectors", source)
    intensity = _numbers(arrays["intensity"], "intensity", source).reshape(-1)
    if q.ndim != 2 or q.shape[1] != 3 or len(q) != len(intensity):
        raise MapFileError(
            f"{source}: q_vectors {q.shape} and {len(intensity)} intensities do not belong "
            "together; expected shapes (N, 3) and (N,)"
        )
    hkl = _numbers(arrays["hkl"], "hkl", source) if "hkl" in arrays else None
    if hkl is not None and hkl.shape != q.shape:
        raise MapFileError(f"{source}: hkl has shape {hkl.shape}, q_vectors {q.shape}")
    cell = None
    if "cell" in arrays:
        cell = tuple(float(x) for x in _numbers(arrays["cell"], "cell", source).reshape(-1))
        if len(cell) != 6 or not all(math.isfinite(x) for x in cell):
            raise MapFileError(f"{source}: cell {cell} is not six finite numbers")
    try:
        parameters = json.loads(_text(arrays, "parameters") or "{}")
    except json.JSONDecodeError as error:
        raise MapFileError(f"{source}: parameters are not JSON ({error})") from error
    return DiffuseMap(
        q_vectors=q,
        intensity=intensity,
        map_shape=read_shape(arrays, source),
        hkl=hkl,
        cell=cell,
        spacegroup=_text(arrays, "spacegroup"),
        parameters=parameters,
        version=_text(arrays, "version"),
    )


def read_shape(arrays: dict[str, NDArray[Any]], source: str) -> tuple[int, int, int] | None:
    """Three positive whole numbers under ``map_shape``, or None if it is not there."""
    if "map_shape" not in arrays:
        return None
    shape = np.asarray(arrays["map_shape"]).reshape(-1)
    if len(shape) != 3 or shape.dtype.kind not in "iuf" or (shape < 1).any() or (shape % 1).any():
        raise MapFileError(f"{source}: map_shape {shape.tolist()} is not three whole numbers")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _numbers(values: NDArray[Any], name: str, source: str) -> Array:
    if values.dtype.kind not in "fiu":
        raise MapFileError(f"{source}: {name} holds {values.dtype}, not real numbers")
    return values.astype(np.float64, copy=False)


def _text(arrays: dict[str, NDArray[Any]], name: str) -> str:
    if name not in arrays:
        return ""
    value = arrays[name].item() if arrays[name].size == 1 else ""
    return value.decode() if isinstance(value, bytes) else str(value)
