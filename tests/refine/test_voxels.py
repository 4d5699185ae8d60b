"""Which voxels of a map are fitted, which are held out, and what a fit may be asked for."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from crystals import made_up
from fits import peptide, sampling, starting_model, to_map
from onephonon import DiffuseMap
from onephonon.core.errors import InputError
from onephonon.crystal import Reindexing, laue_operators, numpy_cell
from onephonon.maps import reindex
from onephonon.refine import FitSettings, fit_springs, select_voxels
from onephonon.refine.voxels import shell_standard_deviation
from onephonon.scattering.sampling import peak_strengths

SAME = Reindexing(np.eye(3))
D_MIN = 3.0


def symmetric_map(crystal, d_min=D_MIN, per_index=(3, 3, 3), noise=0.0, sigma=None):
    """A map with the crystal's Laue symmetry, and noise that has none."""
    axes = sampling(crystal, d_min, per_index)
    shape = [round((high - low) * n) + 1 for low, high, n in axes]
    hkl = to_map(np.ones(shape), axes, crystal).hkl
    laue = laue_operators(crystal.spacegroup, crystal.cell.parameters)
    wave = np.array([0.7, 0.31, 0.53])
    values = 10 + sum(np.cos((hkl @ L) @ wave) for L in laue).reshape(shape)
    rng = np.random.default_rng(0)
    values = values + noise * rng.normal(size=shape)
    if sigma == "random":
        sigma = rng.uniform(0.5, 2.0, shape)
    return to_map(values, axes, crystal, sigma)


@pytest.fixture(scope="module")
def crystal():
    return peptide("5zck")


def equivalents(crystal, hkl):
    laue = laue_operators(crystal.spacegroup, crystal.cell.parameters)
    return np.unique(np.concatenate([np.asarray(hkl) @ L for L in laue]).round(6), axis=0)


def test_halos_are_those_of_the_strongest_peaks(crystal):
    data = symmetric_map(crystal)
    settings = FitSettings(n_peaks=7, d_min=3.2, d_max=6.0)
    found = select_voxels(data, crystal, SAME, settings)
    axes = numpy_cell(crystal.cell.parameters).inverse
    every = np.unique(np.abs(np.rint(data.hkl)).astype(int), axis=0)
    s = np.linalg.norm(every @ axes, axis=1)
    every = every[(s >= 1 / 6.0) & (s <= 1 / 3.2)]
    strength = peak_strengths(crystal, torch.from_numpy(every)).numpy()
    strongest = {tuple(x) for x in every[np.argsort(-strength)[:7]].tolist()}
    assert {tuple(x) for x in np.abs(found.peaks).tolist()} == strongest
    assert "7 strongest" in " ".join(found.messages)
    # Whole halos: 27 voxels around a general peak, and one of each set of equivalents.
    assert (np.abs(found.hkl - found.peaks[found.halo]) <= 0.5).all()
    for peak in strongest:
        looked = equivalents(crystal, [peak])
        near = np.abs(data.hkl[:, None] - looked).max(2).min(1) < 0.4
        near &= np.linalg.norm((data.hkl - np.rint(data.hkl)) @ axes, axis=1) > 1e-9
        assert np.isin(np.flatnonzero(near), found.equivalent_place).sum() > 0
    assert found.n == len(np.unique(found.equivalent_of))


def test_fewer_halos_than_requested_gives_a_message(crystal):
    found = select_voxels(symmetric_map(crystal), crystal, SAME, FitSettings(d_min=3.2, d_max=6.0))
    assert "(of 400 requested)" in " ".join(found.messages)


def test_each_voxel_stands_for_its_equivalents(crystal):
    data = symmetric_map(crystal, noise=1.0, sigma="random")
    found = select_voxels(data, crystal, SAME, FitSettings(voxels="all", bragg_radius=0.0))
    values, sigma = data.intensity.reshape(-1), data.sigma.reshape(-1)
    keys = np.sort(np.abs(found.hkl).round(4), axis=0)
    assert len(np.unique(np.abs(found.hkl).round(4), axis=0)) == found.n == len(keys)
    rng = np.random.default_rng(1)
    for i in rng.choice(found.n, 30, replace=False):
        same = (np.abs(np.abs(data.hkl) - np.abs(found.hkl[i])) < 1e-6).all(1)
        np.testing.assert_array_equal(
            np.sort(found.equivalent_place[found.equivalent_of == i]), np.flatnonzero(same)
        )
        weight = sigma[same] ** -2
        # Means of at most eight numbers: rounding.
        assert found.data[i] == pytest.approx((weight @ values[same]) / weight.sum(), rel=1e-12)
        assert found.sigma[i] == pytest.approx(weight.sum() ** -0.5, rel=1e-12)
        assert same[found.voxel_index[i]]
    assert "averaged" in " ".join(found.messages)
    spread = found.to_map_shape(found.data, data).reshape(-1)
    # Put back, every voxel has the mean of its kind; the origin was not looked at.
    assert np.isfinite(spread).sum() == len(spread) - 1
    assert np.nanstd(spread - values) == pytest.approx(1.0, rel=0.2)


def test_identical_copies_are_not_independent_measurements(crystal):
    data = symmetric_map(crystal, noise=0.0, sigma="random")
    found = select_voxels(data, crystal, SAME, FitSettings(voxels="all"))
    assert "identical copies" in " ".join(found.messages)
    # The sigma is one voxel's own, not that of a mean of eight.
    assert np.isin(found.sigma, data.sigma.reshape(-1)).all()


@pytest.mark.parametrize("code", ["5zck", "5wkd", "2ol9"])
def test_halos_are_held_out_with_their_equivalents(code):
    crystal = peptide(code)
    data = symmetric_map(crystal, 4.0)
    settings = FitSettings(voxels="all", held_out=0.25)
    found = select_voxels(data, crystal, SAME, settings)
    held = {tuple(x) for x in found.peaks[np.unique(found.halo[found.held_out])].tolist()}
    kept = {tuple(x) for x in found.peaks[np.unique(found.halo[~found.held_out])].tolist()}
    assert held
    assert not held & kept
    for peak in held:
        assert not {tuple(x) for x in equivalents(crystal, [peak]).astype(int).tolist()} & kept
    orbits = np.unique(found.orbit)
    n_held = len(np.unique(found.orbit[found.held_out]))
    assert n_held == round(0.25 * len(orbits))
    assert not set(found.orbit[found.held_out]) & set(found.orbit[~found.held_out])
    again = select_voxels(data, crystal, SAME, settings)
    assert (again.held_out == found.held_out).all()
    other = select_voxels(data, crystal, SAME, FitSettings(voxels="all", held_out=0.25, seed=1))
    assert (other.held_out != found.held_out).any()


def test_single_voxels_are_held_out_in_blocks(crystal):
    data = symmetric_map(crystal, 2.0, (1, 1, 1))
    found = select_voxels(data, crystal, SAME, FitSettings(held_out=0.2))
    assert (found.order == 2).all()
    assert "blocks of" in " ".join(found.messages)
    held = {tuple(x) for x in np.abs(np.rint(found.hkl[found.held_out])).astype(int).tolist()}
    # Most of the six neighbours of a voxel that is held out are held out too, or do not exist.
    every = {tuple(x) for x in np.abs(np.rint(found.hkl)).astype(int).tolist()}
    near = [
        tuple(np.abs(np.array(x) + sign * unit).tolist())
        for x in held
        for unit in np.eye(3, dtype=int)
        for sign in (1, -1)
    ]
    inside = [x in held for x in near if x in every]
    assert np.mean(inside) > 0.5  # of voxels chosen one by one it would be 0.2


def test_voxels_near_bragg_points_are_excluded(crystal):
    data = symmetric_map(crystal)
    axes = numpy_cell(crystal.cell.parameters).inverse

    def nearest(found):
        away = (found.hkl - np.rint(found.hkl)) @ axes
        return np.linalg.norm(away, axis=1).min()

    half = 0.5 * np.linalg.norm(np.full(3, 1 / 3) @ axes)  # right angles: all diagonals alike
    for radius, least in ((None, half), (0.07, 0.07), (0.0, 0.0)):
        settings = FitSettings(voxels="all", bragg_radius=radius and 2 * np.pi * radius)
        found = select_voxels(data, crystal, SAME, settings)
        assert nearest(found) >= least
        if radius == 0:
            assert nearest(found) == 0
        else:
            # All but those: every voxel of the map that is far enough is there.
            away = np.linalg.norm((data.hkl - np.rint(data.hkl)) @ axes, axis=1)
            assert len(found.equivalent_place) == np.sum(away >= least)
            assert "of a Bragg point are excluded" in " ".join(found.messages)
    # Averages over fine voxels leave out those that hold the Bragg peak, unless it was removed.
    averaged = select_voxels(data, crystal, SAME, FitSettings(voxels="all", average=2))
    assert nearest(averaged) >= half
    removed = select_voxels(
        data, crystal, SAME, FitSettings(voxels="all", average=2, leave_out=0.3)
    )
    assert nearest(removed) == 0


@pytest.mark.parametrize(
    ("per_index", "kept"), [((2, 2, 2), 7 / 8), ((1, 1, 2), 1 / 2), ((1, 1, 1), 1.0)]
)
def test_coarse_voxels_that_hold_a_bragg_point_are_excluded_unless_all_do(crystal, per_index, kept):
    data = symmetric_map(crystal, per_index=per_index)
    found = select_voxels(data, crystal, SAME, FitSettings(voxels="all"))
    whole = select_voxels(data, crystal, SAME, FitSettings(voxels="all", bragg_radius=0.0))
    share = len(found.equivalent_place) / len(whole.equivalent_place)
    assert share == pytest.approx(kept, abs=0.05)  # the ends of the map hold whole indices
    if kept < 1:
        assert (np.abs(found.hkl - np.rint(found.hkl)) > 0.2).any(axis=1).all()


def test_ranges_of_resolution(crystal):
    data = symmetric_map(crystal)
    found = select_voxels(data, crystal, SAME, FitSettings(voxels="all", d_min=4.0, d_max=9.0))
    axes = numpy_cell(crystal.cell.parameters).inverse
    np.testing.assert_allclose(found.s, np.linalg.norm(found.hkl @ axes, axis=1), rtol=1e-12)
    assert found.s.min() >= 1 / 9.0
    assert found.s.min() < 0.12
    assert 0.24 < found.s.max() <= 0.25 * (1 + 1e-6)
    # For halos the peak decides, and halos are whole.
    halos = select_voxels(data, crystal, SAME, FitSettings(d_min=4.0, d_max=9.0))
    peak = np.linalg.norm(halos.peaks @ axes, axis=1)
    assert peak.min() >= 1 / 9.0
    assert peak.max() <= 0.25 * (1 + 1e-6)
    assert halos.s.max() > 0.25


def test_missing_values_and_sigmas_are_left_out(crystal):
    data = symmetric_map(crystal, sigma="random")
    values, sigma = data.intensity.copy().reshape(-1), data.sigma.copy().reshape(-1)
    rng = np.random.default_rng(2)
    bad = rng.choice(values.size, 900, replace=False)
    values[bad[:300]] = np.nan
    sigma[bad[300:600]] = np.nan
    sigma[bad[600:]] = 0.0
    shape = data.intensity.shape
    hurt = data.changed(
        "some are lost", {"intensity": values.reshape(shape), "sigma": sigma.reshape(shape)}
    )
    found = select_voxels(hurt, crystal, SAME, FitSettings(voxels="all", bragg_radius=0.0))
    assert not np.isin(found.equivalent_place, bad).any()
    assert np.isfinite(found.data).all()
    assert (found.sigma > 0).all()


def test_without_sigma_the_standard_deviation_in_shells_is_used(crystal):
    found = select_voxels(symmetric_map(crystal), crystal, SAME, FitSettings(voxels="all"))
    assert not found.sigma_known
    assert "no sigma" in " ".join(found.messages)
    np.testing.assert_allclose(
        found.sigma, shell_standard_deviation(found.data, found.s), rtol=1e-12
    )
    rng = np.random.default_rng(0)
    s = rng.uniform(0, 1, 40_000)
    values = 5 - 3 * s + np.where(s > 0.5, 2.0, 0.5) * rng.normal(size=s.size)
    spread = shell_standard_deviation(values, s)
    away = np.abs(s - 0.5) > 0.02
    # 800 normal numbers give their spread to 1/40 (2.5 %); 50 shells, so four of those.
    np.testing.assert_allclose(spread[away], np.where(s > 0.5, 2.0, 0.5)[away], rtol=0.1)
    with pytest.raises(InputError, match="do not vary"):
        shell_standard_deviation(np.ones(100), s[:100])


def test_another_indexing_gives_the_same_voxels():
    crystal = made_up("P 31 2 1")
    axes = [(-3, 3, 2), (-3, 3, 2), (-3, 3, 2)]
    data = symmetric_map_of(crystal, axes)
    other = reindex(data, "-h,-k,l")
    one = select_voxels(data, crystal, SAME, FitSettings(voxels="all", average=0))
    reindexing = Reindexing(np.diag([-1.0, -1.0, 1.0]))
    two = select_voxels(other, crystal, reindexing, FitSettings(voxels="all", average=0))
    laue = laue_operators(crystal.spacegroup, crystal.cell.parameters)

    def table(found):
        """Each voxel by the last of its equivalents, and its value."""
        every = np.stack([(found.hkl @ L).round(4) + 0.0 for L in laue])
        keys = [max(map(tuple, every[:, i].tolist())) for i in range(found.n)]
        return dict(zip(keys, zip(found.data, found.sigma, strict=True), strict=True))

    ours, theirs = table(one), table(two)
    assert ours.keys() == theirs.keys()
    np.testing.assert_allclose(list(ours.values()), [theirs[k] for k in ours], rtol=1e-12)
    # Without being turned the values would be others: the test can fail.
    plain = table(select_voxels(other, crystal, SAME, FitSettings(voxels="all", average=0)))
    assert any(abs(plain[k][0] - ours[k][0]) > 0.1 for k in ours)


def symmetric_map_of(crystal, axes):
    """A map on these axes with the crystal's Laue symmetry, and sigma that have it too."""
    shape = [round((high - low) * n) + 1 for low, high, n in axes]
    hkl = to_map(np.ones(shape), axes, crystal).hkl
    laue = laue_operators(crystal.spacegroup, crystal.cell.parameters)
    values = sum(np.cos((hkl @ L) @ [0.7, 0.31, 0.53]) for L in laue).reshape(shape)
    return to_map(10 + values, axes, crystal, 1 + 0.1 * values**2)


def test_data_that_cannot_be_fitted_raise(crystal):
    listed = DiffuseMap.at_points(np.ones((30, 3)), np.ones(30))
    for refuse in (
        lambda: select_voxels(listed, crystal, SAME, FitSettings()),
        lambda: fit_springs(starting_model(crystal), listed),
    ):
        with pytest.raises(InputError, match="list of q-vectors; give a map on a grid"):
            refuse()
    data = symmetric_map(crystal, 4.0)
    for settings, messages in (
        ({"voxels": "all", "d_min": 14.0}, r"fewer than 20; widen the resolution range"),
        ({"d_min": 0.9, "d_max": 1.0}, "no voxel between d = 0.9 and 1 Å; they cover"),
        ({"d_min": 4.0, "d_max": 9.0, "n_peaks": 1}, "there is only one halo"),
        ({"voxels": "all", "leave_out": 0.3, "average": 0}, "leave_out needs voxel averages"),
        ({"d_min": 2.7}, "give both d_min and d_max"),
    ):
        with pytest.raises(InputError, match=messages):
            select_voxels(data, crystal, SAME, FitSettings(**settings))


ERRORS = [
    ({"voxels": "some"}, "voxels 'some' is not one of auto, halos, all"),
    ({"scale": "free"}, "scale 'free' is not one of"),
    ({"background": "flat"}, "background 'flat' is not one of"),
    ({"loss": "huber"}, "loss 'huber' is not one of"),
    ({"levels": ("atoms",)}, "levels atoms: give one or more of"),
    ({"n_peaks": 0}, "n_peaks 0: give"),
    ({"held_out": 0.0}, "held_out 0.0: give a fraction"),
    ({"held_out": 0.95}, "held_out 0.95: give a fraction"),
    ({"knots": 1}, "knots 1: give 2 to 200"),
    ({"outlier": 0.0}, "outlier 0.0: give"),
    ({"max_steps": 0}, "max_steps 0: give"),
    ({"tolerance": float("nan")}, "tolerance nan: give"),
    ({"prior": -1.0}, "prior -1.0: give a weight"),
    ({"prior": float("inf")}, "prior inf: give a weight"),
    ({"d_min": 0.0}, "d_min 0.0 is not a resolution"),
    ({"d_max": -2.0}, "d_max -2.0 is not a resolution"),
    ({"d_min": 3.0, "d_max": 2.0}, "d_min 3 and d_max 2 leave nothing; swap them"),
    ({"bragg_radius": -0.1}, "bragg_radius -0.1: give a distance"),
]


@pytest.mark.parametrize(("options", "messages"), ERRORS)
def test_invalid_settings_raise(options, messages):
    with pytest.raises(InputError, match=messages):
        FitSettings(**options)


def test_settings_are_stored():
    options = FitSettings(levels=["global", "hybrid"])
    assert options.levels == ("global", "hybrid")
    assert {f.name for f in fields(options)} >= {"voxels", "prior", "seed", "reindex"}
