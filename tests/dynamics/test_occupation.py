"""Occupation of modes: quantum and by tables, against formulas, sums and an explicit supercell."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from crystals import made_up, simple_lattice
from onephonon import Crystal, FileError, GradientError, InputError, OnePhonon, fit_springs
from onephonon.core.units import BOLTZMANN, DALTON, HBAR, quantum_length, thermal_frequency
from onephonon.crystal.crystal import mean_square
from onephonon.crystal.zone import zone_mesh
from onephonon.dynamics.gamma_cell import acoustic_correction, bounded_correction
from onephonon.dynamics.long_waves import long_wave_stiffness
from onephonon.dynamics.matrix_function import hermitian_function
from onephonon.dynamics.normal_modes import mass_matrix
from onephonon.dynamics.occupation import PopulationTable, ThermalOccupation
from onephonon.dynamics.solvers.choice import OccupiedModes, make_solver
from onephonon.dynamics.stiffness_matrix import stiffness
from onephonon.dynamics.tls import model_tls
from onephonon.maps.io import read_populations
from onephonon.model import fingerprint
from onephonon.model.supercell import build_supercell
from onephonon.model.verify import spring_rule
from onephonon.network.bodies import gather_bodies
from onephonon.network.contacts import find_contacts
from onephonon.network.force_constants import assign_springs, force_constants
from onephonon.network.springs import SpringPlan
from onephonon.scattering.softest import softest_intensity

CUTOFF = 6.5

#: Central differences of a step of 1e-6 in numbers of order one: rounded at 1e-9 or so, truncated
#: at 1e-12 of the third derivative. A missing term is 1e-3 or more.
STEP = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-5, "fast_mode": True}

#: A temperature at which the modes of the made-up crystals are halfway between kT and zero-point
#: motion, and one at which they are classical.
COLD, HOT = 30.0, 1e14


def model(crystal=None, **options):
    crystal = made_up() if crystal is None else crystal
    options = {"gnm_cutoff": CUTOFF, "mesh": (2, 2, 2), "thermal_scale": 1.3} | options
    return OnePhonon(crystal, **options)


def q_of(crystal):
    return crystal.cell.q_from_hkl(HKL)


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


#: Wavevectors away from symmetry, on a zone boundary, on an axis, near Gamma.
K = double([[0.31, -0.17, 0.44], [0.5, 0.0, 0.5], [0.2, 0, 0], [0.01, 0.0, 0.02]])

HKL = double([[0.3, -0.2, 1.6], [0.5, 0.5, 0.5], [2.3, 1.7, -0.9], [0.0, 1.25, 0.0]])


def leaf(x):
    return double(x).detach().clone().requires_grad_()


def close(ours, theirs, tolerance):
    """Equal relative to the largest number."""
    assert ours.shape == theirs.shape
    largest = float(theirs.detach().abs().max())
    assert largest > 0
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=tolerance * largest)


def coth_factor(w_squared, temperature, scale=1.0):
    """x coth x of eigenvalues w^2, from SI units."""
    unit = BOLTZMANN * temperature / (DALTON * 1e-20)
    omega = np.sqrt(np.maximum(w_squared, 0.0) / scale * unit)
    x = np.maximum(HBAR * omega / (2 * BOLTZMANN * temperature), 1e-300)
    return np.where(x > 1e-8, x / np.tanh(x), 1.0)


# ---- closed forms ---------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.01, 20.0, 300.0])
def test_cubic_lattice_in_si_units(temperature):
    # Carbon atoms on springs of 5 N/m: w^2 = (2 k / m) sum over axes of 1 - cos(2 pi k).
    newtons_per_metre, n = 5.0, 3
    gamma = newtons_per_metre * 1e-20 / (BOLTZMANN * temperature)
    made = OnePhonon(
        simple_lattice(),
        group_by="atom",
        gnm_cutoff=4.1,
        gamma_intra=gamma,
        gamma_inter=gamma,
        mesh=(n, n, n),
        zone_average="supercell",
        thermal_scale=1.0,
        temperature=temperature,
    )
    mass = made.crystal.masses[0].item() * DALTON
    total = 0.0
    for k in np.ndindex(n, n, n):
        c = sum(2 * (1 - math.cos(2 * math.pi * x / n)) for x in k)
        if c == 0:
            continue
        omega = math.sqrt(newtons_per_metre * c / mass)
        x = HBAR * omega / (2 * BOLTZMANN * temperature)
        total += HBAR / (2 * mass * omega) / math.tanh(x)
        if temperature < 1:
            assert 1 / math.tanh(x) == 1.0  # zero-point motion alone
    expected = total / n**3 * 1e20
    # Rounding of sums of 26 terms.
    torch.testing.assert_close(
        made.U[0], expected * torch.eye(3, dtype=torch.float64), rtol=1e-12, atol=1e-16
    )


def test_two_atoms_of_a_chain():
    # Two masses on springs in turn, k along the chain: omega^2 from the textbook's formula.
    crystal = Crystal.from_atoms(
        (4.0, 30.0, 30.0, 90, 90, 90), "P 1", ["C", "O"], [[0, 0, 0], [0.4, 0, 0]]
    )
    m = crystal.masses.tolist()
    g, h = 3.0, 1.7
    bodies = gather_bodies(crystal, "atom")
    contacts = find_contacts(bodies, 2.5)
    constants = force_constants(
        bodies, contacts, assign_springs(contacts, gamma_intra=g, gamma_inter=h)
    )
    k = double([[0.3, 0.0, 0.0]])
    solver = make_solver(bodies, constants, OccupiedModes(ThermalOccupation(COLD), 1.0))
    C = solver.at(k).matrices[0]
    a, b = (g + h) * (1 / m[0] + 1 / m[1]), 4 * g * h * math.sin(0.3 * math.pi) ** 2 / (m[0] * m[1])
    w_squared = [0.5 * (a + sign * math.sqrt(a * a - 4 * b)) for sign in (-1, 1)]
    # tr(M C) is the sum over modes of g / w^2, three times for three axes.
    expected = 3 * sum(coth_factor(w, COLD) / w for w in w_squared)
    found = (mass_matrix(bodies) * C.real).sum()
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_excess_of_modes_at_rest():
    # hbar^2 / 12 kT, in Å^2 Da; and the series meets the closed form.
    occupation = ThermalOccupation(300.0)
    expected = HBAR**2 / (12 * BOLTZMANN * 300.0) / (DALTON * 1e-20)
    assert float(occupation.excess(torch.zeros(1).double())) == pytest.approx(expected, rel=1e-14)
    a = quantum_length(300.0) ** 2
    y = double([0.04, 0.3, 1 - 1e-12, 1 + 1e-12, 3.0, 1e4, 1e8])
    x = y.sqrt().numpy()
    exact = (x / np.tanh(x) - 1) / y.numpy()
    # Cancellation in the closed form at y = 0.04 leaves 1e-14.
    np.testing.assert_allclose(occupation.excess(y / a).numpy() / a, exact, rtol=1e-13)


# ---- other routes to the same numbers -------------------------------------------------------


def matsubara(K, M, s, temperature, n_max=300):
    """``sum over all integers n of (K + Omega_n^2 M)^-1``, Omega_n = 2 pi n kT / hbar.

    The thermal average as a path integral: no eigenvalues. Beyond n_max the first two terms of
    the expansion in K M^-1; what is left falls as n_max^-5.
    """
    unit = s * (math.pi / quantum_length(temperature)) ** 2
    total = torch.linalg.inv(K)
    for n in range(1, n_max + 1):
        total = total + 2 * torch.linalg.inv(K + unit * n * n * M)
    n = np.arange(n_max + 1, 10_000_000, dtype=float)
    two = math.pi**2 / 6 - sum(1 / i**2 for i in range(1, n_max + 1))
    four = float((n[::-1] ** -4).sum())
    inverse = torch.linalg.inv(M)
    return total + 2 * (two / unit * inverse - four / unit**2 * inverse @ K @ inverse)


@pytest.mark.parametrize(
    ("spacegroup", "group_by"), [("P 1", "asu"), ("C 1 2 1", "residue"), ("P 1", "atom")]
)
def test_path_integral(spacegroup, group_by):
    made = model(made_up(spacegroup), group_by=group_by, temperature=COLD)
    bodies, constants, s = made.bodies, made.force_constants(), 1.3
    M = mass_matrix(bodies).to(torch.complex128)
    expected = matsubara(stiffness(bodies, constants, K), M, s, COLD)
    solver = make_solver(bodies, constants, made.lattice.solving())
    C = solver.at(K).matrices
    classical = torch.linalg.inv(stiffness(bodies, constants, K[:3]))
    assert (C[:3] - classical).abs().amax() > 0.05 * classical.abs().amax()
    # Terms beyond the expansion, and rounding times the condition near Gamma.
    close(C, expected, 1e-10)
    G = torch.randn(
        len(K), 3, bodies.n_dof, dtype=torch.complex128, generator=torch.Generator().manual_seed(1)
    )
    hkl = K[:, None].expand(-1, 3, 3)
    form = torch.einsum("kmi,kij,kmj->km", G.conj(), expected, G).real
    close(solver.quadratic_form(K, hkl, G), form, 1e-10)
    close(solver.at(K).quadratic_form(G), form, 1e-10)


@pytest.mark.parametrize(("code", "group_by"), [("2ol9", "asu"), ("2ol9", "atom"), ("5wkd", "asu")])
def test_explicit_supercell(peptide, code, group_by):
    # All modes of a box of cells in Cartesian displacements of its atoms: no Bloch waves.
    crystal, size, temperature, scale = peptide(code), (2, 1, 1), 30.0, 0.05
    own = list(range(crystal.n_atoms)) if group_by == "atom" else [0] * crystal.n_atoms
    box = build_supercell(crystal, own, 4.0, spring_rule("gnm", 1.0, 1.0), size)
    n, w = len(box.atom), box.basis.shape[2]
    J = np.zeros((n, 3, len(box.covariance)))
    for j, b in enumerate(box.body):
        J[j, :, b * w : (b + 1) * w] = box.basis[j]
    J = J.reshape(3 * n, -1)
    masses = np.repeat(crystal.masses.numpy()[box.atom % crystal.n_atoms], 3)
    L = np.linalg.cholesky(J.T @ (masses[:, None] * J))
    D = np.linalg.solve(L, np.linalg.solve(L, np.linalg.pinv(box.covariance, hermitian=True)).T)
    w_squared, v = np.linalg.eigh(D)
    V = np.linalg.solve(L.T, v)[:, 3:]
    w_squared = w_squared[3:]
    assert w_squared[0] > 1e-6
    factor = coth_factor(w_squared, temperature, scale)
    assert factor.max() > 1.5
    C = (V * (factor / w_squared)) @ V.T
    # Displacements of atoms relative to their mean.
    mean = np.tile(np.eye(3), (n, 1)) / math.sqrt(n)
    P = J - mean @ (mean.T @ J)
    C = (
        J.T @ (P @ C @ P.T) @ J
        if group_by == "atom"
        else np.linalg.pinv(J) @ (P @ C @ P.T) @ np.linalg.pinv(J).T
    )
    box = replace(box, covariance=C)
    made = OnePhonon(
        crystal,
        *[(-1, 1, m) for m in size],
        group_by=group_by,
        zone_average="supercell",
        thermal_scale=scale,
        temperature=temperature,
    )
    U = scale * torch.as_tensor(box.U)
    close(made.displacements_and_scale()[0], U, 1e-10)  # rounding times a condition of 1e4
    valid = made.valid.nonzero().squeeze(1)[::3]
    expected = scale * box.intensity(made.q_grid[valid].numpy(), U.numpy())
    for engine in ("direct", "mesh"):
        made.engine = engine
        # The mesh is as accurate as its rtol of 1e-6.
        tolerance = 1e-10 if engine == "direct" else 1e-5
        close(made()[valid], torch.as_tensor(expected), tolerance)


@pytest.mark.parametrize("zone_average", ["crystal", "supercell"])
def test_mean_square_is_the_sum_over_modes(zone_average):
    made = model(temperature=COLD, zone_average=zone_average, mesh=(2, 3, 2))
    classical = model(zone_average=zone_average, mesh=(2, 3, 2))
    bodies, s = made.bodies, 1.3
    k, weight = zone_mesh((2, 3, 2), bodies.positions)
    found = made.lattice.modes(k, torch.arange(len(k)) == 0)
    old = classical.lattice.modes(k, torch.arange(len(k)) == 0)
    more = (found.Winv - old.Winv)[:, None]
    C = (found.V * more) @ found.V.mH * weight[:, None, None] / 12
    A = bodies.displacements()
    if zone_average == "supercell":
        T = bodies.translations()
        W = torch.block_diag(*bodies.metric())
        W = bodies.gather(bodies.gather(W, 0), 1)
        P = torch.eye(len(T)).double() - T @ torch.linalg.inv(T.T @ W @ T) @ T.T @ W
        C = torch.cat([(P @ C[0].real @ P.T)[None].to(C), C[1:]])
    C = s * C.sum(0).real
    if zone_average == "crystal":
        # What the translations of the crystal have besides their classical motion.
        T = bodies.translations()
        C = C + quantum_length(COLD) ** 2 / 3 / bodies.masses.sum() * T @ T.T / 12
    U = A @ C[:6, :6] @ A.mT
    # Rounding with a condition of 1e4; the window of the acoustic waves.
    close(made.U - classical.U, U, 1e-10 if zone_average == "supercell" else 1e-5)


def test_quantum_part_of_a_crystal_needs_no_fine_mesh():
    # It is smooth, so that a mesh has it up to what falls faster than any power: without its
    # value at Gamma it would be wrong by 1/64 and 1/216 of the translations' share.
    extra = []
    for n in (4, 6):
        mesh = (n, n, n)
        extra.append(model(temperature=COLD, mesh=mesh).U - model(mesh=mesh).U)
    close(extra[0], extra[1], 1e-6)


def test_average_of_a_crystal_at_low_temperature():
    # Acoustic waves of the mesh's cell around Gamma are beyond kT: what a finite box lacks is of
    # order 1/n^2, and extrapolates to the crystal's average, whose error falls as 1/n^3.
    boxes = []
    for n in (6, 12):
        made = model(temperature=1e-3, mesh=(n, n, n), zone_average="supercell")
        boxes.append(mean_square(made.U).mean())
    crystal = model(temperature=1e-3, mesh=(6, 6, 6))
    found = mean_square(crystal.U).mean()
    limit = boxes[1] + (boxes[1] - boxes[0]) / 3
    close(found, limit, 2e-3)
    assert (boxes[0] - limit).abs() > 10 * (found - limit).abs()


def test_average_of_a_crystal_between_the_limits():
    # kT is that of waves at the edge of the mesh's cell.
    coarse, fine = (mean_square(model(temperature=0.5, mesh=(n, n, n)).U).mean() for n in (4, 10))
    old, older = (mean_square(model(mesh=(n, n, n)).U).mean() for n in (4, 10))
    # The error is that of the classical part, which falls as 1/n^3, and little more.
    close(coarse - fine, old - older, 0.1)


@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1", "P 31 2 1"])
@pytest.mark.parametrize("mesh", [(3, 4, 3), (5, 2, 4)])
def test_acoustic_waves_of_a_smooth_function(spacegroup, mesh):
    # The integral less the sum of a smooth function is its value at Gamma.
    made = model(made_up(spacegroup))
    solver = make_solver(made.bodies, made.force_constants(), "dense")
    A = long_wave_stiffness(solver).detach()
    softness = 0.1 / A.abs().max()
    found = bounded_correction(A, mesh, lambda y: 1 / (1 + softness * y))
    close(found, torch.eye(3, dtype=torch.float64), 1e-4)  # as accurate as the window
    # For the function that diverges the integral over radii agrees with the closed form.
    found = bounded_correction(A, mesh, torch.reciprocal)
    close(found, acoustic_correction(A, mesh), 1e-9)  # both sum the same integers


def test_covariance_and_tensors_agree_with_displacements():
    for zone_average in ("crystal", "supercell"):
        made = model(made_up("C 1 2 1"), temperature=COLD, zone_average=zone_average)
        A = made.bodies.displacements()
        C = made.covar[0, 0, 0]
        n, w = made.bodies.n_bodies, made.bodies.width
        blocks = C.reshape(n, w, n, w).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        U = A @ blocks[made.bodies.body] @ A.mT
        # The same sum; the window of the acoustic waves is wider, to some 1e-7 of their share.
        close(U, made.displacements_and_scale()[0], 1e-12 if zone_average == "supercell" else 1e-6)
        tls = model_tls(made)
        n_atoms = made.crystal.n_atoms
        body, positions = made.bodies.body[:n_atoms], made.bodies.positions[:n_atoms]
        close(tls.displacements(positions, body), made.U, 1e-6)


def test_modes_softest_grid_list_and_meshes_agree():
    crystal = made_up("P 1 21 1")
    made = model(
        crystal, temperature=COLD, hsampling=(0, 1, 2), ksampling=(-1, 1, 2), lsampling=(0, 1, 3)
    )
    every, valid = made(), made.valid
    D = made.bodies.n_dof
    close(made(rank=range(D))[valid], every[valid], 1e-11)
    modes = made.modes()
    assert (modes.Winv * modes.w_squared)[:, -1].min() > 1.2  # far from classical
    found = softest_intensity(made, D)
    close(found.intensity[valid], every[valid].detach(), 1e-10)
    few = softest_intensity(made, 3)
    close(few.intensity[valid], made(rank=range(3))[valid].detach(), 1e-10)
    listed = model(crystal, temperature=COLD, q_vectors=made.q_grid)
    close(listed()[valid], every[valid], 1e-12)
    close(listed(rank=range(D))[valid], every[valid], 1e-11)
    G = made.amplitudes(use_data_adp=False)
    close(made(G=G)[valid], every[valid], 1e-12)
    classical = replace(made.bound, lattice=replace(made.lattice, occupation=None))
    assert fingerprint.inputs_of(made.bound) != fingerprint.inputs_of(classical)
    sampled = made.to_map()
    assert sampled.parameters["occupation"] == f"quantum at {COLD:g} K"


# ---- limits ---------------------------------------------------------------------------------


def test_classical_limit_of_high_temperature(monkeypatch):
    # Hotter than a user's model may be.
    monkeypatch.setattr("onephonon.dynamics.occupation.MAX_TEMPERATURE", math.inf)
    crystal = made_up("C 1 2 1")
    q = q_of(crystal)
    old = model(crystal, q_vectors=q)
    # The first correction is x^2/3, which falls as 1/T at springs constant in kT: 1e-13 here.
    hot = model(crystal, q_vectors=q, temperature=HOT)
    close(hot(), old(), 1e-12)
    close(hot.U, old.U, 1e-12)
    close(hot.covar, old.covar, 1e-12)
    close(hot.Winv, old.Winv, 1e-12)
    close(hot(rank=(1, 2)), old(rank=(1, 2)), 1e-12)
    differences = [model(crystal, q_vectors=q, temperature=t)() - old() for t in (1e5, 1e6)]
    # Up to the next order, 1e-4 of it.
    close(differences[0], 10 * differences[1], 1e-3)


def test_single_precision():
    crystal = made_up()
    q = q_of(crystal)
    double_precision = model(crystal, q_vectors=q, temperature=COLD)
    single = model(crystal, q_vectors=q.float(), temperature=COLD, dtype=torch.float32)
    assert single().dtype == torch.float32
    # Rounding of 6e-8 with a condition of 1e3 or so.
    close(single().double(), double_precision(), 1e-4)
    close(single.U.double(), double_precision.U, 1e-4)


def test_zero_point_motion():
    made = model(temperature=1e-6)
    s = 1.3
    found = made.lattice.modes(K[:2], torch.zeros(2).bool())
    # s g / w^2 = hbar/(2 omega) in Å^2 Da: x = a w / sqrt(s).
    expected = math.sqrt(s) * quantum_length(1e-6) / found.frequencies
    close(s * found.Winv, expected, 1e-13)


# ---- gradients ------------------------------------------------------------------------------


def degenerate(values, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = len(values)
    q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.complex128, generator=generator))
    return (q * torch.tensor(values).to(q)) @ q.mH


@pytest.mark.parametrize(
    "values",
    [(1.0, 2.0, 5.0), (2.0, 2.0, 2.0), (1.0, 1.0, 4.0), (0.0, 0.0, 3.0), (1.0, 1.0 + 3e-6, 4.0)],
)
def test_gradient_of_a_function_of_matrices(values):
    f = ThermalOccupation(COLD).excess
    matrix = degenerate(values)

    def function(x, power):
        h = 0.5 * (x + x.mH)
        return torch.view_as_real(hermitian_function(h[None], lambda y: f(y) ** power))

    power = leaf(1.5)
    assert torch.autograd.gradcheck(function, (matrix.requires_grad_(), power), **STEP)


def inputs_of(crystal):
    return {
        "positions": leaf(crystal.positions),
        "cell": leaf(crystal.cell.matrix),
        "gamma_intra": leaf(1.4),
        "gamma_inter": leaf(0.8),
        "thermal_scale": leaf(1.3),
        "q": leaf(q_of(crystal)),
    }


def gradcheck(crystal, result, names=None, **options):
    inputs = inputs_of(crystal)
    names = names or list(inputs)

    def function(*tensors):
        given = inputs | dict(zip(names, tensors, strict=True))
        q = given.pop("q")
        if given["thermal_scale"] is None:
            given.pop("thermal_scale")
        made = model(crystal, q_vectors=q, **(given | options))
        return result(made)

    with torch.no_grad():
        size = float(function(*(inputs[name] for name in names)).abs().max())
    assert torch.autograd.gradcheck(
        lambda *x: function(*x) / size, [inputs[name] for name in names], **STEP
    )


@pytest.mark.parametrize("zone_average", ["crystal", "supercell"])
def test_gradients_of_intensities(zone_average):
    crystal = made_up("P 1 21 1")
    gradcheck(crystal, lambda m: m(), temperature=COLD, zone_average=zone_average)


def test_gradients_of_displacements():
    gradcheck(
        made_up("P 1", n_atoms=4),
        lambda m: m.U,
        temperature=COLD,
        names=["positions", "cell", "gamma_intra", "thermal_scale"],
    )
    gradcheck(
        made_up("P 1", n_atoms=4),
        lambda m: m.covar,
        temperature=COLD,
        names=["gamma_inter", "thermal_scale"],
    )


def test_gradients_where_modes_are_degenerate():
    crystal = Crystal.from_atoms(
        (4.0, 4.0, 4.0, 90, 90, 90), "P 1", ["C", "N"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    crystal = crystal.replace(U=crystal.U + 0.1 * torch.eye(3).double())
    gradcheck(crystal, lambda m: m(), temperature=COLD, group_by="atom", gnm_cutoff=4.1)


def test_gradients_of_grids_and_stored_amplitudes():
    crystal = made_up("P 1", n_atoms=4)
    names = ["positions", "gamma_intra", "gamma_inter", "thermal_scale"]
    grid = {"hsampling": (0, 1, 2), "ksampling": (0, 1, 2), "lsampling": (0, 1, 2)}
    inputs = inputs_of(crystal)

    def gradient(**options):
        given = {name: inputs[name] for name in names}
        made = model(crystal, temperature=COLD, **given, **grid, **options)
        total = made()[made.valid].sum() / 1e3
        return torch.autograd.grad(total, [inputs[n] for n in names])

    # The mesh is as accurate as its rtol of 1e-6, times slopes.
    for a, b in zip(gradient(engine="mesh"), gradient(engine="direct"), strict=True):
        close(a, b, 1e-4)


def test_recomputed_matrices_have_the_same_gradient(monkeypatch):
    crystal = made_up("P 1", n_atoms=4)

    def gradient():
        inputs = inputs_of(crystal)
        q = inputs.pop("q")
        made = model(crystal, q_vectors=q, temperature=COLD, populations=lambda f: 1 + f, **inputs)
        return torch.autograd.grad(made().sum(), [*inputs.values(), q])

    kept = gradient()
    monkeypatch.setattr("onephonon.dynamics.solvers.occupied.KEPT_BYTES", 0)
    for a, b in zip(gradient(), kept, strict=True):
        close(a, b, 1e-12)


def test_held_scale_is_held_in_frequencies_too():
    crystal = made_up()
    s = leaf(1.3)
    made = model(crystal, q_vectors=q_of(crystal), thermal_scale=s, temperature=COLD)
    G = made.amplitudes().detach()
    assert made(G=G).sum().requires_grad
    grads = torch.autograd.grad(
        made(G=G, hold=["scale"]).sum(), [s, *made.parameters()], allow_unused=True
    )
    assert grads[0] is None
    assert grads[1] is not None


# ---- the thermal scale ----------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1e-3, COLD, 300.0])
def test_scale_from_b_factors(temperature):
    crystal = made_up("C 1 2 1")
    options = {"zone_average": "supercell"}
    made = model(crystal, thermal_scale=None, temperature=temperature, **options)
    target = mean_square(crystal.U).mean()
    assert float(made.ADP.mean().detach()) == pytest.approx(float(target), rel=1e-12)  # rounding
    s = made.thermal_scale.detach()
    fixed = model(crystal, thermal_scale=s, temperature=temperature, **options)
    close(fixed.U, made.U, 1e-12)
    assert s < model(crystal, thermal_scale=None, **options).thermal_scale


def test_gradients_of_the_scale():
    crystal = made_up("P 1", n_atoms=4)
    options = {"temperature": COLD, "thermal_scale": None}
    gradcheck(crystal, lambda m: m.thermal_scale, ["positions", "gamma_intra"], **options)
    gradcheck(crystal, lambda m: m(), ["cell", "gamma_inter"], **options)


def test_scale_that_no_population_gives():
    made = model(thermal_scale=None, temperature=COLD, populations=lambda f: 0 * f)
    with pytest.raises(InputError, match="give thermal_scale"):
        made.thermal_scale  # noqa: B018


# ---- populations ----------------------------------------------------------------------------


def coth(f, temperature=COLD):
    x = f / thermal_frequency(temperature) * quantum_length(temperature)
    return torch.where(x > 1e-6, x / torch.tanh(x.clamp(min=1e-6)), 1.0)


def test_populations_of_one_are_classical():
    crystal = made_up()
    q = q_of(crystal)
    table = np.array([[0.0, 1.0], [3.0, 1.0]])
    made = model(crystal, q_vectors=q, temperature=COLD, populations=table)
    close(made(), model(crystal, q_vectors=q)(), 1e-14)
    close(made.U, model(crystal).U, 1e-14)


def test_populations_as_a_function():
    crystal = made_up()
    q = q_of(crystal)
    quantum = model(crystal, q_vectors=q, temperature=COLD)
    made = model(crystal, q_vectors=q, temperature=COLD, populations=coth)
    close(made(use_data_adp=True), quantum(use_data_adp=True), 1e-11)
    close(made.Winv, quantum.Winv, 1e-12)
    close(made.U, quantum.U, 1e-10)
    both = model(crystal, zone_average="supercell", temperature=COLD)
    same = model(crystal, zone_average="supercell", temperature=COLD, populations=coth)
    close(same.U, both.U, 1e-10)


def test_table_is_linear_between_and_constant_beyond():
    table = PopulationTable.of([[1.0, 2.0], [2.0, 4.0], [4.0, 1.0]])
    f = double([0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0])
    assert table(f).tolist() == [2.0, 2.0, 3.0, 4.0, 2.5, 1.0, 1.0]
    assert PopulationTable.of([[1.0, 3.0]])(f).tolist() == [3.0] * 7


@pytest.mark.parametrize("kind", [list, tuple])
def test_rows_are_as_good_as_an_array(kind):
    crystal, rows = made_up(), [[0.0, 1.0], [1.0, 1.5], [3.0, 0.5]]
    q = q_of(crystal)
    expected = model(crystal, q_vectors=q, temperature=COLD, populations=np.array(rows))()
    given = kind(kind(row) for row in rows)
    found = model(crystal, q_vectors=q, temperature=COLD, populations=given)()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("scale", [None, 1.3])
def test_negative_factors_are_refused_wherever_they_come_from(scale, tmp_path):
    crystal = made_up()
    options = {"q_vectors": q_of(crystal), "temperature": COLD, "thermal_scale": scale}
    path = tmp_path / "pdos.txt"
    path.write_text("0 1\n0.7 -0.2\n")
    with pytest.raises(FileError, match=r"pdos.txt: .*factor at 0.7 THz is -0.2.*give 0 or more"):
        model(crystal, **options, populations=path)
    # A function that is negative only at frequencies of the model's modes, 0.1 THz and more.
    low = model(crystal, **options, populations=lambda f: 1 - 1e3 * f * (f < thermal_frequency(1)))
    with pytest.raises(InputError, match=r"factor at [\d.]+ THz is -[\d.]+,"):
        low()
    with pytest.raises(InputError, match=r"factor at [\d.]+ THz is nan,"):
        model(crystal, **options, populations=lambda f: torch.where(f > 0, math.nan, 1.0))
    # A table that becomes negative in place.
    table = torch.tensor([[0.0, 1.0], [0.01, 1.0]], dtype=torch.float64)
    made = model(crystal, **options, populations=table)
    assert bool((made().detach() > 0).all())
    table[1, 1] = -3.0
    with pytest.raises(InputError, match=r"THz is -3"):
        made()
    # No motion at all is no fault.
    still = model(crystal, **(options | {"thermal_scale": 1.0}), populations=[[0.0, 0.0]])
    assert bool((still() == 0).all())


def test_table_of_another_factor_at_rest():
    # A factor of 2 for all modes: twice the classical intensity, divergence and averages.
    crystal = made_up()
    q = q_of(crystal)
    old = model(crystal, q_vectors=q)
    made = model(crystal, q_vectors=q, temperature=COLD, populations=torch.tensor([[0.0, 2.0]]))
    close(made(use_data_adp=True), 2 * old(use_data_adp=True), 1e-14)
    close(made.U, 2 * old.U, 1e-14)
    close(made.covar, 2 * old.covar, 1e-14)


def test_gradient_of_a_table():
    crystal = made_up()
    q = q_of(crystal)
    frequency = double([0.0, 0.2, 0.5, 0.9])
    values = leaf([1.0, 1.3, 0.9, 1.1])

    def function(values):
        table = torch.stack([frequency, values], 1)
        made = model(crystal, q_vectors=q, temperature=COLD, populations=table)
        return made() / 1e3, made.U, made.covar

    assert all(
        bool(x.abs().max() > 0) for x in torch.autograd.grad(function(values)[0].sum(), values)
    )
    assert torch.autograd.gradcheck(function, values, **STEP)


def test_a_table_changed_in_place_is_noticed():
    crystal = made_up()
    table = torch.tensor([[0.0, 1.0], [9.0, 1.0]], dtype=torch.float64)
    made = model(crystal, q_vectors=q_of(crystal), temperature=COLD, populations=table)
    with torch.no_grad():
        old, winv = made(), made.Winv
        table[:, 1] *= 2
        close(made.Winv, 2 * winv, 1e-14)
        close(
            made(use_data_adp=True),
            2 * model(crystal, q_vectors=q_of(crystal))(use_data_adp=True),
            1e-14,
        )
        assert not torch.equal(made(), old)


def test_thermal_table_multiplies_the_quantum_factor(tmp_path):
    path = tmp_path / "pdos.txt"
    path.write_text("frequency pdos\n# THz\n0.0 1.0\n10.0 1.0\n")
    crystal = made_up()
    q = q_of(crystal)
    quantum = model(crystal, q_vectors=q, temperature=COLD)
    for table in (read_populations(path), read_populations(path, "thermal", COLD)):
        made = model(crystal, q_vectors=q, temperature=COLD, populations=table)
        close(made(use_data_adp=True), quantum(use_data_adp=True), 1e-11)
    warmer = read_populations(path, "thermal", 2 * COLD)
    made = model(crystal, q_vectors=q, temperature=COLD, populations=warmer)
    other = model(crystal, q_vectors=q, temperature=COLD, populations=lambda f: coth(f, 2 * COLD))
    close(made(use_data_adp=True), other(use_data_adp=True), 1e-11)
    direct = model(crystal, q_vectors=q, temperature=COLD, populations=path)
    close(direct(), model(crystal, q_vectors=q)(), 1e-14)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", "two, a frequency"),
        ("1 2\n1 3\n", "ascend"),
        ("-1 2\n1 3\n", "ascend"),
        ("0 nan\n1 3\n", "not finite"),
        ("# nothing\n", "no numbers"),
    ],
)
def test_tables_that_are_not(tmp_path, text, message):
    path = tmp_path / "pdos.txt"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        read_populations(path)


def test_reader_refuses_unknown_words(tmp_path):
    path = tmp_path / "pdos.txt"
    path.write_text("0 1\n")
    with pytest.raises(InputError, match="pdos_mode 'dos'"):
        read_populations(path, "dos")
    with pytest.raises(InputError, match="temperature_k 100"):
        read_populations(path, "direct", 100.0)
    with pytest.raises(InputError, match="temperature_k -3"):
        read_populations(path, "thermal", -3.0)


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature 0.0: give a positive"),
        ({"temperature": math.nan}, "temperature nan: give a positive"),
        ({"temperature": "300"}, "temperature '300': give a positive"),
        ({"temperature": [300]}, r"temperature \[300\]: give a positive"),
        ({"temperature": True}, "temperature True: give a positive"),
        ({"temperature": 10_001.0}, "temperature 10001.0: .* at most 10,000"),
        ({"temperature": 100.0, "solver": "condensed"}, "solver='condensed' has no modes"),
        ({"populations": [[0.0, 1.0]]}, "give temperature"),
        ({"temperature": 100.0, "populations": torch.ones(2, 3)}, "shape \\(2, 3\\)"),
        ({"temperature": 100.0, "populations": 5}, "populations int"),
        ({"temperature": 100.0, "populations": lambda f: 1 / f}, "factor at 0 THz is inf"),
        ({"temperature": 100.0, "populations": lambda f: f.sum()}, "returned shape"),
        ({"temperature": 100.0, "populations": [[0.0, 1.0], [2.0]]}, "not an array of numbers"),
        ({"temperature": 100.0, "populations": []}, r"shape \(0,\)"),
        ({"temperature": 100.0, "populations": [[0, 1], [2.5, -0.5]]}, "at 2.5 THz is -0.5"),
        ({"temperature": 100.0, "populations": lambda f: f - 0.25}, "at 0 THz is -0.25"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(InputError, match=message):
        model(**options)


def test_solver_set_later():
    made = model(temperature=COLD)
    assert made.chosen_solver.name == "dense"
    made.solver = "condensed"
    with pytest.raises(InputError, match="solver='condensed' has no modes"):
        made.U  # noqa: B018


def test_jacobian_and_torch_func_are_refused():
    crystal = made_up()
    made = model(crystal, q_vectors=q_of(crystal), temperature=COLD, springs=SpringPlan())
    with pytest.raises(InputError, match="classical motion"):
        made.spring_jacobian()
    with pytest.raises(InputError, match="without temperature and populations"):
        fit_springs(made, made)
    one = made.lattice
    with pytest.raises(GradientError, match=r"torch\.func"):
        torch.func.grad(lambda x: one._displacements((2, 2, 2), scale=x).sum())(one.thermal_scale)


@pytest.mark.parametrize("scale", [None, 1.3])
@pytest.mark.parametrize("populations", [None, [[0.0, 1.0], [1.0, 2.0]]])
@pytest.mark.parametrize("rank", [-1, 0])
def test_torch_func_of_a_model_is_one_error(scale, populations, rank):
    q = q_of(made_up())
    options = {"temperature": COLD, "thermal_scale": scale, "populations": populations}
    made = model(q_vectors=q, **options)
    springs = {name: value.detach() for name, value in made.named_parameters()}

    def of_springs(springs):
        return torch.func.functional_call(made, springs, (), {"rank": rank}).sum()

    for result in (
        lambda: torch.func.grad(of_springs)(springs),
        lambda: torch.func.grad(lambda q: made(q, rank=rank).sum())(q),
        lambda: torch.vmap(of_springs)({name: x[None] for name, x in springs.items()}),
    ):
        with pytest.raises(GradientError, match=r"not supported inside torch\.func.*backward"):
            result()
    made().sum().backward()
    assert all(bool(value.grad.abs() > 0) for value in made.parameters())
