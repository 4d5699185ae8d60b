"""Rigid blocks proposed from contacts: every atom, compact, and independent of the description."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from crystals import made_up
from onephonon import AtomLabel, Crystal, InputError, OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.network.bodies import gather_bodies
from onephonon.network.domains import rigid_blocks
from onephonon.network.normalized_cut import cut_network, normalized_cut
from onephonon.network.residue_ranges import named_ranges
from onephonon.network.secondary_structure import MainChain, structure_elements
from structures import DATA

PEPTIDES = ("2ol9", "5wkd", "5zck")


def structure(code, **options):
    path = crambin_path() if code == "1ejg" else DATA / f"{code}.pdb"
    return read_crystal(path, **options)


def cartesian(crystal):
    return (crystal.positions_frac @ crystal.cell.matrix.T).numpy()


def residue_numbers(crystal):
    """Each atom's residue, numbered in the order of the file."""
    number = {}
    return [number.setdefault(a.residue_id, len(number)) for a in crystal.labels]


# ---- blocks -----------------------------------------------------------------------------------

CASES = [("1ejg", n) for n in (1, 2, 3, 4, 5, 46)] + [(c, n) for c in PEPTIDES for n in (1, 2, 3)]


@pytest.mark.parametrize(("code", "n"), CASES)
def test_blocks_hold_every_atom_and_are_ranges(code, n):
    crystal = structure(code, waters=True, ligands=True, hydrogens=True)
    numbers, names = rigid_blocks(crystal, n)
    assert len(numbers) == crystal.n_atoms
    assert set(numbers) == set(range(n))
    assert len(names) == n
    # Residues are whole, and the ranges written out are the same bodies.
    pairs = set(zip(residue_numbers(crystal), numbers, strict=True))
    assert len(pairs) == len(set(residue_numbers(crystal)))
    assert named_ranges(crystal, " ".join(names)) == (numbers, names)
    bodies = gather_bodies(crystal, f"auto:{n}")
    assert bodies.names == names
    assert bodies.body[: crystal.n_atoms].tolist() == numbers


def inside_over_between(crystal, numbers):
    """Contacts up to 4 Å of atoms of different residues: number in blocks over that between."""
    residue, numbers = np.array(residue_numbers(crystal)), np.array(numbers)
    i, j = cKDTree(cartesian(crystal)).query_pairs(4.0, output_type="ndarray").T
    i, j = i[residue[i] != residue[j]], j[residue[i] != residue[j]]
    inside = (numbers[i] == numbers[j]).sum()
    return inside / (len(i) - inside)


@pytest.mark.parametrize(
    ("code", "n", "better"),
    [
        # Found: 1.74, 1.26 and 1.24 times as compact. A peptide has nothing better than the
        # cut in its middle.
        ("1ejg", 2, 1.5),
        ("1ejg", 3, 1.1),
        ("1ejg", 4, 1.1),
        ("5wkd", 2, 1.0),
        ("2ol9", 2, 1.0),
    ],
)
def test_blocks_are_more_compact_than_equal_pieces_of_the_chain(code, n, better):
    crystal = structure(code)
    residue = np.array(residue_numbers(crystal))
    equal = residue * n // (residue.max() + 1)
    ours = inside_over_between(crystal, rigid_blocks(crystal, n)[0])
    assert ours >= better * inside_over_between(crystal, equal)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_helices_and_strands_are_whole(n):
    crystal = structure("1ejg")
    numbers = rigid_blocks(crystal, n)[0]
    block = {int(a.residue_number): b for a, b in zip(crystal.labels, numbers, strict=True)}
    for first, last in ((7, 18), (23, 30), (2, 3), (33, 34)):
        assert len({block[i] for i in range(first, last + 1)}) == 1


def test_blocks_are_the_two_balls_through_which_a_chain_is_threaded():
    # Residues of three atoms: 1-4 and 9-12 in one ball, 5-8 and a second chain in another.
    rng = np.random.default_rng(0)
    balls = [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4
    names = [("A", str(i + 1)) for i in range(12)] + [("B", str(i + 1)) for i in range(4)]
    r, labels = [], []
    for ball, (chain, number) in zip(balls, names, strict=True):
        centre = rng.uniform(-2.5, 2.5, 3) + 12.0 * ball
        for atom in ("N", "CA", "C"):
            r.append(centre + rng.uniform(-1, 1, 3) + 5.0)
            labels.append(AtomLabel(chain, number, "GLY", atom, atom[0]))
    crystal = Crystal.from_atoms(
        (40.0, 40.0, 40.0, 90.0, 90.0, 90.0), "P 1", ["C"] * len(r), np.array(r) / 40, labels=labels
    )
    assert rigid_blocks(crystal, 2)[1] == ("A:1-4,A:9-12", "A:5-8,B")


def test_model_is_that_of_the_ranges():
    crystal = structure("5zck")
    q = torch.rand(4, 3, dtype=torch.float64)
    automatic = OnePhonon(crystal, q_vectors=q, group_by="auto:2")
    explicit = OnePhonon(crystal, q_vectors=q, group_by=" ".join(automatic.bodies.names))
    assert torch.equal(automatic(), explicit())


# ---- what must not matter ---------------------------------------------------------------------


def in_a_box(crystal, r, labels):
    """The atoms alone, in a cubic cell without symmetry."""
    x = torch.as_tensor(r) / 200.0
    elements = [label.element for label in labels]
    cell = (200.0, 200.0, 200.0, 90.0, 90.0, 90.0)
    return Crystal.from_atoms(
        cell, "P 1", elements, x, labels=labels, occupancies=crystal.occupancies
    )


@pytest.mark.parametrize(("code", "n"), [("1ejg", 2), ("1ejg", 3), ("1ejg", 6), ("5wkd", 3)])
def test_orientation_does_not_matter(code, n):
    crystal = structure(code)
    expected = rigid_blocks(crystal, n)
    r = cartesian(crystal)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    assert rigid_blocks(in_a_box(crystal, r @ rotation.T + 3.0, crystal.labels), n) == expected


@pytest.mark.parametrize("n", [2, 3, 6])
def test_order_of_atoms_and_names_do_not_matter(n):
    crystal = structure("1ejg")
    expected = rigid_blocks(crystal, n)[0]
    labels = [
        replace(a, chain="xy", residue_number=str(int(a.residue_number) + 1000))
        for a in crystal.labels
    ]
    order = np.random.default_rng(2).permutation(crystal.n_atoms)
    other = crystal.replace(
        positions_frac=crystal.positions_frac[order],
        U=crystal.U[order],
        occupancies=crystal.occupancies[order],
        masses=crystal.masses[order],
        form_factors=replace(crystal.form_factors, kind=crystal.form_factors.kind[order]),
        labels=tuple(labels[i] for i in order),
    )
    assert rigid_blocks(other, n)[0] == [expected[i] for i in order]


def test_ligands_and_waters_go_with_the_nearest_residue():
    crystal = structure("1ejg")
    expected = rigid_blocks(crystal, 3)[0]
    n = crystal.n_atoms
    r = cartesian(crystal)
    # A water 3 Å outwards of every twentieth atom.
    near = np.arange(0, n, 20)
    outwards = r[near] - r.mean(0)
    waters = r[near] + 3.0 * outwards / np.linalg.norm(outwards, axis=1, keepdims=True)
    labels = [AtomLabel("W", str(i), "HOH", "O", "O") for i in range(len(near))]
    together = np.vstack([r, waters])
    box = Crystal.from_atoms(
        (200.0, 200.0, 200.0, 90.0, 90.0, 90.0),
        "P 1",
        [a.element for a in (*crystal.labels, *labels)],
        together / 200,
        labels=[*crystal.labels, *labels],
    )
    found, names = rigid_blocks(box, 3)
    assert found[:n] == expected
    nearest = np.linalg.norm(waters[:, None] - r[None], axis=2).argmin(1)
    assert found[n:] == [expected[i] for i in nearest]
    assert named_ranges(box, " ".join(names))[0] == found


# ---- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("auto:0", "'0' is no number of rigid blocks; give 1 or more"),
        ("auto:-2", "'-2' is no number"),
        ("auto:2.5", "'2.5' is no number"),
        ("auto:", "'' is no number"),
        ("auto", "'' is no number"),
        ("auto:7", "the asymmetric unit has 6 residues to divide; give at most 6 blocks"),
    ],
)
def test_numbers_that_cannot_be(group_by, message):
    with pytest.raises(InputError, match=message):
        gather_bodies(structure("2ol9"), group_by)


def test_residues_without_numbers_cannot_be_named():
    crystal = made_up()
    labels = tuple(replace(a, residue_number="x") for a in crystal.labels)
    with pytest.raises(InputError, match="A/UNK x has not; give the number"):
        gather_bodies(crystal.replace(labels=labels), "auto:1")


# ---- the cut ----------------------------------------------------------------------------------


def random_network(n, seed):
    w = np.random.default_rng(seed).uniform(0, 1, (n, n)) ** 4
    return w + w.T + np.diag(np.random.default_rng(seed + 100).uniform(0, 3, n))


def test_the_sum_is_that_of_its_definition():
    w, block = random_network(6, 0), np.array([0, 2, 1, 1, 0, 2])
    expected = 0.0
    for b in range(3):
        mine, others = np.flatnonzero(block == b), np.flatnonzero(block != b)
        expected += w[np.ix_(mine, others)].sum() / w[mine].sum()
    assert normalized_cut(w, block, 3) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("n_blocks", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_no_node_would_be_better_elsewhere(n_blocks, seed):
    w = random_network(14, seed)
    block = cut_network(w, n_blocks)
    assert set(block.tolist()) == set(range(n_blocks))
    least = normalized_cut(w, block, n_blocks)
    for node, other in itertools.product(range(14), range(n_blocks)):
        moved = block.copy()
        moved[node] = other
        if len(set(moved.tolist())) == n_blocks:
            # Moves that gain less than 1e-10 are not made.
            assert normalized_cut(w, moved, n_blocks) > least - 1e-9


@pytest.mark.parametrize("n_blocks", [2, 3])
def test_weakly_joined_groups_are_found(n_blocks):
    rng = np.random.default_rng(3)
    group = rng.permutation(np.arange(12) % n_blocks)
    w = np.where(group[:, None] == group[None], 1.0, 0.05) * (1 + 0.1 * random_network(12, 4))
    block = cut_network(w, n_blocks)
    assert len(set(zip(group.tolist(), block.tolist(), strict=True))) == n_blocks


# ---- helices and strands ----------------------------------------------------------------------


def main_chain(crystal):
    r, rows = cartesian(crystal), {}
    for i, a in enumerate(crystal.labels):
        rows.setdefault(a.residue_id, {}).setdefault(a.atom_name, r[i])
    return MainChain(*(np.array([row[n] for row in rows.values()]) for n in ("N", "CA", "C", "O")))


def test_helices_and_strands_of_crambin():
    # The file of crambin has helices 7-19 and 23-30, and strands 1-4 and 32-35; ends differ by one
    # or two between programs.
    chain = main_chain(structure("1ejg"))
    found = [(r.start + 1, r.stop) for r in structure_elements(chain)]
    assert found == [(2, 3), (7, 18), (23, 30), (33, 34)]


def test_helices_end_at_breaks_of_the_chain():
    chain = main_chain(structure("1ejg"))
    C = chain.C.copy()
    C[9] = np.nan  # so that residue 11 begins a new chain, of which 11 to 14 begin turns
    found = [(r.start + 1, r.stop) for r in structure_elements(replace(chain, C=C))]
    assert found == [(2, 3), (12, 18), (23, 30), (33, 34)]


def test_missing_atoms_bond_to_nothing():
    chain = main_chain(structure("1ejg"))
    nothing = replace(chain, O=np.full_like(chain.O, np.nan))
    assert structure_elements(nothing) == []
    empty = np.zeros((0, 3))
    assert structure_elements(MainChain(empty, empty, empty, empty)) == []
