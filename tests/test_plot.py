"""Pictures: what they show, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onephonon import DiffuseMap, MapFileError
from onephonon.plot import draw, save


def grid_map(shape: tuple[int, int, int], **changes: object) -> DiffuseMap:
    h, k, l = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")  # noqa: E741
    hkl = np.stack([h.ravel(), k.ravel(), l.ravel()], axis=1)
    intensity = np.exp(3 * hkl[:, 0] + hkl[:, 1])
    intensity[(hkl == 0).all(1)] = np.nan
    fields = {"map_shape": shape, "hkl": hkl, "cell": (10, 20, 30, 90, 90, 90)} | changes
    return DiffuseMap(hkl * 0.5, intensity, **fields)  # type: ignore[arg-type]


def test_slices_are_central_oriented_and_labelled() -> None:
    figure = draw(grid_map((5, 7, 9)))
    first = figure.axes[0]
    assert (first.get_xlabel(), first.get_ylabel(), first.get_title()) == ("h", "k", "l = 0")
    shown = first.images[0].get_array()
    assert shown.shape == (7, 5)  # k up, h across
    assert shown[3, 4] > shown[3, 0]  # I grows with h, to the right
    assert shown.mask[3, 2]  # the Bragg point is missing
    assert shown.mask.sum() == 1
    left, right, low, high = first.images[0].get_extent()
    # Pixels are centred on their hkl: half a step beyond the ends.
    np.testing.assert_allclose((left, right), (-1.25, 1.25), rtol=1e-12)
    np.testing.assert_allclose((low, high), (-1 - 1 / 6, 1 + 1 / 6), rtol=1e-12)
    # A step in k is half as long in 1/Å as a step in h: the cell is twice as long.
    assert first.get_aspect() == pytest.approx(0.5)


def test_histogram_counts_every_point() -> None:
    figure = draw(grid_map((5, 7, 9)))
    panel = figure.axes[3]
    assert sum(p.get_height() for p in panel.patches) == 5 * 7 * 9 - 1
    assert "1 missing" in panel.get_title()


@pytest.mark.parametrize("shape", [None, (2, 2, 2)])
def test_without_a_fitting_shape_a_list_is_drawn(shape: object) -> None:
    figure = draw(grid_map((3, 3, 3), map_shape=shape))
    assert "|q|" in figure.axes[0].get_xlabel()


def test_long_lists_and_flat_maps_draw(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    save(draw(DiffuseMap(rng.normal(size=(30_000, 3)), rng.random(30_000))), tmp_path / "a.png")
    save(draw(grid_map((1, 1, 6))), tmp_path / "b.png")
    save(draw(DiffuseMap(np.ones((4, 3)), np.ones(4))), tmp_path / "c.png")
    assert all((tmp_path / f"{x}.png").stat().st_size > 1000 for x in "abc")


def test_nothing_to_draw_and_wrong_endings(tmp_path: Path) -> None:
    with pytest.raises(MapFileError, match="nothing to draw"):
        draw(DiffuseMap(np.ones((2, 3)), np.full(2, np.nan)))
    with pytest.raises(MapFileError, match=r"\.png"):
        save(draw(grid_map((2, 2, 2))), tmp_path / "a.jpg")
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(MapFileError, match="--force"):
        save(draw(grid_map((2, 2, 2))), tmp_path / "a.png")
