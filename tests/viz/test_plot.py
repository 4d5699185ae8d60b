"""Pictures: what they show, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import LogNorm

from onephonon import DiffuseMap, FileError, InputError, MapGrid
from onephonon.viz.plot import draw, draw_comparison, draw_slices, match, save
from onephonon.viz.plot.style import choose_colours, written

CELL = (10.0, 20.0, 30.0, 90.0, 90.0, 90.0)


def grid_map(shape: tuple[int, int, int]) -> DiffuseMap:
    grid = MapGrid.from_axes(*(np.linspace(-1, 1, n) for n in shape))
    hkl = grid.hkl
    intensity = np.exp(3 * hkl[:, 0] + hkl[:, 1])
    intensity[(hkl == 0).all(1)] = np.nan
    return DiffuseMap.on_grid(intensity, grid, CELL, units="e^2 per cell")


def flat_map(values: object, n: float = 2.0, reach: float = 2.0) -> DiffuseMap:
    """A map with the given intensity, a number or a function of h, k, l."""
    grid = MapGrid.from_sampling(*[(-reach, reach, n)] * 3)
    intensity = values(*grid.hkl.T) if callable(values) else np.full(grid.size, values)
    return DiffuseMap.on_grid(intensity, grid, CELL)


def test_slices_are_central_oriented_and_labelled() -> None:
    figure = draw(grid_map((5, 7, 9)))
    first = figure.axes[0]
    assert (first.get_xlabel(), first.get_ylabel(), first.get_title()) == ("h", "k", "$l$ = 0")
    shown = first.images[0].get_array()
    assert shown.shape == (7, 5)  # k up, h across
    assert shown[3, 4] > shown[3, 0]  # I grows with h, to the right
    assert shown.mask[3, 2]  # the Bragg point is missing
    assert shown.mask.sum() == 1
    # Pixels are centred on their hkl, half a step beyond the ends, and lie as long in 1/Å.
    low, high = first.get_xlim()
    np.testing.assert_allclose((low, high), (-1.25 * 2 * np.pi / 10, 1.25 * 2 * np.pi / 10))
    low, high = first.get_ylim()
    np.testing.assert_allclose(high, (1 + 1 / 6) * 2 * np.pi / 20, rtol=1e-12)
    assert first.get_aspect() == 1
    assert "e² per cell" in figure.axes[-1].get_ylabel() + figure.axes[-1].get_xlabel()


def test_histogram_counts_every_voxel() -> None:
    panel = draw(grid_map((5, 7, 9))).axes[3]
    counts, _, _ = panel.patches[0].get_data()
    assert counts.sum() == 5 * 7 * 9 - 1
    assert "1 missing" in panel.get_title()


def test_a_list_is_drawn_as_one() -> None:
    diffuse = grid_map((3, 3, 3))
    figure = draw(DiffuseMap.at_points(diffuse.q_vectors, diffuse.intensity.ravel()))
    assert "|q|" in figure.axes[0].get_xlabel()
    # The second scale reads d = 2 pi/|q| at the same places.
    top = figure.axes[2]
    ticks = top.get_xticks()
    labels = [float(t.get_text()) for t in top.get_xticklabels()]
    np.testing.assert_allclose(labels, 2 * np.pi / ticks, rtol=5e-3)  # three digits are written


def test_long_lists_and_flat_maps_draw(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    q, values = rng.normal(size=(30_000, 3)), rng.random(30_000)
    for name, diffuse in {
        "long": DiffuseMap.at_points(q, values),
        "flat": grid_map((1, 1, 6)),
        "all the same": DiffuseMap.at_points(np.ones((4, 3)), np.ones(4)),
        "signed": DiffuseMap.at_points(q[:99], values[:99] - 0.5),
    }.items():
        save(draw(diffuse), tmp_path / f"{name}.png", dpi=40)
        assert image.imread(tmp_path / f"{name}.png")[..., :3].std() > 0.02, name


def test_nothing_to_draw_and_wrong_endings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        draw(DiffuseMap.at_points(np.ones((2, 3)), np.full(2, np.nan)))
    with pytest.raises(InputError, match="nothing to draw"):
        draw_slices(flat_map(np.nan))
    figure = draw_slices(grid_map((2, 2, 2)), ["hk0"])
    with pytest.raises(FileError, match=r"\.png, \.pdf, \.svg"):
        save(figure, tmp_path / "a.jpg")
    with pytest.raises(InputError, match="dpi 1"):
        save(figure, tmp_path / "a.png", dpi=1)
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(FileError, match="--force"):
        save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_text() == "mine"


def test_vector_pictures_hold_the_map_as_an_image_and_are_the_same_each_time(
    tmp_path: Path,
) -> None:
    for ending, start, inside in ((".pdf", b"%PDF", b"/Image"), (".svg", b"<?xml", b"<image")):
        for name in "ab":
            save(draw_slices(grid_map((5, 7, 9)), ["hk0"]), tmp_path / (name + ending), dpi=50)
        first, second = ((tmp_path / (name + ending)).read_bytes() for name in "ab")
        assert first.startswith(start)
        assert inside in first
        assert first == second


def test_no_figure_stays_open(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    save(draw_slices(grid_map((5, 7, 9)), ["hk0"]), tmp_path / "a.png", dpi=50)
    assert plt.get_fignums() == []


def test_dots_per_inch_set_the_size(tmp_path: Path) -> None:
    figure = draw_slices(grid_map((3, 3, 3)), ["hk0"])
    for dpi in (50, 100):
        save(figure, tmp_path / f"{dpi}.png", dpi=dpi)
    small, large = (image.imread(tmp_path / f"{dpi}.png").shape[1] for dpi in (50, 100))
    assert large == pytest.approx(2 * small, abs=4)  # the margins are cut to whole dots


def test_colours_follow_the_values() -> None:
    rng = np.random.default_rng(1)
    wide, narrow = np.exp(rng.normal(size=999)), 10 + rng.random(999)
    assert isinstance(choose_colours([wide]).norm, LogNorm)
    assert not isinstance(choose_colours([narrow]).norm, LogNorm)
    signed = choose_colours([rng.normal(size=999)])
    assert signed.name != choose_colours([wide]).name
    assert signed.norm.vmin == -signed.norm.vmax  # type: ignore[operator]
    few_negative = np.concatenate([narrow, [-1.0] * 20])
    assert choose_colours([few_negative]).name == choose_colours([wide]).name
    # Robust: one voxel beside a Bragg peak changes nothing much.
    assert choose_colours([np.append(wide, 1e9)]).norm.vmax < wide.max()  # type: ignore[operator]
    given = choose_colours([wide], (1.0, 3.0))
    assert (given.norm.vmin, given.norm.vmax, given.extend) == (1.0, 3.0, "both")
    assert "1 to 3" in given.description
    with pytest.raises(InputError, match="lower"):
        choose_colours([wide], (3.0, 1.0))
    with pytest.raises(InputError, match="'purple' is not one of"):
        choose_colours([wide], scale="purple")
    with pytest.raises(InputError, match="positive"):
        choose_colours([-wide], scale="log")


def test_zero_and_negative_values_are_not_drawn_as_missing() -> None:
    values = np.array([-1.0, 0.0, 1.0, 100.0, np.nan])
    shown = choose_colours([values], (1.0, 100.0), scale="log").shown(values)
    assert shown.mask.tolist() == [False] * 4 + [True]
    np.testing.assert_array_equal(shown[:2], 1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.02, "0.02"), (500, "500"), (2e4, "20 000"), (1e6, "10⁶"), (-2e-5, "−2 × 10⁻⁵")],
)
def test_numbers_are_written_for_readers(value: float, text: str) -> None:
    assert written(value) == text


def model_and_data() -> tuple[DiffuseMap, DiffuseMap]:
    def smooth(h: np.ndarray, k: np.ndarray, l: np.ndarray) -> np.ndarray:  # noqa: E741
        return 10 + h + 2 * k - l

    return flat_map(smooth), flat_map(lambda *hkl: 3 * smooth(*hkl))


def test_model_data_and_difference_share_points_scale_and_window() -> None:
    model, data = model_and_data()
    data = DiffuseMap.on_grid(data.intensity.copy(), data.grid, CELL)  # type: ignore[arg-type]
    data.intensity[0, 0, 4] = np.nan
    figure = draw_comparison(model, data, ["hk0", "h0l"])
    panels = figure.axes[:6]
    images = [panel.images[0] for panel in panels]
    assert images[0].norm is images[1].norm is images[3].norm is images[4].norm
    assert images[2].norm is images[5].norm
    assert images[2].norm.vmin == -images[2].norm.vmax
    assert images[2].cmap.name != images[0].cmap.name
    # The factor is that of the root mean squares: 3, but for the voxel that data lack.
    np.testing.assert_allclose(images[0].get_array(), images[1].get_array(), rtol=1e-12)
    assert images[2].get_array().mask.sum() == images[1].get_array().mask.sum() == 1
    assert not images[0].get_array().mask.any()
    assert len({panel.get_xlim() for panel in panels[:3]}) == 1
    assert panels[2].get_title().startswith("data − model")


def test_a_model_on_another_grid_is_interpolated_at_the_data() -> None:
    model, data = model_and_data()
    finer = flat_map(lambda h, k, l: 10 + h + 2 * k - l, n=2.5)  # noqa: E741
    factor, cc = match(finer, data)
    assert factor == pytest.approx(3, rel=1e-12)  # linear: interpolation is exact
    assert cc == pytest.approx(1, rel=1e-12)
    panels = draw_comparison(finer, data, ["hk0.5"], factor=3).axes
    assert np.abs(panels[2].images[0].get_array()).max() < 1e-12
    assert match(model, data) == pytest.approx((3, 1))


def test_a_fine_model_is_averaged_over_coarse_voxels() -> None:
    coarse = flat_map(lambda h, k, l: 5 + h + k + l, n=1)  # noqa: E741
    fine = flat_map(lambda h, k, l: 5 + h + k + l, n=3)  # noqa: E741
    volume = fine.intensity.copy()
    volume[::3, ::3, ::3] = np.nan  # Bragg points, all that a coarse voxel's centre is
    fine = DiffuseMap.on_grid(volume, fine.grid, CELL)  # type: ignore[arg-type]
    figure = draw_comparison(fine, coarse, ["hk0"], factor=1)
    # Within a voxel the linear intensity averages to that of its centre, which is missing. Only
    # the map's last voxels are cut in halves.
    difference = figure.axes[2].images[0].get_array()
    assert np.abs(difference[1:-1, 1:-1]).max() < 1e-12
    assert not difference.mask.any()
    captions = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("averaged over the voxels" in line for line in captions)


def test_the_anisotropic_part_is_drawn_about_zero() -> None:
    data = flat_map(lambda h, k, l: 100 - h**2 / 25 - k**2 / 100 - l**2 / 225 + h * k)  # noqa: E741
    figure = draw_comparison(data, data, anisotropic=True)
    norms = [panel.images[0].norm for panel in figure.axes[:3]]
    assert norms[0].vmin == -norms[0].vmax
    assert norms[0] is norms[1] is norms[2]  # the difference too
    assert len(figure.axes) == 4  # and one bar
    assert "anisotropic" in "".join(a.get_xlabel() for a in figure.axes)


def test_maps_without_common_voxels_are_refused() -> None:
    _, data = model_and_data()
    with pytest.raises(InputError, match="no voxel has a value in both"):
        draw_comparison(flat_map(np.nan), data)


def test_dollars_in_titles_are_dollars(tmp_path: Path) -> None:
    model, data = model_and_data()
    figure = draw_comparison(model, data, title="a$b$", names=("m$1$", "d$"))
    save(figure, tmp_path / "a.png", dpi=50)
    assert figure.axes[0].get_title().startswith(r"m\$1\$")
