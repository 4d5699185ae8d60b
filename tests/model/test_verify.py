"""The model against an explicit supercell, and that the comparison can fail."""

import math
from dataclasses import replace

import pytest
import torch

from crystals import made_up
from onephonon import InputError, NetworkError, UnitCell
from onephonon.crystal.symmetry import symmetry_operators
from onephonon.crystal.zone import fold
from onephonon.dynamics.stiffness_matrix import stiffness
from onephonon.model.verify import Check, Verification, relative_difference, verify
from onephonon.network.bodies import Bodies
from onephonon.network.contacts import find_contacts

#: Three cells along h: at k = 1/3 K is not real, so that a forgotten conjugate shows.
SIZE = (3, 2, 1)

#: Float64 sums and inverses of condition 1e4 or so agree to 1e-12; a wrong sign, index or factor
#: shows at 1e-3.
TOLERANCE = 1e-10

#: Central forces need every atom held from three sides; 6.5 Å does it for every crystal here.
CUTOFF = 6.5

SPRINGS = {
    "gnm": {"model": "gnm", "gamma_intra": 1.0, "gamma_inter": 0.4},
    "anm": {"model": "anm", "gamma_intra": 1.0, "gamma_inter": 0.4},
    "hybrid": {"model": "hybrid", "k_par": (1.0, 0.7), "k_perp": (0.2, 0.1)},
}

CHECKS = [
    "grid vs supercell, file's ADPs",
    "grid vs supercell, model's ADPs",
    "arbitrary q vs supercell, file's ADPs",
    "arbitrary q vs supercell, model's ADPs",
    "arbitrary q vs grid, every point",
    "sum over modes vs solve, every point",
    "ADPs vs supercell",
    "U tensors vs supercell",
]


def assert_passes(result):
    assert [check.name for check in result.checks] == CHECKS
    assert all(check.count > 0 for check in result.checks)
    assert {c.name: c.difference for c in result.checks if not c.difference <= TOLERANCE} == {}
    assert result.passed


def failed(result):
    """What did not pass, by a wide margin: no rounding could explain it."""
    assert not result.passed
    return {check.name for check in result.checks if not check.difference < 1e-4}


@pytest.mark.parametrize("springs", SPRINGS)
@pytest.mark.parametrize("group_by", ["asu", "chain", "residue", "atom"])
@pytest.mark.parametrize(
    "spacegroup", ["P 1", "P 1 21 1", "C 1 2 1", "P 21 21 21", "P 31 2 1", "P 61"]
)
def test_made_up_crystal_is_its_supercell(spacegroup, group_by, springs):
    crystal = made_up(spacegroup)
    result = verify(
        crystal,
        size=SIZE,
        group_by=group_by,
        gnm_cutoff=CUTOFF,
        hkl_range=(-1, 1),
        n_points=40,
        **SPRINGS[springs],
    )
    assert result.size == SIZE
    assert result.n_atoms == crystal.n_atoms
    dof = {"asu": 6, "chain": 6 + 5, "residue": 5 + 3 + 3 + 3, "atom": 15}[group_by]
    assert result.n_dof == dof * crystal.n_ops
    assert_passes(result)


@pytest.mark.parametrize("springs", SPRINGS)
@pytest.mark.parametrize("code", ["2ol9", "5wkd", "5zck"])
def test_real_crystal_is_its_supercell(peptide, code, springs):
    options = {"gnm_cutoff": 4.5, "hkl_range": (-1, 1), "n_points": 20}
    result = verify(peptide(code), size=SIZE, **options, **SPRINGS[springs])
    assert_passes(result)


def test_numbered_bodies_are_verified_too():
    crystal = made_up("P 1 21 1")
    result = verify(crystal, size=SIZE, group_by=[0, 1, 0, 1, 0], gnm_cutoff=CUTOFF, n_points=20)
    assert_passes(result)


def test_alternative_conformers_are_verified_too(tmp_path):
    from onephonon import read_crystal

    line = "ATOM  {:5d}  {:<3s}{}GLY A   1    {:8.3f}{:8.3f}{:8.3f}{:6.2f} 10.00           {}"
    atoms = [
        ("N", " ", 0.5, 0.6, 0.7, 1.0), ("CA", "A", 1.6, 1.3, 0.9, 0.6),
        ("CA", "B", 1.4, 1.5, 1.2, 0.4), ("C", "A", 2.7, 0.9, 1.8, 0.6),
        ("C", "B", 2.6, 1.1, 2.2, 0.4), ("O", " ", 3.1, 2.2, 2.9, 1.0),
    ]  # fmt: skip
    path = tmp_path / "conformers.pdb"
    path.write_text(
        "CRYST1    5.100    5.300    6.200  90.00 100.00  90.00 P 1 21 1\n"
        + "\n".join(line.format(i + 1, *a[:6], a[0][0]) for i, a in enumerate(atoms))
    )
    crystal = read_crystal(path, conformers="all")
    assert crystal.n_atoms == 6
    assert_passes(verify(crystal, size=SIZE, group_by="atom", gnm_cutoff=5.0, n_points=20))


@pytest.mark.parametrize("springs", SPRINGS)
def test_atoms_on_a_symmetry_element_are_verified_too(springs):
    # The copy of an atom on the axis coincides with it: a contact without a direction.
    crystal = made_up("P 1 21 1").replace(spacegroup="P 1 2 1")
    rotations, translations = map(torch.from_numpy, symmetry_operators("P 1 2 1"))
    on_axis = crystal.positions_frac.clone()
    on_axis[0] = on_axis.new_tensor([0.0, 0.1, 0.0])
    # Half an atom in either copy, as files have it by convention.
    half = torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    crystal = crystal.replace(
        rotations=rotations,
        translations=translations,
        positions_frac=on_axis,
        occupancies=half,
    )
    assert_passes(
        verify(
            crystal, size=SIZE, group_by="asu", gnm_cutoff=CUTOFF, n_points=20, **SPRINGS[springs]
        )
    )


def test_size_by_default_has_complex_phases():
    result = verify(made_up("P 1"), gnm_cutoff=CUTOFF, n_points=20, hkl_range=(-1, 1))
    assert result.size[0] >= 3
    assert_passes(result)


# ---- it can fail ----------------------------------------------------------------------------


def broken(**options):
    """Verify a crystal whose K is complex, in parts and as a whole."""
    crystal = made_up("P 1 21 1")
    return verify(crystal, size=SIZE, group_by="chain", gnm_cutoff=CUTOFF, n_points=20, **options)


def test_fails_with_the_phase_conjugated(monkeypatch):
    # K* has the eigenvalues of K, so displacements cannot tell; intensities do.
    from onephonon.model import one_phonon

    def backwards(bodies, cutoff):
        contacts = find_contacts(bodies, cutoff)
        return replace(contacts, block_cell=-contacts.block_cell)

    monkeypatch.setattr(one_phonon, "find_contacts", backwards)
    assert failed(broken()) == set(CHECKS[:4])


def test_fails_with_the_libration_reversed(monkeypatch):
    right = Bodies.displacements

    def reversed_libration(self):
        A = right(self).clone()
        A[:, :, 3:] *= -1
        return A

    monkeypatch.setattr(Bodies, "displacements", reversed_libration)
    assert set(CHECKS[:4]) <= failed(broken())


def test_fails_without_the_conjugate_in_the_mode_sum(monkeypatch):
    from onephonon.model import verify as module

    right = module.mode_intensity

    def unconjugated(bodies, modes, *rest, **options):
        return right(bodies, replace(modes, V=modes.V.conj()), *rest, **options)

    monkeypatch.setattr(module, "mode_intensity", unconjugated)
    assert failed(broken()) == {"sum over modes vs solve, every point"}


def test_fails_with_a_contact_missing(monkeypatch):
    from onephonon.model import one_phonon

    def one_less(bodies, cutoff):
        return find_contacts(bodies, 0.97 * cutoff)

    monkeypatch.setattr(one_phonon, "find_contacts", one_less)
    assert set(CHECKS[:4]) | set(CHECKS[6:]) == failed(broken())


def test_fails_with_hkl_taken_wrongly_from_q(monkeypatch):
    right = UnitCell.hkl_from_q
    monkeypatch.setattr(UnitCell, "hkl_from_q", lambda self, q: right(self, q) + 0.01)
    assert failed(broken()) == {CHECKS[2], CHECKS[3], CHECKS[4]}


def test_a_crystal_with_a_real_k_would_not_show_the_conjugate():
    # Why SIZE has a three: with two cells along each axis K equals its conjugate.
    from onephonon import OnePhonon

    for n, is_real in ((2, True), (3, False)):
        model = OnePhonon(made_up("P 1 21 1"), *[(0, 1, n)] * 3, gnm_cutoff=CUTOFF)
        K = stiffness(model.bodies, model.force_constants(), fold(model.hkl_grid))
        # exp(i pi) is -1 up to 1e-16, times blocks of the order of 100.
        assert (K.imag.abs().max().item() < 1e-12) == is_real


def test_nan_does_not_pass():
    check = Check("made up", math.nan, 1, TOLERANCE)
    assert not check.passed
    assert not Verification((check,), SIZE, 1, 6).passed
    value = torch.tensor([1.0, math.nan])
    assert math.isnan(relative_difference(value, torch.ones(2)))
    assert math.isnan(relative_difference(torch.ones(0), torch.ones(0)))


def test_tolerance_decides():
    result = broken(tolerance=1e-30)
    assert not result.passed
    assert all(check.tolerance == 1e-30 for check in result.checks)


def test_relative_difference_is_relative():
    reference = torch.tensor([100.0, 1.0], dtype=torch.float64)
    ours = torch.tensor([100.0, 1.001], dtype=torch.float64)
    # Two roundings of 1e-16 against 1e-3.
    assert relative_difference(ours, reference) == pytest.approx(1e-3, rel=1e-12)


def test_errors_say_what_cannot_be_verified():
    with pytest.raises(NetworkError, match="gnm_cutoff 2 Å"):
        verify(made_up("P 1"), size=SIZE, gnm_cutoff=2.0)
    with pytest.raises(InputError, match=r"order 36000.*fewer cells"):
        verify(made_up("P 61"), size=(10, 10, 10), gnm_cutoff=CUTOFF, model="gnm")
