"""Unit cells of tensors and of NumPy arrays: axes, hkl and q."""

import math

import gemmi
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from onephonon import InputError, UnitCell
from onephonon.crystal import check_cell, numpy_cell

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


@given(cells(), indices)
def test_numpy_and_tensors_agree(drawn, hkl):
    parameters, cell = drawn
    ours = numpy_cell(parameters)
    h = np.array(hkl)
    q = ours.q_from_hkl(h)
    assert isinstance(q, np.ndarray)
    # The same formulas through two libraries: rounding, times the cell's condition.
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(ours.matrix, cell.matrix.numpy(), **close)
    np.testing.assert_allclose(ours.inverse, cell.inverse.numpy(), **close)
    np.testing.assert_allclose(ours.volume, cell.volume.item(), rtol=1e-9)
    np.testing.assert_allclose(ours.spacings, cell.spacings.numpy(), rtol=1e-9)
    np.testing.assert_allclose(q, cell.q_from_hkl(torch.from_numpy(h)).numpy(), **close)
    np.testing.assert_allclose(ours.hkl_from_q(q), h, **close)
    assert ours.parameters == pytest.approx(cell.parameters, rel=1e-9)
    assert np.isinf(ours.resolution(np.zeros(3)))


def test_the_kind_of_a_cell_is_that_of_its_parameters():
    assert isinstance(UnitCell.from_parameters(np.array(TRICLINIC)).matrix, np.ndarray)
    assert UnitCell.from_parameters(TRICLINIC).matrix.dtype == torch.float64
    single = torch.tensor(TRICLINIC, dtype=torch.float32)
    assert UnitCell.from_parameters(single).matrix.dtype == torch.float32
    ours = numpy_cell(TRICLINIC)
    moved = ours.to("cpu", torch.float32)
    assert moved.matrix.dtype == torch.float32
    np.testing.assert_array_equal(ours.to(None, None).numpy().matrix, ours.matrix)
    leaf = torch.tensor(TRICLINIC, dtype=torch.float64, requires_grad=True)
    assert isinstance(UnitCell.from_parameters(leaf).numpy().matrix, np.ndarray)
    assert str(ours) == "(14.002, 4.879, 15.1, 75.23, 75.88, 78.89)"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ((1, 2, 3), r"cell \(1.0, 2.0, 3.0\) is not six finite numbers"),
        ((10, 11, 12, 90, 90, math.nan), "six finite"),
        ("cell.pdb", "cell cell.pdb is not six finite numbers"),
        ((10, 10, 10, 60, 60, 120), "of positive volume"),
    ],
)
def test_what_a_user_gives_for_a_cell_is_checked(cell, message):
    assert check_cell(np.array([[10, 11, 12], [90, 95, 90]])) == (
        10.0,
        11.0,
        12.0,
        90.0,
        95.0,
        90.0,
    )
    with pytest.raises(InputError, match=message):
        check_cell(cell)
