"""Damaged and hostile files: one clear error, never a crash, a giant allocation or a wrong axis."""

from __future__ import annotations

import os
import random
import resource
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gemmi
import h5py
import numpy as np
import pytest

from foreign_maps import CELL, GRID, MAPS, made_up, telling, telling_map, write_mdx_lib, write_nexus
from onephonon import FileError, MapFileError, read_map, write_map
from onephonon.maps.io import read_q_vectors
from onephonon.maps.io.streaming import partial_path, unfinished

SAMPLING = ((-2, 2, 2), (-1, 1, 3), (0, 4, 1))

#: Information needed to read each of the files.
SAID: dict[str, dict[str, Any]] = {
    "ours.npz": {},
    "ours.h5": {},
    "ours.nxs": {},
    "table.nxs": {},
    "ours.mtz": {},
    "foreign.mtz": {"cell": CELL},
    "ours.ccp4": {},
    "foreign.ccp4": {"cell": CELL},
    "ours.hkl": {},
    "ours.lat": {"cell": CELL},
    "ours.npy": {"cell": CELL, "sampling": SAMPLING},
    "mdx_lib.h5": {},
    "mdx2_merged.nxs": {"cell": CELL},
    "nxrefine_transform.nxs": {},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Whole files, by name."""
    folder = tmp_path_factory.mktemp("whole")
    for name in SAID:
        if name.startswith("ours"):
            write_map(made_up(), folder / name)
    write_map(made_up(), folder / "table.nxs", table=True)
    mtz = gemmi.read_mtz_file(str(folder / "ours.mtz"))
    mtz.history = []  # without our notes, as other programs write
    mtz.write_to_file(str(folder / "foreign.mtz"))
    ccp4 = gemmi.read_ccp4_map(str(folder / "ours.ccp4"))
    ccp4.set_header_str(57, " " * 800)
    ccp4.write_ccp4_map(str(folder / "foreign.ccp4"))
    write_mdx_lib(folder / "mdx_lib.h5")
    whole = {p.name: p.read_bytes() for p in folder.iterdir()}
    return whole | {n: (MAPS / n).read_bytes() for n in SAID if (MAPS / n).is_file()}


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """An allocation of more than 2 GB beyond what is held fails instead of trying."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (2 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def read_bytes(folder: Path, name: str, content: bytes, **options: Any) -> Any:
    """Read a file of some content under a name; None where it is refused as it should be."""
    path = folder / name
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read_map(path, **(SAID.get(name, {}) | options))
    except MapFileError as error:
        assert name in str(error)  # noqa: PT017
        return None


@pytest.mark.parametrize("name", SAID)
def test_whole_files_are_read(files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    assert read_bytes(tmp_path, name, files[name]) is not None


@pytest.mark.parametrize("name", SAID)
def test_no_part_of_a_file_is_taken_for_the_whole(
    files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    whole = files[name]
    rng = random.Random(0)
    ends = {0, 1, 3, 4, 35, 36, 80, 511, 512, len(whole) // 2, len(whole) - 1}
    ends |= {rng.randrange(len(whole)) for _ in range(15)}
    right = read_bytes(tmp_path, name, whole)
    for end in sorted(ends):
        diffuse = read_bytes(tmp_path, name, whole[:end])
        if diffuse is not None:  # only what closes the file was lost
            assert end > len(whole) - 200
            np.testing.assert_array_equal(diffuse.intensity, right.intensity)


@pytest.mark.parametrize("name", SAID)
def test_flipped_bits_and_overwritten_words(
    files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    rng = random.Random(name)
    whole = files[name]
    words = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xf0\0\0", b"\0\0\xc0\x7f", b"\x80\0\0\0")
    for _ in range(15):
        content = bytearray(whole)
        # Half of the damage near the beginning, where headers are.
        reach = len(whole) if rng.random() < 0.5 else min(1500, len(whole))
        if rng.random() < 0.5:
            for _ in range(rng.randrange(1, 6)):
                content[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        else:
            at = rng.randrange(reach)
            content[at : at + 4] = rng.choice(words)
        diffuse = read_bytes(tmp_path, name, bytes(content))
        if diffuse is not None:  # then it is one that holds together
            assert diffuse.intensity.shape == (diffuse.map_shape or (len(diffuse.q_vectors),))


@pytest.mark.parametrize("name", SAID)
def test_other_files_under_its_ending(files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    for content in (b"", b"\0" * 2000, b"hello\n" * 200, bytes(range(256)) * 20):
        assert read_bytes(tmp_path, name, content) is None
    for other in ("ours.npz", "ours.mtz", "ours.ccp4", "ours.lat"):
        if Path(other).suffix != Path(name).suffix:
            assert read_bytes(tmp_path, name, files[other]) is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_lunus_headers_that_promise_much(tmp_path: Path, order: str) -> None:
    for shape in ((2**32 - 1,) * 3, (0, 0, 0), (1 << 16, 1 << 16, 1), (3, 3, 4), (3, 3, 2)):
        content = struct.pack(f"{order}3I6f", *shape, -1, 1, -1, 1, -1, 1) + bytes(4 * 27)
        assert read_bytes(tmp_path, "map.lat", content, cell=CELL) is None


def test_lunus_bounds_that_are_no_numbers(tmp_path: Path) -> None:
    for bounds in ((np.nan,) * 6, (-np.inf, np.inf) * 3, (1, -1) * 3, (0, 0) * 3, (1e30, 2e30) * 3):
        content = struct.pack("<3I6f", 3, 3, 3, *bounds) + bytes(4 * 27)
        assert read_bytes(tmp_path, "map.lat", content, cell=CELL) is None


def test_npy_headers_that_promise_much(tmp_path: Path) -> None:
    good = (tmp_path / "good.npy", np.zeros((9, 7, 5)))
    np.save(*good)
    raw = good[0].read_bytes()
    for shape in (
        b"(9000000, 70000, 50000)",
        b"(9, 7, 50)",
        b"(9, -7, 5)",
        b"(9, 7, 5, 1)",
        b"'x'",
    ):
        content = raw.replace(b"(9, 7, 5)", shape)
        assert read_bytes(tmp_path, "ours.npy", content) is None


def test_ccp4_headers_that_promise_much(files: dict[str, bytes], tmp_path: Path) -> None:
    for word, value in (
        (1, 2**31 - 1),
        (2, -5),
        (3, 1 << 20),
        (4, 77),
        (4, 4),
        (24, -1),
        (24, 2**30),
    ):
        content = bytearray(files["foreign.ccp4"])
        content[4 * (word - 1) : 4 * word] = struct.pack("<i", value)
        assert read_bytes(tmp_path, "foreign.ccp4", bytes(content)) is None
    for word, value in ((11, np.nan), (12, 0.0), (13, -1.0), (14, np.inf), (14, 0.0), (16, 180.0)):
        content = bytearray(files["foreign.ccp4"])
        content[4 * (word - 1) : 4 * word] = struct.pack("<f", value)
        assert read_bytes(tmp_path, "foreign.ccp4", bytes(content)) is None
    content = bytearray(files["foreign.ccp4"])
    content[64:76] = struct.pack("<3i", 1, 1, 2)  # axes
    assert read_bytes(tmp_path, "foreign.ccp4", bytes(content)) is None


def test_mtz_headers_that_promise_much(files: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("foreign.mtz", "ours.mtz"):
        raw = files[name]
        at = raw.index(b"NCOL")
        for counts in (b"8     99999999", b"8            0", b"3          315", b"x          315"):
            content = raw[: at + 5] + (b" " * 7 + counts).ljust(40)[:40] + raw[at + 45 :]
            assert read_bytes(tmp_path, name, content) is None


def test_indices_far_away_are_no_giant_grid(tmp_path: Path) -> None:
    rows = "".join(f"{h} 0 0 {100 + h}\n" for h in range(10))
    for far in ("123456789 5 5 1\n", "1e300 0 0 1\n", "0 -4e9 4e9 1\n"):
        diffuse = read_bytes(tmp_path, "map.hkl", (rows + far).encode(), cell=CELL)
        assert diffuse is None or diffuse.grid is None
        options = {"cell": CELL, "sampling": 1}
        assert read_bytes(tmp_path, "map.hkl", (rows + far).encode(), **options) is None


def hdf5(folder: Path, name: str, raw: bytes, change: Callable[[h5py.File], None]) -> bytes:
    """An HDF5 file with something changed in it."""
    path = folder / f"changed_{name}"
    path.write_bytes(raw)
    with h5py.File(path, "r+") as file:
        change(file)
    return path.read_bytes()


def replace(name: str, values: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return change


def attribute(name: str, key: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name].attrs[key] = value

    return change


def claim(name: str) -> Callable[[h5py.File], None]:
    """A dataset of the right kind that claims 1e12 values and holds none."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, (10_000,) * 3, "f4", chunks=(64,) * 3)

    return change


TRANSFORM, TOTAL, TABLE = "entry/transform", "maps/raw/total", "entry/hkl_table"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("nxrefine_transform.nxs", claim(f"{TRANSFORM}/data")),
        ("nxrefine_transform.nxs", replace(f"{TRANSFORM}/Qh", np.arange(9.0))),
        ("nxrefine_transform.nxs", replace(f"{TRANSFORM}/Qh", [0, 1, 2, 3, np.nan])),
        ("nxrefine_transform.nxs", replace(f"{TRANSFORM}/Qh", [0, 1, 2, 3, 5])),
        ("nxrefine_transform.nxs", replace(f"{TRANSFORM}/Qh", [b"a"] * 5)),
        ("nxrefine_transform.nxs", replace(f"{TRANSFORM}/data", np.full((4, 7, 5), np.inf))),
        ("nxrefine_transform.nxs", replace(f"{TRANSFORM}/data", np.ones((4, 7, 5), complex))),
        ("nxrefine_transform.nxs", attribute(TRANSFORM, "axes", ["Ql", "Qk", "Qk"])),
        ("nxrefine_transform.nxs", attribute(TRANSFORM, "axes", ["Ql", "Qk"])),
        ("nxrefine_transform.nxs", attribute(TRANSFORM, "axes", 7)),
        ("nxrefine_transform.nxs", attribute(TRANSFORM, "signal", "nothing")),
        ("nxrefine_transform.nxs", replace("entry/sample/unitcell_a", np.nan)),
        ("nxrefine_transform.nxs", replace("entry/sample/unitcell_beta", 0.0)),
        ("nxrefine_transform.nxs", replace("entry/sample/unitcell_c", "long")),
        ("mdx_lib.h5", claim(f"{TOTAL}/I")),
        ("mdx_lib.h5", attribute(TOTAL, "grid_size", np.array([2**32 - 1] * 3, np.uint32))),
        ("mdx_lib.h5", attribute(TOTAL, "grid_size", np.array([9, 7], np.uint32))),
        ("mdx_lib.h5", attribute(TOTAL, "grid_delta", np.array([0.5, np.nan, 1]))),
        ("mdx_lib.h5", attribute(TOTAL, "grid_delta", np.array([0.5, -0.5, 1]))),
        ("mdx_lib.h5", attribute(TOTAL, "grid_ori", "here")),
        ("mdx_lib.h5", attribute("crystal", "a", np.inf)),
        ("mdx_lib.h5", attribute("crystal", "alpha", 200.0)),
        ("mdx_lib.h5", replace(f"{TOTAL}/sigma", -np.ones((5, 7, 9)))),
        ("mdx2_merged.nxs", replace(f"{TABLE}/ndiv", [2, 3, 0])),
        ("mdx2_merged.nxs", replace(f"{TABLE}/ndiv", [2, 3])),
        ("mdx2_merged.nxs", replace(f"{TABLE}/ndiv", [3, 2, 1])),
        ("mdx2_merged.nxs", replace(f"{TABLE}/h", np.full(150, np.nan))),
        ("mdx2_merged.nxs", replace(f"{TABLE}/h", np.arange(150) * 1e300)),
        ("mdx2_merged.nxs", replace(f"{TABLE}/intensity", np.ones(149))),
        ("mdx2_merged.nxs", replace(f"{TABLE}/intensity", np.ones((150, 2)))),
        ("ours.nxs", replace("entry/onephonon/map", "{}")),
        ("ours.nxs", replace("entry/onephonon/map", "not JSON")),
        ("ours.nxs", replace("entry/intensity_error/h", np.arange(9.0))),
    ],
)
def test_hdf5_that_contradicts_itself(
    files: dict[str, bytes], tmp_path: Path, name: str, change: Callable[[h5py.File], None]
) -> None:
    assert read_bytes(tmp_path, name, hdf5(tmp_path, name, files[name], change)) is None


def test_arrays_never_written_are_not_read(files: dict[str, bytes], tmp_path: Path) -> None:
    # Half a gigabyte that would fit into memory, of a file of twenty kilobytes.
    def change(file: h5py.File) -> None:
        del file[f"{TOTAL}/I"]
        file.create_dataset(f"{TOTAL}/I", (500,) * 3, "f4", chunks=(64,) * 3)
        file[TOTAL].attrs["grid_size"] = np.array([500] * 3, np.uint32)

    (tmp_path / "map.h5").write_bytes(hdf5(tmp_path, "mdx_lib.h5", files["mdx_lib.h5"], change))
    with pytest.raises(MapFileError, match="claims"):
        read_map(tmp_path / "map.h5")


def test_groups_linked_in_circles_and_to_nowhere(files: dict[str, bytes], tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["entry/loop"] = h5py.SoftLink("/")
        file["entry/nowhere"] = h5py.SoftLink("/nothing")
        file["entry/outside"] = h5py.ExternalLink("gone.nxs", "/entry")

    content = hdf5(tmp_path, "loop.nxs", files["nxrefine_transform.nxs"], change)
    # Circular links lead to the same map again: it is found, or must be selected.
    path = tmp_path / "loop.nxs"
    path.write_bytes(content)
    diffuse = read_map(path, dataset="entry/transform")
    assert diffuse.n_valid == 140


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -10.0])
@pytest.mark.parametrize("name", ["ours.hkl", "ours.mtz", "ours.ccp4"])
def test_cells_in_files_that_are_none(tmp_path: Path, name: str, bad: float) -> None:
    write_map(telling_map(), tmp_path / name)
    raw = (tmp_path / name).read_bytes()
    text = {np.nan: b"NaN  ", np.inf: b"1e999", 0.0: b"0.000", -10.0: b"-10.0"}[bad]
    assert b"27.26" in raw
    assert read_bytes(tmp_path, name, raw.replace(b"27.26", text)) is None


def test_values_keep_their_places_in_whatever_is_read(tmp_path: Path) -> None:
    # Damage in the values leaves the grid alone: whatever is read is on the same grid.
    write_map(telling_map(), tmp_path / "map.lat")
    raw = bytearray((tmp_path / "map.lat").read_bytes())
    raw[36 + 42] ^= 0x10  # in the upper half of a float
    diffuse = read_bytes(tmp_path, "map.lat", bytes(raw), cell=CELL)
    assert diffuse.grid == GRID
    hkl = telling(GRID.hkl).reshape(GRID.shape)
    assert (np.abs(diffuse.intensity - hkl) > 1e-3).sum() == 1


# headers of arrays, bombs, heaps of text, unfinished files


def npy(folder: Path, header: bytes, name: str = "q.npy") -> Path:
    """A .npy with a header of one's own and 24 bytes of values."""
    path = folder / name
    padded = header.ljust(118) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(padded)) + padded + bytes(24))
    return path


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3),",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 3), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1.5, 3), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }",
        b"{'descr': '<f8', 'fortran_order': 7, 'shape': 3, }",
        b"{'descr': '<f8999999999', 'fortran_order': False, 'shape': (1,), }",
        b"(" * 100,
        b"\xff\xfe\0\0",
        b"",
    ],
)
def test_headers_of_npy_are_checked_before_anything_is_allocated(
    tmp_path: Path, header: bytes
) -> None:
    path = npy(tmp_path, header)
    for read in (read_q_vectors, read_map):
        with pytest.raises(FileError, match=r"q\.npy"):
            read(path)


def test_an_intact_npy_of_the_maker_is_read(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }"
    assert read_q_vectors(npy(tmp_path, header))[0].tolist() == [[0, 0, 0]]


def test_archives_that_claim_more_than_they_hold(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,), }"
    content = npy(tmp_path, header).read_bytes()
    with zipfile.ZipFile(tmp_path / "map.npz", "w") as archive:
        archive.writestr("intensity.npy", content)
        archive.writestr("q_vectors.npy", content)
    with pytest.raises(MapFileError, match=r"intensity claims \(1000000000,\) values"):
        read_map(tmp_path / "map.npz")


def test_compressed_bombs_are_refused_before_they_unfold(tmp_path: Path) -> None:
    path = tmp_path / "map.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("intensity.npy", bytes(64_000_128))
        archive.writestr("q_vectors.npy", bytes(64_000_128))
    # The directory claims the full size, as it would of all 4 GB.
    raw = path.read_bytes().replace(struct.pack("<I", 64_000_128), struct.pack("<I", 4_000_000_128))
    path.write_bytes(raw)
    with pytest.raises(MapFileError, match=r"claims 8 GB of values but stores 12\d kB"):
        read_map(path)
    with pytest.raises(FileError, match=r"claims 4 GB of values"):
        read_q_vectors(path)


def test_bombs_in_hdf5_are_refused(tmp_path: Path) -> None:
    # 1 GB of zeros in 1 MB: every chunk is the same compressed megabyte.
    squeezed = zlib.compress(bytes(64**3 * 4))
    write_nexus(tmp_path / "map.nxs")
    with h5py.File(tmp_path / "map.nxs", "r+") as file:
        data = file["entry/data"]
        del data["v"]
        v = data.create_dataset("v", (640,) * 3, "f4", chunks=(64,) * 3, compression="gzip")
        for place in np.ndindex(10, 10, 10):
            v.id.write_direct_chunk(tuple(64 * i for i in place), squeezed)
        for name in ("Qh", "Qk", "Ql"):
            del data[name]
            data[name] = np.linspace(-5, 5, 640)
    with pytest.raises(MapFileError, match=r"claims 1\.05 GB of values but stores 1\.\d+ MB"):
        read_map(tmp_path / "map.nxs")


def test_what_is_not_used_is_not_read(files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "ours.npz").write_bytes(files["ours.npz"])
    with zipfile.ZipFile(tmp_path / "ours.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("other.npy", b"no array")
    assert read_map(tmp_path / "ours.npz").grid == GRID

    def change(file: h5py.File) -> None:
        file.create_dataset("other", (20_000,) * 3, "f4", chunks=(64,) * 3)

    (tmp_path / "ours.h5").write_bytes(hdf5(tmp_path, "ours.h5", files["ours.h5"], change))
    assert read_map(tmp_path / "ours.h5").grid == GRID


@pytest.mark.parametrize("name", ["ours.h5", "nxrefine_transform.nxs", "mdx_lib.h5"])
def test_arrays_larger_than_the_memory_are_refused(
    files: dict[str, bytes], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(files[name])
    monkeypatch.setattr("onephonon.core.memory.available_memory", lambda: 1_000)
    with pytest.raises(MapFileError, match=r"of memory, more than half of what is available"):
        read_map(tmp_path / name)


def heap_of(raw: bytes) -> int:
    """Place of the free space in the first heap of text of variable length."""
    at = raw.index(b"GCOL") + 16
    while struct.unpack_from("<H", raw, at)[0]:
        at += 16 + (struct.unpack_from("<Q", raw, at + 8)[0] + 7) // 8 * 8
    return at


@pytest.mark.parametrize("size", [0, 8, 2**40, 2**64 - 1])
def test_damaged_heaps_of_text_do_not_hang(tmp_path: Path, size: int) -> None:
    # HDF5 goes through the free space of a heap for ever if its size is 0.
    write_nexus(tmp_path / "good.nxs")
    raw = bytearray((tmp_path / "good.nxs").read_bytes())
    assert read_bytes(tmp_path, "map.nxs", bytes(raw)) is not None
    struct.pack_into("<Q", raw, heap_of(bytes(raw)) + 8, size)
    (tmp_path / "map.nxs").write_bytes(raw)
    with pytest.raises(MapFileError, match="texts of variable length are damaged"):
        read_map(tmp_path / "map.nxs")
    np.save(tmp_path / "map.npy", np.ones((3, 3, 3)))
    with pytest.raises(FileError, match="texts of variable length are damaged"):
        read_map(tmp_path / "map.npy", cell=tmp_path / "map.nxs", sampling=1)


def test_broken_text_can_be_written_again(files: dict[str, bytes], tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file[TOTAL].attrs.create("units", b"\xff\xfea\x00b", dtype=h5py.string_dtype("utf-8", 5))

    path = tmp_path / "map.h5"
    path.write_bytes(hdf5(tmp_path, "mdx_lib.h5", files["mdx_lib.h5"], change))
    diffuse = read_map(path)
    assert "\0" not in diffuse.units
    for ending in (".h5", ".nxs", ".hkl", ".npz"):
        write_map(diffuse, tmp_path / f"copy{ending}")
        assert read_map(tmp_path / f"copy{ending}").units == diffuse.units


def test_unfinished_maps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.h5"

    def stop() -> np.ndarray:
        raise KeyboardInterrupt

    def write() -> None:
        with unfinished(path, GRID, CELL, dtype="float32", parameters={}) as growing:
            growing.step(slice(0, 4), lambda: np.ones((4, 7, 5)), 0)
            growing.step(slice(4, 9), stop, 1)

    with pytest.raises(KeyboardInterrupt):
        write()
    partial = partial_path(path)
    with pytest.raises(MapFileError, match="unfinished map; repeat the command"):
        read_map(partial)
    partial.rename(tmp_path / "half.h5")
    with pytest.raises(MapFileError, match=r"unfinished map, of which 1.* steps are computed"):
        read_map(tmp_path / "half.h5")
    # Where its voxels are is known.
    assert len(read_q_vectors(tmp_path / "half.h5")[0]) == GRID.size


@pytest.mark.parametrize("read", [read_map, read_q_vectors])
def test_what_is_no_file(tmp_path: Path, read: Callable[[Any], Any]) -> None:
    (tmp_path / "empty.h5").touch()
    (tmp_path / "folder.h5").mkdir()
    os.mkfifo(tmp_path / "pipe.h5")
    for path, message in (
        ("-", "standard input cannot be read"),
        ("/dev/stdin", "standard input cannot be read"),
        ("/dev/null", "a device or a pipe"),
        (tmp_path / "pipe.h5", "a device or a pipe"),
        (tmp_path / "folder.h5", "is a folder; name"),
        (tmp_path / "empty.h5", "the file is empty"),
        (tmp_path / "none.h5", "there is no such file"),
        ("x" * 300, "cannot be opened"),
    ):
        with pytest.raises(FileError, match=message):
            read(path)


def test_odd_names_of_files(tmp_path: Path) -> None:
    for name in ("a b.h5", "Å é.nxs", "#1 [2]%s.npz", "-x.hkl", "line\nbreak.mtz", "{q}.ccp4"):
        write_map(telling_map(), tmp_path / name)
        assert read_map(tmp_path / name).grid == GRID
