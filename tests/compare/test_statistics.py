"""Statistics of agreement against their formulas, written out slowly."""

import math

import numpy as np
import pytest

from onephonon import InputError
from onephonon.compare import (
    BlockSums,
    Settings,
    cc_star,
    jackknife_error,
    least_squares_scale,
    pearson,
    r_factor,
    weighted_r,
)

RNG = np.random.default_rng(5)


def pair_with_correlation(rho, n=400, rng=RNG):
    """Two lists that correlate exactly so."""
    x, z = rng.normal(size=(2, n))
    x -= x.mean()
    z -= z.mean()
    z -= (z @ x) / (x @ x) * x
    y = rho * x / np.linalg.norm(x) + math.sqrt(1 - rho**2) * z / np.linalg.norm(z)
    return x, y


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.3, 1.0])
def test_known_correlation(rho):
    x, y = pair_with_correlation(rho)
    assert pearson(3 + 7 * x, 5 * y - 2) == pytest.approx(rho, abs=1e-12)  # rounding


def test_correlation_far_from_zero():
    # Measured maps stand on a background thousands of times their contrast.
    x, y = pair_with_correlation(0.6)
    # 1e6 of 16 digits are lost to the background, squared.
    assert pearson(1e5 + x, 1e5 + y) == pytest.approx(0.6, abs=1e-8)


def test_weights_are_repetitions():
    x, y = RNG.normal(size=(2, 50))
    w = RNG.integers(0, 4, 50)
    whole = pearson(x, y, w.astype(float))
    assert whole == pytest.approx(np.corrcoef(np.repeat(x, w), np.repeat(y, w))[0, 1], abs=1e-12)
    assert abs(whole - pearson(x, y)) > 1e-3


@pytest.mark.parametrize("x", [[1.0, 1.0, 1.0], [1.0], []])
def test_nothing_to_correlate(x):
    assert math.isnan(pearson(np.array(x), np.arange(float(len(x)))))
    assert math.isnan(pearson(0.1 + 0 * np.arange(7.0), np.arange(7.0)))


def test_cc_star_is_the_correlation_with_the_truth():
    truth, *noise = np.random.default_rng(1).normal(size=(3, 200_000))
    half1, half2 = (truth + 1.3 * n for n in noise)
    merged = 0.5 * (half1 + half2)
    # Both are estimates from 2e5 values: good to 1/sqrt(2e5) = 0.002, three times over.
    assert cc_star(pearson(half1, half2)) == pytest.approx(pearson(merged, truth), abs=0.007)
    assert cc_star(1.0) == 1.0
    assert cc_star(0.5) == pytest.approx(math.sqrt(2 / 3))
    assert math.isnan(cc_star(-0.1))


def test_scale_and_r_factors_written_out():
    model, data, w = np.random.default_rng(2).uniform(0.5, 2.0, size=(3, 30))
    k = least_squares_scale(model, data, w)

    def misfit(k):
        return sum(w[i] * (data[i] - k * model[i]) ** 2 for i in range(30))

    assert misfit(k) < min(misfit(k * 1.001), misfit(k * 0.999))
    top = sum(w[i] * abs(data[i] - k * model[i]) for i in range(30))
    assert r_factor(k * model, data, w) == pytest.approx(
        top / sum(w[i] * abs(data[i]) for i in range(30)), rel=1e-12
    )
    assert weighted_r(k * model, data, w) == pytest.approx(
        math.sqrt(misfit(k) / sum(w[i] * data[i] ** 2 for i in range(30))), rel=1e-12
    )
    assert math.isnan(least_squares_scale(0 * model, data))
    assert math.isnan(r_factor(model, 0 * data))


def test_jackknife_leaves_blocks_out():
    x, y, w = np.random.default_rng(3).uniform(0.5, 1.5, size=(3, 90))
    block = np.arange(90) % 9
    sums = BlockSums.of(x, y, w, block, 12)  # three blocks hold nothing
    slow = []
    for b in range(9):
        keep = block != b
        slow.append(pearson(x[keep], y[keep], w[keep]))
    assert sums.left_out == pytest.approx(slow, abs=1e-12)
    mean = sum(slow) / 9
    error = math.sqrt(8 / 9 * sum((c - mean) ** 2 for c in slow))
    assert sums.error == pytest.approx(error, rel=1e-9)
    assert math.isnan(jackknife_error(np.array(slow[:7])))


def test_jackknife_error_of_independent_values():
    x, y = pair_with_correlation(0.4, n=4000, rng=np.random.default_rng(4))
    error = BlockSums.of(x, y, None, np.arange(4000) % 100, 100).error
    # (1 - rho^2)/sqrt(n) for normal values; an error from 100 blocks is good to 7 %, three times.
    assert error == pytest.approx((1 - 0.4**2) / math.sqrt(4000), rel=0.21)


def test_jackknife_knows_of_values_that_are_alike():
    x, y = pair_with_correlation(0.4, n=500, rng=np.random.default_rng(6))
    alone = BlockSums.of(x, y, None, np.arange(500) % 100, 100).error
    four = [np.repeat(v, 4) for v in (x, y, np.arange(500) % 100)]
    repeated = BlockSums.of(four[0], four[1], None, four[2], 100).error
    # Copies of what is known tell nothing new.
    assert repeated == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Settings(d_min=3, d_max=2),
        lambda: Settings(d_min=-1),
        lambda: Settings(n_shells=0),
        lambda: Settings(weighting="variance"),
        lambda: Settings(clearly=math.nan),
    ],
)
def test_settings_that_cannot_be(make):
    with pytest.raises(InputError):
        make()
