"""Results of fitted springs: the table, predictions with bands, profiles of springs.

The data are computed from a small crystal with known springs, with noise and a background.
"""

from collections import Counter
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch

from onephonon import DiffuseMap, MapGrid, OnePhonon, SpringPlan, read_crystal
from onephonon.core.errors import InputError
from onephonon.core.units import EIGHT_PI_SQUARED, thermal_pressure
from onephonon.crystal.crystal import mean_square
from onephonon.dynamics.elastic import elasticity
from onephonon.dynamics.elastic_tables import moduli
from onephonon.dynamics.joint import joint_displacements
from onephonon.dynamics.spectra import frequencies, sound_speeds
from onephonon.refine import (
    FitSettings,
    Uncertainty,
    fit_springs,
    predict,
    profile,
    spring_table,
)
from onephonon.refine.predictions import Band
from onephonon.refine.profile import check_profile_names, crossings
from onephonon.refine.table import draw_parameters, log_slopes, log_values
from structures import DATA

D_MIN = 2.5


def synthetic(units, levels):
    """Springs of a known model, and a fit of its map with noise and background."""
    crystal = read_crystal(DATA / "5zck.pdb")
    reach = [int(length / D_MIN) for length in crystal.cell.parameters[:3]]
    axes = [(-n, n, 3) for n in reach]
    truth = OnePhonon(
        crystal,
        *axes,
        springs=SpringPlan(by="interface", kind="hybrid"),
        thermal_scale=1.0,
        res_limit=D_MIN,
    )
    rng = np.random.default_rng(1)
    values = 20 * np.exp(rng.normal(0, 0.7, (len(truth.springs.names), 2)))
    truth.springs.set_values(torch.tensor(values))
    with torch.no_grad():
        clean = truth(use_data_adp=True).numpy().reshape(truth.map_shape)
        s = truth.q_grid.norm(dim=1).numpy().reshape(clean.shape) / (2 * np.pi)
    mean = np.nanmean(clean)
    sigma = np.full_like(clean, 0.02 * mean)
    data = clean + mean * (1 + np.cos(6 * s)) + rng.normal(size=clean.shape) * sigma
    grid = MapGrid.from_sampling(*axes)
    cell = crystal.cell.parameters
    measured = DiffuseMap.on_grid(
        data, grid, cell, spacegroup=crystal.spacegroup, sigma=sigma, units=units
    )
    model = OnePhonon(crystal)
    settings = FitSettings(
        voxels="all",
        d_min=D_MIN,
        patience=9,
        levels=levels,
        prior=1.0,
        max_steps=20,
        average=0,
    )
    return truth, fit_springs(model, measured, settings)


@pytest.fixture(scope="module")
def absolute():
    return synthetic("e^2 per cell", ("global", "hybrid", "stiffness"))


@pytest.fixture(scope="module")
def scaled():
    return synthetic("arbitrary", ("global", "hybrid", "stiffness"))


def level(fit, name):
    return next(r for r in fit.series.levels if r.level.name == name)


def test_rows_of_springs_are_named_and_counted(absolute):
    truth, fit = absolute
    fitted = level(fit, "hybrid")
    table = spring_table(fit, fitted)
    assert [row.name for row in table] == list(fitted.parametrization.names)
    assert {row.direction for row in table} == {"along", "across"}
    along = {row.interface: row for row in table if row.direction == "along"}
    assert set(along) == set(truth.springs.names)
    assert along["x+1,y,z"].name == "x+1,y,z along"
    assert sum(row.n_contacts for row in along.values()) == fit.model.contacts.n_contacts
    # Another way to the same contacts: the model's own table.
    mine = [row for row in fit.model.contact_table() if row.operator == "x+1,y,z"]
    assert along["x+1,y,z"].n_contacts == sum(row.multiplicity for row in mine)
    count = Counter()
    for row in mine:
        first, second = (atom.rsplit("/", 1)[0] for atom in (row.atom_1, row.atom_2))
        count[f"{first} - {second}"] += row.multiplicity
    named = along["x+1,y,z"].residues
    assert len(named) == 3
    assert sorted(count.values())[-3:] == sorted(count[pair] for pair in named)
    (one,) = spring_table(fit, level(fit, "global"))
    assert (one.name, one.interface, one.direction) == ("global", "all", "all")


def test_values_are_the_truth_within_uncertainty(absolute):
    truth, fit = absolute
    table = spring_table(fit, level(fit, "hybrid"))
    assert fit.absolute
    known = truth.springs.values().detach().numpy().reshape(-1)
    pulls = np.array(
        [np.log(row.value / k) / row.sigma_log_at_b for row, k in zip(table, known, strict=True)]
    )
    determined = np.array([row.by_data for row in table]) > 0.9
    assert determined.sum() >= 10
    # Of some ten normal deviates one beyond 4 has a probability below 1e-3.
    assert np.abs(pulls[determined]).max() < 4
    for row in table:
        # The interval is one sigma of the logarithm to both sides, by definition.
        np.testing.assert_allclose(
            np.log([row.high / row.value, row.value / row.low]), row.sigma_log, rtol=1e-9
        )


def test_units_follow_the_mean_b_factor(scaled):
    _, fit = scaled
    assert not fit.absolute
    for fitted in fit.series.levels:
        model = fit.fitted_model(fitted)
        # Definition of the unit; rounding of two ways to the same mean.
        found, file = mean_square(model.U).mean(), mean_square(model.crystal.U).mean()
        np.testing.assert_allclose(float(found.detach()), float(file), rtol=1e-10)
    table = spring_table(fit, level(fit, "hybrid"))
    values = fit.fitted_model(level(fit, "hybrid")).springs.values().detach().reshape(-1)
    np.testing.assert_allclose([row.value for row in table], values.numpy(), rtol=1e-10)


def test_a_common_factor_cancels_in_the_unit(scaled):
    _, fit = scaled
    fitted = level(fit, "hybrid")
    x = fitted.x
    logs, slopes = log_slopes(fit, fitted, x)
    # Exactly zero but for rounding: K enters U as its inverse.
    np.testing.assert_allclose(slopes.sum(1).numpy(), 0, atol=1e-10)
    moved = log_values(fit, fitted, x + 0.7).detach()
    np.testing.assert_allclose(moved.numpy(), logs.numpy(), atol=1e-10)
    # The uncertainty is that of the whole covariance, the common factor's included ...
    rows = np.array([row.sigma_log_at_b for row in spring_table(fit, fitted)])
    slow = (slopes @ fitted.uncertainty.covariance @ slopes.T).diagonal().sqrt()
    np.testing.assert_allclose(rows, slow.numpy(), rtol=1e-8)
    # ... and stays where it is when the common factor gets known very well, or not at all.
    n = len(x)
    ones = torch.ones(n, n).to(x) / n
    own = torch.eye(n).to(x) - ones
    information = own @ fitted.uncertainty.information @ own
    blind, seeing = (Uncertainty(information + known * ones, 1e-2) for known in (0.0, 1e4))
    sigmas = [
        [row.sigma_log_at_b for row in spring_table(fit, replace(fitted, uncertainty=uncertainty))]
        for uncertainty in (blind, seeing)
    ]
    # Rounding of eigenvectors, 1e-16 times a spread of 1e8 in the information.
    np.testing.assert_allclose(sigmas[0], sigmas[1], rtol=1e-6)
    # It matters: the free parameter itself was much less sure.
    k = [row.name for row in spring_table(fit, fitted)].index("x+1,y,z across")
    assert sigmas[0][k] < 0.1 * float(blind.sigma[k])


def test_absolute_springs_carry_the_uncertainty_of_b(scaled, absolute):
    for _, fit in (scaled, absolute):
        fitted = level(fit, "hybrid")
        exact = replace(fit, settings=replace(fit.settings, b_uncertainty=0.0))
        for row, known in zip(spring_table(fit, fitted), spring_table(exact, fitted), strict=True):
            assert row.sigma_log_at_b == known.sigma_log == known.sigma_log_at_b
            more = 0.0 if fit.absolute else 0.2
            assert row.sigma_log == pytest.approx(np.hypot(known.sigma_log, more), rel=1e-9)
            assert np.log(row.high / row.value) == pytest.approx(row.sigma_log, rel=1e-9)
            assert row.value == known.value
    # What is predicted carries it too: B and the square of a speed of sound go as 1/springs.
    _, fit = scaled
    draws = level(fit, "hybrid").x.repeat(50, 1)
    found = predict(fit, level(fit, "hybrid"), draws=draws)
    half = 0.5 * np.log(found.b_factors.high / found.b_factors.low)
    # The 68 % interval of 50 normal draws is its own to 15 %; three of these.
    np.testing.assert_allclose(half, 0.2, rtol=0.45)
    half = 0.5 * np.log(found.speeds.high / found.speeds.low)
    np.testing.assert_allclose(half, 0.1, rtol=0.45)


def test_no_more_springs_are_known_than_directions_and_the_mean_b(scaled, absolute):
    for _, fit in (scaled, absolute):
        fitted = level(fit, "hybrid")
        # Priors from weak to overwhelming.
        for prior in (1.0, 1e3, 1e5):
            uncertainty = Uncertainty(fitted.uncertainty.information, prior)
            table = spring_table(fit, replace(fitted, uncertainty=uncertainty))
            # Independent vectors within 1/(2n) of a space are no more than its dimensions.
            sure = sum(row.by_data > 1 - 0.25 / len(table) ** 2 for row in table)
            assert sure <= uncertainty.n_determined + (not fit.absolute)


def test_intervals_of_undetermined_springs_are_unbounded(absolute):
    _, fit = absolute
    fitted = level(fit, "hybrid")
    nothing = Uncertainty(fitted.uncertainty.information, 0.0)
    row = next(r for r in spring_table(fit, replace(fitted, uncertainty=nothing)) if r.low == 0)
    # Contacts within a rigid body cannot be stretched.
    assert (row.name, row.high) == ("within along", np.inf)


def test_one_spring_with_fitted_scale_is_set_by_the_b_factor(scaled):
    _, fit = scaled
    (row,) = spring_table(fit, level(fit, "global"))
    # Known from the mean B, and as well as that is.
    assert row.by_data == 1
    # Rounding alone.
    assert row.sigma_log_at_b < 1e-6
    assert row.sigma_log == pytest.approx(fit.settings.b_uncertainty, rel=1e-9)
    assert level(fit, "global").uncertainty.n_determined == 0
    with pytest.raises(InputError, match="mean B-factor alone"):
        profile(fit, "global", level(fit, "global"))


@pytest.mark.parametrize("which", ["absolute", "scaled"])
@pytest.mark.parametrize("name", ["hybrid", "stiffness"])
def test_slopes_of_logarithms_are_finite_differences(which, name, request):
    _, fit = request.getfixturevalue(which)
    fitted = level(fit, name)
    rng = torch.Generator().manual_seed(0)
    move = torch.randn(len(fitted.x), generator=rng, dtype=torch.float64) / len(fitted.x) ** 0.5
    h = 1e-4
    with torch.no_grad():
        ends = [log_values(fit, fitted, fitted.x + sign * h * move) for sign in (1, -1)]
    _, slopes = log_slopes(fit, fitted, fitted.x)
    # Central differences err by h^2 = 1e-8 times the third derivative.
    expected = ((ends[0] - ends[1]) / (2 * h)).numpy()
    np.testing.assert_allclose((slopes @ move).numpy(), expected, atol=1e-6)


def test_principal_stiffnesses_are_those_of_the_model(absolute):
    _, fit = absolute
    fitted = level(fit, "stiffness")
    table = spring_table(fit, fitted)
    S = fit.fitted_model(fitted).springs.values().detach()
    names = fitted.parametrization.module.names
    assert len(table) == 6 * len(names)
    for row in table:
        kind, n = row.direction.split()
        block = slice(0, 3) if kind == "translation" else slice(3, 6)
        own = np.linalg.eigvalsh(S[names.index(row.interface), block, block].numpy())
        # The Cholesky factor in the model's springs rounds.
        np.testing.assert_allclose(row.value, own[int(n) - 1], rtol=1e-8)
        assert row.low < row.value < row.high
        assert 0 <= row.by_data <= 1


def test_bands_cover_the_truth(absolute):
    truth, fit = absolute
    found = predict(fit, level(fit, "hybrid"), n_draws=60)
    assert (found.n_draws, found.n_skipped, found.messages) == (60, 0, ())
    model = OnePhonon(
        truth.crystal,
        springs=SpringPlan(by="interface", kind="hybrid"),
        mesh=fit.model.mesh,
        thermal_scale=1.0,
    )
    model.springs.set_values(truth.springs.values().detach())
    with torch.no_grad():
        b = (EIGHT_PI_SQUARED * model.ADP).numpy()
        axes = model.crystal.cell.q_from_hkl(torch.eye(3, dtype=torch.float64))
        speeds = torch.stack([sound_speeds(model, axis, 295.0) for axis in axes]).numpy()
        w = frequencies(model, found.dispersion.k_frac)[0].numpy()
        solid = elasticity(model)
        stiff = (thermal_pressure(295.0) * moduli(solid)).numpy()
        C = (thermal_pressure(295.0) * solid.voigt.diagonal()).numpy()
        joint = joint_displacements(model, mesh=found.joint.mesh).molecules
        parts = joint.along(joint.U)
        shared = torch.stack([*parts, joint.correlation], dim=1)[list(found.neighbours)].numpy()
    together = Band(*(x[:, 6:] for x in vars(found.joint_parts).values()))
    assert {joint.operators.operator[n] for n in found.neighbours} == {
        row.operator for row in model.contact_table() if row.operator != "within"
    }
    diagonal = Band(*(x.diagonal() for x in vars(found.elastic).values()))
    every = (found.b_factors, b), (found.speeds, speeds), (found.frequencies, w)
    for band, known in (*every, (found.moduli, stiff), (diagonal, C), (together, shared)):
        assert band.value.shape == known.shape
        assert (band.low <= band.high).all()
        half = 0.5 * (band.high - band.low)
        moving = known > 1e-6
        pull = np.abs(band.value - known)[moving] / half[moving]
        # All numbers move with the same dozen springs: half of them are within 2, none beyond 6
        # but at odds of less than 1e-3 for errors that are normal.
        assert np.median(pull) < 2
        assert pull.max() < 6
        # The bands say something: a few per cent.
        assert np.median(half[moving] / known[moving]) < 0.05
    # Constants that may have either sign lie within their intervals, and zeros stay zeros.
    assert (found.elastic.low <= found.elastic.value).all()
    assert (found.elastic.value <= found.elastic.high).all()
    assert np.abs(found.elastic.high[:3, 3:]).max() < 1e-9 * C.max()


def test_predictions_are_the_models(absolute):
    _, fit = absolute
    fitted = level(fit, "hybrid")
    found = predict(fit, fitted, temperature=100.0, n_draws=0)
    model = fit.fitted_model(fitted)
    with torch.no_grad():
        np.testing.assert_allclose(
            found.b_factors.value, (EIGHT_PI_SQUARED * model.ADP).numpy(), rtol=1e-12
        )
    assert np.isnan(found.b_factors.low).all()
    assert found.n_draws == 0
    file = (EIGHT_PI_SQUARED * mean_square(model.crystal.U)).numpy()
    np.testing.assert_allclose(found.b_file, file, rtol=1e-12)
    # T and L give the same U as the model's own, of every atom.
    bodies, n = model.bodies, model.crystal.n_atoms
    U = found.tls.displacements(bodies.positions[:n], bodies.body[:n])
    with torch.no_grad():
        np.testing.assert_allclose(U.numpy(), model.U.numpy(), rtol=1e-8, atol=1e-12)
    # Speeds go with the root of the temperature.
    warm = predict(fit, fitted, temperature=400.0, n_draws=0)
    np.testing.assert_allclose(warm.speeds.value, 2 * found.speeds.value, rtol=1e-12)
    assert found.directions == ("a*", "b*", "c*")


def test_draws_are_repeated_and_leave_the_common_factor_out(scaled):
    _, fit = scaled
    fitted = level(fit, "hybrid")
    one, two = draw_parameters(fit, fitted, 3, seed=4), draw_parameters(fit, fitted, 3, seed=4)
    assert bool((one == two).all())
    assert not bool((one == draw_parameters(fit, fitted, 3, seed=5)).all())
    np.testing.assert_allclose((one - fitted.x).sum(1).numpy(), 0, atol=1e-12)


def test_draws_spread_as_the_covariance(absolute):
    _, fit = absolute
    fitted = level(fit, "hybrid")
    spread = (draw_parameters(fit, fitted, 2000) - fitted.x).square().mean(0).sqrt()
    # Of 2000 normal numbers the root mean square is known to 1/sqrt(4000) = 1.6 %; four of those.
    np.testing.assert_allclose(spread.numpy(), fitted.uncertainty.sigma.numpy(), rtol=0.065)


def test_bands_are_68_percent(absolute):
    _, fit = absolute
    fitted = level(fit, "global")
    n = 24
    evenly = torch.tensor(
        [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)], dtype=torch.float64
    )
    x = fitted.x + fitted.uncertainty.sigma * evenly[:, None]
    found = predict(fit, fitted, draws=x)
    # All mean squares go with one over the one spring, and speeds with its root.
    sigma = float(fitted.uncertainty.sigma[0])
    expected = 0.5 * float(np.diff(np.percentile(evenly.numpy(), [16, 84]))[0])
    every = (found.b_factors, 1.0), (found.speeds, 0.5), (found.rms, 0.5)
    for band, power in (*every, (found.moduli, 1.0)):
        half = 0.5 * np.log(band.high / band.low) / (power * sigma)
        # A per cent of a spring is straight to its square, between draws too.
        np.testing.assert_allclose(half, expected, rtol=1e-4)
    C = found.elastic
    # A correlation does not depend on a common factor.
    correlation = found.joint_parts.high[:, 8] - found.joint_parts.low[:, 8]
    assert np.abs(correlation).max() < 1e-9
    half = 0.5 * (C.high - C.low) / (sigma * np.abs(C.value))
    # Of the values themselves, not of their logarithms: the square of a per cent of a spring.
    np.testing.assert_allclose(half[:3, :3], expected, rtol=1e-3)


def test_large_cells_have_dispersion_without_a_band(absolute, monkeypatch):
    from onephonon.refine import predictions

    _, fit = absolute
    monkeypatch.setattr(predictions, "MAX_DOF", 23)
    found = predict(fit, level(fit, "hybrid"), n_draws=2)
    assert found.messages == (
        "dispersion has no band, and joint displacements are left out: the cell has 24 degrees of "
        "freedom, more than 23",
    )
    assert np.isnan(found.frequencies.low).all()
    assert np.isfinite(found.frequencies.value).all()
    assert np.isfinite(found.speeds.low).all()
    assert (found.joint, found.neighbours) == (None, ())


def test_draws_with_unstable_springs_are_counted(absolute):
    _, fit = absolute
    best = level(fit, "hybrid").x
    none = torch.full_like(best, -torch.inf)  # the logarithm of springs of zero
    found = predict(fit, level(fit, "hybrid"), draws=torch.stack([none, best, none, best]))
    assert (found.n_draws, found.n_skipped) == (2, 2)
    assert "2 of 4 draws were skipped" in found.messages[0]


@pytest.mark.parametrize("which", ["absolute", "scaled"])
def test_a_profile_of_a_well_determined_spring_is_its_parabola(which, request):
    _, fit = request.getfixturevalue(which)
    fitted = level(fit, "hybrid")
    row = next(r for r in spring_table(fit, fitted) if r.name == "x+1,y,z across")
    assert row.by_data > 0.99
    found = profile(fit, row.name, fitted, n_points=7)
    assert found.converged
    # The same by two ways: covariance, and what is left of a root of it.
    np.testing.assert_allclose(found.sigma_log, row.sigma_log_at_b, rtol=1e-6)
    low, high = (np.log(np.array(found.interval_68) / found.best)) / found.sigma_log
    # A spring known to 1 % is as good as linear; third derivatives bend by a few per cent, and
    # points settle to 1e-3 of a rise of 1.
    np.testing.assert_allclose([low, high], [-1, 1], atol=0.05)
    low, high = (np.log(np.array(found.interval_95) / found.best)) / found.sigma_log
    np.testing.assert_allclose([low, high], [-2, 2], atol=0.15)
    assert found.chi2[3] < 0.01
    np.testing.assert_allclose(found.parabola, np.linspace(-3, 3, 7) ** 2)


def test_a_profile_fixes_one_spring_and_refits_the_rest(scaled):
    _, fit = scaled
    fitted = level(fit, "hybrid")
    names = [row.name for row in spring_table(fit, fitted)]
    name = "x+1/2,-y-1/2,-z along"
    found = profile(fit, name, fitted, n_points=5)
    objective = replace(
        fit.objective,
        parametrization=fitted.parametrization,
        prior=fitted.uncertainty.prior,
        dispersion=fitted.dispersion,
    )
    # Moving this spring alone costs more than with the rest free to follow, and never less.
    k = names.index(name)
    _, slopes = log_slopes(fit, fitted, fitted.x)
    alone = torch.zeros_like(fitted.x)
    alone[k] = 3 * found.sigma_log / float(slopes[k, k])
    worse = objective.evaluate(fitted.x + alone).objective - fitted.minimum.at.objective
    assert found.chi2[-1] < worse / fitted.dispersion
    assert found.chi2[-1] > 4
    with pytest.raises(InputError, match="is not one of"):
        profile(fit, "no such spring", fitted)
    check_profile_names(fit.model, fit.settings, [name])
    with pytest.raises(InputError, match="'no such spring' is at no level of this fit"):
        check_profile_names(fit.model, fit.settings, ["no such spring"])
    with pytest.raises(InputError, match="odd number"):
        profile(fit, name, fitted, n_points=6)


def test_crossings_are_found_where_there_are_any():
    x = np.linspace(-3, 3, 7)
    low, high = crossings(x, x**2, 4.0)
    np.testing.assert_allclose([np.log(low), np.log(high)], [-2, 2], rtol=1e-12)
    assert crossings(x, 0.1 * x**2, 1.0) == (0.0, np.inf)
    rise = np.where(x > 0, np.inf, x**2)
    low, high = crossings(x, rise, 1.0)
    np.testing.assert_allclose(np.log(low), -1, rtol=1e-12)
    assert high == np.inf
