"""Fits with orders beyond the first: against the model itself, differences, and made-up maps."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from fits import clean_map, peptide, sampling, to_map, true_model
from onephonon import OnePhonon, SpringPlan
from onephonon.core.errors import NetworkError
from onephonon.core.progress import Progress
from onephonon.crystal import Reindexing
from onephonon.refine import (
    FitSettings,
    fit_springs,
    make_parametrization,
    minimize_objective,
    select_voxels,
    spring_table,
)
from onephonon.refine.fit import make_objective
from onephonon.refine.forward import make_forward
from onephonon.refine.parametrization import find_levels, parametrization_basis
from onephonon.refine.result import with_springs
from onephonon.scattering.multiphonon.higher_orders import SeriesWarning
from onephonon.scattering.multiphonon.truncation import truncate, truncation_error

D_MIN = 3.0

#: A coarse mesh and the average of a box, which cost little.
QUICK = {"mesh": (2, 3, 2), "zone_average": "supercell"}


def starting_model(code, orders="all", **options):
    return OnePhonon(peptide(code), orders=orders, **(QUICK | options))


@cache
def problem(code, absolute, level="hybrid", average=0):
    """Model, voxels and objective of a map without structure."""
    crystal = peptide(code)
    axes = sampling(crystal, D_MIN, (2, 2, 2))
    shape = [round((high - low) * n) + 1 for low, high, n in axes]
    rng = np.random.default_rng(0)
    data = to_map(rng.uniform(50, 60, shape), axes, crystal, np.ones(shape))
    settings = FitSettings(
        voxels="all", d_min=D_MIN, background="isotropic", knots=4, average=average
    )
    voxels = select_voxels(data, crystal, Reindexing(np.eye(3)), settings)
    model = starting_model(code)
    objective, _ = make_objective(model, data, voxels, settings, absolute=absolute)
    # Springs of about the strength that the file's B-factors ask for.
    parametrization = make_parametrization(
        find_levels((level,))[0], model.bodies, model.contacts, 1.5
    )
    changes = {"parametrization": parametrization, "basis": parametrization_basis(parametrization)}
    return model, voxels, replace(objective, **changes, prior=0.1)


def random_x(objective, seed=0, spread=0.3):
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(objective.parametrization.n, generator=generator, dtype=torch.float64)
    return spread * normal


def intensity(objective, x):
    parametrization = objective.parametrization
    return objective.forward.intensity(parametrization.constants(parametrization.values(x)))


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("code", ["2ol9", "5zck"])
def test_the_intensity_is_the_models_own(code, absolute):
    model, voxels, objective = problem(code, absolute)
    x = random_x(objective)
    scale = 1.0 if absolute else None
    own = with_springs(model, springs=_plan(objective), thermal_scale=scale)
    own.springs.set_values(objective.parametrization.values(x).reshape(-1, 2))
    own.set_q(model.crystal.cell.q_from_hkl(torch.from_numpy(voxels.hkl)))
    with torch.no_grad():
        expected = own(use_data_adp=True)
        found = intensity(objective, x)
        first = own(use_data_adp=True, orders=1)
    # Both leave out terms within 1e-6 of the intensity, and not the same ones.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    assert float((first / expected).min()) < 0.95


def _plan(objective):
    level = objective.parametrization.level
    return SpringPlan(by=level.by, kind=level.kind)


def test_a_common_factor_of_springs_changes_nothing_with_a_fitted_scale():
    _, _, objective = problem("2ol9", absolute=False)
    x = random_x(objective)
    with torch.no_grad():
        one, other = intensity(objective, x), intensity(objective, x + 0.7)
    torch.testing.assert_close(other, one, rtol=1e-10, atol=0)
    at = objective.evaluate(x)
    slopes = objective.slopes(at)
    common = objective.parametrization.common
    # Rounding of sums of the size of the largest element.
    size = float(slopes.hessian.abs().max())
    assert float((slopes.hessian @ common).abs().max()) < 1e-8 * size


@pytest.mark.parametrize(
    ("code", "absolute", "level", "average"),
    [
        ("2ol9", True, "hybrid", 0),
        ("2ol9", False, "stiffness", 0),
        ("5zck", False, "hybrid", 0),
        ("2ol9", False, "hybrid", 2),
    ],
)
def test_gradients_are_differences_and_each_others(code, absolute, level, average):
    _, _, objective = problem(code, absolute, level, average)
    x = random_x(objective)
    at, gradient = objective.gradient(x)
    h = 1e-4
    for seed in range(2):
        move = random_x(objective, 10 + seed)
        ends = [objective.evaluate(x + sign * h * move).objective for sign in (1, -1)]
        # Central differences err by h^2 = 1e-8, rounding by 1e-16/h of the objective.
        expected = (ends[0] - ends[1]) / (2 * h)
        assert float(gradient @ move) == pytest.approx(expected, rel=1e-5)
    slopes = objective.slopes(at)
    theirs = -2 * slopes.gradient + 2 * objective.prior * objective.dispersion * x
    np.testing.assert_allclose(gradient, theirs, atol=1e-8 * float(gradient.abs().max()))


def test_moments_that_are_too_large_are_computed_when_they_are_needed():
    model, voxels, objective = problem("2ol9", absolute=True)
    x = random_x(objective)
    # Enough for the amplitudes.
    max_bytes = 16 * model.bodies.n_dof * objective.forward.n_nodes
    messages = []
    parametrization = objective.parametrization
    forward = make_forward(
        model,
        voxels,
        _Messages(messages),
        start=parametrization.start,
        absolute=True,
        max_bytes=max_bytes,
    )
    assert all(part.moments is None for part in forward.parts)
    assert "not stored" in messages[-1]
    small = replace(objective, forward=forward)
    for one, other in zip(small.gradient(x), objective.gradient(x), strict=True):
        one, other = (getattr(g, "intensity", g) for g in (one, other))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))
    ours, theirs = (o.slopes(o.evaluate(x)).hessian for o in (small, objective))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_the_error_of_a_series_is_the_one_it_was_chosen_by():
    _, _, objective = problem("5zck", absolute=True)
    higher = objective.forward.higher
    pairs, order = higher.series.pairs, higher.series.order
    for rtol in (1e-6, 1e-3):
        chosen = truncate(pairs, higher.q_max, rtol, order)
        found = truncation_error(pairs, chosen.degrees, higher.q_max, order)
        assert found == pytest.approx(chosen.error, rel=1e-12)
        assert found <= rtol


def test_springs_too_soft_for_any_series_are_warned_of():
    _, _, objective = problem("2ol9", absolute=True)
    with pytest.warns(SeriesWarning, match="estimated error is more than all of the intensity"):
        objective.suited_to(random_x(objective, spread=0.0) - 12.0)


def test_series_follow_springs_that_become_soft():
    model, voxels, objective = problem("2ol9", absolute=True)
    start, soft = random_x(objective, spread=0.0), random_x(objective, spread=0.0) - 4.0
    assert objective.suited_to(start) is objective
    suited = objective.suited_to(soft)
    before, after = (o.forward.higher.series for o in (objective, suited))
    assert after.degree > before.degree
    own = with_springs(model, springs=_plan(objective), thermal_scale=1.0)
    own.springs.set_values(objective.parametrization.values(soft).reshape(-1, 2))
    own.set_q(model.crystal.cell.q_from_hkl(torch.from_numpy(voxels.hkl)))
    with torch.no_grad():
        expected = own(use_data_adp=True)
        wrong, right = intensity(objective, soft), intensity(suited, soft)
    torch.testing.assert_close(right, expected, rtol=1e-5, atol=0)
    assert float((wrong / expected - 1).abs().max()) > 1e-4
    # Series are never shortened, so that no minimization goes back and forth.
    assert suited.suited_to(start) is suited


class _Messages(Progress):
    def __init__(self, kept):
        self.kept = kept

    def message(self, text):
        self.kept.append(text)


@pytest.mark.parametrize("absolute", [True, False])
def test_springs_of_a_map_of_all_orders_are_recovered(absolute):
    crystal, d_min = peptide("2ol9"), 2.5
    axes = sampling(crystal, d_min, (2, 2, 2))
    truth = true_model(
        crystal, axes, d_min, spread=0.5, size=1.5 if absolute else 0.5, orders="all", **QUICK
    )
    scale = 1.0
    if not absolute:
        # A map in other units, of springs that give the file's mean B-factor.
        scale = float(unit_of(truth))
        truth.springs.set_values(scale * truth.springs.values().detach())
    clean, _ = clean_map(truth, axes)
    clean = clean if absolute else 0.3 * clean
    sigma = 0.01 * np.nanmean(clean) * np.ones_like(clean)
    data = to_map(clean, axes, crystal, sigma, "e^2 per cell" if absolute else "")
    settings = FitSettings(
        voxels="all",
        d_min=d_min,
        background="none",
        levels=("hybrid",),
        average=0,
        prior=1e-6,
        tolerance=1e-5,
    )
    known = truth.springs.values().detach().numpy().reshape(-1)
    wrong = {}
    for orders in ("all", 1):
        fit = fit_springs(starting_model("2ol9", orders), data, settings)
        (level,) = fit.series.levels
        rows = spring_table(fit, level)
        sure = np.array([row.by_data > 0.9 for row in rows])
        assert sure.sum() >= (14 if orders == "all" else 10)
        wrong[orders] = np.abs(np.log([row.value for row in rows] / known))[sure]
        if orders == "all":
            assert level.used.chi2 < 1e-6
            np.testing.assert_allclose(
                fit.fitted_model(level).springs.values().detach().numpy().reshape(-1)[sure],
                known[sure],
                rtol=1e-3,
            )
            assert fit.fitted_model(level).orders == "all"
            assert not absolute or level.minimum.at.scale == 1
            assert absolute or level.minimum.at.scale == pytest.approx(0.3, rel=1e-3)
        else:
            assert level.used.chi2 > 1e-3
    # The least determined springs end the minimization a little before the minimum.
    assert wrong["all"].max() < 1e-3
    # Springs of one phonon are off by up to a factor.
    assert wrong[1].max() > 0.2
    assert np.median(wrong[1]) > 0.02


def test_a_fit_that_ends_at_softer_springs_uses_longer_series(monkeypatch):
    # A limit so low that springs half as stiff exceed it.
    monkeypatch.setattr("onephonon.refine.higher_orders.ERROR_FACTOR", 1.0)
    crystal, d_min = peptide("2ol9"), 3.0
    axes = sampling(crystal, d_min, (2, 2, 2))
    truth = true_model(crystal, axes, d_min, size=0.2, spread=0.0, orders="all", **QUICK)
    clean, _ = clean_map(truth, axes)
    data = to_map(clean, axes, crystal, 1e-3 * np.nanmean(clean) * np.ones_like(clean))
    settings = FitSettings(
        voxels="all", d_min=d_min, background="none", levels=("global",), average=0
    )
    fit = fit_springs(starting_model("2ol9"), data, settings)
    level = fit.best
    assert level.level.name == "global"
    before = replace(fit.objective, parametrization=level.parametrization)
    after = before.suited_to(level.x)
    series = [o.forward.higher.series.truncation.degrees for o in (before, after)]
    assert bool((series[1] >= series[0]).all())
    assert bool((series[1] > series[0]).any())
    with torch.no_grad():
        short, long = (intensity(o, level.x) for o in (before, after))
    # The minimum is one of the longer series.
    found = level.minimum.at.intensity
    assert float((found - long).abs().max()) < 0.1 * float((found - short).abs().max())
    assert level.used.chi2 < 1e-6


def test_uncertainties_include_what_the_mean_b_does_to_higher_orders():
    crystal, d_min = peptide("2ol9"), 2.5
    axes = sampling(crystal, d_min, (2, 2, 2))
    truth = true_model(crystal, axes, d_min, size=0.5, spread=0.3, orders="all", **QUICK)
    clean, _ = clean_map(truth, axes)
    data = to_map(clean, axes, crystal, 0.01 * np.nanmean(clean) * np.ones_like(clean), units="")
    options = {"voxels": "all", "d_min": d_min, "background": "none", "average": 0, "prior": 0.1}
    settings = FitSettings(levels=("interface",), tolerance=1e-6, **options)
    fit = fit_springs(starting_model("2ol9"), data, settings)
    level = fit.best
    objective = replace(
        fit.objective,
        parametrization=level.parametrization,
        prior=level.uncertainty.prior,
        dispersion=level.dispersion,
    )
    moved = []
    for b in (1.02, 1 / 1.02):
        other = replace(objective, forward=objective.forward.with_b_factor(b))
        moved.append(minimize_objective(other, level.x, tolerance=1e-6).at.x)
    found = (moved[0] - moved[1]) / (2 * np.log(1.02))
    # Gauss and Newton's second derivative, where the residuals are small.
    size = float(level.b_shift.abs().max())
    assert size > 0.1
    torch.testing.assert_close(found, level.b_shift, rtol=0.1, atol=0.02 * size)
    rows = spring_table(fit, level)
    of_b = [np.sqrt(row.sigma_log**2 - row.sigma_log_at_b**2) for row in rows]
    # Not the 20 % of the unit alone.
    assert np.ptp(of_b) > 0.02
    one = fit_springs(starting_model("2ol9", 1), data, settings).best
    assert one.b_shift is None


def test_springs_beyond_the_range_of_numbers_are_refused():
    _, _, objective = problem("2ol9", absolute=True)
    with pytest.raises(NetworkError, match="so soft"):
        objective.gradient(random_x(objective) - 12.0)


def unit_of(truth):
    """Factor by which springs must be multiplied to give the mean B-factor of the file."""
    lattice = truth.lattice
    return 1 / lattice.with_force_constants(lattice.force_constants).thermal_scale.detach()


def test_an_interrupted_fit_of_all_orders_ends_with_the_same_springs():
    crystal, d_min = peptide("2ol9"), 3.5
    axes = sampling(crystal, d_min, (2, 2, 2))
    truth = true_model(crystal, axes, d_min, size=0.3, orders="all", **QUICK)
    clean, _ = clean_map(truth, axes)
    data = to_map(clean, axes, crystal, 0.05 * np.nanmean(clean) * np.ones_like(clean))
    settings = FitSettings(
        voxels="all", d_min=d_min, background="none", levels=("hybrid",), average=0, prior=0.1
    )
    saved = []
    whole = fit_springs(starting_model("2ol9"), data, settings, on_minimum=saved.append)
    again = fit_springs(starting_model("2ol9"), data, settings, saved=saved[:1])
    assert len(saved) > 1
    torch.testing.assert_close(again.best.x, whole.best.x, rtol=1e-9, atol=1e-9)
