"""Regular grids of Miller indices: those of maps, and those that models are computed on."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onephonon import InputError, MapGrid
from onephonon.crystal.grid import HklGrid, check_samplings
from onephonon.crystal.zone import is_bragg

# ---- any step -------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "n"), [(-22.4615, 13), (-7.0, 3), (-8 / 7, 7), (0, 1), (-2.5, 2)])
def test_axes_are_those_of_the_model_bit_by_bit(low: float, n: int) -> None:
    sampling = (low, 3, n)
    ours = MapGrid.from_sampling(sampling, (0, 1, 2), sampling).axes
    theirs = check_samplings(sampling, (0, 1, 2), sampling).axes
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isin(np.arange(math.ceil(low), 4), ours[0]).all()  # whole numbers are whole


def test_a_rounded_step_is_the_fraction_it_stands_for() -> None:
    grid = MapGrid((-22.4615384615, 0.5, 1e-12), (0.0769230769, 2 / 3, 2.0), (600, 4, 3))
    assert grid.step == (1 / 13, 2 / 3, 2.0)
    assert grid.origin == (-292 / 13, 0.5, 0.0)
    assert 0.0 in grid.axes[0]
    assert grid.axes[1].tolist() == [0.5, 0.5 + 2 / 3, 0.5 + 4 / 3, 2.5]
    assert (
        MapGrid((-22.46, 0, 0), (1 / 13, 1, 1), (600, 1, 1)).origin[0] == -22.46
    )  # is no fraction


def test_a_step_that_is_no_fraction_is_kept() -> None:
    step = math.pi / 10
    grid = MapGrid((0.1, 0, 0), (step, 1, 1), (5, 1, 1))
    np.testing.assert_array_equal(grid.axes[0], 0.1 + np.arange(5.0) * step)


def test_hkl_run_with_l_fastest_and_slabs_cover_them() -> None:
    grid = MapGrid((-1, 0, 2), (0.5, 1, 0.25), (5, 3, 4))
    every = list(itertools.product(*grid.axes))
    np.testing.assert_array_equal(grid.hkl, every)
    parts = list(grid.slabs(voxels=24))
    assert parts == [slice(0, 2), slice(2, 4), slice(4, 5)]
    np.testing.assert_array_equal(np.concatenate([grid.slab_hkl(p) for p in parts]), every)
    index = grid.index_of(grid.hkl).reshape(5, 3, 4, 3)
    np.testing.assert_array_equal(index, np.stack(np.indices(grid.shape), axis=-1))
    assert grid.end == (1, 2, 2.75)
    inside = grid.contains([[-1.25, -0.5, 1.875], [-1.26, 0, 2], [1.25, 2.5, 2.875], [1, 2, 2.9]])
    assert inside.tolist() == [True, False, True, False]


def test_grids_of_blocks_and_of_lists() -> None:
    grid = MapGrid((-32 / 13, 0, 1), (1 / 13, 0.5, 1), (60, 5, 7))
    part = grid.sub((slice(6, 20), slice(1, None, 2), slice(None)))
    assert part == MapGrid((-2, 0.5, 1), (1 / 13, 1, 1), (14, 2, 7))
    assert grid.offset_of(part) is None  # every second k is another lattice
    shifted = MapGrid((0, -1, 8), grid.step, (1, 2, 3))
    assert grid.offset_of(shifted) == (32, -2, 7)
    assert grid.offset_of(MapGrid((0.5, 0, 1), grid.step, (2, 2, 2))) is None
    again = MapGrid.from_points(np.round(grid.hkl, 4), grid.shape)
    assert again == grid  # four decimals, as in a text file
    assert MapGrid.from_points(grid.hkl.astype(np.float32), grid.shape) == grid
    assert grid.matches(again)
    assert not grid.matches(MapGrid((-31 / 13, 0, 1), grid.step, grid.shape))
    assert not grid.matches(MapGrid(grid.origin, (1 / 13, 0.51, 1), grid.shape))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (((0, 0, math.nan), (1, 1, 1), (2, 2, 2)), "origin"),
        (((0, 0, 0), (1, -1, 1), (2, 2, 2)), "positive"),
        (((0, 0, 0), (1, 0, 1), (2, 2, 2)), "positive"),
        (((0, 0, 0), (1, 1), (2, 2, 2)), "step"),
        (((0, 0, 0), (1, 1, 1), (2, 0, 2)), "shape"),
        (((0, 0, 0), (1, 1, 1), (2, 1.5, 2)), "shape"),
        (((0, 0, 0), (1, 1, 1), (2, 2)), "shape"),
    ],
)
def test_impossible_grids_are_named(fields: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MapGrid(*fields)


def test_uneven_axes_and_lists_are_no_grid() -> None:
    with pytest.raises(InputError, match="h values of a grid do not rise"):
        MapGrid.from_axes([0, 1, 3], [0], [0])
    with pytest.raises(InputError, match="l values of a grid do not rise"):
        MapGrid.from_axes([0], [0], [1, 0])
    with pytest.raises(InputError, match="not finite"):
        MapGrid.from_axes([0, np.nan], [0], [0])
    grid = MapGrid((0, 0, 0), (1, 1, 1), (2, 3, 4))
    exchanged = grid.hkl[np.r_[:14, 17, 15:17, 14, 18:24]]
    with pytest.raises(InputError, match="l fastest"):
        MapGrid.from_points(exchanged, (2, 3, 4))
    with pytest.raises(InputError, match="25 points"):
        MapGrid.from_points(grid.hkl, (1, 5, 5))
    with pytest.raises(InputError, match="none of the grid's 2"):
        grid.sub((slice(2, None), slice(None), slice(None)))
    with pytest.raises(InputError, match="sampling of k"):
        MapGrid.from_sampling((0, 1, 2), (1, 0, 2), (0, 1, 2))


def test_one_class_under_both_names() -> None:
    assert MapGrid is HklGrid


def test_samples_of_a_grid_that_has_them() -> None:
    assert MapGrid((-22.4615384615, 0, 0), (0.0769230769, 1, 1 / 2500), (3, 2, 4)).samples == (
        13,
        1,
        2500,
    )
    for step in (2.0, 2 / 3, math.pi / 10):
        with pytest.raises(InputError, match="not 1/n with a whole number"):
            _ = MapGrid((0, 0, 0), (1, step, 1), (2, 2, 2)).samples


def test_hkl_of_voxels_by_their_indices() -> None:
    grid = MapGrid((-1, 0.25, 2), (0.5, 1 / 3, 0.25), (5, 3, 4))
    place = np.array([0, 7, 31, 59])
    index = np.unravel_index(place, grid.shape)
    np.testing.assert_array_equal(grid.hkl_of_voxels(index), grid.hkl[place])


# ---- samplings of models --------------------------------------------------------------------


def test_grid_runs_over_l_fastest():
    grid = check_samplings((-1, 1, 1), (0, 1, 2), (0, 0.5, 4))
    assert grid.shape == (3, 3, 3)
    assert grid.samples == (1, 2, 4)
    assert grid.hkl.dtype == np.float64
    assert grid.hkl[:4].tolist() == [[-1, 0, 0], [-1, 0, 0.25], [-1, 0, 0.5], [-1, 0.5, 0]]
    assert grid.hkl[-1].tolist() == [1, 1, 0.5]


def axis(low, high, n):
    return check_samplings((low, high, n), (0, 0, 1), (0, 0, 1)).axes[0]


def test_bound_typed_with_four_decimals_means_its_fraction():
    h = axis(-22.4615, 22.4615, 13)
    assert h[0].item() == -292 / 13
    assert h[-1].item() == 292 / 13
    assert len(h) == 585
    assert 0.0 in h.tolist()


def test_offset_grid_keeps_its_offset():
    h = axis(-1.1, 1.0, 2)
    # Rounding of a tenth.
    assert h.tolist() == pytest.approx([-1.1, -0.6, -0.1, 0.4, 0.9], abs=1e-15)
    hkl = check_samplings((-1.1, 1, 2), (-2, 2, 1), (-2, 2, 1)).hkl
    assert not is_bragg(torch.from_numpy(hkl)).any()


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        (0, 0, 3, [0]),
        (0, 1, 1, [0, 1]),
        (-0.5, 0.7, 2, [-0.5, 0, 0.5]),
        (0.3333, 1.0, 3, [1 / 3, 2 / 3, 1]),
        (0, 0.6667, 3, [0, 1 / 3, 2 / 3]),
        (0, 0.66, 3, [0, 1 / 3]),
    ],
)
def test_axis_of_a_grid(low, high, n, expected):
    assert axis(low, high, n).tolist() == expected


@given(st.integers(-300, 300), st.integers(0, 200), st.integers(1, 29))
def test_typed_bounds_give_every_step_between_them(first, steps, n):
    low, high = round(first / n, 4), round((first + steps) / n, 4)
    h = axis(low, high, n)
    assert h.tolist() == [(first + i) / n for i in range(steps + 1)]


@pytest.mark.parametrize("name", ["hsampling", "ksampling", "lsampling"])
@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ((0, 1), r"three finite numbers; got \(0, 1\)"),
        ((0, 1, 2, 3), "three finite numbers"),
        ((0, math.inf, 2), "three finite numbers; got .*inf"),
        ((math.nan, 1, 2), "three finite numbers; got .*nan"),
        ((0, 1, 0), "asks for 0 samples per Miller index; give a whole number"),
        ((0, 1, -2), "asks for -2 samples"),
        ((0, 1, 2.5), "asks for 2.5 samples"),
        ((1, -1, 2), "has max -1 below min 1; swap them"),
    ],
)
def test_samplings_that_cannot_be(name, sampling, message):
    good = {"hsampling": (0, 1, 2), "ksampling": (0, 1, 2), "lsampling": (0, 1, 2)}
    with pytest.raises(InputError, match=rf"{name} .*{message}"):
        check_samplings(**good | {name: sampling})
