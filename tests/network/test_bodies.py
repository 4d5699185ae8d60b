"""What moves as one, and how far it carries its atoms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crystals import made_up
from onephonon import AtomLabel, Crystal, InputError, OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.network.bodies import gather_bodies
from onephonon.network.residue_ranges import body_ranges
from structures import DATA

P1 = (10.0, 11.0, 12.0, 80.0, 95.0, 105.0)


def of_atoms(cartesian, **options):
    """A crystal of carbon atoms at Cartesian positions."""
    crystal = Crystal.from_atoms(P1, "P 1", ["C"] * len(cartesian), torch.zeros(len(cartesian), 3))
    r = torch.as_tensor(cartesian, dtype=torch.float64)
    crystal = crystal.replace(positions_frac=r @ torch.linalg.inv(crystal.cell.matrix).T)
    return gather_bodies(crystal, **options)


# ---- grouping -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group_by", "body", "dof", "names"),
    [
        ("asu", [0, 0, 0, 0, 0], 6, ["asymmetric unit"]),
        ("chain", [0, 0, 0, 1, 1], 6 + 5, ["chain A", "chain B"]),
        ("residue", [0, 0, 1, 2, 3], 5 + 3 * 3, ["A/UNK 1", "A/UNK 2", "B/UNK 3", "B/UNK 4"]),
        ("atom", [0, 1, 2, 3, 4], 15, ["A/UNK 1/C0", "A/UNK 1/N1"]),
        (None, [0, 1, 2, 3, 4], 15, ["A/UNK 1/C0", "A/UNK 1/N1"]),
        ([7, 2, 7, 2, 7], [0, 1, 0, 1, 0], 6 + 5, ["body 7", "body 2"]),
    ],
)
def test_grouping(group_by, body, dof, names):
    crystal = made_up("C 1 2 1")
    bodies = gather_bodies(crystal, group_by)
    n = max(body) + 1
    assert bodies.n_ops == 4
    assert bodies.n_cell_atoms == 20
    assert bodies.n_bodies == 4 * n
    assert bodies.body.tolist() == [op * n + b for op in range(4) for b in body]
    assert bodies.n_dof == 4 * dof
    assert list(bodies.names[: len(names)]) == names
    assert bodies.name(0) == f"{names[0]} (copy 1)"
    assert bodies.name(n) == f"{names[0]} (copy 2)"
    assert bodies.asu_atom.tolist() == [0, 1, 2, 3, 4] * 4
    assert bodies.copy.tolist() == [op for op in range(4) for _ in range(5)]
    assert torch.equal(bodies.masses, crystal.masses.repeat(4))


def test_table_lists_the_atoms_of_each_body():
    bodies = gather_bodies(made_up("P 1 21 1"), "residue")
    for b, row in enumerate(bodies.table.tolist()):
        atoms = [a for a in row if a < bodies.n_cell_atoms]
        assert atoms == (bodies.body == b).nonzero().squeeze(1).tolist()


def test_residues_of_two_chains_with_one_number_are_two():
    labels = [AtomLabel(chain, "1", "GLY", "CA", "C") for chain in "AB"]
    crystal = Crystal.from_atoms(P1, "P 1", ["C"] * 2, [[0, 0, 0], [0.1, 0, 0]], labels=labels)
    assert gather_bodies(crystal, "residue").names == ("A/GLY 1", "B/GLY 1")


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("helix", "group_by 'helix' is not one of asu, chain, residue, atom, auto:N or None"),
        ([0, 1], "group_by has 2 numbers, the crystal 5 atoms"),
    ],
)
def test_grouping_that_is_none(group_by, message):
    with pytest.raises(InputError, match=message):
        gather_bodies(made_up("P 1"), group_by)


# ---- chosen ranges ----------------------------------------------------------------------------


def of_residues(*residues):
    """One atom for each (chain, residue number)."""
    labels = [AtomLabel(chain, number, "GLY", "CA", "C") for chain, number in residues]
    x = [[0.05 * i, 0.02 * i * i, 0.0] for i in range(len(labels))]
    return Crystal.from_atoms(P1, "P 1", ["C"] * len(labels), x, labels=labels)


def residues_of(*numbers, chain="A"):
    return [(chain, str(n)) for n in numbers]


@pytest.mark.parametrize(
    ("text", "numbers", "names"),
    [
        ("A:1-2 A:3-4", [0, 0, 1, 1], ("A:1-2", "A:3-4")),
        ("A", [0, 0, 0, 0], ("A",)),
        ("A:3-4;A:1-2", [1, 1, 0, 0], ("A:3-4", "A:1-2")),
        ("A:1,A:4  A:2-3\n", [0, 1, 1, 0], ("A:1,A:4", "A:2-3")),
        ("A:2; rest", [1, 0, 1, 1], ("A:2", "rest")),
        ("rest", [0, 0, 0, 0], ("rest",)),
        # Ends may lie beyond the chain's.
        ("A:-10-2 A:3-999", [0, 0, 1, 1], ("A:-10-2", "A:3-999")),
    ],
)
def test_ranges(text, numbers, names):
    crystal = of_residues(*residues_of(1, 2, 3, 4))
    assert body_ranges(crystal, text) == numbers
    bodies = gather_bodies(crystal, text)
    assert bodies.names == names
    assert bodies.body.tolist() == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("A:-5--1 A:0-60 A:60A-60B A:61", [0, 0, 1, 1, 2, 2, 3]),
        ("A:-5 A:-1-60A A:60B-61", [0, 1, 1, 1, 1, 2, 2]),
        ("A:-5,A:60A rest", [0, 1, 1, 1, 0, 1, 1]),
    ],
)
def test_negative_numbers_and_insertion_codes(text, numbers):
    crystal = of_residues(*residues_of(-5, -1, 0, 60, "60A", "60B", 61))
    assert body_ranges(crystal, text) == numbers


def test_chains_with_odd_names():
    chains = ["", "A-2", "B:1", "1", "a", "rest", "AAA"]
    crystal = of_residues(*[(chain, "7") for chain in chains])
    text = "_:7 A-2:7 B:1 1:7 a rest:7 AAA:1-9"
    assert body_ranges(crystal, text) == list(range(7))
    assert body_ranges(crystal, "B:1:7,_ rest") == [0, 1, 0, 1, 1, 1, 1]


def test_ranges_of_structures():
    crystal = read_crystal(crambin_path())
    bodies = gather_bodies(crystal, "A:1-20 A:21-46")
    numbers = [int(label.residue_number) for label in crystal.labels]
    assert bodies.body[: crystal.n_atoms].tolist() == [int(n > 20) for n in numbers]
    assert bodies.name(0) == "A:1-20 (copy 1)"
    assert bodies.name(3) == "A:21-46 (copy 2)"
    peptide = read_crystal(DATA / "2ol9.pdb")
    assert body_ranges(peptide, "A:2 rest") == [
        int(label.residue_number != "2") for label in peptide.labels
    ]
    # Text and numbers are the same model; residues written out one by one are those of 'residue'.
    q = torch.rand(4, 3, dtype=torch.float64)
    by_text, by_numbers = (
        OnePhonon(peptide, q_vectors=q, group_by=g)()
        for g in ("A:1-3 A:4-6", body_ranges(peptide, "A:1-3 A:4-6"))
    )
    assert torch.equal(by_text, by_numbers)
    each = " ".join(f"A:{n}" for n in range(1, 7))
    assert body_ranges(peptide, each) == gather_bodies(peptide, "residue").body.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A:1-2", r"3 of 5 atoms are in no range, the first A/GLY 3/CA; .* 'rest'"),
        ("A:1-2 A:2-4 B", "atom A/GLY 2/CA is in 'A:1-2' and in 'A:2-4'"),
        ("A,A:1 B", "atom A/GLY 1/CA is in 'A' and in 'A:1'"),
        ("A B A", "atom A/GLY 1/CA is in 'A' and in 'A'"),
        ("C:1-2 rest", "range 'C:1-2' names no chain of the crystal, which has A, B"),
        ("A B,", "range '' names no chain"),
        (":1-2 rest", "range ':1-2' names no chain"),
        ("A:5-9 rest", "range 'A:5-9' holds no atom .* residues of chain A are 1 to 4"),
        ("A:3-1 rest", "range 'A:3-1' ends before it begins"),
        ("A:x-y rest", "range 'A:x-y': 'x-y' is neither a residue nor FIRST-LAST"),
        ("A: rest", "range 'A:': '' is neither"),
        ("A:1-2-3 rest", "'1-2-3' is neither"),
        ("A B rest", "'rest' is empty: the ranges include every atom"),
        ("rest A", "range 'rest' names no chain"),
        (" ; ", "there are no ranges in the text"),
        (
            "C",
            "group_by 'C' is not one of asu, chain, residue, atom, auto:N or None; range 'C' names",
        ),
    ],
)
def test_ranges_that_are_none(text, message):
    crystal = of_residues(*residues_of(1, 2, 3, 4), ("B", "9"))
    with pytest.raises(InputError, match=message):
        gather_bodies(crystal, text)


# ---- copies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spacegroup", ["P 1 21 1", "C 1 2 1", "P 31 2 1", "P 61"])
def test_copies_are_isometric(spacegroup):
    bodies = gather_bodies(made_up(spacegroup))
    r = bodies.positions.reshape(bodies.n_ops, -1, 3)
    for copy in r[1:]:
        # Coordinates of 10 Å: rounding.
        torch.testing.assert_close(
            torch.cdist(copy, copy), torch.cdist(r[0], r[0]), atol=1e-6, rtol=0
        )
        gaps, own = copy[1:] - copy[:1], r[0][1:] - r[0][:1]
        torch.testing.assert_close(gaps @ gaps.T, own @ own.T, rtol=0, atol=1e-12)
        # Proper rotations keep the handedness.
        assert torch.linalg.det(gaps[:3]).item() == pytest.approx(torch.linalg.det(own[:3]).item())


def test_displacements_of_the_file_turn_with_the_copies():
    crystal = made_up("P 31 2 1")
    U = crystal.U.clone()
    U[:, 0, 0] *= 3.0
    bodies = gather_bodies(crystal.replace(U=U))
    matrix = crystal.cell.matrix
    for op, rotation in enumerate(crystal.rotations):
        R = matrix @ rotation @ torch.linalg.inv(matrix)
        torch.testing.assert_close(bodies.U[5 * op : 5 * op + 5], R @ U @ R.T, rtol=0, atol=1e-14)


# ---- displacements --------------------------------------------------------------------------

vectors = st.tuples(*[st.floats(-1, 1, allow_subnormal=False)] * 3)


@given(vectors, vectors)
def test_displacements_are_small_rigid_motions(t, l):  # noqa: E741
    # A finite screw by eps(t, l) about the centroid, its two directions subtracted.
    bodies = gather_bodies(made_up("P 1"))
    t, libration = (torch.tensor(v, dtype=torch.float64) for v in (t, l))
    r = bodies.positions
    origin = r.mean(0)
    eps = 1e-4

    def moved(eps):
        x, y, z = (eps * libration).tolist()
        spin = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        return (r - origin) @ torch.linalg.matrix_exp(spin).T + origin + eps * t

    expected = (moved(eps) - moved(-eps)) / (2 * eps)
    u = bodies.displacements() @ torch.cat([t, libration])
    # Third order in eps: 1e-8 of a few Å, and rounding of 1e-15/1e-4.
    torch.testing.assert_close(u, expected, rtol=0, atol=1e-7)


def test_centroid_does_not_move_when_the_body_librates():
    bodies = gather_bodies(made_up("C 1 2 1"), "chain")
    A = bodies.displacements()
    for b in range(bodies.n_bodies):
        # Sums of a few Å.
        assert A[bodies.body == b].mean(0)[:, 3:].abs().max().item() < 1e-13


def test_point_has_three_degrees_of_freedom():
    bodies = of_atoms([[1, 2, 3], [4, 4, 4]], group_by="atom")
    assert bodies.width == 3
    assert bodies.n_dof == 6
    assert torch.equal(bodies.displacements(), torch.eye(3).double().expand(2, 3, 3))


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, 1), (0.3, -0.5, 0.8)])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_line_has_five_degrees_of_freedom(direction, n):
    d = torch.tensor(direction, dtype=torch.float64)
    bodies = of_atoms([(1.3 * i * d + 1.0).tolist() for i in range(n)])
    assert bodies.n_dof == 5
    lengthwise = d / d.norm()
    axes = bodies.axes[0]
    # Two unit axes across the line and one that is not there; eigenvectors are good to 1e-15.
    assert axes.norm(dim=0).tolist() == pytest.approx([1, 1, 0], abs=1e-12)
    assert (axes.T @ lengthwise).abs().max().item() < 1e-12
    A = bodies.gather(bodies.displacements())
    assert torch.linalg.matrix_rank(A.reshape(-1, 5)).item() == 5


def test_bent_molecule_has_six_degrees_of_freedom():
    bodies = of_atoms([[0, 0, 0], [1.5, 0, 0], [3.0, 0.05, 0]])
    assert bodies.n_dof == 6
    assert torch.linalg.matrix_rank(bodies.displacements().reshape(-1, 6)).item() == 6


def test_atoms_that_coincide_are_a_point():
    bodies = of_atoms([[1, 1, 1], [1, 1, 1]])
    assert bodies.n_dof == 3


# ---- masses and layout ----------------------------------------------------------------------


def test_mass_matrix_is_twice_the_kinetic_energy():
    bodies = gather_bodies(made_up("P 1 21 1"), "residue")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(bodies.n_dof, generator=generator, dtype=torch.float64)
    padded = bodies.scatter(x).reshape(bodies.n_bodies, -1)
    speed = (bodies.displacements() @ padded[bodies.body][:, :, None]).squeeze(2)
    for matrix, weights in (
        (bodies.mass_matrix(), bodies.masses),
        (bodies.metric(), torch.ones_like(bodies.masses)),
    ):
        energy = torch.einsum("ba,bac,bc->", padded, matrix, padded).item()
        assert energy == pytest.approx((weights * speed.square().sum(1)).sum().item(), rel=1e-12)


def test_translations_carry_the_whole_mass():
    bodies = gather_bodies(made_up("P 1"))
    total = bodies.masses.sum().item()
    translations = bodies.mass_matrix()[0, :3, :3]
    torch.testing.assert_close(translations, total * torch.eye(3).double(), rtol=1e-14, atol=1e-12)


@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
def test_gather_undoes_scatter(group_by):
    bodies = gather_bodies(made_up("P 1 21 1"), group_by)
    x = torch.arange(1.0, bodies.n_dof + 1).expand(2, -1)
    padded = bodies.scatter(x)
    assert padded.shape == (2, bodies.n_bodies * bodies.width)
    assert torch.equal(bodies.gather(padded), x)
    assert padded.sum().item() == x.sum().item()
    along_rows = bodies.scatter(x.T, 0)
    assert torch.equal(along_rows, padded.T)
    assert torch.equal(bodies.gather(along_rows, 0), x.T)
