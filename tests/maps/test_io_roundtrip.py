"""Every format that is written reads back, bit by bit, what it keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreign_maps import CELL, GRID, made_up
from onephonon import DiffuseMap, FileError, InputError, MapFileError, MapGrid, read_map, write_map
from onephonon.maps.io import check_map_ending, format_name, not_kept

ENDINGS = (".npz", ".h5", ".hdf5", ".nxs", ".mtz", ".ccp4", ".mrc", ".map", ".lat", ".npy")
TEXT = (".hkl", ".txt")

#: Information needed to read a format.
SAID = {
    ".lat": {"cell": CELL},
    ".npy": {"cell": CELL, "sampling": ((-2, 2, 2), (-1, 1, 3), (0, 4, 1))},
}

#: What each format keeps beside intensities and grid.
BESIDE = {
    **dict.fromkeys((".npz", ".h5", ".hdf5", ".nxs", *TEXT), ("sigma", "counts", "halves", "rest")),
    ".mtz": ("sigma", "counts", "halves"),
}

#: Formats of single precision only.
SINGLE = (".mtz", ".ccp4", ".mrc", ".map", ".lat")


def same(a: object, b: object) -> None:
    assert np.asarray(a).dtype == np.asarray(b).dtype
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("ending", [*ENDINGS, *TEXT])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_reads_back(tmp_path: Path, ending: str, dtype: type) -> None:
    diffuse = made_up(dtype)
    path = tmp_path / f"map{ending}"
    write_map(diffuse, path)
    back = read_map(path, **SAID.get(ending, {}))
    kept = np.float32 if ending in SINGLE else dtype
    assert back.grid == diffuse.grid
    assert back.cell == diffuse.cell
    same(back.intensity, diffuse.intensity.astype(kept))
    beside = BESIDE.get(ending, ())
    for name in ("sigma", "counts"):
        if name in beside:
            same(getattr(back, name), getattr(diffuse, name).astype(kept))
        else:
            assert getattr(back, name) is None
    if "halves" in beside:
        assert back.halves is not None
        assert diffuse.halves is not None
        for ours, theirs in zip(back.halves, diffuse.halves, strict=True):
            same(ours, theirs.astype(kept))
    if "rest" in beside:
        assert back.parameters == diffuse.parameters
        assert back.version == diffuse.version
        assert back.history[:2] == diffuse.history
    if ending not in SAID:
        assert back.spacegroup == diffuse.spacegroup
        assert back.units == diffuse.units
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_table_for_mdx2_reads_back(tmp_path: Path) -> None:
    diffuse = made_up()
    write_map(diffuse, tmp_path / "map.nxs", table=True)
    back = read_map(tmp_path / "map.nxs")
    assert back.grid == diffuse.grid
    same(back.intensity, diffuse.intensity)
    same(back.sigma, diffuse.sigma)
    with pytest.raises(MapFileError, match=r"is a \.nxs file"):
        write_map(diffuse, tmp_path / "map.h5", table=True)


@given(
    n=st.tuples(*[st.integers(1, 17)] * 3),
    first=st.tuples(*[st.integers(-40, 40)] * 3),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    ending=st.sampled_from([".nxs", ".mtz", ".ccp4", ".lat", ".hkl"]),
)
def test_any_grid_of_whole_steps_is_kept(
    tmp_path_factory: pytest.TempPathFactory,
    n: tuple[int, int, int],
    first: tuple[int, int, int],
    shape: tuple[int, int, int],
    ending: str,
) -> None:
    if ending == ".lat":  # its bounds have to hold hkl = 0, and tell the step
        first = (-1, -2, 0)
        shape = tuple(max(2, x) for x in shape)  # type: ignore[assignment]
    origin = tuple(a / b for a, b in zip(first, n, strict=True))
    grid = MapGrid(origin, tuple(1 / x for x in n), shape)  # type: ignore[arg-type]
    values = np.random.default_rng(0).random(grid.shape).astype(np.float32)
    values[0, 0, 0] = np.nan
    diffuse = DiffuseMap.on_grid(values, grid, CELL)
    path = tmp_path_factory.mktemp("maps") / f"map{ending}"
    if not diffuse.n_valid:
        return
    write_map(diffuse, path)
    back = read_map(path, cell=CELL)
    assert back.grid == grid
    for ours, theirs in zip(back.require_grid()[0].axes, grid.axes, strict=True):
        same(ours, theirs)
    same(back.intensity, values)


@pytest.mark.parametrize("step", [0.123456789, 2.0, 3.0])
def test_grids_of_other_steps(tmp_path: Path, step: float) -> None:
    grid = MapGrid((-2 * step, 0.0, -1.0), (step, step, 0.5), (4, 3, 5))
    diffuse = DiffuseMap.on_grid(np.random.default_rng(0).random(grid.shape), grid, CELL)
    for ending in (".nxs", ".ccp4", ".hkl", ".h5"):
        write_map(diffuse, tmp_path / f"map{ending}")
        assert read_map(tmp_path / f"map{ending}").grid == grid
    with pytest.raises(MapFileError, match="whole number of voxels per index"):
        write_map(diffuse, tmp_path / "map.mtz")
    with pytest.raises(MapFileError, match="whole numbers of voxels per Miller index"):
        write_map(diffuse, tmp_path / "table.nxs", table=True)


@pytest.mark.parametrize("ending", [".mtz", ".ccp4", ".lat"])
def test_grids_beside_the_origin_are_refused(tmp_path: Path, ending: str) -> None:
    grid = MapGrid((0.25, 0.0, 0.0), (0.5, 0.5, 0.5), (3, 3, 3))
    diffuse = DiffuseMap.on_grid(np.ones(grid.shape), grid, CELL)
    with pytest.raises(MapFileError, match="0, 0, 0"):
        write_map(diffuse, tmp_path / f"map{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", SINGLE)
def test_what_single_precision_cannot_hold_is_refused(tmp_path: Path, ending: str) -> None:
    diffuse = DiffuseMap.on_grid(np.full(GRID.shape, 1e39), GRID, CELL)
    with pytest.raises(MapFileError, match="single precision"):
        write_map(diffuse, tmp_path / f"map{ending}")
    assert not list(tmp_path.iterdir())


def test_zeros_survive_lunus_or_are_refused(tmp_path: Path) -> None:
    values = np.ones(GRID.shape, dtype=np.float32)
    values[1, 2, 3] = 0
    with pytest.raises(MapFileError, match="no data"):
        write_map(DiffuseMap.on_grid(values, GRID, CELL), tmp_path / "map.lat")
    values[0, 0, 0] = np.nan
    write_map(DiffuseMap.on_grid(values, GRID, CELL), tmp_path / "map.lat")
    same(read_map(tmp_path / "map.lat", cell=CELL).intensity, values)


def test_lists_are_kept_where_they_can_be(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    listed = DiffuseMap.at_points(rng.random((20, 3)), rng.random(20), CELL, sigma=rng.random(20))
    write_map(listed, tmp_path / "list.nxs")
    back = read_map(tmp_path / "list.nxs")
    assert back.grid is None
    same(back.q_vectors, listed.q_vectors)
    same(back.sigma, listed.sigma)
    for ending in (".mtz", ".ccp4", ".lat", ".npy", ".hkl"):
        with pytest.raises(InputError, match="list of q-vectors"):
            write_map(listed, tmp_path / f"list{ending}")
    with pytest.raises(MapFileError, match="without a cell"):
        write_map(DiffuseMap.at_points(np.ones((2, 3)), np.ones(2)), tmp_path / "no.nxs")


def test_losses_are_listed(tmp_path: Path) -> None:
    diffuse = made_up(np.float64)
    assert not_kept(diffuse, "map.h5") == not_kept(diffuse, "map.nxs") == ()
    assert not_kept(diffuse, "map.mtz") == ("history and parameters", "double precision")
    assert "sigma" in not_kept(diffuse, "map.ccp4")
    assert "the cell and space group" in not_kept(diffuse, "map.lat")
    write_map(diffuse, tmp_path / "map.h5")
    assert format_name(tmp_path / "map.h5") == "onephonon HDF5"
    assert format_name("map.lat") == "lunus"


def test_files_are_not_overwritten_without_force(tmp_path: Path) -> None:
    for ending in (*ENDINGS, *TEXT):
        path = tmp_path / f"map{ending}"
        path.write_text("mine")
        with pytest.raises(FileError, match="--force"):
            write_map(made_up(), path)
        assert path.read_text() == "mine"
        write_map(made_up(), path, force=True)
    with pytest.raises(MapFileError, match=r"\.nc can only be read"):
        check_map_ending(tmp_path / "map.nc")
    with pytest.raises(MapFileError, match=r"\.xyz"):
        write_map(made_up(), tmp_path / "map.xyz")
