"""Which contacts symmetry relates, against the operators applied to the atoms themselves."""

from dataclasses import dataclass, replace

import gemmi
import pytest
import torch

from crystals import made_up
from onephonon import AtomLabel, OnePhonon
from onephonon.network.bodies import gather_bodies
from onephonon.network.contact_files import read_contact_table, write_contact_table
from onephonon.network.contacts import find_contacts
from onephonon.network.interfaces import (
    WITHIN,
    contact_features,
    contact_keys,
    contact_rows,
    find_interfaces,
    residue_pairs,
)
from onephonon.network.springs import SpringPlan

CUTOFF = 6.5
GROUPS = ["P 1", "P 1 21 1", "C 1 2 1", "P 21 21 21", "P 31 2 1"]


class Orbits:
    """Things that are found to be the same, by union of pairs."""

    def __init__(self):
        self.parent = {}

    def find(self, x):
        self.parent.setdefault(x, x)
        while self.parent[x] != x:
            x = self.parent[x]
        return x

    def join(self, x, y):
        self.parent[self.find(x)] = self.find(y)


@dataclass
class Related:
    """The crystal's contacts, and the image of each by each operator."""

    bodies: object
    contacts: object
    ends: list
    #: (contact, its image, whether the image runs from atom j's image to atom i's)
    images: list


def apply_operators(crystal):
    """Turn and shift the two atoms of every contact, and look where they land."""
    bodies = gather_bodies(crystal)
    contacts = find_contacts(bodies, CUTOFF)
    frac = bodies.positions @ crystal.cell.inverse.T
    n = crystal.n_atoms

    def land(x, atom):
        """The atom of the cell, and the cell, that stand at x: a copy of the same atom."""
        away = x - frac[atom % n :: n]
        cell = torch.round(away)
        (copy,) = ((away - cell).abs().max(1).values < 1e-6).nonzero().squeeze(1).tolist()
        return int(copy) * n + atom % n, cell[copy].long()

    ends = list(zip(contacts.i.tolist(), contacts.j.tolist(), contacts.cell.tolist(), strict=True))
    place = {(i, j, *d): c for c, (i, j, d) in enumerate(ends)}
    images = []
    for rotation, translation in zip(crystal.rotations, crystal.translations, strict=True):
        for c, (i, j, d) in enumerate(ends):
            a, cell_a = land(rotation @ frac[i] + translation, i)
            b, cell_b = land(rotation @ (frac[j] + frac.new_tensor(d)) + translation, j)
            shift = (cell_b - cell_a).tolist()
            if (a, b, *shift) in place:
                images.append((c, place[a, b, *shift], False))
            else:
                images.append((c, place[b, a, *(-x for x in shift)], True))
    return Related(bodies, contacts, ends, images)


@pytest.fixture(scope="module", params=GROUPS)
def related(request):
    return apply_operators(made_up(request.param))


def assert_same_partition(one, other):
    """Two labellings that tell the same things apart."""
    pairs = set(zip(one, other, strict=True))
    assert len(pairs) == len(set(one)) == len(set(other))


def copies_of(related):
    """First copy, second copy and cell of each contact."""
    copy = related.bodies.copy.tolist()
    return [(copy[i], copy[j], tuple(d)) for i, j, d in related.ends]


def reverse(pair):
    a, b, d = pair
    return b, a, tuple(-x for x in d)


def orbits_of(related, ends):
    """Orbits of directed pairs: `ends` gives a pair for each contact."""
    orbits = Orbits()
    for c, image, is_reversed in related.images:
        other = ends[image]
        orbits.join(ends[c], reverse(other) if is_reversed else other)
        orbits.join(reverse(ends[c]), other if is_reversed else reverse(other))
    return orbits


def test_interfaces_are_the_orbits_of_pairs_of_copies(related):
    found = find_interfaces(related.bodies, related.contacts)
    pairs = copies_of(related)
    orbits = orbits_of(related, pairs)
    expected = []
    for pair, same in zip(pairs, related.contacts.same_copy.tolist(), strict=True):
        both = {orbits.find(pair), orbits.find(reverse(pair))}
        expected.append(WITHIN if same else frozenset(both))
    index = found.index.tolist()
    assert_same_partition(index, expected)
    assert [x == 0 for x in index] == related.contacts.same_copy.tolist()
    assert len(found.names) == len(set(found.names)) == len(found.own_inverse) == max(index) + 1
    # The two copies of an interface change roles if a pair and its reverse are one orbit.
    for pair, i in zip(pairs, index, strict=True):
        if i:
            assert found.own_inverse[i] == (orbits.find(pair) == orbits.find(reverse(pair)))


def test_direction_is_carried_along(related):
    found = find_interfaces(related.bodies, related.contacts)
    seen = 0
    for c, image, is_reversed in related.images:
        if not found.own_inverse[int(found.index[c])]:
            assert bool(found.forward[image]) == (bool(found.forward[c]) ^ is_reversed)
            seen += 1
    assert seen or all(found.own_inverse)


def test_the_name_is_the_operator_from_the_first_copy_to_the_second(related):
    found = find_interfaces(related.bodies, related.contacts)
    crystal = related.bodies.crystal
    frac = related.bodies.positions @ crystal.cell.inverse.T
    frac = frac.reshape(crystal.n_ops, -1, 3)
    seen = set()
    for (a, b, d), interface, forward in zip(
        copies_of(related), found.index.tolist(), found.forward.tolist(), strict=True
    ):
        first, second, cell = (a, b, d) if forward else reverse((a, b, d))
        if interface and first == 0:  # which stands where the file put it
            op = gemmi.Op(found.names[interface])
            moved = [op.apply_to_xyz(x) for x in frac[0].tolist()]
            expected = frac[second] + frac.new_tensor(cell)
            # gemmi works in float64 too.
            torch.testing.assert_close(expected, frac.new_tensor(moved), rtol=0, atol=1e-9)
            seen.add(interface)
    assert seen == set(found.index.tolist()) - {0}


def test_keys_tell_contacts_apart_exactly_as_symmetry_does(related):
    found = find_interfaces(related.bodies, related.contacts)
    orbits = Orbits()
    for c, image, _ in related.images:
        orbits.join(c, image)
    keys = contact_keys(related.bodies, related.contacts, found)
    assert_same_partition(keys, [orbits.find(c) for c in range(len(keys))])


def test_residue_pairs_are_the_orbits_of_pairs_of_residues(related):
    found = find_interfaces(related.bodies, related.contacts)
    labels = related.bodies.crystal.labels
    residue = [labels[a].residue_number for a in related.bodies.asu_atom.tolist()]
    ends = [
        ((c_i, residue[i]), (c_j, residue[j]), d)
        for (i, j, _), (c_i, c_j, d) in zip(related.ends, copies_of(related), strict=True)
    ]
    orbits = orbits_of(related, ends)
    expected = [frozenset({orbits.find(e), orbits.find(reverse(e))}) for e in ends]
    assert_same_partition(residue_pairs(related.bodies, related.contacts, found), expected)


def test_features_do_not_tell_symmetry_related_contacts_apart(related):
    found = find_interfaces(related.bodies, related.contacts)
    features = contact_features(related.bodies, related.contacts, found)
    for c, image, _ in related.images:
        assert abs(float(features.distance[c] - features.distance[image])) < 1e-9  # rounding
        assert bool(features.same_copy[c]) == bool(features.same_copy[image])
        assert int(features.interface[c]) == int(features.interface[image])
        assert features.residue_types[c].tolist() == features.residue_types[image].tolist()


def test_residue_types_of_a_contact():
    crystal = made_up("P 1 21 1")
    names = ["GLY", "ALA", "ALA", "TRP", "GLY"]
    labels = tuple(
        AtomLabel(x.chain, x.residue_number, name, x.atom_name, x.element)
        for x, name in zip(crystal.labels, names, strict=True)
    )
    bodies = gather_bodies(crystal.replace(labels=labels))
    contacts = find_contacts(bodies, CUTOFF)
    features = contact_features(bodies, contacts, find_interfaces(bodies, contacts))
    assert features.residue_names == ("ALA", "GLY", "TRP")
    for i, j, pair in zip(
        contacts.i.tolist(), contacts.j.tolist(), features.residue_types.tolist(), strict=True
    ):
        assert sorted([names[i % 5], names[j % 5]]) == [features.residue_names[t] for t in pair]


def test_rows_stand_for_all_contacts(related):
    bodies, contacts = related.bodies, related.contacts
    found = find_interfaces(bodies, contacts)
    k = torch.arange(contacts.n_contacts, dtype=torch.float64)
    classes = [str(i) for i in found.index.tolist()]
    rows = contact_rows(bodies, contacts, found, classes, {"k_par": k, "k_perp": -k})
    assert sum(row.multiplicity for row in rows) == contacts.n_contacts
    keys = contact_keys(bodies, contacts, found)
    assert [row.key for row in rows] == list(dict.fromkeys(keys))
    for row in rows:
        members = [c for c, key in enumerate(keys) if key == row.key]
        assert row.multiplicity == len(members)
        c = members[0]
        assert (row.k_par, row.k_perp) == (float(c), -float(c))
        assert row.spring_class == classes[c]
        # Printed with four decimals.
        assert abs(row.distance - float(contacts.distance[c])) <= 0.5001e-4


def test_row_names_atoms_operator_and_lattice_vector(peptide):
    model = OnePhonon(peptide("5wkd"), (0, 1, 2), (0, 1, 2), (0, 1, 2), springs=SpringPlan())
    rows = model.contact_table()
    bodies = model.bodies
    frac = model.crystal.positions_frac
    index = {str(label): n for n, label in enumerate(model.crystal.labels)}
    for row in rows:
        x, y = frac[index[row.atom_1]], frac[index[row.atom_2]]
        if row.operator != WITHIN:
            op = gemmi.Op(row.operator)
            y = y.new_tensor(op.apply_to_xyz(y.tolist()))
            cells = [t // gemmi.Op.DEN for t in op.tran]
            assert row.lattice_vector == " ".join(str(c) for c in cells)
        else:
            assert row.lattice_vector == "0 0 0"
        # The operator takes the second atom to where the contact finds it.
        distance = torch.linalg.vector_norm(model.crystal.cell.matrix @ (y - x))
        assert abs(float(distance) - row.distance) <= 0.5001e-4
    assert bodies.n_ops * len(rows) >= model.contacts.n_contacts


def test_plain_springs_have_a_table_too():
    model = OnePhonon(made_up("P 1"), *[(0, 1, 2)] * 3, gnm_cutoff=CUTOFF, gamma_inter=0.5)
    table = model.contact_table()
    assert {(row.spring_class, row.k_par) for row in table} == {("intra", 1.0), ("inter", 0.5)}
    lines = str(table).splitlines()
    assert len(lines) == len(table) + 1
    assert lines[0].split()[:3] == ["atom_1", "atom_2", "operator"]


def test_names_that_look_like_formulas_are_quoted_in_csv_and_come_back(tmp_path):
    model = OnePhonon(made_up("P 21 21 21"), *[(0, 1, 2)] * 3, gnm_cutoff=CUTOFF)
    first, *rest = model.contact_table()
    rows = [replace(first, spring_class="=1+1", atom_1="@A/X 1/C", atom_2="'=x"), *rest]
    for name in ("table.csv", "table.json"):
        write_contact_table(rows, tmp_path / name)
        assert list(read_contact_table(tmp_path / name)) == rows
    text = (tmp_path / "table.csv").read_text()
    assert "\n'@A/X 1/C,''=x," in text
    assert ",'=1+1," in text
    # Operators and lattice vectors are not.
    assert "'-x" not in text
    assert "'-1 0 0" not in text
