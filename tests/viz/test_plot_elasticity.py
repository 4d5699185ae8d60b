"""The picture of elastic properties: what stands where."""

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import OnePhonon
from onephonon.dynamics.elastic import elasticity
from onephonon.viz.plot.elasticity import _disc, draw_elasticity


def test_discs_show_every_direction():
    _, _, n = _disc()
    inside = np.isfinite(n).all(-1)
    np.testing.assert_allclose(np.linalg.norm(n[inside], axis=1), 1.0, atol=1e-12)
    # Equal areas: as much of the disc as of the sphere is within 60 degrees, one half.
    assert (n[inside][:, 2] > 0.5).mean() == pytest.approx(0.5, abs=0.01)  # 11 000 points
    middle = np.abs(n[60, 60] - [0, 0, 1]).max()
    assert middle < 1e-12
    right = n[60, 110]  # a to the right
    assert right[0] > 0.7
    assert abs(right[1]) < 1e-12


def test_values_are_those_of_their_directions():
    with torch.no_grad():
        model = OnePhonon(made_up("P 1"), gnm_cutoff=6.5, thermal_scale=2.0)
        found = elasticity(model)
    figure = draw_elasticity(found, model.crystal, temperature=300.0, title="solid")
    panels = figure.axes[:4]
    assert [p.get_title() for p in panels][3] == "Young's modulus"
    _, _, n = _disc()
    inside = np.isfinite(n).all(-1)
    for index in range(3):
        shown = panels[index].collections[0].get_array().reshape(inside.shape)
        expected = found.speeds(torch.from_numpy(n[80, 70][None]), 300.0)[0, index]
        assert float(shown[80, 70]) == pytest.approx(float(expected), rel=1e-12)
    marks = {text.get_text() for text in panels[0].texts}
    assert marks == {"a", "b", "c"}
