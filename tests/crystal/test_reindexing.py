"""How a lattice may be indexed."""

from typing import Any

import numpy as np
import pytest

from onephonon import InputError
from onephonon.crystal import find_reindexings, laue_operators, numpy_cell, parse_reindexing

TETRAGONAL = (31.0, 31.0, 40.0, 90.0, 90.0, 90.0)


@pytest.mark.parametrize(
    ("group", "cell", "names"),
    [
        ("P 41", TETRAGONAL, ["h,k,l", "k,h,-l"]),
        ("P 41 21 2", TETRAGONAL, ["h,k,l"]),
        ("P 3", (30, 30, 50, 90, 90, 120), ["h,k,l", "-h,-k,l", "k,h,-l", "-k,-h,-l"]),
        ("P 61 2 2", (30, 30, 50, 90, 90, 120), ["h,k,l"]),
        ("P 2 3", (40, 40, 40, 90, 90, 90), ["h,k,l", "k,h,-l"]),
        ("P 21 21 21", (30, 40, 50, 90, 90, 90), ["h,k,l"]),
    ],
)
def test_ambiguities_of_known_groups(group: str, cell: Any, names: list[str]) -> None:
    # The merohedral twin laws of these groups; as many ways as the lattice's point group has
    # cosets of the Laue group.
    found = find_reindexings(cell, group)
    assert found[0].is_identity
    assert len(found) == len(names)
    laue = laue_operators(group, cell)
    for name in names:
        wanted = parse_reindexing(name, cell).operator
        assert any((wanted == np.rint(r.operator @ L)).all() for r in found for L in laue), name


def test_every_operator_keeps_the_cell_and_leaves_the_laue_group() -> None:
    cell = (30.0, 30.0, 50.0, 90.0, 90.0, 120.0)
    for r in find_reindexings(cell, "P 3")[1:]:
        hkl = np.random.default_rng(0).integers(-5, 6, (20, 3))
        one, other = hkl @ numpy_cell(cell).inverse, (hkl @ r.operator) @ numpy_cell(cell).inverse
        np.testing.assert_allclose(
            np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1), rtol=1e-12
        )
        assert not any((r.operator == L).all() for L in laue_operators("P 3", cell))


@pytest.mark.parametrize("group", ["P 1 21 1", "P 3"])
def test_no_two_ways_are_the_same(group: str) -> None:
    # hkl @ R and hkl @ R @ L are equivalent; 2/m is no normal subgroup of m-3m: the order counts.
    cell = (30, 30, 30, 90, 90, 90) if group == "P 1 21 1" else (30, 30, 50, 90, 90, 120)
    found, laue = find_reindexings(cell, group), laue_operators(group, cell)
    every = {(r.operator @ L).astype(int).tobytes() for r in found for L in laue}
    assert len(every) == len(found) * len(laue) == {"P 1 21 1": 48, "P 3": 24}[group]


def test_an_accident_of_the_cell_counts() -> None:
    # a and c alike within a degree's obliquity, as happens: h and l may be exchanged.
    found = find_reindexings((30.0, 40.0, 30.2, 90.0, 90.0, 90.0), "P 21 21 21")
    assert len(found) == 2
    assert 0 < found[1].misfit < 0.01


@pytest.mark.parametrize("text", ["h,k", "h,k,2l", "h+1,k,l", "nonsense", "l,k,h"])
def test_reindexings_that_cannot_be(text: str) -> None:
    with pytest.raises(InputError, match="reindexing"):
        parse_reindexing(text, TETRAGONAL)
