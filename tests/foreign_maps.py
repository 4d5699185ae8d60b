"""Maps for the tests of formats, and files in the ways of other programs.

Intensities are 1000 + 100 h + 10 k + l wherever an axis could be turned or shifted.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from onephonon import MapGrid
from onephonon.maps import DiffuseMap
from structures import DATA

MAPS = DATA / "maps"

#: Triclinic lysozyme: no right angle, no two axes alike.
CELL = (27.26, 31.98, 34.29, 88.53, 108.57, 111.85)

#: Other steps, limits and lengths along each axis.
GRID = MapGrid((-2.0, -1.0, 0.0), (1 / 2, 1 / 3, 1.0), (9, 7, 5))


def telling(hkl: np.ndarray) -> np.ndarray:
    """The intensity that tells where it is."""
    return 1000 + 100 * hkl[..., 0] + 10 * hkl[..., 1] + hkl[..., 2]


def made_up(dtype: type = np.float32, grid: MapGrid = GRID, seed: int = 0) -> DiffuseMap:
    """A map of random numbers with everything that a map can have, a third of it missing."""
    rng = np.random.default_rng(seed)
    intensity = rng.normal(size=grid.shape).astype(dtype) * 100
    intensity[rng.random(grid.shape) < 0.3] = np.nan
    intensity[0] = np.nan  # what is missing at the edge must not shrink the grid
    return DiffuseMap.on_grid(
        intensity,
        grid,
        CELL,
        spacegroup="P 1",
        sigma=rng.random(grid.shape).astype(dtype),
        counts=rng.integers(1, 9, grid.shape).astype(dtype),
        halves=(intensity + dtype(1), intensity - dtype(1)),
        units="e^2 per cell",
        history=["made up", "for a test: Å"],
        parameters={"gamma": 0.5, "name": "Å"},
        version="0.1",
    )


def telling_map(grid: MapGrid = GRID, cell: Sequence[float] = CELL) -> DiffuseMap:
    """The map whose intensities tell where they are, complete, in single precision."""
    return DiffuseMap.on_grid(telling(grid.hkl).astype(np.float32), grid, cell, spacegroup="P 1")


def assert_tells(diffuse: DiffuseMap, n_valid: int | None = None) -> None:
    """Check that every intensity lies where it says."""
    hkl = telling(diffuse.hkl).reshape(diffuse.intensity.shape)
    valid = diffuse.mask
    assert valid.any() if n_valid is None else valid.sum() == n_valid
    # Single precision: 1500 carries seven digits.
    np.testing.assert_allclose(diffuse.intensity[valid], hkl[valid], rtol=2e-7)


def write_mdx_lib(
    path: Path,
    maps: Sequence[str] = ("/maps/raw/total",),
    grid: MapGrid = GRID,
    kind: str | None = None,
    matlab: bool = True,
) -> None:
    """Write a file in the way of mdx-lib, as deposited with CXIDB entry 128.

    MATLAB's h5create and h5write put an array of size (n_h, n_k, n_l) into a dataset of shape
    (n_l, n_k, n_h): the bytes are the same, MATLAB's first index being its fastest. Chunks are
    one Miller index large, compressed with deflate 1, filled with NaN; attributes are
    one-dimensional, text has a fixed length, the cell is in single precision.
    """
    intensity = telling(grid.hkl).reshape(grid.shape).astype(np.float32)
    sigma = np.sqrt(intensity)
    sigma[0, 0, 0] = np.inf  # mdx-lib's mark of what was filled in
    values = {"I": intensity, "sigma": sigma, "I1": intensity + 1, "I2": intensity - 1}
    with h5py.File(path, "w") as file:
        file.attrs["creation_date"] = np.bytes_("19-Nov-2019 12:00:00")
        crystal = file.create_group("crystal")
        crystal.attrs["spaceGroupNumber"] = np.uint32(1)
        for name, value in zip(("a", "b", "c", "alpha", "beta", "gamma"), CELL, strict=True):
            crystal.attrs[name] = np.float32(value)
        for name in maps:
            group = file.create_group(name)
            if kind is not None:
                group.attrs["type"] = np.bytes_(kind)
            group.attrs["units"] = np.bytes_("electron scattering per unit cell")
            group.attrs["grid_size"] = np.array(grid.shape, dtype=np.uint32)
            group.attrs["grid_ori"] = np.array(grid.origin)
            group.attrs["grid_delta"] = np.array(grid.step)
            chunks = tuple(round(1 / step) for step in grid.step)
            for column, array in values.items():
                transposed = array.T if matlab else array
                group.create_dataset(
                    column,
                    data=transposed,
                    chunks=chunks[::-1] if matlab else chunks,
                    compression="gzip",
                    compression_opts=1,
                    fillvalue=np.float32(np.nan),
                )


def write_nexus(
    path: Path,
    values: np.ndarray | None = None,
    grid: MapGrid = GRID,
    *,
    axes: Sequence[str] = ("Qh", "Qk", "Ql"),
    **storage: object,
) -> None:
    """Write an NXdata ``entry/data`` with signal ``v`` and its cell, as NeXpy does.

    Further arguments, such as chunks, are those of h5py's create_dataset.
    """
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "v", "axes": list(axes)})
        for name, line in zip(axes, grid.axes, strict=True):
            data[name] = line
        found = telling(grid.hkl).reshape(grid.shape) if values is None else values
        data.create_dataset("v", data=found, **storage)
        sample = entry.create_group("sample")
        sample.attrs["NX_class"] = "NXsample"
        sample["unit_cell"] = np.array(CELL)
        sample["space_group"] = "P 1"


def write_lunus(
    path: Path,
    values: np.ndarray,
    bounds: Sequence[float],
    order: str = ">",
    shape: Sequence[int] | None = None,
) -> None:
    """Write a .lat of values (n_x, n_y, n_z), in a byte order."""
    header = struct.pack(f"{order}3I6f", *(shape or values.shape), *bounds)
    path.write_bytes(header + values.T.astype(f"{order}f4").tobytes())
