"""Densities on a mesh, against sums of Gaussians over every mesh point."""

import math

import pytest
import torch

from crystals import CELLS, made_up
from onephonon.core.errors import InputError
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes.mesh.density import Mesh
from onephonon.scattering.amplitudes.mesh.deposit import MIN_PER_THREAD, _Deposit, deposit_body

EIGHT_PI_SQUARED = 8 * math.pi**2

#: A skewed mesh, so that no axis is like another.
STEPS = torch.tensor([[0.5, 0.1, -0.05], [0.0, 0.45, 0.08], [0.02, 0.0, 0.6]], dtype=torch.float64)


def gaussians(n=6, n_g=3, n_w=4, seed=0):
    """Positions, displacements, strengths, widths and weights of a few atoms."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    root = 0.2 * random(n, 3, 3)
    spread = root @ root.mT + 0.05 * torch.eye(3, dtype=torch.float64)
    return 2 * random(n, 3), spread, random(n, n_g), 20 * random(n, n_g).abs(), random(n, n_w)


def by_hand(r, spread, strength, b, weight, steps, blur, start, shape):
    """Every Gaussian at every point of a box, as they are defined."""
    axes = [torch.arange(first, first + n) for first, n in zip(start, shape, strict=True)]
    m = torch.cartesian_prod(*axes).to(r)
    C = spread[:, None] + ((b + blur) / EIGHT_PI_SQUARED)[:, :, None, None] * torch.eye(3).to(r)
    d = m @ steps.T - r[:, None]
    exponent = torch.einsum("jmx,jgxy,jmy->jgm", d, torch.linalg.inv(C), d)
    height = torch.linalg.det(steps).abs() / torch.sqrt((2 * math.pi) ** 3 * torch.linalg.det(C))
    value = (strength * height)[:, :, None] * torch.exp(-0.5 * exponent)
    return torch.einsum("jw,jgm->wm", weight, value).reshape(-1, *shape)


@pytest.mark.parametrize("n_w", [1, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_densities_are_sums_of_gaussians(n_w, seed):
    given = gaussians(n_w=n_w, seed=seed)
    mesh = Mesh(STEPS, 3.0, reach=6.5)
    density, start = _Deposit.apply(*given, STEPS, mesh)
    expected = by_hand(*given, STEPS, 3.0, start.tolist(), density.shape[1:])
    # exp(-6.5^2 / 2) is 7e-10: where each is cut.
    assert float((density - expected).abs().max()) < 1e-8 * float(expected.abs().max())


def test_nothing_is_lost_beside_the_box():
    given = gaussians()
    density, _ = _Deposit.apply(*given, STEPS, Mesh(STEPS, 40.0, reach=6.5))
    total = given[4].T @ given[2].sum(1)
    # The sum over a mesh is the integral, but for images at its reciprocal vectors: exp(-40) here.
    assert torch.allclose(density.sum((1, 2, 3)), total, rtol=1e-8, atol=1e-8)


def test_gradients_are_those_of_the_sums():
    mesh = Mesh(STEPS, 3.0, reach=7.5)
    given = [x.clone().requires_grad_() for x in (*gaussians(), STEPS)]
    density, start = _Deposit.apply(*given, mesh)
    expected = by_hand(*given, 3.0, start.tolist(), density.shape[1:])
    pull = torch.cos(torch.arange(density.numel(), dtype=torch.float64)).reshape(density.shape)
    found = [torch.autograd.grad((pull * x).sum(), given) for x in (density, expected)]
    for got, reference in zip(*found, strict=True):
        # exp(-7.5^2 / 2) is 6e-13, times d^2 and the number of points.
        assert float((got - reference).abs().max()) < 1e-9 * float(reference.abs().max())


def test_an_atom_of_no_occupancy_has_a_gradient():
    r, spread, strength, b, weight = gaussians()
    strength = torch.zeros_like(strength).requires_grad_()
    density, _ = _Deposit.apply(r, spread, strength, b, weight, STEPS, Mesh(STEPS, 40.0, 6.0))
    assert float(density.detach().abs().max()) == 0
    (g,) = torch.autograd.grad(density[0].sum(), strength)
    # What a Gaussian of strength one adds up to; exp(-6^2 / 2), times what lies beyond, is cut.
    assert torch.allclose(g, weight[:, :1].expand_as(g), rtol=1e-6)


def test_threads_make_no_difference():
    given = gaussians(n=60)
    assert given[2].numel() >= MIN_PER_THREAD  # Gaussians enough for several threads
    mesh = Mesh(STEPS, 3.0, reach=6.0)
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        density, _ = _Deposit.apply(*given, STEPS, mesh)
        torch.set_num_threads(5)
        again, _ = _Deposit.apply(*given, STEPS, mesh)
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(density, again)


@pytest.mark.parametrize("spacegroup", CELLS)
def test_bodies_fill_the_boxes_that_they_need(spacegroup):
    bodies = gather_bodies(made_up(spacegroup))
    for body in range(bodies.n_bodies):
        density, box = deposit_body(bodies, body, Mesh(STEPS, 5.0, reach=5.0), bodies.U, 1, 1.0)
        assert density.shape == (4, *box.shape)
        faces = [density[0].abs().amax(dim) for dim in ((1, 2), (0, 2), (0, 1))]
        for face in faces:
            # What is cut reaches these planes, and is small there: exp(-5^2 / 2) is 4e-6.
            assert float(face[[0, -1]].max()) < 1e-4 * float(face.max())
            assert float(face[[3, -4]].min()) > 0


def test_displacements_that_spread_nothing_are_refused():
    bodies = gather_bodies(made_up("P 1"))
    for wrong in (-10.0, math.nan):
        U = bodies.U.clone()
        U[2] = wrong * torch.eye(3, dtype=torch.float64)
        with pytest.raises(InputError, match="engine='direct'"):
            deposit_body(bodies, 0, Mesh(STEPS, 5.0, reach=5.0), U, 1, 1.0)


def test_single_precision_is_rounded_once():
    given = gaussians()
    mesh = Mesh(STEPS, 3.0, reach=6.0)
    density, _ = _Deposit.apply(*given, STEPS, mesh)
    single = [x.float() for x in (*given, STEPS)]
    got, _ = _Deposit.apply(*single, Mesh(single[-1], 3.0, 6.0))
    assert got.dtype == torch.float32
    # Positions rounded to 1e-7 of 5 Å, and Gaussians 0.3 Å wide.
    assert float((got - density).abs().max()) < 1e-5 * float(density.abs().max())
