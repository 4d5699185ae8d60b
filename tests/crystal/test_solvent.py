"""The solvent that atoms displace, against integrals of its density and the plain crystal."""

import math

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import AtomLabel, Crystal, InputError, OnePhonon, read_crystal
from onephonon.crystal.solvent import displaced_volumes, with_solvent
from onephonon.model.verify import verify
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes.direct import structure_factor
from structures import DATA

WATER = 0.334


def F(crystal, q):
    """Structure factor of the cell, atoms at rest."""
    bodies = gather_bodies(crystal)
    return structure_factor(bodies, torch.as_tensor(q, dtype=torch.float64), 0 * bodies.U)


def of_elements(elements, **options):
    n = len(elements)
    x = np.linspace(0.1, 0.8, n)[:, None] * np.ones(3)
    return Crystal.from_atoms((9.0, 9.5, 10.0, 80.0, 95.0, 100.0), "P 1", elements, x, **options)


# ---- scattering factors -----------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 35.0])
def test_one_more_gaussian(smoothing):
    crystal = made_up("P 1")
    wet = with_solvent(crystal, WATER, smoothing)
    q = torch.linspace(0.0, 4.0, 9, dtype=torch.float64)
    f = crystal.form_factors.evaluate(q * q)[:, crystal.form_factors.kind]
    got = wet.form_factors.evaluate(q * q)[:, wet.form_factors.kind]
    v = torch.tensor(displaced_volumes(crystal), dtype=torch.float64)
    fraser = WATER * v * torch.exp(-(q[:, None] ** 2) * v ** (2 / 3) / (4 * math.pi))
    blur = torch.exp(-smoothing * q * q / (16 * math.pi**2))[:, None]
    # Rounding of numbers up to 16.
    torch.testing.assert_close(got, f - fraser * blur, rtol=0, atol=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 20.0])
def test_transform_of_a_density_summed_on_a_mesh(smoothing):
    """Fraser's Gaussian in real space: ``density * exp(-pi r^2 / v^(2/3))``, blurred by B."""
    crystal = of_elements(["C", "N", "O"])
    wet = with_solvent(crystal, 0.4, smoothing)
    step = 0.25
    axis = np.arange(-14.0, 22.0, step)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    rho = np.zeros(len(points))
    for r, v in zip(crystal.positions.numpy(), displaced_volumes(crystal), strict=True):
        variance = v ** (2 / 3) / (2 * math.pi) + smoothing / (8 * math.pi**2)
        height = 0.4 * v / (2 * math.pi * variance) ** 1.5
        rho += height * np.exp(-((points - r) ** 2).sum(1) / (2 * variance))
    q = np.array([[0.0, 0.0, 0.0], [0.3, -0.2, 0.1], [0.5, 0.7, -0.4], [-1.1, 0.2, 0.9]])
    summed = step**3 * np.exp(1j * q @ points.T) @ rho
    got = (F(crystal, q) - F(wet, q)).numpy()
    # Gaussians of 0.5 Å or more, sampled at 0.25 Å: aliases below 1e-30; tails
    # end 10 of their widths away.
    np.testing.assert_allclose(got, summed, rtol=0, atol=1e-9)


def test_contrast_at_low_resolution_only():
    crystal = read_crystal(DATA / "2ol9.pdb", hydrogens=True)
    wet = with_solvent(crystal, WATER)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    displaced = (
        torch.tensor(displaced_volumes(crystal), dtype=torch.float64) * crystal.occupancies
    ).sum()
    plain, contrast = F(crystal, zero).real, F(wet, zero).real
    # All copies; sums of hundreds of electrons.
    torch.testing.assert_close(
        contrast, plain - WATER * crystal.n_ops * displaced, rtol=1e-12, atol=0
    )
    assert 0 < 3 * float(contrast) < float(plain)
    # At d = 1 Å, Fraser's Gaussian of the smallest atom, N, is 2 % of its volume: 0.3 e of 8.
    q = 2 * math.pi * torch.nn.functional.normalize(torch.randn(200, 3).double(), dim=1)
    off = (F(wet, q) - F(crystal, q)).abs().square().mean().sqrt()
    assert float(off / F(crystal, q).abs().square().mean().sqrt()) < 0.05


# ---- volumes ----------------------------------------------------------------------------------


def test_volumes_fill_the_molecule():
    heavy = ["C", "C", "N", "O", "S"]
    volumes = displaced_volumes(of_elements(heavy))
    # 1.571 hydrogens of 1.008 Da for each carbon: by hand.
    mass = 2 * 12.011 + 14.007 + 15.999 + 32.06 + 2 * 1.571 * 1.008
    assert sum(volumes) == pytest.approx(1.21 * mass, rel=1e-4)  # masses carry three decimals
    assert volumes[0] / volumes[2] == pytest.approx(16.44 / 2.49)
    assert sum(displaced_volumes(of_elements(heavy), 0.91)) == pytest.approx(
        0.91 / 1.21 * sum(volumes)
    )
    # Hydrogens that are there are not added once more.
    methane = displaced_volumes(of_elements(["C", "H", "H", "H", "H"]))
    assert sum(methane) == pytest.approx(1.21 * (12.011 + 4 * 1.008), rel=1e-4)


def test_elements_that_fraser_left_out_are_spheres():
    selenium, sulfur, mercury, carbon = displaced_volumes(of_elements(["Se", "S", "Hg", "C"]))
    assert selenium / carbon == pytest.approx(4 / 3 * math.pi * 1.9**3 / 16.44)
    assert mercury / carbon == pytest.approx(4 / 3 * math.pi * 1.32**3 / 16.44)
    assert sulfur < selenium < 2 * sulfur


def test_occupancy_multiplies_the_solvent_too():
    half = of_elements(["C", "N"], occupancies=[0.5, 0.5])
    whole = of_elements(["C", "N"])
    q = torch.rand(4, 3, dtype=torch.float64)
    torch.testing.assert_close(2 * F(with_solvent(half), q), F(with_solvent(whole), q))


def test_atoms_of_a_kind_whose_labels_differ():
    # Whoever makes the labels may know an element better than the scattering factors.
    labels = [AtomLabel("A", "1", "UNK", e, e) for e in ("C", "O", "C")]
    crystal = of_elements(["C", "C", "C"], labels=labels)
    wet = with_solvent(crystal)
    f = wet.form_factors.evaluate(torch.zeros((), dtype=torch.float64))[wet.form_factors.kind]
    drop = 5.9992 - f
    assert float(drop[0]) == pytest.approx(float(drop[2]))
    assert float(drop[0] / drop[1]) == pytest.approx(16.44 / 9.13, rel=1e-3)


# ---- what follows -----------------------------------------------------------------------------


def test_no_density_is_the_crystal_itself():
    crystal = made_up("P 1 21 1")
    assert with_solvent(crystal, 0.0, 30.0) is crystal
    neutrons = made_up("P 1", radiation="neutron")
    assert with_solvent(neutrons, 0.0) is neutrons
    q = torch.rand(5, 3, dtype=torch.float64)
    plain = OnePhonon(crystal, q_vectors=q, gnm_cutoff=8.0)()
    none = OnePhonon(crystal, q_vectors=q, gnm_cutoff=8.0, solvent=0.0, solvent_smoothing=9.0)()
    assert torch.equal(plain, none)


def test_the_model_takes_it():
    crystal = made_up("P 1 21 1")
    q = torch.rand(5, 3, dtype=torch.float64)
    by_option = OnePhonon(
        crystal, q_vectors=q, gnm_cutoff=8.0, solvent=WATER, solvent_smoothing=9.0
    )
    by_hand = OnePhonon(with_solvent(crystal, WATER, 9.0), q_vectors=q, gnm_cutoff=8.0)
    assert torch.equal(by_option(), by_hand())
    dry = OnePhonon(crystal, q_vectors=q, gnm_cutoff=8.0)
    assert float((by_hand() / dry() - 1).detach().abs().min()) > 0.1


def test_against_the_supercell():
    wet = with_solvent(made_up("P 1 21 1"))
    assert verify(wet, gnm_cutoff=8.0, group_by="chain", n_points=8).passed


def test_gradients():
    crystal = made_up("P 1 21 1")
    q = torch.rand(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def intensity(q, positions, occupancies, density, smoothing):
        wet = with_solvent(crystal, density, smoothing)
        model = OnePhonon(
            wet,
            q_vectors=q,
            gnm_cutoff=8.0,
            thermal_scale=1.0,
            positions=positions,
            occupancies=occupancies,
            engine="direct",
        )
        return model(use_data_adp=True)

    leaves = [
        q,
        crystal.positions,
        crystal.occupancies.clone(),
        torch.tensor(WATER, dtype=torch.float64),
        torch.tensor(20.0, dtype=torch.float64),
    ]
    assert torch.autograd.gradcheck(intensity, [x.clone().requires_grad_() for x in leaves])


SAMPLINGS = {"hsampling": (-2, 2, 2), "ksampling": (-2, 2, 3), "lsampling": (-3, 3, 2)}


@pytest.mark.parametrize("spacegroup", ["P 1", "P 21 21 21"])
@pytest.mark.parametrize("density", [WATER, 0.6])
@pytest.mark.parametrize("res_limit", [0.0, 4.0])
@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-9])
def test_mesh_keeps_its_tolerance(spacegroup, density, res_limit, rtol):
    # Densities of two signs nearly cancel at low resolution, but not in the mesh's images.
    crystal = with_solvent(made_up(spacegroup, n_atoms=20), density)
    options = SAMPLINGS | {"gnm_cutoff": 8.0, "rtol": rtol, "res_limit": res_limit}
    direct, mesh = (OnePhonon(crystal, engine=e, **options)().detach() for e in ("direct", "mesh"))
    good = ~direct.isnan()
    assert torch.equal(good, ~mesh.isnan())
    error = (mesh - direct)[good].abs().max() / direct[good].square().mean().sqrt()
    assert float(error) < rtol


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("radiation", ["electron", "neutron"])
def test_x_rays_only(radiation):
    with pytest.raises(InputError, match=f"is for X-rays, not {radiation}s"):
        with_solvent(made_up("P 1", radiation=radiation))


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["density", "smoothing", "specific_volume"])
def test_numbers_that_cannot_be(name, value):
    with pytest.raises(InputError, match=f"solvent {name} {value:g} is invalid; give"):
        with_solvent(made_up("P 1"), **{name: value})


def test_unknown_elements():
    labels = [AtomLabel("A", "1", "UNK", "C", "Qq")]
    with pytest.raises(InputError, match="element 'Qq' of an atom's label is unknown"):
        with_solvent(of_elements(["C"], labels=labels))
