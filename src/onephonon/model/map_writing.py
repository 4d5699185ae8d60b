"""The map of a model as a `DiffuseMap`, or written to a file while it is computed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.files import free_space, in_bytes
from onephonon.core.hashing import digest
from onephonon.core.memory import PROGRAM_BYTES, check_memory
from onephonon.core.progress import Progress, ProgressLike
from onephonon.maps.diffuse import DiffuseMap
from onephonon.maps.io.registry import write_map as write_file
from onephonon.maps.io.streaming import UnfinishedMap, partial_path, unfinished
from onephonon.maps.lists import gridded
from onephonon.scattering.bound_model import BoundModel
from onephonon.scattering.diffuse import grid_rows, grid_symmetry, higher_orders_on_grid
from onephonon.scattering.grid_intensity import (
    GridIntensity,
    filled_slab,
    map_intensity,
    slab,
)
from onephonon.scattering.grid_symmetry import Symmetry
from onephonon.scattering.multiphonon.higher_orders import at_points_bytes

from .bound_sum import BoundSum
from .fingerprint import inputs_of
from .map_header import map_header

#: Bytes of rows computed between two writes.
SLAB_BYTES = 256 * 2**20

#: Memory for each point of a map that is not written in parts, bytes: on the mesh, and by direct
#: sums.
MESH_BYTES, DIRECT_BYTES = 80, 240

#: Memory of sums over pairs of atoms, bytes.
PAIRS_BYTES = 400_000_000

#: Data types of values in a file.
STORED = ("float32", "float64")

#: Rows of the file, and a function that computes their values.
Step = tuple[slice, Callable[[], Any]]


@dataclass(frozen=True)
class WrittenMap:
    """A map in a file.

    Parameters
    ----------
    path : Path
    n_valid : int
        Number of intensities that are not NaN.
    n_points : int
        Number of points of the file's grid or list.
    """

    path: Path
    n_valid: int
    n_points: int

    def __str__(self) -> str:
        return f"{self.path}: {self.n_valid} intensities of {self.n_points} points"


def to_map(
    bound: BoundModel,
    *,
    rank: int | Sequence[int] = -1,
    use_data_adp: bool | None = None,
    orders: int | str | None = None,
    intensity: Tensor | None = None,
    list_shape: tuple[int, int, int] | None = None,
    stored: str = "float64",
    parameters: Mapping[str, Any] | None = None,
    progress: ProgressLike | None = None,
) -> DiffuseMap:
    """A model's intensity as a map, with cell, space group, units and parameters.

    Parameters
    ----------
    bound : BoundModel
        Bound to a grid or to a list of q.
    rank, use_data_adp, orders
        As for `OnePhonon.apply_disorder`.
    intensity : Tensor, shape (N,), optional
        The intensity, if it is already known, of these `orders`.
    list_shape : three int, optional
        For a list of q that is a grid, l fastest: its shape.
    stored : {'float64', 'float32'}
        Data type of the intensities.
    parameters : mapping, optional
        Further metadata for the file, as plain numbers and text.
    progress : Progress or callable, optional

    Returns
    -------
    DiffuseMap
        Without gradient.
    """
    check_stored(stored)
    use_data_adp = bound.uses_data_adp(use_data_adp)
    bound = replace(bound, orders=bound.orders.with_number(orders))
    with torch.no_grad():
        if intensity is None:
            intensity = _intensity(bound, rank, use_data_adp, Progress.of(progress))
        own = {"rank": rank if isinstance(rank, int) else list(rank), "use_data_adp": use_data_adp}
        header = map_header(bound, own | dict(parameters or {}), use_data_adp)
        values = _numpy(intensity).astype(stored)
        if bound.grid is not None:
            return DiffuseMap.on_grid(values, bound.grid, **header)
        listed = DiffuseMap.at_points(
            _numpy(bound.points.q),
            values,
            list_shape=list_shape,
            **header,
        )
        return listed if list_shape is None else gridded(listed, list_shape)


def _intensity(
    bound: BoundModel, rank: int | Sequence[int], use_data_adp: bool, progress: Progress
) -> Tensor:
    """The whole intensity, after its memory has been stated."""
    if isinstance(bound, BoundSum):
        higher = 0 if bound.orders.first_only else at_points_bytes(bound.engine)
        state_memory(bound, progress, PAIRS_BYTES + higher)
    elif bound.orders.first_only or rank != -1:
        state_memory(bound, progress)
    elif bound.grid is None or not bound.engine.has_grid:
        state_memory(bound, progress, at_points_bytes(bound.engine))
    else:
        rows, symmetry = map_rows(bound, use_data_adp)
        state_memory(bound, progress, rows.memory_bytes())
        return map_intensity(rows, symmetry, progress).reshape(-1)
    return bound.intensity(rank, use_data_adp, progress=progress)


def write_map(
    bound: BoundModel,
    path: str | os.PathLike[str],
    *,
    rank: int | Sequence[int] = -1,
    use_data_adp: bool | None = None,
    orders: int | str | None = None,
    intensity: Tensor | None = None,
    unique: bool = False,
    stored: str | None = None,
    list_shape: tuple[int, int, int] | None = None,
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
    progress: ProgressLike | None = None,
) -> WrittenMap:
    """Compute a model's map and write it, in the format of the file's ending.

    A map from the mesh engine is written to .h5 in parts, so that it need not fit into memory, and
    the same call resumes it after an interruption.

    Parameters
    ----------
    bound : BoundModel
        Bound to a grid or to a list of q.
    path : path
        See `onephonon.write_map` for the formats.
    rank, use_data_adp, orders
        As for `OnePhonon.apply_disorder`.
    unique : bool
        Write only the symmetry-independent part of the map (mesh engine only).
    stored : {'float64', 'float32'}, optional
        Data type of the values; by default float32 for the mesh, float64 for direct sums.
    intensity, list_shape, parameters
        As for `to_map`.
    force : bool
        Overwrite an older file.
    progress : Progress or callable, optional

    Returns
    -------
    WrittenMap

    Raises
    ------
    InputError, FileError
        If options contradict each other, or the file cannot be written.
    """
    output, progress = Path(path), Progress.of(progress)
    use_data_adp = bound.uses_data_adp(use_data_adp)
    bound = replace(bound, orders=bound.orders.with_number(orders))
    on_mesh = bound.engine.has_grid
    stored = check_stored(stored or ("float32" if on_mesh else "float64"))
    whole = bound.grid is not None and on_mesh and rank == -1 and intensity is None
    if isinstance(bound, BoundSum):
        whole = False
        if unique:
            bound.check_lattice_alone("unique")
    if unique and not whole:
        raise InputError("unique is for whole maps from the mesh: give samplings, engine='mesh'")
    if whole and output.suffix.lower() in (".h5", ".hdf5"):
        return _stream(bound, output, stored, unique, use_data_adp, parameters, force, progress)
    if unique:
        raise InputError(f"unique maps are written as they are computed, to .h5; not to {output}")
    found = to_map(
        bound,
        rank=rank,
        use_data_adp=use_data_adp,
        intensity=intensity,
        list_shape=list_shape,
        stored=stored,
        parameters=parameters,
        progress=progress,
    )
    write_file(found, output, force)
    return WrittenMap(output, int(np.isfinite(found.intensity).sum()), found.intensity.size)


def check_stored(stored: str) -> str:
    """Check the data type of values in a file."""
    if stored not in STORED:
        raise InputError(f"stored={stored!r} is neither {' nor '.join(STORED)}")
    return stored


def _stream(
    bound: BoundModel,
    output: Path,
    stored: str,
    unique: bool,
    use_data_adp: bool,
    parameters: Mapping[str, Any] | None,
    force: bool,
    progress: Progress,
) -> WrittenMap:
    """Compute a map on the mesh and write it step by step."""
    with torch.no_grad():
        intensity, symmetry = map_rows(bound, use_data_adp)
        grid = symmetry.grid.sub(symmetry.region) if unique else symmetry.grid
        own = {"rank": -1, "use_data_adp": use_data_adp, "unique": unique}
        header = map_header(bound, dict(parameters or {}) | own, use_data_adp)
        made_with = inputs_of(bound) | {
            "the options of the map": digest(own),
            "the version of onephonon": str(header["version"]),
        }
        with unfinished(
            output, grid, dtype=stored, made_with=made_with, force=force, **header
        ) as growing:
            steps = list(_steps(intensity, symmetry, growing, unique))
            growing.plan(len(steps))
            progress.message(_work_summary(intensity, symmetry, steps))
            _warn_of_space(output, grid.size * np.dtype(stored).itemsize)
            if growing.steps_done:
                progress.message(
                    f"continuing {partial_path(output)}: {growing.steps_done} of {len(steps)} "
                    "steps are already done"
                )
            for n, (rows, compute) in enumerate(steps):
                growing.step(rows, compute, n)
                progress.step("map", n + 1, len(steps))
            return WrittenMap(output, growing.count(), grid.size)


def map_rows(
    bound: BoundModel, use_data_adp: bool = False, unique: bool = True
) -> tuple[GridIntensity, Symmetry]:
    """A map on the mesh, to be computed in blocks of rows, and its symmetry.

    Parameters
    ----------
    bound : BoundModel
        In grid mode.
    use_data_adp : bool
    unique : bool
        Use the symmetry of the crystal; otherwise only ``I(-q) = I(q)``.
    """
    if bound.grid is None:
        raise InputError("a list of q has no rows; this is for models with samplings")
    lattice, grid, orders = bound.lattice, bound.grid, bound.orders
    U, scale = lattice.displacements_and_scale(use_data_adp)
    pairs, how = bound.pairs(orders), (bound.numerics, bound.res_limit)
    higher = higher_orders_on_grid(lattice, grid, *how, pairs, orders.number)
    symmetry = grid_symmetry(lattice, grid, U, scale, *how, higher, unique)
    rows = grid_rows(lattice, grid, U, scale, bound.numerics, *bound.limits, higher)
    return rows.within(symmetry.region), symmetry


def _steps(
    intensity: GridIntensity, symmetry: Symmetry, growing: UnfinishedMap, unique: bool
) -> Iterator[Step]:
    """Steps that compute rows, then steps that generate the others by symmetry."""
    shape = symmetry.grid.shape
    first, last, _ = symmetry.region[0].indices(shape[0])
    inside = symmetry.region[1:] if unique else (slice(None), slice(None))
    offset = first if unique else 0
    depth = growing.rows_per_chunk
    depth *= max(1, SLAB_BYTES // (8 * shape[1] * shape[2] * depth))

    def compute(rows: slice) -> Callable[[], Any]:
        return lambda: slab(intensity, rows)[:, *inside].cpu().numpy()

    for rows in _slabs(first, last, depth, offset):
        yield slice(rows.start - offset, rows.stop - offset), compute(rows)
    if unique or symmetry.whole:
        return
    starts = [part.indices(n)[0] for part, n in zip(symmetry.region, shape, strict=True)]

    @cache
    def computed() -> Tensor:
        return torch.from_numpy(growing.values[symmetry.region])

    def read(box: tuple[slice, ...]) -> Tensor:
        return computed()[
            *(slice(b.start - s, b.stop - s) for b, s in zip(box, starts, strict=True))
        ]

    def fill(rows: slice) -> Callable[[], Any]:
        return lambda: filled_slab(intensity, symmetry, rows, read).cpu().numpy()

    for rows in _slabs(0, shape[0], depth, 0):
        yield rows, fill(rows)


def _slabs(first: int, last: int, depth: int, offset: int) -> Iterator[slice]:
    """Rows first to last, divided at the chunk boundaries of the file."""
    start = first
    while start < last:
        stop = min(last, offset + ((start - offset) // depth + 1) * depth)
        yield slice(start, stop)
        start = stop


def state_memory(bound: BoundModel, progress: Progress, further: int = 0) -> None:
    """Tell how much memory a map needs that is not written in parts, before it is computed.

    Parameters
    ----------
    bound : BoundModel
    progress : Progress
    further : int
        Bytes in addition to those of each point.

    Raises
    ------
    InputError
        If there is less.
    """
    n, on_mesh = bound.source.n_points, bound.engine.has_grid
    needed = PROGRAM_BYTES + further + n * (MESH_BYTES if on_mesh else DIRECT_BYTES)
    what = f"map: {n:.3g} point{'' if n == 1 else 's'}"
    advice = "take a coarser or smaller grid"
    if bound.grid is not None:
        advice += ", or write .h5 with engine 'mesh' (--engine mesh), which is done in parts"
    check_memory(needed, what, advice)
    progress.message(f"{what}, about {in_bytes(needed)} of memory")


def _warn_of_space(output: Path, size: int) -> None:
    """Warn if a map may not fit on the disk; missing values, which are compressed, need no room."""
    free = free_space(output)
    if free is not None and size > free:
        warnings.warn(
            f"{output} needs up to {in_bytes(size)}, and {in_bytes(free)} are free; if the disk "
            "becomes full, make room and repeat the command to continue",
            stacklevel=4,
        )


def _work_summary(intensity: GridIntensity, symmetry: Symmetry, steps: list[Step]) -> str:
    """Summary of the calculation and its memory.

    Raises
    ------
    InputError
        If there is less memory.
    """
    n_h, n_k, n_l = symmetry.grid.shape
    share = symmetry.n_points / (n_h * n_k * n_l)
    rows = max(s.stop - s.start for s, _ in steps)
    filled = 0 if symmetry.whole else 4 * symmetry.n_points
    memory = intensity.memory_bytes() + 3 * 8 * rows * n_k * n_l + filled + PROGRAM_BYTES
    what = f"map: {n_h} x {n_k} x {n_l} = {n_h * n_k * n_l:.3g} points"
    check_memory(memory, what, "take a coarser or smaller grid")
    return (
        f"{what}, {share:.0%} computed "
        f"(symmetry of order {len(symmetry.operators)}), in {len(steps)} steps, "
        f"about {memory / 1e9:.1f} GB of memory"
    )


def _numpy(x: Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(x.detach().to("cpu", torch.float64).numpy())
