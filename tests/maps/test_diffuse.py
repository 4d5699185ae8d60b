"""Maps and their files: round trips, what is refused, and that nothing is lost."""

from __future__ import annotations

import math
import random
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from onephonon import (
    DiffuseMap,
    FileError,
    InputError,
    MapFileError,
    MapGrid,
    UnitCell,
    read_map,
    write_map,
)
from onephonon.core.files import replacing
from onephonon.maps.io import read_q_vectors
from onephonon.maps.io.hdf5 import CHUNK_BYTES, chunk_shape, create, new_file

CELL = (10.0, 11.0, 12.0, 90.0, 95.0, 90.0)
TRICLINIC = (27.0, 31.8, 34.2, 88.5, 108.9, 111.9)


def made_up(dtype: type = np.float64, **changes: object) -> DiffuseMap:
    """A small map with everything a map can have."""
    rng = np.random.default_rng(1)
    grid = MapGrid((-1, 0, 0), (1, 1, 1 / 3), (2, 3, 4))
    intensity, sigma, counts, half1, half2 = rng.random((5, *grid.shape)).astype(dtype)
    intensity[0, 0, 3] = half1[1, 1, 1] = sigma[1, 2, 2] = counts[0, 0, 0] = np.nan
    fields = {
        "spacegroup": "P 1 21 1",
        "sigma": sigma,
        "counts": counts,
        "halves": (half1, half2),
        "units": "e^2 per cell",
        "history": ("made up", "å"),
        "parameters": {"gamma_inter": 0.5, "name": "Å"},
        "version": "0.1",
    }
    return DiffuseMap.on_grid(intensity, grid, CELL, **(fields | changes))  # type: ignore[arg-type]


def made_up_list(**changes: object) -> DiffuseMap:
    rng = np.random.default_rng(2)
    return DiffuseMap.at_points(rng.normal(size=(24, 3)), rng.random(24), **changes)  # type: ignore[arg-type]


@pytest.fixture
def diffuse() -> DiffuseMap:
    return made_up()


def same(a: DiffuseMap, b: DiffuseMap) -> None:
    """Every bit and every word."""
    assert a.arrays.keys() == b.arrays.keys()
    for name, values in a.arrays.items():
        assert values.dtype == b.arrays[name].dtype
        assert values.tobytes() == b.arrays[name].tobytes(), name
    np.testing.assert_array_equal(a.q_vectors, b.q_vectors)
    for name in ("grid", "cell", "spacegroup", "units", "history", "parameters", "version"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.list_shape == b.list_shape


def test_q_and_resolution_are_those_of_the_cell() -> None:
    grid = MapGrid.from_sampling((-2, 1, 3), (0, 2, 2), (-1, 1, 4))
    diffuse = DiffuseMap.on_grid(np.ones(grid.size), grid, TRICLINIC)
    cell = UnitCell.from_parameters(TRICLINIC)
    q = cell.q_from_hkl(torch.from_numpy(grid.hkl))
    # Two inversions of a 3 x 3 matrix, rounded differently.
    np.testing.assert_allclose(diffuse.q_vectors, q.numpy(), rtol=0, atol=1e-14)
    d = cell.resolution(q).reshape(grid.shape).numpy()
    np.testing.assert_allclose(diffuse.resolution, d, rtol=1e-6)  # float32
    assert diffuse.resolution.shape == grid.shape
    assert diffuse.resolution.dtype == np.float32
    assert diffuse.d_min == pytest.approx(d.min(), rel=1e-12)
    parts = list(diffuse.slabs(voxels=60))
    assert len(parts) > 2
    s = np.concatenate([s for _, s in parts])
    np.testing.assert_allclose(1 / s[~np.isinf(d)], d[~np.isinf(d)], rtol=1e-12)
    listed = DiffuseMap.at_points(diffuse.q_vectors, np.ones(grid.size), TRICLINIC)
    np.testing.assert_allclose(listed.hkl, grid.hkl, rtol=0, atol=1e-14)
    np.testing.assert_allclose(listed.resolution, diffuse.resolution.ravel(), rtol=1e-6)


def test_what_is_missing_is_masked_and_counted() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    values[1, 2, :] = np.nan
    grid = MapGrid((0, 0, 0), (1, 1, 1), (2, 3, 4))
    diffuse = DiffuseMap.on_grid(values, grid, (10, 10, 10, 90, 90, 90))
    np.testing.assert_array_equal(diffuse.mask, ~np.isnan(values))
    assert diffuse.n_valid == 20
    assert diffuse.coverage == 20 / 24
    assert diffuse.d_min == pytest.approx(10 / math.sqrt(4 + 9))  # not 10/sqrt(14)
    assert diffuse.volume is diffuse.intensity
    assert diffuse.map_shape == (2, 3, 4)
    nothing = DiffuseMap.on_grid(np.full(24, np.nan), grid, CELL)
    assert (nothing.d_min, nothing.n_valid) == (math.inf, 0)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (">f4", np.float32),
        (">f8", np.float64),
        ("f2", np.float32),
        ("i4", np.float64),
        ("u1", np.float64),
    ],
)
def test_numbers_keep_their_precision(given: str, kept: type) -> None:
    values = np.arange(24).astype(given)
    diffuse = DiffuseMap.on_grid(values, MapGrid((0, 0, 0), (1, 1, 1), (2, 3, 4)), CELL)
    assert diffuse.intensity.dtype == kept
    assert diffuse.intensity.dtype.isnative
    assert diffuse.intensity[1, 2, 3] == 23


GRID = MapGrid((0, 0, 0), (1, 1, 1), (2, 2, 2))
FLAT = (10.0, 10.0, 10.0, 60.0, 60.0, 120.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiffuseMap.on_grid(np.ones((2, 2, 3)), GRID, CELL), r"\(2, 2, 3\), the grid"),
        (lambda: DiffuseMap.on_grid(np.ones(8), GRID, CELL, sigma=np.ones(7)), "sigma has shape"),
        (lambda: DiffuseMap.on_grid(np.ones(8), GRID, CELL, sigma=-np.ones(8)), "sigma has values"),
        (lambda: DiffuseMap.on_grid(np.ones(8), GRID, CELL, counts=-np.ones(8)), "counts has"),
        (lambda: DiffuseMap.on_grid(np.full(8, np.inf), GRID, CELL), "infinite"),
        (lambda: DiffuseMap.on_grid(np.ones(8) * 1j, GRID, CELL), "complex128"),
        (lambda: DiffuseMap.on_grid(np.ones(8), GRID, CELL[:5]), "six"),
        (lambda: DiffuseMap.on_grid(np.ones(8), GRID, (*CELL[:5], np.nan)), "six finite"),
        (lambda: DiffuseMap.on_grid(np.ones(8), GRID, (0.0, *CELL[1:])), "positive volume"),
        (lambda: DiffuseMap.on_grid(np.ones(8), GRID, FLAT), "positive volume"),
        (lambda: DiffuseMap(np.ones((2, 2, 2)), GRID), "needs its cell"),
        (lambda: DiffuseMap(np.ones(8)), "either a grid or a list"),
        (lambda: DiffuseMap(np.ones(8), GRID, np.ones((8, 3))), "either a grid or a list"),
        (lambda: DiffuseMap.at_points(np.ones((7, 3)), np.ones(8)), "belong"),
        (lambda: DiffuseMap.at_points(np.ones((8, 3)) * np.nan, np.ones(8)), "q-vector 0"),
        (lambda: DiffuseMap.at_points(np.ones((8, 3)), np.ones(8), list_shape=(1, 2, 3)), "is 8"),
        (lambda: made_up_list().volume, "list"),
        (lambda: made_up_list().hkl, "cell"),
    ],
)
def test_mismatched_arrays_raise(make: object, message: str) -> None:
    with pytest.raises((InputError, MapFileError), match=message):
        make()  # type: ignore[operator]


# Files


@pytest.mark.parametrize("ending", [".npz", ".h5"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_return_the_map_bit_by_bit(dtype: type, tmp_path: Path, ending: str) -> None:
    for name, diffuse in {
        "map": made_up(dtype),
        "bare": made_up(dtype, sigma=None, counts=None, halves=None, history=(), units=""),
        "list": made_up_list(units="arbitrary", sigma=np.ones(24)),
        "with cell": made_up_list(cell=CELL),
        "arranged": made_up_list(
            list_shape=(2, 3, 4), history=["a", "kept as a list: map_shape (2, 3, 4) but no cell"]
        ),
        "empty": DiffuseMap.at_points(np.empty((0, 3)), np.empty(0)),
    }.items():
        write_map(diffuse, tmp_path / f"{name}{ending}")
        same(read_map(tmp_path / f"{name}{ending}"), diffuse)
    assert len(list(tmp_path.iterdir())) == 6


def test_npz_has_the_keys_that_others_read(diffuse: DiffuseMap, tmp_path: Path) -> None:
    write_map(diffuse, tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as archive:
        np.testing.assert_array_equal(archive["q_vectors"], diffuse.q_vectors)
        np.testing.assert_array_equal(archive["hkl"], diffuse.hkl)
        np.testing.assert_array_equal(archive["intensity"], diffuse.intensity.ravel())
        for name in ("sigma", "counts", "half1", "half2"):
            assert archive[name].shape == (24,)
        assert archive["map_shape"].tolist() == [2, 3, 4]
        assert archive["cell"].tolist() == list(CELL)
        assert archive["grid_origin"].tolist() == [-1, 0, 0]


def test_h5_of_a_grid_is_three_dimensional_and_small(tmp_path: Path) -> None:
    grid = MapGrid((0, 0, 0), (1, 1, 1), (60, 70, 80))
    write_map(DiffuseMap.on_grid(np.zeros(grid.size), grid, CELL), tmp_path / "map.h5")
    with h5py.File(tmp_path / "map.h5") as file:
        assert not {"q_vectors", "hkl", "map_shape"} & set(file)
        assert file["intensity"].shape == grid.shape
        assert file["intensity"].compression == "gzip"
        assert max(file["intensity"].chunks) < 80
    assert (tmp_path / "map.h5").stat().st_size < grid.size


def test_chunks_are_near_cubes_of_the_intended_size() -> None:
    assert chunk_shape((600, 600, 600), 4) == (50, 51, 51)
    assert chunk_shape((3, 600, 600), 4) == (3, 209, 209)
    assert chunk_shape((2, 3, 4), 8) == (2, 3, 4)
    for shape in ((600, 500, 40), (1, 1, 10**7), (10**7, 3), (10**6,)):
        size = math.prod(chunk_shape(shape, 4)) * 4
        assert 0.9 * CHUNK_BYTES < size <= CHUNK_BYTES


def test_a_map_written_part_by_part_is_a_map(tmp_path: Path) -> None:
    whole = made_up(np.float32, sigma=None, counts=None, halves=None)
    assert whole.grid is not None
    assert whole.cell is not None
    with replacing(tmp_path / "map.h5") as temporary, new_file(temporary) as file:
        intensity = create(
            file,
            whole.grid,
            whole.cell,
            dtype="float32",
            spacegroup=whole.spacegroup,
            units=whole.units,
            parameters=whole.parameters,
            history=whole.history,
            version=whole.version,
        )
        intensity[1] = whole.intensity[1]
        assert np.isnan(intensity[0]).all()  # not written yet: missing, not zero
        intensity[0] = whole.intensity[0]
    same(read_map(tmp_path / "map.h5"), whole)


def older(diffuse: DiffuseMap, **changes: object) -> dict[str, object]:
    """The arrays that version 0.1 wrote."""
    arrays = {
        "q_vectors": diffuse.q_vectors,
        "intensity": diffuse.intensity.ravel(),
        "map_shape": np.array(diffuse.map_shape),
        "hkl": diffuse.hkl,
        "cell": np.array(diffuse.cell),
        "spacegroup": np.array(diffuse.spacegroup),
        "parameters": np.array('{"a": 1}'),
        "version": np.array("0.1"),
    } | changes
    return {name: values for name, values in arrays.items() if values is not None}


def write_older(path: Path, arrays: dict[str, object]) -> None:
    if path.suffix == ".npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values.item() if values.dtype.kind == "U" else values  # type: ignore[attr-defined]


@pytest.mark.parametrize("ending", [".npz", ".h5"])
@pytest.mark.parametrize("without", ["parameters", "hkl"])
def test_older_files_are_put_on_their_grid(
    diffuse: DiffuseMap, tmp_path: Path, ending: str, without: str
) -> None:
    write_older(tmp_path / f"old{ending}", older(diffuse, **{without: None}))
    back = read_map(tmp_path / f"old{ending}")
    assert back.grid == diffuse.grid
    assert back.intensity.tobytes() == diffuse.intensity.tobytes()
    assert back.cell == CELL
    assert back.history == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cell": None}, "no cell"),
        ({"hkl": np.zeros((24, 3))}, "rise"),
        ({"map_shape": np.array([4, 3, 2])}, "rise|l fastest"),
        ({"cell": np.array([10.0, 11.0, 12.1, 90.0, 95.0, 90.0])}, "not those of hkl and cell"),
    ],
)
def test_older_files_without_a_grid_are_lists_that_say_why(
    diffuse: DiffuseMap, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    arrays = older(diffuse, **changes)
    write_older(tmp_path / "old.npz", arrays)
    back = read_map(tmp_path / "old.npz")
    assert back.grid is None
    assert back.list_shape == tuple(arrays["map_shape"])  # type: ignore[arg-type]
    np.testing.assert_array_equal(back.q_vectors, diffuse.q_vectors)
    (line,) = back.history
    assert line.startswith("kept as a list")
    assert any(part in line for part in why.split("|"))
    write_map(back, tmp_path / "new.npz")
    assert read_map(tmp_path / "new.npz").history == (line,)  # recorded once


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid_origin": np.zeros(3)}, "do not match"),
        ({"grid_step": np.zeros(3)}, "positive"),
        ({"grid_step": np.ones(2)}, "step"),
        ({"cell": None}, "cell missing"),
        ({"map_shape": None}, "map_shape is missing"),
        ({"map_shape": np.array([2, 3, 5])}, "belong|shape"),
        ({"half2": None}, "one of half1"),
        ({"sigma": -np.ones(24)}, "sigma has values"),
        ({"intensity": np.full(24, np.inf)}, "infinite"),
        ({"cell": np.array(["a"] * 6)}, "cell holds"),
        ({"history": np.array("[")}, "history are not JSON"),
    ],
)
def test_files_that_contradict_themselves_are_refused(
    diffuse: DiffuseMap, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    write_map(diffuse, tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(tmp_path / "bad.npz", **{n: a for n, a in arrays.items() if a is not None})
    with pytest.raises(MapFileError, match=rf"bad\.npz: .*({message})"):
        read_map(tmp_path / "bad.npz")


def test_existing_file_is_kept_unless_forced(diffuse: DiffuseMap, tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    path.write_text("mine")
    with pytest.raises(FileError, match="--force"):
        write_map(diffuse, path)
    assert path.read_text() == "mine"
    write_map(diffuse, path, force=True)
    assert read_map(path).map_shape == (2, 3, 4)


def test_interrupted_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path, force=True) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["map.npz"]


@pytest.mark.parametrize("ending", [".npz", ".h5"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04garbage", b"hello" * 100])
def test_damaged_files_are_an_error(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"bad{ending}"
    path.write_bytes(content)
    with pytest.raises(MapFileError, match="bad"):
        read_map(path)


def test_truncated_files_are_an_error(diffuse: DiffuseMap, tmp_path: Path) -> None:
    for ending in (".npz", ".h5"):
        path = tmp_path / f"map{ending}"
        write_map(diffuse, path)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(MapFileError):
            read_map(path)


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_damaged_bytes_are_an_error_or_harmless(
    diffuse: DiffuseMap, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"map{ending}"
    write_map(diffuse, path)
    whole = path.read_bytes()
    rng = random.Random(4)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3, 10])):
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            back = read_map(path)
        except MapFileError:
            refused += 1
            continue
        assert back.intensity.tobytes() == diffuse.intensity.tobytes()
        assert (back.grid, back.cell) == (diffuse.grid, diffuse.cell)
    assert refused > 100  # the rest fell where nothing is kept


def test_texts_that_are_none_and_arrays_never_filled_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.h5"
    write_map(made_up(), path)
    with h5py.File(path, "r+") as file:
        del file["units"]
        file["units"] = np.ones(3)
    with pytest.raises(MapFileError, match="units holds float64, not one text"):
        read_map(path)
    big = MapGrid((0, 0, 0), (1, 1, 1), (1000, 1000, 200))
    with new_file(path) as file:
        create(file, big, CELL)
    with pytest.raises(MapFileError, match="never filled"):
        read_map(path)
    with new_file(path) as file:
        create(file, big, CELL, history=["x" * 70_000])  # longer than HDF5's compact items
        assert len(file["history"][()]) > 70_000


def test_missing_and_mismatched_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", q_vectors=np.zeros((2, 3)))
    with pytest.raises(MapFileError, match="intensity missing"):
        read_map(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", q_vectors=np.zeros((2, 3)), intensity=np.zeros(3))
    with pytest.raises(MapFileError, match="belong"):
        read_map(tmp_path / "b.npz")
    np.savez(
        tmp_path / "c.npz", q_vectors=np.zeros((2, 3)), intensity=np.zeros(2), cell=[1.0, np.nan]
    )
    with pytest.raises(MapFileError, match="cell"):
        read_map(tmp_path / "c.npz")
    with pytest.raises(MapFileError, match="no such file"):
        read_map(tmp_path / "d.npz")
    (tmp_path / "d.xyz").write_text("1 2 3 4")
    with pytest.raises(MapFileError, match="ending"):
        read_map(tmp_path / "d.xyz")


def test_q_vectors_from_every_kind_of_file(tmp_path: Path) -> None:
    q = np.arange(12.0).reshape(4, 3) / 7
    np.save(tmp_path / "q.npy", q)
    np.savez(tmp_path / "q.npz", q_vectors=q, map_shape=[1, 2, 2])
    np.savez(tmp_path / "only.npz", anything=q)
    np.savetxt(tmp_path / "q.txt", q, header="1/A")
    np.savetxt(tmp_path / "q.csv", q, delimiter=",")
    for name in ("q.npy", "q.npz", "only.npz", "q.txt", "q.csv"):
        read, shape = read_q_vectors(tmp_path / name)
        np.testing.assert_array_equal(read, q)
        assert shape == ((1, 2, 2) if name == "q.npz" else None)


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_q_vectors_of_a_map(diffuse: DiffuseMap, tmp_path: Path, ending: str) -> None:
    for name, given in (("a", diffuse), ("b", made_up_list(list_shape=(2, 2, 6)))):
        write_map(given, tmp_path / f"{name}{ending}")
        q, shape = read_q_vectors(tmp_path / f"{name}{ending}")
        np.testing.assert_array_equal(q, given.q_vectors)
        assert shape == (given.map_shape or given.list_shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# none\n", "no numbers"),
        ("1 2\n", "shape"),
        ("1 2 x\n", "line 1 has 'x'"),
        ("1 2 nan\n", "q-vector 0"),
    ],
)
def test_bad_lists_of_q(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "q.txt").write_text(content)
    with pytest.raises(FileError, match=message):
        read_q_vectors(tmp_path / "q.txt")


def test_map_shape_of_a_list_must_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "q.npz", q_vectors=np.ones((4, 3)), map_shape=[1, 2, 3])
    with pytest.raises(FileError, match="does not fit 4"):
        read_q_vectors(tmp_path / "q.npz")
