"""Independent rigid bodies against the double sum over atoms."""

import pytest
import torch

from crystals import made_up
from double_sums import double_sum, of_bodies
from onephonon.crystal.crystal import mean_square
from onephonon.disorder import Rigid
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import list_points

#: Two float64 sums of some hundred terms, which partly cancel.
ROUNDING = 1e-12

#: The series of librations is asked for this accuracy.
SERIES = 1e-10

#: Central differences of numbers of order one: truncated at 1e-12, rounded at 1e-16 / 1e-6.
STEP = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-5}


def random(*shape, seed=0, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(*shape, dtype=torch.float64, generator=generator)


def anisotropic(crystal, seed=1):
    """The crystal with a U of its own, positive definite, for every atom."""
    a = random(crystal.n_atoms, 3, 3, seed=seed, size=0.15)
    eye = torch.eye(3, dtype=torch.float64)
    return crystal.with_tensors(U=a @ a.mT + 0.05 * eye)


def some_points(crystal, n=6, size=1.5, seed=3):
    return list_points(crystal.cell, random(n, 3, seed=seed, size=size))


GROUPS = {
    "asu": ("P 21 21 21", "asu"),
    "residue": ("P 1 21 1", "residue"),
    "mixed": ("P 31 2 1", [0, 0, 0, 1, 2]),
    "atom": ("P 1", "atom"),
}


def bodies_of(name):
    spacegroup, grouping = GROUPS[name]
    return gather_bodies(anisotropic(made_up(spacegroup)), grouping)


@pytest.mark.parametrize("order", [1, 3, None])
@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("options", [{"sigma": 0.2}, {"share": 0.6}, {}])
def test_translations_are_the_double_sum(name, options, order):
    bodies = bodies_of(name)
    points = some_points(bodies.crystal)
    rigid = Rigid(**options)
    C = rigid.covariances(bodies)
    found = rigid.intensity(bodies, points, bodies.U, order)
    wanted = double_sum(bodies, of_bodies(bodies, C), points.q, order)
    torch.testing.assert_close(found, wanted, rtol=ROUNDING, atol=ROUNDING)


def test_amount_of_translations():
    bodies = bodies_of("mixed")
    eye = torch.eye(3, dtype=torch.float64)
    by_sigma = Rigid(sigma=0.2).displacements(bodies)
    torch.testing.assert_close(by_sigma, (0.04 * eye).expand_as(by_sigma))
    by_share = mean_square(Rigid(share=0.5).displacements(bodies))
    U = mean_square(bodies.U)
    for b in range(bodies.n_bodies):
        here = bodies.body == b
        torch.testing.assert_close(by_share[here], (0.5 * U[here].mean()).expand(int(here.sum())))


@pytest.mark.parametrize("order", [1, 3, None])
@pytest.mark.parametrize("name", GROUPS)
def test_translations_and_librations_are_the_double_sum(name, order):
    bodies = bodies_of(name)
    points = some_points(bodies.crystal, size=0.8)
    rigid = Rigid(motion="tls", share=0.7, numerics=Numerics(rtol=SERIES))
    C = rigid.covariances(bodies)
    found = rigid.intensity(bodies, points, bodies.U, order)
    wanted = double_sum(bodies, of_bodies(bodies, C), points.q, order)
    # The accuracy is relative to the mean intensity.
    size = float(wanted.mean())
    torch.testing.assert_close(found, wanted, rtol=0, atol=10 * SERIES * size)
