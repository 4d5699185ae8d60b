"""Data that are averages over voxels: the fit finds the springs, and says where it cannot."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fits import clean_map, peptide, sampling, starting_model, to_map, true_model
from onephonon.refine import FitSettings, fit_springs, spring_table
from onephonon.refine.averaging import (
    MAX_SHIFT,
    choose_orders,
    estimate_errors,
    judge_orders,
)
from onephonon.viz.report import assess_fit

D_MIN = 4.0


@cache
def averaged(noise=0.05, seed=0):
    """Averages over voxels of a known model at 3 samples per index, with noise."""
    crystal = peptide("2ol9")
    axes = sampling(crystal, D_MIN)
    truth = true_model(crystal, axes, D_MIN)
    clean, _ = clean_map(truth, axes, 6)
    rng = np.random.default_rng(seed)
    # Poisson noise: relative to the mean at the mean.
    sigma = noise * np.sqrt(np.abs(clean) * np.nanmean(clean))
    return (
        crystal,
        truth,
        to_map(clean + sigma * rng.normal(size=clean.shape), axes, crystal, sigma),
    )


@cache
def fitted(average):
    crystal, truth, data = averaged()
    settings = FitSettings(
        voxels="all", d_min=D_MIN, background="none", levels=("hybrid",), prior=0.1, average=average
    )
    fit = fit_springs(starting_model(crystal), data, settings)
    known = truth.springs.values().detach().numpy().reshape(-1)
    rows = spring_table(fit)
    pulls = np.array(
        [np.log(row.value / k) / row.sigma_log for row, k in zip(rows, known, strict=True)]
    )
    return fit, pulls[[row.by_data > 0.9 for row in rows]]


def test_springs_are_recovered_from_averaged_data_by_default():
    fit, pulls = fitted(None)
    assert len(pulls) >= 8
    # Of some ten normal deviates one beyond 4 has odds of 1 in 1600; their rms is 1 +- 0.25.
    assert np.abs(pulls).max() < 4
    assert np.sqrt(np.mean(pulls**2)) < 1.8
    assert fit.averaging.shift <= MAX_SHIFT
    assert (fit.voxels.order > 1).any()
    assert "explains the data within" in assess_fit(fit).explained
    assert not any("Averages" in line for line in assess_fit(fit).warnings)


def test_centres_of_averaged_data_are_wrong_and_said_to_be():
    fit, pulls = fitted(0)
    # The bound holds, and it is not empty.
    assert np.abs(pulls).max() > 5
    assert np.abs(pulls).max() < fit.averaging.shift < 30 * np.abs(pulls).max()
    assert any("Averages over voxels are inexact" in line for line in assess_fit(fit).warnings)
    assert "not explain" in assess_fit(fit).explained


def test_orders_are_as_high_as_sigma_require_and_no_higher():
    fit, _ = fitted(None)
    voxels = fit.voxels
    errors = estimate_errors(fit.model, voxels)
    n_nodes = []
    for factor in (1e4, 10.0, 1.0):
        found, left = choose_orders(replace(voxels, sigma=factor * voxels.sigma), errors)
        n_nodes.append(int((found.order**3).sum()))
        assert left.shift <= MAX_SHIFT
        judged = judge_orders(replace(found, sigma=factor * voxels.sigma), errors)
        assert judged.shift == pytest.approx(left.shift, rel=1e-9)
    assert n_nodes[0] < n_nodes[1] < n_nodes[2]
    # Hardly any data: the centres will do.
    assert n_nodes[0] == voxels.n
    # Voxels nearer to the Bragg point need no lower order.
    near = [found.order[errors.group == g].mean() for g in np.unique(errors.group)]
    assert near[0] >= near[-1]


def test_a_calculated_map_has_values_at_points():
    crystal, truth, _ = averaged()
    data = truth.to_map(use_data_adp=True)
    sigma = np.full(data.intensity.shape, 0.01 * np.nanmean(data.intensity))
    data = replace(data, sigma=sigma)
    settings = FitSettings(voxels="all", d_min=D_MIN, levels=("global",), background="none")
    fit = fit_springs(starting_model(crystal), data, settings)
    assert (fit.voxels.order == 1).all()
    assert fit.averaging is None
    assert any("calculated at the points" in line for line in fit.messages)
