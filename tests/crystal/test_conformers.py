"""Alternative conformers: shares, and how often two of them meet."""

import numpy as np
import pytest

from onephonon import AtomLabel, Crystal
from onephonon.crystal.conformers import find_conformers


def crystal_of(*atoms):
    """Atoms 'residue number, residue, name, letter' with occupancies, anywhere.

    Another residue of the same number is ``1#2``.
    """
    parts = [text.split("/") for text, _ in atoms]
    labels = [
        AtomLabel(
            "A", number.split("#")[0], *names, "C", letter, int((number + "#1").split("#")[1])
        )
        for number, *names, letter in parts
    ]
    x = np.random.default_rng(0).uniform(size=(len(atoms), 3))
    return Crystal.from_atoms(
        (10, 11, 12, 90, 90, 90), "P 1", ["C"] * len(atoms), x,
        occupancies=[occ for _, occ in atoms], labels=labels,
    )  # fmt: skip


def table(*atoms, same_copy=True):
    """Weights of all pairs of these atoms."""
    n = len(atoms)
    i, j = (x.ravel() for x in np.indices((n, n)))
    found = find_conformers(crystal_of(*atoms)).weights(i, j, np.full(n * n, same_copy))
    return found.reshape(n, n)


def shares(*atoms):
    return find_conformers(crystal_of(*atoms)).shares.tolist()


@pytest.mark.parametrize("same_copy", [True, False])
def test_without_alternatives_all_weights_are_exactly_one(same_copy):
    # Partial occupancies and lone letters are no alternatives.
    atoms = [("1/GLY/N/", 0.37), ("1/GLY/CA/", 1.0), ("2/GLY/CA/A", 1.0), ("3/GLY/CA/B", 0.99)]
    assert (table(*atoms, same_copy=same_copy) == 1.0).all()
    assert shares(*atoms) == [1.0] * 4


def test_conformers_of_a_residue_exclude_each_other():
    atoms = [("1/SER/N/", 1.0), ("1/SER/CB/A", 0.7), ("1/SER/CB/B", 0.3),
             ("1/SER/OG/A", 0.7), ("1/SER/OG/B", 0.3)]  # fmt: skip
    expected = np.array(
        [[1.0, 0.7, 0.3, 0.7, 0.3],
         [0.7, 0.7, 0.0, 0.7, 0.0],
         [0.3, 0.0, 0.3, 0.0, 0.3],
         [0.7, 0.7, 0.0, 0.7, 0.0],
         [0.3, 0.0, 0.3, 0.0, 0.3]]
    )  # fmt: skip
    # Occupancies of one decimal, in double precision.
    np.testing.assert_allclose(table(*atoms), expected, atol=1e-14)
    np.testing.assert_allclose(shares(*atoms), [1.0, 0.7, 0.3, 0.7, 0.3], atol=1e-14)


def test_blank_among_letters_is_a_conformer():
    blank = [("1/SER/N/", 1.0), ("1/SER/CB/", 0.3), ("1/SER/CB/B", 0.7)]
    lettered = [("1/SER/N/", 1.0), ("1/SER/CB/A", 0.3), ("1/SER/CB/B", 0.7)]
    assert np.array_equal(table(*blank), table(*lettered))
    assert table(*blank)[1, 2] == 0.0


def test_copies_are_independent():
    atoms = [("1/SER/CB/A", 0.7), ("1/SER/CB/B", 0.3)]
    expected = [[0.49, 0.21], [0.21, 0.09]]
    np.testing.assert_allclose(table(*atoms, same_copy=False), expected, atol=1e-14)


def test_residues_of_other_occupancies_meet_as_far_as_they_must():
    # A goes with A in 0.4 of the molecules and B with B in 0.3; in the others A meets B.
    atoms = [("1/SER/CB/A", 0.7), ("1/SER/CB/B", 0.3), ("2/SER/CB/A", 0.4), ("2/SER/CB/B", 0.6)]
    expected = [[0.4, 0.3], [0.0, 0.3]]
    np.testing.assert_allclose(table(*atoms)[:2, 2:], expected, atol=1e-14)
    # Letters that have nothing in common meet at random.
    atoms = [("1/SER/CB/A", 0.7), ("1/SER/CB/B", 0.3), ("2/SER/CB/C", 0.4), ("2/SER/CB/D", 0.6)]
    expected = [[0.28, 0.42], [0.12, 0.18]]
    np.testing.assert_allclose(table(*atoms)[:2, 2:], expected, atol=1e-14)


def test_within_a_residue_letters_never_mix_though_occupancies_differ():
    atoms = [("1/SER/CB/A", 0.55), ("1/SER/CB/B", 0.45), ("1/SER/OG/A", 0.5), ("1/SER/OG/B", 0.5)]
    found = table(*atoms)[:2, 2:]
    assert found[0, 1] == found[1, 0] == 0.0
    # 0.5 and 0.45, out of 0.95.
    np.testing.assert_allclose(np.diag(found), [50 / 95, 45 / 95], atol=1e-14)


def test_a_branch_is_joined_to_the_conformer_that_has_room():
    atoms = [("1/LYS/CB/A", 0.5), ("1/LYS/CB/B", 0.5),
             ("1/LYS/CG/A", 0.5), ("1/LYS/CG/B", 0.3), ("1/LYS/CG/C", 0.2)]  # fmt: skip
    expected = [[0.5, 0.0, 0.0], [0.0, 0.3, 0.2]]
    np.testing.assert_allclose(table(*atoms)[:2, 2:], expected, atol=1e-14)


@pytest.mark.parametrize("letter", ["A", ""])
def test_microheterogeneity(letter):
    backbone = ("N", "CA", "C")
    atoms = [(f"1/SER/{name}/{letter}", 0.7) for name in (*backbone, "OG")]
    atoms += [(f"1/PRO/{name}/B", 0.3) for name in (*backbone, "CD")]
    atoms += [("2/GLY/N/", 1.0), ("3/GLY/N/A", 0.4), ("3/GLY/N/B", 0.6)]
    np.testing.assert_allclose(shares(*atoms)[:9], [0.7] * 4 + [0.3] * 4 + [1.0], atol=1e-14)
    found = table(*atoms)
    assert (found[:4, 4:8] == 0.0).all()
    # OG is there in 0.7 of the molecules: no spring of the others replaces its own.
    np.testing.assert_allclose(found[3, :4], 0.7, atol=1e-14)
    np.testing.assert_allclose(found[3, 8:9], 0.7, atol=1e-14)
    meeting = [0.4, 0.3] if letter else [0.28, 0.42]
    if letter:
        np.testing.assert_allclose(found[3, 9:], meeting, atol=1e-14)
    assert found[3, 9:].sum() == pytest.approx(0.7, abs=1e-14)


def test_residues_of_one_number_that_are_no_alternatives():
    # A water that carries a number of the protein once more.
    atoms = [("1/SER/N/", 1.0), ("1/SER/O/A", 0.6), ("1/SER/O/B", 0.4), ("1#2/HOH/O/", 1.0)]
    np.testing.assert_allclose(table(*atoms)[3], [1.0, 0.6, 0.4, 1.0], atol=1e-14)
    assert shares(*atoms)[3] == 1.0


def test_lone_letters_avoid_each_other_as_far_as_occupancies_allow():
    protein = [("1/ARG/CZ/A", 0.5), ("1/ARG/CZ/B", 0.5)]
    water = [("2/HOH/O/A", 0.5), ("3/HOH/O/B", 0.4), ("4/HOH/O/B", 0.8)]
    found = table(*protein, *water)
    np.testing.assert_allclose(found[:2, 2], [1.0, 0.0], atol=1e-14)
    np.testing.assert_allclose(found[:2, 3], [0.0, 1.0], atol=1e-14)
    assert found[2, 3] == 0.0
    # 0.5 + 0.8 - 1 of 0.5.
    assert found[2, 4] == pytest.approx(0.6, abs=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_weights_of_two_sites_sum_up_to_one(seed):
    rng = np.random.default_rng(seed)
    atoms = []
    for residue in range(1, 5):
        letters = rng.permutation(list("ABCD"))[: rng.integers(2, 5)]
        for name in ("CA", "CB"):
            occupancy = rng.dirichlet(np.ones(len(letters))) * rng.uniform(0.5, 1.0)
            atoms += [
                (f"{residue}/SER/{name}/{a}", occ)
                for a, occ in zip(letters, occupancy, strict=True)
            ]
    found = find_conformers(crystal_of(*atoms))
    sites = [np.flatnonzero(found.site == x) for x in range(8)]
    for same_copy in (True, False):
        weights = table(*atoms, same_copy=same_copy)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights, weights.T, atol=1e-14)
        for x in sites:
            for y in sites:
                # A sum of at most 16 numbers.
                assert weights[np.ix_(x, y)].sum() == pytest.approx(1.0, abs=1e-13)


def test_occupancies_of_zero():
    atoms = [("1/SER/CB/A", 1.0), ("1/SER/CB/B", 0.0), ("2/SER/CB/A", 0.0), ("2/SER/CB/B", 0.0)]
    assert shares(*atoms) == [1.0, 0.0, 0.5, 0.5]
    assert table(*atoms)[0].tolist() == [1.0, 0.0, 0.5, 0.5]
