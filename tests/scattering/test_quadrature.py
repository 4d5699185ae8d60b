"""Nodes of voxel averages, and which averages data ask for."""

import numpy as np
import pytest
import torch

from onephonon import InputError, MapGrid
from onephonon.scattering import Quadrature, voxel_points
from onephonon.scattering.quadrature import choose_quadrature


def midpoints(centre, step, n):
    """Middles of n^3 equal parts of a voxel."""
    offsets = (np.arange(n) + 0.5) / n - 0.5
    grid = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), -1).reshape(-1, 3)
    return np.asarray(centre) + grid * np.asarray(step)


VOXELS = [
    ((2, 1, -1), (1, 1, 1)),  # one voxel per hkl
    ((1 / 3, 1, -2), (1 / 3, 1 / 3, 1 / 3)),  # beside a Bragg point
    ((2.0, -1.0, 0.0), (1 / 3, 1 / 2, 1 / 4)),  # around one
    ((1.25, 0.25, 2.25), (0.5, 0.5, 0.5)),  # one in a corner
    ((1.5, 0.0, 1.0), (1, 1, 1)),  # one on each of two faces
    ((1.1, 0.2, 1.3), (1, 1, 1)),  # one off the centre
]


@pytest.mark.parametrize(("centre", "step"), [*VOXELS, ((0, 0, 0), (2, 1, 0.5))])
@pytest.mark.parametrize("order", [2, 3, 5])
def test_nodes_fill_the_voxel_and_no_bragg_point(centre, step, order):
    nodes, weight, voxel = Quadrature(step, order).nodes(np.array([centre], float))
    assert (voxel == 0).all()
    assert (weight > 0).all()
    assert (np.abs(nodes - centre) < 0.5 * np.array(step)).all()
    assert np.abs(nodes - np.rint(nodes)).max(axis=1).min() > 0.01 * min(step)
    # Volume, centroid and second moments are those of the voxel: exact but for rounding.
    away = nodes - centre
    assert weight.sum() == pytest.approx(1, abs=1e-12)
    assert weight @ away == pytest.approx(np.zeros(3), abs=1e-12)
    if order > 3:
        moments = np.einsum("p,pi,pj->ij", weight, away, away)
        assert moments == pytest.approx(np.diag(np.square(step)) / 12, abs=1e-12)


def test_pole_is_integrated_exactly_along_pyramids():
    # 1/k^2 times r^2 is constant along a pyramid: only directions are left to the order.
    def mean_pole(order):
        nodes, weight, _ = Quadrature((1, 1, 1), order).nodes(np.zeros((1, 3)))
        return weight @ (1 / (nodes**2).sum(axis=1))

    halves = [(1 / (midpoints((0, 0, 0), (1, 1, 1), n) ** 2).sum(1)).mean() for n in (32, 64)]
    # Midpoints: error 1/n extrapolated away, 1/n^2 left.
    assert mean_pole(8) == pytest.approx(2 * halves[1] - halves[0], rel=1e-3)
    assert abs(mean_pole(3) / mean_pole(8) - 1) < 0.02
    assert abs(mean_pole(4) / mean_pole(8) - 1) < 0.002


def test_several_voxels_keep_their_order():
    hkl = np.array([[0.5, 0, 0], [1, 1, 1], [0.5, 0, 0.5], [-2, 0, 3], [1.5, 1, 1]])
    rule = Quadrature((0.5, 0.5, 0.5), 2)
    nodes, weight, voxel = rule.nodes(hkl)
    for i, centre in enumerate(hkl):
        own, share, _ = rule.nodes(centre[None])
        assert np.array_equal(nodes[voxel == i], own)
        assert np.array_equal(weight[voxel == i], share)
    assert (np.diff(voxel) >= 0).all()
    assert np.bincount(voxel).tolist() == [8, 48, 8, 48, 8]
    assert (rule.elsewhere, rule.around_bragg) == (8, 48)
    assert "48 points" in str(rule)
    assert "8 in others" in str(rule)


def test_grid_is_all_its_voxels():
    grid = MapGrid((0, 0, 0), (1 / 2, 1, 1 / 3), (3, 2, 4))
    whole, listed = voxel_points(grid), voxel_points(grid.hkl, grid.step)
    assert torch.equal(whole.hkl, listed.hkl)
    values = whole.hkl @ torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    # The mean of what is linear is its value at the centre.
    assert torch.allclose(whole.average(values), torch.tensor(grid.hkl @ [1.0, 2.0, -3.0]))


def test_leaving_the_bragg_peak_out():
    share = 0.4
    nodes, weight, _ = Quadrature((1, 1, 1), 6, share).nodes(np.array([[1.0, 0.0, 0.0]]))
    away = nodes - [1.0, 0.0, 0.0]
    assert (np.abs(away).max(axis=1) > 0.5 * share).all()
    assert weight.sum() == pytest.approx(1, abs=1e-12)
    # Second moment of a cube without an inner one: (1 - f^5)/(1 - f^3) of the cube's.
    assert weight @ away[:, 0] ** 2 == pytest.approx(
        (1 - share**5) / (1 - share**3) / 12, rel=1e-12
    )
    # Voxels without a Bragg point know nothing of it.
    own, other = (
        Quadrature((0.3,) * 3, 3, f).nodes(np.array([[0.5, 0, 0]]))[0] for f in (0, share)
    )
    assert np.array_equal(own, other)


def test_the_sampling_of_data_decides_unless_it_is_asked_otherwise():
    fine = MapGrid((0, 0, 0), (0.25, 1 / 3, 0.49), (4, 3, 2))
    coarse = MapGrid((0, 0, 0), (0.25, 1 / 3, 0.5), (4, 3, 2))
    assert choose_quadrature(fine) is None
    assert choose_quadrature(coarse) == Quadrature(coarse.step, 2)
    assert choose_quadrature(coarse, 0) is None
    assert choose_quadrature(fine, 3, 0.2) == Quadrature(fine.step, 3, 0.2)
    assert choose_quadrature(None) is None  # a list has no voxels
    with pytest.raises(InputError, match="no voxels to average over"):
        choose_quadrature(None, 2)
    with pytest.raises(InputError, match="leave_out needs voxel averages"):
        choose_quadrature(fine, 0, leave_out=0.2)
    assert choose_quadrature(fine, leave_out=0.2) == Quadrature(fine.step, 2, 0.2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: voxel_points([[0, 0, 0]]),
        lambda: voxel_points([[0, 0, np.nan]], (1, 1, 1)),
        lambda: voxel_points([0, 0, 0], (1, 1, 1)),
        lambda: voxel_points(MapGrid((0, 0, 0), (1, 1, 1), (1, 1, 1)), (1, 1, 1)),
        lambda: Quadrature((1, 0, 1)),
        lambda: Quadrature((1, 1, 1), 1),
        lambda: Quadrature((1, 1, 1), 2, 1.0),
        lambda: voxel_points([[0, 0, 0]], (1, 1, 1)).average(torch.ones(3)),
    ],
)
def test_voxels_that_cannot_be(call):
    with pytest.raises(InputError):
        call()
