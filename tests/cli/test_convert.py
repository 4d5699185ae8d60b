"""``onephonon convert`` and ``onephonon info``, as a user runs them, and what info reckons."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from commands import run_command
from foreign_maps import CELL, GRID, MAPS, assert_tells, made_up, telling, telling_map, write_lunus
from onephonon import DiffuseMap, MapGrid, OnePhononError, read_map, write_map
from onephonon.cli.info.picture import COLOURS, sections
from onephonon.maps import symmetrize
from onephonon.maps.equivalents import symmetry_agreement
from onephonon.maps.summary import summarize

#: What a terminal's colours are written as.
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

TETRAGONAL = (40.0, 40.0, 60.0, 90.0, 90.0, 90.0)


def run(*arguments: object, width: int = 120) -> str:
    return run_command(*arguments, COLUMNS=str(width), TERM="xterm-256color")


# convert


def test_through_every_format_and_back(tmp_path: Path) -> None:
    write_map(made_up(), tmp_path / "0.h5")
    cell = ["--cell", *CELL]
    expected_text = {
        ".lat": cell,
        ".npy": [*cell, "--h", -2, 2, 2, "--k", -1, 1, 3, "--l", 0, 4, 1],
    }
    endings = [".h5", ".nxs", ".mtz", ".hkl", ".npz", ".ccp4", ".lat", ".npy", ".h5"]
    for n, (old, new) in enumerate(itertools.pairwise(endings)):
        source, target = tmp_path / f"{n}{old}", tmp_path / f"{n + 1}{new}"
        output = run("convert", source, target, *expected_text.get(old, []))
        assert f"wrote {target}" in output
    back = read_map(tmp_path / f"{len(endings) - 1}.h5")
    assert back.grid == GRID
    np.testing.assert_array_equal(back.intensity, made_up().intensity)
    assert any("plain array" in line for line in back.history)


def test_convert_prints_assumptions_and_losses(tmp_path: Path) -> None:
    out = tmp_path / "map.ccp4"
    geometry = MAPS / "mdx2_geometry.nxs"
    output = run("convert", MAPS / "mdx2_merged.nxs", out, "--cell-from", geometry)
    assert "2, 3, 1 voxels per index" in output
    assert "cell of mdx2_geometry.nxs" in output
    assert "not kept in .ccp4: sigma, counts, half-sets, history" in output
    assert_tells(read_map(out), 149)
    silent = run("convert", out, tmp_path / "map.nxs", "--table", "--quiet")
    assert silent == ""
    assert_tells(read_map(tmp_path / "map.nxs"), 149)


def test_options_reach_the_reader(tmp_path: Path) -> None:
    write_lunus(tmp_path / "map.lat", telling(GRID.hkl).reshape(GRID.shape), [0.0] * 6)
    out = tmp_path / "map.h5"
    run(
        *("convert", tmp_path / "map.lat", out, "--cell", *CELL, "--spacegroup", "P1"),
        *("--per-index", 2, 3, 1, "--origin", 4, 3, 0),
    )
    diffuse = read_map(out)
    assert_tells(diffuse, GRID.size)
    assert diffuse.spacegroup == "P 1"
    column = "hkl_table/group_0_intensity"
    table = MAPS / "mdx2_merged.nxs"
    run("convert", table, out, "--cell", *CELL, "--dataset", column, "--force")
    assert any("group_0_intensity" in line for line in read_map(out).history)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cell", *CELL, "--cell-from", "x.pdb"], "give one"),
        (["--per-index", 1, 1, 1, "--h", 0, 1, 1, "--k", 0, 1, 1, "--l", 0, 1, 1], "give one"),
        (["--h", 0, 1, 1], "all three"),
        (["--dataset", "x"], "leave it out"),
    ],
)
def test_options_that_contradict(tmp_path: Path, options: list[object], message: str) -> None:
    write_map(telling_map(), tmp_path / "map.npz")
    with pytest.raises(OnePhononError, match=message):
        run("convert", tmp_path / "map.npz", tmp_path / "out.h5", *options)
    assert not (tmp_path / "out.h5").exists()


def test_nothing_is_read_for_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out.h5").write_text("mine")
    with pytest.raises(OnePhononError, match="--force"):
        run("convert", "no-such.nxs", tmp_path / "out.h5")
    with pytest.raises(OnePhononError, match="read"):
        run("convert", "no-such.nxs", tmp_path / "out.nc")


# info


def test_info_says_what_is_in_a_map(tmp_path: Path) -> None:
    write_map(made_up(), tmp_path / "map.h5")
    output = run("info", tmp_path / "map.h5")
    assert not ESCAPE.search(output)  # no terminal: neither colours nor a picture
    assert "▀" not in output
    for expected_text in (
        "map.h5: onephonon HDF5",
        "h from -2 to 2: 9 voxels, 2 per index",
        "l from 0 to 4: 5 voxels, 1 per index",
        f"{made_up().n_valid} of 315",
        "27.26, 31.98, 34.29 Å; 88.53, 108.57, 111.85°",
        "P 1",
        "e² per cell",
        "half-sets (CC½ 1.0000)",
        "Friedel pairs",
        "made up",
        "I/sigma",
    ):
        assert expected_text in output, expected_text


def test_info_of_a_list_and_of_an_empty_map(tmp_path: Path) -> None:
    listed = DiffuseMap.at_points(np.random.default_rng(0).random((9, 3)), np.arange(9.0))
    write_map(listed, tmp_path / "list.npz")
    output = run("info", tmp_path / "list.npz", "--picture")
    assert "9 q-vectors" in output
    assert "symmetry" not in output
    empty = DiffuseMap.on_grid(np.full(GRID.shape, np.nan), GRID, CELL)
    write_map(empty, tmp_path / "empty.h5")
    assert "0 of 315" in run("info", tmp_path / "empty.h5", "--picture")


def test_info_draws_in_the_terminal_when_asked(tmp_path: Path) -> None:
    write_map(telling_map(), tmp_path / "map.h5")
    output = run("info", tmp_path / "map.h5", "--picture")
    assert "\x1b[38;2;" in output
    bare = ESCAPE.sub("", output)
    assert "▀" in bare
    for title in ("l = 0: h to the right, k up", "k = 0:", "h = 0: k to the right, l up"):
        assert title in bare
    assert max(len(line) for line in bare.splitlines()) <= 120
    narrow = ESCAPE.sub("", run("info", tmp_path / "map.h5", "--picture", width=40))
    assert "k = 0:" not in narrow
    assert max(len(line) for line in narrow.splitlines() if "▀" in line) <= 40


def test_info_writes_a_png(tmp_path: Path) -> None:
    write_map(made_up(), tmp_path / "map.h5")
    run("info", tmp_path / "map.h5", "--png", tmp_path / "map.png")
    assert image.imread(tmp_path / "map.png")[..., :3].std() > 0.05  # something is drawn
    with pytest.raises(OnePhononError, match="--force"):
        run("info", tmp_path / "map.h5", "--png", tmp_path / "map.png")
    with pytest.raises(OnePhononError, match=r"\.png"):
        run("info", tmp_path / "map.h5", "--png", tmp_path / "map.jpg")


def test_info_compares_under_another_laue_class(tmp_path: Path) -> None:
    grid = MapGrid((-3.0, -3.0, -3.0), (1.0, 1.0, 1.0), (7, 7, 7))
    diffuse = DiffuseMap.on_grid(
        np.random.default_rng(1).random(grid.shape), grid, TETRAGONAL, spacegroup="P 41"
    )
    write_map(symmetrize(diffuse).map, tmp_path / "map.h5")
    output = run("info", tmp_path / "map.h5")
    assert "Laue group of P 41, 8 operators" in output
    assert "other equivalents: CC 1.0000" in output
    output = run("info", tmp_path / "map.h5", "--laue", "4/mmm")
    assert "16 operators" in output
    assert "other equivalents: CC 1.0000" not in output
    with pytest.raises(OnePhononError, match="does not have the symmetry"):
        run("info", tmp_path / "map.h5", "--laue", "m-3m")


# the picture


def test_pixels_lie_where_their_voxels_are() -> None:
    # Right angles and as many pixels as voxels: the section is the plane of voxels itself.
    grid = MapGrid((-4.0, -2.0, -1.0), (1.0, 1.0, 1.0), (9, 5, 3))
    cell = (50.0, 50.0, 50.0, 90.0, 90.0, 90.0)
    values = 1000 + np.arange(grid.size, dtype=float).reshape(grid.shape)
    values[2, 3, 1] = np.nan
    diffuse = DiffuseMap.on_grid(values, grid, cell)
    found, scale = sections(diffuse, width=9)
    assert len(found) == 1
    assert found[0].title == "l = 0: h to the right, k up"
    plane = values[:, :, 1].T[::-1]  # k up, h to the right
    shown = found[0].pixels
    assert shown.shape == plane.shape
    np.testing.assert_array_equal(np.isnan(shown), np.isnan(plane))
    low, high = np.nanpercentile(plane, (1.0, 99.5))
    expected = np.clip((plane - low) / (high - low), 0, 1)
    np.testing.assert_allclose(shown, expected, atol=1e-12)  # the same sums
    assert f"{low:.4g} to {high:.4g}" in scale


def test_fine_maps_are_averaged_not_sampled() -> None:
    # One voxel in four is bright; a pixel covers sixteen by sixteen of them.
    grid = MapGrid((-2.0, -2.0, 0.0), (1 / 32, 1 / 32, 1.0), (128, 128, 1))
    values = np.zeros(grid.shape)
    values[::2, ::2] = 4.0
    values[:64] *= 2
    found, _ = sections(DiffuseMap.on_grid(values, grid, (50.0, 50.0, 50.0, 90, 90, 90)), width=8)
    # From 2 on the left to 1 on the right, each half even.
    np.testing.assert_allclose(found[0].pixels[:, :4], 1.0)
    np.testing.assert_allclose(found[0].pixels[:, 4:], 0.0)


def test_oblique_axes_are_drawn_oblique() -> None:
    cell = (50.0, 50.0, 50.0, 90.0, 90.0, 120.0)
    grid = MapGrid((-8.0, -8.0, 0.0), (1.0, 1.0, 1.0), (17, 17, 1))
    diffuse = DiffuseMap.on_grid(np.ones(grid.shape), grid, cell)
    pixels = sections(diffuse, width=40)[0][0].pixels
    drawn = ~np.isnan(pixels)
    rows = drawn[drawn.any(axis=1)]
    first, last = (np.flatnonzero(rows[row]) for row in (-1, 0))
    # gamma* is 60 degrees: the upper edge is shifted to the right by half the width, about.
    assert last.mean() - first.mean() == pytest.approx(0.5 * len(first), abs=2)


def test_colours_rise_in_brightness() -> None:
    brightness = COLOURS @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) > 0).all()


# agreement and summary, against slow and obvious sums


@pytest.mark.parametrize("symmetry", ["P 1", "P 41", "P 41 21 2", "P 2 2 2"])
def test_agreement_of_mates_by_explicit_loops(symmetry: str) -> None:
    from onephonon.crystal import laue_operators

    grid = MapGrid((-2.0, -2.0, -1.0), (1 / 2, 1 / 2, 1.0), (9, 10, 4))
    rng = np.random.default_rng(5)
    values = rng.random(grid.shape)
    values[rng.random(grid.shape) < 0.2] = np.nan
    diffuse = DiffuseMap.on_grid(values, grid, TETRAGONAL)
    table = {tuple(np.round(hkl, 6)): v for hkl, v in zip(grid.hkl, values.ravel(), strict=True)}
    pairs: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for operator in laue_operators(symmetry)[1:]:
        inversion = bool((operator == -np.eye(3)).all())
        for hkl, a in table.items():
            other = tuple(np.round(np.array(hkl) @ operator, 6) + 0.0)
            b = table.get(other, np.nan)
            if other != hkl and not np.isnan(a) and not np.isnan(b):
                pairs[inversion].append((a, b))
    found = symmetry_agreement(diffuse, symmetry)
    for inversion, result in ((True, found.friedel), (False, found.rotations)):
        assert result.n_pairs == len(pairs[inversion])
        if pairs[inversion]:
            a, b = np.array(pairs[inversion]).T
            # The same sums in another order.
            assert result.cc == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
            assert result.r == pytest.approx(np.abs(a - b).sum() / (a + b).sum(), rel=1e-12)


def test_isotropic_agreement_is_taken_away() -> None:
    # Noise on a steep fall-off: all but a little of the CC is the fall-off's.
    grid = MapGrid((-10.0, -10.0, -10.0), (1.0, 1.0, 1.0), (21, 21, 21))
    smooth = DiffuseMap.on_grid(np.zeros(grid.shape), grid, TETRAGONAL)
    with np.errstate(divide="ignore"):
        s = 1.0 / smooth.resolution.astype(float)
    noise = np.random.default_rng(6).normal(size=grid.shape)
    values = 100 * np.exp(-20 * s**2) + noise
    found = symmetry_agreement(DiffuseMap.on_grid(values, grid, TETRAGONAL), "P 4").rotations
    assert found.cc > 0.9
    # 27,000 pairs of noise: a CC of chance is about 0.006; what is left of the fall-off in one
    # of fifty shells is below the noise.
    assert abs(found.cc_anisotropic) < 0.05


def test_summary_by_explicit_loops() -> None:
    diffuse = made_up(np.float64)
    assert diffuse.sigma is not None
    diffuse.sigma[::3] = np.nan  # of which the signal is not known
    diffuse.sigma[1] = 0.0
    summary = summarize(diffuse, n_shells=4)
    valid = diffuse.intensity[diffuse.mask]
    np.testing.assert_array_equal(summary.percentiles, np.percentile(valid, (0, 1, 50, 99, 100)))
    assert summary.mean == pytest.approx(valid.mean(), rel=1e-12)  # summed in another order
    assert summary.negative == np.mean(valid < 0)
    with np.errstate(divide="ignore"):
        s = 1.0 / diffuse.resolution.astype(float)
    assert summary.d_min == pytest.approx(1 / s[diffuse.mask].max(), rel=1e-6)  # single precision
    shells = summary.shells
    assert shells.voxels.sum() <= diffuse.intensity.size
    assert shells.valid.sum() == diffuse.n_valid
    assert diffuse.halves is not None
    for i in range(4):
        # Far from the edges of shells the rounding of d does not matter.
        inside = (s >= shells.edges[i]) & (s < shells.edges[i + 1] + (i == 3)) & diffuse.mask
        assert shells.valid[i] == inside.sum()
        known = inside & (diffuse.sigma > 0)
        ratio = diffuse.intensity[known] / diffuse.sigma[known]
        assert shells.mean[i] == pytest.approx(diffuse.intensity[inside].mean(), rel=1e-12)
        assert shells.signal[i] == pytest.approx(ratio.mean(), rel=1e-12)
        a, b = (half[inside] for half in diffuse.halves)
        # Through sums of squares, 1e4 times larger than their differences from the mean.
        assert shells.cc_half[i] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    assert summary.cc_half == pytest.approx(1.0, abs=1e-12)


def test_maps_are_read_without_torch() -> None:
    # Two seconds of every info and convert.
    code = (
        "import sys, onephonon.maps.io.registry, onephonon.maps.summary;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
