"""Sums of lattice and liquid-like motions fitted to made-up maps."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch

from components import blank_problem, liquid, made_up_problem, shapes, terms_of
from onephonon import InputError, OnePhonon
from onephonon.disorder import Liquid
from onephonon.refine.components import (
    ComponentTerm,
    ParametricSettings,
    fit_parametric,
    held_out_gain,
    lattice_term,
    make_folds,
    null_terms,
    single_fold,
)
from onephonon.refine.components.inference import infer, upper_limit
from onephonon.refine.components.minimization import Minimum, minimize, shapes_at
from onephonon.refine.components.projection import project, projected_slopes
from onephonon.refine.forward import make_forward

#: Estimates of one made-up map may be so many standard errors off: once in 370.
SIGMAS = 3.0


def start_of(terms):
    return shapes_at(terms, torch.zeros(sum(t.n for t in terms), dtype=torch.float64))


def somewhere(terms, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = sum(t.n for t in terms)
    return 0.3 * torch.randn(n, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def both():
    """Lattice and liquid fitted to 0.6 and 0.4 of them, from equal springs and another length."""
    problem = made_up_problem((0.6, 0.4))
    return problem, fit_parametric(terms_of(problem, gamma=3.0), problem)


def dense(measured):
    """Design of the background over sigma."""
    return (measured.root[:, None] * measured.background.columns).numpy()


def test_amplitudes_are_those_of_bounded_dense_least_squares():
    problem = made_up_problem((0.6, 0.4))
    measured, terms = problem.measurements(), terms_of(problem)
    used = torch.from_numpy(make_folds(problem.voxels) != 0)
    measured = measured.using(used)
    I = shapes_at(terms, somewhere(terms)).intensities  # noqa: E741
    # A third one that can only be negative.
    I = torch.cat([I, measured.data.mean() * 2 - measured.data[:, None]], dim=1)  # noqa: E741
    at = project(I, measured)
    A = np.column_stack([measured.root[:, None] * I, dense(measured)])
    low = np.r_[np.zeros(3), np.full(A.shape[1] - 3, -np.inf)]
    y = (measured.root * measured.data).numpy()
    slow = scipy.optimize.lsq_linear(A, y, (low, np.inf), tol=1e-14)
    # The tolerance of the slow one's interior point method.
    np.testing.assert_allclose(at.amplitudes, slow.x[:3], rtol=1e-6, atol=1e-6 * slow.x.max())
    assert at.chi2 == pytest.approx(2 * slow.cost, rel=1e-9)
    assert at.amplitudes[2] == 0
    assert at.directions.shape == (3, 2)


def test_shares_of_more_than_one_end_at_one():
    problem = made_up_problem((0.9, 0.6))
    measured = replace(problem.measurements(), max_total=1.0)
    terms = terms_of(problem)
    one, other, x = shapes()
    I = torch.stack([one, other], dim=1)  # noqa: E741
    at = project(I, measured)
    assert float(at.amplitudes.sum()) == pytest.approx(1.0, abs=1e-12)

    def chi2(share):
        a = torch.tensor([share, 1 - share], dtype=torch.float64)
        left = measured.root * measured.without_background((measured.data - I @ a)[:, None])[:, 0]
        return float(left @ left)

    slow = scipy.optimize.minimize_scalar(chi2, bounds=(0, 1), options={"xatol": 1e-10})
    # A minimum is known to the root of the rounding of what is minimized.
    assert float(at.amplitudes[0]) == pytest.approx(slow.x, abs=1e-6)
    # What is left to change keeps the sum.
    assert torch.allclose(at.directions.sum(0), torch.zeros(1, dtype=torch.float64), atol=1e-12)
    assert terms[0].n == len(x)
    # A limit that does not bind changes nothing.
    free = project(I, replace(measured, max_total=2.0))
    assert torch.equal(free.amplitudes, project(I, replace(measured, max_total=None)).amplitudes)
    # One of them alone.
    alone = project(torch.stack([one, -other], dim=1), measured)
    assert torch.equal(alone.amplitudes, torch.tensor([1.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("limit", [None, 0.8])
@pytest.mark.parametrize("spacegroup", ["P 1", "P 1 21 1"])
def test_gradient_of_the_projected_objective(spacegroup, limit):
    problem = made_up_problem((0.6, 0.4), spacegroup=spacegroup)
    terms = terms_of(problem, gamma=2.5)
    measured = replace(problem.measurements(), max_total=limit)
    measured = measured.using(torch.from_numpy(make_folds(problem.voxels) != 1))
    x = somewhere(terms)
    at = shapes_at(terms, x)
    found = project(at.intensities, measured)
    # In P 1 the liquid is at zero here, and its length without effect.
    assert (found.amplitudes > 0).tolist() == [True, spacegroup != "P 1"]
    J = projected_slopes(found, at.weighted(found.amplitudes), measured)
    gradient = 2 * J.T @ found.residual

    def chi2(x):
        return project(shapes_at(terms, x).intensities, measured).chi2

    # Five-point differences err by h^4 = 1e-10 of fifth derivatives, and by rounding, 1e-16 / h.
    h, weights = 3e-3, {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    for i, unit in enumerate(torch.eye(len(x), dtype=x.dtype)):
        slow = sum(w * chi2(x + k * h * unit) for k, w in weights.items()) / h
        assert float(gradient[i]) == pytest.approx(slow, rel=1e-6, abs=1e-7 * found.chi2)


@pytest.mark.parametrize("average", [0, 2])
def test_slopes_of_terms_against_differences(average):
    problem = blank_problem(average=average)
    assert (problem.forward.parts[0].weight is None) == (average == 0)
    for term in terms_of(problem):
        x = somewhere([term])
        value, slopes = term.slopes(x)
        assert torch.allclose(value, term.intensity(x), rtol=1e-12)
        for i, unit in enumerate(torch.eye(term.n, dtype=x.dtype)):
            h = 1e-4  # squared it is the error of the difference, in third derivatives
            slow = (term.intensity(x + h * unit) - term.intensity(x - h * unit)) / (2 * h)
            assert torch.allclose(
                slopes[:, i], slow, rtol=1e-6, atol=1e-6 * float(slow.abs().max())
            )


def test_a_share_of_one_has_the_mean_displacement_of_the_file():
    problem = blank_problem()
    term = terms_of(problem)[0]
    x = somewhere([term])
    lattice = problem.model.lattice.with_force_constants(
        term.parametrization.constants(term.values(x))
    )
    bodies = problem.model.bodies
    U, _ = lattice.displacements_and_scale()
    trace = torch.diagonal(U, dim1=1, dim2=2).sum(1)
    file = torch.diagonal(bodies.U, dim1=1, dim2=2).sum(1)
    assert float(bodies.mean(trace)) == pytest.approx(float(bodies.mean(file)), rel=1e-12)
    # The intensity is that of this lattice, and springs in kT/Å^2 give it.
    springs = term.report(x, torch.tensor(0.5, dtype=torch.float64))
    absolute = problem.model.lattice.with_force_constants(
        term.parametrization.constants(springs), 1.0
    )
    half, _ = absolute.displacements_and_scale()
    assert torch.allclose(half, 0.5 * U, rtol=1e-12)


def test_known_shares_are_recovered(both):
    _, fit = both
    lattice, liquid = fit.amplitudes
    # The scale is free, and the truth is for a scale of 1.
    for row, truth in ((lattice, 0.6), (liquid, 0.4)):
        assert abs(row.value - truth) < SIGMAS * row.sigma
        assert row.sigma < 0.1
    gamma = fit.parameters[-1]
    assert gamma.name == "liquid:gamma"
    assert gamma.unit == "Å"
    assert abs(gamma.value - 2.0) < SIGMAS * gamma.sigma
    one, other, _ = shapes()
    clean = 0.6 * one + 0.4 * other
    # Isotropic parts may move between model and background.
    error = fit.fitted + fit.background - (made_up_background() + clean.numpy())
    assert np.sqrt(np.mean(error**2)) < 0.3 * fit.voxels.sigma[0]
    assert fit.chi2_held_out == pytest.approx(1, abs=5 * (2 / fit.voxels.n) ** 0.5)
    assert fit.converged
    assert any("are told apart" in line for line in fit.told_apart)
    assert np.allclose(np.diag(fit.correlation), 1)
    assert fit.names[:2] == ("amplitude of lattice", "amplitude of liquid")
    assert fit.names[2:] == tuple(row.name for row in fit.parameters)


def made_up_background():
    one, other, _ = shapes()
    mean = float((0.6 * one + 0.4 * other).mean())
    return mean * (1 + np.cos(3 * blank_problem().voxels.s))


@pytest.mark.parametrize(("truth", "absent"), [((1.0, 0.0), 1), ((0.0, 1.0), 0)])
def test_a_component_that_is_absent_comes_out_zero(truth, absent):
    problem = made_up_problem(truth, spread=0.0)
    terms = terms_of(problem, gamma=2.5, level="global")
    fit = fit_parametric(terms, problem)
    row, other = fit.amplitudes[absent], fit.amplitudes[1 - absent]
    assert row.value == 0 or row.value < SIGMAS * row.sigma
    assert abs(other.value - 1) < SIGMAS * other.sigma


def test_upper_limit_of_zero():
    # An amplitude of z standard errors: the quantile of a normal distribution above zero.
    problem = made_up_problem((1.0, 0.0), noise=0.1)
    terms = terms_of(problem)
    _, _, x = shapes()
    measured = problem.measurements()
    at = shapes_at(terms, torch.cat([x, x.new_zeros(1)]))
    limits = []
    for seed in range(40):
        noisy = made_up_problem((1.0, 0.0), noise=0.1, seed=seed).measurements()
        projection = project(at.intensities, noisy)
        if projection.amplitudes[1] == 0:
            done = Minimum(at, projection, torch.zeros(len(at.x), dtype=torch.bool), True, "")
            limits.append(upper_limit(done, 1, noisy, problem.voxels.orbit))
    sigma = noise_error(at, measured)
    # Half of the estimates are zero. The limit is 1.96 sigma where the best value is exactly zero,
    # and less below: 1.2 sigma at two below.
    assert 10 <= len(limits) <= 30
    assert max(limits) < 2.1 * 1.2 * sigma
    assert min(limits) > 0.8 * sigma


def noise_error(at, measured):
    """Standard error of the second amplitude, by the noise of single voxels."""
    A = (measured.root[:, None] * measured.without_background(at.intensities)).numpy()
    return float(np.linalg.inv(A.T @ A)[1, 1] ** 0.5)


def test_jackknife_is_that_of_fits_without_each_block():
    problem = made_up_problem((0.6, 0.4))
    terms = terms_of(problem)
    measured = problem.measurements()
    at = start_of(terms)
    linear = Minimum(at, project(at.intensities, measured), torch.ones(len(at.x)) > 0, True, "")
    found = infer(linear, measured, problem.voxels.orbit)
    slow = []
    for orbit in np.unique(problem.voxels.orbit):
        part = measured.using(torch.from_numpy(problem.voxels.orbit != orbit))
        slow.append(project(at.intensities, part).amplitudes)
    away = torch.stack(slow) - torch.stack(slow).mean(0)
    n = len(slow)
    expected = (n - 1) / n * away.T @ away
    # Both solve linear equations of condition below 1e6 exactly.
    assert torch.allclose(found.covariance[:2, :2], expected, rtol=1e-8)
    assert not found.known[2:].any()


def test_held_out_voxels_decide(both):
    problem, fit = both
    one = fit_parametric(terms_of(problem)[:1], problem)
    liquid = fit_parametric(terms_of(problem)[1:], problem)
    assert held_out_gain(one, fit).clear
    assert held_out_gain(liquid, fit).clear
    assert held_out_gain(liquid, fit).cc > 3 * held_out_gain(liquid, fit).cc_error
    # The other way round it is a loss of as much.
    back = held_out_gain(fit, liquid)
    assert back.chi2.value == pytest.approx(-held_out_gain(liquid, fit).chi2.value, rel=1e-12)
    assert not back.clear
    # A component that is not there is rejected.
    lattice = made_up_problem((1.0, 0.0))
    alone, more = (fit_parametric(terms_of(lattice)[:n], lattice) for n in (1, 2))
    assert held_out_gain(alone, more).chi2.value < 2 * held_out_gain(alone, more).chi2.error
    other = fit_parametric(terms_of(lattice)[:1], lattice, ParametricSettings(folds=4))
    with pytest.raises(InputError, match="different voxels or folds"):
        held_out_gain(alone, other)


def test_predictions_are_of_fits_without_the_voxels():
    problem = made_up_problem((0.6, 0.4))
    fold = single_fold(problem.voxels)
    terms = terms_of(problem, level="global")
    fit = fit_parametric(terms, problem, fold=fold)
    out = problem.voxels.held_out
    assert np.isfinite(fit.held_out[out]).all()
    assert np.isnan(fit.held_out[~out]).all()
    # Data that are held out do not change their own prediction.
    wrong = problem.voxels.data + 100 * problem.voxels.sigma * out
    changed = replace(problem, voxels=replace(problem.voxels, data=wrong))
    other = fit_parametric(terms, changed, fold=fold)
    np.testing.assert_allclose(other.held_out[out], fit.held_out[out], rtol=1e-9)
    np.testing.assert_allclose(
        other.held_out_background[out], fit.held_out_background[out], rtol=1e-7
    )
    assert not np.allclose(other.fitted, fit.fitted, rtol=1e-3)


def test_folds_keep_equivalent_halos_together():
    voxels = blank_problem().voxels
    fold = make_folds(voxels, 5)
    assert set(fold) == set(range(5))
    for orbit in np.unique(voxels.orbit):
        assert len(set(fold[voxels.orbit == orbit])) == 1
    n = np.bincount(fold)
    assert n.min() > 0.5 * n.max()
    with pytest.raises(InputError, match="500 folds of"):
        make_folds(voxels, 500)


def test_limits_of_the_search_are_said():
    problem = made_up_problem((0.0, 1.0))
    terms = terms_of(problem, gamma=100.0)[1:]
    fit = fit_parametric(terms, problem)
    assert fit.parameters[0].at_limit
    assert fit.parameters[0].value == pytest.approx(100 * np.exp(-3), rel=0.01)


def test_null_models_are_terms():
    problem = made_up_problem((1.0, 0.0))
    (molecules,) = null_terms(problem)
    null = fit_parametric([molecules], problem)
    fit = fit_parametric(terms_of(problem)[:1], problem)
    assert null.cc_held_out < fit.cc_held_out
    assert held_out_gain(null, fit).clear
    assert null.parameters == ()


def test_bad_input():
    problem = made_up_problem((1.0, 0.0))
    lattice, liquid = terms_of(problem)
    with pytest.raises(InputError, match="each once"):
        fit_parametric([lattice, lattice], problem)
    with pytest.raises(InputError, match="at least one"):
        fit_parametric([], problem)
    with pytest.raises(InputError, match="has no parameter beta; it has gamma"):
        ComponentTerm(liquid.component, problem.forward, fixed=("beta",))
    assert ComponentTerm(liquid.component, problem.forward, fixed=("gamma",)).n == 0
    with pytest.raises(InputError, match="stiffness matrices"):
        lattice_term(problem.model, problem.forward, "stiffness")
    for bad, match in (
        ({"amplitudes": "any"}, "neither"),
        ({"folds": 1}, "1 folds"),
        ({"prior": -1.0}, "prior -1"),
        ({"tolerance": 1.0}, "tolerance 1"),
        ({"max_steps": 0}, "max_steps 0"),
    ):
        with pytest.raises(InputError, match=match):
            ParametricSettings(**bad)


def test_a_lattice_of_two_orders_has_the_b_factor_of_the_file():
    """Values are those of the model with these springs, and slopes their derivatives."""
    problem = blank_problem()
    model = OnePhonon(problem.model.crystal, gnm_cutoff=7.0, orders=2, rtol=1e-5)
    forward = make_forward(model, problem.voxels)
    term = lattice_term(model, forward, "hybrid")
    x = torch.full((term.n,), 0.3, dtype=torch.float64)
    value, slopes = term.slopes(x)
    constants = term.parametrization.constants(term.values(x))
    assert torch.allclose(value, forward.intensity(constants), rtol=1e-12)
    first = lattice_term(problem.model, problem.forward, "hybrid").intensity(x)
    assert float((value / first).median()) > 1.01  # the first order alone is less
    h = 1e-3 * torch.eye(term.n, dtype=torch.float64)[0]
    difference = (term.intensity(x + h) - term.intensity(x - h)) / 2e-3
    # The error of the difference, and of series cut off at 1e-5.
    assert torch.allclose(slopes[:, 0], difference, rtol=1e-3, atol=1e-4 * float(value.max()))


def test_minimizations_without_parameters_are_linear():
    problem = made_up_problem((1.0, 0.0))
    terms = null_terms(problem)
    done = minimize(terms, problem.measurements(), start_of(terms), max_steps=5, tolerance=1e-4)
    assert done.reason == "linear"


@pytest.mark.parametrize("scope", ["asu", "crystal"])
def test_the_package_s_own_liquid_is_a_term(scope):
    problem = blank_problem()
    # Of a few voxels: the crystal's sums are long.
    part = problem.forward.parts[0]
    few = replace(
        problem.forward,
        n=20,
        parts=(replace(part, voxels=torch.arange(20), points=part.points.part(torch.arange(20))),),
    )
    term = ComponentTerm(Liquid(scope=scope, gamma=2.0), few)
    x = torch.full((1,), 0.2, dtype=torch.float64)
    value, slopes = term.slopes(x)
    if scope == "asu":
        slow = ComponentTerm(liquid(2.0), few)
        # The same sum over all pairs.
        assert torch.allclose(value, slow.intensity(x), rtol=1e-10)
        assert torch.allclose(slopes, slow.slopes(x)[1], rtol=1e-8)
    h = 1e-4  # squared it is the error of the difference, in third derivatives
    difference = (term.intensity(x + h) - term.intensity(x - h)) / (2 * h)
    assert torch.allclose(slopes[:, 0], difference, rtol=1e-6, atol=1e-6 * float(value.max()))
    assert term.reported == (("liquid:gamma", "Å"),)
    assert term.text == f"liquid:scope={scope},gamma=2"


def test_projected_slopes_are_exact_where_nothing_is_left():
    # The neglected change of the projection is multiplied by the residuals.
    problem = made_up_problem((0.6, 0.4))
    terms = terms_of(problem)
    measured, x = problem.measurements(), somewhere(terms)
    at = shapes_at(terms, x)
    clean = at.intensities @ torch.tensor([0.6, 0.4], dtype=torch.float64)
    measured = replace(measured, data=clean + 3 * measured.background.columns.sum(1))
    found = project(at.intensities, measured)
    J = projected_slopes(found, at.weighted(found.amplitudes), measured)
    h = 1e-4  # squared it is the error of the difference, in third derivatives
    for i, unit in enumerate(torch.eye(len(x), dtype=x.dtype)):
        up, down = (
            project(shapes_at(terms, x + s * h * unit).intensities, measured) for s in (1, -1)
        )
        slow = (up.residual - down.residual) / (2 * h)
        assert torch.allclose(J[:, i], slow, atol=1e-6 * float(slow.abs().max()))
