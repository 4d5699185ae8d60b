"""Files of other programs: by their own code where it can be installed, else as they lay them out.

`data/maps/make.py` says which program wrote which file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gemmi
import h5py
import numpy as np
import pytest

from foreign_maps import (
    CELL,
    GRID,
    MAPS,
    assert_tells,
    made_up,
    telling,
    telling_map,
    write_lunus,
    write_mdx_lib,
)
from onephonon import DiffuseMap, FileError, InputError, MapFileError, MapGrid, read_map, write_map
from onephonon.crystal import numpy_cell
from onephonon.maps.io import MapGuessWarning, MapReadingWarning

GEOMETRY = MAPS / "mdx2_geometry.nxs"


# mdx2 and NeXus


def test_table_of_mdx2_merge() -> None:
    diffuse = read_map(MAPS / "mdx2_merged.nxs", cell=GEOMETRY)
    assert_tells(diffuse, 149)
    assert diffuse.cell == CELL
    assert diffuse.spacegroup == "P 1"
    assert diffuse.grid is not None
    assert diffuse.grid.step == (1 / 2, 1 / 3, 1.0)
    hkl = telling(diffuse.hkl).reshape(diffuse.grid.shape)
    assert diffuse.sigma is not None
    assert diffuse.halves is not None
    assert diffuse.counts is not None
    rows = ~np.isnan(diffuse.sigma)
    assert rows.sum() == 150  # the row without an intensity has an uncertainty
    # Both are rounded to single precision, of which the root keeps seven digits.
    np.testing.assert_allclose(diffuse.sigma[rows], np.sqrt(hkl[rows]), rtol=2e-7)
    np.testing.assert_allclose(diffuse.halves[0][rows], hkl[rows] - 1, rtol=2e-7)
    np.testing.assert_allclose(diffuse.halves[1][rows], hkl[rows] + 1, rtol=2e-7)
    assert set(np.unique(diffuse.counts[rows])) <= set(range(2, 9))
    assert any("2, 3, 1 voxels per index" in line for line in diffuse.history)


def test_a_column_of_a_table() -> None:
    diffuse = read_map(MAPS / "mdx2_merged.nxs", cell=CELL, dataset="hkl_table/group_1_intensity")
    valid = diffuse.mask
    hkl = telling(diffuse.hkl).reshape(diffuse.intensity.shape)
    np.testing.assert_allclose(diffuse.intensity[valid], hkl[valid] + 1, rtol=2e-7)
    assert diffuse.halves is None


def test_counts_of_mdx2_reintegrate() -> None:
    diffuse = read_map(MAPS / "mdx2_counts.nxs", cell=CELL)
    hkl = telling(diffuse.hkl).reshape(diffuse.intensity.shape)
    assert np.isnan(diffuse.intensity).sum() == 1  # its scale is zero
    # Whole counts stand for a quarter of the intensity: off by up to half a count.
    assert np.nanmax(np.abs(diffuse.intensity - hkl)) <= 2
    assert diffuse.sigma is not None
    np.testing.assert_allclose(
        np.nanmax(diffuse.sigma), 4 * np.sqrt(np.round(telling(np.array([0.5, 1 / 3, 1])) / 4) + 10)
    )
    assert any("background_counts" in line for line in diffuse.history)


def test_map_of_mdx2() -> None:
    diffuse = read_map(MAPS / "mdx2_map.nxs", cell=GEOMETRY)
    assert diffuse.map_shape == (5, 8, 4)
    assert_tells(diffuse)


def test_axes_are_taken_by_name_not_by_place() -> None:
    diffuse = read_map(MAPS / "nxrefine_transform.nxs")
    assert diffuse.map_shape == (5, 7, 4)
    assert_tells(diffuse, 140)
    assert diffuse.cell == CELL  # in the file in single precision, here the decimals it stands for
    assert any("Ql, Qk, Qh, transposed" in line for line in diffuse.history)


def test_falling_axes_and_edges() -> None:
    diffuse = read_map(MAPS / "nexusformat_edges.nxs", cell=CELL, spacegroup="P1")
    assert_tells(diffuse, 140)
    assert diffuse.spacegroup == "P 1"
    assert diffuse.sigma is not None
    np.testing.assert_array_equal(diffuse.sigma, np.sqrt(diffuse.intensity))
    overrides = " ".join(diffuse.history)
    assert "h is descending and was reversed" in overrides
    assert "l contains edges" in overrides


def test_old_and_other_ways_to_name_axes(tmp_path: Path) -> None:
    # NeXus before 2014: the signal is marked, and names its axes in one text.
    path = tmp_path / "old.nxs"
    values = telling(GRID.hkl).reshape(GRID.shape)
    with h5py.File(path, "w") as file:
        data = file.create_group("entry/data")
        data.attrs["NX_class"] = np.bytes_("NXdata")
        data["counts"] = values.transpose(1, 0, 2)
        data["counts"].attrs["signal"] = 1
        data["counts"].attrs["axes"] = "K:H:L"
        for name, line in zip("HKL", GRID.axes, strict=True):
            data[name] = line
    assert_tells(read_map(path, cell=CELL))
    with h5py.File(path, "r+") as file:
        file["entry/data/L"].attrs["units"] = "1/angstrom"
    with pytest.raises(MapFileError, match="not in Miller indices"):
        read_map(path, cell=CELL)
    with h5py.File(path, "r+") as file:
        file["entry/data/counts"].attrs["axes"] = "z:y:x"
    with pytest.raises(MapFileError, match="along z, y, x"):
        read_map(path, cell=CELL)


def test_files_with_several_maps_ask_which(tmp_path: Path) -> None:
    path = tmp_path / "two.nxs"
    with h5py.File(MAPS / "mdx2_map.nxs") as a, h5py.File(path, "w") as file:
        a.copy("entry", file)
        file.move("entry/intensity", "entry/first")
        file.copy("entry/first", "entry/second")
        file["entry/second/signal"][...] += 1
    with pytest.raises(MapFileError, match=r"/entry/first .*/entry/second .*dataset"):
        read_map(path, cell=CELL)
    with pytest.raises(MapFileError, match="'third' is not one"):
        read_map(path, cell=CELL, dataset="third")
    assert_tells(read_map(path, cell=CELL, dataset="first"))
    second = read_map(path, cell=CELL, dataset="/entry/second")
    assert (
        np.nanmin(second.intensity)
        == np.nanmin(read_map(MAPS / "mdx2_map.nxs", cell=CELL).intensity) + 1
    )
    with h5py.File(path, "r+") as file:  # as NeXus says which to plot
        file.attrs["default"] = "entry"
        file["entry"].attrs["default"] = "second"
    assert np.array_equal(read_map(path, cell=CELL).intensity, second.intensity, equal_nan=True)


def test_files_without_a_map_say_what_they_hold() -> None:
    with pytest.raises(MapFileError, match=r"no map of hkl, but /entry/crystal \(NXsample\)"):
        read_map(GEOMETRY)


def test_unmerged_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "unmerged.nxs"
    with h5py.File(MAPS / "mdx2_merged.nxs") as a, h5py.File(path, "w") as file:
        a.copy("entry", file)
        for name in "hkl":
            file[f"entry/hkl_table/{name}"][1] = file[f"entry/hkl_table/{name}"][0]
    with pytest.raises(MapFileError, match=r"occurs more than once.*merge"):
        read_map(path, cell=CELL)
    with h5py.File(path, "r+") as file:
        file["entry/hkl_table/h"][1] = 0.3
    with pytest.raises(MapFileError, match=r"0\.3.* is not on the grid"):
        read_map(path, cell=CELL)


def test_the_cell_may_be_missing() -> None:
    with pytest.raises(MapFileError, match=r"contains no cell.*--cell-from"):
        read_map(MAPS / "mdx2_merged.nxs")


def test_nexusformat_reads_what_we_write(tmp_path: Path) -> None:
    nexus = pytest.importorskip("nexusformat.nexus", reason="pip install nexusformat")
    diffuse = made_up()
    write_map(diffuse, tmp_path / "map.nxs")
    data = nexus.nxload(tmp_path / "map.nxs").get_default()
    np.testing.assert_array_equal(data.nxsignal.nxvalue, diffuse.intensity)
    np.testing.assert_array_equal(data.nxerrors.nxvalue, diffuse.sigma)
    for axis, ours in zip(data.nxaxes, GRID.axes, strict=True):
        np.testing.assert_array_equal(axis.nxvalue, ours)


def test_what_mdx2_looks_for_is_there(tmp_path: Path) -> None:
    # mdx2 1.0.5 opened such files; these are the names by which it does.
    write_map(made_up(), tmp_path / "map.nxs")
    write_map(made_up(), tmp_path / "table.nxs", table=True)
    with h5py.File(tmp_path / "map.nxs") as file:
        assert "mdx2_version" in file.attrs
        for name in ("intensity", "intensity_error", "count", "group_0_intensity"):
            group = file[f"entry/{name}"]
            assert (group.attrs["mdx2_module"], group.attrs["mdx2_class"]) == (
                "mdx2.geometry",
                "GridData",
            )
            assert list(group.attrs["axes"]) == ["h", "k", "l"]
            assert group[group.attrs["signal"]].shape == GRID.shape
        crystal = file["entry/crystal"]
        np.testing.assert_allclose(crystal["ub_matrix"], numpy_cell(CELL).inverse.T)
        # mdx2 goes through the entry and takes everything for a group.
        assert all(isinstance(item, h5py.Group) for item in file["entry"].values())
    with h5py.File(tmp_path / "table.nxs") as file:
        table = file["entry/hkl_table"]
        assert table.attrs["mdx2_class"] == "HKLTable"
        assert table["ndiv"][()].tolist() == [2, 3, 1]
        assert len(table["h"]) == len(table["intensity"]) == len(table["group_1_intensity"])


# mdx-lib


def test_mdx_lib_axes_are_turned_round(tmp_path: Path) -> None:
    path = tmp_path / "map.h5"
    write_mdx_lib(path)
    diffuse = read_map(path)
    assert diffuse.grid == GRID
    assert diffuse.cell == CELL
    assert diffuse.spacegroup == "P 1"
    assert diffuse.units == "e^2 per cell"
    assert_tells(diffuse, GRID.size)
    assert diffuse.sigma is not None
    assert np.isnan(diffuse.sigma).sum() == 1
    assert diffuse.halves is not None
    np.testing.assert_allclose(diffuse.halves[1] - diffuse.halves[0], -2, atol=2e-4)
    assert any("reversed" in line for line in diffuse.history)
    assert any("1 infinite sigma" in line for line in diffuse.history)


def test_mdx_lib_cubes_too(tmp_path: Path) -> None:
    # All axes alike: only MATLAB's rule says which is which.
    grid = MapGrid((-1.0, -1.0, -1.0), (0.5, 0.5, 0.5), (5, 5, 5))
    write_mdx_lib(tmp_path / "map.h5", grid=grid)
    assert_tells(read_map(tmp_path / "map.h5"), 125)


def test_mdx_lib_rewritten_without_turning(tmp_path: Path) -> None:
    write_mdx_lib(tmp_path / "map.h5", matlab=False)
    diffuse = read_map(tmp_path / "map.h5")
    assert_tells(diffuse)
    assert any("axes not reversed" in line for line in diffuse.history)


def test_mdx_lib_with_several_maps(tmp_path: Path) -> None:
    path = tmp_path / "map.h5"
    write_mdx_lib(path, maps=("/maps/raw/total", "/maps/processed/variational"))
    with pytest.raises(MapFileError, match=r"2 maps.*variational 9x7x5.*raw/total"):
        read_map(path)
    assert_tells(read_map(path, dataset="variational"))
    assert_tells(read_map(path, dataset="/maps/raw/total"))
    with pytest.raises(MapFileError, match="'other' is not one"):
        read_map(path, dataset="other")
    write_mdx_lib(path, kind="patterson")
    with pytest.raises(MapFileError, match=r"0 maps.*not maps of intensities.*\(patterson\)"):
        read_map(path)


def test_shapes_that_fit_neither_way_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.h5"
    write_mdx_lib(path)
    with h5py.File(path, "r+") as file:
        file["maps/raw/total"].attrs["grid_size"] = np.array([7, 9, 5], dtype=np.uint32)
    with pytest.raises(MapFileError, match="MATLAB would write"):
        read_map(path)


def test_hdf5_is_told_by_content_not_ending(tmp_path: Path) -> None:
    for ending in (".h5", ".nxs", ".hdf5", ".nc"):
        path = tmp_path / f"map{ending}"
        write_mdx_lib(path)
        assert_tells(read_map(path))
        path.write_bytes((MAPS / "nxrefine_transform.nxs").read_bytes())
        assert_tells(read_map(path))
        path.unlink()
        write_map(telling_map(), tmp_path / "ours.h5", force=True)
        (tmp_path / "ours.h5").rename(path)
        assert_tells(read_map(path))
    (tmp_path / "map.nc").write_bytes(b"CDF\x01" + bytes(100))
    with pytest.raises(MapFileError, match="netCDF-4"):
        read_map(tmp_path / "map.nc")
    with h5py.File(tmp_path / "map.h5", "w") as file:
        file["something"] = 1.0
    with pytest.raises(MapFileError, match="it holds something"):
        read_map(tmp_path / "map.h5")


# lunus


@pytest.mark.parametrize("order", ["<", ">"])
def test_lunus_in_both_byte_orders(tmp_path: Path, order: str) -> None:
    # As lunus lays out its lattices: 1/a a step, n - 1 steps, hkl = 0 at n/2 - 1.
    grid = MapGrid((-1.0, -4 / 3, -1.0), (1 / 2, 1 / 3, 1.0), (6, 10, 4))
    bounds = [x for i in range(3) for x in (grid.origin[i] / CELL[i], grid.end[i] / CELL[i])]
    values = telling(grid.hkl).reshape(grid.shape)
    values[2, 3, 1] = 0
    write_lunus(tmp_path / "map.lat", values, bounds, order)
    with pytest.warns(MapGuessWarning, match="1 voxels of 0 treated as missing"):
        diffuse = read_map(tmp_path / "map.lat", cell=CELL)
    assert diffuse.grid == grid
    assert_tells(diffuse, grid.size - 1)
    assert any("1 voxels of 0 treated as missing" in line for line in diffuse.history)


def test_lunus_as_written_byte_by_byte(tmp_path: Path) -> None:
    # As lunus's own reader takes it: bounds n - 1 steps apart, x fastest, -32768 for 'no data'.
    values = telling(GRID.hkl).reshape(GRID.shape).astype(np.float32)
    values[1, 2, 3] = np.nan
    write_map(DiffuseMap.on_grid(values, GRID, CELL), tmp_path / "map.lat")
    raw = (tmp_path / "map.lat").read_bytes()
    assert tuple(np.frombuffer(raw, "u4", 3)) == GRID.shape
    ends = [(GRID.origin[i] / CELL[i], GRID.end[i] / CELL[i]) for i in range(3)]
    np.testing.assert_array_equal(np.frombuffer(raw, "f4", 6, 12), np.ravel(ends).astype("f4"))
    body = np.frombuffer(raw, "f4", -1, 36)
    assert body[0] == values[0, 0, 0]
    assert body[1] == values[1, 0, 0]
    assert body[GRID.shape[0]] == values[0, 1, 0]
    assert body[1 + GRID.shape[0] * (2 + GRID.shape[1] * 3)] == -32768


def test_lunus_cell_a_little_off_and_far_off(tmp_path: Path) -> None:
    write_map(telling_map(), tmp_path / "map.lat")
    near = (*(x * 1.005 for x in CELL[:3]), *CELL[3:])
    assert read_map(tmp_path / "map.lat", cell=near).grid == GRID
    far = (*(x * 1.2 for x in CELL[:3]), *CELL[3:])
    with pytest.raises(MapFileError, match="do not fit the cell"):
        read_map(tmp_path / "map.lat", cell=far)
    overrides = read_map(tmp_path / "map.lat", cell=far, sampling=(2, 3, 1))
    assert overrides.grid == GRID


@pytest.mark.parametrize(
    ("step", "close"),
    [
        (1 / 12.95, 1 / 13),
        (1.015, 1.0),
        (2.03, 2.0),
        (1.05, None),  # five percent off: another cell
        (1 / 12.8, None),  # as near to 12 as a wrong cell may be
        (1 / 54.5, None),
        (1e31, None),
        (float("nan"), None),
        (0.0, None),
        (-0.5, None),
    ],
)
def test_steps_close_to_whole_numbers_of_voxels(step: float, close: float | None) -> None:
    from onephonon.maps.io.overrides import close_step

    assert close_step(step) == close


def test_lunus_bounds_with_as_many_steps_as_voxels(tmp_path: Path) -> None:
    # lunus's reader of text lattices sets xmax = xmin + n * step.
    bounds = []
    for axis in range(3):
        low, step, n = GRID.origin[axis], GRID.step[axis], GRID.shape[axis]
        bounds += [low / CELL[axis], (low + n * step) / CELL[axis]]
    write_lunus(tmp_path / "map.lat", telling(GRID.hkl).reshape(GRID.shape), bounds)
    diffuse = read_map(tmp_path / "map.lat", cell=CELL)
    # l starts at 0, which fits either count of steps: 4 are tried before 5.
    assert diffuse.grid is not None
    assert diffuse.grid.step[:2] == GRID.step[:2]
    assert diffuse.grid.origin == GRID.origin


def test_lunus_without_usable_bounds(tmp_path: Path) -> None:
    path = tmp_path / "map.lat"
    write_lunus(path, telling(GRID.hkl).reshape(GRID.shape), [0.0] * 6)
    with pytest.raises(MapFileError, match="origin="):
        read_map(path, cell=CELL)
    with pytest.raises(MapFileError, match="origin="):
        read_map(path, cell=CELL, sampling=(2, 3, 1))
    assert_tells(read_map(path, cell=CELL, sampling=(2, 3, 1), origin=(4, 3, 0)))
    whole = ((-2, 2, 2), (-1, 1, 3), (0, 4, 1))
    assert_tells(read_map(path, cell=CELL, sampling=whole))
    write_lunus(path, telling(GRID.hkl).reshape(GRID.shape), [np.nan] * 6)
    with pytest.raises(MapFileError, match="not finite"):
        read_map(path, cell=CELL)
    with pytest.raises(MapFileError, match="contains no cell"):
        read_map(path)


# eryx


def test_eryx_arrays(tmp_path: Path) -> None:
    values = telling(GRID.hkl).reshape(GRID.shape)
    sampling = ((-2, 2, 2), (-1, 1, 3), (0, 4, 1))
    path = tmp_path / "map.npy"
    for array in (values, values.ravel(), np.asfortranarray(values), values.astype(">f4")):
        np.save(path, array)
        assert_tells(read_map(path, cell=CELL, sampling=sampling), GRID.size)
    assert_tells(read_map(path, cell=CELL, sampling=(2, 3, 1), origin=(4, 3, 0)))
    with pytest.raises(MapFileError, match="without its sampling"):
        read_map(path, cell=CELL)
    with pytest.raises(MapFileError, match=r"sampling has \(9, 7, 6\)"):
        read_map(path, cell=CELL, sampling=((-2, 2, 2), (-1, 1, 3), (0, 5, 1)))
    np.save(path, values.ravel())
    with pytest.raises(MapFileError, match="flat array of 315"):
        read_map(path, cell=CELL, sampling=(2, 3, 1))
    np.save(path, values.ravel()[:-1])
    with pytest.raises(MapFileError, match="flat array of 314"):
        read_map(path, cell=CELL, sampling=sampling)
    for array in (values + 1j, values[0], np.array(["a"]), values[:, :, :0]):
        np.save(path, array)
        with pytest.raises(MapFileError, match="is no map"):
            read_map(path, cell=CELL, sampling=sampling)


def test_a_guessed_centre_gives_a_warning(tmp_path: Path) -> None:
    grid = MapGrid((-2.0, -1.0, -2.0), (1 / 2, 1 / 3, 1.0), (9, 7, 5))
    np.save(tmp_path / "map.npy", telling(grid.hkl).reshape(grid.shape))
    with pytest.warns(MapGuessWarning, match="centred on hkl 0, 0, 0"):
        diffuse = read_map(tmp_path / "map.npy", cell=CELL, sampling=[2, 3, 1])
    assert diffuse.grid == grid
    assert_tells(diffuse)
    assert any("assumed" in line for line in diffuse.history)


# MTZ


def foreign_mtz(path: Path, per_index: tuple[int, int, int] = (2, 3, 1)) -> None:
    """Write as mdx2.to_mtz does, in the crystal's own space group, rows in no order."""
    hkl = np.random.default_rng(3).permutation(GRID.hkl)
    mtz = gemmi.Mtz(with_base=True)
    mtz.cell = gemmi.UnitCell(*(a * n for a, n in zip(CELL, per_index, strict=False)), *CELL[3:])
    mtz.spacegroup = gemmi.SpaceGroup("P 1")
    mtz.add_dataset("crystal")
    for label, kind in (("IMEAN", "J"), ("SIGIMEAN", "Q")):
        mtz.add_column(label, kind)
    intensity = telling(hkl)
    mtz.set_data(np.column_stack([np.rint(hkl * per_index), intensity, np.sqrt(intensity)]))
    mtz.write_to_file(str(path))


def test_mtz_of_a_supercell(tmp_path: Path) -> None:
    path = tmp_path / "map.mtz"
    foreign_mtz(path)
    by_cell = read_map(path, cell=CELL)
    by_sampling = read_map(path, sampling=(2, 3, 1))
    for diffuse in (by_cell, by_sampling):
        assert diffuse.grid == GRID
        assert_tells(diffuse, GRID.size)
        assert diffuse.sigma is not None
        assert diffuse.cell is not None
        np.testing.assert_allclose(diffuse.cell, CELL, rtol=1e-6)  # single precision in the file
        assert diffuse.spacegroup == "P 1"
    plain = read_map(path)
    assert plain.grid is not None
    assert plain.grid.step == (1.0, 1.0, 1.0)
    assert any("assumed: one voxel per index" in line for line in plain.history)
    with pytest.raises(MapFileError, match="no supercell of the cell"):
        read_map(path, cell=(30, *CELL[1:]))
    with pytest.raises(MapFileError, match="no supercell of the cell"):
        read_map(path, cell=(*CELL[:3], 90, 90, 90))


def test_mtz_columns(tmp_path: Path) -> None:
    path = tmp_path / "map.mtz"
    foreign_mtz(path)
    mtz = gemmi.read_mtz_file(str(path))
    mtz.columns[3].label = "I"
    mtz.columns[4].label = "SIGI"
    mtz.write_to_file(str(path))
    assert_tells(read_map(path, cell=CELL))
    assert read_map(path, cell=CELL, dataset="I").sigma is not None
    with pytest.raises(MapFileError, match=r"I \(J\), SIGI \(Q\)"):
        read_map(path, cell=CELL, dataset="F")
    mtz.columns[3].type = "F"
    mtz.write_to_file(str(path))
    with pytest.raises(MapFileError, match="dataset="):
        read_map(path, cell=CELL)


@pytest.mark.parametrize(
    ("crystal", "header"),
    [("P 41", "P 4"), ("C 1 2 1", "P 1 2 1"), ("P 43 21 2", "P 4 2 2"), ("", "P 1")],
)
def test_mtz_header_has_a_group_that_the_voxels_obey(
    tmp_path: Path, crystal: str, header: str
) -> None:
    cell = (40.0, 40.0, 60.0, 90.0, 90.0, 90.0)
    diffuse = DiffuseMap.on_grid(np.ones(GRID.shape), GRID, cell, spacegroup=crystal)
    write_map(diffuse, tmp_path / "map.mtz")
    mtz = gemmi.read_mtz_file(str(tmp_path / "map.mtz"))
    assert mtz.spacegroup.xhm() == header
    np.testing.assert_allclose(mtz.cell.parameters, (80, 120, 60, 90, 90, 90))
    assert read_map(tmp_path / "map.mtz").spacegroup == crystal


# CCP4


def foreign_ccp4(path: Path, axis_order: tuple[int, int, int] = (1, 2, 3)) -> None:
    """A map as mdx-lib exports it, by gemmi's writer, its axes in any order."""
    values = telling(GRID.hkl).reshape(GRID.shape).astype(np.float32)
    file = gemmi.Ccp4Map()
    file.grid = gemmi.FloatGrid(
        np.ascontiguousarray(values.transpose([axis - 1 for axis in axis_order]))
    )
    axes = numpy_cell(CELL).inverse
    reciprocal = gemmi.UnitCell(*CELL).reciprocal()
    lengths = np.linalg.norm(axes, axis=1) * GRID.step * GRID.shape
    file.grid.unit_cell.set(*lengths, *(reciprocal.parameters[3:]))
    file.grid.spacegroup = gemmi.SpaceGroup("P 1")
    file.update_ccp4_header()
    for place, axis in enumerate(axis_order):
        file.set_header_i32(5 + place, round(GRID.origin[axis - 1] / GRID.step[axis - 1]))
        file.set_header_i32(17 + place, axis)
    for axis in range(3):
        file.set_header_i32(8 + axis, GRID.shape[axis])
    file.write_ccp4_map(str(path))


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2)])
def test_ccp4_axes_in_any_order(tmp_path: Path, order: tuple[int, int, int]) -> None:
    foreign_ccp4(tmp_path / "map.ccp4", order)
    diffuse = read_map(tmp_path / "map.ccp4", cell=CELL)
    assert diffuse.grid == GRID
    assert_tells(diffuse, GRID.size)


def test_ccp4_of_the_other_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "map.ccp4"
    foreign_ccp4(path)
    raw = bytearray(path.read_bytes())
    words = np.frombuffer(bytes(raw), "<u4").copy()
    swapped = words.astype(">u4")
    # Text is not swapped: "MAP " (word 53), labels (from word 57).
    keep = [52, *range(56, 256), *range(256, 256 + int(words[23]) // 4)]
    swapped = swapped.view("u1").reshape(-1, 4)
    swapped[keep] = words.view("u1").reshape(-1, 4)[keep]
    swapped[53] = [0x11, 0x11, 0, 0]
    path.write_bytes(swapped.tobytes())
    assert_tells(read_map(path, cell=CELL), GRID.size)


def test_ccp4_needs_the_cell_that_it_was_made_with(tmp_path: Path) -> None:
    path = tmp_path / "map.ccp4"
    foreign_ccp4(path)
    with pytest.raises(MapFileError, match="contains no cell"):
        read_map(path)
    for cell in ((*CELL[:3], 90, 90, 90), (32.0, *CELL[1:])):
        with pytest.raises(MapFileError, match="not a grid of the reciprocal cell"):
            read_map(path, cell=cell)
    assert_tells(read_map(path, cell=CELL, sampling=(2, 3, 1)))
    assert_tells(read_map(path, cell=CELL, sampling=((-2, 2, 2), (-1, 1, 3), (0, 4, 1))))


def test_gemmi_reads_our_ccp4(tmp_path: Path) -> None:
    diffuse = made_up()
    write_map(diffuse, tmp_path / "map.ccp4")
    file = gemmi.read_ccp4_map(str(tmp_path / "map.ccp4"))
    np.testing.assert_array_equal(file.grid.array, diffuse.intensity)
    assert [file.header_i32(5 + i) for i in range(3)] == [-4, -3, 0]
    # A voxel's place in the header's cell is its place in 1/Å.
    voxel = np.array([7, 5, 3])
    hkl = np.array(GRID.origin) + voxel * GRID.step
    start = np.array([-4, -3, 0])
    at = file.grid.unit_cell.orthogonalize(gemmi.Fractional(*((start + voxel) / GRID.shape)))
    s = np.linalg.norm(hkl @ numpy_cell(CELL).inverse)
    # Lengths and angles are in single precision.
    assert np.linalg.norm(at.tolist()) == pytest.approx(s, rel=1e-5)


# text


@pytest.mark.parametrize(
    "line", ["{h:.4f} {k:.4f} {l:.4f} {i:.3f}\n", "{h:.4f},{k:.4f}, {l:.4f}, {i:.3f},{s:.3f} # x\n"]
)
def test_text_of_others(tmp_path: Path, line: str) -> None:
    path = tmp_path / "map.hkl"
    rows = np.random.default_rng(4).permutation(GRID.hkl)
    with path.open("w") as file:
        file.write("# from elsewhere\n\n")
        for h, k, l in rows:  # noqa: E741
            i = telling(np.array([h, k, l]))
            file.write(line.format(h=h, k=k, l=l, i=i, s=np.sqrt(i)))
    diffuse = read_map(path, cell=CELL)
    assert diffuse.grid == GRID
    hkl = telling(diffuse.hkl).reshape(GRID.shape)
    assert np.abs(diffuse.intensity - hkl).max() <= 0.5e-3  # three decimals
    assert (diffuse.sigma is not None) == ("{s" in line)
    with pytest.raises(MapFileError, match="contains no cell"):
        read_map(path)
    path.write_text(f"# cell: {' '.join(map(str, CELL))}\n# spacegroup: P1\n{path.read_text()}")
    assert read_map(path).cell == CELL
    assert read_map(path).spacegroup == "P 1"


def test_text_off_any_grid_is_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    hkl = np.random.default_rng(5).random((30, 3)) * 9
    np.savetxt(path, np.column_stack([hkl, telling(hkl)]))
    diffuse = read_map(path, cell=CELL)
    assert diffuse.grid is None
    np.testing.assert_allclose(diffuse.hkl, hkl, atol=1e-12)  # through q and back
    assert any("kept as a list" in line for line in diffuse.history)
    with pytest.raises(MapFileError, match="is not on the grid"):
        read_map(path, cell=CELL, sampling=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# only words\n", "no numbers"),
        ("1 2 3\n", "3 numbers per line"),
        ("1 2 3 4 5 6\n", "6 numbers per line"),
        ("# columns h k l intensity weight\n1 2 3 4 5\n", "any of sigma counts"),
        ("# columns h k l sigma\n1 2 3 4\n", "columns are h k l intensity"),
        ("1 2 3 4\n1 2 3\n", "can be read"),
        ("1 2 x 4\n", "line 1 has 'x', no number"),
        ("1 2 nan 4\n", "row 1 has hkl"),
        ("1 2 3 4\n1 2 3 5\n", "more than once"),
        ("1 2 3 inf\n", "infinite"),
        ("1 2 3 4 -1\n", "sigma has values below 0"),
        ("# cell 1 2 3\n1 2 3 4\n", "not six numbers"),
        ("# cell 10 10 10 90 90 nan\n1 2 3 4\n", "cell"),
    ],
)
def test_text_that_is_no_map(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "map.txt"
    path.write_text(content)
    overrides: dict[str, Any] = {} if "cell" in content else {"cell": CELL}
    with pytest.raises(MapFileError, match=message):
        read_map(path, **overrides)


# what the caller says


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sampling": "dense"}, "sampling 'dense' is not"),
        ({"sampling": (1, 2)}, "is not one number"),
        ({"sampling": ((0, 1), (0, 1), (0, 1))}, "is not one number"),
        ({"sampling": (1, 2, 0)}, "positive"),
        ({"sampling": (1, 2, float("nan"))}, "finite"),
        ({"origin": (1, 2)}, "three whole numbers"),
        ({"origin": (1, 2, 0.5)}, "three whole numbers"),
        ({"origin": (0, 0, 0), "sampling": ((0, 1, 1),) * 3}, "both define"),
        ({"spacegroup": "P 99"}, "unknown"),
        ({"cell": (1, 2, 3)}, "not six finite numbers"),
        ({"cell": (10, 10, 10, 90, 90, float("nan"))}, "not six finite numbers"),
        ({"cell": (10, 10, 10, 30, 30, 90)}, "positive volume"),
    ],
)
def test_invalid_overrides_raise(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    write_map(telling_map(), tmp_path / "map.lat")
    with pytest.raises(InputError, match=message):
        read_map(tmp_path / "map.lat", **overrides)


@pytest.mark.parametrize(
    ("ending", "overrides"),
    [
        (".npz", {"sampling": 2}),
        (".h5", {"dataset": "intensity"}),
        (".nxs", {"sampling": 2}),
        (".nxs", {"origin": (0, 0, 0)}),
        (".lat", {"dataset": "x"}),
        (".mtz", {"origin": (0, 0, 0)}),
        (".ccp4", {"dataset": "x"}),
        (".hkl", {"dataset": "x"}),
    ],
)
def test_no_override_is_silently_ignored(
    tmp_path: Path, ending: str, overrides: dict[str, Any]
) -> None:
    write_map(telling_map(), tmp_path / f"map{ending}")
    with pytest.raises(MapFileError, match="leave it out"):
        read_map(tmp_path / f"map{ending}", cell=CELL, **overrides)


def test_cells_from_other_files(tmp_path: Path, data: Path) -> None:
    write_map(telling_map(), tmp_path / "map.npy")
    write_map(telling_map(cell=(*CELL[:5], 110.0)), tmp_path / "map.h5")
    write_mdx_lib(tmp_path / "mdx.h5")
    foreign_mtz(tmp_path / "plain.mtz", (1, 1, 1))
    sampling = ((-2, 2, 2), (-1, 1, 3), (0, 4, 1))
    for name, cell, group in (
        (data / "2ol9.pdb", None, "P 1"),
        (tmp_path / "map.h5", (*CELL[:5], 110.0), "P 1"),
        (tmp_path / "mdx.h5", CELL, "P 1"),
        (GEOMETRY, CELL, "P 1"),
        (tmp_path / "plain.mtz", CELL, "P 1"),
    ):
        diffuse = read_map(tmp_path / "map.npy", cell=name, sampling=sampling)
        assert diffuse.spacegroup == group
        assert diffuse.cell is not None
        if cell is not None:
            np.testing.assert_allclose(diffuse.cell, cell, rtol=1e-6)  # MTZ: single precision
        assert f"cell of {name.name}" in diffuse.history
    overrides = {"cell": GEOMETRY, "spacegroup": "P -1", "sampling": sampling}
    assert read_map(tmp_path / "map.npy", **overrides).spacegroup == "P -1"
    for name in (tmp_path / "map.npy", tmp_path / "none.pdb", MAPS / "mdx2_merged.nxs"):
        with pytest.raises(FileError, match="cell"):
            read_map(tmp_path / "map.npy", cell=name, sampling=sampling)


def test_a_cell_given_goes_before_the_files_own(tmp_path: Path) -> None:
    other = (*CELL[:5], 110.0)
    for ending in (".npz", ".h5", ".nxs", ".mtz", ".ccp4", ".hkl"):
        write_map(telling_map(), tmp_path / f"map{ending}")
        with pytest.warns(MapReadingWarning, match="27.26, 31.98.* the cell as given is used"):
            diffuse = read_map(tmp_path / f"map{ending}", cell=other, spacegroup="P 1 2 1")
        assert diffuse.cell == other
        assert diffuse.spacegroup == "P 1 2 1"
        assert "cell as given" in diffuse.history
