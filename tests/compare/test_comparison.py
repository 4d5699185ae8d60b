"""Comparisons of maps and models with data: what is paired, how it is indexed, what is reported."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from commands import run_command
from onephonon import DiffuseMap, InputError, MapGrid, OnePhonon, OnePhononError, write_map
from onephonon.compare import (
    Isotropic,
    Settings,
    compare_maps,
    compare_model,
    summary,
    table,
    to_dict,
    trial_table,
)
from onephonon.crystal import numpy_cell
from onephonon.maps import reindex, symmetrize
from onephonon.scattering.quadrature import choose_quadrature
from structures import DATA

STRUCTURE = DATA / "5zck.pdb"

TETRAGONAL = (31.0, 31.0, 40.0, 90.0, 90.0, 90.0)
CUBE = MapGrid((-8, -8, -8), (1, 1, 1), (17, 17, 17))


def smooth(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Speckle as wide as a few voxels, about zero, of variance near one."""
    from scipy import ndimage

    noise = np.random.default_rng(seed).normal(size=shape)
    field = ndimage.gaussian_filter(noise, 1.0, mode="wrap")
    return np.asarray(field / field.std())


def speckled(group: str, seed: int = 0, grid: MapGrid = CUBE) -> DiffuseMap:
    """A map with the symmetry of a group on an isotropic hump."""
    plain = DiffuseMap.on_grid(smooth(grid.shape, seed), grid, TETRAGONAL, spacegroup=group)
    even = symmetrize(plain).map
    s = np.linalg.norm(grid.hkl @ numpy_cell(TETRAGONAL).inverse, axis=1).reshape(grid.shape)
    return replace(even, intensity=even.intensity + 40 * np.exp(-8 * s))


# maps with maps


def test_what_the_data_say_otherwise_of_the_crystal() -> None:
    one = speckled("P 41")
    settings = Settings(d_max=20)
    same = compare_maps(one, one, settings).notes
    assert not any("is not that of the data" in note or "space group" in note for note in same)
    other = replace(one, cell=(31.31, 31.31, 40.0, 90.0, 90.0, 90.0), spacegroup="P 43")
    notes = " ".join(compare_maps(one, other, settings).notes)
    # 31.31 is longer than 31 by 1 %.
    assert "(31, 31, 40, 90, 90, 90) is not that of the data, (31.31, 31.31, 40, " in notes
    assert "1/d differs by up to 1 %" in notes
    assert "the data are of space group 'P 43', the model of 'P 41', which is used" in notes


def test_a_map_with_itself() -> None:
    one = speckled("P 41")
    found = compare_maps(one, one, Settings(d_max=20))
    assert found.overall.cc == pytest.approx(1)
    assert found.overall.cc_anisotropic == pytest.approx(1)
    assert found.scale == pytest.approx(1)
    assert found.overall.r == pytest.approx(0, abs=1e-12)
    assert found.reindexing.is_identity
    assert sum(shell.n for shell in found.shells) == found.overall.n


def test_statistics_by_explicit_loops() -> None:
    model, data = speckled("P 41", 1), speckled("P 41", 2)
    noisy = data.intensity + 3 * model.intensity
    noisy[3:5, :, 2] = np.nan
    data = replace(data, intensity=noisy)
    settings = Settings(d_min=4.5, d_max=15, n_shells=3, isotropic=Isotropic("mean", 7))
    found = compare_maps(model, data, replace(settings, reindex="none"))

    s = np.linalg.norm(CUBE.hkl @ numpy_cell(TETRAGONAL).inverse, axis=1)
    keep = (s >= 1 / 15) & (s <= 1 / 4.5) & ~np.isnan(noisy.reshape(-1))
    x, y, s = model.intensity.reshape(-1)[keep], noisy.reshape(-1)[keep], s[keep]
    assert found.overall.n == keep.sum()
    assert found.overall.cc == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.scale == pytest.approx((x @ y) / (x @ x))
    edges = np.linspace(1 / 15, 1 / 4.5, 8)
    rest = [x.copy(), y.copy()]
    for low, high in itertools.pairwise(edges):
        inside = (s >= low) & (s < high)
        for values in rest:
            values[inside] -= values[inside].mean()
    assert found.overall.cc_anisotropic == pytest.approx(np.corrcoef(*rest)[0, 1])
    for found_r, (a, b) in ((found.overall.r, (x, y)), (found.overall.r_anisotropic, rest)):
        scaled = (a @ b) / (a @ a) * a
        assert found_r == pytest.approx(np.abs(scaled - b).sum() / np.abs(b).sum())
    thirds = np.linspace(1 / 15, 1 / 4.5, 4)
    for shell, low, high in zip(found.shells, thirds[:-1], thirds[1:], strict=True):
        inside = (s >= low) & (s < high)
        assert shell.n == inside.sum()
        assert shell.cc == pytest.approx(np.corrcoef(x[inside], y[inside])[0, 1])


def test_wrong_indices_are_found_out() -> None:
    model = speckled("P 41")
    data = reindex(model, "k,h,-l")
    settings = Settings(d_max=20)
    found = compare_maps(model, data, settings)
    assert found.reindexing.name == "k,h,-l"
    assert found.overall.cc_anisotropic == pytest.approx(1)
    assert "clearly the best" in found.decision
    # In the data's indices: the model is turned, the data stay.
    np.testing.assert_array_equal(found.data.intensity, data.intensity)
    shown = ~np.isnan(found.model.intensity)
    np.testing.assert_allclose(found.model.intensity[shown], data.intensity[shown])

    left = compare_maps(model, data, replace(settings, reindex="none"))
    assert left.reindexing.is_identity
    assert abs(left.overall.cc_anisotropic) < 0.5  # speckle and few voxels, many on mirrors
    assert len(left.trials) == 1
    requested = compare_maps(model, data, replace(settings, reindex="k,h,-l"))
    assert requested.overall.cc_anisotropic == pytest.approx(1)
    assert "as requested" in requested.decision


def test_indices_stay_where_none_is_clearly_better() -> None:
    # Two maps that have nothing to do with each other.
    model, data = speckled("P 41", 1), speckled("P 41", 2)
    ahead = []
    for indexed in (data, reindex(data, "k,h,-l")):
        found = compare_maps(model, indexed, Settings(d_max=20))
        assert found.reindexing.is_identity
        assert max(abs(t.cc_anisotropic) for t in found.trials) < 0.3
        ahead.append("not clear" in found.decision)
    assert sorted(ahead) == [False, True]  # one of the two has the other way a little ahead
    best = compare_maps(model, data, Settings(d_max=20, reindex="best"))
    highest = max(t.cc_anisotropic for t in best.trials)
    assert best.overall.cc_anisotropic == pytest.approx(highest)


def test_axes_named_otherwise() -> None:
    cell = (31.0, 35.0, 40.0, 90.0, 90.0, 90.0)
    grid = MapGrid((-2, -1, 0), (1 / 3, 1 / 3, 1 / 3), (13, 10, 8))
    model = DiffuseMap.on_grid(smooth(grid.shape), grid, cell, spacegroup="P 1")
    data = reindex(model, "k,l,h")  # its h is the model's k
    with pytest.raises(InputError, match="if the axes are named differently"):
        compare_maps(model, data)
    found = compare_maps(model, data, Settings(reindex="l,h,k"))
    assert found.overall.n == grid.size
    assert found.overall.cc == pytest.approx(1)


def test_missing_voxels_are_taken_from_equivalents() -> None:
    whole = speckled("P 41")
    half = whole.intensity.copy()
    half[:, :, :8] = np.nan  # l < 0, which Friedel's law gives back
    found = compare_maps(replace(whole, intensity=half), whole, Settings(d_max=20))
    assert found.overall.n == compare_maps(whole, whole, Settings(d_max=20)).overall.n
    assert found.overall.cc == pytest.approx(1)


def test_a_fine_model_is_averaged_and_says_so() -> None:
    fine = MapGrid((-8.25, -8.25, -8.25), (0.5, 0.5, 0.5), (34, 34, 34))
    values = np.random.default_rng(1).uniform(1, 2, fine.shape)
    model = DiffuseMap.on_grid(values, fine, TETRAGONAL, spacegroup="P 1")
    means = values.reshape(17, 2, 17, 2, 17, 2).mean(axis=(1, 3, 5))
    data = DiffuseMap.on_grid(means, CUBE, TETRAGONAL, spacegroup="P 1")
    found = compare_maps(model, data, Settings(reindex="none"))
    assert found.overall.cc == pytest.approx(1)
    assert "averaged over the data's voxels (2 x 2 x 2" in found.quadrature


def test_half_sets_give_cc_star() -> None:
    rng = np.random.default_rng(5)
    truth = speckled("P 1")
    halves = tuple(truth.intensity + rng.normal(0, 1.0, CUBE.shape) for _ in range(2))
    data = replace(truth, intensity=(halves[0] + halves[1]) / 2, halves=halves)
    found = compare_maps(truth, data, Settings(d_max=20, reindex="none")).overall
    # CC* estimates the correlation of the merged data with the truth, which the model is here;
    # from 4,800 voxels both are good to about a hundredth.
    assert found.cc_star_anisotropic == pytest.approx(found.cc_anisotropic, abs=0.02)
    assert 0 < found.cc_half_anisotropic < found.cc_star_anisotropic < 1


def test_weights_leave_out_what_has_none() -> None:
    model, data = speckled("P 1", 1), speckled("P 1", 2)
    sigma = np.ones(CUBE.shape)
    sigma[:5] = 0  # no weight
    bad = data.intensity.copy()
    bad[:5] = 1e6
    data = replace(data, intensity=bad, sigma=sigma)
    settings = Settings(d_max=20, weighting="sigma", reindex="none")
    found = compare_maps(model, data, settings).overall
    assert found.mean_data < 1e3
    with pytest.raises(InputError, match="weights by counts"):
        compare_maps(model, data, replace(settings, weighting="counts"))


def test_maps_that_do_not_match() -> None:
    one = speckled("P 41")
    other = replace(one, cell=(31.0, 31.0, 55.0, 90.0, 90.0, 90.0))
    with pytest.raises(InputError, match="cell"):
        compare_maps(one, other)
    aside = MapGrid((-7.7, -8, -8), (1, 1, 1), (16, 17, 17))
    with pytest.raises(InputError, match="no voxel of the data"):
        compare_maps(one, DiffuseMap.on_grid(np.ones(aside.shape), aside, TETRAGONAL))
    with pytest.raises(InputError, match="widen the range"):
        compare_maps(one, one, Settings(d_min=100, d_max=200))


# models with maps


@pytest.fixture(scope="module")
def model() -> OnePhonon:
    return OnePhonon(STRUCTURE)


@pytest.fixture(scope="module")
def measured(model: OnePhonon) -> DiffuseMap:
    """What the model gives at voxels of one index, with a background, noise and a missing part."""
    cell = model.crystal.cell.parameters
    grid = MapGrid((-1, -4, -5), (1, 1, 1), (3, 9, 11))
    blank = DiffuseMap.on_grid(np.ones(grid.shape), grid, cell)
    exact = compare_model(model, blank, average=2).model.intensity
    s = np.linalg.norm(grid.hkl @ numpy_cell(cell).inverse, axis=1).reshape(grid.shape)
    noise = np.random.default_rng(2).normal(0, 0.05 * np.nanstd(exact), grid.shape)
    values = 0.1 * (exact + noise + 100 * s)
    values[:, :2, 0] = np.nan
    return DiffuseMap.on_grid(values, grid, cell, spacegroup="P 21 21 21")


def test_a_structure_is_computed_at_the_datas_voxels(
    model: OnePhonon, measured: DiffuseMap
) -> None:
    settings = Settings(isotropic=Isotropic("line", 4))
    found = compare_model(model, measured, settings, average=2)
    assert found.overall.n == measured.n_valid
    assert found.overall.cc_anisotropic > 0.98
    assert found.scale_anisotropic == pytest.approx(0.1, rel=0.05)
    assert "48 points" in found.quadrature
    assert "none on it" in found.quadrature
    assert choose_quadrature(measured.grid).order == 2
    # At the centres of these voxels are Bragg points, where there is nothing to compare.
    with pytest.raises(InputError, match="average it over the voxels"):
        compare_model(model, measured, settings, average=0)


def test_lists_have_no_voxels(model: OnePhonon) -> None:
    listed = DiffuseMap.at_points([[0.1, 0.2, 0.3]], [1.0], model.crystal.cell.parameters)
    with pytest.raises(InputError, match="no voxels to average over"):
        compare_model(model, listed, average=2)


# reports


def test_numbers_agree_in_every_report() -> None:
    one = speckled("P 41")
    found = compare_maps(one, reindex(one, "k,h,-l"), Settings(d_max=20, n_shells=4))
    headings, rows = table(found)
    assert len(rows) == 5
    assert rows[-1][headings.index("voxels")] == str(found.overall.n)
    assert [row[0] for row in trial_table(found)[1]] == ["h,k,l", "k,h,-l (used)"]
    assert any("k,h,-l instead of" in line for line in summary(found))
    plain = to_dict(found)
    assert plain["overall"]["cc"] == found.overall.cc
    assert plain["overall"]["cc_star"] is None
    assert plain["indexing"]["used"] == "k,h,-l"
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


# the command


def run(*arguments: object, width: int = 140) -> str:
    return run_command("compare", *arguments, COLUMNS=str(width))


def test_compare_maps_on_the_command_line(tmp_path: Path) -> None:
    one = speckled("P 41")
    write_map(one, tmp_path / "model.h5")
    write_map(reindex(one, "k,h,-l"), tmp_path / "data.nxs")
    files = {key: tmp_path / f"out.{key}" for key in ("csv", "json", "png")}
    outputs = [x for key, path in files.items() for x in (f"--{key}", path)]
    command = [tmp_path / "model.h5", tmp_path / "data.nxs", "--d-max", 20, "--shells", 3, *outputs]
    output = run(*command)
    assert "k,h,-l (used)" in output
    assert "clearly the best" in output
    with files["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["shell"] for row in rows] == ["1", "2", "3", "all"]
    assert float(rows[-1]["cc_anisotropic"]) == pytest.approx(1, abs=1e-6)
    assert json.loads(files["json"].read_text())["indexing"]["used"] == "k,h,-l"
    assert image.imread(files["png"]).std() > 0.05
    with pytest.raises(OnePhononError, match="exists"):
        run(*command)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_number_is_cut_short_in_a_narrow_terminal(tmp_path: Path, width: int) -> None:
    one = speckled("P 41")
    write_map(replace(one, halves=(one.intensity + 1, one.intensity)), tmp_path / "a.h5")
    output = run(tmp_path / "a.h5", tmp_path / "a.h5", "--d-max", 20, "--shells", 2, width=width)
    assert "…" not in output
    for heading in ("CC*", "CC½", "wR", "mean", "below"):
        assert heading in output
    assert max(len(line) for line in output.splitlines()) <= width


def test_data_without_a_cell_take_the_models(tmp_path: Path) -> None:
    one = speckled("P 41")
    write_map(one, tmp_path / "model.h5")
    np.save(tmp_path / "data.npy", one.intensity)
    where = [x for name in ("--h", "--k", "--l") for x in (name, -8, 8, 1)]
    output = run(tmp_path / "model.h5", tmp_path / "data.npy", "--d-max", 20, *where)
    assert "1.000" in output


def test_compare_a_structure_on_the_command_line(tmp_path: Path, measured: DiffuseMap) -> None:
    bare = tmp_path / "data.npy"
    np.save(bare, measured.intensity)
    where = ["--h", -1, 1, 1, "--k", -4, 4, 1, "--l", -5, 5, 1]
    # The file does not say its cell: the structure does. One voxel per index: averaged unasked.
    output = run(STRUCTURE, bare, *where, "--remove-shells", 4, "-o", tmp_path / "model.h5")
    assert "averaged over each voxel" in output
    assert (tmp_path / "model.h5").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--average", 2], "only for a structure as MODEL"),
        (["--d-min", 5, "--d-max", 3], "--d-min 5 and --d-max 3 leave nothing between them"),
        (["--remove", "everything"], "is not one of"),
        (["--weights", "sigma"], "weights by sigma"),
        (["--reindex", "l,k,h"], "does not allow it"),
        (["--csv", "no/such/folder/a.csv"], "no such folder|does not exist|folder"),
        (["--png", "a.bmp"], "png"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, options: list[object], message: str) -> None:
    write_map(speckled("P 41"), tmp_path / "a.h5")
    with pytest.raises(OnePhononError, match=message):
        run(tmp_path / "a.h5", tmp_path / "a.h5", *options)
