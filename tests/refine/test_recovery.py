"""Fits of made-up measurements: what went in comes out, as surely as is claimed, or is refused."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from crystals import CELLS, made_up
from fits import clean_map, peptide, sampling, starting_model, to_map, true_model
from onephonon.crystal import Reindexing
from onephonon.maps import reindex
from onephonon.refine import (
    FitSettings,
    Uncertainty,
    fit_springs,
    make_parametrization,
    minimize_objective,
    select_voxels,
    spring_table,
)
from onephonon.refine.fit import make_objective
from onephonon.refine.parametrization import find_levels, parametrization_basis

SEEDS = 50

#: Binomial counts may be this many standard deviations off: once in 370 tests of one seed.
SIGMAS = 3.0


def measured(truth, axes, crystal, background, noise, *, average=0, seed=2, units="e^2 per cell"):
    """A map with noise and a background of its own in every halo, or of |q| alone."""
    clean, s = clean_map(truth, axes, average)
    rng = np.random.default_rng(seed)
    mean = np.nanmean(clean)
    sigma = noise * mean * rng.uniform(0.5, 1.5, clean.shape)
    smooth = 0.0 if background == "none" else mean * (1 + np.cos(4 * s))
    if background == "halo":
        # A constant in each, the same at -hkl.
        peak = np.rint(truth.hkl_grid.numpy())
        smooth = mean * (1 + 0.5 * np.cos(peak @ [7, 3, 5])).reshape(clean.shape)
    values = clean + smooth + sigma * rng.normal(size=clean.shape)
    return to_map(values, axes, crystal, sigma, units)


FITS = {
    # Coarse voxels, averaged over; a fine map; a scale that must be found.
    "5zck": {"per_index": (2, 2, 2), "background": "isotropic", "average": 2},
    "2ol9": {"per_index": (3, 3, 3), "background": "halo", "average": 0},
    "5wkd": {"per_index": (3, 3, 3), "background": "isotropic", "average": 0, "units": ""},
}


@pytest.mark.parametrize("code", FITS)
def test_springs_are_recovered_within_their_uncertainties(code):
    options = dict(FITS[code])
    crystal, d_min = peptide(code), 3.5
    axes = sampling(crystal, d_min, options.pop("per_index"))
    truth = true_model(crystal, axes, d_min)
    data = measured(truth, axes, crystal, noise=0.02, **options)
    settings = FitSettings(
        voxels="all",
        d_min=d_min,
        background=options["background"],
        knots=6,
        levels=("global", "hybrid"),
        average=options["average"],
    )
    fit = fit_springs(starting_model(crystal), data, settings)
    assert fit.absolute == (code != "5wkd")
    assert (fit.voxels.order > 1).all() == (options["average"] > 0)
    # So few halos, or one block of them, held out may not determine the level.
    best = fit.series.levels[-1]
    assert best.level.name == "hybrid"
    assert best.minimum.converged
    # A chi-square per voxel of n - 1 parameters' worth of data: 1 within 5 standard deviations.
    assert best.held_out.chi2 == pytest.approx(1, abs=5 * (2 / best.held_out.n) ** 0.5)
    assert fit.series.start.held_out.chi2 > 3
    known = truth.springs.values().detach().numpy().reshape(-1)
    rows = spring_table(fit, best)
    if not fit.absolute:
        # The unit of the table follows from the file's B; the truth's ratios are what is known.
        sure = [row.by_data > 0.99 for row in rows]
        unit = np.mean(np.log([row.value for row in rows] / known)[sure])
        known = known * np.exp(unit)
    pulls = np.array(
        [np.log(row.value / k) / row.sigma_log_at_b for row, k in zip(rows, known, strict=True)]
    )
    sure = np.array([row.by_data > 0.9 for row in rows])
    assert sure.sum() >= 8
    # Of some ten normal deviates one beyond 4 has odds of 1 in 1600; their rms is 1 +- 0.25.
    assert np.abs(pulls[sure]).max() < 4
    assert np.sqrt(np.mean(pulls[sure] ** 2)) < 1.8
    assert np.median([row.sigma_log_at_b for row in rows]) < 0.2


@cache
def experiment(code, background, scaled):
    """Voxels of a crystal and an objective whose data are to be put in place."""
    crystal, d_min = peptide(code), 4.0
    axes = sampling(crystal, d_min)
    shape = [round((high - low) * n) + 1 for low, high, n in axes]
    data = to_map(np.ones(shape), axes, crystal, np.ones(shape))
    settings = FitSettings(voxels="all", d_min=d_min, background=background, knots=5, average=0)
    voxels = select_voxels(data, crystal, Reindexing(np.eye(3)), settings)
    model = starting_model(crystal)
    objective, _ = make_objective(model, data, voxels, settings, absolute=not scaled)
    parametrization = make_parametrization(
        find_levels(("hybrid",))[0], model.bodies, model.contacts, 20.0
    )
    return voxels, replace(
        objective, parametrization=parametrization, basis=parametrization_basis(parametrization)
    )


@pytest.mark.parametrize(
    ("code", "background", "scaled", "prior", "noise"),
    [
        # Springs that the data know to 2 to 10 %, and one (within) that the prior alone knows.
        ("5zck", "isotropic", False, 4.0, 0.02),
        # Springs within a factor 1.3 of the start, known to 1 to 20 %, beside 100 constants.
        ("2ol9", "halo", True, 16.0, 0.02),
    ],
)
def test_intervals_have_their_nominal_coverage(code, background, scaled, prior, noise):
    voxels, empty = experiment(code, background, scaled)
    objective = replace(empty, prior=prior)
    parametrization = objective.parametrization
    zero = torch.zeros(parametrization.n, dtype=torch.float64)
    mean = float(objective.evaluate(zero).intensity.mean())
    s, halo = torch.from_numpy(voxels.s), torch.from_numpy(voxels.halo)
    pulls, whitened = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        # Springs as the prior expects them: its weight is one over their variance.
        true = torch.from_numpy(rng.normal(0, prior**-0.5, parametrization.n))
        values = objective.forward.intensity(
            parametrization.constants(parametrization.values(true))
        ).detach()
        level = torch.from_numpy(rng.uniform(0.5, 2.0, voxels.n_halos))[halo]
        values = values + mean * (level if background == "halo" else 1 + torch.cos(4 * s))
        sigma = noise * mean * torch.from_numpy(rng.uniform(0.5, 1.5, voxels.n))
        data = values + sigma * torch.from_numpy(rng.normal(size=voxels.n))
        one = replace(objective, data=data, sigma=sigma)
        found = minimize_objective(one, zero)
        assert found.converged
        uncertainty = Uncertainty(one.slopes(found.at).hessian, prior)
        wrong = found.at.x - true
        pulls.append(wrong / uncertainty.sigma)
        variance, axes = torch.linalg.eigh(uncertainty.covariance)
        whitened.append(axes.T @ wrong / variance.sqrt())
    for within, claimed in ((1.0, 0.6827), (1.96, 0.95)):
        # Along the covariance's own axes errors are independent: a binomial count.
        inside = torch.stack(whitened).abs() < within
        spread = (claimed * (1 - claimed) / inside.numel()) ** 0.5
        assert float(inside.double().mean()) == pytest.approx(claimed, abs=SIGMAS * spread)
        # Springs of a fit are correlated: the count varies from seed to seed by more, at most as
        # if every spring of a fit were the same one.
        inside = torch.stack(pulls).abs() < within
        spread = (claimed * (1 - claimed) / SEEDS) ** 0.5
        assert float(inside.double().mean()) == pytest.approx(claimed, abs=SIGMAS * spread)


def hexagonal(spacegroup="P 61"):
    return made_up(spacegroup, cell=CELLS["P 61"])


@cache
def hexagonal_data():
    crystal, d_min = hexagonal(), 1.4
    axes = sampling(crystal, d_min, (2, 2, 2))
    truth = true_model(crystal, axes, d_min, gnm_cutoff=6.5, spread=0.4)
    # Without a background: a held-out block of so small a map may hold an end of the range of |q|,
    # where no other voxel tells what the background is.
    return measured(truth, axes, crystal, "none", 0.02)


def fit_hexagonal(crystal, data, reindexing):
    settings = FitSettings(
        voxels="all",
        average=0,
        reindex=reindexing,
        levels=("global", "hybrid"),
        background="none",
        prior=1.0,
    )
    fit = fit_springs(starting_model(crystal, gnm_cutoff=6.5), data, settings)
    # A small peptide leaves two blocks to hold out, too few to choose the level.
    return fit, fit.series.levels[-1]


def test_wrong_indexing_is_seen_and_found():
    data = hexagonal_data()
    right, right_level = fit_hexagonal(hexagonal(), data, "auto")
    assert right.reindexing.is_identity
    other = reindex(data, "k,h,-l")
    _, wrong_level = fit_hexagonal(hexagonal(), other, "none")
    warned, _ = fit_hexagonal(hexagonal(), other, "auto")
    mended, corrected_level = fit_hexagonal(hexagonal(), other, "best")
    n = right_level.held_out.n
    assert right_level.held_out.chi2 == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert corrected_level.held_out.chi2 == pytest.approx(right_level.held_out.chi2, rel=0.2)
    assert wrong_level.held_out.chi2 > 10
    lost = [1 - level.held_out.cc_anisotropic for level in (wrong_level, right_level)]
    assert lost[0] > 10 * lost[1]
    assert not mended.reindexing.is_identity
    # So few voxels of a peptide do not make it certain; that is said.
    assert "k,h,-l" in warned.messages[0]
    # Uncertainties grow with what is unexplained.
    assert wrong_level.dispersion > 10


def test_the_wrong_hand_of_the_space_group_is_seen():
    # Point for point the Laue group is the same: nothing but the fit can tell.
    _, right_level = fit_hexagonal(hexagonal(), hexagonal_data(), "none")
    _, wrong_level = fit_hexagonal(hexagonal("P 65"), hexagonal_data(), "none")
    assert wrong_level.held_out.chi2 > 10 * right_level.held_out.chi2
    lost = [1 - level.held_out.cc_anisotropic for level in (wrong_level, right_level)]
    assert lost[0] > 10 * lost[1]


def test_a_missing_interface_is_seen():
    crystal, d_min = peptide("5zck"), 3.5
    axes = sampling(crystal, d_min)
    data = measured(true_model(crystal, axes, d_min), axes, crystal, "isotropic", 0.02)
    settings = FitSettings(voxels="all", levels=("global", "hybrid"), knots=6, prior=0.1, average=0)
    whole, short = (
        fit_springs(starting_model(crystal, gnm_cutoff=c), data, settings) for c in (4.0, 3.5)
    )
    tables = [
        {row.interface for row in spring_table(fit, fit.series.levels[-1])}
        for fit in (whole, short)
    ]
    assert tables[0] - tables[1]
    found, wrong = (fit.series.levels[-1].held_out.chi2 for fit in (whole, short))
    assert found < 1.5
    assert wrong > 2 * found
