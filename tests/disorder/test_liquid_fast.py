"""Fast sums over pairs of atoms against the exact ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon.disorder import Liquid
from onephonon.disorder.pair_choice import estimated_seconds, liquid_intensity
from onephonon.disorder.pair_intensity import dense_intensity
from onephonon.disorder.patterson import fast_intensity, is_isotropic, with_few_wavevectors
from onephonon.disorder.radial_nodes import chebyshev_nodes, interpolation, number_of_nodes
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.numerics import Numerics
from onephonon.scattering.points import list_points

#: Requested accuracy, relative to the rms intensity, which the largest error must not exceed.
RTOL = 1e-4

#: hkl in thirds, and whole ones.
HKL = torch.cartesian_prod(*[torch.tensor([-4, -1, 0, 3, 5])] * 3).double()
POINTS = {"fractional": HKL[1::5] / 3, "whole": HKL[::6]}

OPTIONS = {
    "atoms": {"gamma": 3.0},
    "equal": {"gamma": 2.0, "sigma": 0.4},
    "two lengths": {"gamma": 1.5, "gamma2": 4.0, "mix": 0.3, "share": 0.7},
}


def points_of(crystal, hkl):
    return list_points(crystal.cell, crystal.cell.q_from_hkl(hkl), bragg_tolerance=0.0)


def largest_error(found, expected):
    return float((found - expected).abs().max() / expected.square().mean().sqrt())


def isotropic(bodies, component):
    return bodies.U + component.displacements(bodies)


@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1", "P 31 2 1"])
@pytest.mark.parametrize("scope", ["crystal", "asu", "body"])
@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_exact_sum(spacegroup, scope, options):
    bodies = gather_bodies(made_up(spacegroup), "residue")
    component = Liquid(scope=scope, **OPTIONS[options])
    motion, U = component.motion(bodies), isotropic(bodies, component)
    points = points_of(bodies.crystal, POINTS["whole" if options == "equal" else "fractional"])
    for order in (1, 2, None):
        expected = dense_intensity(bodies, points, U, motion, order)
        found = fast_intensity(bodies, points, U, motion, order, RTOL)
        assert largest_error(found, expected) < RTOL


def test_accuracy_is_as_requested():
    bodies = gather_bodies(made_up("P 1 21 1"))
    motion = Liquid(3.0).motion(bodies)
    points = points_of(bodies.crystal, POINTS["fractional"][:10])
    expected = dense_intensity(bodies, points, bodies.U, motion, None)
    errors = [
        largest_error(fast_intensity(bodies, points, bodies.U, motion, None, rtol), expected)
        for rtol in (1e-3, 1e-6)
    ]
    assert errors[0] < 1e-3
    assert errors[1] < 1e-6


def test_copies_that_differ():
    # The user's U of one copy differ: no symmetry may be used.
    bodies = gather_bodies(made_up("C 1 2 1"))
    U = bodies.U.clone()
    U[:5] *= 1.5
    points = points_of(bodies.crystal, POINTS["fractional"])
    for scope in ("crystal", "asu"):
        motion = Liquid(2.0, scope=scope, sigma=0.3).motion(bodies)
        expected = dense_intensity(bodies, points, U, motion, None)
        assert largest_error(fast_intensity(bodies, points, U, motion, None, RTOL), expected) < RTOL


def test_points_that_are_not_valid():
    bodies = gather_bodies(made_up())
    motion = Liquid(2.0).motion(bodies)
    points = points_of(bodies.crystal, POINTS["fractional"][:3])
    points = replace(points, valid=torch.tensor([True, False, True]))
    found = fast_intensity(bodies, points, bodies.U, motion, 1, RTOL)
    assert found.isnan().tolist() == [False, True, False]
    none = replace(points, valid=torch.zeros(3, dtype=torch.bool))
    assert bool(fast_intensity(bodies, none, bodies.U, motion, 1, RTOL).isnan().all())


def test_choice():
    bodies = gather_bodies(made_up())
    component = Liquid(2.0, scope="asu")
    motion = component.motion(bodies)
    points = points_of(bodies.crystal, POINTS["fractional"])
    exact = dense_intensity(bodies, points, bodies.U, motion, 1)

    def chosen(engine, U=bodies.U, motion=motion, rtol=1e-3):
        return liquid_intensity(bodies, points, U, motion, 1, Numerics(engine, rtol))

    assert torch.equal(chosen("direct"), exact)
    assert torch.equal(chosen("auto"), exact)  # five atoms
    fast = chosen("mesh")
    assert 1e-12 < largest_error(fast, exact) < 1e-3
    assert torch.equal(chosen("mesh", rtol=1e-9), exact)
    # With gradients the sum is exact.
    gamma = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    with_gradient = chosen("mesh", motion=Liquid(gamma, scope="asu").motion(bodies))
    assert torch.equal(with_gradient.detach(), exact)
    with_gradient.sum().backward()
    assert float(gamma.grad) != 0
    # And with anisotropic displacements.
    U = bodies.U.clone()
    U[0, 0, 0] *= 1.2
    assert not is_isotropic(bodies, U, motion)
    assert torch.equal(chosen("mesh", U), dense_intensity(bodies, points, U, motion, 1))


def test_estimated_times():
    # Few atoms: the exact sum; many q of many atoms: the fast one.
    few = gather_bodies(made_up())
    points = points_of(few.crystal, POINTS["fractional"])
    motion = Liquid(2.0).motion(few)
    exact, fast = estimated_seconds(few, points, motion, 1)
    assert exact < fast
    many = gather_bodies(made_up("P 21 21 21", n_atoms=600, cell=(40, 50, 60, 90, 90, 90)))
    hkl = torch.cartesian_prod(*[torch.arange(-8, 8)] * 3).double()
    points = points_of(many.crystal, hkl)
    for scope in ("crystal", "asu"):
        exact, fast = estimated_seconds(many, points, Liquid(3.0, scope).motion(many), None)
        assert fast < exact


def test_interpolation():
    def function(x):
        return np.stack([np.exp(-x), x * np.exp(-2 * x)], axis=1)

    n = number_of_nodes(function, 0.1, 4.0, 1e-8)
    x = np.linspace(0.1, 4.0, 50)
    found = interpolation(x, 0.1, 4.0, n) @ function(chebyshev_nodes(0.1, 4.0, n))
    assert np.abs(found - function(x)).max() < 1e-8
    assert n < 20
    # One length of q.
    one = interpolation(np.array([2.0]), 2.0, 2.0, n) @ function(chebyshev_nodes(2.0, 2.0, n))
    assert one == pytest.approx(function(np.array([2.0])))


def test_fewest_wavevectors():
    crystal = made_up("P 31 2 1")
    hkl = torch.cartesian_prod(*[torch.arange(-4, 5)] * 3).double().numpy() / 3
    found = with_few_wavevectors(hkl, crystal.laue_operators)
    q = [crystal.cell.q_from_hkl(torch.tensor(x)) for x in (hkl, found)]
    lengths = [crystal.cell.resolution(x) for x in q]
    assert torch.allclose(*lengths)

    def distinct(x):
        return len(np.unique(np.round(3 * (x - np.rint(x))), axis=0))

    assert distinct(hkl) == 27
    assert distinct(found) < 9  # the group has twelve operators
