"""Elastic constants against explicit deformations, slopes of acoustic branches, and formulas."""

import math

import numpy as np
import pytest
import torch

from crystals import made_up, simple_lattice
from onephonon import InputError, OnePhonon
from onephonon.core.units import BOLTZMANN, DALTON, thermal_pressure, thermal_speed
from onephonon.dynamics.elastic import (
    VOIGT,
    Elasticity,
    elasticity,
    half_sphere,
    speed_range,
    symmetry_error,
)
from onephonon.dynamics.joint import joint_displacements
from onephonon.dynamics.spectra import frequencies, sound_speeds

SCALE = 2.5
TETRAGONAL = (8.3, 8.3, 9.1, 90.0, 90.0, 90.0)
EYE = torch.eye(3, dtype=torch.float64)


def crystal_of(spacegroup):
    cell = TETRAGONAL if spacegroup.startswith("P 4") else None
    return made_up(spacegroup, cell=cell)


def model_of(crystal, **options):
    crystal = crystal_of(crystal) if isinstance(crystal, str) else crystal
    options = {"thermal_scale": SCALE, "gnm_cutoff": 6.5} | options
    with torch.no_grad():
        return OnePhonon(crystal, **options)


def stiff(model):
    with torch.no_grad():
        return elasticity(model)


def isotropic(bulk, shear):
    """Elastic tensor of an isotropic solid."""
    pairs = torch.einsum("xa,yb->xayb", EYE, EYE)
    same = torch.einsum("xy,ab->xayb", EYE, EYE) + torch.einsum("xb,ay->xayb", EYE, EYE)
    C = (bulk - 2.0 * shear / 3.0) * pairs + shear * same
    return Elasticity(C, EYE.new_tensor(0.6))


def by_deformation(model):
    """S by deforming the crystal contact by contact and relaxing its bodies, in NumPy."""
    bodies, contacts = model.bodies, model.contacts
    A = bodies.displacements()
    full = A.new_zeros(bodies.n_cell_atoms, 3, bodies.n_bodies, bodies.width)
    full[torch.arange(bodies.n_cell_atoms), :, bodies.body] = A
    A = bodies.gather(full.flatten(2)).numpy()
    matrix = bodies.crystal.cell.matrix.numpy()
    i, j = contacts.i.numpy(), contacts.j.numpy()
    R = contacts.cell.numpy() @ matrix.T
    # u_i - u_j of bodies' motions q and a displacement e R of each cell.
    of_bodies = A[i] - A[j]
    of_cells = -np.einsum("xy,na->nxya", np.eye(3), R).reshape(len(R), 3, 9)
    B = np.concatenate([of_bodies, of_cells], axis=2)
    position = bodies.positions.numpy()
    r = position[j] + R - position[i]
    n = r / np.linalg.norm(r, axis=1, keepdims=True)
    with torch.no_grad():
        springs = model.lattice.springs
        k_par, k_perp = springs.k_par.numpy()[:, None, None], springs.k_perp.numpy()[:, None, None]
    outer = n[:, :, None] * n[:, None, :]
    phi = contacts.weight.numpy()[:, None, None] * (k_perp * np.eye(3) + (k_par - k_perp) * outer)
    H = np.einsum("nxp,nxy,nyq->pq", B, phi, B)
    D = A.shape[2]
    qq, qe, ee = H[:D, :D], H[:D, D:], H[D:, D:]
    relaxed = ee - qe.T @ np.linalg.pinv(qq, rcond=1e-11) @ qe
    return relaxed.reshape(3, 3, 3, 3) / (SCALE * abs(np.linalg.det(matrix)))


# ---- the energy of deformation --------------------------------------------------------------


@pytest.mark.parametrize("spacegroup", ["P 1", "P 21 21 21", "P 41", "C 1 2 1"])
@pytest.mark.parametrize(
    "options",
    [
        {"gamma_inter": 0.4},
        {"model": "anm", "group_by": "residue"},
        {"model": "hybrid", "k_par": 1.0, "k_perp": (0.1, 0.3), "group_by": "atom"},
    ],
    ids=["gnm", "anm", "hybrid"],
)
def test_deforming_the_crystal_contact_by_contact(spacegroup, options):
    model = model_of(spacegroup, **options)
    expected = by_deformation(model)
    found = stiff(model).deformation.numpy()
    # Rounding times the condition of K, below 1e6.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_many_bodies_by_elimination():
    crystal = made_up("P 1 21 1", n_atoms=12)
    dense, condensed = (
        stiff(model_of(crystal, group_by="atom", solver=s)) for s in ("dense", "condensed")
    )
    # Rounding times the condition of K.
    torch.testing.assert_close(dense.voigt, condensed.voigt, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spacegroup", ["P 1", "P 21 21 21", "P 41"])
@pytest.mark.parametrize("group_by", ["asu", "residue"])
def test_central_springs_allow_rotation(spacegroup, group_by):
    model = model_of(spacegroup, model="anm", group_by=group_by)
    found = stiff(model)
    # Rounding times the condition of K.
    assert float(found.rotation.abs().max()) < 1e-9 * float(found.voigt.abs().max())
    torch.testing.assert_close(
        found.tensor, found.deformation, rtol=0, atol=1e-9 * float(found.voigt.abs().max())
    )
    assert float(torch.linalg.eigvalsh(found.voigt)[0]) > 0


def test_energy_of_a_strain_in_voigts_notation():
    found = stiff(model_of("P 1"))
    e = torch.tensor([[0.1, 0.3, -0.2], [0.3, -0.4, 0.5], [-0.2, 0.5, 0.7]]).double()
    engineering = torch.stack([e[i, j] * (1 if i == j else 2) for i, j in VOIGT])
    whole = torch.einsum("xa,yb,xayb->", e, e, found.deformation)
    assert float(engineering @ found.voigt @ engineering) == pytest.approx(float(whole), rel=1e-12)
    w = torch.tensor([0.2, -0.5, 0.9]).double()
    turn = torch.tensor([[0.0, -w[2], w[1]], [w[2], 0.0, -w[0]], [-w[1], w[0], 0.0]]).double()
    whole = torch.einsum("xa,yb,xayb->", turn, turn, found.deformation)
    assert float(w @ found.rotation @ w) == pytest.approx(float(whole), rel=1e-12)


# ---- sound ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spacegroup", ["P 1", "P 21 21 21", "P 41"])
@pytest.mark.parametrize("kind", ["anm", "gnm"])
def test_speeds_are_slopes_of_the_acoustic_branches(spacegroup, kind):
    # w^2 of the whole dynamical matrix at two small k, extrapolated to zero.
    model = model_of(spacegroup, model=kind, group_by="residue")
    found = stiff(model)
    n = half_sphere(7)
    squares = []
    for step in (2e-3, 1e-3):  # 1/Å
        with torch.no_grad():
            w, _ = frequencies(model, model.crystal.cell.hkl_from_q(step * n), unfold=False)
        squares.append((w[:, :3] / step) ** 2)
    slopes = ((4.0 * squares[1] - squares[0]) / 3.0).sqrt() * thermal_speed(300.0)
    # Of what is left, k^4 r^4 with r of some 10 Å, and of rounding of w^2, 1e-16/1e-6.
    torch.testing.assert_close(found.speeds(n, 300.0), slopes, rtol=1e-6, atol=0)
    with torch.no_grad():
        same = torch.stack([sound_speeds(model, x, 300.0) for x in n])
    torch.testing.assert_close(found.speeds(n, 300.0), same, rtol=1e-12, atol=0)
    # The elastic tensor alone has these speeds if rotation costs nothing, and lower ones else.
    alone = Elasticity(found.tensor, found.density).speeds(n, 300.0)
    if kind == "anm":
        torch.testing.assert_close(alone, slopes, rtol=1e-6, atol=0)
    else:
        assert bool((alone < 0.95 * slopes)[:, 0].all())
    low, high = speed_range(found, 300.0, n)
    assert (low, high) == (pytest.approx(float(slopes.min())), pytest.approx(float(slopes.max())))


def test_density_is_that_of_the_atoms():
    model = model_of("P 41")
    mass = 4 * float(model.crystal.masses.sum()) * DALTON
    volume = 8.3 * 8.3 * 9.1 * 1e-30
    assert float(stiff(model).density) * DALTON * 1e30 == pytest.approx(mass / volume, rel=1e-12)


# ---- symmetry -------------------------------------------------------------------------------


@pytest.mark.parametrize("spacegroup", ["P 1 21 1", "P 21 21 21", "P 41", "P 31 2 1", "P 61"])
def test_the_tensor_has_the_symmetry_of_the_crystal(spacegroup):
    model = model_of(spacegroup, group_by="chain")
    found = stiff(model)
    assert symmetry_error(model, found) < 1e-11  # rounding times the condition of K
    C = (found.voigt / found.voigt[0, 0]).numpy()
    zero = {
        "P 1 21 1": [(0, 3), (0, 5), (1, 3), (1, 5), (2, 3), (2, 5), (3, 4), (4, 5)],
        "P 21 21 21": [(i, j) for i in range(6) for j in range(3, 6) if i != j],
    }
    for i, j in zero.get(spacegroup, []):
        assert abs(C[i, j]) < 1e-10
    if spacegroup in ("P 41", "P 31 2 1", "P 61"):
        for a, b in (((0, 0), (1, 1)), ((0, 2), (1, 2)), ((3, 3), (4, 4))):
            assert C[a] == pytest.approx(C[b], rel=1e-9)
    if spacegroup == "P 41":
        assert C[0, 5] == pytest.approx(-C[1, 5], rel=1e-6)
        assert abs(C[0, 5]) > 1e-4
    if spacegroup in ("P 31 2 1", "P 61"):
        assert C[5, 5] == pytest.approx((C[0, 0] - C[0, 1]) / 2, rel=1e-9)


def test_without_the_symmetry_there_is_an_error():
    tetragonal = model_of("P 41")
    lopsided = stiff(model_of("P 1"))
    assert symmetry_error(tetragonal, lopsided) > 0.1


# ---- cubic and isotropic solids -------------------------------------------------------------


def test_a_cubic_lattice_that_is_isotropic():
    # Equal central springs g to first and second neighbours: C11 = 3 g/a, C12 = C44 = g/a.
    model = model_of(simple_lattice(), model="anm", gnm_cutoff=5.7, group_by="atom")
    found = stiff(model)
    unit = 1.0 / (4.0 * SCALE)
    expected = unit * (1.0 + 2.0 * EYE)
    torch.testing.assert_close(found.voigt[:3, :3], expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(found.voigt[3:, 3:], unit * EYE, rtol=1e-12, atol=1e-15)
    same = isotropic(5.0 / 3.0 * unit, unit)
    torch.testing.assert_close(found.voigt, same.voigt, rtol=1e-12, atol=1e-15)
    for x, y in ((found.bulk_modulus, 5 / 3), (found.shear_modulus, 1.0)):
        assert [float(v) for v in x] == pytest.approx([y * unit] * 2, rel=1e-12)
    # Poisson's ratio of Cauchy's solid is 1/4, so that E = 5/2 G.
    assert float(found.youngs_modulus) == pytest.approx(2.5 * unit, rel=1e-12)
    n = half_sphere(5)
    assert found.young(n).tolist() == pytest.approx([2.5 * unit] * 5, rel=1e-12)


def test_a_gaussian_network_resists_rotation():
    # Springs g to first neighbours, as stiff across as along: C11 = g/a, C12 = 0, C44 = g/2a; a
    # shear wave is as fast as if C44 were g/a, since a rotation costs as much as the strain.
    model = model_of(simple_lattice(), gnm_cutoff=4.1, group_by="atom")
    found = stiff(model)
    unit = 1.0 / (4.0 * SCALE)
    expected = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5, 0.5]).double() * unit)
    torch.testing.assert_close(found.voigt, expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(found.rotation, 2.0 * unit * EYE, rtol=1e-12, atol=1e-15)
    # Relative to the mean shear modulus, (2 - 0 + 3/2)/5 of g/a... of Voigt's average.
    assert float(found.rotation_share) == pytest.approx(0.5 / ((3.0 + 4.5) / 15.0), rel=1e-12)
    fast = math.sqrt(float(unit / found.density)) * thermal_speed(100.0)
    assert found.speeds(EYE, 100.0).flatten().tolist() == pytest.approx([fast] * 9, rel=1e-12)


def test_anisotropic_averages_bound_each_other():
    found = stiff(model_of("P 1"))
    for upper, lower in (found.bulk_modulus, found.shear_modulus):
        assert 0 < float(lower) < float(upper)
    # Young's modulus by pulling: the stress that makes a unit strain along n with free sides.
    n = half_sphere(4)
    for direction, E in zip(n, found.young(n), strict=True):
        outer = torch.outer(direction, direction)
        stress = torch.stack([outer[i, j] for i, j in VOIGT])
        strain = torch.linalg.solve(found.voigt, stress)
        e = torch.zeros(3, 3).double()
        for value, (i, j) in zip(strain, VOIGT, strict=True):
            e[i, j] = e[j, i] = value if i == j else value / 2
        assert float(E) == pytest.approx(1.0 / float(direction @ e @ direction), rel=1e-10)


def test_units():
    # kT of 300 K, 4.141947e-21 J, in 1 Å^3: 4.141947e9 Pa.
    assert thermal_pressure(300.0) == pytest.approx(4.141947, rel=1e-6)
    # A sound of sqrt(C/density) in SI units.
    found = stiff(model_of(simple_lattice(), model="anm", gnm_cutoff=5.7, group_by="atom"))
    pascal = float(found.voigt[0, 0]) * BOLTZMANN * 200.0 / 1e-30
    density = float(found.density) * DALTON / 1e-30
    speed = math.sqrt(pascal / density)
    assert float(found.speeds(EYE, 200.0)[0, 2]) == pytest.approx(speed, rel=1e-12)


def test_half_sphere_is_even():
    n = half_sphere(400)
    torch.testing.assert_close(n.norm(dim=1), torch.ones(400).double())
    assert float(n[:, 2].min()) > 0
    # The second moment of an even distribution is 1/3; a spiral of 400 points has 1/400 of it.
    torch.testing.assert_close(n.T @ n / 400, EYE / 3, rtol=0, atol=3e-3)
    with pytest.raises(InputError, match="0 directions"):
        half_sphere(0)


# ---- joint displacements far away -----------------------------------------------------------


def test_kelvins_solution():
    K, G = 2.0, 0.7
    nu = (3 * K - 2 * G) / (2 * (3 * K + G))
    r = torch.tensor([[3.0, -1.0, 2.0], [0.0, 0.0, -4.0]]).double()
    length = r.norm(dim=1)[:, None, None]
    n = r / r.norm(dim=1, keepdim=True)
    outer = n[:, :, None] * n[:, None, :]
    expected = ((3 - 4 * nu) * EYE + outer) / (16 * math.pi * G * (1 - nu) * length)
    found = isotropic(K, G).continuum(r)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_far_molecules_move_as_an_elastic_continuum():
    model = model_of(simple_lattice(), gnm_cutoff=4.1, group_by="atom", mesh=(17, 17, 17))
    with torch.no_grad():
        joint = joint_displacements(model, within=21.0, mesh=(17, 17, 17)).molecules
        far = joint.distance > 19.0
        expected = elasticity(model).continuum(joint.vector[far])
    # The lattice differs by (a/r)^2, 4 % at 5 a, and the mesh of 17 points by 1 %.
    size = expected.diagonal(dim1=1, dim2=2).mean(1)
    difference = joint.U[far].diagonal(dim1=1, dim2=2).mean(1) - size
    assert float((difference / size).abs().max()) < 0.04


# ---- gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1"])
def test_gradients_to_springs(spacegroup):
    crystal = made_up(spacegroup, n_atoms=4)

    def constants(k_par, k_perp, scale):
        model = OnePhonon(
            crystal,
            gnm_cutoff=7.0,
            model="hybrid",
            k_par=k_par,
            k_perp=k_perp,
            thermal_scale=scale,
            group_by="residue",
        )
        found = elasticity(model)
        every = torch.cat([found.voigt.flatten(), found.rotation.flatten(), found.young(EYE)])
        # Fixed mixtures of all elements: each costs a backward pass.
        return torch.stack(
            [every @ torch.sin(i * torch.arange(len(every)).to(every)) for i in (1, 2)]
        )

    k_par = torch.tensor([1.0, 0.6]).double().requires_grad_()
    k_perp = torch.tensor([0.3, 0.2]).double().requires_grad_()
    scale = torch.tensor(1.3).double().requires_grad_()
    assert torch.autograd.gradcheck(constants, (k_par, k_perp, scale))
