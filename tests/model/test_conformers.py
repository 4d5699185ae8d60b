"""Alternative conformers: electrons, mass and stiffness are conserved."""

import pytest
import torch

from agreement import largest_error
from crystals import made_up, split
from onephonon import OnePhonon, SpringPlan, with_solvent
from onephonon.model.verify import verify
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts

SAMPLINGS = ((-2, 2, 3), (-2, 2, 2), (-2, 2, 3))

SPLITS = {
    "halves": ((("A", 0.5), ("B", 0.5)), None),
    "unequal": ((("A", 0.7), ("B", 0.3)), None),
    "blank": ((("", 0.3), ("B", 0.7)), None),
    "three": ((("A", 0.2), ("B", 0.3), ("C", 0.5)), None),
    "some atoms": ((("A", 0.7), ("B", 0.3)), (1, 3)),
    "a residue": ((("A", 0.7), ("B", 0.3)), (0, 1)),
}

SPRINGS = {
    "gnm": {"gnm_cutoff": 6.0},
    "hybrid": {"model": "hybrid", "k_par": 2.0, "k_perp": 0.3, "gnm_cutoff": 6.0},
    "central": {"model": "anm", "gnm_cutoff": 8.0},
    "stiffness": {"springs": SpringPlan(kind="stiffness"), "gnm_cutoff": 8.0},
}


def whole(spacegroup="C 1 2 1"):
    """Atoms of different occupancies."""
    return made_up(spacegroup, occupancies=[0.9, 0.8, 0.7, 1.0, 0.6])


def model(crystal, **options):
    return OnePhonon(crystal, *SAMPLINGS, **options)


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize(
    ("group_by", "springs"),
    [
        ("asu", "gnm"), ("asu", "central"), ("asu", "hybrid"), ("asu", "stiffness"),
        ("residue", "gnm"), ("residue", "central"), ("chain", "hybrid"), ("atom", "gnm"),
    ],
)  # fmt: skip
def test_atoms_split_in_place_change_nothing(name, group_by, springs):
    one = model(whole(), group_by=group_by, **SPRINGS[springs])
    two = model(split(whole(), *SPLITS[name]), group_by=group_by, **SPRINGS[springs])
    with torch.no_grad():
        # Sums of the same terms in other groups; condition numbers of 1e3.
        assert largest_error(two(), one()) < 1e-11
        assert largest_error(two(use_data_adp=True), one(use_data_adp=True)) < 1e-11
        assert float(two.thermal_scale / one.thermal_scale) == pytest.approx(1, abs=1e-11)
    assert two.bodies.n_dof == one.bodies.n_dof
    # Frequencies: masses are those of one set of atoms.
    a, b = (x.bodies.gather(x.bodies.mass_matrix().diagonal(dim1=1, dim2=2).reshape(-1))
            for x in (one, two))  # fmt: skip
    torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-9)


def test_split_atoms_displace_the_same_solvent():
    some = (1, 3)
    one, two = (
        model(with_solvent(x), gnm_cutoff=6.0)
        for x in (whole(), split(whole(), (("A", 0.7), ("B", 0.3)), some))
    )
    with torch.no_grad():
        assert largest_error(two(), one()) < 1e-11


@pytest.mark.parametrize("group_by", ["asu", "residue", "chain", "atom"])
@pytest.mark.parametrize("name", ["unequal", "blank", "some atoms"])
def test_conformers_against_the_supercell(group_by, name):
    crystal = split(whole("P 1"), *SPLITS[name])
    # Apart by up to 0.4 Å, so that not every contact has all pairs of conformers.
    shift = torch.rand(crystal.n_atoms, 3, generator=torch.Generator().manual_seed(1))
    crystal = crystal.replace(positions_frac=crystal.positions_frac + 0.05 * shift.double())
    found = verify(crystal, size=(3, 2, 1), gnm_cutoff=6.0, n_points=10, group_by=group_by)
    assert found.passed, found.checks


def test_alternatives_of_an_atom_share_one_translation():
    crystal = split(whole("P 1"), (("A", 0.7), ("B", 0.3)), (1, 3))
    bodies = gather_bodies(crystal, "atom")
    assert bodies.body.tolist() == [0, 1, 1, 2, 3, 3, 4]
    assert bodies.n_dof == 15
    assert [name.rsplit("/", 1)[1] for name in bodies.names] == ["C0", "N1", "O2", "S3", "C4"]


def test_weights_are_listed_with_the_contacts():
    crystal = split(whole("P 1"), (("A", 0.7), ("B", 0.3)), (1,))
    rows = model(crystal, gnm_cutoff=6.0).contact_table()
    pairs = {(r.atom_1[-1], r.atom_2[-1]): r.weight for r in rows if r.operator == "within"}
    assert pairs["0", "A"] == pytest.approx(0.7)
    assert pairs["0", "B"] == pytest.approx(0.3)
    assert pairs["0", "2"] == 1.0
    assert ("A", "B") not in pairs


def test_sum_of_weights_is_the_number_of_contacts_without_alternatives():
    crystal = whole()
    one = find_contacts(gather_bodies(crystal), 6.0)
    two = find_contacts(gather_bodies(split(crystal, (("A", 0.5), ("B", 0.5)))), 6.0)
    assert (one.weight == 1).all()
    # A sum of some thousand numbers of order 1.
    assert float(two.weight.sum()) == pytest.approx(one.n_contacts, rel=1e-12)


def test_gradients_by_occupancies_are_those_of_the_electrons():
    # Weights and shares are constants: every amplitude is linear in the occupancies.
    crystal = split(whole("P 1"), (("A", 0.7), ("B", 0.3)), (1, 3))
    leaf = crystal.occupancies.clone().requires_grad_()
    one = model(crystal, gnm_cutoff=6.0, thermal_scale=1.0, occupancies=leaf)
    values = one(use_data_adp=True)
    total = values[~values.isnan()].sum()
    (slope,) = torch.autograd.grad(total, leaf)
    # A quadratic form: the sum of n dI/dn is twice the intensity.
    assert float(slope @ crystal.occupancies) == pytest.approx(2 * float(total.detach()), rel=1e-12)


def test_derivatives_inside_torch_func():
    crystal = split(whole("P 1"), (("A", 0.7), ("B", 0.3)), (1, 3))
    one = model(crystal, springs=SpringPlan(by="copy"), gnm_cutoff=6.0, thermal_scale=1.0)
    free = one.springs.free.detach()

    def total(free):
        values = torch.func.functional_call(one, {"springs.free": free}, (), {"use_data_adp": True})
        return torch.nan_to_num(values).sum()

    slope = torch.func.grad(total)(free)
    leaf = free.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(leaf), leaf)
    torch.testing.assert_close(slope, expected, rtol=1e-10, atol=0)
