"""The points a model is asked for: what they know of themselves."""

import pytest
import torch

from crystals import made_up
from onephonon import OnePhonon
from onephonon.core.tensors import map_tensors
from onephonon.crystal.grid import check_samplings
from onephonon.scattering.points import grid_points, list_points, within

SAMPLINGS = ((-1, 1, 2), (0, 1, 3), (0.25, 1.25, 2))


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


@pytest.fixture(scope="module")
def cell():
    return made_up("P 1").cell  # no right angle


HKL = double(
    [
        [0.3, 0.2, 0.1],
        [1.3, -0.8, 2.1],  # the same k
        [1.0, -2.0, 3.0],  # Bragg
        [0.0, 0.0, 0.0],
        [-0.3, -0.2, -0.1],  # -k is another k
        [1.0, 0.0, 1e-5],
        [7.1, 8.2, 9.3],
    ]
)


def test_list(cell):
    q = cell.q_from_hkl(HKL)
    points = list_points(cell, q, res_limit=1.0)
    assert points.q is q
    assert points.n_q == 7
    # Two products with a matrix and its inverse.
    torch.testing.assert_close(points.hkl, HKL, rtol=0, atol=1e-13)
    assert points.valid.tolist() == [True, True, False, False, True, True, False]
    index = points.zone.index.tolist()
    assert index[0] == index[1]
    assert index[2] == index[3]
    assert len(set(index)) == points.zone.n_k == 5
    difference = points.hkl - points.zone.k_frac[points.zone.index]
    assert float((difference - difference.round()).abs().max()) < 1e-11  # as `ZONE_TOLERANCE`
    assert not points.zone.k_frac.requires_grad


def test_list_carries_gradients_of_q_and_cell(cell):
    leaves = cell.q_from_hkl(HKL).requires_grad_(), cell.matrix.clone().requires_grad_()

    def hkl(q, matrix):
        return list_points(type(cell)(matrix), q).hkl

    # A product of the two: central differences are exact but for rounding, 1e-16 x 10 / 1e-6.
    assert torch.autograd.gradcheck(hkl, leaves, eps=1e-6, atol=1e-7, rtol=0)
    assert torch.autograd.gradcheck(
        lambda m: grid_points(type(cell)(m), check_samplings(*SAMPLINGS)).q,
        leaves[1:],
        eps=1e-6,
        atol=1e-7,
        rtol=1e-9,
    )


def test_grid(cell):
    grid = check_samplings(*SAMPLINGS)
    points = grid_points(cell, grid, res_limit=5.0)
    listed = list_points(cell, points.q, res_limit=5.0)
    assert torch.equal(points.hkl, torch.from_numpy(grid.hkl))
    torch.testing.assert_close(listed.hkl, points.hkl, rtol=0, atol=1e-13)  # as above
    assert torch.equal(points.valid, listed.valid)
    # The same points share a k, however k are numbered.
    pairs = set(zip(points.zone.index.tolist(), listed.zone.index.tolist(), strict=True))
    assert len(pairs) == listed.zone.n_k == len(set(points.zone.index.tolist()))
    assert 0 < int(points.valid.sum()) < points.n_q


def test_bragg_points_of_a_grid_in_single_precision():
    # 1/2000 of an index is a Bragg point to a list in single precision; the grid knows better.
    cell = made_up("P 1").cell.to(None, torch.float32)
    grid = check_samplings((50, 50.001, 2000), (0, 0, 1), (0, 0, 1))
    points = grid_points(cell, grid)
    assert points.valid.tolist() == [False, True, True]
    assert list_points(cell, points.q).valid.tolist()[:2] == [False, False]


@pytest.mark.parametrize(("tolerance", "valid"), [(None, True), (1e-6, True), (1e-4, False)])
def test_tolerance_of_bragg_points(cell, tolerance, valid):
    q = cell.q_from_hkl(double([[1.0, 0.0, 1e-5]]))
    assert list_points(cell, q, bragg_tolerance=tolerance).valid.tolist() == [valid]


def test_limit_of_resolution_is_inclusive(cell):
    q = double([[2 * torch.pi / 2.0, 0, 0], [0, 2 * torch.pi / 1.999, 0], [0, 0, 0]])
    assert within(cell, q, 2.0).tolist() == [True, False, True]
    assert within(cell, q, 0.0).tolist() == [True, True, True]


def test_limited_points_are_a_subset(cell):
    points = list_points(cell, cell.q_from_hkl(HKL))
    limited = points.in_cell(cell, 1.0)
    assert torch.equal(limited.valid, list_points(cell, points.q, res_limit=1.0).valid)
    # q through hkl and back: rounding only.
    torch.testing.assert_close(limited.q, points.q, rtol=1e-14, atol=1e-14)
    assert limited.zone is points.zone
    assert bool(points.valid[6])


def test_map_moves_every_tensor(cell):
    points = list_points(cell, cell.q_from_hkl(HKL))
    doubled = map_tensors(points, lambda t: torch.cat([t, t]))
    for name in ("q", "hkl", "valid"):
        assert len(getattr(doubled, name)) == 14
    assert len(doubled.zone.index) == 14
    assert doubled.zone.n_k == 2 * points.zone.n_k


def test_points_given_to_the_model_are_used_as_they_are():
    crystal = made_up("P 1")
    q = crystal.cell.q_from_hkl(HKL)
    options = {"gnm_cutoff": 6.5, "res_limit": 1.0}
    values, slopes = [], []
    for given in (q.clone().requires_grad_(), q.clone().requires_grad_()):
        points = list_points(crystal.cell, given) if values else given
        model = OnePhonon(crystal, q_vectors=points, **options)
        value = model(use_data_adp=True)
        values.append(value.detach())
        slopes.append(torch.autograd.grad(value[model.valid].sum(), given)[0])
    assert torch.equal(values[0].isnan(), values[1].isnan())
    assert torch.equal(values[0].nan_to_num(), values[1].nan_to_num())
    assert torch.equal(slopes[0], slopes[1])
    assert values[0].isnan().tolist() == [False, False, True, True, False, False, True]
