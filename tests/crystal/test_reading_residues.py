"""Who is polymer, water and ligand, and how residues are told apart."""

import gemmi
import numpy as np
import pytest
import torch

from onephonon import OnePhonon, StructureError, read_crystal
from onephonon.network.bodies import gather_bodies
from pdb_text import ALANINE, alanine, atom_line, write_pdb

#: Fractional Miller indices in no order; a cell of 7 x 8 x 9 Å.
Q = torch.tensor([[-0.31, -0.71, -0.73], [0.26, 0.32, -0.05], [-1.48, 0.38, 0.71], [0.8, 0.7, 0.5]])


def intensity(path, **options):
    with torch.no_grad():
        model = OnePhonon(path, q_vectors=Q, thermal_scale=1.0, gnm_cutoff=7.0, **options)
        return model(use_data_adp=True).numpy()


@pytest.fixture
def write(tmp_path):
    def write(*parts, name="made_up.pdb", **options):
        lines = [x for part in parts for x in ([part] if isinstance(part, str) else part)]
        return write_pdb(tmp_path / name, *lines, **options)

    return write


def assert_same_intensity(one, other, **options):
    # The same sums in another order at most: rounding.
    np.testing.assert_allclose(intensity(one, **options), intensity(other, **options), rtol=1e-12)


def residue_names(crystal):
    return list(dict.fromkeys(label.residue for label in crystal.labels))


WATER = atom_line("O", "HOH", 9, at=(5, 6, 7), record="HETATM")
FIRST, SECOND = alanine(1), alanine(3, (1.5, 4.2, 4.0))


# ---- order ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        (FIRST, "TER", SECOND, "TER", WATER),
        (FIRST, WATER, SECOND),
        (WATER, "TER", FIRST, "TER", SECOND),
        (FIRST, "TER", WATER, SECOND),
    ],
)
def test_standard_residues_are_polymer_wherever_they_stand(write, parts):
    path = write(*parts)
    assert residue_names(read_crystal(path)) == ["A/ALA 1", "A/ALA 3"]
    right = write(FIRST, SECOND, "TER", WATER, name="right.pdb")
    assert_same_intensity(path, right)
    assert_same_intensity(path, right, waters=True)


def test_chain_taken_up_again_is_one_chain(write):
    other = alanine(1, (2.0, 1.4, 6.5), chain="B")
    again = write(FIRST, "TER", other, "TER", SECOND)
    assert gather_bodies(read_crystal(again), "chain").names == ("chain A", "chain B")
    right = write(FIRST, SECOND, "TER", other, name="right.pdb")
    assert_same_intensity(again, right, group_by="chain")


# ---- waters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("residue", ["SOL", "TIP", "WAT", "SPC", "TP3", "DOD", "T3P", "XYZ"])
@pytest.mark.parametrize("record", ["ATOM", "HETATM"])
def test_waters_by_the_names_of_simulations(write, residue, record):
    waters = [
        atom_line("OW", residue, 10, at=(5, 6, 7), record=record, chain=" "),
        atom_line("OW", residue, 11, at=(5, 4, 7), record=record, chain=" "),
    ]
    path = write(FIRST, waters)
    dry, wet = read_crystal(path), read_crystal(path, waters=True)
    assert (dry.n_atoms, wet.n_atoms) == (5, 7)
    assert "dropped: 2 atoms of 2 waters" in dry.report()
    # Only a name that nobody knows is worth a word.
    assert ("assumed: 2 XYZ to be water" in wet.report()) == (residue == "XYZ")


def test_water_of_four_letters_in_three_columns(write):
    # CHARMM writes TIP3 into columns 18 to 21; chain W is in column 22.
    lines = [line.replace("TIP W", "TIP3W") for line in (
        atom_line("OH2", "TIP", 1, at=(5, 6, 7), chain="W"),
        atom_line("OH2", "TIP", 2, at=(5, 4, 7), chain="W"),
    )]  # fmt: skip
    crystal = read_crystal(write(FIRST, lines), waters=True)
    assert residue_names(crystal)[1:] == ["W/TIP3 1", "W/TIP3 2"]


def test_single_oxygen_ions_are_no_water(write):
    lines = [atom_line("O", "OH", 8, at=(5, 6, 7), record="HETATM")]
    crystal = read_crystal(write(FIRST, lines), ligands=True)
    assert residue_names(crystal) == ["A/ALA 1", "A/OH 8"]


def test_massless_sites_of_waters_are_dropped(write):
    water = [
        atom_line("OW", "SOL", 10, at=(5, 6, 7)), atom_line("HW1", "SOL", 10, at=(5, 6, 8)),
        atom_line("MW", "SOL", 10, at=(5, 6, 7.2), element=""),
    ]  # fmt: skip
    crystal = read_crystal(write(FIRST, water), waters=True)
    assert crystal.n_atoms == 6
    assert "1 hydrogen; 1 massless site of waters" in crystal.report()


def test_numbers_of_waters_that_wrap(write):
    """Two waters of one number are two, the second one split over two sites."""
    waters = [
        atom_line("O", "HOH", 1, at=(5, 5, 5), chain="W"),
        atom_line("O", "HOH", 1, at=(6, 2, 7), chain="W", altloc="A", occ=0.5),
        atom_line("O", "HOH", 1, at=(6, 2.9, 7), chain="W", altloc="B", occ=0.5),
    ]
    unique = [waters[0], *(line.replace("W   1", "W   2") for line in waters[1:])]
    wrapped, right = write(FIRST, waters), write(FIRST, unique, name="right.pdb")
    crystal = read_crystal(wrapped, waters=True)
    assert residue_names(crystal)[1:] == ["W/HOH 1", "W/HOH 1#2"]
    assert crystal.occupancies.tolist() == [1.0] * 7
    for options in ({}, {"conformers": "all"}, {"group_by": "residue"}):
        assert_same_intensity(wrapped, right, waters=True, **options)


def test_numbers_in_hybrid_36_are_numbers(write):
    waters = [atom_line("O", "HOH", n, at=(5, y, 7)) for n, y in (("9999", 2), ("A000", 6))]
    crystal = read_crystal(write(FIRST, waters), waters=True)
    assert residue_names(crystal)[1:] == ["A/HOH 9999", "A/HOH 10000"]


def write_mmcif(path, columns, rows):
    """An mmCIF file of these columns beside the usual ones of elements, places and numbers."""
    block = gemmi.cif.Document().add_new_block("made_up")
    cell = {"length_a": 7, "length_b": 8, "length_c": 9, "angle_alpha": 90, "angle_beta": 95}
    for name, value in (cell | {"angle_gamma": 90}).items():
        block.set_pair(f"_cell.{name}", str(value))
    block.set_pair("_symmetry.space_group_name_H-M", "'P 1 21 1'")
    names = f"id {columns} Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv".split()
    loop = block.init_loop("_atom_site.", names)
    for i, row in enumerate(rows, start=1):
        loop.add_row([*f"{i} {row} 1.0 10".split()])
    path.write_text(block.as_string())
    return path


def test_waters_without_numbers_in_mmcif(tmp_path):
    """Without the columns of the authors, all waters of a chain have no number."""
    columns = "type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id"
    rows = [f"O O . HOH W . 5 {y} {z}" for y, z in ((1, 1), (4, 2), (6, 7))]
    crystal = read_crystal(write_mmcif(tmp_path / "waters.cif", columns, rows), waters=True)
    assert residue_names(crystal) == ["W/HOH ", "W/HOH #2", "W/HOH #3"]


def test_molecules_of_one_name_in_mmcif(tmp_path):
    """Two chains that their authors call X, with the same numbers; the columns of the dictionary
    tell them apart.
    """
    columns = "type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id"
    columns += " auth_asym_id auth_seq_id"
    rows = [
        f"{name[0]} {name} . ALA {asym} {n} X {n} {x + 3.8 * (n - 1):.3f} {y + shift:.3f} {z:.3f}"
        for asym, shift in (("A", 1.0), ("B", 4.0))
        for n in (1, 2)
        for name, (x, y, z) in ALANINE.items()
    ]
    crystal = read_crystal(write_mmcif(tmp_path / "chains.cif", columns, rows))
    bodies = gather_bodies(crystal, "chain")
    assert bodies.names == ("chain X", "chain X#2")
    assert bodies.body[:20].tolist() == [0] * 10 + [1] * 10


# ---- segments and molecules of one name -----------------------------------------------------


def test_segments_tell_chains_apart_where_chains_have_no_name(write):
    blank = write(*(
        part
        for segment, lines in (("PROA", FIRST), ("PROB", alanine(1, (1.5, 4.2, 4.0))))
        for part in ([f"{line[:21]} {line[22:72]}{segment}{line[76:]}" for line in lines], "TER")
    ))  # fmt: skip
    named = write(FIRST, "TER", alanine(1, (1.5, 4.2, 4.0), chain="B"), name="named.pdb")
    crystal = read_crystal(blank)
    assert gather_bodies(crystal, "chain").names == ("chain PROA", "chain PROB")
    assert gather_bodies(crystal, "PROA PROB").names == ("PROA", "PROB")
    for group_by in ("asu", "chain", "residue"):
        assert_same_intensity(blank, named, group_by=group_by)


def test_molecules_of_one_name_are_different_chains(write):
    """As programs for molecular dynamics write them: no chain names, numbers that begin again."""
    long = [*alanine(1, chain=" "), *alanine(2, (4.8, 1.0, 1.0), chain=" ")]
    short = alanine(1, (1.0, 4.5, 4.0), chain=" ")
    third = [*alanine(1, (1.0, 1.0, 6.5), chain=" "), *alanine(2, (4.8, 1.0, 6.5), chain=" ")]
    for gap in ("TER", ()):
        crystal = read_crystal(write(long, gap, short, gap, third))
        bodies = gather_bodies(crystal, "chain")
        assert bodies.names == ("chain _", "chain #2", "chain #3")
        # Without TER the parser has put atoms of one number together.
        assert sorted(bodies.body[:25].tolist()) == [0] * 10 + [1] * 5 + [2] * 10
        assert len(gather_bodies(crystal, "residue").names) == 5


def test_lost_insertion_codes_do_not_break_a_chain(write):
    """Two residues of one number, bonded to one another, are two residues of one chain."""
    lines = [
        *alanine(1), *alanine(1, (4.8, 1.0, 1.0), residue="SER"),
        *alanine(2, (8.6, 1.0, 1.0)),
    ]  # fmt: skip
    crystal = read_crystal(write(lines, cryst1=BIG))
    assert residue_names(crystal) == ["A/ALA 1", "A/SER 1#2", "A/ALA 2"]
    assert gather_bodies(crystal, "chain").names == ("chain A",)


BIG = "CRYST1   30.000   31.000   32.000  90.00  95.00  90.00 P 1 21 1      2"


def test_insertion_codes_tell_residues_apart(write):
    lines = [*alanine(1), *alanine(1, (4.8, 1.0, 1.0), insertion="A")]
    assert residue_names(read_crystal(write(lines, cryst1=BIG))) == ["A/ALA 1", "A/ALA 1A"]


def test_atoms_of_one_name_are_all_kept(write):
    names = ("C1", "C1", "O1", "O1", "C2")
    ligand = [
        atom_line(name, "LIG", 5, at=(5, 2 + y, 6), record="HETATM") for y, name in enumerate(names)
    ]
    crystal = read_crystal(write(FIRST, ligand), ligands=True)
    assert [label.atom_name for label in crystal.labels[5:]] == ["C1", "C1#2", "O1", "O1#2", "C2"]
    assert len(set(map(str, crystal.labels))) == crystal.n_atoms
    assert "2 atoms named as another of the residue, as in A/LIG 5: all kept" in crystal.report()


# ---- chains, modified residues, ligands -----------------------------------------------------


def test_modified_residues_and_caps_are_part_of_the_chain(write):
    chain = [
        atom_line("C", "ACE", 0, at=(-0.3, 1.0, 1.0), record="HETATM"),
        *alanine(1),
        *alanine(2, (4.8, 1.0, 1.0), residue="MSE", record="HETATM"),
        *alanine(3, (8.6, 1.0, 1.0), residue="QQQ", record="HETATM"),
        *alanine(4, (12.4, 1.0, 1.0)),
        atom_line("N", "NME", 5, at=(16.2, 1.0, 1.0), record="HETATM"),
        "TER",
        *alanine(9, (5.0, 15.0, 10.0), residue="GLY", record="HETATM"),
        atom_line("ZN", "ZN", 10, at=(5, 10, 20), record="HETATM", element="ZN"),
    ]
    crystal = read_crystal(write(chain, cryst1=BIG))
    expected = "A/ACE 0, A/ALA 1, A/MSE 2, A/QQQ 3, A/ALA 4, A/NME 5"
    assert ", ".join(residue_names(crystal)) == expected
    report = crystal.report()
    assert "ACE, MSE, QQQ, NME as part of the chain" in report
    assert "dropped: 6 atoms of 2 ligands and ions (GLY, ZN)" in report
    assert "assumed: GLY to be free, not part of a chain: no bond to one" in report
    assert read_crystal(write(chain, cryst1=BIG), ligands=True).n_atoms == crystal.n_atoms + 6


def test_sequence_and_modres_name_modified_residues(write):
    lonely = alanine(7, (5.0, 15.0, 10.0), residue="MSE", record="HETATM")
    assert read_crystal(write(FIRST, lonely, cryst1=BIG)).n_atoms == 5
    declared = "MODRES 1ABC MSE A    7  MET  SELENOMETHIONINE"
    assert read_crystal(write(declared, FIRST, lonely, cryst1=BIG)).n_atoms == 10
    sequence = "SEQRES   1 A    2  ALA MSE"
    assert read_crystal(write(sequence, FIRST, lonely, cryst1=BIG)).n_atoms == 10


def test_entities_of_mmcif_say_what_is_polymer(write, tmp_path):
    """A free amino acid is no polymer, whether a file says so or not; a modified one may be."""
    source = write(
        FIRST,
        alanine(7, (5.0, 15.0, 10.0), residue="MSE", record="HETATM"),
        "TER",
        alanine(9, (15.0, 15.0, 10.0), residue="GLY", record="HETATM", chain="B"),
        cryst1=BIG,
    )
    structure = gemmi.read_structure(str(source))
    structure.setup_entities()
    path = tmp_path / "declared.cif"
    structure.make_mmcif_document().write_file(str(path))
    kinds = {r.name: r.entity_type for chain in structure[0] for r in chain}
    assert kinds["MSE"] == gemmi.EntityType.Polymer
    names = residue_names(read_crystal(path))
    assert names[:2] == ["A/ALA 1", "A/MSE 7"]
    assert ("B/GLY 9" in names) == (kinds["GLY"] == gemmi.EntityType.Polymer)


def test_nucleotides_are_polymer_and_sugars_ligands(write):
    lines = [
        atom_line("P", "DA", 1, at=(1, 1, 1)), atom_line("O3'", "DA", 1, at=(2, 2, 1)),
        atom_line("P", "G", 2, at=(3, 2, 1)), atom_line("C1", "NAG", 3, at=(5, 5, 5)),
    ]  # fmt: skip
    crystal = read_crystal(write(lines))
    assert residue_names(crystal) == ["A/DA 1", "A/G 2"]
    assert "dropped: 1 atom of 1 ligand or ion (NAG)" in crystal.report()


@pytest.mark.parametrize("residue", ["HID", "HSE", "CYX", "LYN", "GUA"])
def test_names_of_simulations_for_standard_residues(write, residue):
    crystal = read_crystal(write(FIRST, alanine(2, (1.5, 4.2, 4.0), residue=residue)))
    assert crystal.n_atoms == 10
    assert "as part of the chain" not in crystal.report()


def test_dropped_hydrogens_are_warned_of_with_neutrons(write):
    path = write(FIRST, atom_line("H", "ALA", 1, at=(1, 0, 1)), atom_line("D1", at=(2, 0, 1)))
    assert "dropped: 2 hydrogens" in read_crystal(path).report()
    with pytest.warns(UserWarning, match="2 hydrogens, though they scatter neutrons"):
        assert read_crystal(path, radiation="neutron").n_atoms == 5
    assert read_crystal(path, radiation="neutron", hydrogens=True).n_atoms == 7


# ---- models ---------------------------------------------------------------------------------


def models(*contents):
    return [
        line
        for n, content in enumerate(contents, start=1)
        for line in (f"MODEL     {n:4d}", *content, "ENDMDL")
    ]


def test_first_of_several_models_is_read_with_a_warning(write):
    path = write(models(FIRST, [*FIRST, *SECOND]))
    with pytest.warns(UserWarning, match="ignored: 1 of 2 models; only the first is read"):
        assert read_crystal(path).n_atoms == 5
    second = read_crystal(path, model_number=2)  # asked for, so no warning
    assert second.n_atoms == 10
    assert "ignored: 1 of 2 models; model 2 is read" in second.report()
    for number in (0, 3, -1):
        message = rf"there is no model {number}; the file holds 2 \(model_number from 1 to 2\)"
        with pytest.raises(StructureError, match=message):
            read_crystal(path, model_number=number)
    with pytest.raises(ValueError, match="model_number 'one' is neither a number"):
        read_crystal(path, model_number="one")


def test_whole_cell_in_several_models(write):
    """Copies as models: together they are the cell; nobody guesses whether they are."""
    copies = alanine(1), alanine(1, (1.5, 4.2, 4.0)), alanine(1, (2.0, 1.4, 6.5))
    path = write(models(*copies))
    with pytest.raises(StructureError, match=r"3 models of 5 atoms.*model_number='all' \(--model-"):
        read_crystal(path, expand_p1=False)
    crystal = read_crystal(path, expand_p1=False, model_number="all")
    assert gather_bodies(crystal, "chain").names == ("chain A", "chain A#2", "chain A#3")
    named = [f"{x[:21]}{c}{x[22:]}" for c, lines in zip("ABC", copies, strict=True) for x in lines]
    right = write(named, name="right.pdb")
    one = intensity(path, expand_p1=False, model_number="all", group_by="chain")
    np.testing.assert_allclose(one, intensity(right, expand_p1=False, group_by="chain"), rtol=1e-12)
    assert read_crystal(path, expand_p1=False, model_number=2).n_atoms == 5


def test_an_ensemble_is_not_read_together(write):
    path = write(models(FIRST, alanine(1, (1.3, 1.1, 0.9))))
    with pytest.raises(StructureError, match=r"model 2 lies on model 1.*model_number=1"):
        read_crystal(path, model_number="all")


@pytest.mark.parametrize(("long", "short"), [("LYSH", "LYS"), ("HISB", "HIS"), ("NALA", "ALA")])
@pytest.mark.parametrize("chain", [" ", "A"])
def test_known_names_of_four_letters_do_not_name_chains(write, long, short, chain):
    # Their last letter is in column 21, the first of a chain's name of two letters.
    lines = [line.replace("ALA A", f"{long}{chain}") for line in (*FIRST, *SECOND)]
    right = [line.replace("ALA A", f"{short} {chain}") for line in (*FIRST, *SECOND)]
    found, expected = read_crystal(write(lines)), read_crystal(write(right, name="right.pdb"))
    assert found.labels == expected.labels
    assert f"{long} as {short}" in found.report()


def test_chains_of_two_letters_keep_their_names(write):
    # LYS of chain HA beside another residue of it that would be no name: H is the chain's.
    lines = [line.replace("ALA A", "LYSHA") for line in FIRST]
    lines += [line.replace("ALA A", "ALAHA") for line in SECOND]
    assert residue_names(read_crystal(write(lines))) == ["HA/LYS 1", "HA/ALA 3"]
