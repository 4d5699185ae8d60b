"""Cell and space group of a structure file: what it declares, and where it contradicts itself."""

import math

import gemmi
import numpy as np
import pytest
import torch

from onephonon import InputError, OnePhonon, StructureError, read_crystal, read_map
from onephonon.cli.options.structure import StructureOptions
from onephonon.crystal.reading.lattice import read_lattice
from peptide_files import CRYST1, PLACES, atom_records, mmcif_text, pdb_text

CELL = (10.0, 12.0, 15.0, 90.0, 100.0, 90.0)
POSITIONS = np.array([place for _, _, place in PLACES])


@pytest.fixture
def save(tmp_path):
    def save(text, name="peptide.pdb", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return save


def scale_records(matrix, shift=(0.0, 0.0, 0.0)):
    """SCALE records of a matrix that makes Cartesian coordinates fractional."""
    return [
        f"SCALE{i + 1}    {row[0]:10.6f}{row[1]:10.6f}{row[2]:10.6f}     {t:10.5f}"
        for i, (row, t) in enumerate(zip(matrix, shift, strict=True))
    ]


def fractional_matrix(cell):
    return np.array(gemmi.UnitCell(*cell).frac.mat.tolist())


# ---- SCALE ----------------------------------------------------------------------------------


def test_scale_of_the_same_cell_changes_nothing(save):
    plain = read_crystal(save(pdb_text()))
    scaled = read_crystal(save(pdb_text(head=scale_records(fractional_matrix(CELL)))))
    assert torch.equal(plain.cell.matrix, scaled.cell.matrix)
    assert torch.equal(plain.positions_frac, scaled.positions_frac)


def test_scale_of_rounded_axes_leaves_the_cell_of_cryst1(save):
    # 0.05 %, as where SCALE comes from a cell before rounding: within the stated 0.1 %.
    near = save(pdb_text(head=scale_records(fractional_matrix((10.005, *CELL[1:])))))
    assert read_crystal(near).cell.parameters == pytest.approx(CELL, abs=1e-9)


@pytest.mark.parametrize("edit", [(100.0, *CELL[1:]), (10.08, *CELL[1:]), (*CELL[:4], 101.0, 90.0)])
def test_scale_of_another_cell_is_refused(save, edit):
    path = save(pdb_text(head=scale_records(fractional_matrix(edit))))
    with pytest.raises(StructureError, match=r"CRYST1.* says \(10, 12, 15, .* and SCALE .*0\.1 %"):
        read_crystal(path)
    with pytest.raises(ValueError, match="remove SCALE, so that CRYST1 is used"):
        read_map(save("0 0 1 1.0\n0 0 2 1.0\n", "map.txt"), cell=path)


def test_scale_decides_how_the_axes_lie(save):
    # Axes turned by 90 degrees about z: the coordinates are turned along.
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    atoms = [
        line[:30] + "".join(f"{x:8.3f}" for x in turn @ place) + line[54:]
        for line, place in zip(atom_records(), POSITIONS, strict=True)
    ]
    head = scale_records(fractional_matrix(CELL) @ turn.T)
    plain, turned = read_crystal(save(pdb_text())), read_crystal(save(pdb_text(atoms, head=head)))
    assert "oriented by SCALE" in turned.report()
    # Exact: the turn is found to rounding; SCALE gives it in six decimals of 0.1/Å, of a cell of
    # which only whole turns are left.
    np.testing.assert_allclose(turned.positions_frac, plain.positions_frac, atol=2e-6)
    assert turned.cell.parameters == pytest.approx(CELL, abs=1e-9)
    np.testing.assert_allclose(turned.positions, POSITIONS @ turn.T, atol=1e-9)


def test_scale_shifts_the_origin(save):
    head = scale_records(fractional_matrix(CELL), (0.25, 0.0, 0.5))
    plain, shifted = read_crystal(save(pdb_text())), read_crystal(save(pdb_text(head=head)))
    moved = (shifted.positions_frac - plain.positions_frac).numpy()
    np.testing.assert_allclose(moved, [[0.25, 0.0, 0.5]] * 10, atol=1e-12)  # rounding
    assert "origin shifted by SCALE by (0.25, 0, 0.5)" in shifted.report()


def test_scale_that_makes_the_cell_left_handed(save):
    head = scale_records(fractional_matrix(CELL) * [[1], [-1], [1]])
    with pytest.raises(StructureError, match="left-handed"):
        read_crystal(save(pdb_text(head=head)))


def test_scale_of_mmcif(save):
    items = {
        f"_atom_sites.fract_transf_matrix[{i + 1}][{j + 1}]": f"{x:.6f}"
        for i, row in enumerate(fractional_matrix((11.0, *CELL[1:])))
        for j, x in enumerate(row)
    }
    with pytest.raises(StructureError, match=r"\(11, 12, 15"):
        read_crystal(save(mmcif_text(items), "peptide.cif"))


# ---- CRYST1 ---------------------------------------------------------------------------------


def test_cell_in_free_format(save):
    crystal = read_crystal(save(pdb_text(cryst1="CRYST1 10.0 12 15.0 90 100 90 P 1 21 1")))
    assert crystal.cell.parameters == pytest.approx(CELL, abs=1e-9)
    assert crystal.spacegroup == "P 1 21 1"
    assert "CRYST1 in free format: (10, 12, 15, 90, 100, 90), 'P 1 21 1'" in crystal.report()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (CRYST1.replace("10.000", "******"), r"line 1: CRYST1 .* holds no six numbers"),
        ("CRYST1   10.000   12.000   15.000  90.00", "holds no six numbers"),
    ],
)
def test_cell_that_is_no_cell(save, line, words):
    with pytest.raises(StructureError, match=words):
        read_crystal(save(pdb_text(cryst1=line)))


def test_cell_that_is_not_in_its_columns(save):
    # Each number one column too far to the right: none is lost if words are read.
    line = "CRYST1    10.0000   12.0000  15.0000  90.00 100.00  90.00 P 1 21 1"
    assert read_crystal(save(pdb_text(cryst1=line))).cell.parameters == pytest.approx(CELL)


def test_columns_that_cut_numbers(save):
    # The last angle ends beyond its columns.
    line = "CRYST1   10.000   12.000   15.000  90.00 100.00  90.009 P 1 21 1"
    with pytest.raises(StructureError, match=r"by its columns and .* by its words"):
        read_crystal(save(pdb_text(cryst1=line)))


def test_cells_that_differ(save):
    other = CRYST1.replace("12.000", "12.500")
    with pytest.raises(
        StructureError, match=r"two CRYST1 records differ: .*12\.5.* in line 1 and \(10"
    ):
        read_crystal(save(pdb_text(head=[other])))
    assert read_crystal(save(pdb_text(head=[CRYST1]))).n_atoms == 10


# ---- the space group ------------------------------------------------------------------------

ORTHORHOMBIC = "CRYST1   10.000   12.000   15.000  90.00  90.00  90.00 "


@pytest.mark.parametrize(
    ("symbol", "operators"),
    [
        # Operators of the PDB and CCP4: origin on the twofold screw axes along b, not on 2.
        ("P 21 21 2 (a)", "x,y,z -x+1/2,-y+1/2,z x+1/2,-y,-z -x,y+1/2,-z"),
        ("P 21 21 2 A", "x,y,z -x+1/2,-y+1/2,z x+1/2,-y,-z -x,y+1/2,-z"),
        ("P 21 21 2", "x,y,z -x,-y,z x+1/2,-y+1/2,-z -x+1/2,y+1/2,-z"),
        ("p21212", "x,y,z -x,-y,z x+1/2,-y+1/2,-z -x+1/2,y+1/2,-z"),
        ("P 2(1) 2(1) 2", "x,y,z -x,-y,z x+1/2,-y+1/2,-z -x+1/2,y+1/2,-z"),
        ("P 1-", "x,y,z -x,-y,-z"),
        ("P1", "x,y,z"),
        ("18", "x,y,z -x,-y,z x+1/2,-y+1/2,-z -x+1/2,y+1/2,-z"),
    ],
)
def test_symbols_as_they_are_written(save, symbol, operators):
    crystal = read_crystal(save(pdb_text(cryst1=ORTHORHOMBIC + symbol)))
    expected = {gemmi.Op(text).wrap().triplet() for text in operators.split()}
    assert {triplet_of(crystal, i) for i in range(crystal.n_ops)} == expected


def triplet_of(crystal, i):
    op = gemmi.Op()
    op.rot = np.rint(crystal.rotations[i].numpy() * op.DEN).astype(int).tolist()
    op.tran = np.rint(crystal.translations[i].numpy() * op.DEN).astype(int).tolist()
    return op.wrap().triplet()


@pytest.mark.parametrize(
    ("cell", "symbol", "found"),
    [
        ("10.000   12.000   15.000  90.00 100.00  90.00", "P 21", "P 1 21 1"),
        ("10.000   12.000   15.000  90.00  90.00 100.00", "P 21", "P 1 1 21"),
        ("10.000   12.000   15.000 100.00  90.00  90.00", "P 21", "P 21 1 1"),
        ("10.000   12.000   15.000  90.00  90.00 100.00", "B 2", "B 1 1 2"),
        ("10.000   12.000   15.000  90.00 100.00  90.00", "I 1 21 1", "I 1 21 1"),
        ("10.000   12.000   15.000  90.00 100.00  90.00", "A 1 2 1", "A 1 2 1"),
        ("10.000   12.000   15.000  90.00 100.00  90.00", "P 21/C", "P 1 21/c 1"),
        ("10.000   10.000   15.000  90.00  90.00 120.00", "R 3 2", "R 3 2:H"),
        ("10.000   10.000   15.000  90.00  90.00 120.00", "H 3", "R 3:H"),
        ("10.000   10.000   10.000  80.00  80.00  80.00", "R 3 2", "R 3 2:R"),
    ],
)
def test_setting_is_that_of_the_cell(save, cell, symbol, found):
    path = save(pdb_text(cryst1=f"CRYST1   {cell} {symbol}"))
    crystal = read_crystal(path)
    assert crystal.spacegroup == found
    assert read_lattice(path)[1] == found
    assert ("axes, as the cell has them" in crystal.report()) == (symbol[0] in "RH")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (ORTHORHOMBIC.replace("12.000", "10.000") + "P 4/N", "two origins; write 'P 4/n:1' or"),
        (ORTHORHOMBIC + "P 41", "'P 41' does not fit the cell"),
        # b would pass beside c if errors were taken relative to the longest axis.
        (
            "CRYST1   20.000   23.000  250.000  90.00  90.00  90.00 P 4",
            "'P 4' does not fit the cell",
        ),
        (ORTHORHOMBIC + "C 4 21 2", "'C 4 21 2' is unknown"),
        (ORTHORHOMBIC + "231", "'231' is unknown"),
    ],
)
def test_groups_that_cannot_be(save, line, words):
    with pytest.raises(StructureError, match=words):
        read_crystal(save(pdb_text(cryst1=line)))


def test_number_in_place_of_a_symbol(save):
    items = {"_symmetry.space_group_name_H-M": None, "_space_group.IT_number": "4"}
    crystal = read_crystal(save(mmcif_text(items), "number.cif"))
    assert crystal.spacegroup == "P 1 21 1"
    assert "assumed: space group 'P 1 21 1', the usual setting of number 4" in crystal.report()
    with pytest.raises(StructureError, match="has number 4, but the file says 18"):
        read_crystal(save(mmcif_text({"_space_group.IT_number": "18"}), "other.cif"))


def listed(*triplets):
    return "\n".join(["loop_", "_space_group_symop.operation_xyz", *(f"'{t}'" for t in triplets)])


def test_operators_that_the_file_lists(save):
    same = save(mmcif_text(more=listed("x,y,z", "-x,y+1/2,-z")), "same.cif")
    assert "listed" not in read_crystal(same).report()
    other = save(mmcif_text(more=listed("x,y,z", "-x,y,-z")), "other.cif")
    with pytest.warns(UserWarning, match=r"2 operators listed .*'P 1 2 1'; 'P 1 21 1' is used"):
        assert read_crystal(other).spacegroup == "P 1 21 1"


def test_operators_decide_on_the_origin(save):
    remarks = [
        "REMARK 290      NNNMMM   OPERATOR",
        *(
            f"REMARK 290       {i + 1}555   {text}"
            for i, text in enumerate(["X,Y,Z", "1/2-X,1/2-Y,Z", "1/2+X,-Y,-Z", "-X,1/2+Y,-Z"])
        ),
    ]
    path = save(pdb_text(cryst1=ORTHORHOMBIC + "P 21 21 2", head=remarks))
    with pytest.warns(UserWarning, match="whose operators the file lists, for 'P 21 21 2'"):
        assert read_crystal(path).spacegroup == "P 21212(a)"


def test_intensity_of_the_origin_is_that_of_its_operators(save):
    # P 21 21 2 (a) is P 21 21 2 with the origin moved by a quarter of b and of a: the same crystal.
    q = torch.tensor([[0.31, -0.42, 0.53], [0.9, 0.2, -0.4]], dtype=torch.float64)
    options = {"q_vectors": q, "gnm_cutoff": 15.0, "thermal_scale": 1.0}
    cell = "CRYST1   14.000   16.000   17.000  90.00  90.00  90.00 "
    other = OnePhonon(read_crystal(save(pdb_text(cryst1=cell + "P 21 21 2 (a)"))), **options)
    shifted = read_crystal(save(pdb_text(cryst1=cell + "P 21 21 2")))
    move = torch.tensor([0.25, 0.25, 0.0], dtype=torch.float64)
    moved = shifted.replace(positions_frac=shifted.positions_frac - move)
    # Rounding of sums over atoms.
    torch.testing.assert_close(OnePhonon(moved, **options)(), other(), rtol=1e-8, atol=0)


# ---- blocks of a CIF ------------------------------------------------------------------------


def test_block_with_atoms_is_read(save):
    first = "data_restraints\n_chem_comp.id ALA\n#\n"
    crystal = read_crystal(save(first + mmcif_text(), "two.cif"))
    assert crystal.n_atoms == 10
    assert "data blocks restraints; the atoms are those of peptide" in crystal.report()
    both = save(mmcif_text() + mmcif_text(name="second"), "both.cif")
    with pytest.warns(UserWarning, match="data blocks second; the atoms are those of peptide"):
        read_crystal(both)


def test_small_molecule_cif(save):
    text = "data_s\n_cell_length_a 5\nloop_\n_atom_site_label\n_atom_site_fract_x\nC1 0.1\n"
    with pytest.raises(StructureError, match="small-molecule CIF"):
        read_crystal(save(text, "small.cif"))


def test_cell_of_a_small_molecule_cif(save):
    lengths = "_cell_length_a 5.1(2)\n_cell_length_b 6\n_cell_length_c 7\n"
    angles = "_cell_angle_alpha 90\n_cell_angle_beta 95\n_cell_angle_gamma 90\n"
    group = "_symmetry_space_group_name_H-M 'P 21/c'\n"
    cell, symbol, _ = read_lattice(save("data_s\n" + lengths + angles + group, "small.cif"))
    assert cell == (5.1, 6, 7, 90, 95, 90)
    assert symbol == "P 1 21/c 1"


# ---- copies by non-crystallographic symmetry ------------------------------------------------


def mtrix(number, matrix, shift, given):
    return [
        f"MTRIX{i + 1} {number:3d}{row[0]:10.6f}{row[1]:10.6f}{row[2]:10.6f}     {t:10.5f}"
        f"    {'1' if given else ' '}"
        for i, (row, t) in enumerate(zip(matrix, shift, strict=True))
    ]


TURN = np.diag([-1.0, -1.0, 1.0])
SHIFT = (4.0, -6.0, 5.0)


def test_copies_that_are_not_given(save):
    head = [*mtrix(1, np.eye(3), (0, 0, 0), True), *mtrix(2, TURN, SHIFT, False)]
    path = save(pdb_text(head=head))
    crystal = read_crystal(path)
    assert crystal.n_atoms == 20
    # Coordinates through fractional ones: rounding.
    np.testing.assert_allclose(crystal.positions[10:], POSITIONS @ TURN + SHIFT, atol=1e-9)
    torch.testing.assert_close(crystal.B[10:], crystal.B[:10])
    assert len({label.chain for label in crystal.labels}) == 2
    assert "1 copy by non-crystallographic symmetry" in crystal.report()
    assert "10 atoms to the file's 10" in crystal.report()
    alone = StructureOptions(ncs="ignore").read_crystal(path)
    assert alone.n_atoms == 10
    assert "ignored: 1 copy" in alone.report()
    with pytest.raises(InputError, match="ncs 'no' is not one of apply, ignore"):
        read_crystal(path, ncs="no")


def test_copies_that_are_given(save):
    head = [*mtrix(1, np.eye(3), (0, 0, 0), True), *mtrix(2, TURN, SHIFT, True)]
    assert read_crystal(save(pdb_text(head=head))).n_atoms == 10


def test_copies_that_are_there_though_not_marked(save):
    second = [
        line[:21]
        + "B"
        + line[22:30]
        + "".join(f"{x:8.3f}" for x in TURN @ place + SHIFT)
        + line[54:]
        for line, place in zip(atom_records(), POSITIONS, strict=True)
    ]
    path = save(pdb_text([*atom_records(), *second], head=mtrix(2, TURN, SHIFT, False)))
    with pytest.raises(StructureError, match=r"lies on atoms of the file.*--ncs ignore"):
        read_crystal(path)
    assert read_crystal(path, ncs="ignore").n_atoms == 20


def test_copies_turn_anisotropic_displacements(save):
    atoms = atom_records()[:1]
    atoms.append(
        atoms[0].replace("ATOM  ", "ANISOU")[:28] + "   1000   2000   3000    100    200    300"
    )
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    with pytest.warns(UserWarning, match="ANISOU, used instead"):
        crystal = read_crystal(save(pdb_text(atoms, head=mtrix(2, quarter, SHIFT, False))))
    U = np.array([[0.1, 0.01, 0.02], [0.01, 0.2, 0.03], [0.02, 0.03, 0.3]])
    np.testing.assert_allclose(crystal.U[1], quarter @ U @ quarter.T, atol=1e-7)  # float32


def test_operators_of_mmcif(save):
    items = {"_struct_ncs_oper.id": 1, "_struct_ncs_oper.code": "generate"}
    for i in range(3):
        items[f"_struct_ncs_oper.vector[{i + 1}]"] = SHIFT[i]
        for j in range(3):
            items[f"_struct_ncs_oper.matrix[{i + 1}][{j + 1}]"] = TURN[i, j]
    crystal = read_crystal(save(mmcif_text(items), "copies.cif"))
    np.testing.assert_allclose(crystal.positions[10:], POSITIONS @ TURN + SHIFT, atol=1e-9)


def test_cell_file_without_atoms(save):
    path = save(CRYST1 + "\nEND\n", "cell.pdb")
    cell, group, _ = read_lattice(path)
    assert cell == pytest.approx(CELL)
    assert group == "P 1 21 1"
    assert math.isclose(read_map(save("0 0 1 1.0\n0 0 2 1.0\n", "m.txt"), cell=path).cell[1], 12)


def test_remarks_of_a_cell_file_are_those_of_the_map(save):
    path = save(f"{CRYST1[:55]}4\nEND\n", "cell.pdb")
    found = read_map(save("0 0 1 1.0\n0 0 2 1.0\n", "m.txt"), cell=path)
    assert found.spacegroup == "P 1 21 1"
    assert "space group 'P 1 21 1', the usual setting of number 4 (cell.pdb)" in found.report()
