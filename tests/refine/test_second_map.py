"""A second map of the same structure: indexed by itself, on the voxels of the fit."""

import numpy as np
import pytest

from crystals import made_up
from onephonon import DiffuseMap, InputError, MapGrid
from onephonon.crystal.reindexing import parse_reindexing
from onephonon.maps import reindex, symmetrize
from onephonon.refine.second_map import second_map
from onephonon.refine.settings import FitSettings
from onephonon.refine.voxels import select_voxels

CELL = (30.0, 30.0, 40.0, 90.0, 90.0, 90.0)
CRYSTAL = made_up("P 43", cell=CELL)
SETTINGS = FitSettings(d_min=3.0, d_max=12.0, average=0, bragg_radius=0.0)


def random_map(seed=0, n=11):
    """Random intensities of the symmetry of the crystal, one voxel per hkl."""
    grid = MapGrid.from_sampling(*[(-n, n, 1)] * 3)
    values = np.random.default_rng(seed).normal(10.0, 2.0, grid.shape)
    return symmetrize(DiffuseMap.on_grid(values, grid, CELL, spacegroup="P 43")).map


def voxels_of(data):
    return select_voxels(data, CRYSTAL, parse_reindexing("h,k,l", CELL, CELL), SETTINGS)


def test_a_map_in_another_indexing_and_scale_is_found():
    data = random_map()
    voxels = voxels_of(data)
    other = reindex(data.changed("scaled", {"intensity": 3.0 * data.intensity + 1.0}), "k,h,-l")
    found = second_map(other, data, CRYSTAL, voxels, "other.lat")
    assert found.reindexing.name == "k,h,-l"
    np.testing.assert_allclose(found.values, 3.0 * voxels.data + 1.0, rtol=1e-12)
    assert found.cc == pytest.approx(1.0, abs=1e-12)
    assert found.n == voxels.n


def test_equivalents_of_the_other_map_are_averaged_and_the_agreement_is_of_averages():
    """With errors e1 and e2 on each voxel and n equivalents, the correlation of the averages is
    ``1 / sqrt((1 + e1^2/n s^2) (1 + e2^2/n s^2))``: with e = s and n = 8, 8/9."""
    true, rng = random_map(), np.random.default_rng(5)

    def measured():
        noise = rng.normal(0.0, 2.0 / np.sqrt(8.0), true.intensity.shape)
        return true.changed("noise", {"intensity": true.intensity + noise})

    # The true map is the average of 8 random values, so its spread is 2/sqrt(8), too.
    data = measured()
    voxels = voxels_of(data)
    found = second_map(measured(), data, CRYSTAL, voxels)
    # Standard error of a correlation r of N voxels is (1 - r^2)/sqrt(N).
    error = (1 - (8 / 9) ** 2) / np.sqrt(voxels.n)
    assert abs(found.cc - 8 / 9) < 4 * error
    assert 0.3 * error < found.error < 3 * error


def test_another_map_agrees_with_nothing():
    data = random_map()
    voxels = voxels_of(data)
    found = second_map(random_map(seed=1), data, CRYSTAL, voxels)
    assert abs(found.cc) < 5 / np.sqrt(voxels.n)


def test_too_few_common_voxels_are_refused():
    data = random_map()
    voxels = voxels_of(data)
    values = np.full(data.intensity.shape, np.nan)
    values[:, 14:, 14:] = data.intensity[:, 14:, 14:]
    values[np.abs(data.grid.hkl.reshape(*data.grid.shape, 3)).sum(-1) > 8] = np.nan
    with pytest.raises(InputError, match=r"other.lat has a value at \d+ of \d+ voxels"):
        second_map(data.changed("part", {"intensity": values}), data, CRYSTAL, voxels, "other.lat")
