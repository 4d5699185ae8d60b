"""Reading structure files: what is kept, what is refused, and in which words."""

import gzip
import math
import re

import gemmi
import numpy as np
import pytest
import torch

from onephonon import Crystal, InputError, StructureError, UnitCell, read_crystal
from onephonon.crystal.form_factors import form_factors
from onephonon.crystal.symmetry import symmetry_operators
from onephonon.network.bodies import gather_bodies

CRYST1 = "CRYST1   10.000   12.000   15.000  90.00 100.00  90.00 P 1 21 1"


def atom_line(
    name, residue="GLY", number=1, *, altloc=" ", chain="A", at=(1.0, 2.0, 3.0), occ=1.0, B=10.0,
    element=None, record="ATOM", serial=1,
):  # fmt: skip
    element = name[0] if element is None else element
    x, y, z = (v if isinstance(v, str) else f"{v:8.3f}" for v in at)
    return (
        f"{record:<6}{serial:5d}  {name:<3}{altloc}{residue:>3} {chain}{number:4d}    "
        f"{x}{y}{z}{occ:6.2f}{B:6.2f}          {element:>2}"
    )


@pytest.fixture
def write(tmp_path):
    """Write a PDB file from its records."""

    def write(*lines, name="made_up.pdb", cryst1=CRYST1):
        path = tmp_path / name
        head = [cryst1] if cryst1 else []
        path.write_text("\n".join([*head, *lines, "END"]) + "\n")
        return path

    return write


#: A dipeptide with a hydrogen, a split side chain, a water and a ligand.
MIXED = [
    atom_line("N", "SER", 1, at=(1, 1, 1), serial=1),
    atom_line("CA", "SER", 1, at=(2, 1, 1), serial=2),
    atom_line("CB", "SER", 1, at=(2, 2, 1), altloc="A", occ=0.4, serial=3),
    atom_line("CB", "SER", 1, at=(2, 2.5, 1), altloc="B", occ=0.6, serial=4),
    atom_line("OG", "SER", 1, at=(3, 2, 2), altloc="A", occ=0.4, serial=5),
    atom_line("OG", "SER", 1, at=(3, 3, 2), altloc="B", occ=0.6, serial=6),
    atom_line("C", "SER", 1, at=(3, 1, 0), serial=7),
    atom_line("O", "SER", 1, at=(3, 0, 0), serial=8),
    atom_line("N", "ALA", 2, at=(4, 1, 0), serial=9),
    atom_line("H", "ALA", 2, at=(4, 1, 1), serial=10),
    atom_line("CA", "ALA", 2, at=(5, 1, 0), serial=11),
    atom_line("CB", "ALA", 2, at=(5, 2, 0), serial=12),
    atom_line("C", "ALA", 2, at=(6, 0, 0), serial=13),
    atom_line("O", "ALA", 2, at=(6, 0, 1), serial=14),
    "TER      15      ALA A   2",
    atom_line("S", "SO4", 3, at=(8, 8, 8), record="HETATM", serial=16),
    atom_line("O1", "SO4", 3, at=(8, 9, 8), record="HETATM", serial=17),
    atom_line("O", "HOH", 4, at=(8, 5, 8), record="HETATM", serial=18),
    atom_line("H1", "HOH", 4, at=(8, 5, 9), record="HETATM", serial=19),
]


def names(crystal):
    return [f"{label.residue_name}/{label.atom_name}{label.altloc}" for label in crystal.labels]


PROTEIN = [
    *("SER/N", "SER/CA", "SER/CB", "SER/OG", "SER/C", "SER/O"),
    *("ALA/N", "ALA/CA", "ALA/CB", "ALA/C", "ALA/O"),
]


# ---- formats --------------------------------------------------------------------------------


def assert_same(ours, theirs, atol):
    assert names(ours) == names(theirs)
    assert ours.spacegroup == theirs.spacegroup
    for name in ("positions", "U", "occupancies", "masses", "rotations", "translations"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=atol)
    torch.testing.assert_close(ours.cell.matrix, theirs.cell.matrix, rtol=0, atol=atol)


@pytest.mark.parametrize("code", ["2ol9", "5wkd"])
@pytest.mark.parametrize("ending", ["pdb.gz", "cif", "cif.gz"])
def test_every_format_gives_the_same_crystal(data, tmp_path, code, ending):
    source = data / f"{code}.pdb"
    text = source.read_text()
    if "cif" in ending:
        structure = gemmi.read_structure(str(source))
        structure.setup_entities()
        structure.assign_label_seq_id()
        text = structure.make_mmcif_document().as_string()
    path = tmp_path / f"copy.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    # Both hold three decimals of a coordinate and four of U; in single precision where gemmi
    # keeps them so.
    assert_same(read_crystal(path), read_crystal(source), 1e-6)


def test_numbers_are_the_files(data):
    crystal = read_crystal(data / "2ol9.pdb")
    # ATOM 1: 11.692 -1.471 11.124, ANISOU 171 227 192 -4 -6 0 (1e-4 Å^2).
    assert crystal.positions.dtype == torch.float64
    # Through fractional coordinates and back: rounding.
    assert crystal.positions[0].tolist() == pytest.approx([11.692, -1.471, 11.124], abs=1e-12)
    expected = [[171, -4, -6], [-4, 227, 0], [-6, 0, 192]]
    # gemmi keeps ANISOU in single precision.
    np.testing.assert_allclose(1e4 * crystal.U[0].numpy(), expected, atol=1e-4)
    assert crystal.cell.parameters == pytest.approx((14.002, 4.879, 15.1, 75.23, 75.88, 78.89))
    assert str(crystal.labels[0]) == "A/SER 1/N"


def test_only_b_where_anisotropy_is_not_wanted(data):
    crystal = read_crystal(data / "2ol9.pdb", anisotropic=False)
    # B of ATOM 1, in single precision in gemmi.
    assert crystal.B[0].item() == pytest.approx(1.56, rel=1e-6)
    expected = torch.eye(3, dtype=torch.float64) * crystal.U[:, :1, :1]
    assert torch.equal(crystal.U, expected)


def test_b_where_the_file_has_no_anisotropy(peptide):
    assert peptide("5wkd").B[0].item() == pytest.approx(13.41, rel=1e-6)  # single precision


def test_old_files_with_numbers_in_columns_73_to_80(write):
    lines = [line[:66] for line in MIXED if line.startswith("ATOM")]
    old = [f"{line:<72}1STN{100 + i:4d}" for i, line in enumerate(lines)]
    # Nothing but the columns of the atom's name tells its element.
    crystal = read_crystal(write(*old, name="old.pdb"))
    assert_same(crystal, read_crystal(write(*MIXED)), 1e-12)
    assert [label.element for label in crystal.labels[:4]] == ["N", "C", "C", "O"]


# ---- selection ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "added", "removed"),
    [
        ({}, [], []),
        ({"hydrogens": True}, ["ALA/H"], []),
        ({"waters": True}, ["HOH/O"], []),
        ({"ligands": True}, ["SO4/S", "SO4/O1"], []),
        ({"waters": True, "hydrogens": True}, ["ALA/H", "HOH/O", "HOH/H1"], []),
        (
            {"conformers": "all"},
            ["SER/CBA", "SER/OGA", "SER/CBB", "SER/OGB"],
            ["SER/CB", "SER/OG"],
        ),
        ({"conformers": "highest"}, [], []),
    ],
)
def test_selection(write, options, added, removed):
    crystal = read_crystal(write(*MIXED), **options)
    assert sorted(names(crystal)) == sorted([n for n in PROTEIN if n not in removed] + added)


def test_order_is_the_files(write):
    assert names(read_crystal(write(*MIXED))) == PROTEIN


def test_all_conformers_have_the_files_occupancies(write):
    crystal = read_crystal(write(*MIXED), conformers="all")
    # Two decimals, in single precision in gemmi.
    expected = [1, 1, 0.4, 0.6, 0.4, 0.6, *[1] * 7]
    assert crystal.occupancies.tolist() == pytest.approx(expected, rel=1e-6)


# ---- symmetry -------------------------------------------------------------------------------


def test_file_of_a_whole_cell(write):
    crystal = read_crystal(write(*MIXED), expand_p1=False)
    assert crystal.n_ops == 1
    assert torch.equal(crystal.rotations[0], torch.eye(3, dtype=torch.float64))
    assert read_crystal(write(*MIXED)).n_ops == 2
    # Its symbol need not even be known.
    broken = write(*MIXED, cryst1=CRYST1.replace("P 1 21 1", "P 17"))
    assert read_crystal(broken, expand_p1=False).n_ops == 1


@pytest.mark.parametrize(
    ("cell", "symbol", "n_ops"),
    [
        ("10.000   12.000   15.000  90.00 100.00  90.00", "C 1 2 1", 4),
        ("10.000   12.000   15.000  90.00 100.00  90.00", "I 1 2 1", 4),
        ("10.000   12.000   15.000  90.00  90.00  90.00", "P 21 21 21", 4),
        ("10.000   12.000   15.000  90.00  90.00  90.00", "F 2 2 2", 16),
        ("10.000   10.000   15.000  90.00  90.00 120.00", "P 31 2 1", 6),
        ("10.000   10.000   15.000  90.00  90.00 120.00", "R 3", 9),
        ("10.000   10.000   15.000  90.00  90.00 120.00", "H 3", 9),
        ("10.000   10.000   10.000  80.00  80.00  80.00", "R 3", 3),
        ("10.000   10.000   10.000  80.00  80.00  80.00", "R 3 2", 6),
        ("10.000   12.000   15.000  90.00  90.00  90.00", "P 21 2 21", 4),
    ],
)
def test_operators_are_those_of_the_setting(write, cell, symbol, n_ops):
    crystal = read_crystal(write(*MIXED, cryst1=f"CRYST1   {cell} {symbol}"))
    assert crystal.n_ops == n_ops
    assert torch.equal(crystal.rotations[0], torch.eye(3, dtype=torch.float64))
    # Operators of the right setting keep lengths: R^T g R = g with the metric g of the cell.
    metric = crystal.cell.matrix.T @ crystal.cell.matrix
    for rotation in crystal.rotations:
        # Products of some 100 Å^2, rounded to 1e-16 each; angles in CRYST1 are exact here.
        torch.testing.assert_close(rotation.T @ metric @ rotation, metric, rtol=0, atol=1e-11)


def test_axis_of_p_21_2_21_is_not_moved(write):
    # The twofold axis without a screw is along b in this setting, along c in the standard one.
    line = "CRYST1   10.000   12.000   15.000  90.00  90.00  90.00 P 21 2 21"
    crystal = read_crystal(write(*MIXED, cryst1=line))
    about_b = crystal.rotations[:, 1, 1] == 1
    screw = (crystal.translations[:, 1] != 0)[about_b]
    assert not bool(screw.any())


def test_remarks_are_not_consulted(write):
    remark = "REMARK 290   SMTRY1   2 -1.000000  0.000000  0.000000        5.00000"
    crystal = read_crystal(write(remark, *MIXED))
    assert_same(crystal, read_crystal(write(*MIXED)), 0.0)


def test_copies_are_gemmis_images(write):
    path = write(*MIXED)
    bodies = gather_bodies(read_crystal(path))
    structure = gemmi.read_structure(str(path))
    operations = structure.find_spacegroup().operations()
    cell = structure.cell
    first = structure[0][0][0][0].pos
    for copy, op in enumerate(operations):
        x = cell.orthogonalize(
            gemmi.Fractional(*op.apply_to_xyz(cell.fractionalize(first).tolist()))
        )
        ours = bodies.positions[copy * 11].tolist()
        assert ours == pytest.approx(x.tolist(), abs=1e-10)  # rounding of 10 Å


# ---- what cannot be read --------------------------------------------------------------------


def assert_refused(path, *words, error=StructureError, **options):
    with pytest.raises(error) as caught:
        read_crystal(path, **options)
    for word in words:
        assert re.search(word, str(caught.value)), str(caught.value)
    if error is StructureError:
        assert str(path) in str(caught.value)


def test_file_that_is_not_there(tmp_path):
    assert_refused(tmp_path / "nothing.pdb", "there is no such file", "check the path")
    assert_refused(tmp_path, "no such file")


@pytest.mark.parametrize(
    "name", ["text.pdb", "text.cif", "text.ent", "text.txt", "text", "x.pdb.gz"]
)
def test_file_that_is_no_structure(tmp_path, name):
    path = tmp_path / name
    path.write_text("Dear diary,\ntoday I grew a crystal.\n")
    assert_refused(path, "give a PDB or mmCIF file")


@pytest.mark.parametrize(
    "name", ["bytes.pdb", "bytes.cif", "bytes.pdb.gz", "empty.pdb", "empty.cif"]
)
def test_file_of_bytes_or_nothing(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"" if "empty" in name else bytes(range(256)) * 20)
    assert_refused(path, "give a PDB or mmCIF file")


def test_truncated_gz(data, tmp_path):
    path = tmp_path / "half.pdb.gz"
    whole = gzip.compress((data / "5wkd.pdb").read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    assert_refused(path, "give a PDB or mmCIF file")


def test_no_unit_cell(write):
    assert_refused(write(*MIXED, cryst1=None), "no unit cell", "add a CRYST1")


def test_dummy_unit_cell(write):
    dummy = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1"
    assert_refused(write(*MIXED, cryst1=dummy), r"placeholder \(1\.0, 1\.0, 1\.0\)", "add a CRYST1")


def test_cell_that_is_flat(write):
    flat = "CRYST1   10.000   10.000   10.000  60.00  50.00 120.00 P 1           1"
    assert_refused(write(*MIXED, cryst1=flat), r"60\.0, 50\.0, 120\.0", "do not span a cell")


@pytest.mark.parametrize("symbol", ["P 17", "Q 1 2 1", "       "])
def test_unknown_space_group(write, symbol):
    path = write(*MIXED, cryst1=CRYST1.replace("P 1 21 1", symbol))
    assert_refused(path, rf"'{symbol.strip()}'.* is unknown", "CRYST1.*mmCIF")


@pytest.mark.parametrize("element", ["X", "Q1", "ZZ"])
def test_unknown_element(write, element):
    lines = [*MIXED[:2], atom_line("Q", "SER", 1, element=element, serial=77)]
    assert_refused(write(*lines), r"A/SER 1/Q \(serial 77\)", "correct the element column")


def test_nothing_left_after_the_selection(write):
    lines = [line for line in MIXED if "HETATM" in line]
    path = write(*lines)
    assert_refused(
        path, "no atoms are left of 4", "2 water", "2 ligand", "waters=True", "ligands=True"
    )
    assert len(names(read_crystal(path, waters=True, ligands=True))) == 3


@pytest.mark.parametrize("bad", ["     nan", "     inf"])
def test_coordinates_that_are_no_numbers(write, bad):
    lines = [*MIXED[:2], atom_line("C", "SER", 1, at=(1.0, bad, 2.0), serial=7)]
    assert_refused(
        write(*lines), r"A/SER 1/C \(serial 7\)", "coordinates.*(nan|inf)", "correct or remove"
    )


def test_coordinates_that_are_no_numbers_in_mmcif(data, tmp_path):
    structure = gemmi.read_structure(str(data / "5wkd.pdb"))
    structure.setup_entities()
    text = structure.make_mmcif_document().as_string()
    path = tmp_path / "broken.cif"
    path.write_text(text.replace("0.958 0.885 3.506", "0.958 ? 3.506"))
    assert_refused(path, "A/GLY 300/N", "coordinates.*nan", "correct or remove")


@pytest.mark.parametrize("name", ["occupancy", "B-factor"])
def test_other_numbers_that_are_none(data, tmp_path, name):
    structure = gemmi.read_structure(str(data / "5wkd.pdb"))
    structure.setup_entities()
    atom = structure[0][0][0][0]
    setattr(atom, {"occupancy": "occ", "B-factor": "b_iso"}[name], math.nan)
    path = tmp_path / "broken.cif"
    path.write_text(structure.make_mmcif_document().as_string())
    assert_refused(path, "A/GLY 300/N", f"{name}.*nan", "correct or remove")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"conformers": "some"}, ("conformers 'some'", "highest, all")),
        ({"radiation": "gamma"}, ("radiation 'gamma'", "xray, electron, neutron")),
    ],
)
def test_options_that_are_none(data, option, words):
    assert_refused(data / "2ol9.pdb", *words, error=InputError, **option)


# ---- made-up crystals -----------------------------------------------------------------------


def test_crystal_from_atoms_is_that_of_the_file(data):
    read = read_crystal(data / "5wkd.pdb")
    made = Crystal.from_atoms(
        read.cell.parameters, "C 1 2 1", [label.element for label in read.labels],
        read.positions_frac, B=read.B, labels=read.labels,
    )  # fmt: skip
    assert_same(made, read, 1e-9)  # angles through an arc cosine


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"positions_frac": [[0, 0, 0]]}, InputError, r"positions_frac has shape \(1, 3\); 2 el"),
        ({"positions_frac": [[0, 0], [1, 1]]}, InputError, r"positions_frac has shape \(2, 2\)"),
        (
            {"positions_frac": [[0, 0, 0], [0, 0, math.nan]]},
            InputError,
            "positions_frac .*finite",
        ),
        ({"occupancies": [1.0, math.inf]}, InputError, "occupancies .*finite"),
        ({"U": torch.zeros(2, 3)}, InputError, r"U has shape \(2, 3\); 2 elements need"),
        ({"B": [1.0, math.nan]}, InputError, r"B contains .*not finite: nan at \[1\]"),
        ({"spacegroup": "P 17"}, StructureError, "'P 17' is unknown; give a Hermann-Mauguin"),
        ({"elements": ["C", "Xx"]}, StructureError, "'Xx'; correct the element"),
        ({"cell": (1, 2, 3, 90, 90)}, InputError, r"six numbers.*\(5,\)"),
        ({"cell": (1, -2, 3, 90, 90, 90)}, InputError, "-2.0.*lengths must be positive"),
        ({"cell": (5, 5, 5, 20, 90, 120)}, InputError, "smaller than the sum"),
        ({"radiation": "light"}, InputError, "'light' is not one of xray, electron, neutron"),
    ],
)
def test_atoms_that_make_no_crystal(changes, error, message):
    arguments = {
        "cell": (5, 6, 7, 90, 90, 90), "spacegroup": "P 1", "elements": ["C", "N"],
        "positions_frac": [[0, 0, 0], [0.5, 0.5, 0.5]],
    } | changes  # fmt: skip
    with pytest.raises(error, match=message):
        Crystal.from_atoms(**arguments)


def test_cell_and_dtype_of_a_made_up_crystal():
    cell = UnitCell(torch.eye(3, dtype=torch.float32) * 5)
    crystal = Crystal.from_atoms(cell, "P 1", ["C"], [[0, 0, 0]])
    moved = crystal.to(dtype=torch.float64)
    for name in ("positions_frac", "U", "occupancies", "masses", "rotations", "translations"):
        assert getattr(crystal, name).dtype == torch.float32
        assert getattr(moved, name).dtype == torch.float64
    assert crystal.masses.tolist() == pytest.approx([12.011], abs=1e-3)


def test_unknown_symbol_names_the_mend():
    with pytest.raises(StructureError, match=r"space group 'nonsense' is unknown; give .*'P 21'"):
        symmetry_operators("nonsense")


# ---- form factors ---------------------------------------------------------------------------


@pytest.mark.parametrize("element", ["H", "C", "N", "O", "S", "Se", "Zn", "D"])
@pytest.mark.parametrize("radiation", ["xray", "electron", "neutron"])
def test_form_factors_are_gemmis(element, radiation):
    table = form_factors([element], radiation)
    known = gemmi.Element(element)
    s_squared = np.linspace(0, 0.3, 7)
    if radiation == "neutron":
        expected = [known.neutron92.get_coefs()[0]] * 7
    else:
        theirs = known.it92 if radiation == "xray" else known.c4322
        expected = [theirs.calculate_sf(stol2) for stol2 in s_squared]
    q_squared = torch.as_tensor(s_squared) * 16 * np.pi**2
    ours = table.evaluate(q_squared)[:, 0].numpy()
    # gemmi sums in single precision; cancelling terms leave some 1e-6 of the largest.
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=2e-6 * max(np.abs(expected)))


def test_xray_form_factor_forward_is_the_number_of_electrons():
    values = form_factors(["S", "C", "S"]).evaluate(torch.zeros(1, dtype=torch.float64))
    assert values.shape == (1, 2)  # kinds are not repeated
    assert form_factors(["S", "C", "S"]).kind.tolist() == [1, 0, 1]
    # Fitted Gaussians: within 0.01 e.
    assert values[0].tolist() == pytest.approx([6, 16], abs=0.01)


def test_radiation_reaches_the_crystal(data):
    for radiation in ("xray", "electron", "neutron"):
        crystal = read_crystal(data / "5wkd.pdb", radiation=radiation)
        expected = form_factors([label.element for label in crystal.labels], radiation)
        assert torch.equal(crystal.form_factors.a, expected.a)
        assert torch.equal(crystal.form_factors.c, expected.c)


def test_element_without_a_neutron_length():
    with pytest.raises(StructureError, match=r"no neutron scattering factor for element 'Po'"):
        form_factors(["C", "Po"], "neutron")
