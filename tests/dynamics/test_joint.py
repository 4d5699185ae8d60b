"""Joint displacements against an explicit supercell, direct sums over wavevectors, and symmetry."""

import gemmi
import numpy as np
import pytest
import torch

from crystals import made_up, simple_lattice
from onephonon import InputError, OnePhonon
from onephonon.dynamics.joint import joint_displacements
from onephonon.dynamics.pair_covariance import (
    Pairs,
    atom_covariance,
    pair_covariances,
    separating_mesh,
)
from onephonon.dynamics.solvers.dense.zone_mean import gamma_inverse
from onephonon.dynamics.stiffness_matrix import stiffness
from onephonon.dynamics.tls import model_tls
from onephonon.model.supercell import build_supercell
from onephonon.model.verify import spring_rule

CUTOFF = 6.5


def model_of(spacegroup="P 1", **options):
    crystal = spacegroup if not isinstance(spacegroup, str) else made_up(spacegroup)
    options = {"gnm_cutoff": CUTOFF, "thermal_scale": 1.7} | options
    with torch.no_grad():
        return OnePhonon(crystal, **options)


def all_atom_pairs(n, cells):
    """Atoms i and j of the cell and the cell of j, each combination."""
    i, j, c = torch.cartesian_prod(torch.arange(n), torch.arange(n), torch.arange(len(cells))).T
    return i, j, cells[c]


# ---- covariances of pairs -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacegroup", "group_by"), [("P 1", "chain"), ("P 1 21 1", "residue"), ("P 21 21 21", "asu")]
)
def test_atoms_move_together_as_in_a_supercell(spacegroup, group_by):
    # The explicit box: all atoms, the full stiffness matrix, its pseudo-inverse.
    size = (3, 2, 1)
    model = model_of(
        spacegroup, group_by=group_by, gamma_inter=0.4, zone_average="supercell", mesh=size
    )
    bodies, crystal = model.bodies, model.crystal
    numbers = bodies.body[: crystal.n_atoms].tolist()
    box = build_supercell(crystal, numbers, CUTOFF, spring_rule("gnm", 1.0, 0.4), size)
    v = box.basis.shape[2]
    blocks = box.covariance.reshape(len(box.covariance) // v, v, -1, v)
    cells = torch.cartesian_prod(*(torch.arange(n) for n in size))
    n = bodies.n_cell_atoms
    i, j, cell = all_atom_pairs(n, cells)
    with torch.no_grad():
        found = atom_covariance(model.lattice, i, j, cell) / model.thermal_scale
    row = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    far = (row * n + j).numpy()
    own = blocks[box.body[i.numpy()], :, box.body[far]]
    expected = box.basis[i.numpy()] @ own @ box.basis[far].transpose(0, 2, 1)
    # Rounding times the condition of K, below 1e5.
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-11 * np.abs(box.U).max())


@pytest.mark.parametrize("group_by", ["residue", "atom", "asu"])
def test_blocks_are_the_direct_sum_over_wavevectors(group_by):
    # Neither halved nor batched: K^-1 exp(-ik.R) at every point of the mesh, in NumPy.
    mesh = (3, 2, 4)
    model = model_of("P 1 21 1", group_by=group_by, zone_average="supercell", mesh=mesh)
    with torch.no_grad():
        bodies, constants = model.bodies, model.lattice.force_constants
    grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in mesh), indexing="ij"), -1)
    cells = torch.tensor([[0, 0, 0], [1, 0, 0], [-1, 1, 2]])
    total = np.zeros((len(cells), bodies.n_dof, bodies.n_dof), dtype=complex)
    for k in grid.reshape(-1, 3):
        if k.any():
            inverse = np.linalg.inv(stiffness(bodies, constants, torch.tensor(k)[None])[0].numpy())
        else:
            inverse = gamma_inverse(bodies, constants).detach().numpy()
        total += np.exp(-2j * np.pi * cells.numpy() @ k)[:, None, None] * inverse
    total *= 1.7 / grid[..., 0].size
    padded = bodies.scatter(bodies.scatter(torch.tensor(total.real), 1), 2)
    n, w = bodies.n_bodies, bodies.width
    expected = padded.reshape(len(cells), n, w, n, w)
    a, b, cell = torch.cartesian_prod(torch.arange(n), torch.arange(n), torch.arange(3)).T
    with torch.no_grad():
        (found,) = pair_covariances(model.lattice, [Pairs(a, b, cells[cell])])
    # Bodies of five or more atoms have Cartesian axes; two atoms in line have others.
    turn = torch.eye(w).double().repeat(n, 1, 1)
    if w == 6:
        turn[:, 3:, 3:] = bodies.axes
    expected = turn[a] @ expected[cell, a, :, b] @ turn[b].mT
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11 * expected.abs().max().item())


@pytest.mark.parametrize("spacegroup", ["P 1", "P 31 2 1"])
def test_pairs_are_those_of_the_whole_covariance(spacegroup):
    model = model_of(spacegroup, group_by="chain", mesh=(3, 3, 3))
    bodies, lattice = model.bodies, model.lattice
    cells = torch.tensor([[0, 0, 0], [1, 0, 0], [1, -1, 0]])
    n, w = bodies.n_bodies, bodies.width
    a, b, row = torch.cartesian_prod(torch.arange(n), torch.arange(n), torch.arange(3)).T
    pairs = Pairs(a, b, cells[row])
    with torch.no_grad():
        whole = model.thermal_scale * lattice.covariance(cells, (5, 5, 5))
        (found,) = pair_covariances(lattice, [pairs], (5, 5, 5))
    padded = bodies.scatter(bodies.scatter(whole, 1), 2).reshape(3, n, w, n, w)
    # Bodies of three atoms: libration axes are x, y and z. Of two they are others.
    turn = torch.eye(w).double().repeat(n, 1, 1)
    turn[:, 3:, 3:] = bodies.axes
    expected = turn[a] @ padded[row, a, :, b] @ turn[b].mT
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def test_of_an_atom_with_itself_it_is_its_U():
    model = model_of("C 1 2 1", group_by="residue")
    with torch.no_grad():
        atoms = torch.arange(model.crystal.n_atoms)
        found = atom_covariance(model.lattice, atoms, atoms, torch.zeros(len(atoms), 3).long())
        # The narrower window of the sum for R = 0 alone: 1e-5 of the correction.
        torch.testing.assert_close(found, model.U, rtol=0, atol=1e-5 * float(model.U.abs().max()))


def test_simple_cubic_lattice_by_its_green_function():
    # The equation of motion with six neighbours: G(0) - G(100) = 1/6, G(0) = Watson's integral.
    model = model_of(simple_lattice(), gnm_cutoff=4.1, group_by="atom", mesh=(9, 9, 9))
    with torch.no_grad():
        joint = joint_displacements(model, within=4.5, mesh=(9, 9, 9)).molecules
    watson = 0.505462019717326 / 2
    assert joint.n_pairs == 7
    expected = torch.tensor([watson, *[watson - 1 / 6] * 6]).double() * 1.7
    # The error of the mesh, 1e-4 for 8 points.
    torch.testing.assert_close(joint.U[:, 0, 0], expected, rtol=0, atol=2e-4)
    parallel, across = joint.along(joint.relative)
    torch.testing.assert_close(
        parallel[1:], torch.full((6,), 2 * 1.7 / 6).double(), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(across, parallel, rtol=0, atol=1e-12)  # a Gaussian network


@pytest.mark.parametrize("group_by", ["chain", "residue"])
def test_copies_as_wholes_move_by_the_mean_of_their_atoms(group_by):
    model = model_of("P 1 21 1", group_by=group_by)
    n = model.crystal.n_atoms
    with torch.no_grad():
        whole = joint_displacements(model, within=6.5)
        joint = whole.molecules
        for k in range(0, joint.n_pairs, 5):
            op = torch.nonzero(torch.tensor([joint.operators.operator[k].startswith("-x"), True]))[
                0
            ]
            second = n * (1 - int(op))  # the screw axis makes copy 2
            i, j = torch.cartesian_prod(torch.arange(n), torch.arange(n) + second).T
            cell = joint.cell[k].expand(len(i), 3)
            atoms = atom_covariance(model.lattice, i, j, cell, whole.mesh)
            torch.testing.assert_close(atoms.mean(0), joint.U[k], rtol=0, atol=1e-12)


def test_a_lone_body_is_its_copy():
    model = model_of("P 21 21 21")
    with torch.no_grad():
        joint = joint_displacements(model, within=8.0)
    assert joint.molecules.operators == joint.bodies.operators
    torch.testing.assert_close(joint.molecules.U, joint.bodies.U, rtol=0, atol=1e-13)
    tls = model_tls(model)
    # The block of a body with itself has T and L; the mesh is finer than that of T and L.
    torch.testing.assert_close(joint.bodies.C[0, :3, :3], tls.T[0].detach(), rtol=0.02, atol=1e-3)
    torch.testing.assert_close(joint.bodies.C[0, 3:, 3:], tls.L[0].detach(), rtol=0.02, atol=1e-4)


# ---- lists of neighbours --------------------------------------------------------------------


@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1", "P 31 2 1"])
def test_every_copy_within_the_distance_is_listed_once(spacegroup):
    model = model_of(spacegroup, group_by="chain")
    within = 9.0
    with torch.no_grad():
        joint = joint_displacements(model, within=within)
    cell = gemmi.UnitCell(*model.crystal.cell.parameters)
    centre = gemmi.Position(*model.crystal.positions.mean(0).tolist())
    start = cell.fractionalize(centre)
    expected = set()
    for op in gemmi.SpaceGroup(spacegroup).operations():
        for shift in np.ndindex(9, 9, 9):
            moved = gemmi.Op(op.triplet())
            moved.tran = [t + 24 * (int(s) - 4) for t, s in zip(op.tran, shift, strict=True)]
            there = gemmi.Fractional(*moved.apply_to_xyz(start.tolist()))
            if cell.orthogonalize(there).dist(centre) <= within:
                expected.add(moved.triplet())
    assert set(joint.molecules.operators.operator) == expected
    assert joint.molecules.n_pairs == len(expected)
    assert bool((joint.molecules.distance.diff() >= -1e-6).all())
    # Operators map the first centroid onto the second.
    for k, text in enumerate(joint.molecules.operators.operator):
        there = cell.orthogonalize(gemmi.Fractional(*gemmi.Op(text).apply_to_xyz(start.tolist())))
        vector = np.array(there.tolist()) - np.array(centre.tolist())
        np.testing.assert_allclose(joint.molecules.vector[k].numpy(), vector, atol=1e-9)
    pairs = list(zip(joint.bodies.names, joint.bodies.operators.operator, strict=True))
    assert len(set(pairs)) == len(pairs)
    assert {a for (a, _), _ in pairs} == {"chain A", "chain B"}


@pytest.mark.parametrize("spacegroup", ["P 1 21 1", "P 31 2 1"])
def test_a_pair_and_its_reverse_are_related_by_symmetry(spacegroup):
    # C_ba(g^-1) in the frame of copy 1 is the rotated transpose of C_ab(g).
    model = model_of(spacegroup)
    with torch.no_grad():
        joint = joint_displacements(model, within=7.0).molecules
    matrix = model.crystal.cell.matrix
    rows = {text: k for k, text in enumerate(joint.operators.operator)}
    n_checked = 0
    for text, k in rows.items():
        g = gemmi.Op(text)
        back = rows[g.inverse().triplet()]
        R = torch.tensor(g.inverse().rot).double() / 24
        R = matrix @ R @ torch.linalg.inv(matrix)
        assert joint.operators.interface[k] == joint.operators.interface[back]
        # The mesh is symmetric: rounding.
        torch.testing.assert_close(joint.U[back], R @ joint.U[k].T @ R.T, rtol=0, atol=1e-11)
        n_checked += back != k
    assert n_checked > 2


def test_contacts_are_those_of_the_contact_table():
    model = model_of("P 31 2 1", gnm_cutoff=6.0, group_by="chain", mesh=(2, 2, 2))
    with torch.no_grad():
        joint = joint_displacements(model, within=6.0)
    table = {row.key: row for row in model.contact_table()}
    contacts = joint.contacts
    keys = [
        (*names, interface)
        for names, interface in zip(contacts.names, contacts.operators.interface, strict=True)
    ]
    assert len(set(keys)) == len(keys)
    lengths = dict(zip(keys, contacts.distance.tolist(), strict=True))
    assert set(lengths) <= set(table)
    for key, row in table.items():
        if key in lengths:
            assert lengths[key] == pytest.approx(row.distance, abs=1e-4)  # four decimals
        else:
            assert row.operator == "within"  # of one chain, which is rigid
    assert {"within"} < {key[2] for key in lengths}
    # All contacts touch, and so do the bodies and copies that they join.
    touching = {
        o
        for o, t in zip(joint.molecules.operators.interface, joint.molecules.touching, strict=True)
        if t
    }
    assert touching
    assert touching <= {key[2] for key in lengths} - {"within"}  # up to 6 Å between centroids


def test_rigid_contacts_do_not_stretch():
    # Two atoms of one body keep their distance; atoms in contact of different bodies do not.
    model = model_of("P 1 21 1")
    with torch.no_grad():
        joint = joint_displacements(model).contacts
        i, j = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
        zero = torch.zeros(25, 3).long()
        C = atom_covariance(model.lattice, i, j, zero)
    U = C.reshape(5, 5, 3, 3)
    relative = U[i, i] + U[j, j] - U[i, j] - U[j, i]
    apart = model.bodies.positions[j] - model.bodies.positions[i]
    stretch = torch.einsum("nx,nxy,ny->n", apart, relative, apart)
    assert float(stretch.abs().max()) < 1e-12
    parallel, _ = joint.along(joint.relative)
    assert bool((parallel > 1e-3).all())


# ---- meshes ---------------------------------------------------------------------------------


def test_meshes_tell_pairs_from_their_images():
    model = model_of("P 1", mesh=(2, 2, 2))
    far = Pairs(torch.zeros(1).long(), torch.zeros(1).long(), torch.tensor([[3, 0, -1]]))
    # The axes are not at right angles, so that 3a - c and -3a - c differ.
    assert separating_mesh(model.lattice, [far]) == (6, 2, 3)
    with pytest.raises(
        InputError, match=r"mesh \(5, 5, 5\).*cell \(3, 0, -1\).*give mesh=\(6, 5, 5\)"
    ):
        pair_covariances(model.lattice, [far], (5, 5, 5))
    with pytest.raises(InputError, match="less symmetric"):
        joint_displacements(model_of("P 61"), within=5.0, mesh=(3, 4, 5))


def test_in_a_supercell_no_pair_is_an_image_of_a_nearer_one():
    model = model_of("P 1", zone_average="supercell", mesh=(3, 2, 3))
    with torch.no_grad():
        molecules = joint_displacements(model, within=40.0).molecules
    cells = [tuple(R) for R in (molecules.cell % torch.tensor([3, 2, 3])).tolist()]
    # The whole box of 18 cells, but for one at half of a period, with two nearest images.
    assert len(set(cells)) == len(cells) == 17
    box = model.crystal.cell.matrix * torch.tensor([3.0, 2.0, 3.0]).double()
    for vector in molecules.vector:
        images = [vector + box @ torch.tensor(n).double() for n in np.ndindex(3, 3, 3)]
        images += [vector - box @ torch.tensor(n).double() for n in np.ndindex(3, 3, 3)]
        assert float(vector.norm()) <= min(float(x.norm()) for x in images) + 1e-9


def test_a_margin_makes_meshes_finer():
    model = model_of("P 21 21 21", mesh=(2, 2, 2))
    far = Pairs(torch.zeros(1).long(), torch.zeros(1).long(), torch.tensor([[3, 0, 0]]))
    assert separating_mesh(model.lattice, [far]) == (7, 2, 2)
    # Nearer than its images when 1.6 times as far: 4.8 cells.
    assert separating_mesh(model.lattice, [far], margin=1.6) == (10, 2, 2)
    near = Pairs(torch.zeros(1).long(), torch.zeros(1).long(), torch.tensor([[0, 0, 0]]))
    assert separating_mesh(model.lattice, [near], (3, 1, 1)) == (3, 1, 1)


def test_the_mesh_converges():
    model = model_of("P 1", group_by="chain")
    with torch.no_grad():
        coarse = joint_displacements(model, within=6.5, mesh=(3, 3, 3)).bodies
        finer = joint_displacements(model, within=6.5, mesh=(5, 5, 5)).bodies
        fine = joint_displacements(model, within=6.5, mesh=(11, 11, 11)).bodies
    size = float(fine.U.abs().max())
    errors = [float((x.U - fine.U).abs().max()) / size for x in (coarse, finer)]
    # As 1/n^3 or faster: (3/5)^3 is 0.22. Pairs that are hardly nearer than their images are worst.
    assert errors[0] < 0.1
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize("within", [0.0, -2.0, float("nan"), float("inf")])
def test_distances_are_positive(within):
    with pytest.raises(InputError, match="is not a distance"):
        joint_displacements(model_of("P 1"), within=within)


# ---- gradients, occupation ------------------------------------------------------------------


@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1"])
def test_gradients_to_springs(spacegroup):
    crystal = made_up(spacegroup, n_atoms=3)

    def joint(gamma, scale):
        model = OnePhonon(
            crystal, gnm_cutoff=7.0, gamma_inter=gamma, thermal_scale=scale, mesh=(3, 3, 3)
        )
        found = joint_displacements(model, within=4.5, mesh=(3, 3, 3))
        # Fixed mixtures of all elements: each costs a backward pass.
        every = torch.cat([found.bodies.C.flatten(), found.contacts.U.flatten()])
        return torch.stack(
            [every @ torch.sin(n * torch.arange(len(every)).to(every)) for n in (1, 2)]
        )

    gamma, scale = torch.tensor([0.7, 1.3]).double().requires_grad_().unbind()
    assert torch.autograd.gradcheck(joint, (gamma, scale))


def test_cold_crystals_move_less():
    options = {"thermal_scale": 0.05, "mesh": (3, 3, 3)}
    with torch.no_grad():
        warm = joint_displacements(model_of("P 1", **options), within=8.0).bodies
        cold = joint_displacements(model_of("P 1", **options, temperature=100.0), within=8.0).bodies
        whole = model_of("P 1", **options, temperature=100.0).lattice
        R = cold.cell[3:4]
        expected = whole.thermal_scale * whole.covariance(R, (5, 5, 5))[0]
        (found,) = pair_covariances(
            whole, [Pairs(torch.zeros(1).long(), torch.zeros(1).long(), R)], (5, 5, 5)
        )
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-13)
    # Zero-point motion adds to the own motion, and hardly to that of two molecules.
    assert float((cold.U[0] - warm.U[0]).diagonal().min()) > 0


def test_centroids_of_bodies():
    model = model_of("P 1 21 1", group_by="residue")
    bodies = model.bodies
    for b, centre in enumerate(bodies.centroids):
        torch.testing.assert_close(
            centre, bodies.positions[bodies.body == b].mean(0), rtol=0, atol=1e-12
        )


def test_single_precision():
    crystal = made_up("P 21 21 21")
    with torch.no_grad():
        wide, narrow = (
            joint_displacements(model_of(crystal, dtype=dtype), within=6.5)
            for dtype in (torch.float64, torch.float32)
        )
    assert narrow.mesh == wide.mesh
    assert narrow.molecules.operators == wide.molecules.operators
    assert narrow.bodies.C.dtype == torch.float32
    # Rounding of 1e-7 times the condition of K near Gamma.
    size = float(wide.molecules.U.abs().max())
    torch.testing.assert_close(
        narrow.molecules.U.double(), wide.molecules.U, rtol=0, atol=1e-4 * size
    )
