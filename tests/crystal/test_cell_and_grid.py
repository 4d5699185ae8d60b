"""Cells, hkl and q, zone points, grids."""

import math

import gemmi
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from onephonon import InputError, UnitCell
from onephonon.crystal.grid import check_samplings
from onephonon.crystal.zone import (
    find_zone_points,
    fold,
    grid_zone_points,
    is_bragg,
    zone_mesh,
)

TRICLINIC = (14.002, 4.879, 15.1, 75.23, 75.88, 78.89)

lengths = st.floats(2.0, 200.0)
angles = st.floats(45.0, 135.0)


@st.composite
def cells(draw):
    parameters = [draw(lengths) for _ in range(3)] + [draw(angles) for _ in range(3)]
    try:
        cell = UnitCell.from_parameters(parameters)
    except InputError:
        assume(False)
    assume(cell.volume.item() > 0.05 * math.prod(parameters[:3]))
    return parameters, cell


indices = st.tuples(*[st.floats(-50, 50, allow_subnormal=False)] * 3)


@given(cells())
def test_cell_is_gemmis(drawn):
    parameters, cell = drawn
    theirs = gemmi.UnitCell(*parameters)
    matrix = torch.tensor(theirs.orth.mat.tolist(), dtype=torch.float64)
    # Cosines of angles near 90 degrees, then a square root: some 1e-14 of an axis.
    torch.testing.assert_close(cell.matrix, matrix, rtol=0, atol=1e-11)
    assert cell.volume.item() == pytest.approx(theirs.volume, rel=1e-11)
    assert cell.parameters == pytest.approx(parameters, rel=1e-10)


@given(cells(), indices)
def test_q_is_two_pi_hkl_of_the_reciprocal_cell(drawn, hkl):
    _, cell = drawn
    h = torch.tensor(hkl, dtype=torch.float64)
    q = cell.q_from_hkl(h)
    # The defining property: q.a = 2 pi h, q.b = 2 pi k, q.c = 2 pi l.
    for axis in range(3):
        phase = (q @ cell.matrix[:, axis]).item()
        # Rounding of some 300, times the cell's condition.
        assert phase == pytest.approx(2 * math.pi * hkl[axis], abs=1e-9)
    torch.testing.assert_close(cell.hkl_from_q(q), h, rtol=0, atol=1e-10)


@given(cells(), st.tuples(*[st.integers(-50, 50)] * 3))
def test_resolution_is_gemmis(drawn, hkl):
    parameters, cell = drawn
    assume(any(hkl))
    d = gemmi.UnitCell(*parameters).calculate_d(hkl)
    q = cell.q_from_hkl(torch.tensor(hkl, dtype=torch.float64))
    assert cell.resolution(q).item() == pytest.approx(d, rel=1e-9)  # condition times rounding


def test_resolution_of_the_origin_is_infinite():
    cell = UnitCell.from_parameters(TRICLINIC)
    assert math.isinf(cell.resolution(torch.zeros(3, dtype=torch.float64)).item())


def test_many_points_at_once_are_each_alone():
    cell = UnitCell.from_parameters(TRICLINIC)
    hkl = torch.rand(2, 5, 3, dtype=torch.float64)
    q = cell.q_from_hkl(hkl)
    assert q.shape == (2, 5, 3)
    torch.testing.assert_close(q[1, 3], cell.q_from_hkl(hkl[1, 3]), rtol=0, atol=1e-14)


def test_spacings_are_those_of_the_planes():
    cell = UnitCell.from_parameters(TRICLINIC)
    theirs = gemmi.UnitCell(*TRICLINIC)
    for axis, spacing in enumerate(cell.spacings.tolist()):
        hkl = [int(i == axis) for i in range(3)]
        assert spacing == pytest.approx(theirs.calculate_d(hkl), rel=1e-12)


def test_parameters_carry_gradients_without_a_warning():
    p = torch.tensor(TRICLINIC, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: UnitCell.from_parameters(p).matrix, [p])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((1, 2, 3), r"six numbers .*got shape \(3,\)"),
        ((1, 2, 0, 90, 90, 90), "0.0.*lengths must be positive"),
        ((1, 2, -3, 90, 90, 90), "-3.0.*lengths must be positive"),
        ((1, 2, 3, 90, 90, 0), "do not span a cell"),
        ((1, 2, 3, 120, 120, 120), "120.0.* do not span a cell"),
        ((1, 2, 3, 150, 60, 60), "smaller than the sum of the other two"),
        ((1, 2, math.nan, 90, 90, 90), "nan.* do not span a cell"),
    ],
)
def test_numbers_that_span_no_cell(parameters, message):
    with pytest.raises(InputError, match=message):
        UnitCell.from_parameters(parameters)


# ---- zone points ----------------------------------------------------------------------------


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


# ---- the zone mesh --------------------------------------------------------------------------


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


# ---- grids ----------------------------------------------------------------------------------


def test_grid_runs_over_l_fastest():
    grid = check_samplings((-1, 1, 1), (0, 1, 2), (0, 0.5, 4))
    assert grid.shape == (3, 3, 3)
    assert grid.samples == (1, 2, 4)
    assert grid.hkl.dtype == np.float64
    assert grid.hkl[:4].tolist() == [[-1, 0, 0], [-1, 0, 0.25], [-1, 0, 0.5], [-1, 0.5, 0]]
    assert grid.hkl[-1].tolist() == [1, 1, 0.5]


def axis(low, high, n):
    return check_samplings((low, high, n), (0, 0, 1), (0, 0, 1)).axes[0]


def test_bound_typed_with_four_decimals_means_its_fraction():
    h = axis(-22.4615, 22.4615, 13)
    assert h[0].item() == -292 / 13
    assert h[-1].item() == 292 / 13
    assert len(h) == 585
    assert 0.0 in h.tolist()


def test_offset_grid_keeps_its_offset():
    h = axis(-1.1, 1.0, 2)
    # Rounding of a tenth.
    assert h.tolist() == pytest.approx([-1.1, -0.6, -0.1, 0.4, 0.9], abs=1e-15)
    hkl = check_samplings((-1.1, 1, 2), (-2, 2, 1), (-2, 2, 1)).hkl
    assert not is_bragg(torch.from_numpy(hkl)).any()


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0, 0, 3, [0]),
        (0, 1, 1, [0, 1]),
        (-0.5, 0.7, 2, [-0.5, 0, 0.5]),
        (0.3333, 1.0, 3, [1 / 3, 2 / 3, 1]),
        (0, 0.6667, 3, [0, 1 / 3, 2 / 3]),
        (0, 0.66, 3, [0, 1 / 3]),
    ],
)
def test_axis_of_a_grid(low, high, n, expected):
    assert axis(low, high, n).tolist() == expected


@given(st.integers(-300, 300), st.integers(0, 200), st.integers(1, 29))
def test_typed_bounds_give_every_step_between_them(first, steps, n):
    low, high = round(first / n, 4), round((first + steps) / n, 4)
    h = axis(low, high, n)
    assert h.tolist() == [(first + i) / n for i in range(steps + 1)]


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


@pytest.mark.parametrize("name", ["hsampling", "ksampling", "lsampling"])
@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ((0, 1), r"three finite numbers; got \(0, 1\)"),
        ((0, 1, 2, 3), "three finite numbers"),
        ((0, math.inf, 2), "three finite numbers; got .*inf"),
        ((math.nan, 1, 2), "three finite numbers; got .*nan"),
        ((0, 1, 0), "asks for 0 samples per Miller index; give a whole number"),
        ((0, 1, -2), "asks for -2 samples"),
        ((0, 1, 2.5), "asks for 2.5 samples"),
        ((1, -1, 2), "has max -1 below min 1; swap them"),
    ],
)
def test_samplings_that_cannot_be(name, sampling, message):
    good = {"hsampling": (0, 1, 2), "ksampling": (0, 1, 2), "lsampling": (0, 1, 2)}
    with pytest.raises(InputError, match=rf"{name} .*{message}"):
        check_samplings(**good | {name: sampling})
