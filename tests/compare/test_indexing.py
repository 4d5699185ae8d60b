"""A map in the indices of another one, chosen as in comparisons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onephonon import DiffuseMap, InputError, MapGrid
from onephonon.compare import compare_maps, in_same_indices
from onephonon.crystal import find_reindexings
from onephonon.maps import reindex, symmetrize
from onephonon.maps.resampling import resample

TETRAGONAL = (31.0, 31.0, 40.0, 90.0, 90.0, 90.0)
CUBE = MapGrid((-8, -8, -8), (1, 1, 1), (17, 17, 17))


def speckled(group: str, cell=TETRAGONAL, grid: MapGrid = CUBE) -> DiffuseMap:
    """A map of random speckles with the symmetry of a group."""
    from scipy import ndimage

    noise = np.random.default_rng(1).normal(size=grid.shape)
    field = 10 + ndimage.gaussian_filter(noise, 1.0, mode="wrap")
    return symmetrize(DiffuseMap.on_grid(field, grid, cell, spacegroup=group)).map


def equal_where_known(one: DiffuseMap, other: DiffuseMap) -> int:
    """Number of voxels with a value in both, which must be equal."""
    assert one.grid == other.grid
    both = one.mask & other.mask
    np.testing.assert_allclose(one.intensity[both], other.intensity[both], rtol=1e-9)
    return int(both.sum())


@pytest.mark.parametrize("group", ["P 41", "P 3"])
def test_every_indexing_is_found_and_undone(group: str) -> None:
    cell = TETRAGONAL if group == "P 41" else (31.0, 31.0, 40.0, 90.0, 90.0, 120.0)
    data = speckled(group, cell)
    ways = find_reindexings(cell, group)
    assert len(ways) == {"P 41": 2, "P 3": 4}[group]
    for way in ways:
        model = reindex(data, way.matrix.astype(int))
        pair = in_same_indices(model, data)
        # The operators of a coset are equivalent.
        assert pair.reindexing.name == way.name
        assert pair.first.cell == pytest.approx(data.cell)
        at = resample(pair.first, CUBE, "nearest")
        assert equal_where_known(at, data) > 0.6 * CUBE.size
        assert ("instead of the data's own" in pair.decision) is (not way.is_identity)


def test_the_indexing_is_that_of_a_comparison() -> None:
    data = speckled("P 41")
    model = reindex(data, "k,h,-l")
    pair = in_same_indices(model, data)
    assert compare_maps(model, data).reindexing.name == pair.reindexing.name == "k,h,-l"
    # Afterwards nothing is left to change.
    assert compare_maps(pair.first, data).reindexing.is_identity
    assert compare_maps(pair.first, data).overall.cc == pytest.approx(1)


def test_part_of_a_map_goes_to_an_equivalent_part_that_the_data_have() -> None:
    # k,h,-l takes l >= 0 to l <= 0, where these data have nothing.
    data = speckled("P 41")
    upper = MapGrid((-8, -8, 0), (1, 1, 1), (17, 17, 9))
    half = resample(data, upper, "nearest")
    part = resample(reindex(data, "k,h,-l"), upper, "nearest")
    found = in_same_indices(part, half, reindex="k,h,-l").first
    # That operator is with inversion; the hand of the crystal stays.
    assert found.spacegroup == "P 41"
    assert equal_where_known(resample(found, upper, "nearest"), half) == upper.size


def test_requests_are_kept() -> None:
    data = speckled("P 41")
    model = reindex(data, "k,h,-l")
    assert in_same_indices(model, data, "none").first is model
    found = in_same_indices(data, data, "k,h,-l")
    assert equal_where_known(found.first, reindex(data, "k,h,-l")) == CUBE.size


def test_a_finer_map_and_one_on_other_points() -> None:
    data = speckled("P 41")
    fine = MapGrid((-8, -8, -8), (1 / 3, 1 / 3, 1 / 3), (49, 49, 49))
    beside = MapGrid((-7.75, -7.75, -7.75), (0.5, 0.5, 0.5), (32, 32, 32))
    for grid in (fine, beside):
        model = reindex(resample(data, grid), "k,h,-l")
        # So few voxels make 'auto' hesitate: 4.9 standard errors on the second grid.
        pair = in_same_indices(model, data, "best")
        assert pair.reindexing.name == "k,h,-l"
        assert pair.first.grid is not None
        assert pair.first.grid.step == pytest.approx(grid.step)


def test_cells_of_other_crystals_are_refused_as_in_a_comparison() -> None:
    data = speckled("P 41")
    other = replace(data, cell=(31.0, 31.0, 44.0, 90.0, 90.0, 90.0))
    with pytest.raises(InputError, match=r"is not the model's .* differs by 10 %") as shown:
        in_same_indices(data, other)
    with pytest.raises(InputError) as compared:
        compare_maps(data, other)
    assert str(shown.value) == str(compared.value)


def test_an_oblique_operator_of_a_centred_cell_is_interpolated() -> None:
    # b = a sqrt(3): the primitive cell is hexagonal.
    cell = (10.0, 10.0 * 3**0.5, 12.0, 90.0, 90.0, 90.0)
    ways = find_reindexings(cell, "C 2 2 2")
    fractional = [w for w in ways if (w.matrix != np.rint(w.matrix)).any()]
    assert fractional
    fine = MapGrid((-6, -6, -6), (0.5, 0.5, 0.5), (25, 25, 25))
    data = speckled("C 2 2 2", cell, fine)
    way = fractional[0]
    found = in_same_indices(data, data, way.name)
    assert found.first.grid == data.grid
    # Reflections that the operator takes to voxels, where nothing is interpolated.
    hkl = np.array([[0, 0, 1], [1, 1, 0], [2, 0, -1], [1, 3, 2]], dtype=float)
    to = hkl @ way.operator
    assert np.allclose(to * 2, np.rint(to * 2))
    ours = found.first.intensity[tuple(np.rint(found.first.grid.index_of(hkl)).astype(int).T)]
    theirs = data.intensity[tuple(np.rint(data.grid.index_of(to)).astype(int).T)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_too_few_voxels_keep_the_indices() -> None:
    grid = MapGrid((-1, -1, -1), (1, 1, 1), (3, 3, 3))
    few = DiffuseMap.on_grid(np.full(grid.shape, 2.0), grid, TETRAGONAL, spacegroup="P 41")
    pair = in_same_indices(few, few)
    assert pair.first is few
    assert "too few voxels" in pair.decision
