"""What files declare beside their numbers: masks, factors, units, missing values, settings.

Intensities tell where they are, so that every test checks the values that are right.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import h5py
import numpy as np
import pytest

from foreign_maps import CELL, GRID, assert_tells, telling, telling_map, write_mdx_lib, write_nexus
from onephonon import DiffuseMap, MapFileError, MapGrid, read_map, write_map
from onephonon.maps.io import MapGuessWarning, MapReadingWarning

TELLING = telling(GRID.hkl).reshape(GRID.shape)
DATA = "entry/data"


def changed(path: Path, change: Callable[[h5py.Group], Any], **made: Any) -> Path:
    """An NXdata with something changed in its group."""
    write_nexus(path, **made)
    with h5py.File(path, "r+") as file:
        change(file[DATA])
    return path


# masks and weights


def test_masked_voxels_are_missing(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        mask = np.zeros(GRID.shape, dtype=bool)
        mask[1, 2, 3] = mask[8, 0, 0] = True
        data["v_mask"] = mask
        data["v"].attrs["mask"] = "v_mask"
        data["v_errors"] = np.sqrt(TELLING)

    diffuse = read_map(changed(tmp_path / "map.nxs", change))
    assert_tells(diffuse, GRID.size - 2)
    assert np.isnan(diffuse.intensity[1, 2, 3])
    assert diffuse.sigma is not None
    assert np.isnan(diffuse.sigma[8, 0, 0])
    assert "read: 2 voxels are masked by v_mask" in diffuse.report()


def test_a_mask_that_is_not_named_is_pointed_out(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        data["v_mask"] = np.ones(GRID.shape, dtype=bool)

    path = changed(tmp_path / "map.nxs", change)
    with pytest.warns(MapReadingWarning, match="ignored: v_mask"):
        assert_tells(read_map(path), GRID.size)
    with h5py.File(path, "r+") as file:
        file[f"{DATA}/v"].attrs["mask"] = "gone"
    with pytest.raises(MapFileError, match="names the mask gone"):
        read_map(path)


def test_sums_are_divided_by_their_weights(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).integers(1, 5, GRID.shape).astype(float)
    weights[0, 0, 0] = 0

    def change(data: h5py.Group) -> None:
        data["v_weights"] = weights
        data["v_errors"] = np.sqrt(TELLING) * weights

    path = changed(tmp_path / "map.nxs", change, values=TELLING * weights)
    with pytest.warns(MapReadingWarning, match="divided by /entry/data/v_weights; 1 of no weight"):
        diffuse = read_map(path)
    assert_tells(diffuse, GRID.size - 1)
    # A product and a quotient, each rounded in double precision.
    np.testing.assert_allclose(
        diffuse.sigma[diffuse.mask], np.sqrt(TELLING)[diffuse.mask], rtol=1e-15
    )


# factors and offsets


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (TELLING * 10, {"v": {"scale_factor": 0.1}}),
        ((TELLING - 7) * 10, {"v": {"scale_factor": 0.1, "add_offset": 7.0}}),
        (TELLING * 10, {"v_scaling_factor": 0.1}),
        ((TELLING * 10) - 7, {"v_scaling_factor": 0.1, "v_offset": 7.0}),
        (TELLING * 10, {"v_scaling_factor": 0.1, "v_offset": 0.0, "v": {"scale_factor": 0.1}}),
        (TELLING * 10, {"scaling_factor": 0.1}),
        (TELLING - 7, {"offset": 7.0}),
        (TELLING * 10, {"v": {"scaling_factor": 0.1}}),
        (TELLING, {"v_scaling_factor": 1.0}),
    ],
)
def test_packed_values_are_unpacked(
    tmp_path: Path, stored: np.ndarray, said: dict[str, Any]
) -> None:
    def change(data: h5py.Group) -> None:
        for name, value in said.items():
            if isinstance(value, dict):
                data[name].attrs.update(value)
            else:
                data[name] = value

    diffuse = read_map(changed(tmp_path / "map.nxs", change, values=stored))
    # A factor of 0.1, rounded in double precision, times a rounded product.
    np.testing.assert_allclose(diffuse.intensity, TELLING, rtol=1e-15 * 4)
    assert ("stored times" in diffuse.report()) == (stored is not TELLING)


def test_factors_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        data["v_scaling_factor"] = 0.5
        data["v"].attrs["scale_factor"] = 0.1

    with pytest.raises(MapFileError, match=r"\(0\.1, 0\.0\).*\(0\.5, 0\.0\) by v_scaling_factor"):
        read_map(changed(tmp_path / "map.nxs", change))


def test_axes_may_be_packed_too(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        whole = np.rint(data["Qh"][()] * 2).astype("i2")
        del data["Qh"]
        data["Qh"] = whole
        data["Qh_scaling_factor"] = 0.5

    assert_tells(read_map(changed(tmp_path / "map.nxs", change)), GRID.size)


# missing values


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("mark", [-1.0, 1e30, 0.0])
def test_declared_missing_values(tmp_path: Path, name: str, mark: float) -> None:
    values = TELLING.copy()
    values[2, 3, :] = mark

    def change(data: h5py.Group) -> None:
        data["v"].attrs[name] = mark

    diffuse = read_map(changed(tmp_path / "map.nxs", change, values=values))
    assert_tells(diffuse, GRID.size - 5)
    assert f"5 values of v are {name}" in diffuse.report()


def test_values_outside_the_valid_range_are_missing(tmp_path: Path) -> None:
    values = TELLING.copy()
    values[0, 0, :3] = -5, 9999, 2000

    def change(data: h5py.Group) -> None:
        data["v"].attrs["valid_range"] = [0.0, 5000.0]

    diffuse = read_map(changed(tmp_path / "map.nxs", change, values=values))
    assert np.isnan(diffuse.intensity[0, 0, :2]).all()
    assert diffuse.intensity[0, 0, 2] == 2000


def test_the_fill_value_of_hdf5_is_missing(tmp_path: Path) -> None:
    values = TELLING.copy()
    values[4, 4, 4] = -77.0
    write_nexus(tmp_path / "map.nxs", values, fillvalue=-77.0)
    assert_tells(read_map(tmp_path / "map.nxs"), GRID.size - 1)


@pytest.mark.parametrize(
    ("mark", "n", "kept"),
    [
        (-32768.0, 3, False),
        (-9999.0, 2, False),
        (-999.0, 2, False),
        (9.969209968386869e36, 4, False),
        (3.4028234663852886e38, 2, False),
        (65535.0, 2, False),
        (-9999.0, 1, True),  # a single value may be measured
        (-9998.0, 5, True),  # not a mark
    ],
)
def test_marks_that_no_file_declares(tmp_path: Path, mark: float, n: int, kept: bool) -> None:
    values = TELLING.astype(np.float32)
    values.flat[: 7 * n : 7] = mark
    write_nexus(tmp_path / "map.nxs", values)
    if kept:
        assert read_map(tmp_path / "map.nxs").n_valid == GRID.size
        return
    with pytest.warns(MapGuessWarning, match=f"{n} voxels of .* are missing values"):
        diffuse = read_map(tmp_path / "map.nxs")
    assert_tells(diffuse, GRID.size - n)


def test_marks_among_values_as_large_are_only_pointed_out(tmp_path: Path) -> None:
    values = np.linspace(-900.0, 5000.0, GRID.size).reshape(GRID.shape)
    values[0, :2] = -999.0
    write_nexus(tmp_path / "map.nxs", values)
    with pytest.warns(MapReadingWarning, match="10 voxels of exactly -999 as intensities"):
        assert read_map(tmp_path / "map.nxs").n_valid == GRID.size


def test_counts_of_minus_one_are_missing(tmp_path: Path) -> None:
    values = TELLING.round().astype("i4")
    values[:, 0, 0] = -1
    write_nexus(tmp_path / "map.nxs", values)
    with pytest.warns(MapGuessWarning, match="9 values of v are -1"):
        diffuse = read_map(tmp_path / "map.nxs")
    assert diffuse.n_valid == GRID.size - 9
    np.testing.assert_array_equal(diffuse.intensity[diffuse.mask], values[values >= 0])


# what was never written


@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_chunks_never_written_are_missing(tmp_path: Path, dtype: str) -> None:
    values = TELLING.round().astype(dtype)

    def change(data: h5py.Group) -> None:
        del data["v"]
        v = data.create_dataset("v", GRID.shape, dtype, chunks=(3, 7, 5))
        v[:5] = values[:5]  # as a program that was stopped after five planes

    path = changed(tmp_path / "map.nxs", change)
    with pytest.warns(MapGuessWarning, match="105 of 315 values of v were never written"):
        diffuse = read_map(path)
    np.testing.assert_array_equal(diffuse.intensity[:5], values[:5])
    assert np.isnan(diffuse.intensity[6:]).all()
    # The sixth plane is zero: no measured intensity is exactly that, but a count can be.
    assert np.isnan(diffuse.intensity[5]).all() == (dtype == "f4")


def test_chunks_never_written_in_tables_and_mdx_lib(tmp_path: Path) -> None:
    write_mdx_lib(tmp_path / "map.h5")
    with h5py.File(tmp_path / "map.h5", "r+") as file:
        total = file["maps/raw/total"]
        values = total["I"][()]
        del total["I"]
        total.create_dataset("I", values.shape, "f4", chunks=(1, 7, 9))[:4] = values[:4]
    with pytest.warns(MapGuessWarning, match="63 of 315 values of I"):
        assert_tells(read_map(tmp_path / "map.h5"), GRID.size - 63)


def test_arrays_without_any_value_are_refused(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        del data["v"]
        data.create_dataset("v", GRID.shape, "f4")

    with pytest.raises(MapFileError, match="its values never written"):
        read_map(changed(tmp_path / "map.nxs", change))


def test_values_in_other_files(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        del data["v"]
        with h5py.File(tmp_path / "part.h5", "w") as part:
            part["v"] = TELLING
        layout = h5py.VirtualLayout(GRID.shape, "f8")
        layout[:] = h5py.VirtualSource("part.h5", "v", GRID.shape)
        data.create_virtual_dataset("v", layout)

    path = changed(tmp_path / "map.nxs", change)
    assert_tells(read_map(path), GRID.size)
    (tmp_path / "part.h5").unlink()
    with pytest.raises(MapFileError, match=r"another file, part\.h5, which is missing"):
        read_map(path)


# units and axes


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "1/angstrom",
            "A^-1",
            "Å^-1",
            "Å⁻¹",
            "1/Å",
            "1/A",
            "A-1",
            "AA^-1",
            "Angstrom**-1",
            "invA",
        ),
        *("inverse angstroms", "nm^-1", "1/nm", "m^-1", "1/m", "angstrom", "nm", "1/bohr"),
        *("Ang^-1", "INV_ANGSTROM", "angstrom^-1"),
    ],
)
@pytest.mark.parametrize("where", ["units", "long_name"])
def test_axes_of_q_are_refused(tmp_path: Path, unit: str, where: str) -> None:
    def change(data: h5py.Group) -> None:
        data["Ql"].attrs[where] = unit if where == "units" else f"Q along l ({unit})"

    with pytest.raises(MapFileError, match="not in Miller indices"):
        read_map(changed(tmp_path / "map.nxs", change))


def test_signals_without_an_attribute(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        del data.attrs["signal"]
        data["v_errors"] = np.sqrt(TELLING)

    diffuse = read_map(changed(tmp_path / "map.nxs", change))
    assert_tells(diffuse, GRID.size)
    assert diffuse.sigma is not None


@pytest.mark.parametrize("name", ["intensity", "I"])
def test_netcdf(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "map.nc", "w") as file:
        file[name] = TELLING.transpose(2, 1, 0)
        for dimension, axis in enumerate("lkh"):
            file[axis] = GRID.axes["hkl".index(axis)]
            file[axis].make_scale(axis)
            file[name].dims[dimension].attach_scale(file[axis])
    assert_tells(read_map(tmp_path / "map.nc", cell=CELL), GRID.size)


def test_what_is_no_intensity(tmp_path: Path) -> None:
    def flags(data: h5py.Group) -> None:
        del data["v"]
        data["v"] = TELLING > 1100

    def gone(data: h5py.Group) -> None:
        del data["v"]
        data["v"] = h5py.ExternalLink("gone.h5", "/v")

    for change, message in (
        (flags, "holds flags"),
        (gone, r"data/v \(in the file gone\.h5, which"),
    ):
        with pytest.raises(MapFileError, match=message):
            read_map(changed(tmp_path / "map.nxs", change))


@pytest.mark.parametrize("unit", ["r.l.u.", "rlu", "", "1", "dimensionless", "2pi/a", "HKL"])
def test_axes_of_miller_indices_are_read(tmp_path: Path, unit: str) -> None:
    def change(data: h5py.Group) -> None:
        data["Ql"].attrs["units"] = unit
        data["Qk"].attrs["long_name"] = "K (r.l.u.)"

    assert_tells(read_map(changed(tmp_path / "map.nxs", change)), GRID.size)


def test_unknown_units_are_pointed_out(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        data["Ql"].attrs["units"] = "steps"

    with pytest.warns(MapGuessWarning, match="units 'steps' of /entry/data/Ql"):
        assert_tells(read_map(changed(tmp_path / "map.nxs", change)), GRID.size)


def test_every_way_to_say_which_axis_is_which(tmp_path: Path) -> None:
    turned = TELLING.transpose(2, 0, 1)  # l, h, k

    def by_indices(data: h5py.Group) -> None:
        del data.attrs["axes"]
        for dimension, name in enumerate(("Ql", "Qh", "Qk")):
            data.attrs[f"{name}_indices"] = dimension

    def by_numbers(data: h5py.Group) -> None:
        del data.attrs["axes"], data.attrs["signal"]
        data["v"].attrs["signal"] = "1"
        for number, name in enumerate(("Ql", "Qh", "Qk"), 1):
            data[name].attrs["axis"] = number

    def by_scales(data: h5py.Group) -> None:
        del data.attrs["axes"]
        for dimension, name in enumerate(("Ql", "Qh", "Qk")):
            data[name].make_scale(name)
            data["v"].dims[dimension].attach_scale(data[name])

    for change in (by_indices, by_numbers, by_scales):
        assert_tells(read_map(changed(tmp_path / "map.nxs", change, values=turned)), GRID.size)


def test_axes_that_contradict_their_indices_are_refused(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        data.attrs["Qh_indices"] = 2

    with pytest.raises(MapFileError, match="Qh is dimension 0, in Qh_indices that it is 2"):
        read_map(changed(tmp_path / "map.nxs", change))


# cells and space groups


@pytest.mark.parametrize(
    ("cell", "group"),
    [((8.7, 8.7, 8.7, 106.4, 106.4, 106.4), "R 3:R"), ((14, 14, 8, 90, 90, 120), "R 3:H")],
)
def test_rhombohedral_groups_take_the_setting_of_the_cell(
    tmp_path: Path, cell: tuple[float, ...], group: str
) -> None:
    grid = MapGrid((-2.0,) * 3, (1.0,) * 3, (5, 5, 5))
    np.save(tmp_path / "map.npy", np.ones(grid.shape))
    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(*cell), "R 3"
    structure.add_model(gemmi.Model(1))
    (tmp_path / "s.pdb").write_text(structure.make_pdb_string())
    overrides: dict[str, Any] = {"sampling": ((-2, 2, 1),) * 3}
    for source in ({"cell": tmp_path / "s.pdb"}, {"cell": cell, "spacegroup": "R 3"}):
        assert read_map(tmp_path / "map.npy", **overrides, **source).spacegroup == group
    write_map(DiffuseMap.on_grid(np.ones(grid.shape), grid, cell), tmp_path / "map.h5")
    assert read_map(tmp_path / "map.h5", spacegroup="R 3").spacegroup == group


def test_cells_in_other_units(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        sample = data.parent["sample"]
        del sample["unit_cell"]
        sample["unit_cell_abc"] = np.array(CELL[:3]) / 10
        sample["unit_cell_abc"].attrs["units"] = "nm"
        sample["unit_cell_alphabetagamma"] = np.radians(CELL[3:])
        sample["unit_cell_alphabetagamma"].attrs["units"] = "rad"

    diffuse = read_map(changed(tmp_path / "map.nxs", change))
    np.testing.assert_allclose(diffuse.cell, CELL, rtol=1e-15)

    def six(data: h5py.Group) -> None:
        data.parent["sample/unit_cell"][:3] = np.array(CELL[:3]) / 10
        data.parent["sample/unit_cell"].attrs["units"] = "nm"

    np.testing.assert_allclose(read_map(changed(tmp_path / "map.nxs", six)).cell, CELL, rtol=1e-15)

    def small(data: h5py.Group) -> None:
        data.parent["sample/unit_cell"][:3] = np.array(CELL[:3]) / 10

    with pytest.warns(MapReadingWarning, match=r"a cell of 26\.\d Å\^3, too small .*not nm"):
        read_map(changed(tmp_path / "map.nxs", small))


def test_a_second_cell_is_pointed_out(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        data.parent["z/unit_cell"] = np.array([30.0, 30.0, 30.0, 90.0, 90.0, 90.0])

    path = changed(tmp_path / "map.nxs", change)
    with pytest.warns(MapReadingWarning, match="other cells .*30, 30, 30, 90, 90, 90 in /entry/z"):
        assert read_map(path).cell == CELL
    assert read_map(path, cell=CELL).cell == CELL  # chosen: no warning


# MTZ


def mtz_of(path: Path, intensity: np.ndarray, kind: str = "J", order: str = "hkl") -> gemmi.Mtz:
    """An MTZ of one voxel per index with one column of intensities, indices in some order."""
    mtz = gemmi.Mtz(with_base=order == "hkl")
    mtz.cell, mtz.spacegroup = gemmi.UnitCell(*CELL), gemmi.SpaceGroup("P 1")
    mtz.add_dataset("crystal")
    hkl = np.array([[h, k, l] for h in range(3) for k in range(3) for l in range(3)], float)  # noqa: E741
    columns = list(hkl.T)
    if order == "hkl":
        mtz.add_column("I", kind)
        columns = [*columns, intensity]
    else:
        for name in ("I", "H", "K", "L"):
            mtz.add_column(name, kind if name == "I" else "H")
        columns = [intensity, *columns]
    mtz.set_data(np.column_stack(columns))
    mtz.write_to_file(str(path))
    return mtz


def test_missing_values_of_mtz_other_than_nan(tmp_path: Path) -> None:
    path = tmp_path / "map.mtz"
    intensity = np.arange(27.0) + 100
    intensity[5] = -777.0
    mtz_of(path, intensity)
    raw = path.read_bytes()
    at = raw.index(b"VALM")
    path.write_bytes(raw[:at] + b"VALM -777.0".ljust(80) + raw[at + 80 :])
    diffuse = read_map(path)
    assert np.flatnonzero(np.isnan(diffuse.intensity)).tolist() == [5]


def test_mtz_columns_in_another_order_and_of_other_types(tmp_path: Path) -> None:
    path = tmp_path / "map.mtz"
    mtz_of(path, np.arange(27.0) + 100, order="ihkl")
    np.testing.assert_array_equal(read_map(path).intensity.ravel(), np.arange(27) + 100)
    mtz_of(path, np.arange(27.0) + 100, kind="F")
    with pytest.warns(MapReadingWarning, match=r"column I of type F \(amplitudes\)"):
        read_map(path, dataset="I")


# CCP4


def test_bytes_and_shorts_of_ccp4(tmp_path: Path) -> None:
    path = tmp_path / "map.ccp4"
    values = np.arange(GRID.size).reshape(GRID.shape) % 251
    write_map(DiffuseMap.on_grid(values.astype("f4"), GRID, CELL), path)
    head = bytearray(path.read_bytes()[: 1024 + 80])  # with one operator of symmetry
    body = values.T.ravel()  # h fastest
    for mode, dtype in ((1, "<i2"), (6, "<u2"), (0, "u1")):
        head[12:16] = mode.to_bytes(4, "little")
        path.write_bytes(bytes(head) + body.astype(dtype).tobytes())
        np.testing.assert_array_equal(read_map(path).intensity, values)


def test_what_ccp4_headers_say_and_nobody_uses(tmp_path: Path) -> None:
    path = tmp_path / "map.ccp4"
    write_map(telling_map(), path)
    raw = bytearray(path.read_bytes())
    path.write_bytes(bytes(raw) + bytes(8))
    with pytest.warns(MapReadingWarning, match="8 bytes after the 9x7x5 voxels"):
        assert_tells(read_map(path), GRID.size)
    raw[96:100] = (1).to_bytes(4, "little")
    path.write_bytes(bytes(raw))
    with pytest.warns(MapReadingWarning, match="a skew matrix"):
        read_map(path)


# the report


def test_warnings_are_those_that_matter_and_all_is_in_the_report(tmp_path: Path) -> None:
    def change(data: h5py.Group) -> None:
        data["v"].attrs["scale_factor"] = 2.0

    path = changed(tmp_path / "map.nxs", change, values=TELLING / 2)
    diffuse = read_map(path)  # no warning: the file says it
    assert diffuse.report() == "read: v is stored times 2"
    assert "v is stored times 2" in diffuse.history
    write_map(diffuse, tmp_path / "copy.h5")
    assert "v is stored times 2" in read_map(tmp_path / "copy.h5").history
    assert_tells(diffuse, GRID.size)
