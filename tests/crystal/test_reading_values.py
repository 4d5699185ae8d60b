"""Numbers of a structure file: which are refused, assumed, or named, and how files are encoded."""

import gzip
import re

import numpy as np
import pytest
import torch

from onephonon import Crystal, InputError, OnePhonon, StructureError, read_crystal
from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.form_factors import form_factors
from onephonon.crystal.reading import file_text
from peptide_files import COLUMNS, CRYST1, PLACES, atom_records, mmcif_text, pdb_text


@pytest.fixture
def save(tmp_path):
    def save(text, name="peptide.pdb"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return save


def edited(column, text, *, atom=4):
    """Records with one text written from a column, counted from 1."""
    atoms = atom_records()
    line = atoms[atom]
    atoms[atom] = line[: column - 1] + text + line[column - 1 + len(text) :]
    return atoms


def same(first, second):
    for name in ("positions_frac", "U", "occupancies", "masses", "rotations", "translations"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=1e-12)
    assert first.labels == second.labels


# ---- numbers that are none ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "text", "name"),
    [
        (31, "********", "x"),
        (31, "   1,000", "x"),
        (39, "   2.9 0", "y"),
        (47, "        ", "z"),
        (47, "     nan", "z"),
        (55, "******", "occupancy"),
        (61, "******", "B-factor"),
        (61, " 12,00", "B-factor"),
    ],
)
def test_numbers_that_are_none(save, column, text, name):
    words = rf"line 6: atom A/ALA 1/CB \(serial 5\) has {name} '{re.escape(text.strip())}' in col"
    with pytest.raises(StructureError, match=words):
        read_crystal(save(pdb_text(edited(column, text))))


def test_anisotropic_numbers_that_are_none(save):
    atoms = atom_records()
    atoms.insert(5, atoms[4].replace("ATOM  ", "ANISOU")[:28] + "   1000*******   3000" + " " * 21)
    with pytest.raises(
        StructureError, match=r"line 7: atom A/ALA 1/CB .* has U22 '\*\*\*\*\*\*\*'"
    ):
        read_crystal(save(pdb_text(atoms)))


def test_character_that_moves_the_columns(save):
    with pytest.raises(StructureError, match=r"line 6: 'Â' in column 22 of ATOM is not an ASCII"):
        read_crystal(save(pdb_text(edited(22, "Â"))))


# ---- numbers that are not there -------------------------------------------------------------


def test_occupancy_and_b_that_are_not_there(save):
    # Unsaid by many programs: 1, as most atoms have.
    blank = [line[:54] + " " * 6 + line[60:] for line in atom_records()]
    crystal = read_crystal(save(pdb_text(blank)))
    same(crystal, read_crystal(save(pdb_text())))
    assert "assumed: occupancy 1 for 10 atoms without one" in crystal.report()
    short = [line[:60] for line in atom_records()]
    with pytest.warns(UserWarning, match="B = 20 Å² for 10 atoms without one"):
        crystal = read_crystal(save(pdb_text(short)))
    assert crystal.B.tolist() == pytest.approx([20.0] * 10)


def test_columns_that_mmcif_lacks(save):
    columns = [c for c in COLUMNS if c != "B_iso_or_equiv"]
    with pytest.warns(UserWarning, match="B = 20 Å² for 10 atoms without one"):
        read_crystal(save(mmcif_text(columns=columns), "a.cif"))
    values = {"U_iso_or_equiv": lambda i: f"{0.1 + 0.01 * i:.4f}"}
    crystal = read_crystal(
        save(mmcif_text(columns=[*columns, "U_iso_or_equiv"], values=values), "b.cif")
    )
    expected = EIGHT_PI_SQUARED * (0.1 + 0.01 * np.arange(10))
    np.testing.assert_allclose(crystal.B, expected, rtol=1e-6)  # gemmi keeps B in single precision
    assert "B = 8 π² U of 10 atoms with U" in crystal.report()
    values = {"B_iso_or_equiv": lambda i: "?" if i == 3 else 12, "occupancy": "."}
    with pytest.warns(UserWarning, match="B = 20 Å² for 1 atom without one"):
        crystal = read_crystal(save(mmcif_text(values=values), "c.cif"))
    assert "occupancy 1 for 10 atoms" in crystal.report()
    assert crystal.B[3].item() == pytest.approx(20)


def test_u_in_place_of_b(save):
    small = atom_records(B=np.linspace(0.1, 0.4, 10))
    with pytest.warns(UserWarning, match=r"B-factors of 0\.2\d Å² \(median\) are too small: U in"):
        read_crystal(save(pdb_text(small)))
    with pytest.warns(UserWarning, match="B-factors are all 0"):
        read_crystal(save(pdb_text(atom_records(B=[0] * 10))))
    alike = read_crystal(save(pdb_text(atom_records(B=[15] * 10))))
    assert "B-factors are all 15 Å², as if never refined" in alike.report()


def test_atoms_after_the_end(save):
    text = pdb_text(atom_records()[:5]) + "\n".join(atom_records()[5:])
    with pytest.warns(UserWarning, match="5 atoms after END"):
        assert read_crystal(save(text)).n_atoms == 5


# ---- occupancies ----------------------------------------------------------------------------


def test_occupancies_that_cannot_be(save):
    with pytest.raises(StructureError, match=r"all 10 atoms have occupancy 0.*nothing scatters"):
        read_crystal(save(pdb_text(atom_records(occupancy=0.0))))
    with pytest.raises(StructureError, match=r"occupancy 50, .* divide all by 100"):
        read_crystal(save(pdb_text(atom_records(occupancy=50.0))))
    with pytest.raises(StructureError, match=r"A/ALA 1/CB \(serial 5\) has occupancy -0\.5"):
        read_crystal(save(pdb_text(edited(55, " -0.50"))))
    crystal = read_crystal(save(pdb_text(edited(55, "  0.00"))))
    assert "1 atom of occupancy 0: in the network" in crystal.report()


def test_occupancies_of_arrays():
    atoms = {"elements": ["C", "N"], "positions_frac": [[0.1, 0, 0], [0.5, 0.5, 0.5]]}
    with pytest.warns(UserWarning, match="all occupancies are 0"):
        Crystal.from_atoms((5, 6, 7, 90, 90, 90), "P 1", occupancies=0.0, **atoms)
    atoms["positions_frac"] = [[0.1, 0, 0], [1e6, 0, 0]]
    with pytest.raises(InputError, match=r"positions_frac contains 1e\+06"):
        Crystal.from_atoms((5, 6, 7, 90, 90, 90), "P 1", **atoms)


@pytest.mark.parametrize("name", ["positions", "B", "U", "occupancies", "cell"])
def test_tensors_with_values_that_are_none(save, name):
    crystal = read_crystal(save(pdb_text()))
    shape = {"positions": (10, 3), "U": (10, 3, 3), "cell": (6,)}.get(name, (10,))
    values = torch.full(shape, 7.0, dtype=torch.float64)
    values.view(-1)[4] = torch.nan
    q = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    with pytest.raises(InputError, match=f"{name} contains a value that is not finite: nan at"):
        OnePhonon(crystal, q_vectors=q, **{name: values})


# ---- places ---------------------------------------------------------------------------------


def test_placeholders_far_away(save):
    with pytest.raises(StructureError, match=r"CB \(serial 5\) at \(9999\.000, .*a placeholder"):
        read_crystal(save(pdb_text(edited(31, "9999.000"))))
    far = mmcif_text(values={"Cartn_x": lambda i: -2147483649 if i == 4 else PLACES[i][2][0]})
    with pytest.raises(StructureError, match="placeholder"):
        read_crystal(save(far, "far.cif"))
    # Two cells away from its bonds, an atom was torn off by periodic wrapping.
    with pytest.warns(UserWarning, match="1 atom moved by lattice translations"):
        assert read_crystal(save(pdb_text(edited(31, "  22.400")))).n_atoms == 10


def test_placeholders_at_one_point(save):
    zero = "   0.000" * 3
    atoms = [
        line[:30] + zero + line[54:] if i > 4 else line for i, line in enumerate(atom_records())
    ]
    with pytest.raises(StructureError, match=r"4 atoms are at the very place of others.*\(0\.000"):
        read_crystal(save(pdb_text(atoms)))


# ---- elements -------------------------------------------------------------------------------


def test_elements_that_no_amino_acid_has(save):
    plain = read_crystal(save(pdb_text()))
    # The element column repeats the name: "CA" is calcium.
    wrong = [line[:76] + line[12:16].strip()[:2].rjust(2) + line[78:] for line in atom_records()]
    atoms = [a if a[13:15] == "CA" else b for a, b in zip(wrong, atom_records(), strict=True)]
    with pytest.warns(UserWarning, match="2 atoms of amino acids from Ca to C, by their names"):
        crystal = read_crystal(save(pdb_text(atoms)))
    same(crystal, plain)


def test_record_numbers_in_place_of_elements(save):
    old = [f"{line[:66]:<72}1ABC {i:3d}" for i, line in enumerate(atom_records())]
    plain = read_crystal(save(pdb_text()))
    same(read_crystal(save(pdb_text(old))), plain)
    # Only some of the records, the first not among them.
    some = [
        atom_records()[0][:66],
        *(f"{line[:66]:<72}1ABC  {i:2d}" for i, line in enumerate(old) if i),
    ]
    crystal = read_crystal(save(pdb_text(some)))
    same(crystal, plain)
    assert "ignored: columns 73-80 of 9 records" in crystal.report()


# ---- TLS ------------------------------------------------------------------------------------

T = np.array([[0.10, 0.01, 0.02], [0.01, 0.20, 0.03], [0.02, 0.03, 0.30]])
L = np.array([[3.0, 0.1, 0.2], [0.1, 4.0, 0.3], [0.2, 0.3, 5.0]])
S = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, -0.6]])
ORIGIN = np.array([2.0, 1.0, 1.5])


def tls_remarks(selection, residual="ATOM RECORD CONTAINS RESIDUAL B FACTORS ONLY"):
    def upper(name, m):
        return [
            f"{name}11:{m[0, 0]:9.4f} {name}22:{m[1, 1]:9.4f}",
            f"{name}33:{m[2, 2]:9.4f} {name}12:{m[0, 1]:9.4f}",
            f"{name}13:{m[0, 2]:9.4f} {name}23:{m[1, 2]:9.4f}",
        ]

    lines = [
        "REFINEMENT.", " DATA USED IN REFINEMENT.", "  RESOLUTION RANGE HIGH (ANGSTROMS) : 2.00",
        " TLS DETAILS", "  NUMBER OF TLS GROUPS  : 1", "  TLS GROUP : 1", *selection,
        "   ORIGIN FOR THE GROUP (A):" + "".join(f"{x:9.4f}" for x in ORIGIN),
        "   T TENSOR", *("     " + x for x in upper("T", T)),
        "   L TENSOR", *("     " + x for x in upper("L", L)),
        "   S TENSOR", *(
            f"     S{i}1:{S[i - 1, 0]:9.4f} S{i}2:{S[i - 1, 1]:9.4f} S{i}3:{S[i - 1, 2]:9.4f}"
            for i in (1, 2, 3)
        ),
        f"  {residual}",
    ]  # fmt: skip
    return [f"REMARK   3 {line}" for line in ["", *lines, ""]]


REFMAC = [
    "   NUMBER OF COMPONENTS GROUP : 1",
    "   COMPONENTS        C SSSEQI   TO  C SSSEQI",
    "   RESIDUE RANGE :   A     1        A     1",
]
PHENIX = ["   SELECTION: (chain 'A' and resid 1 through 1)"]


@pytest.mark.parametrize("selection", [REFMAC, PHENIX])
def test_motion_of_tls_groups_is_added_to_residual_b(save, selection):
    path = save(pdb_text(head=tls_remarks(selection)))
    crystal = read_crystal(path)
    assert "motion of 1 TLS group of the file added to residual B of 5 atoms" in crystal.report()
    B = 10 + 2 * np.arange(10)
    degree = np.pi / 180
    for i, (_, number, place) in enumerate(PLACES):
        # By hand: u = t + lambda x r; each component from the means of products.
        r = np.array(place) - ORIGIN
        expected = np.eye(3) * B[i] / EIGHT_PI_SQUARED
        if number == 1:
            for j in range(3):
                for k in range(3):
                    expected[j, k] += T[j, k]
                    for m in range(3):
                        # (lambda x r)_j = sum_m lambda_m (e_m x r)_j
                        arm_j, arm_k = np.cross(np.eye(3)[m], r)[j], np.cross(np.eye(3)[m], r)[k]
                        expected[j, k] += degree * (S[m, k] * arm_j + S[m, j] * arm_k)
                        for n in range(3):
                            other = np.cross(np.eye(3)[n], r)[k]
                            expected[j, k] += degree**2 * L[m, n] * arm_j * other
        np.testing.assert_allclose(crystal.U[i], expected, atol=1e-6)  # U in single precision
    isotropic = read_crystal(path, anisotropic=False)
    torch.testing.assert_close(isotropic.B, crystal.B, rtol=1e-6, atol=0)


def test_residual_b_without_groups(save):
    said = ["REMARK   3   U VALUES      : RESIDUAL ONLY"]
    with pytest.warns(UserWarning, match="beside the TLS motion only.*no TLS groups that can be"):
        read_crystal(save(pdb_text(head=said)))
    strange = tls_remarks(["   SELECTION: all that moves"])
    with pytest.warns(UserWarning, match="no TLS groups that can be read"):
        read_crystal(save(pdb_text(head=strange)))
    whole = tls_remarks(REFMAC, "ATOM RECORD CONTAINS SUM OF TLS AND RESIDUAL B FACTORS")
    same(read_crystal(save(pdb_text(head=whole))), read_crystal(save(pdb_text())))


@pytest.mark.parametrize(("flag", "warns"), [("'LIKELY RESIDUAL'", True), ("UNVERIFIED", False)])
def test_residual_b_in_mmcif(save, flag, warns):
    path = save(mmcif_text({"_refine.pdbx_TLS_residual_ADP_flag": flag}), "tls.cif")
    if warns:
        with pytest.warns(UserWarning, match="beside the TLS motion only"):
            read_crystal(path)
    else:
        assert "assumed: B-factors with the TLS motion" in read_crystal(path).report()


# ---- deuterium ------------------------------------------------------------------------------


def test_sites_of_hydrogen_and_deuterium(save):
    place = "".join(f"{x:8.3f}" for x in (1.4, 1.4, 0.1))
    shared = [
        f"ATOM     11  H  AALA A   1    {place}  0.30 10.00           H  ",
        f"ATOM     12  D  BALA A   1    {place}  0.70 10.00           D  ",
    ]
    path = save(pdb_text([*atom_records()[:5], *shared, *atom_records()[5:]]))
    crystal = read_crystal(path, radiation="neutron", hydrogens=True)
    assert crystal.n_atoms == 11
    D, H, C = form_factors(["D", "H", "C"], "neutron").c[torch.tensor([1, 2, 0])].tolist()
    np.testing.assert_allclose([D, H], [6.671, -3.739], atol=0.002)  # Neutron News 3, fm
    lengths = crystal.form_factors.evaluate(torch.zeros(1, dtype=torch.float64))[0]
    i = next(i for i, label in enumerate(crystal.labels) if label.element == "H")
    # Fractions in single precision.
    site = lengths[crystal.form_factors.kind[i]].item() * crystal.occupancies[i].item()
    assert site == pytest.approx(0.7 * D + 0.3 * H, rel=1e-6)
    assert lengths[crystal.form_factors.kind[1]].item() == pytest.approx(C)
    assert crystal.masses[i].item() == pytest.approx(0.7 * 2.014 + 0.3 * 1.008, rel=1e-3)
    assert "1 hydrogen site with deuterium" in crystal.report()


# ---- encodings, endings, compression --------------------------------------------------------


@pytest.mark.parametrize("text", [pdb_text(), mmcif_text()], ids=["pdb", "mmcif"])
@pytest.mark.parametrize(
    "change",
    [
        lambda t: b"\xef\xbb\xbf" + t.encode(),
        lambda t: t.encode("utf-16"),
        lambda t: t.replace("\n", "\r").encode(),
        lambda t: t.replace("\n", "\r\n").encode(),
        lambda t: gzip.compress(t.encode()),
    ],
    ids=["mark", "utf-16", "cr", "crlf", "gzip-unnamed"],
)
def test_encodings(save, text, change):
    ending = ".cif" if text.startswith("data") else ".pdb"
    plain = read_crystal(save(text, "plain" + ending))
    for name in ("Größe 1" + ending.upper(), "no_ending", "wrong.txt"):
        same(read_crystal(save(change(text), name)), plain)


def test_titles_in_latin_1(save):
    text = "TITLE     MÜNSTER\n".encode("latin-1") + pdb_text().encode()
    same(read_crystal(save(text)), read_crystal(save(pdb_text(), "plain.pdb")))


def test_files_that_inflate_without_bound(save, monkeypatch):
    monkeypatch.setattr(file_text, "ALWAYS_READ", 1 << 20)
    bomb = gzip.compress(pdb_text().encode() + b" " * (30 << 20))
    assert len(bomb) < 40_000
    with pytest.raises(StructureError, match=r"holds over .* MiB of text, more than a structure"):
        read_crystal(save(bomb, "bomb.pdb.gz"))


def test_damaged_gzip(save):
    whole = bytearray(gzip.compress(pdb_text().encode()))
    whole[-6] ^= 255
    with pytest.raises(StructureError, match="gzip file is damaged"):
        read_crystal(save(bytes(whole), "sum.pdb.gz"))


@pytest.mark.parametrize(
    ("start", "name", "words"),
    [
        (b"BZh9", "a.pdb", "compressed with bzip2"),
        (b"PK\x03\x04", "a.pdb", "a zip archive"),
        (b"", "a.bcif", "BinaryCIF is not read"),
        (b"", "a.pqr", "PQR .* is not read"),
    ],
)
def test_formats_that_are_not_read(save, start, name, words):
    with pytest.raises(StructureError, match=words):
        read_crystal(save(start + CRYST1.encode(), name))


def test_what_is_no_file(tmp_path):
    with pytest.raises(StructureError, match="is a folder"):
        read_crystal(tmp_path)
    with pytest.raises(StructureError, match="standard input is not read"):
        read_crystal("-")
    with pytest.raises(StructureError, match="no such file"):
        read_crystal("a\0b.pdb")
