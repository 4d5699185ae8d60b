"""Alternative conformers: which one is used, and at which occupancy."""

import gemmi
import numpy as np
import pytest
import torch

from onephonon import OnePhonon, read_crystal
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from pdb_text import alanine, atom_line, write_pdb

Q = torch.tensor([[-0.31, -0.71, -0.73], [0.26, 0.32, -0.05], [-1.48, 0.38, 0.71], [0.8, 0.7, 0.5]])


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="made_up.pdb"):
        return write_pdb(tmp_path / name, *lines)

    return write


def sites(crystal):
    """Name, x and occupancy of each atom."""
    return [
        (label.residue_name, label.atom_name, round(x, 6), round(occ, 6))
        for label, x, occ in zip(
            crystal.labels, crystal.positions[:, 0].tolist(), crystal.occupancies.tolist(),
            strict=True,
        )
    ]  # fmt: skip


def electrons(crystal):
    numbers = [gemmi.Element(label.element).atomic_number for label in crystal.labels]
    return float(crystal.occupancies @ torch.tensor(numbers, dtype=torch.float64))


def split(name, *occupancies, residue="GLY", number=1, letters="ABC"):
    """Records of one atom on several sites: at x = 1, 2, ... Å."""
    return [
        atom_line(name, residue, number, at=(x, number, 1), altloc=letter, occ=occ)
        for x, (letter, occ) in enumerate(zip(letters, occupancies, strict=False), start=1)
    ]


def test_highest_conformer_stands_for_its_residue(write):
    path = write(atom_line("N", "GLY", at=(5, 1, 1)), *split("CA", 0.4, 0.6), *split("C", 0.4, 0.6))
    crystal = read_crystal(path)
    assert [(name, x, occ) for _, name, x, occ in sites(crystal)] == [
        ("N", 5.0, 1.0), ("CA", 2.0, 1.0), ("C", 2.0, 1.0),
    ]  # fmt: skip
    assert {label.altloc for label in crystal.labels} == {""}
    every = electrons(read_crystal(path, conformers="all"))
    assert electrons(crystal) == pytest.approx(every, rel=1e-6)  # single precision in gemmi
    text = "dropped: 2 atoms of other conformers of 1 residue, with their occupancies given to the"
    assert text in crystal.report()


def test_part_that_is_nowhere_stays_nowhere(write):
    """Alternatives that do not add up to one: their sum, no more."""
    assert sites(read_crystal(write(*split("CA", 0.3, 0.35))))[0][2:] == (2.0, 0.65)
    assert sites(read_crystal(write(*split("CA", 0.5))))[0][2:] == (1.0, 0.5)


def test_alternatives_of_more_than_one_are_one_with_a_warning(write):
    path = write(*split("CA", 0.8, 0.6))
    with pytest.warns(UserWarning, match=r"more than 1 in all, 1.40 in A/GLY 1: taken as 1"):
        assert sites(read_crystal(path))[0][2:] == (1.0, 1.0)
    with pytest.warns(UserWarning, match=r"more than 1 in all, 1.40 in A/GLY 1$"):
        read_crystal(path, conformers="all")
    # Three thirds, each rounded up.
    assert sites(read_crystal(write(*split("CA", 0.34, 0.34, 0.34))))[0][2:] == (1.0, 1.0)


@pytest.mark.parametrize("letters", ["AB", "BA"])
def test_first_conformer_wins_a_tie(write, letters):
    lines = [*split("CA", 0.5, 0.5, letters=letters), *split("C", 0.5, 0.5, letters=letters)]
    assert [x for *_, x, _ in sites(read_crystal(write(*lines)))] == [1.0, 1.0]


def test_conformers_are_chosen_residue_by_residue(write):
    path = write(*split("CA", 0.7, 0.3, number=1), *split("CA", 0.2, 0.8, number=2))
    crystal = read_crystal(path)
    assert [(x, occ) for *_, x, occ in sites(crystal)] == [(1.0, 1.0), (2.0, 1.0)]
    # Both stand for their residues: A of the one and B of the other exclude each other no more.
    contacts = find_contacts(gather_bodies(crystal), 1.5)
    assert bool(contacts.same_copy.any())


def test_mean_occupancy_decides_and_hydrogens_do_not(write):
    lines = [*split("CA", 0.45, 0.55), *split("CB", 0.6, 0.4), *split("H", 0.0, 1.0)]
    for hydrogens in (False, True):
        kept = sites(read_crystal(write(*lines), hydrogens=hydrogens))
        assert [x for *_, x, _ in kept[:2]] == [1.0, 1.0]


def test_atom_that_the_best_conformer_lacks_comes_from_the_next(write):
    crystal = read_crystal(write(*split("CA", 0.7, 0.3), *split("CB", 0.3, letters="B")))
    assert [(name, occ) for _, name, _, occ in sites(crystal)] == [("CA", 1.0), ("CB", 0.3)]


def test_microheterogeneity_keeps_one_residue_type_at_the_occupancy_of_all(write):
    lines = [
        atom_line("N", "SER", 1, at=(5, 1, 1)),
        atom_line("CA", "SER", 1, at=(4, 1, 1), altloc="A", occ=0.4),
        atom_line("OG", "SER", 1, at=(3, 1, 1), altloc="A", occ=0.4),
        atom_line("CA", "THR", 1, at=(4, 1, 2), altloc="B", occ=0.6),
        atom_line("CG2", "THR", 1, at=(3, 1, 2), altloc="B", occ=0.6),
    ]
    crystal = read_crystal(write(*lines))
    assert [(residue, name, occ) for residue, name, _, occ in sites(crystal)] == [
        ("SER", "N", 1.0), ("THR", "CA", 1.0), ("THR", "CG2", 1.0),
    ]  # fmt: skip
    both = read_crystal(write(*lines), conformers="all")
    assert both.n_atoms == 5
    assert both.occupancies.tolist() == pytest.approx([1, 0.4, 0.4, 0.6, 0.6], rel=1e-6)
    # Alternative types are one residue, and one body.
    assert gather_bodies(both, "residue").names == ("A/SER 1",)
    assert gather_bodies(crystal, "residue").names == ("A/SER 1",)


def test_microheterogeneity_without_letters(write):
    """Two types of one number and place that share their sites."""
    lines = [
        atom_line("CA", "SER", 1, occ=0.4, at=(1, 1, 1)),
        atom_line("OG", "SER", 1, occ=0.4, at=(2, 1, 1)),
        atom_line("CA", "THR", 1, occ=0.6, at=(1, 1, 1.2)),
        atom_line("CG2", "THR", 1, occ=0.6, at=(2, 1, 1.2)),
    ]
    crystal = read_crystal(write(*lines))
    assert [(residue, name, occ) for residue, name, _, occ in sites(crystal)] == [
        ("THR", "CA", 1.0), ("THR", "CG2", 1.0),
    ]  # fmt: skip


def test_ligand_of_the_same_number_is_no_alternative(write):
    lines = [
        *alanine(1), atom_line("ZN", "ZN", 5, element="ZN", record="HETATM", at=(5, 6, 7)),
        atom_line("O", "HOH", 5, record="HETATM", at=(5, 2, 7)),
    ]  # fmt: skip
    assert read_crystal(write(*lines), ligands=True, waters=True).n_atoms == 7


# ---- conformers without letters -------------------------------------------------------------


def intensity(path, **options):
    with torch.no_grad():
        model = OnePhonon(path, q_vectors=Q, thermal_scale=1.0, gnm_cutoff=7.0, **options)
        return model(use_data_adp=True).numpy()


BACKBONE = alanine(1)[:4]
BETA_A = atom_line("CB", at=(2.4, 2.9, 1.8), altloc="A", occ=0.3)
BETA_B = atom_line("CB", at=(2.0, 2.9, 0.3), altloc="B", occ=0.7)
NEXT = alanine(2, (1.5, 4.2, 4.0))


@pytest.mark.parametrize("conformers", ["highest", "all"])
@pytest.mark.parametrize("blank", ["first", "second", "both"])
def test_conformer_without_a_letter_is_one_of_the_alternatives(write, conformers, blank):
    """A blank conformer at 0.3 loses against B at 0.7, and excludes it."""
    lines = [BETA_A, BETA_B]
    for i, where in enumerate(("first", "second")):
        if blank in (where, "both"):
            lines[i] = f"{lines[i][:16]} {lines[i][17:]}"
    crystal = read_crystal(write(*BACKBONE, *lines, *NEXT), conformers=conformers)
    n_blank = 2 if blank == "both" else 1
    said = f"{n_blank} atom{'s' if n_blank > 1 else ''} without a letter as alternatives"
    assert said in crystal.report()
    right = write(*BACKBONE, BETA_A, BETA_B, *NEXT, name="right.pdb")
    if conformers == "highest":
        assert sites(crystal)[4] == ("ALA", "CB", 2.0, 1.0)
    np.testing.assert_allclose(
        intensity(tmp := write(*BACKBONE, *lines, *NEXT), conformers=conformers),
        intensity(right, conformers=conformers),
        rtol=1e-12,  # the same sums, perhaps in another order
        err_msg=str(tmp),
    )


def test_atoms_that_only_the_conformer_without_a_letter_has(write):
    """They are no part of the other one; the highest takes them as from any next best one."""
    only = atom_line("CG", at=(3, 3, 3), occ=0.3)
    lines = [*BACKBONE, f"{BETA_A[:16]} {BETA_A[17:]}", BETA_B, only]
    everything = read_crystal(write(*lines), conformers="all")
    letters = {label.atom_name: label.altloc for label in everything.labels if label.altloc == "A"}
    assert set(letters) == {"CB", "CG"}
    assert sites(read_crystal(write(*lines)))[-1] == ("ALA", "CG", 3.0, 0.3)
