"""Amplitudes of a measured density against sums over its points, and against atoms."""

import pytest
import torch

from agreement import largest_error
from crystals import made_up
from densities import density_of_atoms, noise
from onephonon import InputError, OnePhonon
from onephonon.model import MeasuredDensity
from onephonon.scattering.amplitudes import DensityEngine, exponents

#: Rounding of transforms at an accuracy of 1e-13, and of sums over a few thousand points.
ROUNDING = 1e-10

WIDE = (12.0, 14.0, 13.0, 85.0, 95.0, 100.0)


def model_of(crystal, density, **options):
    options = {"group_by": "chain", "gnm_cutoff": 8.0, "mesh": (2, 2, 2)} | options
    return OnePhonon(crystal, density=density, **options)


@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1", "P 31 2 1"])
def test_moments_are_sums_over_the_points(spacegroup):
    crystal = made_up(spacegroup)
    density = MeasuredDensity(noise(crystal, (9, 10, 12)), level=0.1, scale=1.0)
    bodies = cut_of_noise(crystal, density)
    hkl = torch.tensor([[0.3, 0.2, -0.7], [0.0, 1.4, 0.6], [1.0, 0.0, 2.0]])
    q = crystal.cell.q_from_hkl(hkl.double())
    degree, length = 2, 1.7
    got = DensityEngine().moments(bodies, q, bodies.U, degree, length)
    cut, powers = bodies.density, exponents(degree)
    for b in range(bodies.n_bodies):
        first = int(bodies.table[b, 0])
        pivot = bodies.positions[first] - bodies.offsets[first]
        axes = [
            (torch.arange(n).double() + s) / m
            for n, s, m in zip(cut.electrons[b].shape, cut.starts[b], cut.shape, strict=True)
        ]
        x = torch.cartesian_prod(*axes) @ crystal.cell.matrix.T
        wave = cut.electrons[b].reshape(-1) * torch.exp(1j * (q @ x.T))
        for m, power in enumerate(powers):
            weight = (((x - pivot) / length) ** torch.as_tensor(power)).prod(1)
            expected = (wave * weight).sum(1)
            error = float((got[:, b, m] - expected).abs().max() / expected.abs().max())
            assert error < ROUNDING, (b, power)


def cut_of_noise(crystal, density):
    """Bodies with a density that has nothing to do with the atoms."""
    from dataclasses import replace

    from onephonon.network.bodies import gather_bodies
    from onephonon.network.density_of_bodies import cut_out_bodies

    bodies = gather_bodies(crystal, "chain")
    cut = cut_out_bodies(density.density, bodies, level=density.level, edge=None)
    return replace(bodies, density=cut)


@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1", "P 21 21 21", "P 61"])
def test_grid_and_list_agree_to_rounding(spacegroup):
    crystal = made_up(spacegroup, n_atoms=6)
    density = MeasuredDensity(density_of_atoms(crystal, 1.0), level=0.0)
    ranges = {"hsampling": (-2, 2, 2), "ksampling": (0, 2, 3), "lsampling": (-1, 1, 2)}
    # Little motion, for which few powers of librations are enough.
    motion = {"thermal_scale": 0.02, "group_by": "asu"}
    grid = model_of(crystal, density, **ranges, **motion)
    listed = model_of(crystal, density, q_vectors=grid.q_grid, **motion)
    # Grid and list choose how many powers are enough for 1e-6, by their own largest q.
    for orders, tolerance in ((1, ROUNDING), ("all", 1e-6)):
        error = largest_error(grid(orders=orders), listed(orders=orders))
        assert error < tolerance, orders


def test_the_density_of_atoms_scatters_as_the_atoms():
    """Molecules with space around them, so that what is theirs is clear."""
    crystal = made_up("P 1", n_atoms=6, cell=WIDE, seed=2)
    hkl = torch.rand(60, 3, generator=torch.Generator().manual_seed(1)) * 10 - 5
    q = crystal.cell.q_from_hkl(hkl.double())
    density = MeasuredDensity(
        density_of_atoms(crystal, 0.7, factor=7.0), level=0.0, edge=(1.5, 4.0)
    )
    cut = model_of(crystal, density, group_by="asu", gnm_cutoff=12.0, q_vectors=q)
    atoms = OnePhonon(crystal, group_by="asu", gnm_cutoff=12.0, mesh=(2, 2, 2), q_vectors=q)
    assert cut.bodies.density.scale == pytest.approx(1 / 7, rel=1e-6)
    assert cut.bodies.density.agreement == pytest.approx(1, abs=1e-6)
    expected = atoms(use_data_adp=True)
    # What series termination at 0.7 Å puts beyond the envelope: 0.3 % measured.
    assert largest_error(cut(), expected) < 0.01
    # The density has the Debye-Waller factors in it.
    assert torch.equal(cut(use_data_adp=True), cut(use_data_adp=False))


def test_gradients():
    """With chains of three atoms, which librate about every axis."""
    crystal = made_up("P 1 21 1", n_atoms=6)
    density = MeasuredDensity(density_of_atoms(crystal, 1.2), level=0.0, edge=None)
    q = crystal.cell.q_from_hkl(torch.tensor([[0.3, 0.2, -0.7], [0.0, 1.4, 0.6]]).double())
    gamma = torch.tensor(0.7, dtype=torch.float64)
    model = model_of(crystal, density, gamma_inter=gamma, thermal_scale=0.2)

    def intensity(q, gamma, positions):
        model.gamma_inter = gamma
        model.set_tensors(positions=positions)
        return model(q)

    inputs = tuple(x.detach().clone().requires_grad_() for x in (q, gamma, crystal.positions))
    assert torch.autograd.gradcheck(intensity, inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "mesh"}, "engine='mesh' computes amplitudes of atoms"),
        ({"disorder": "rigid"}, "leave out disorder or density"),
        ({"solvent": 0.3}, r"solvent=0\.3: a measured density is its own contrast"),
    ],
)
def test_what_does_not_go_with_a_density(options, message):
    crystal = made_up("P 1")
    with pytest.raises(InputError, match=message):
        model_of(crystal, MeasuredDensity(density_of_atoms(crystal, 1.5), level=0.0), **options)


def test_q_beyond_the_data():
    crystal = made_up("P 1")
    density = MeasuredDensity(density_of_atoms(crystal, 1.5), level=0.0)
    far = torch.tensor([[4.5, 0.0, 0.0]]).double()
    with pytest.raises(InputError, match=r"ends at 1\.5 Å, and amplitudes are wanted to 1\.396 Å"):
        model_of(crystal, density)(far)


def test_a_density_of_something_else():
    crystal = made_up("P 1")
    with pytest.raises(InputError, match="belongs to another structure"):
        model_of(crystal, noise(crystal, (12, 13, 14)))
