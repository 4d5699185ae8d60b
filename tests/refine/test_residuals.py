"""Faults of data and structure are named by the verdict, and data without a fault name none."""

from functools import cache

import numpy as np
import pytest
import torch

from fits import clean_map, peptide, sampling, starting_model, to_map, true_model
from onephonon.refine import FitSettings, fit_springs
from onephonon.refine.objective import Loss
from onephonon.refine.residuals import SIGNIFICANT, diagnose, expected_loss
from onephonon.viz.report import assess_fit

D_MIN, NOISE = 3.0, 0.03


@cache
def clean():
    crystal = peptide("2ol9")
    axes = sampling(crystal, D_MIN)
    truth = true_model(crystal, axes, D_MIN)
    return crystal, axes, *clean_map(truth, axes)


def fitted(background, change=None, seed=0, units="", **settings):
    """A fit of data with a fault."""
    crystal, axes, values, s = clean()
    rng = np.random.default_rng(seed)
    mean = np.nanmean(values)
    sigma = NOISE * mean * rng.uniform(0.5, 1.5, values.shape)
    if change is not None:
        values = change(values, s)
    data = values + sigma * rng.normal(size=values.shape)
    data = data + mean * (1 + np.cos(4 * s) if background == "isotropic" else 1.0)
    return fit_springs(
        starting_model(crystal),
        to_map(data, axes, crystal, sigma, units),
        FitSettings(
            voxels="all",
            d_min=D_MIN,
            background=background,
            knots=6,
            levels=("hybrid",),
            prior=1.0,
            average=0,
            **settings,
        ),
    )


def rings(values, s):
    """Two rings, of half and a third of the mean intensity."""
    mean = np.nanmean(values)
    for d, height in ((3.67, 0.5), (4.4, 0.3)):
        values = values + height * mean * np.exp(-0.5 * ((s - 1 / d) / 0.006) ** 2)
    return values


def spikes(values, _):
    """Forty hot pixels, 40 sigma high."""
    values = values.copy()
    hot = np.random.default_rng(3).choice(np.flatnonzero(np.isfinite(values)), 40, replace=False)
    values.reshape(-1)[hot] += 40 * NOISE * np.nanmean(values)
    return values


def colder(values, s):
    """B-factors 2 Å^2 larger than those of the file."""
    return values * np.exp(-0.5 * 2.0 * s**2)


BACKGROUNDS = ("isotropic", "halo")


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_data_without_a_fault_name_none(background):
    for seed in range(4):
        fit = fitted(background, seed=seed)
        found = diagnose(fit)
        assert (found.rings, found.spikes, found.b_change) == (None, None, None)
        # Chi-square is what noise leaves beside as many parameters: within 4 standard deviations.
        assert abs(found.used.excess) < 4
        verdict = assess_fit(fit)
        assert verdict.explained.startswith("The model explains the data within their errors")
        assert not any(word in " ".join(verdict.warnings) for word in ("Rings", "Spikes", "B-fact"))


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_rings_are_named_with_their_resolution(background):
    fit = fitted(background, rings)
    found, verdict = diagnose(fit), assess_fit(fit)
    # Shells are 0.005 1/Å wide: 0.07 Å here.
    assert found.rings.d[0] == pytest.approx(3.67, abs=0.07)
    assert any(d == pytest.approx(4.4, abs=0.07) for d in found.rings.d)
    assert found.rings.height[0] > 0.05
    assert found.rings.share > 0.5
    assert any(line.startswith("Rings: ") and "3.6" in line for line in verdict.warnings)
    assert "B-factors disagree" not in " ".join(verdict.warnings)
    assert not verdict.good
    assert found.used.excess > SIGNIFICANT
    assert "explains the data within" not in verdict.explained


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_spikes_are_counted(background):
    fit = fitted(background, spikes)
    found, verdict = diagnose(fit), assess_fit(fit)
    # Some of the forty are next to Bragg points, which are left out; equivalents are averaged.
    assert 10 <= found.spikes.n <= 40
    assert found.spikes.largest > 15
    assert found.rings is None
    assert found.b_change is None
    assert any(line.startswith(f"Spikes: {found.spikes.n} ") for line in verdict.warnings)
    assert not verdict.good


@pytest.mark.parametrize("units", ["", "e^2 per cell"])
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_other_b_factors_are_measured(background, units):
    fit = fitted(background, colder, units=units)
    found, verdict = diagnose(fit), assess_fit(fit)
    # A step from 2 Å^2 away is good to some percent; two to four standard errors are more.
    assert found.b_change.value == pytest.approx(2.0, abs=0.2 + 3 * found.b_change.error)
    assert found.b_change.error < 0.4
    assert found.rings is None
    assert found.spikes is None
    assert any("B-factors disagree" in line and "larger" in line for line in verdict.warnings)
    assert not verdict.good


def test_sigma_that_are_too_small_or_large_are_said():
    crystal, axes, values, _ = clean()
    mean = np.nanmean(values)
    sigma = np.full(values.shape, NOISE * mean)
    data = values + sigma * np.random.default_rng(0).normal(size=values.shape)
    settings = FitSettings(
        voxels="all", d_min=D_MIN, background="none", levels=("hybrid",), prior=1.0, average=0
    )
    for factor, text in ((0.9, "sigma are too small by 1"), (1.2, "smaller than expected")):
        claimed = to_map(data, axes, crystal, factor * sigma, "e^2 per cell")
        verdict = assess_fit(fit_springs(starting_model(crystal), claimed, settings))
        # Ten percent of sigma are twenty of chi-square: five standard deviations of 1000 voxels.
        assert text in verdict.explained
        assert ("not within their errors" in verdict.explained) == (factor < 1)


def test_chi_square_of_a_robust_loss_is_expected_to_be_smaller():
    assert expected_loss(Loss()) == pytest.approx((1.0, 2.0), rel=1e-9)
    loss = Loss("soft_l1", 1.0)
    z = torch.from_numpy(np.random.default_rng(0).normal(size=200_000) ** 2)
    mean, variance = expected_loss(loss)
    # A mean of 200,000 numbers: 0.3 % of the spread.
    assert mean == pytest.approx(float(loss.value(z).mean()), rel=0.01)
    assert variance == pytest.approx(float(loss.value(z).var()), rel=0.02)
