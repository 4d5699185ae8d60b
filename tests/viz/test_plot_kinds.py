"""Halos, curves, B-factors, films, and the command that draws them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from PIL import Image

from commands import run_command
from onephonon import DiffuseMap, FileError, InputError, MapGrid, OnePhonon, write_map
from onephonon.crystal.crystal import AtomLabel
from onephonon.maps import radial_average
from onephonon.viz.plot import (
    animate,
    draw_b_factors,
    draw_halos,
    draw_model_b_factors,
    draw_profiles,
    draw_shells,
    strongest_halos,
)
from onephonon.viz.plot.animation import MAX_FRAMES, sweep
from structures import DATA

CELL = (20.0, 25.0, 30.0, 90.0, 105.0, 90.0)

#: Strengths of halos; the second is equivalent to the first under 2/m, the third by Friedel.
STRENGTHS = {(1, 1, 0): 9.0, (1, -1, 0): 9.0, (-1, -1, 0): 9.0, (-1, 1, 0): 9.0, (0, 0, 1): 5.0}
STRENGTHS |= {(0, 0, -1): 5.0, (0, 1, 1): 7.0, (0, -1, -1): 7.0, (0, 0, 0): 99.0}


def halo_map(n: int = 4, spacegroup: str = "", reach: float = 1.75) -> DiffuseMap:
    """Halos that fall off as 1/k² around Bragg points, which have no value."""
    grid = MapGrid.from_sampling(*[(-reach, reach, n)] * 3)
    hkl = grid.hkl
    intensity = np.ones(grid.size)
    for peak, strength in STRENGTHS.items():
        k_squared = ((hkl - peak) ** 2).sum(axis=1)
        near = (k_squared < 0.2) & (k_squared > 0)
        intensity[near] += strength / k_squared[near]
    intensity[(hkl % 1 == 0).all(axis=1)] = np.nan
    return DiffuseMap.on_grid(intensity, grid, CELL, spacegroup=spacegroup)


def captions(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.legends[0].get_texts())


def test_strongest_halos_one_of_each_set_of_equivalents() -> None:
    friedel = [tuple(x) for x in strongest_halos(halo_map(), 4).tolist()]
    assert friedel == [(1, 1, 0), (1, -1, 0), (0, 1, 1), (0, 0, 1)]
    laue = [tuple(x) for x in strongest_halos(halo_map(spacegroup="P 1 21 1"), 3).tolist()]
    assert laue == [(1, 1, 0), (0, 1, 1), (0, 0, 1)]
    # Half of the strongest halo is beyond what the map has: it would be cut off.
    cropped = halo_map()
    cropped.volume[cropped.grid.axes[0] > 1] = np.nan  # type: ignore[union-attr]
    cropped.volume[cropped.grid.axes[0] < -1] = np.nan  # type: ignore[union-attr]
    cropped.volume[:, cropped.grid.axes[1] > 1] = np.nan  # type: ignore[union-attr]
    assert (1, 1, 0) not in [tuple(x) for x in strongest_halos(cropped, 3).tolist()]
    with pytest.raises(InputError, match="has only 13 symmetry-independent Bragg points"):
        strongest_halos(halo_map(), 99)
    with pytest.raises(InputError, match="1 x 1 x 1 voxels per Miller index"):
        strongest_halos(halo_map(n=1), 1)
    with pytest.raises(InputError, match="0 halos"):
        strongest_halos(halo_map(), 0)


def test_halos_are_cut_around_their_bragg_points() -> None:
    figure = draw_halos(halo_map(spacegroup="P 1 21 1"), 3)
    panels = figure.axes[:3]
    assert [p.get_title().split(":")[0] for p in panels] == ["1 1 0", "0 1 1", "0 0 1"]
    spacing = 1 / np.linalg.norm(np.linalg.inv(_matrix())[0] + np.linalg.inv(_matrix())[1])
    assert panels[0].get_title().endswith(f"{spacing:.2f} Å")
    for panel, strength in zip(panels, (9, 7, 5), strict=True):
        values = panel.images[0].get_array()
        middle = tuple(n // 2 for n in values.shape)
        assert values.mask[middle]  # the Bragg point is in the middle
        # Four voxels per index: the next one is a quarter away.
        beside = [values[middle[0] + i, middle[1] + j] for i, j in ((0, 1), (0, -1), (1, 0))]
        np.testing.assert_allclose(beside, 1 + strength / 0.25**2)
    assert len({id(p.images[0].norm) for p in panels}) == 1
    assert "strongest first" in captions(figure)
    chosen = draw_halos(halo_map(), [(0, 0, 1), (0, 1, 1)], axis=0)
    assert "in the given order" in captions(chosen)
    assert chosen.axes[0].get_ylabel() == "l"


def _matrix() -> np.ndarray:
    from onephonon.crystal import numpy_cell

    return numpy_cell(CELL).matrix


@pytest.mark.parametrize("peaks", [[(0, 0, 9)], [(0, 0, 0.5)], [(0, 0)], []])
def test_what_is_no_bragg_point_of_the_map_is_refused(peaks: list[object]) -> None:
    with pytest.raises(InputError, match=r"Bragg point|misses the map"):
        draw_halos(halo_map(), peaks)  # type: ignore[arg-type]


def test_profiles_draw_mean_and_spread() -> None:
    profile = radial_average(halo_map(), 8)
    figure = draw_profiles({"model": profile, "data": profile}, label="I / e²")
    panel = figure.axes[0]
    lines = [line for line in panel.lines if line.get_label() in ("model", "data")]
    for line in lines:
        np.testing.assert_array_equal(line.get_ydata(), profile.mean[profile.count > 0])
    assert lines[0].get_linestyle() != lines[1].get_linestyle()  # told apart in grey, too
    band = panel.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(np.nanmax(profile.mean + profile.std))
    assert panel.get_legend() is not None
    top = figure.axes[1]
    assert top.get_xlabel() == "d / Å"
    for s, text in zip(top.get_xticks(), top.get_xticklabels(), strict=True):
        assert float(text.get_text()) == pytest.approx(1 / s, rel=5e-3)  # three digits
    assert draw_profiles({"": profile}).axes[0].get_legend() is None
    with pytest.raises(InputError, match="no profiles"):
        draw_profiles({})


def test_shells_draw_curves_and_limits() -> None:
    edges = [0.1, 0.2, 0.3, 0.4]
    figure = draw_shells(edges, {"CC": [0.9, np.nan, -0.3]}, limits={"CC*": [1, 0.9, 0.8]})
    panel = figure.axes[0]
    named = {line.get_label(): line for line in panel.lines}
    np.testing.assert_allclose(named["CC"].get_xdata(), [0.15, 0.25, 0.35])
    np.testing.assert_array_equal(named["CC"].get_ydata(), [0.9, np.nan, -0.3])
    assert named["CC*"].get_linestyle() == "--"
    assert panel.get_ylim()[0] < -0.3
    with pytest.raises(InputError, match="CC has 2 values; 4 edges have 3 shells"):
        draw_shells(edges, {"CC": [1, 2]})
    with pytest.raises(InputError, match="increasing"):
        draw_shells([0.3, 0.2], {"CC": [1]})
    with pytest.raises(InputError, match="no curves"):
        draw_shells(edges, {})


def test_b_factors_are_means_over_residues_in_the_order_of_the_file() -> None:
    labels = [
        AtomLabel(c, n, "ALA", "CA", "C")
        for c, n in (("A", "9"), ("A", "9"), ("A", "10"), ("B", "9"))
    ]
    figure = draw_b_factors([1, 3, 5, 7], [2, 4, 6, 9], labels)
    left, right = figure.axes
    drawn = {line.get_label(): line for line in left.lines}
    np.testing.assert_array_equal(drawn["file"].get_ydata(), [3, 6])
    np.testing.assert_array_equal(drawn["model"].get_ydata(), [2, 5])
    assert [line.get_ydata().tolist() for line in left.lines if len(line.get_ydata()) == 1] == [
        [9],
        [7],
    ]
    assert [t.get_text() for t in left.texts] == ["A", "B"]
    assert [t.get_text() for t in left.get_xticklabels()] == ["9", "10", "9"]
    assert right.get_title() == f"4 atoms, CC {np.corrcoef([1, 3, 5, 7], [2, 4, 6, 9])[0, 1]:.2f}"
    with pytest.raises(InputError, match="3 and 4 B-factors and 4 labels"):
        draw_b_factors([1, 2, 3], [1, 2, 3, 4], labels)
    with pytest.raises(InputError, match="not finite"):
        draw_b_factors([1, 2, 3, np.nan], [1, 2, 3, 4], labels)


def test_b_factors_of_a_model() -> None:
    model = OnePhonon(DATA / "2ol9.pdb", (0, 1, 2), (0, 1, 2), (0, 1, 2), group_by="residue")
    right = draw_model_b_factors(model).axes[1]
    B = 8 * np.pi**2 * model.ADP.detach().numpy()
    np.testing.assert_allclose(right.lines[0].get_ydata(), B, rtol=1e-12)
    # The thermal scale makes the means equal.
    assert right.lines[0].get_xdata().mean() == pytest.approx(B.mean(), rel=1e-9)


def small_map(n: int = 2) -> DiffuseMap:
    grid = MapGrid.from_sampling((-1, 1, n), (-1, 1, n), (-1.5, 1.5, n))
    volume = 2 + np.arange(grid.size, dtype=float).reshape(grid.shape) % 5
    volume[..., :1] = np.nan  # a layer without values
    return DiffuseMap.on_grid(volume, grid, CELL)


def test_films_have_a_frame_for_each_layer_that_has_values(tmp_path: Path) -> None:
    seen: list[int] = []
    path = tmp_path / "film.gif"
    n = animate(small_map(), path, dpi=30, progress=lambda *step: seen.append(step[1]))
    assert n == 6
    assert seen == [1, 2, 3, 4, 5, 6]
    with Image.open(path) as film:
        assert film.n_frames == 6
        assert film.info["loop"] == 0
        assert film.info["duration"] == 125 // 10 * 10  # GIF counts hundredths of a second
        frames = []
        for i in range(2):
            film.seek(i)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
    first, second = frames
    assert np.abs(first - second).max() > 50
    assert (first[0, 0] == 255).all()  # the ground stays white
    assert not list(tmp_path.glob("*.part"))


def test_films_leave_layers_out_that_would_flicker_and_those_too_many() -> None:
    layers = [plane.origin[2] for plane in sweep(halo_map(n=2, reach=2), 2)]
    assert layers == [-1.5, -0.5, 0.5, 1.5]
    grid = MapGrid.from_sampling((0, 0, 1), (0, 0, 1), (-30, 30, 10))
    many = sweep(DiffuseMap.on_grid(np.ones(grid.shape), grid, CELL), 2)
    assert len(many) == MAX_FRAMES
    assert (many[0].origin[2], many[-1].origin[2]) == (-30, 30)


def test_invalid_animations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onephonon.viz.plot import animation

    with pytest.raises(FileError, match=r"an animation is a \.gif or \.mp4 file"):
        animate(small_map(), tmp_path / "film.avi")
    monkeypatch.setattr(animation.FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(FileError, match=r"ffmpeg, which is not installed; .* \.gif"):
        animate(small_map(), tmp_path / "film.mp4")
    with pytest.raises(InputError, match="axis 3"):
        animate(small_map(), tmp_path / "film.gif", axis=3)
    empty = small_map()
    empty.volume[:] = np.nan
    with pytest.raises(InputError, match="no layer"):
        animate(empty, tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())


def run(*arguments: object) -> str:
    return run_command("visualize", *arguments)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    model = halo_map()
    data = DiffuseMap.on_grid(2 * model.intensity, model.grid, CELL)  # type: ignore[arg-type]
    write_map(model, tmp_path / "model.h5")
    write_map(data, tmp_path / "data.npz")
    return tmp_path / "model.h5", tmp_path / "data.npz"


def test_visualize_draws_what_is_asked_for(files: tuple[Path, Path]) -> None:
    model, data = files
    folder = model.parent
    output = run(model, "--plane", "hk0.25", "--halos", 2, "--dpi", 40)
    assert "model.png" in output
    assert "model-halos.png" in output
    run(model, data, "--profile", "-o", folder / "p.svg")
    run(model, "--against", data, "--range", 1, 20, "--dpi", 40, "-o", folder / "c.png")
    output = run(model, "--animate", folder / "f.gif", "--plane", "h0l", "--anisotropic", "--force")
    assert "frames" in output
    made = {path.name for path in folder.iterdir()} - {"model.h5", "data.npz"}
    assert made == {"model.png", "model-halos.png", "p.svg", "c.png", "f.gif"}
    for name in ("model.png", "model-halos.png", "c.png"):
        assert image.imread(folder / name)[..., :3].std() > 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plane", "hkl"], "two variable indices"),
        (["--plane", "hk9"], "l = 9 misses the map"),
        (["--halos", 99], "99 halos"),
        (["--scale", "loud"], "'loud'"),
        (["--range", 3, 1], "--range 3 1: two numbers, the first the lower"),
        (["--dpi", 1], "dpi 1"),
        (["--animate", "film.mov"], "film.mov"),
        (["--animate", "film.gif", "--plane", "hhl"], "constant h, k or l, which hhl is not"),
        (["-o", "a.jpg"], "a.jpg"),
    ],
)
def test_visualize_names_invalid_options(
    files: tuple[Path, Path], arguments: list[object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files[0].parent)
    with pytest.raises((InputError, FileError), match=message):
        run(files[0], *arguments, "--quiet", "--force")
    with pytest.raises(InputError, match="both a second map"):
        run(*files, "--against", files[1])
