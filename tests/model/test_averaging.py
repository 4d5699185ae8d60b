"""Estimated errors of voxel averages, against averages of high order of every voxel."""

import numpy as np
import pytest
import torch

from crystals import CELLS, made_up
from onephonon import MapGrid, OnePhonon
from onephonon.model import points_at, voxel_average
from onephonon.model.averaging import ORDERS, averaging_errors
from onephonon.scattering.quadrature import MixedQuadrature, holds_bragg

#: Voxels between Bragg points, around them and with one on an edge; sizes that differ.
STEP = (0.25, 0.2, 1 / 3)
GRID = MapGrid((1.0, -1.0, 0.0), STEP, (3, 3, 3))


def exact_errors(model, hkl, order):
    """The average of an order less that of a very high one, of every voxel."""
    held = holds_bragg(hkl, STEP)
    truth = np.empty(len(hkl))
    for some, high in ((held, 10), (~held, 7)):
        with torch.no_grad():
            average = voxel_average(model, hkl[some], STEP, high, use_data_adp=True)
        truth[some] = average.numpy()
    with torch.no_grad():
        if order == 1:
            points = points_at(model, torch.from_numpy(hkl))
            values = model.bound.at(points).intensity(use_data_adp=True).numpy()
        else:
            values = voxel_average(model, hkl, STEP, order, use_data_adp=True).numpy()
    return values - truth, truth


@pytest.mark.parametrize("spacegroup", CELLS)
def test_estimates_are_the_errors(spacegroup):
    model = OnePhonon(made_up(spacegroup), gnm_cutoff=6.5)
    hkl = GRID.hkl
    found = averaging_errors(model, hkl, STEP, per_group=10_000)
    # Every voxel is in the sample: nothing is left to chance.
    assert np.array_equal(np.sort(found.sample), np.arange(len(hkl)))
    assert set(found.group) >= {0, 3, 4, 5}
    for i, order in enumerate(ORDERS[:4]):
        error, truth = exact_errors(model, hkl, order)
        for group in np.unique(found.group):
            own = found.group == group
            if group == 0 and order == 1:
                assert np.isinf(found.error[own, i]).any()
                continue
            # The estimate's own truth is of order 5, or 8 around Bragg points. In cells as small as
            # these errors fall by a factor of two to four from order to order: its own is up to
            # half of that of order 4, a quarter of that of order 3 and less of lower ones.
            share = {4: 0.6, 3: 0.3}.get(order, 0.15)
            size = np.sqrt(np.mean(error[own] ** 2))
            rms = np.sqrt(found.mean_square(np.ones(len(hkl)))[group, i])
            assert rms == pytest.approx(size, rel=share, abs=1e-6 * truth.mean())


def test_centres_beside_bragg_points_are_percents_off_at_any_sampling():
    model = OnePhonon(made_up("P 1"), gnm_cutoff=6.5)
    centres = []
    for n in (5, 25):
        beside = np.array([[2 + 1 / n, 1, 0], [2, 1 + 1 / n, 0], [2, 1, 1 / n], [2, 1, -1 / n]])
        found = averaging_errors(model, beside, (1 / n,) * 3)
        centre, best = np.sqrt((found.error / found.average[:, None]) ** 2).max(axis=0)[[0, 3]]
        assert best < 0.1 * centre
        centres.append(centre)
    # The pole has no scale: a finer sampling changes little.
    assert min(centres) > 0.1
    assert centres[0] == pytest.approx(centres[1], rel=0.3)


def test_a_sample_tells_the_rms_of_all():
    model = OnePhonon(made_up("P 21 21 21"), gnm_cutoff=6.5)
    hkl = MapGrid((1.0, -1.0, 0.0), STEP, (5, 6, 4)).hkl
    whole, part = (averaging_errors(model, hkl, STEP, per_group=n) for n in (10_000, 12))
    assert len(part.sample) < len(whole.sample)
    # A dozen of numbers that differ by factors: the rms to a factor of two.
    a, b = (x.mean_square(1 / x.average)[:, 1] for x in (whole, part))
    assert np.array_equal(a > 0, b > 0)
    assert (np.abs(np.log(b[b > 0] / a[a > 0])) < 2 * np.log(2)).all()


def test_nodes_with_an_order_for_each_voxel():
    hkl = np.array([[0.2, 0.4, 0.2], [1.0, 0.0, 0.0], [0.4, 0.2, 0.4]])
    rule = MixedQuadrature((0.2,) * 3)
    order = np.array([1, 2, 3])
    nodes, weight, voxel = rule.nodes(hkl, order)
    assert rule.n_nodes(hkl, order).tolist() == np.bincount(voxel).tolist() == [1, 48, 27]
    assert np.bincount(voxel, weight) == pytest.approx([1, 1, 1], abs=1e-12)
    for i in range(3):
        own = voxel == i
        # The mean of what is linear is its value at the centre.
        assert weight[own] @ nodes[own] == pytest.approx(hkl[i], abs=1e-12)
