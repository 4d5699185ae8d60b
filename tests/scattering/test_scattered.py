"""Amplitudes at scattered q from densities, against a plain loop over atoms."""

import math

import pytest
import torch

from crystals import CELLS, made_up
from onephonon.core.errors import GradientError
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes.direct import transform
from onephonon.scattering.amplitudes.mesh import scattered
from onephonon.scattering.amplitudes.mesh.scattered import scattered_amplitudes

RTOL = 1e-6


def some_q(n=40, q_max=5.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    radius = q_max * torch.rand(n, 1, dtype=torch.float64, generator=generator)
    return radius * q / torch.linalg.vector_norm(q, dim=1, keepdim=True)


def by_hand(bodies, q, U):
    """G atom by atom, as it is defined."""
    G = torch.zeros(len(q), bodies.n_bodies, bodies.width, dtype=torch.complex128)
    factors = bodies.crystal.form_factors
    A = bodies.displacements()
    for j in range(bodies.n_cell_atoms):
        asu = int(bodies.asu_atom[j])
        f = factors.evaluate((q * q).sum(1))[:, factors.kind[asu]]
        for i, one in enumerate(q):
            wave = f[i] * bodies.crystal.occupancies[asu] * torch.exp(-0.5 * one @ U[j] @ one)
            wave = wave * torch.exp(1j * (one @ bodies.positions[j]))
            G[i, bodies.body[j]] += wave * (A[j].T @ one)
    return bodies.gather(G.flatten(1))


def error(got, reference):
    """Of |G|^2, in its rms: what `rtol` speaks of."""
    scale = reference.abs().square().sum(1).square().mean().sqrt()
    worst = 2 * (got - reference).abs().max() * reference.abs().max() / scale
    return float(worst.detach())


@pytest.mark.parametrize("spacegroup", CELLS)
@pytest.mark.parametrize("group_by", ["asu", "atom"])
def test_amplitudes_are_the_sums_over_atoms(spacegroup, group_by):
    bodies = gather_bodies(made_up(spacegroup), group_by)
    q = some_q(12)
    expected = by_hand(bodies, q, bodies.U)
    assert error(scattered_amplitudes(bodies, q, bodies.U, RTOL), expected) < RTOL
    # The direct engine is the same sum, to rounding.
    assert error(transform(bodies, q, bodies.U), expected) < 1e-12


@pytest.mark.parametrize("B", [2.0, 20.0, 80.0])
@pytest.mark.parametrize("q_max", [0.2, 2.0, 6.0])
def test_sharp_and_blunt_atoms(B, q_max):
    bodies = gather_bodies(made_up("P 1", n_atoms=9))
    U = B / (8 * math.pi**2) * torch.eye(3, dtype=torch.float64).expand_as(bodies.U)
    q = some_q(60, q_max)
    expected = transform(bodies, q, U)
    assert error(scattered_amplitudes(bodies, q, U, RTOL), expected) < RTOL


def test_q_far_from_the_origin_on_one_side():
    bodies = gather_bodies(made_up("P 1 21 1"))
    q = some_q(30, 0.5) + torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)
    expected = transform(bodies, q, bodies.U)
    assert error(scattered_amplitudes(bodies, q, bodies.U, RTOL), expected) < RTOL


def test_bodies_transformed_in_several_groups(monkeypatch):
    bodies = gather_bodies(made_up("P 21 21 21"))
    q = some_q(20)
    together = scattered_amplitudes(bodies, q, bodies.U, RTOL)
    monkeypatch.setattr(scattered, "TRANSFORM_BYTES", 1)
    assert error(scattered_amplitudes(bodies, q, bodies.U, RTOL), together) < RTOL


@pytest.mark.parametrize("spacegroup", ["P 1", "P 31 2 1"])
def test_gradients_by_q_positions_and_U(spacegroup):
    crystal = made_up(spacegroup)
    found = []
    for engine in ("direct", "mesh"):
        leaves = [
            x.detach().clone().requires_grad_() for x in (some_q(30), crystal.positions, crystal.U)
        ]
        bodies = gather_bodies(crystal.with_tensors(positions=leaves[1], U=leaves[2]))
        if engine == "direct":
            G = transform(bodies, leaves[0], bodies.U)
        else:
            G = scattered_amplitudes(bodies, leaves[0], bodies.U, RTOL)
        weight = torch.linspace(0.5, 1.5, len(G), dtype=torch.float64)
        found.append(torch.autograd.grad((weight * G.abs().square().sum(1)).sum(), leaves))
    for reference, got in zip(*found, strict=True):
        # The derivative's own error, in the largest derivative.
        assert float((got - reference).abs().max() / reference.abs().max()) < RTOL


def test_second_derivatives_are_refused():
    bodies = gather_bodies(made_up("P 1"))
    q = some_q(5).requires_grad_()
    G = scattered_amplitudes(bodies, q, bodies.U, RTOL)
    with pytest.raises(GradientError, match="engine='direct'"):
        torch.autograd.grad(G.abs().sum(), q, create_graph=True)


def test_float32_to_its_own_accuracy():
    bodies = gather_bodies(made_up("P 1"))
    q = some_q(30)
    expected = transform(bodies, q, bodies.U)
    single = gather_bodies(made_up("P 1").to(dtype=torch.float32))
    got = scattered_amplitudes(single, q.float(), single.U, 1e-5)
    assert got.dtype == torch.complex64
    # Phases q.r up to 50 rad, rounded to 6e-8 of that, beside rtol.
    assert error(got.to(torch.complex128), expected) < 1e-4
