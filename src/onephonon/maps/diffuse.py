"""A map of diffuse intensity: on a regular grid of hkl, or a list of q-vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onephonon.core.errors import InputError
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import check_cell, numpy_cell
from onephonon.crystal.grid import SLAB, HklGrid
from onephonon.crystal.remarks import Remark, remarks_text

#: Intensities and related values: float32 or float64.
Array = NDArray[Any]

#: Names of the possible arrays of a map.
ARRAYS = ("intensity", "sigma", "counts", "half1", "half2")


@dataclass(frozen=True, eq=False, repr=False)
class DiffuseMap:
    """Diffuse intensities with grid, cell, uncertainties and history.

    Create maps with `DiffuseMap.on_grid` and `DiffuseMap.at_points`; all arguments are checked.

    Parameters
    ----------
    intensity : ndarray, shape (n_h, n_k, n_l) on a grid or (N,) of a list
        float32 or float64 (kept; other real numbers become float64). NaN where it is
        missing; there is no separate mask.
    grid : HklGrid, optional
        None for a list.
    points : ndarray, shape (N, 3), float64, optional
        q-vectors of a list, 1/Å, 2*pi included; None on a grid. `q_vectors` gives them for both.
    cell : tuple of six float, optional
        a, b, c in Å; alpha, beta, gamma in degrees. Needed on a grid.
    spacegroup : str
        Hermann-Mauguin symbol.
    sigma : ndarray, optional
        Standard uncertainty of the intensity, shape of `intensity`; may be NaN.
    counts : ndarray, optional
        Number of observations of each voxel, shape of `intensity`; may be NaN.
    halves : pair of ndarray, optional
        Intensities from two random halves of the data, each of the shape of `intensity`.
    units : str
        "e^2 per cell" for calculated maps; "" or "arbitrary" if unknown.
    history : tuple of str
        Processing steps, oldest first; every operation appends a line.
    parameters : dict
        Parameters of the calculation, JSON-compatible.
    version : str
        Version of the program that computed the map.
    list_shape : tuple of three int, optional
        How a list is arranged (frames, rows and columns of a detector), last fastest.
    remarks : tuple of Remark
        What was read, changed, dropped, assumed and ignored of the map's file; see `report`.

    Raises
    ------
    InputError
        If shapes do not agree, a number is infinite, a sigma is negative, the cell has no
        volume, or a grid has no cell.
    """

    intensity: Array
    grid: HklGrid | None = None
    points: NDArray[np.float64] | None = None
    cell: tuple[float, ...] | None = None
    spacegroup: str = ""
    sigma: Array | None = None
    counts: Array | None = None
    halves: tuple[Array, Array] | None = None
    units: str = ""
    history: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    list_shape: tuple[int, int, int] | None = None
    remarks: tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        keep("intensity", _numbers("intensity", self.intensity))
        self._check_points(keep)
        for name in ("sigma", "counts"):
            values = getattr(self, name)
            if values is not None:
                keep(name, self._check_array(name, values, minimum=0.0))
        if self.halves is not None:
            if len(self.halves) != 2:
                raise InputError(f"halves are two arrays of intensities, got {len(self.halves)}")
            keep("halves", tuple(self._check_array("halves", values) for values in self.halves))
        keep("history", tuple(self.history))
        keep("remarks", tuple(self.remarks))

    def _check_points(self, keep: Any) -> None:
        """Check the grid or the q-vectors, and the cell."""
        shape = self.intensity.shape
        if self.cell is not None:
            keep("cell", check_cell(self.cell))
        if (self.grid is None) == (self.points is None):
            raise InputError("a map has either a grid or a list of q-vectors; give one of the two")
        if self.grid is not None:
            if self.cell is None:
                raise InputError("a map on a grid of hkl needs its cell; give the six parameters")
            if shape != self.grid.shape:
                raise InputError(f"intensity has shape {shape}, the grid {self.grid.shape}")
        else:
            points = np.asarray(self.points)
            if points.dtype.kind not in "fiu":
                raise InputError(f"q_vectors hold {points.dtype}, not real numbers")
            points = points.astype(np.float64, copy=False)
            if points.shape != (*shape, 3) or len(shape) != 1:
                raise InputError(
                    f"q_vectors {points.shape} and intensity {shape} do not belong together; "
                    "expected shapes (N, 3) and (N,)"
                )
            if not np.isfinite(points).all():
                row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
                raise InputError(f"q-vector {row} is {points[row].tolist()}; remove it")
            keep("points", points)
        if self.list_shape is not None:
            arranged = tuple(int(n) for n in self.list_shape)
            if self.grid is not None:
                raise InputError(f"list_shape {arranged} is for lists; a grid has a shape")
            if len(arranged) != 3 or math.prod(arranged) != self.intensity.size:
                raise InputError(
                    f"list_shape {arranged} is not three whole numbers whose product is "
                    f"{self.intensity.size}, the number of q-vectors"
                )
            keep("list_shape", arranged)

    def _check_array(self, name: str, values: Any, minimum: float = -math.inf) -> Array:
        """Check an array that accompanies the intensities."""
        values = _numbers(name, values)
        if values.shape != self.intensity.shape:
            raise InputError(f"{name} has shape {values.shape}, intensity {self.intensity.shape}")
        if (values < minimum).any():
            raise InputError(f"{name} has values below {minimum:g}; use NaN for unknown values")
        return values

    @classmethod
    def on_grid(
        cls,
        intensity: ArrayLike,
        grid: HklGrid,
        cell: Sequence[float],
        *,
        spacegroup: str = "",
        sigma: ArrayLike | None = None,
        counts: ArrayLike | None = None,
        halves: tuple[ArrayLike, ArrayLike] | None = None,
        units: str = "",
        history: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        version: str = "",
        remarks: Sequence[Remark] = (),
    ) -> DiffuseMap:
        """Create a map on a regular grid from arrays of its shape, or flat ones with l fastest.

        Raises
        ------
        InputError
            See the class.
        """

        def shaped(values: ArrayLike | None) -> Any:
            flat = None if values is None else np.asarray(values)
            fits = flat is not None and flat.ndim == 1 and flat.size == grid.size
            return flat.reshape(grid.shape) if fits and flat is not None else flat

        return cls(
            intensity=shaped(intensity),
            grid=grid,
            cell=tuple(cell),
            spacegroup=spacegroup,
            sigma=shaped(sigma),
            counts=shaped(counts),
            halves=None if halves is None else (shaped(halves[0]), shaped(halves[1])),
            units=units,
            history=tuple(history),
            parameters=dict(parameters or {}),
            version=version,
            remarks=tuple(remarks),
        )

    @classmethod
    def at_points(
        cls,
        q_vectors: ArrayLike,
        intensity: ArrayLike,
        cell: Sequence[float] | None = None,
        *,
        spacegroup: str = "",
        sigma: ArrayLike | None = None,
        counts: ArrayLike | None = None,
        halves: tuple[ArrayLike, ArrayLike] | None = None,
        units: str = "",
        history: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        version: str = "",
        list_shape: Sequence[int] | None = None,
        remarks: Sequence[Remark] = (),
    ) -> DiffuseMap:
        """Create a list of intensities (N,) at q-vectors (N, 3), 1/Å, 2*pi included.

        Raises
        ------
        InputError
            See the class.
        """
        return cls(
            intensity=np.asarray(intensity),
            points=np.asarray(q_vectors),
            cell=None if cell is None else tuple(cell),
            spacegroup=spacegroup,
            sigma=None if sigma is None else np.asarray(sigma),
            counts=None if counts is None else np.asarray(counts),
            halves=None if halves is None else (np.asarray(halves[0]), np.asarray(halves[1])),
            units=units,
            history=tuple(history),
            parameters=dict(parameters or {}),
            version=version,
            list_shape=None if list_shape is None else tuple(list_shape),  # type: ignore[arg-type]
            remarks=tuple(remarks),
        )

    @property
    def calculated_at_points(self) -> bool:
        """Whether a model was evaluated at the points of the map, not averaged over voxels.

        Maps that this package calculates carry its version; averages also their order.
        """
        return bool(self.version) and not self.parameters.get("average")

    @property
    def map_shape(self) -> tuple[int, int, int] | None:
        """Voxels along h, k and l, or None for a list."""
        return None if self.grid is None else self.grid.shape

    @property
    def volume(self) -> Array:
        """The intensities as an array (n_h, n_k, n_l).

        Raises
        ------
        InputError
            For a list.
        """
        self.require_grid()
        return self.intensity

    def require_grid(self) -> tuple[HklGrid, tuple[float, ...]]:
        """Return grid and cell, which a list does not have.

        Raises
        ------
        InputError
            For a list.
        """
        if self.grid is None or self.cell is None:
            raise InputError(
                f"{self.intensity.size} intensities are a list of q-vectors and not a map on a "
                "grid of hkl, which this needs"
            )
        return self.grid, self.cell

    @property
    def hkl(self) -> NDArray[np.float64]:
        """Miller indices, shape (N, 3), l fastest; computed on access, 24 bytes per voxel.

        Raises
        ------
        InputError
            For a list without a cell.
        """
        if self.grid is not None:
            return self.grid.hkl
        if self.cell is None:
            raise InputError("a list of q-vectors without a cell has no hkl; give it a cell")
        return np.asarray(numpy_cell(self.cell).hkl_from_q(self.q_vectors))

    @property
    def q_vectors(self) -> NDArray[np.float64]:
        """Scattering vectors, shape (N, 3), 1/Å, 2*pi included; for a grid computed on access."""
        if self.points is not None:
            return self.points
        grid, cell = self.require_grid()
        return np.asarray(numpy_cell(cell).q_from_hkl(grid.hkl))

    def slabs(self, voxels: int = SLAB) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Iterate over the map in slabs.

        Yields
        ------
        part : slice
            Of the first axis of `intensity`.
        s : ndarray
            1/d = |q|/2*pi of the part's voxels, 1/Å, in the shape of ``intensity[part]``.
        """
        if self.points is not None:
            for start in range(0, len(self.points), voxels):
                part = slice(start, min(start + voxels, len(self.points)))
                yield part, np.linalg.norm(self.points[part], axis=1) / TWO_PI
            return
        grid, cell = self.require_grid()
        h, k, l = grid.axes  # noqa: E741
        axes = numpy_cell(cell).inverse
        in_plane = k[:, None, None] * axes[1] + l[None, :, None] * axes[2]
        for part in grid.slabs(voxels):
            along = h[part, None] * axes[0]
            squared = np.zeros((len(along), *grid.shape[1:]))
            for xyz in range(3):
                squared += (along[:, xyz, None, None] + in_plane[..., xyz]) ** 2
            yield part, np.sqrt(squared)

    @property
    def resolution(self) -> NDArray[np.float32]:
        """Resolution d of each voxel in Å, shape of `intensity`, float32; infinite at q = 0."""
        d = np.empty(self.intensity.shape, dtype=np.float32)
        with np.errstate(divide="ignore"):
            for part, s in self.slabs():
                d[part] = 1.0 / s
        return d

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True where there is an intensity, shape of `intensity`."""
        return ~np.isnan(self.intensity)

    @property
    def n_valid(self) -> int:
        """Number of voxels that have an intensity."""
        return int(np.count_nonzero(self.mask))

    @property
    def coverage(self) -> float:
        """Fraction of the voxels that have an intensity."""
        return self.n_valid / self.intensity.size if self.intensity.size else 0.0

    @property
    def d_min(self) -> float:
        """Smallest d of a voxel that has an intensity, Å; infinite if none has."""
        largest = max(
            (
                float(s[~np.isnan(self.intensity[part])].max(initial=0.0))
                for part, s in self.slabs()
            ),
            default=0.0,
        )
        return 1.0 / largest if largest else math.inf

    @property
    def arrays(self) -> dict[str, Array]:
        """The available arrays: intensity, sigma, counts, half1, half2."""
        halves = self.halves or (None, None)
        named = zip(ARRAYS, (self.intensity, self.sigma, self.counts, *halves), strict=True)
        return {name: values for name, values in named if values is not None}

    def report(self) -> str:
        """What was read, changed, dropped, assumed and ignored of the file, a line for each."""
        return remarks_text(self.remarks)

    def changed(
        self, step: str, arrays: Mapping[str, Array] | None = None, **changes: Any
    ) -> DiffuseMap:
        """Return the map with other fields and one more line in its history.

        Parameters
        ----------
        step : str
            What was done.
        arrays : mapping, optional
            New `arrays`, by name, that replace all old ones; others are dropped.
        **changes
            Other fields, by name.
        """
        if arrays is not None:
            halves = (arrays["half1"], arrays["half2"]) if "half1" in arrays else None
            changes |= {name: arrays.get(name) for name in ARRAYS[:3]} | {"halves": halves}
        return replace(self, **changes, history=(*self.history, step))

    def __repr__(self) -> str:
        where = f"{self.intensity.size} q-vectors" if self.grid is None else str(self.grid)
        return f"DiffuseMap({where}; {self.n_valid} values, {self.spacegroup or 'no space group'})"


def _numbers(name: str, values_in: Any) -> Array:
    """Real numbers in this machine's byte order, float32 or float64, none infinite."""
    values = np.asarray(values_in)
    if values.dtype.kind not in "fiub":
        raise InputError(f"{name} holds {values.dtype}, not real numbers")
    single = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    values = values.astype(np.float32 if single else np.float64, copy=False)
    if np.isinf(values).any():
        raise InputError(f"{name} has infinite values; use NaN for missing values")
    return values
