"""Damaged and hostile files: one clear error, never a crash, a giant allocation or a wrong axis."""

from __future__ import annotations

import random
import resource
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gemmi
import h5py
import numpy as np
import pytest

from foreign_maps import CELL, GRID, MAPS, made_up, telling, telling_map, write_mdx_lib
from onephonon import MapFileError, read_map, write_map

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
