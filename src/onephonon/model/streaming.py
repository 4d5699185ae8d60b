"""Maps computed and written part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from onephonon.cli.terminal import progress

if TYPE_CHECKING:
    from onephonon.crystal.grid import MapGrid
    from onephonon.maps.io.streamed import UnfinishedMap
    from onephonon.scattering.grid_intensity import MapJob
    from onephonon.scattering.grid_symmetry import Symmetry

    from .one_phonon import OnePhonon

#: Bytes of rows computed before they are written.
SLAB_BYTES = 256 * 2**20

#: Rows of the file, and what gives their values.
Step = tuple[slice, Callable[[], Any]]


def stream_map(
    model: OnePhonon,
    output: Path,
    stored: str,
    unique: bool,
    use_data_adp: bool,
    header: dict[str, Any],
    force: bool,
    quiet: bool,
) -> None:
    """Compute a model's map on the mesh and write it as it grows.

    Parameters
    ----------
    model : OnePhonon
        In grid mode.
    output : Path
        An .h5 file.
    stored : {'float32', 'float64'}
        Of the values in the file.
    unique : bool
        Write only the part of the map that its symmetry leaves independent.
    use_data_adp : bool
    header : dict
        For the file.
    force, quiet : bool
    """
    import torch

    from onephonon.maps.io.streamed import partial_path, unfinished

    with torch.no_grad():
        job, symmetry = model.map_job(use_data_adp)
        grid = map_grid(model).sub(symmetry.region) if unique else map_grid(model)
        header["parameters"] |= {"use_data_adp": use_data_adp, "unique": unique}
        with unfinished(output, grid, dtype=stored, force=force, **header) as growing:
            steps = list(_steps(job, symmetry, growing, unique))
            if not quiet:
                typer.echo(_outlook(job, symmetry, steps), err=True)
                if growing.steps_done:
                    typer.echo(
                        f"continuing {partial_path(output)}: {growing.steps_done} of "
                        f"{len(steps)} steps were done",
                        err=True,
                    )
            with progress(quiet) as report:
                for n, (rows, compute) in enumerate(steps):
                    growing.step(rows, compute, n)
                    if report:
                        report("map", n + 1, len(steps))
            count = growing.count()
    if not quiet:
        typer.echo(f"wrote {output}: {count} intensities of {grid.size} points")


def _steps(job: MapJob, symmetry: Symmetry, growing: UnfinishedMap, unique: bool) -> Iterator[Step]:
    """The rows that are computed, then those that symmetry fills."""
    import torch

    from onephonon.scattering.grid_intensity import filled_slab, slab

    shape = symmetry.grid.shape
    first, last, _ = symmetry.region[0].indices(shape[0])
    inside = symmetry.region[1:] if unique else (slice(None), slice(None))
    offset = first if unique else 0
    depth = growing.rows_per_chunk
    depth *= max(1, SLAB_BYTES // (8 * shape[1] * shape[2] * depth))

    def compute(rows: slice) -> Callable[[], Any]:
        return lambda: slab(job, rows)[:, *inside].cpu().numpy()

    for rows in _slabs(first, last, depth, offset):
        yield slice(rows.start - offset, rows.stop - offset), compute(rows)
    if unique or symmetry.whole:
        return
    starts = [part.indices(n)[0] for part, n in zip(symmetry.region, shape, strict=True)]

    @cache
    def computed() -> torch.Tensor:
        return torch.from_numpy(growing.values[symmetry.region])

    def read(box: tuple[slice, ...]) -> torch.Tensor:
        return computed()[
            *(slice(b.start - s, b.stop - s) for b, s in zip(box, starts, strict=True))
        ]

    def fill(rows: slice) -> Callable[[], Any]:
        return lambda: filled_slab(job, symmetry, rows, read).cpu().numpy()

    for rows in _slabs(0, shape[0], depth, 0):
        yield rows, fill(rows)


def _slabs(first: int, last: int, depth: int, offset: int) -> Iterator[slice]:
    """Rows first to last, cut where the file's chunks end."""
    start = first
    while start < last:
        stop = min(last, offset + ((start - offset) // depth + 1) * depth)
        yield slice(start, stop)
        start = stop


def _outlook(job: MapJob, symmetry: Symmetry, steps: list[Step]) -> str:
    """What is about to be done, and the memory it takes."""
    n_h, n_k, n_l = symmetry.grid.shape
    share = symmetry.n_points / (n_h * n_k * n_l)
    rows = max(s.stop - s.start for s, _ in steps)
    filled = 0 if symmetry.whole else 4 * symmetry.n_points
    memory = job.memory() + 3 * 8 * rows * n_k * n_l + filled
    return (
        f"map: {n_h} x {n_k} x {n_l} = {n_h * n_k * n_l:.3g} points, {share:.0%} computed "
        f"(symmetry of order {len(symmetry.operators)}), in {len(steps)} steps, "
        f"about {memory / 1e9 + PROGRAM_GB:.1f} GB of memory"
    )


#: Memory of the program itself, GB.
PROGRAM_GB = 0.4


def map_grid(model: OnePhonon) -> MapGrid:
    """The grid of a model's map."""
    from onephonon.crystal.grid import MapGrid

    assert model.grid is not None
    h, k, l = (float(axis[0]) for axis in model.grid.axes)  # noqa: E741
    n_h, n_k, n_l = model.grid.samples
    return MapGrid((h, k, l), (1 / n_h, 1 / n_k, 1 / n_l), model.grid.shape)
