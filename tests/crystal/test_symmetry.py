"""Laue groups, operators of space groups, and how operators are written."""

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import Crystal, InputError, StructureError
from onephonon.crystal import FRIEDEL, laue_operators, triplet
from onephonon.crystal.symmetry import parse_triplet, symmetry_operators


@pytest.mark.parametrize(
    ("symmetry", "n"),
    [("-1", 2), ("2/m", 4), ("mmm", 8), ("4/m", 8), ("4/mmm", 16), ("-3", 6), ("-3m1", 12),
     ("-31m", 12), ("6/m", 12), ("6/mmm", 24), ("m-3", 24), ("m-3m", 48), ("P 43 21 2", 16),
     ("C 1 2 1", 4), ("F 4 3 2", 48), ("R 3 2", 12), ("P 21 21 21", 8)],
)  # fmt: skip
def test_laue_groups_have_their_order_and_are_groups(symmetry: str, n: int) -> None:
    operators = laue_operators(symmetry)
    assert operators.shape == (n, 3, 3)
    np.testing.assert_array_equal(operators[0], np.eye(3))
    known = {op.tobytes() for op in operators}
    assert {(a @ b).tobytes() for a in operators for b in operators} == known
    assert (-operators[0]).tobytes() in known


def test_the_setting_of_a_rhombohedral_group_follows_the_cell() -> None:
    turn = laue_operators("R 3", (25, 25, 25, 80, 80, 80))
    assert {tuple(np.array([1, 2, 3]) @ op) for op in turn if np.linalg.det(op) > 0} == {
        (1, 2, 3),
        (2, 3, 1),
        (3, 1, 2),
    }


def test_laue_groups_that_cannot_be_and_cells_refined_without_them() -> None:
    with pytest.raises(InputError, match="-3m1, -31m"):
        laue_operators("-3m")
    nearly = (25.0, 25.1, 30.0, 90.0, 90.2, 90.0)  # refined without its symmetry
    assert len(laue_operators("P 41", nearly)) == 8


@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1", "C 1 2 1", "P 31 2 1", "P 61"])
def test_the_laue_group_of_a_crystal_is_that_of_its_symbol(spacegroup: str) -> None:
    crystal = made_up(spacegroup)
    ours = crystal.laue_operators
    np.testing.assert_array_equal(ours[0], np.eye(3))
    named = {op.tobytes() for op in laue_operators(spacegroup)}
    assert {op.tobytes() for op in ours} == named
    assert len(ours) == len(named)
    single = crystal.to(dtype=torch.float32)
    np.testing.assert_array_equal(single.laue_operators, ours)
    np.testing.assert_array_equal(crystal.in_p1().laue_operators, FRIEDEL)


def test_centring_of_a_crystal() -> None:
    assert made_up("P 1 21 1").centring.tolist() == [[0, 0, 0]]
    assert made_up("C 1 2 1").centring.tolist() == [[0, 0, 0], [0.5, 0.5, 0]]


def test_operators_of_a_space_group_keep_the_lattice() -> None:
    rotations, translations = symmetry_operators("F 4 3 2")
    assert rotations.shape == (96, 3, 3)
    assert translations.shape == (96, 3)
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    np.testing.assert_allclose(np.abs(np.linalg.det(rotations)), 1, rtol=1e-12)  # rounding


def test_a_space_group_that_does_not_fit_the_cell() -> None:
    with pytest.raises(StructureError, match=r"'P 41' does not fit the cell \(5, 6, 7, 90"):
        Crystal.from_atoms((5, 6, 7, 90, 90, 90), "P 41", ["C"], [[0, 0, 0]])


@pytest.mark.parametrize("text", ["h,k,l", "-h,k,-l", "h+k,-k,-h+l", "2*h+k,k,l", "h/2+k/2,k,-l"])
def test_operators_are_read_as_they_are_written(text: str) -> None:
    operator = parse_triplet(text)
    assert operator is not None
    assert triplet(operator) == text


def test_what_a_triplet_does() -> None:
    operator = parse_triplet("h+k,-k,-h+l")
    assert operator is not None
    assert (np.array([1, 2, 3]) @ operator).tolist() == [3, -2, 2]
    for text in ("h,k", "nonsense", "x+1/2,y,z", ""):
        assert parse_triplet(text) is None
