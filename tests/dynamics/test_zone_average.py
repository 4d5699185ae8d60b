"""Averages over the zone of the crystal: exact values, limits of meshes, gradients."""

import math

import pytest
import torch

from crystals import made_up, simple_lattice
from onephonon import InputError, OnePhonon
from onephonon.crystal.crystal import mean_square
from onephonon.crystal.symmetry import symmetry_operators
from onephonon.crystal.zone import symmetric_mesh
from onephonon.dynamics.displacements import (
    copy_separations,
    covariance,
    displacement_covariance,
)
from onephonon.dynamics.gamma_cell import WIDTH, _lattice, _window, acoustic_correction
from onephonon.dynamics.long_waves import long_wave_stiffness
from onephonon.dynamics.solvers.choice import make_solver
from onephonon.dynamics.stiffness_matrix import stiffness
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.force_constants import assign_springs, force_constants

#: sum - integral of 1/n^2 over the integers n of three dimensions other than zero: Lüscher,
#: Commun. Math. Phys. 105, 153 (1986), and many since.
LATTICE_SUM = -8.913632917585151

#: Green's function of the simple cubic lattice at 0: Watson, Quart. J. Math. 10, 266 (1939).
WATSON = 0.505462019717326 / 2

EYE = torch.eye(3, dtype=torch.float64)
ISOTROPIC = torch.einsum("ab,xy->abxy", EYE, EYE)


def elastic(stretch=(1.0, 1.0, 1.0)):
    """Christoffel tensor of an isotropic solid with stretched axes."""
    longitudinal = torch.einsum("ax,by->abxy", EYE, EYE) + torch.einsum("ay,bx->abxy", EYE, EYE)
    S = torch.diag(EYE.new_tensor(stretch))
    return torch.einsum("ac,bd,cdxy->abxy", S, S, 0.3 * ISOTROPIC + 0.65 * longitudinal)


def network(crystal, group_by="asu", cutoff=6.5, **springs):
    bodies = gather_bodies(crystal, group_by)
    contacts = find_contacts(bodies, cutoff)
    return bodies, force_constants(bodies, contacts, assign_springs(contacts, **springs))


# ---- the acoustic part ----------------------------------------------------------------------


def test_lattice_sum_of_one_over_k_squared():
    z = acoustic_correction(ISOTROPIC, (1, 1, 1))
    # The window's own error is 1e-10.
    torch.testing.assert_close(z, -LATTICE_SUM * EYE, rtol=1e-9, atol=1e-9)


def test_correction_of_a_stretched_mesh():
    # Only k = m/n matters: a finer mesh along an axis is a stiffer one.
    n = (3, 5, 4)
    found = acoustic_correction(elastic(), n)
    same = acoustic_correction(elastic([1 / x for x in n]), (1, 1, 1))
    # Rounding of sums of 1e4 terms.
    torch.testing.assert_close(found, same, rtol=0, atol=1e-12 * same.abs().max().item())


@pytest.mark.parametrize("stretch", [(1.0, 1.5, 2.5), (0.3, 1.0, 4.0)])
def test_correction_does_not_depend_on_the_window(stretch, monkeypatch):
    A = elastic(stretch)
    found = acoustic_correction(A, (1, 1, 1))
    monkeypatch.setattr("onephonon.dynamics.gamma_cell.WIDTH", 3.0)
    wider = acoustic_correction(A, (1, 1, 1))
    # What polarizations of different anisotropy leave of the window's error.
    torch.testing.assert_close(found, wider, rtol=0, atol=1e-4 * wider.abs().max().item())


@pytest.mark.parametrize("stretch", [(1.0, 1.0, 0.1), (1.0, 0.1, 0.1), (0.3, 0.1, 1.0)])
def test_sparse_sum_along_soft_directions(stretch, monkeypatch):
    # Sheared axes: the soft directions are between those of the lattice.
    shear = EYE + EYE.new_tensor([[0.0, 0.4, 0.0], [0.0, 0.0, 0.3], [0.0, 0.0, 0.0]])
    A = torch.einsum("ac,bd,cdxy->abxy", shear, shear, elastic(stretch))
    found = acoustic_correction(A, (1, 1, 1))
    monkeypatch.setattr("onephonon.dynamics.gamma_cell._steps", lambda _: [(1, 1, 1)])
    every = acoustic_correction(A, (1, 1, 1))
    # What SPARSE_WIDTH leaves.
    torch.testing.assert_close(found, every, rtol=0, atol=3e-8 * every.abs().max().item())


def test_very_soft_directions_cost_little():
    # Ratios of stiffness of 10^4 and 10^6: every integer would be 10^9 points.
    A = elastic((1.0, 0.01, 0.001)).requires_grad_()
    n_points = sum(len(m) for m, _ in _lattice(_window(A.detach(), WIDTH), sparse=True))
    assert n_points < 1e6
    z = acoustic_correction(A, (1, 1, 1)).diagonal().sum()
    (slope,) = torch.autograd.grad(z, A)
    # z is homogeneous of degree -1: Euler.
    assert (slope * A).sum().item() == pytest.approx(-z.item(), rel=1e-9)


@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
@pytest.mark.parametrize("model", ["gnm", "anm"])
def test_stiffness_against_long_waves(group_by, model):
    bodies, constants = network(made_up("C 1 2 1", n_atoms=9), group_by, model=model)
    A = long_wave_stiffness(make_solver(bodies, constants))
    k = torch.tensor([[0.3, -0.5, 0.7], [0.1, 0.9, 0.2]], dtype=torch.float64)
    T = bodies.translations()
    for direction in k:
        t = 1e-4
        K = stiffness(bodies, constants, t * direction[None])[0]
        found = torch.linalg.inv(T.mT.to(K) @ torch.linalg.solve(K, T.to(K))).real
        # T^T K^-1 T = n^2 A^-1 / t^2, n bodies, with the next term t^2 smaller: 1e-8 times the
        # ratio of internal and acoustic softness.
        expected = torch.einsum("a,b,abxy->xy", direction, direction, A) / bodies.n_bodies**2
        torch.testing.assert_close(
            found / t**2, expected, rtol=0, atol=1e-5 * expected.abs().max().item()
        )


# ---- averages -------------------------------------------------------------------------------


@pytest.mark.parametrize("spring", [1.0, 0.3])
def test_simple_cubic_lattice(spring):
    bodies, constants = network(
        simple_lattice(), "atom", 4.1, gamma_intra=spring, gamma_inter=spring
    )
    errors = []
    for n in (4, 8):
        U = displacement_covariance(bodies, constants, (n, n, n))[0]
        torch.testing.assert_close(U, U[0, 0] * EYE, rtol=0, atol=1e-12)
        errors.append(abs(U[0, 0].item() * spring / WATSON - 1.0))
    # The acoustic waves left out would be 22 % and 11 %; what remains falls as 1/n^3 or faster.
    assert errors[0] < 6e-3
    assert errors[1] < errors[0] / 7


def test_covariance_of_the_simple_cubic_lattice():
    bodies, constants = network(simple_lattice(), "atom", 4.1)
    cells = torch.tensor([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 7, 0], [1, 1, 1]])
    C = covariance(bodies, constants, (8, 8, 8), cells)[:, 0, 0].tolist()
    # The equation of motion with six neighbours: G(0) - G(100) = 1/6.
    expected = [WATSON, *[WATSON - 1 / 6] * 3]
    # The mesh's error, 1e-4 for n = 8, is nearly the same for all of them.
    assert C[:4] == pytest.approx(expected, abs=1.2e-4)
    fine = covariance(bodies, constants, (16, 16, 16), cells[4:])[0, 0, 0].item()
    assert C[4] == pytest.approx(fine, abs=1.2e-4)


@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1", "P 21 21 21", "P 31 2 1"])
@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
def test_average_is_the_limit_of_the_supercells(spacegroup, group_by):
    bodies, constants = network(made_up(spacegroup), group_by)
    limit = {}
    for n in (8, 12):
        U = displacement_covariance(bodies, constants, (n, n, n), zone_average="supercell")
        limit[n] = U
    # U(n) = U - a/n + O(1/n^3), so that two meshes give U.
    extrapolated = (12 * limit[12] - 8 * limit[8]) / 4
    found = displacement_covariance(bodies, constants, (8, 8, 8))
    scale = mean_square(extrapolated).mean().item()
    assert mean_square(found).mean().item() == pytest.approx(scale, rel=5e-3)
    # Single elements converge as fast, but start from larger errors.
    torch.testing.assert_close(found, extrapolated, rtol=0, atol=0.02 * scale)


def test_covariance_at_zero_is_the_displacements():
    bodies, constants = network(made_up("C 1 2 1"), "residue")
    C = covariance(bodies, constants, (3, 3, 4), torch.zeros(1, 3, dtype=torch.int64))[0]
    padded = bodies.scatter(bodies.scatter(C, 0), 1).reshape((bodies.n_bodies, bodies.width) * 2)
    blocks = padded.diagonal(dim1=0, dim2=2).permute(2, 0, 1)[bodies.body]
    A = bodies.displacements()
    U = displacement_covariance(bodies, constants, (3, 3, 4))
    # The narrower window for R = 0 alone: 1e-5 of the correction.
    torch.testing.assert_close(A @ blocks @ A.mT, U, rtol=0, atol=1e-5 * U.abs().max().item())


def test_images_at_half_the_mesh_share():
    bodies, constants = network(made_up("P 1"), "chain")
    cells = torch.tensor([[2, 1, 0], [-2, 1, 0], [2, 5, -4]])
    C = covariance(bodies, constants, (4, 4, 4), cells)
    torch.testing.assert_close(C[0], C[1], rtol=1e-12, atol=1e-14)  # the same modulo the mesh
    torch.testing.assert_close(C[0], C[2], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("group_by", ["residue", "atom"])
@pytest.mark.parametrize("model", ["gnm", "anm"])
def test_solvers_agree(group_by, model):
    bodies, constants = network(made_up("P 1 21 1", n_atoms=12), group_by, model=model)
    dense, condensed = (
        displacement_covariance(bodies, constants, (3, 3, 3), solver=solver)
        for solver in ("dense", "condensed")
    )
    # Rounding times the condition of K.
    torch.testing.assert_close(dense, condensed, rtol=0, atol=1e-9 * dense.abs().max().item())


# ---- gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["dense", "condensed"])
@pytest.mark.parametrize(
    ("group_by", "model"), [("asu", "gnm"), ("residue", "anm"), ("atom", "gnm")]
)
def test_gradients(solver, group_by, model):
    crystal = made_up("P 1 21 1", n_atoms=8)
    bodies = gather_bodies(crystal, group_by)
    contacts = find_contacts(bodies, 6.5)

    def mean(intra, inter):
        springs = assign_springs(contacts, model, gamma_intra=intra, gamma_inter=inter)
        constants = force_constants(bodies, contacts, springs)
        U = displacement_covariance(bodies, constants, (2, 2, 2), solver=solver)
        return (U * weights).sum()

    weights = torch.randn(bodies.n_cell_atoms, 3, 3, generator=torch.Generator().manual_seed(0))
    weights = weights.double()
    # Equal springs of the Gaussian network: acoustic branches are degenerate.
    values = [torch.tensor(1.0, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(mean, values)
    assert torch.autograd.gradgradcheck(mean, values)


def test_gradients_of_positions_and_cell():
    crystal = made_up("C 1 2 1", n_atoms=4)
    positions = crystal.positions.clone().requires_grad_()
    cell = crystal.cell.matrix.clone().requires_grad_()
    contacts = find_contacts(gather_bodies(crystal, "residue"), 6.5)

    def mean(positions, cell):
        moved = crystal.with_tensors(positions=positions, cell=cell)
        bodies = gather_bodies(moved, "residue")
        springs = assign_springs(contacts, "hybrid", k_par=1.0, k_perp=0.3)
        constants = force_constants(bodies, contacts, springs)
        return displacement_covariance(bodies, constants, (2, 2, 2))[0].diagonal()

    assert torch.autograd.gradcheck(mean, (positions, cell))


def test_inside_torch_func():
    bodies = gather_bodies(made_up("P 1"), "chain")
    contacts = find_contacts(bodies, 6.5)

    def mean(gamma):
        springs = assign_springs(contacts, gamma_intra=gamma, gamma_inter=1.0)
        constants = force_constants(bodies, contacts, springs)
        return mean_square(displacement_covariance(bodies, constants, (2, 2, 2))).mean()

    values = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    together = torch.vmap(mean)(values)
    # The end of the window: 1e-10 at each of 1e4 points.
    torch.testing.assert_close(together, torch.stack([mean(x) for x in values]), rtol=1e-9, atol=0)
    gamma = values[0]
    slope = torch.func.grad(mean)(gamma).item()
    step = 1e-5
    difference = (mean(gamma + step) - mean(gamma - step)).item() / (2 * step)
    assert slope == pytest.approx(difference, rel=1e-7)  # rounding over the step


# ---- models ---------------------------------------------------------------------------------


def test_default_mesh_does_not_depend_on_the_sampling(peptide):
    crystal = peptide("5zck")
    coarse, fine = (OnePhonon(crystal, *[(-1, 1, n)] * 3) for n in (1, 3))
    free = OnePhonon(crystal)
    assert coarse.mesh == fine.mesh == free.mesh
    assert torch.equal(coarse.U, free.U)
    assert torch.equal(coarse.thermal_scale, fine.thermal_scale)


@pytest.mark.parametrize(("code", "scale"), [("2ol9", 1.5211), ("5zck", 1.8614)])
def test_default_is_converged(peptide, code, scale):
    # Extrapolated from meshes to 31 points along each axis, to about 1e-4.
    model = OnePhonon(peptide(code))
    with torch.no_grad():
        assert model.thermal_scale.item() == pytest.approx(scale, rel=5e-4)
    assert model.lattice.zone_average_error() < 5e-4


@pytest.mark.parametrize("group_by", ["asu", "residue"])
def test_error_estimate(group_by):
    # Within a factor of three of the difference from a mesh with three times as many points.
    with torch.no_grad():
        coarse, fine = (
            OnePhonon(made_up("P 21 21 21"), group_by=group_by, gnm_cutoff=6.5, mesh=(n, n, n))
            for n in (3, 9)
        )
        true = abs(coarse.thermal_scale / fine.thermal_scale - 1.0).item()
        assert true / 3 < coarse.lattice.zone_average_error() < 3 * true


@pytest.mark.parametrize("mesh", [(1, 1, 1), (1, 1, 8), (1, 2, 3), (2, 2, 2)])
def test_error_estimate_of_a_coarse_mesh(mesh):
    with torch.no_grad():
        coarse, fine = (
            OnePhonon(made_up("P 1"), gnm_cutoff=6.5, mesh=mesh) for mesh in (mesh, (9, 9, 9))
        )
        # The mesh of nine points is within 0.1 %.
        true = abs(coarse.thermal_scale / fine.thermal_scale - 1.0).item()
        # Such meshes are not in the regime 1/n^3 yet: 0.6 to 1.2 of the error are found.
        assert true / 2 < coarse.lattice.zone_average_error() < 2 * true


def test_error_of_a_supercell_includes_the_longest_waves():
    with torch.no_grad():
        box, crystal = (
            OnePhonon(made_up("P 1"), gnm_cutoff=6.5, mesh=(4, 4, 4), zone_average=average)
            for average in ("supercell", "crystal")
        )
        missing = 1.0 - (crystal.thermal_scale / box.thermal_scale).item()
        assert box.lattice.zone_average_error() == pytest.approx(missing, rel=0.1)


def test_mesh_less_symmetric_than_the_crystal():
    crystal = made_up("P 31 2 1")
    with pytest.raises(InputError, match=r"mesh \(3, 2, 2\) is less symmetric .* mesh=\(3, 3, 2\)"):
        OnePhonon(crystal, gnm_cutoff=6.5, mesh=(3, 2, 2)).U  # noqa: B018
    with pytest.warns(UserWarning, match="less symmetric"):
        OnePhonon(crystal, gnm_cutoff=6.5, mesh=(3, 2, 2), zone_average="supercell").U  # noqa: B018


@pytest.mark.parametrize(
    ("spacegroup", "expected"),
    [
        ("P 1", (3, 2, 1)),
        ("P 1 21 1", (3, 2, 1)),
        ("P 43 21 2", (3, 3, 1)),
        ("P 61", (3, 3, 1)),
        ("P 21 3", (3, 3, 3)),
        ("R 3:R", (3, 3, 3)),
    ],
)
def test_symmetric_mesh(spacegroup, expected):
    rotations = torch.as_tensor(symmetry_operators(spacegroup)[0])
    assert symmetric_mesh((3, 2, 1), rotations) == expected


def test_unknown_average():
    with pytest.raises(InputError, match="zone_average='cell' is not one of crystal, supercell"):
        OnePhonon(made_up("P 1"), gnm_cutoff=6.5, zone_average="cell")


def test_equivalent_atoms_have_equivalent_displacements():
    crystal = made_up("P 61")
    with torch.no_grad():
        U = OnePhonon(crystal, gnm_cutoff=6.5).lattice.displacements_at_unit_scale()
    matrix = crystal.cell.matrix
    for i, rotation in enumerate(crystal.rotations):
        R = matrix @ rotation @ torch.linalg.inv(matrix)
        copy = U[i * crystal.n_atoms : (i + 1) * crystal.n_atoms]
        own = R @ U[: crystal.n_atoms] @ R.mT
        assert math.isclose((copy - own).abs().max().item(), 0.0, abs_tol=1e-10)  # rounding


def test_covariance_between_copies_converges_with_the_mesh(peptide):
    # The acoustic waves have the phase of the vector between two copies, not of R alone.
    bodies, constants = network(peptide("5zck"), cutoff=4.0)
    mesh = torch.tensor([13, 5, 5])  # the default
    near = torch.cartesian_prod(torch.arange(-3, 4), torch.arange(-1, 2), torch.arange(-1, 2))
    with torch.no_grad():
        fine = covariance(bodies, constants, (2 * mesh).tolist(), near)
        found = covariance(bodies, constants, mesh.tolist(), near)
    apart = copy_separations(bodies)
    n = bodies.n_dof // bodies.n_ops
    size = float(fine[near.abs().sum(1) == 0, :3, :3].diagonal(dim1=1, dim2=2).mean())
    worst = []
    for a in range(bodies.n_ops):
        for b in range(bodies.n_ops):
            # Within a quarter of the mesh: farther pairs feel their images.
            inner = ((near + apart[a, b]).abs() <= 0.25 * mesh).all(1)
            rows, columns = slice(n * a, n * a + 3), slice(n * b, n * b + 3)
            worst.append(float((found - fine)[inner, rows, columns].abs().max()) / size)
    # With the phase of R alone it is 2.5 %.
    assert max(worst) < 0.006
