"""Contacts against brute force, and networks that do not hang together."""

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from crystals import made_up, simple_lattice
from onephonon import AtomLabel, Crystal, InputError, NetworkError, OnePhonon, SpringPlan
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import MAX_CONTACTS, check_connected, find_contacts


def to_set(contacts):
    """Contacts in one direction each: (i, j, cell)."""
    rows = torch.cat([contacts.i[:, None], contacts.j[:, None], contacts.cell], 1).tolist()
    return [one_way(*row) for row in rows]


def one_way(i, j, *cell):
    """A contact and its reverse get one name."""
    return min((i, j, *cell), (j, i, *(-d for d in cell)))


def brute_force(bodies, cutoff):
    """All pairs, over as many cells as the atoms' spread and the cutoff can need."""
    cell = bodies.crystal.cell
    matrix, r = cell.matrix.numpy(), bodies.positions.numpy()
    frac = r @ np.linalg.inv(matrix).T
    spread = frac.max(0) - frac.min(0)
    reach = np.ceil(spread + cutoff / cell.spacings.numpy()).astype(int)
    found = {}
    for d in itertools.product(*(range(-m, m + 1) for m in reach)):
        gap = r[None] + matrix @ np.array(d) - r[:, None]
        distance = np.linalg.norm(gap, axis=2)
        for i, j in zip(*np.nonzero(distance <= cutoff + 1e-6), strict=True):
            if i != j or any(d):
                found[one_way(int(i), int(j), *d)] = distance[i, j]
    return found


def assert_as_brute_force(crystal, cutoff):
    bodies = gather_bodies(crystal, "atom")
    expected = brute_force(bodies, cutoff)
    contacts = find_contacts(bodies, cutoff)
    ours = to_set(contacts)
    assert len(ours) == len(set(ours))
    # Rounding decides whether a pair exactly at the cutoff is in.
    certain = {key for key, distance in expected.items() if distance < cutoff - 1e-6}
    assert certain <= set(ours) <= set(expected)
    # Coordinates of some 100 Å carry 1e-14.
    theirs = [expected[key] for key in ours]
    np.testing.assert_allclose(contacts.distance.numpy(), theirs, rtol=0, atol=1e-11)


lengths = st.floats(2.5, 9.0)
angles = st.floats(65.0, 115.0)
coordinates = st.tuples(*[st.floats(-2.5, 2.5)] * 3)


@st.composite
def crystals(draw, spacegroup="P 1"):
    cell = [*draw(st.tuples(lengths, lengths, lengths)), *draw(st.tuples(angles, angles, angles))]
    frac = draw(st.lists(coordinates, min_size=1, max_size=4, unique=True))
    try:
        return Crystal.from_atoms(cell, spacegroup, ["C"] * len(frac), frac)
    except InputError:
        assume(False)


@given(crystals(), st.floats(1.0, 6.0))
def test_contacts_are_all_pairs_within_the_cutoff(crystal, cutoff):
    # Atoms stand up to three cells outside the first.
    assert_as_brute_force(crystal, cutoff)


@given(st.floats(0.9, 1.6), st.floats(60.0, 120.0), st.lists(coordinates, min_size=1, max_size=2))
def test_contacts_over_many_cells_of_a_short_axis(length, angle, frac):
    cell = (7.0, length, 9.0, 90.0, angle, 80.0)
    crystal = Crystal.from_atoms(cell, "P 1", ["C"] * len(frac), frac)
    assert_as_brute_force(crystal, 6.0)
    # Six or so neighbours along the axis on either side.
    bodies = gather_bodies(crystal, "atom")
    assert find_contacts(bodies, 6.0).cell[:, 1].abs().max().item() >= int(6.0 / length)


@pytest.mark.parametrize("spacegroup", ["C 1 2 1", "P 31 2 1", "P 61"])
def test_contacts_between_symmetry_copies(spacegroup):
    crystal = made_up(spacegroup)
    away = crystal.positions_frac + crystal.positions_frac.new_tensor([3.0, -2.0, 1.0])
    for each in (crystal, crystal.replace(positions_frac=away)):
        assert_as_brute_force(each, 5.0)


def test_contacts_of_a_skewed_cell():
    # Angles so flat that the spacing of planes is a third of the axes.
    cell = (10.0, 9.0, 8.0, 30.0, 35.0, 40.0)
    crystal = Crystal.from_atoms(cell, "P 1", ["C", "N"], [[0.1, 0.9, 0.4], [0.7, 0.2, 0.6]])
    assert min(crystal.cell.spacings.tolist()) < 4.0
    assert_as_brute_force(crystal, 6.0)


def test_cutoff_is_inclusive():
    bodies = gather_bodies(simple_lattice())
    assert find_contacts(bodies, 4.0).n_contacts == 3  # half of six neighbours
    assert find_contacts(bodies, 3.999).n_contacts == 0


def test_blocks_are_the_pairs_of_bodies():
    bodies = gather_bodies(made_up("C 1 2 1"), "residue")
    contacts = find_contacts(bodies, 5.0)
    a, b, d = (x[contacts.block] for x in (contacts.block_a, contacts.block_b, contacts.block_cell))
    assert torch.equal(a, bodies.body[contacts.i])
    assert torch.equal(b, bodies.body[contacts.j])
    assert torch.equal(d, contacts.cell)
    blocks = torch.cat(
        [contacts.block_a[:, None], contacts.block_b[:, None], contacts.block_cell], 1
    )
    assert len(blocks.unique(dim=0)) == len(blocks)


def test_same_copy_means_one_copy_in_one_cell():
    crystal = made_up("C 1 2 1")
    bodies = gather_bodies(crystal)
    contacts = find_contacts(bodies, 6.0)
    n = crystal.n_atoms
    for i, j, cell, same in zip(
        contacts.i.tolist(),
        contacts.j.tolist(),
        contacts.cell.tolist(),
        contacts.same_copy.tolist(),
        strict=True,
    ):
        assert same == (i // n == j // n and cell == [0, 0, 0])
    # Within a copy of five atoms, all closer than 6 Å: ten pairs, four copies.
    assert int(contacts.same_copy.sum()) == 4 * 10
    assert contacts.n_contacts > 40


def test_alternative_conformers_never_meet_in_one_copy():
    # Atoms A, B and a common one 1 Å apart, in two copies 3 Å apart.
    labels = [
        AtomLabel("A", "1", "GLY", name, "C", altloc)
        for name, altloc in (("X", "A"), ("X", "B"), ("Y", ""))
    ]
    frac = [[0.1, 0.0, 0.1], [0.2, 0.0, 0.1], [0.15, 0.08, 0.1]]
    crystal = Crystal.from_atoms((10, 3, 10, 90, 90, 90), "P 1", ["C"] * 3, frac, labels=labels)
    bodies = gather_bodies(crystal, "atom")
    expected = set(brute_force(bodies, 4.0))
    assert (0, 1, 0, 0, 0) in expected
    ours = set(to_set(find_contacts(bodies, 4.0)))
    # Conformers of neighbouring cells may be there at the same time.
    assert {(0, 1, 0, 1, 0), (0, 1, 0, -1, 0), (0, 2, 0, 0, 0), (1, 2, 0, 0, 0)} <= ours
    assert expected - ours == {(0, 1, 0, 0, 0)}
    assert ours <= expected


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan"), float("inf")])
def test_cutoff_that_is_no_distance(cutoff):
    message = rf"gnm_cutoff {cutoff} is not a distance; give Å"
    with pytest.raises(InputError, match=message):
        find_contacts(gather_bodies(simple_lattice()), cutoff)
    with pytest.raises(InputError, match=message):
        OnePhonon(simple_lattice(), *[(0, 1, 1)] * 3, gnm_cutoff=cutoff)


def test_cutoff_that_gives_too_many_contacts():
    # One atom per 64 Å^3: 7e7 pairs within 1300 Å; raised before any is formed.
    message = rf"gnm_cutoff 1300 Å gives about 7\d{{7}} contacts.*lower it.*{MAX_CONTACTS}"
    with pytest.raises(InputError, match=message):
        find_contacts(gather_bodies(simple_lattice()), 1300.0)


def test_cutoff_that_gives_more_contacts_than_memory(monkeypatch):
    # 0.5 (4/3) pi 330^3/64 = 1.2e6 contacts, each of some 350 bytes.
    monkeypatch.setattr("onephonon.core.memory.available_memory", lambda: 100_000_000)
    with pytest.raises(InputError, match=r"gnm_cutoff 330 Å gives about 1\d{6} contacts.*memory"):
        find_contacts(gather_bodies(simple_lattice()), 330.0)


@pytest.mark.parametrize("kind", ["gaussian", "parallel", "stiffness"])
def test_no_contacts_at_all(kind):
    message = (
        r"no two atoms are within gnm_cutoff 0\.1 Å of each other; "
        r"the smallest cutoff that joins everything is \d\.\d\d Å"
    )
    crystal = made_up("P 1")
    with pytest.raises(NetworkError, match=message):
        OnePhonon(crystal, *[(0, 1, 2)] * 3, gnm_cutoff=0.1, springs=SpringPlan(kind=kind))
    with pytest.raises(NetworkError, match=message):
        OnePhonon(crystal, *[(0, 1, 2)] * 3, gnm_cutoff=0.1, springs=lambda f: f.distance)
    with pytest.raises(NetworkError, match=r"smallest cutoff that joins everything"):
        OnePhonon(crystal, *[(0, 1, 2)] * 3, gnm_cutoff=0.1)


# ---- what does not hang together ------------------------------------------------------------


def check(crystal, cutoff, group_by="asu"):
    bodies = gather_bodies(crystal, group_by)
    check_connected(bodies, find_contacts(bodies, cutoff))


def assert_named_cutoff_is_the_smallest(error, crystal, group_by="asu"):
    named = re.search(r"smallest cutoff that joins everything is (\d+\.\d\d) Å", str(error))
    cutoff = float(named[1])
    check(crystal, cutoff, group_by)
    with pytest.raises(NetworkError):
        check(crystal, cutoff - 0.01, group_by)
    return cutoff


@pytest.mark.parametrize(
    ("cell", "shape", "cutoff"),
    [
        ((3.0, 3.1, 8.004, 90, 90, 90), "separate layers", 8.01),
        ((3.0, 8.0, 7.0, 90, 90, 90), "separate chains", 8.0),
        ((7.0, 7.5, 7.337, 90, 90, 90), "separate clusters", 7.5),
        # The shortest way between the layers is c + a or c - a, not c.
        ((3.0, 3.1, 8.0, 90, 100, 90), "separate layers", 7.99),
    ],
)
def test_crystal_that_falls_apart(cell, shape, cutoff):
    crystal = simple_lattice(cell)
    with pytest.raises(
        NetworkError, match=rf"gnm_cutoff 4 Å the crystal falls into {shape}"
    ) as error:
        check(crystal, 4.0)
    shortest = assert_named_cutoff_is_the_smallest(error.value, crystal)
    if cell[4] == 90:
        assert shortest == cutoff
    else:
        matrix = crystal.cell.matrix
        ways = [torch.linalg.norm(matrix[:, 2] + n * matrix[:, 0]).item() for n in (-1, 0, 1)]
        assert shortest == pytest.approx(np.ceil(100 * min(ways)) / 100)


def labelled(names, elements="C"):
    return [AtomLabel("A", str(i + 1), name, "CA", elements) for i, name in enumerate(names)]


def test_pieces_are_named():
    # Three atoms of a 2 Å net, and one in the middle of nowhere.
    frac = [[x, 0, 0] for x in (0.0, 1 / 3, 2 / 3)] + [[0.5, 0.5, 0.5]]
    crystal = Crystal.from_atoms(
        (6, 6, 6, 90, 90, 90), "P 1", ["C"] * 4, frac,
        labels=labelled(["ALA", "GLY", "SER", "LYS"]),
    )  # fmt: skip
    message = r"gnm_cutoff 2\.5 Å the network falls into 2 pieces: A/LYS 4/CA is unconnected"
    with pytest.raises(NetworkError, match=message) as error:
        check(crystal, 2.5, "atom")
    # The chains along x join each other through the loose atom, sqrt(3^2 + 3^2 + 1^2) away.
    assert assert_named_cutoff_is_the_smallest(error.value, crystal, "atom") == 4.36


def test_copies_are_named_by_their_operator():
    crystal = Crystal.from_atoms((9, 8, 7, 90, 90, 90), "P 21 21 21", ["C"], [[0.1, 0.1, 0.1]])
    message = r"3 pieces|4 pieces: .*asymmetric unit \(copy 2\).*are unconnected"
    with pytest.raises(NetworkError, match=message) as error:
        check(crystal, 1.0)
    assert_named_cutoff_is_the_smallest(error.value, crystal)


def test_many_pieces_are_counted_not_listed():
    frac = [[i / 9, 0, 0] for i in range(9)]
    crystal = Crystal.from_atoms((90, 90, 90, 90, 90, 90), "P 1", ["C"] * 9, frac)
    with pytest.raises(
        NetworkError, match=r"9 pieces: (\S+ \S+, ){4}\S+ \S+ and 3 more are unconnected"
    ):
        check(crystal, 4.0, "atom")


def test_networks_that_pass_through_each_other():
    # A body with arms to the cells (1, 1, 0), (1, -1, 0) and (0, 0, 1) of a 10 Å lattice: it
    # never touches those in between.
    frac = torch.tensor([[0, 0, 0], [1.1, 1, 0], [1.1, -1, 0], [0, 0.1, 1]], dtype=torch.float64)
    crystal = Crystal.from_atoms((10, 10, 10, 90, 90, 90), "P 1", ["C"] * 4, frac)
    message = r"the crystal falls into 2 interpenetrating networks that are not connected"
    with pytest.raises(NetworkError, match=message) as error:
        check(crystal, 2.0)
    assert_named_cutoff_is_the_smallest(error.value, crystal)


@given(crystals(), st.floats(0.5, 3.0))
def test_smallest_cutoff_is_the_smallest(crystal, cutoff):
    try:
        check(crystal, cutoff, "atom")
    except NetworkError as error:
        assert_named_cutoff_is_the_smallest(error, crystal, "atom")


def test_named_cutoff_suffices_where_it_rounds_to_a_whole_length():
    # The axis across the layers is 2.5 Å, or 2.5000000000000004 after rounding.
    cell, frac = (2.5, 2.5, 2.5, 65.0, 65.0, 65.0), [[1.25, 2.25, 2.375]]
    crystal = Crystal.from_atoms(cell, "P 1", ["C"], frac)
    with pytest.raises(NetworkError) as error:
        check(crystal, 1.0)
    assert_named_cutoff_is_the_smallest(error.value, crystal)


def test_smallest_cutoff_of_a_body_in_a_mostly_empty_cell():
    # 1000 atoms 2 Å apart: 18 Å across, 482 Å to the next.
    steps = np.arange(10.0)
    cube = 2.0 * np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    crystal = Crystal.from_atoms((500, 500, 510, 90, 90, 90), "P 1", ["C"] * 1000, cube / 500)
    with pytest.raises(NetworkError, match="separate clusters") as error:
        check(crystal, 4.0)
    # 510 - 18 * 1.02 along c.
    assert "smallest cutoff that joins everything is 491.64 Å" in str(error.value)


@pytest.mark.parametrize("spacegroup", ["P 1", "P 21 21 21"])
def test_smallest_cutoff_of_many_pieces(spacegroup):
    # A hundred atoms and more, each a piece at first.
    cell = (24.0, 25.0, 26.0, 90, 90, 90)
    x = np.random.default_rng(2).uniform(size=(110, 3))
    crystal = Crystal.from_atoms(cell, spacegroup, ["C"] * 110, x)
    with pytest.raises(NetworkError) as error:
        check(crystal, 0.5, "atom")
    assert_named_cutoff_is_the_smallest(error.value, crystal, "atom")


def test_alternatives_that_exclude_each_other_join_nothing():
    # A and B at 0.5 Å, in bodies of their own: only their neighbours in the next cells join them.
    labels = [AtomLabel("A", "1", "GLY", "X", "C", letter) for letter in "AB"]
    frac = [[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]
    crystal = Crystal.from_atoms(
        (5, 6, 7, 90, 90, 90), "P 1", ["C"] * 2, frac, occupancies=0.5, labels=labels
    )
    with pytest.raises(NetworkError) as error:
        check(crystal, 2.0, [0, 1])
    named = re.search(r"smallest cutoff that joins everything is (\d+\.\d\d) Å", str(error.value))
    check(crystal, float(named[1]), [0, 1])
    absent = crystal.replace(occupancies=torch.tensor([1.0, 0.0], dtype=torch.float64))
    with pytest.raises(NetworkError, match="no cutoff joins everything"):
        check(absent, 2.0, [0, 1])


def test_model_checks_its_network():
    with pytest.raises(NetworkError, match="separate layers"):
        OnePhonon(simple_lattice((3.0, 3.0, 8.0, 90, 90, 90)), *[(0, 1, 2)] * 3)
