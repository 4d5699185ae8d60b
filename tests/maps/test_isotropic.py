"""The isotropic part of intensities: shell by shell, and as one curve."""

import itertools
import math

import numpy as np
import pytest

from onephonon import DiffuseMap, InputError
from onephonon.maps import Isotropic, split_isotropic


@pytest.mark.parametrize(("kind", "degree"), [("mean", 0), ("line", 1)])
def test_isotropic_part_shell_by_shell(kind, degree):
    rng = np.random.default_rng(7)
    s, values, w = rng.uniform(0.1, 0.6, 300), rng.normal(size=300), rng.uniform(0.1, 1, 300)
    left = Isotropic(kind, 6).remove(values, s, (0.1, 0.6), w)
    edges = np.linspace(0.1, 0.6, 7)
    for low, high in itertools.pairwise(edges):
        inside = (s >= low) & (s < high)
        fit = np.polyfit(s[inside], values[inside], degree, w=np.sqrt(w[inside]))
        # polyfit solves by SVD in powers of s: a few digits are lost.
        assert left[inside] == pytest.approx(values[inside] - np.polyval(fit, s[inside]), abs=1e-10)


def test_isotropic_part_of_few_values():
    s = np.array([0.1, 0.11, 0.12, 0.35, 0.36, 0.6, 0.6, 0.6])
    values = np.array([3.0, 5.0, 1.0, 7.0, 8.0, 1.0, 2.0, 6.0])
    left = Isotropic("line", 3).remove(values, s, (0.1, 0.6), np.ones(8))
    # A line goes through two points: nothing is left.
    assert np.isnan(left[3:5]).all()
    assert np.isfinite(left[:3]).all()
    # All at one |q|: the mean.
    assert left[5:] == pytest.approx([-2.0, -1.0, 3.0])
    assert (Isotropic("none").remove(values, s, (0.1, 0.6), np.ones(8)) == values).all()


def test_what_depends_on_q_alone_is_gone():
    s = np.linspace(0.1, 0.6, 5000)
    curve = 4000 * np.exp(-((s - 0.3) ** 2) / 0.02)
    line, mean = (
        Isotropic(k, 50).remove(curve, s, (0.1, 0.6), np.ones(5000)) for k in ("line", "mean")
    )
    # Shells of 0.01: curvature 4000 x 2/0.02 leaves 4e5/2 x 0.005^2 = 5, half of it each way.
    assert np.abs(line).max() < 4
    assert np.abs(mean).max() > 50


def test_the_profile_of_a_list_is_that_of_its_map():
    # What pictures show and what `Isotropic` calls the profile are one.
    rng = np.random.default_rng(8)
    q = rng.normal(size=(2000, 3))
    s = np.linalg.norm(q, axis=1) / (2 * math.pi)
    values = 100 * np.exp(-4 * s) + rng.normal(size=2000)
    _, rest = split_isotropic(DiffuseMap.at_points(q, values), 30)
    limits = (float(s.min()), float(s.max()))
    left = Isotropic("profile", 30).remove(values, s, limits, np.ones(2000))
    # Sums of 2000 numbers below 100 in another order.
    np.testing.assert_allclose(left, rest.intensity, rtol=0, atol=1e-11)


def test_weights_of_a_profile_are_repetitions():
    rng = np.random.default_rng(9)
    s, values = rng.uniform(0.1, 0.6, 200), rng.normal(size=200)
    w = rng.integers(1, 4, 200)
    rule = Isotropic("profile", 5)
    weighted = rule.remove(values, s, (0.1, 0.6), w.astype(float))
    repeated = rule.remove(*(np.repeat(x, w) for x in (values, s)), (0.1, 0.6), np.ones(w.sum()))
    np.testing.assert_allclose(np.repeat(weighted, w), repeated, rtol=0, atol=1e-13)  # rounding


@pytest.mark.parametrize(("kind", "shells"), [("median", 50), ("line", 0), ("profile", 0)])
def test_an_isotropic_part_that_cannot_be(kind, shells):
    with pytest.raises(InputError):
        Isotropic(kind, shells)
