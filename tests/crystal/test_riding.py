"""Riding hydrogens: where those of crambin were refined, one for one, and never twice."""

import gemmi
import numpy as np
import pytest
import torch

from onephonon import InputError, read_crystal
from onephonon.data import crambin_path
from structures import DATA

#: Disordered residues of crambin of which chosen conformers of parent and neighbours differ.
DISORDERED = {"22", "25", "39"}


HYDROXYLS = {"SER": ("HG",), "THR": ("HG1",), "TYR": ("HH",)}


def family(name):
    """Names of hydrogens of one group: HB1, HB2, HB3."""
    return [name[:-1] + i for i in "123"] if name[-1] in "123" else []


def cartesian(crystal):
    return (crystal.positions_frac @ crystal.cell.matrix.T).numpy()


def by_name(crystal):
    """Index of each atom."""
    return {(a.residue_number, a.atom_name, a.altloc): i for i, a in enumerate(crystal.labels)}


@pytest.fixture(scope="module")
def without_hydrogens(tmp_path_factory):
    structure = gemmi.read_structure(str(crambin_path()))
    structure.setup_entities()
    structure.remove_hydrogens()
    path = tmp_path_factory.mktemp("riding") / "bare.cif"
    structure.make_mmcif_document().write_file(str(path))
    return path


@pytest.mark.parametrize("conformers", ["highest", "all"])
def test_hydrogens_are_where_those_of_crambin_were_refined(without_hydrogens, conformers):
    real = read_crystal(crambin_path(), hydrogens=True, conformers=conformers)
    placed = read_crystal(without_hydrogens, hydrogens="riding", conformers=conformers)
    r, p, theirs, ours = cartesian(real), cartesian(placed), by_name(real), by_name(placed)
    name_of = {a.residue_number: a.residue_name for a in real.labels}
    rigid, turning = [], []
    for key, i in ours.items():
        number, name, _ = key
        if placed.labels[i].element != "H" or number in DISORDERED or key not in theirs:
            continue
        if name in HYDROXYLS.get(name_of[number], ()):
            continue  # trans to the chain by convention
        # Numbers within a group differ between files.
        group = [k for k in theirs if k[::2] == key[::2] and k[1] in family(name)] or [key]
        gap = min(np.linalg.norm(r[theirs[k]] - p[i]) for k in group)
        if len(group) == 3:  # CH3 and NH3, which turn
            turning.append(gap)
        else:
            rigid.append(gap)
            # Refined C-H are 0.93 to 1.10 Å long; angles of minor conformers are less well known.
            assert gap < (0.2 if key[2] in ("", "A") else 0.35), key
    assert len(rigid) > 150
    assert len(turning) > 70
    # Eclipsed ones would be 0.9 Å off; some methyls of the file are.
    assert np.median(turning) < 0.2
    assert np.quantile(turning, 0.9) < 0.5


@pytest.mark.parametrize("conformers", ["highest", "all"])
def test_numbers_are_those_of_the_file(without_hydrogens, conformers):
    # One hydrogen more than the file, which has none on OG1 of THR 39.
    def hydrogens(crystal):
        return {
            (a.residue_number, a.atom_name)
            for a in crystal.labels
            if a.element == "H" and a.residue_number not in {"22", "25"}
        }

    real = hydrogens(read_crystal(crambin_path(), hydrogens=True, conformers=conformers))
    placed = hydrogens(read_crystal(without_hydrogens, hydrogens="riding", conformers=conformers))
    assert placed == real | {("39", "HG1")}


def test_hydrogens_ride_on_their_parents(without_hydrogens):
    bare = read_crystal(without_hydrogens, conformers="all")
    crystal = read_crystal(without_hydrogens, hydrogens="riding", conformers="all")
    r, heavy = cartesian(crystal), [i for i, a in enumerate(crystal.labels) if a.element != "H"]
    assert [crystal.labels[i] for i in heavy] == list(bare.labels)
    assert torch.equal(crystal.U[heavy], bare.U)
    assert any("riding hydrogens" in remark.text for remark in crystal.remarks)
    for i, label in enumerate(crystal.labels):
        if label.element != "H":
            continue
        own = [
            j
            for j in heavy
            if crystal.labels[j].residue_id == label.residue_id
            and crystal.labels[j].altloc == label.altloc
        ]
        gaps = np.linalg.norm(r[own] - r[i], axis=1)
        parent = own[int(gaps.argmin())]
        assert 0.83 < gaps.min() < 1.21
        assert crystal.labels[parent].altloc == label.altloc
        assert torch.equal(crystal.U[i], crystal.U[parent])
        assert crystal.occupancies[i] == crystal.occupancies[parent]


@pytest.mark.parametrize("code", ["1ejg", "5wkd", "2ol9"])
def test_existing_hydrogens_are_not_doubled(code):
    path = crambin_path() if code == "1ejg" else DATA / f"{code}.pdb"
    kept = read_crystal(path, hydrogens=True)
    more = read_crystal(path, hydrogens="riding")
    added = set(by_name(more)) - set(by_name(kept))
    assert more.n_atoms == kept.n_atoms + len(added)
    # The one that crambin's file lacks; others either lack all or none.
    n_before = sum(a.element == "H" for a in kept.labels)
    assert added == {("39", "HG1", "")} if code == "1ejg" else n_before == 0 or not added
    r = cartesian(more)
    hydrogens = np.array([a.element == "H" for a in more.labels])
    for i in (by_name(more)[key] for key in added):
        gap = np.linalg.norm(r - r[i], axis=1)
        assert np.sort(gap[hydrogens])[1] > 1.3


def test_half_a_side_chain_gets_none_and_the_chain_has_ends(without_hydrogens, tmp_path):
    structure = gemmi.read_structure(str(without_hydrogens))
    chain = structure[0][0]
    for residue in chain:
        if residue.seqid.num == 10:  # ARG to its CB
            for name in ("CG", "CD", "NE", "CZ", "NH1", "NH2"):
                for i in reversed(range(len(residue))):
                    if residue[i].name == name:
                        del residue[i]
    for i in reversed(range(len(chain))):
        if chain[i].seqid.num == 20:  # a gap before residue 21
            del chain[i]
    path = tmp_path / "half.cif"
    structure.make_mmcif_document().write_file(str(path))
    names = by_name(read_crystal(path, hydrogens="riding"))
    of_arg = {name for number, name, _ in names if number == "10" and name.startswith("H")}
    assert of_arg == {"H", "HA"}
    assert ("21", "H", "") not in names
    assert ("22", "H", "") not in names  # proline
    assert {("1", f"H{i}", "") for i in (1, 2, 3)} <= set(names)
    assert ("1", "H", "") not in names
    # Sulphurs of disulfides have none.
    assert not any((str(i), "HG", "") in names for i in (3, 4, 16, 26, 32, 40))


def test_other_values_are_refused():
    with pytest.raises(InputError, match="hydrogens 'all' is not True, False or 'riding'"):
        read_crystal(crambin_path(), hydrogens="all")


def test_hydrogens_of_other_names_are_not_doubled(tmp_path):
    structure = gemmi.read_structure(str(crambin_path()))
    for residue in structure[0][0]:
        for atom in (a for a in residue if a.is_hydrogen()):
            atom.name = f"X{atom.name}"
    path = tmp_path / "renamed.cif"
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(path))
    kept = read_crystal(path, hydrogens=True, conformers="all")
    more = read_crystal(path, hydrogens="riding", conformers="all")
    added = set(by_name(more)) - set(by_name(kept))
    assert {number for number, _, _ in added} <= DISORDERED
