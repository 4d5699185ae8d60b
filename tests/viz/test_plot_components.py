"""Pictures of components of disorder."""

from __future__ import annotations

import numpy as np
import pytest

from onephonon import InputError
from onephonon.viz.plot import (
    Explained,
    draw_covariance,
    draw_explained,
    draw_explained_shells,
)

ROWS = [
    Explained("interpolation", True, 0.8, 0.02, 0.6, 0.03, 0.75),
    Explained("liquid + $segments$", False, 0.86, 0.01, 0.78, 0.02, 0.84),
]


def test_bars_have_the_values_from_the_top_down() -> None:
    panel = draw_explained(ROWS, ceiling=0.94, chosen=1).axes[0]
    assert [round(bar.get_width(), 6) for bar in panel.patches[:4]] == [0.8, 0.86, 0.6, 0.78]
    assert panel.patches[0].get_y() < panel.patches[1].get_y()  # and the axis points down
    assert panel.get_ylim()[0] > panel.get_ylim()[1]
    names = [text.get_text() for text in panel.get_yticklabels()]
    assert names == ["interpolation (baseline)", "liquid + $segments$"]
    second = next(line for line in panel.lines if line.get_marker() == "D")
    np.testing.assert_allclose(second.get_xdata(), [0.75, 0.84])
    ceiling = next(line for line in panel.lines if line.get_linestyle() == "--")
    np.testing.assert_allclose(ceiling.get_xdata(), 0.94)


def test_without_a_second_crystal_and_wide_blocks_there_is_one_bar_a_row() -> None:
    figure = draw_explained([Explained("lattice", False, 0.6, np.nan)])
    assert len(figure.axes[0].patches) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["small blocks left out"]


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        draw_explained([])
    with pytest.raises(InputError, match="nothing to draw"):
        draw_explained_shells(np.arange(3.0), [])


def test_curves_by_resolution() -> None:
    s = np.array([0.1, 0.2, 0.4])
    panel = draw_explained_shells(s, [("lattice", 1 - s)], ceiling=1 - 0.5 * s).axes[0]
    np.testing.assert_allclose(panel.lines[0].get_ydata(), 1 - 0.5 * s)
    np.testing.assert_allclose(panel.lines[1].get_ydata(), 1 - s)


def test_covariances_are_drawn_beside_errors_and_contacts() -> None:
    correlation = np.array([[1.0, -0.3, 0.1], [-0.3, 1.0, 0.2], [0.1, 0.2, 1.0]])
    names = ["A/LYS 6", "A/GLU 7", "A/$ 8"]
    figure = draw_covariance(correlation, 0.1 * np.ones((3, 3)), np.eye(3), names)
    images = [panel.images[0] for panel in figure.axes if panel.images]
    assert len(images) >= 3
    np.testing.assert_allclose(images[0].get_array(), correlation)
    assert images[0].get_clim() == (-0.3, 0.3)  # of the pairs, symmetric about zero
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == names
    with pytest.raises(InputError, match=r"3 segments need arrays of shape \(3, 3\)"):
        draw_covariance(correlation, None, np.eye(2), names)
