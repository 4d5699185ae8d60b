"""Zone points, Bragg points, and meshes of the Brillouin zone."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from onephonon import UnitCell
from onephonon.crystal.grid import check_samplings
from onephonon.crystal.zone import find_zone_points, fold, grid_zone_points, is_bragg, zone_mesh

TRICLINIC = (14.002, 4.879, 15.1, 75.23, 75.88, 78.89)

indices = st.tuples(*[st.floats(-50, 50, allow_subnormal=False)] * 3)


@given(indices)
def test_fold_moves_by_whole_indices_into_the_first_zone(hkl):
    h = torch.tensor(hkl, dtype=torch.float64)
    folded = fold(h)
    assert folded.abs().max().item() <= 0.5
    assert torch.equal(h - folded, (h - folded).round())


def test_bragg_points():
    hkl = torch.tensor(
        [
            [0, 0, 0],
            [3, -7, 22],
            [1, 2, 2.5],
            [1 + 1e-9, 2 - 1e-9, 3],
            [1.001, 2, 3],
            [-0.9999, 0, 0],
        ],
        dtype=torch.float64,
    )
    assert is_bragg(hkl).tolist() == [True, True, False, True, False, False]
    assert is_bragg(hkl, 0.01).tolist() == [True, True, False, True, True, True]


@given(st.lists(st.tuples(*[st.integers(-40, 40)] * 3), min_size=1, max_size=30),
       st.sampled_from([1, 2, 3, 7, 13]))  # fmt: skip
def test_zone_points_join_what_differs_by_whole_indices(steps, n):
    hkl = torch.tensor(steps, dtype=torch.float64) / n
    zone = find_zone_points(hkl)
    assert zone.k_frac.abs().max().item() <= 0.5
    apart = hkl - zone.k_frac[zone.index]
    # n-ths of up to 40 carry 1e-14.
    assert (apart - apart.round()).abs().max().item() < 1e-12
    classes = {tuple(s % n for s in step) for step in steps}
    assert zone.n_k == len(classes)


def test_zone_points_survive_the_way_through_q():
    cell = UnitCell.from_parameters(TRICLINIC)
    grid = check_samplings((-20, 20, 3), (-4, 4, 7), (-20, 20, 2))
    there_and_back = cell.hkl_from_q(cell.q_from_hkl(torch.from_numpy(grid.hkl)))
    assert find_zone_points(there_and_back).n_k == 3 * 7 * 2


def test_close_wavevectors_are_not_one():
    # Near Gamma I goes as 1/k^2: an error of 1e-6 in k would show. 1.3 - 1 is 0.3 to rounding.
    hkl = torch.tensor(
        [[0.3, 0.2, 0.1], [0.3 + 1e-6, 0.2, 0.1], [1.3, 0.2, 0.1]], dtype=torch.float64
    )
    zone = find_zone_points(hkl)
    assert zone.n_k == 2
    assert torch.equal(zone.k_frac[zone.index][:2], fold(hkl[:2]))


@given(st.tuples(*[st.tuples(st.floats(-3, 3), st.floats(0, 2), st.integers(1, 5))] * 3))
def test_zone_points_of_a_grid_are_those_of_its_list(ranges):
    grid = check_samplings(*((low, low + width, n) for low, width, n in ranges))
    ours, listed = grid_zone_points(grid), find_zone_points(torch.from_numpy(grid.hkl))
    assert ours.n_k == listed.n_k == math.prod(min(len(a), n) for a, (*_, n) in zip(
        grid.axes, ranges, strict=True))  # fmt: skip
    # The same wavevector up to a lattice vector, to the rounding of a sum.
    apart = ours.k_frac[ours.index] - listed.k_frac[listed.index]
    assert (apart - apart.round()).abs().max().item() < 1e-13
    pairs = set(zip(ours.index.tolist(), listed.index.tolist(), strict=True))
    assert len(pairs) == ours.n_k


@given(st.tuples(*[st.integers(1, 5)] * 3))
def test_half_a_mesh_stands_for_the_whole(samples):
    k, weight = zone_mesh(samples, torch.zeros((), dtype=torch.float64))
    assert k[0].tolist() == [0, 0, 0]
    assert weight.sum().item() == math.prod(samples)
    n = torch.tensor(samples)
    steps = k * n
    # Multiples of 1/n: rounding.
    assert (steps - steps.round()).abs().max().item() < 1e-12

    def names(steps):
        return [tuple(row) for row in steps.round().long().remainder(n).tolist()]

    stood_for = []
    for plus, minus, w in zip(names(steps), names(-steps), weight.tolist(), strict=True):
        assert w == (1 if plus == minus else 2)
        stood_for += {plus, minus}
    assert len(stood_for) == len(set(stood_for)) == math.prod(samples)
