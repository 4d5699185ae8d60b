"""Lattice dynamics against formulas, pseudo-inverses and an explicit supercell.

Averages are those of finite boxes; `test_zone_average` tests those of the crystal.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch

from crystals import made_up, simple_lattice
from onephonon import NetworkError, OnePhonon
from onephonon.crystal.crystal import mean_square
from onephonon.dynamics import displacements
from onephonon.dynamics.normal_modes import mass_factor_inverse, modes
from onephonon.dynamics.solvers.dense.zone_mean import gamma_inverse
from onephonon.dynamics.stiffness_matrix import factorize, stiffness
from onephonon.model.supercell import build_supercell
from onephonon.model.verify import spring_rule
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.force_constants import assign_springs, force_constants

CUTOFF = 6.5

covariance = partial(displacements.covariance, zone_average="supercell")
displacement_covariance = partial(displacements.displacement_covariance, zone_average="supercell")


def network(crystal, group_by="asu", cutoff=CUTOFF, **springs):
    bodies = gather_bodies(crystal, group_by)
    contacts = find_contacts(bodies, cutoff)
    return bodies, force_constants(bodies, contacts, assign_springs(contacts, **springs))


CASES = [(s, g) for s in ("P 1", "C 1 2 1", "P 31 2 1") for g in ("asu", "residue", "atom")]


# ---- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "digits"),
    [("2ol9", "0.0107681867"), ("5zck", "0.0234927210"), ("5wkd", "0.0133614178")],
)
def test_mean_square_displacement_of_a_real_crystal(peptide, code, digits):
    bodies, constants = network(peptide(code), cutoff=4.0)
    value = mean_square(displacement_covariance(bodies, constants, (3, 3, 3))).mean().item()
    assert abs(value - float(digits)) <= 0.6e-10  # half a unit of the last digit, and a little


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spring", [1.0, 0.3])
def test_ring_of_n_sites(n, axis, spring):
    # A mesh of n points along one axis makes rings of n sites; each site is held by its two
    # neighbours along the ring, as those across move with it.
    bodies, constants = network(
        simple_lattice(), "atom", 4.1, gamma_intra=spring, gamma_inter=spring
    )
    mesh = [1, 1, 1]
    mesh[axis] = n
    U = displacement_covariance(bodies, constants, mesh)
    expected = (n**2 - 1) / (12 * n * spring)
    # Sums of a few float64 numbers.
    torch.testing.assert_close(U[0], expected * torch.eye(3).double(), rtol=0, atol=1e-13)


def test_frequencies_of_a_cubic_lattice():
    # w^2 = (2 gamma / m) sum over axes of 1 - cos(2 pi k), three times.
    bodies, constants = network(simple_lattice(), "atom", 4.1)
    k = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.0, 0.0]], dtype=torch.float64)
    found = modes(bodies, constants, k, torch.zeros(2, dtype=torch.bool)).w_squared
    mass = bodies.masses[0].item()
    for i in range(2):
        expected = sum(2 * (1 - math.cos(2 * math.pi * x)) for x in k[i].tolist()) / mass
        assert found[i].tolist() == pytest.approx([expected] * 3, rel=1e-12)  # rounding


# ---- modes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("spacegroup", "group_by"), CASES)
def test_modes_invert_the_stiffness_and_are_orthonormal(spacegroup, group_by):
    bodies, constants = network(made_up(spacegroup), group_by)
    k = torch.tensor([[0.31, -0.17, 0.44], [0.5, 0.0, 0.5], [0.02, 0.01, 0.0]]).double()
    found = modes(bodies, constants, k, torch.zeros(3, dtype=torch.bool))
    K = stiffness(bodies, constants, k)
    V = found.V
    D = bodies.n_dof
    assert V.shape == (3, D, D)
    assert bool((found.w_squared > 0).all())
    assert torch.equal(found.w_squared, found.w_squared.sort(dim=1).values)
    assert torch.equal(found.Winv, 1 / found.w_squared)
    eye = torch.eye(D, dtype=K.dtype).expand_as(K)
    M = bodies.gather(bodies.gather(torch.block_diag(*bodies.mass_matrix()), 0), 1).to(K.dtype)
    # Rounding of 1e-16 times the spread of masses and moments, up to 1e3.
    torch.testing.assert_close(V.mH @ M @ V, eye, rtol=0, atol=1e-11)
    torch.testing.assert_close(
        V.mH @ K @ V,
        torch.diag_embed(found.w_squared).to(K.dtype),
        rtol=0,
        atol=1e-11 * found.w_squared.max().item(),
    )
    inverse = V @ torch.diag_embed(found.Winv).to(K.dtype) @ V.mH
    # And of K's condition, up to 1e5 at the k near Gamma.
    torch.testing.assert_close(K @ inverse, eye, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("spacegroup", "group_by"), CASES)
def test_modes_at_gamma_leave_the_acoustic_ones_out(spacegroup, group_by):
    bodies, constants = network(made_up(spacegroup), group_by)
    k = torch.zeros(1, 3, dtype=torch.float64)
    found = modes(bodies, constants, k, torch.tensor([True]))
    assert found.w_squared[0, :3].tolist() == [0, 0, 0]
    assert found.Winv[0, :3].tolist() == [0, 0, 0]
    assert bool((found.w_squared[0, 3:] > 1e-5 * found.w_squared.max()).all())


def test_mass_factor():
    bodies = gather_bodies(made_up("C 1 2 1"), "residue")
    inverse = mass_factor_inverse(bodies)
    M = bodies.gather(bodies.gather(torch.block_diag(*bodies.mass_matrix()), 0), 1)
    eye = torch.eye(bodies.n_dof, dtype=torch.float64)
    # Rounding times the spread of masses and moments.
    torch.testing.assert_close(inverse @ M @ inverse.T, eye, rtol=0, atol=1e-12)
    assert torch.equal(inverse, inverse.tril())


def test_factor_of_a_matrix_that_is_not_positive_definite():
    K = torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, 1.0]))])
    with pytest.raises(NetworkError, match=r"not positive definite.*raise gnm_cutoff"):
        factorize(K.to(torch.complex128))


# ---- Gamma ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("spacegroup", "group_by"), CASES)
def test_inverse_at_gamma_is_the_pseudo_inverse_in_displacements(spacegroup, group_by):
    bodies, constants = network(made_up(spacegroup), group_by)
    K = stiffness(bodies, constants, torch.zeros(1, 3).double())[0].real.numpy()
    # Displacements of all atoms by the degrees of freedom, then orthonormal coordinates.
    A = bodies.displacements()
    full = A.new_zeros(bodies.n_cell_atoms, 3, bodies.n_bodies, bodies.width)
    full[torch.arange(bodies.n_cell_atoms), :, bodies.body] = A
    A = bodies.gather(full.reshape(3 * bodies.n_cell_atoms, -1)).numpy()
    _, R = np.linalg.qr(A)
    back = np.linalg.inv(R)
    expected = back @ np.linalg.pinv(back.T @ K @ back, rcond=1e-10) @ back.T
    ours = gamma_inverse(bodies, constants).numpy()
    # Condition below 1e5 times rounding.
    np.testing.assert_allclose(ours, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("cutoff", [4.1, 5.7, 6.95])
def test_one_atom_in_a_cell_has_nothing_but_drift_at_gamma(cutoff):
    # K is zero but for rounding, of either sign; springs of 1 set its scale.
    bodies, constants = network(simple_lattice(), "atom", cutoff, model="anm")
    inverse = gamma_inverse(bodies, constants)
    assert inverse.abs().max().item() < 1e-12


# ---- covariance -----------------------------------------------------------------------------


def test_covariance_is_the_sum_over_the_whole_mesh():
    # Neither halved nor chunked: K^-1 at every mesh point, in NumPy.
    bodies, constants = network(made_up("P 1"), "chain")
    mesh = (3, 2, 4)
    grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in mesh), indexing="ij"), -1).reshape(
        -1, 3
    )
    inverses = [gamma_inverse(bodies, constants).numpy().astype(complex)]
    for k in grid[1:]:
        inverses.append(
            np.linalg.inv(stiffness(bodies, constants, torch.tensor(k)[None])[0].numpy())
        )
    cells = np.array([[0, 0, 0], [1, 0, 0], [-1, 1, 2], [2, 1, 3]])
    waves = np.exp(-2j * np.pi * cells @ grid.T)
    expected = np.einsum("rk,kab->rab", waves, np.array(inverses)) / len(grid)
    ours = covariance(bodies, constants, mesh, torch.tensor(cells)).numpy()
    # The sum of k and -k is real; condition below 1e5 times rounding.
    assert np.abs(expected.imag).max() < 1e-12
    np.testing.assert_allclose(ours, expected.real, atol=1e-11 * np.abs(expected).max())
    assert np.abs(ours[1] - ours[1].T).max() > 1e-3 * np.abs(ours).max()


@pytest.mark.parametrize(("spacegroup", "group_by"), [("P 1", "chain"), ("P 1 21 1", "residue")])
def test_covariance_between_cells_is_that_of_a_supercell(spacegroup, group_by):
    crystal, size = made_up(spacegroup), (3, 2, 1)
    bodies, constants = network(crystal, group_by, gamma_inter=0.4)
    numbers = bodies.body[: crystal.n_atoms].tolist()
    box = build_supercell(crystal, numbers, CUTOFF, spring_rule("gnm", 1.0, 0.4), size)
    cells = torch.cartesian_prod(*(torch.arange(n) for n in size))
    C = covariance(bodies, constants, size, cells)
    C = bodies.scatter(bodies.scatter(C, 1), 2)
    w, n = bodies.width, bodies.n_cell_atoms
    C = C.reshape(len(cells), bodies.n_bodies, w, bodies.n_bodies, w).numpy()
    A = bodies.displacements().numpy()
    v = box.basis.shape[2]
    theirs = box.covariance.reshape(len(box.covariance) // v, v, -1, v)
    largest = np.abs(box.U).max()
    for r in range(len(cells)):
        for i in range(n):
            for j in range(n):
                a, b = int(bodies.body[i]), int(bodies.body[j])
                ours = A[i] @ C[r, a, :, b] @ A[j].T
                far = r * n + j
                block = theirs[box.body[i], :, box.body[far]]
                expected = box.basis[i] @ block @ box.basis[far].T
                # The mean displacement of the whole box is zero in both.
                np.testing.assert_allclose(ours, expected, atol=1e-11 * largest)


def test_covariance_of_the_model_is_indexed_by_cells():
    model = OnePhonon(
        made_up("P 1 21 1"),
        *[(0, 1, n) for n in (3, 2, 1)],
        gnm_cutoff=CUTOFF,
        zone_average="supercell",
    )
    C = model.covar
    cells = torch.tensor([[2, 1, 0], [-1, -1, 0]])
    expected = covariance(model.bodies, model.force_constants(), model.mesh, cells)
    s = model.thermal_scale
    # R and R plus the box are one: phases carry 1e-15.
    torch.testing.assert_close(C[2, 1, 0], s * expected[0], rtol=0, atol=1e-14)
    torch.testing.assert_close(C[2, 1, 0], s * expected[1], rtol=0, atol=1e-14)
    # C(-R)[b, a] is C(R)[a, b].
    torch.testing.assert_close(C[1, 1, 0], C[2, 1, 0].T, rtol=0, atol=1e-14)


def test_covariance_sums_to_no_drift():
    # The crystal's mean displacement is left out, weighed by atoms.
    crystal = made_up("P 1 21 1")
    bodies, constants = network(crystal, "atom")
    mesh = (3, 2, 2)
    cells = torch.cartesian_prod(*(torch.arange(n) for n in mesh))
    total = covariance(bodies, constants, mesh, cells).sum(0).reshape(10, 3, 10, 3).sum(2)
    # Differences of a few 0.1 Å^2.
    assert total.abs().max().item() < 1e-12


@pytest.mark.parametrize(("spacegroup", "group_by"), CASES)
def test_displacements_follow_from_the_covariance(spacegroup, group_by):
    bodies, constants = network(made_up(spacegroup), group_by)
    mesh = (2, 3, 1)
    C = covariance(bodies, constants, mesh, torch.zeros(1, 3, dtype=torch.int64))[0]
    w = bodies.width
    C = bodies.scatter(bodies.scatter(C, 0), 1).reshape(bodies.n_bodies, w, bodies.n_bodies, w)
    A = bodies.displacements()
    U = displacement_covariance(bodies, constants, mesh)
    for j in range(bodies.n_cell_atoms):
        b = int(bodies.body[j])
        torch.testing.assert_close(U[j], A[j] @ C[b, :, b] @ A[j].T, rtol=0, atol=1e-12)
    assert bool((torch.linalg.eigvalsh(U) > 0).all())


def test_copies_move_alike_on_a_symmetric_mesh():
    crystal = made_up("P 31 2 1")
    bodies, constants = network(crystal, "residue")
    U = displacement_covariance(bodies, constants, (2, 2, 2)).reshape(6, 5, 3, 3)
    matrix = crystal.cell.matrix
    for rotation, rotated in zip(crystal.rotations, U, strict=True):
        R = matrix @ rotation @ torch.linalg.inv(matrix)
        torch.testing.assert_close(rotated, R @ U[0] @ R.T, rtol=0, atol=1e-11)  # rounding


def test_progress_counts_the_mesh():
    bodies, constants = network(made_up("P 1"))
    seen = []
    displacement_covariance(bodies, constants, (3, 3, 3), lambda *step: seen.append(step))
    assert seen[-1] == ("zone mesh", 14, 14)
