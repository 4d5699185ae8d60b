"""Maps and their files: round trips, what is refused, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onephonon import DiffuseMap, MapFileError, read_map, write_map
from onephonon.files import replacing
from onephonon.formats import read_q_vectors


@pytest.fixture
def diffuse() -> DiffuseMap:
    rng = np.random.default_rng(1)
    intensity = rng.random(24)
    intensity[3] = np.nan
    return DiffuseMap(
        q_vectors=rng.normal(size=(24, 3)),
        intensity=intensity,
        map_shape=(2, 3, 4),
        hkl=np.stack(np.meshgrid([-1, 0], [0, 1, 2], np.arange(4) / 3, indexing="ij"), -1)
        .reshape(24, 3)
        .astype(float),
        cell=(10.0, 11.0, 12.0, 90.0, 95.0, 90.0),
        spacegroup="P 1 21 1",
        parameters={"gamma_inter": 0.5, "name": "Å"},
        version="0.1",
    )


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_files_return_the_map_bit_by_bit(diffuse: DiffuseMap, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"map{ending}"
    write_map(diffuse, path)
    back = read_map(path)
    for name in ("q_vectors", "intensity", "hkl"):
        np.testing.assert_array_equal(getattr(back, name), getattr(diffuse, name))
    for name in ("map_shape", "cell", "spacegroup", "parameters", "version"):
        assert getattr(back, name) == getattr(diffuse, name)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_npz_has_the_keys_that_others_read(diffuse: DiffuseMap, tmp_path: Path) -> None:
    write_map(diffuse, tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as archive:
        assert archive["q_vectors"].shape == (24, 3)
        assert archive["intensity"].shape == (24,)
        assert archive["map_shape"].tolist() == [2, 3, 4]


def test_big_h5_arrays_are_chunked_and_compressed(tmp_path: Path) -> None:
    import h5py

    n = 200_000
    big = DiffuseMap(np.zeros((n, 3)), np.zeros(n))
    write_map(big, tmp_path / "map.h5")
    with h5py.File(tmp_path / "map.h5") as file:
        assert file["q_vectors"].chunks is not None
        assert file["q_vectors"].compression == "gzip"
    assert (tmp_path / "map.h5").stat().st_size < n


def test_existing_file_is_kept_unless_forced(diffuse: DiffuseMap, tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    path.write_text("mine")
    with pytest.raises(MapFileError, match="--force"):
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


def test_shape_that_does_not_fit_is_said(diffuse: DiffuseMap) -> None:
    wrong = DiffuseMap(diffuse.q_vectors, diffuse.intensity, map_shape=(2, 2, 2))
    assert wrong.shape_problem is not None
    assert "24" in wrong.shape_problem
    with pytest.raises(MapFileError, match="shaped"):
        _ = wrong.volume
    assert diffuse.volume.shape == (2, 3, 4)
    shuffled = DiffuseMap(
        diffuse.q_vectors, diffuse.intensity, map_shape=(2, 3, 4), hkl=diffuse.hkl[::-1]
    )
    assert shuffled.shape_problem is None  # a grid run backwards is a grid
    wrong = DiffuseMap(diffuse.q_vectors, diffuse.intensity, map_shape=(4, 3, 2), hkl=diffuse.hkl)
    assert "l fastest" in str(wrong.shape_problem)


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


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "shape"), ("1 2\n", "shape"), ("1 2 x\n", "readable"), ("1 2 nan\n", "q-vector 0")],
)
def test_bad_lists_of_q(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "q.txt").write_text(content)
    with pytest.raises(MapFileError, match=message):
        read_q_vectors(tmp_path / "q.txt")


def test_map_shape_of_a_list_must_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "q.npz", q_vectors=np.ones((4, 3)), map_shape=[1, 2, 3])
    with pytest.raises(MapFileError, match="does not fit 4"):
        read_q_vectors(tmp_path / "q.npz")
