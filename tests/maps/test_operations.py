"""Operations on maps, against slow loops over points and known values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from onephonon import DiffuseMap, InputError, MapGrid
from onephonon.crystal import check_reindexing_matrix, numpy_cell
from onephonon.crystal import grid as grid_module
from onephonon.maps import (
    bin_of,
    crop,
    crop_resolution,
    half_sets,
    interpolate,
    radial_average,
    reindex,
    resample,
    sample_plane,
    scale,
    shell_edges,
    slice_plane,
    split_isotropic,
    subtract,
    symmetrize,
)
from onephonon.maps import diffuse as diffuse_module

TRICLINIC = (27.0, 31.8, 34.2, 88.5, 108.9, 111.9)
MONOCLINIC = (20.0, 25.0, 30.0, 90.0, 105.0, 90.0)
ORTHORHOMBIC = (20.0, 25.0, 30.0, 90.0, 90.0, 90.0)
TETRAGONAL = (25.0, 25.0, 30.0, 90.0, 90.0, 90.0)
HEXAGONAL = (25.0, 25.0, 30.0, 90.0, 90.0, 120.0)
CUBIC = (25.0, 25.0, 25.0, 90.0, 90.0, 90.0)

#: Sums of a few dozen numbers near 1, in another order.
ROUNDING = {"rtol": 1e-13, "atol": 1e-13}


def random_map(
    grid: MapGrid, cell: tuple[float, ...] = TRICLINIC, holes: float = 0.2, **fields: object
) -> DiffuseMap:
    """A map of noise with holes, and all that goes with it."""
    rng = np.random.default_rng(grid.size)
    arrays = rng.random((5, *grid.shape)) + 0.5
    for values in arrays:
        values[rng.random(grid.shape) < holes] = np.nan
    everything = {"sigma": arrays[1], "counts": arrays[2], "halves": (arrays[3], arrays[4])}
    return DiffuseMap.on_grid(arrays[0], grid, cell, **(everything | fields))  # type: ignore[arg-type]


def box(*samplings: tuple[float, float, float]) -> MapGrid:
    return MapGrid.from_sampling(*samplings)


def equal(a: DiffuseMap, b: DiffuseMap) -> None:
    """The same values bit by bit, at the same points."""
    assert a.grid == b.grid
    assert a.arrays.keys() == b.arrays.keys()
    for name, values in a.arrays.items():
        np.testing.assert_array_equal(values, b.arrays[name], err_msg=name)


# Parts


def test_crop_keeps_both_ends() -> None:
    diffuse = random_map(box((-2, 2, 3), (-1, 1, 2), (0, 3, 1)))
    cut = crop(diffuse, h=(-4 / 3, 1.0001), l=(1, 2.9))
    np.testing.assert_array_equal(cut.grid.axes[0], np.arange(-4, 4) / 3)
    assert cut.grid.axes[2].tolist() == [1, 2]
    for name, values in cut.arrays.items():
        np.testing.assert_array_equal(values, diffuse.arrays[name][2:10, :, 1:3])
    assert cut.history[-1].startswith("cropped to h")
    with pytest.raises(InputError, match="k from 5 to 6 holds no voxel"):
        crop(diffuse, k=(5, 6))


def test_crop_by_resolution_masks_and_shrinks() -> None:
    diffuse = random_map(box((-3, 3, 2), (-4, 4, 1), (-3, 4, 2)))
    d = diffuse.resolution
    cut = crop_resolution(diffuse, 9.0, 20.0)
    inside = (d >= 9) & (d <= 20)
    assert 0 < inside.sum() < inside.size
    for name, values in cut.arrays.items():
        np.testing.assert_array_equal(values, np.where(inside, diffuse.arrays[name], np.nan))
    small = crop_resolution(diffuse, 9.0, 20.0, shrink=True)
    assert small.grid.size < diffuse.grid.size
    at = diffuse.grid.offset_of(small.grid)
    block = tuple(slice(a, a + n) for a, n in zip(at, small.grid.shape, strict=True))
    np.testing.assert_array_equal(small.intensity, cut.intensity[block])
    for axis in range(3):  # no smaller block holds the range
        for end in (0, -1):
            assert inside[block].take(end, axis=axis).any()
    assert crop_resolution(diffuse).n_valid == diffuse.n_valid  # the origin too
    limit = 1 / np.linalg.norm(np.array([0, 2, 0]) @ numpy_cell(TRICLINIC).inverse)
    diffuse.intensity[6, 6, 6] = 1.0
    assert crop_resolution(diffuse, limit).intensity[6, 6, 6] == 1.0
    assert crop_resolution(diffuse, d_max=limit).intensity[6, 6, 6] == 1.0
    with pytest.raises(InputError, match="no range"):
        crop_resolution(diffuse, 5, 4)
    with pytest.raises(InputError, match="between"):
        crop_resolution(diffuse, 1000, 1001)


def test_crop_of_a_list_by_resolution() -> None:
    q = np.random.default_rng(0).normal(size=(40, 3))
    listed = DiffuseMap.at_points(q, np.arange(40.0), sigma=np.ones(40))
    d = 2 * np.pi / np.linalg.norm(q, axis=1)
    cut = crop_resolution(listed, 3.0, 6.0, shrink=True)
    keep = (d > 3) & (d < 6)
    np.testing.assert_array_equal(cut.intensity, np.arange(40.0)[keep])
    np.testing.assert_array_equal(cut.q_vectors, q[keep])
    assert np.isnan(crop_resolution(listed, 3.0, 6.0).intensity).sum() == 40 - keep.sum()


def test_planes_on_and_between_voxels() -> None:
    diffuse = random_map(box((-1, 1, 3), (-1, 2, 2), (0, 1, 4)))
    plane = slice_plane(diffuse, "k", 0.5)
    assert plane.grid.shape == (7, 1, 5)
    assert plane.grid.axes[1].tolist() == [0.5]
    for name, values in plane.arrays.items():
        np.testing.assert_array_equal(values, diffuse.arrays[name][:, 3:4])
    between = slice_plane(diffuse, 1, 0.625)
    low, high = diffuse.intensity[:, 3:4], diffuse.intensity[:, 4:5]
    np.testing.assert_array_equal(between.intensity, 0.75 * low + 0.25 * high)
    s_low, s_high = diffuse.sigma[:, 3:4], diffuse.sigma[:, 4:5]
    np.testing.assert_allclose(between.sigma, np.sqrt((0.75 * s_low) ** 2 + (0.25 * s_high) ** 2))
    assert between.grid.axes[1].tolist() == [0.625]
    with pytest.raises(InputError, match="outside"):
        slice_plane(diffuse, "k", 2.5)
    for axis in ("x", "", "hk", 3):
        with pytest.raises(InputError, match="not one of"):
            slice_plane(diffuse, axis)


# Between voxels


def naive_trilinear(diffuse: DiffuseMap, hkl: np.ndarray) -> tuple[float, float]:
    """Intensity and sigma from the eight neighbours, one point at a time."""
    index = [float(x) for x in diffuse.grid.index_of(hkl)]
    index = [round(i) if abs(i - round(i)) < 1e-6 else i for i in index]
    total = square = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        at = [math.floor(i) + c for i, c in zip(index, corner, strict=True)]
        weight = math.prod(1 - abs(i - a) for i, a in zip(index, at, strict=True))
        if weight == 0:
            continue
        if any(a < 0 or a >= n for a, n in zip(at, diffuse.grid.shape, strict=True)):
            return math.nan, math.nan
        total += weight * float(diffuse.intensity[tuple(at)])
        square += (weight * float(diffuse.sigma[tuple(at)])) ** 2
    return total, math.sqrt(square)


def test_interpolation_is_that_of_the_eight_neighbours() -> None:
    diffuse = random_map(box((-1, 1, 3), (-1, 2, 2), (0.1, 1, 4)))
    rng = np.random.default_rng(5)
    points = rng.uniform((-1.2, -1.1, 0), (1.2, 2.1, 1.2), size=(300, 3))
    points[:60, 0] = rng.integers(-3, 4, 60) / 3  # on planes, lines and voxels
    points[:40, 1] = rng.integers(-2, 5, 40) / 2
    points[:20, 2] = 0.1 + rng.integers(0, 4, 20) / 4
    found = interpolate(diffuse, points.reshape(10, 30, 3))
    expected = [naive_trilinear(diffuse, p)[0] for p in points]
    assert 20 < np.isfinite(expected).sum() < 280
    np.testing.assert_allclose(found.ravel(), expected, **ROUNDING)
    on_voxels = interpolate(diffuse, diffuse.hkl)  # beside holes too
    np.testing.assert_array_equal(on_voxels, diffuse.intensity.ravel())
    assert np.isnan(interpolate(diffuse, [np.nan, 0, 0]))


def test_any_plane_is_sampled() -> None:
    grid = box((-2, 2, 4), (-2, 2, 4), (-2, 2, 4))
    h, k, l = grid.hkl.T  # noqa: E741
    diffuse = DiffuseMap.on_grid(1 + 2 * h - 3 * k + 0.5 * l, grid, TRICLINIC)
    direction = np.array([1.0, 1.0, 0.0]) @ numpy_cell(TRICLINIC).matrix / 40  # Cartesian, as hkl
    x, y = np.linspace(-1, 1, 11), np.linspace(-0.5, 0.5, 5)
    plane = sample_plane(diffuse, (0.1, 0.2, 0.3), direction, (0, 0, 1), x, y)
    assert plane.shape == (5, 11)
    at = np.array([0.1, 0.2, 0.3]) + x[None, :, None] * direction
    at = at + y[:, None, None] * np.array([0, 0, 1.0])
    np.testing.assert_allclose(plane, 1 + at @ [2, -3, 0.5], **ROUNDING)


# Resampling


@pytest.mark.parametrize("method", ["linear", "nearest", "average"])
def test_resampling_conserves_a_constant_and_a_linear_function(method: str) -> None:
    old = box((-2, 2, 6), (-2, 2, 6), (-1, 3, 9))
    new = box((-1, 1, 2), (-1.5, 1, 2), (0, 2, 3))  # three old voxels to a new one
    flat = DiffuseMap.on_grid(np.full(old.size, 3.7), old, TRICLINIC)
    np.testing.assert_allclose(resample(flat, new, method).intensity, 3.7, **ROUNDING)
    slope = np.array([2.0, -3.0, 0.5])
    line = DiffuseMap.on_grid(old.hkl @ slope, old, TRICLINIC)
    found = resample(line, new, method)
    assert found.grid == new
    assert method in found.history[-1]
    np.testing.assert_allclose(found.intensity.ravel(), new.hkl @ slope, **ROUNDING)


def test_resampling_between_any_grids() -> None:
    diffuse = random_map(box((-1, 1, 3), (-1, 2, 2), (0.1, 1, 4)))
    new = MapGrid((-1.1, -0.9, 0.05), (0.21, 0.37, 0.23), (11, 8, 5))
    linear = resample(diffuse, new)
    intensity, sigma = np.array([naive_trilinear(diffuse, p) for p in new.hkl]).T
    np.testing.assert_allclose(linear.intensity.ravel(), intensity, **ROUNDING)
    np.testing.assert_allclose(linear.sigma.ravel(), sigma, **ROUNDING)
    nearest = resample(diffuse, new, "nearest")
    for value, hkl in zip(nearest.intensity.ravel(), new.hkl, strict=True):
        at = np.rint(diffuse.grid.index_of(hkl)).astype(int)
        inside = all(0 <= a < n for a, n in zip(at, diffuse.grid.shape, strict=True))
        np.testing.assert_array_equal(value, diffuse.intensity[tuple(at)] if inside else np.nan)
    assert 0 < np.isfinite(linear.intensity).sum() < np.isfinite(nearest.intensity).sum()
    for method in ("linear", "nearest"):
        equal(resample(diffuse, diffuse.grid, method), diffuse)
    with pytest.raises(InputError, match="cubic"):
        resample(diffuse, new, "cubic")


@pytest.mark.parametrize("n", [1, 2])
def test_averaging_is_that_of_a_loop(n: int) -> None:
    # From 3 per index whole voxels lie in each new one; from 4 those on a boundary are shared.
    old, new = box((-1, 1, 3), (-1, 0, 4), (0, 1, 3 * n)), box((-1, 2, 1), (-1, 0, 1), (0, 1, n))
    sigma = np.random.default_rng(9).random(old.shape)
    sigma[0, 0, 0] = np.nan
    diffuse = random_map(old, holes=0.4, sigma=sigma)
    diffuse.intensity[0, 0, 0], diffuse.intensity[-3:, :, : 2 * n] = 1.0, np.nan
    found = resample(diffuse, new, "average")
    rows = []
    for centre in new.hkl:
        shares = {}
        for voxel, at in zip(np.ndindex(old.shape), old.hkl, strict=True):
            low = np.maximum(centre - np.array(new.step) / 2, at - np.array(old.step) / 2)
            high = np.minimum(centre + np.array(new.step) / 2, at + np.array(old.step) / 2)
            share = np.prod(np.clip(high - low, 0, None).round(9) / old.step)
            if share:
                shares[voxel] = share
        held = {v: w for v, w in shares.items() if np.isfinite(diffuse.intensity[v])}
        half = {v: w for v, w in shares.items() if np.isfinite(diffuse.halves[0][v])}
        total, total_half = sum(held.values()), sum(half.values())
        rows.append(
            [
                sum(w * diffuse.intensity[v] for v, w in held.items()) / (total or math.nan),
                math.sqrt(sum((w * diffuse.sigma[v]) ** 2 for v, w in held.items()))
                / (total or math.nan),
                sum(w * np.nan_to_num(diffuse.counts[v]) for v, w in held.items()),
                sum(w * diffuse.halves[0][v] for v, w in half.items()) / (total_half or math.nan),
            ]
        )
    got = [found.intensity, found.sigma, found.counts, found.halves[0]]
    for column, values in zip(np.array(rows).T, got, strict=True):
        np.testing.assert_allclose(values.ravel(), column, rtol=1e-8)  # shares are rounded
    # Of a voxel without sigma nothing is known.
    assert np.isnan(found.sigma[0, 0, 0])
    assert np.isfinite(found.intensity[0, 0, 0])
    assert np.isfinite(found.sigma).any()
    bare = DiffuseMap.on_grid(diffuse.intensity, old, TRICLINIC)
    assert resample(bare, new, "average").counts[1, 1, 0] <= 3 * 4 * 3


def weights_of(operation: object, diffuse: DiffuseMap) -> np.ndarray:
    """Weight of each old voxel in each new one, found by lifting one voxel at a time."""
    base = operation(diffuse).intensity
    columns = []
    for voxel in np.ndindex(diffuse.intensity.shape):
        lifted = diffuse.intensity.copy()
        lifted[voxel] += 1
        changed = DiffuseMap.on_grid(lifted, diffuse.grid, diffuse.cell, sigma=diffuse.sigma)
        columns.append((operation(changed).intensity - base).ravel())
    return np.array(columns).T


@pytest.mark.parametrize("method", ["linear", "nearest", "average"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_sigma_follows_from_the_weights(method: str) -> None:
    rng = np.random.default_rng(3)
    old = box((0, 1, 3), (0, 1, 2), (0, 1, 3))
    sigma = rng.random(old.shape)
    diffuse = DiffuseMap.on_grid(rng.random(old.shape), old, TRICLINIC, sigma=sigma)
    new = MapGrid((0.1, 0.2, 0.15), (0.4, 0.5, 0.45), (2, 2, 2))

    def operation(given: DiffuseMap) -> DiffuseMap:
        return resample(given, new, method)

    # Weights are differences of sums near 1, in double precision.
    expected = np.sqrt((weights_of(operation, diffuse) ** 2) @ sigma.ravel() ** 2)
    np.testing.assert_allclose(operation(diffuse).sigma.ravel(), expected, rtol=1e-12)


# Symmetry


def signs(*patterns: str) -> list:
    """Operators that change signs, with Friedel's."""
    found = []
    for pattern in patterns:
        s = [1 if c == "+" else -1 for c in pattern]
        found.append(lambda h, k, l, s=s: (s[0] * h, s[1] * k, s[2] * l))  # noqa: E741
        found.append(lambda h, k, l, s=s: (-s[0] * h, -s[1] * k, -s[2] * l))  # noqa: E741
    return found


def with_inversion(*operators: object) -> list:
    return [
        *operators,
        *(lambda h, k, l, f=f: tuple(-x for x in f(h, k, l)) for f in operators),  # noqa: E741
    ]


FOURFOLD = with_inversion(
    lambda h, k, l: (h, k, l),  # noqa: E741
    lambda h, k, l: (-h, -k, l),  # noqa: E741
    lambda h, k, l: (-k, h, l),  # noqa: E741
    lambda h, k, l: (k, -h, l),  # noqa: E741
)
THREEFOLD = with_inversion(
    lambda h, k, l: (h, k, l),  # noqa: E741
    lambda h, k, l: (k, -h - k, l),  # noqa: E741
    lambda h, k, l: (-h - k, h, l),  # noqa: E741
)
SIXFOLD = [*THREEFOLD, *(lambda h, k, l, f=f: f(h, k, -l) for f in THREEFOLD)]  # noqa: E741
DIHEDRAL = [*THREEFOLD, *(lambda h, k, l, f=f: f(k, h, -l) for f in THREEFOLD)]  # noqa: E741

GROUPS = {
    "P 1": (TRICLINIC, signs("+++")),
    "P 1 2 1": (MONOCLINIC, signs("+++", "-+-")),
    "P 1 1 21": ((20.0, 25.0, 30.0, 90.0, 90.0, 105.0), signs("+++", "--+")),
    "C 1 2 1": (MONOCLINIC, signs("+++", "-+-")),
    "P 2 2 2": (ORTHORHOMBIC, signs("+++", "++-", "+-+", "-++")),
    "F 2 2 2": (ORTHORHOMBIC, signs("+++", "++-", "+-+", "-++")),
    "I 21 21 21": (ORTHORHOMBIC, signs("+++", "++-", "+-+", "-++")),
    "P 41": (TETRAGONAL, FOURFOLD),
    "P 31": (HEXAGONAL, THREEFOLD),
    "R 3": (HEXAGONAL, THREEFOLD),
    "P 31 2 1": (HEXAGONAL, DIHEDRAL),
    "P 61": (HEXAGONAL, SIXFOLD),
}

GRIDS = {
    "symmetric, odd": box((-1, 1, 3), (-1, 1, 3), (-1, 1, 1)),
    "even": box((-1, 1, 2), (-1, 1, 2), (-0.5, 0.5, 4)),
    "to one side": box((-0.5, 2, 2), (-1.5, 1, 2), (-1 / 3, 1, 3)),
    "from a rounded fraction": box((-0.3077, 0.2, 13), (-0.2308, 0.3, 13), (-1, 0.5, 1)),
    "of positive indices": box((0, 1.5, 2), (0, 1.5, 2), (0, 1, 2)),
    "between the Bragg points": MapGrid((-1.25, -0.75, -0.5), (0.5, 0.5, 1), (5, 5, 3)),
}


def equivalents_by_loop(diffuse: DiffuseMap, operators: list, grid: MapGrid) -> list[list[tuple]]:
    """Distinct voxels equivalent to each of a grid's, found point by point."""

    def key(hkl: tuple) -> tuple:
        return tuple(round(6500 * x) for x in hkl)

    voxels = {
        key(hkl): voxel
        for hkl, voxel in zip(diffuse.hkl, np.ndindex(diffuse.grid.shape), strict=True)
    }
    return [
        [voxels[found] for found in {key(op(*hkl)) for op in operators} if found in voxels]
        for hkl in grid.hkl
    ]


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("where", GRIDS)
@pytest.mark.parametrize("group", GROUPS)
def test_symmetrizing_is_that_of_a_loop(group: str, where: str, fill: bool) -> None:
    cell, operators = GROUPS[group]
    diffuse = random_map(GRIDS[where], cell, holes=0.3, spacegroup=group)
    if where == "between the Bragg points" and cell is HEXAGONAL:
        with pytest.raises(InputError, match="onto its points"):  # -h-k falls between
            symmetrize(diffuse, fill=fill)
        return
    result = symmetrize(diffuse, fill=fill)
    found = result.map
    if not fill:
        assert found.grid == diffuse.grid
    expected = equivalents_by_loop(diffuse, operators, found.grid)
    if fill:  # nothing is left outside
        assert {v for voxels in expected for v in voxels} == set(np.ndindex(diffuse.grid.shape))
        assert found.grid.contains([op(*hkl) for hkl in diffuse.hkl for op in operators]).all()
    rows = []
    for voxels in expected:
        held = [v for v in voxels if np.isfinite(diffuse.intensity[v])]
        n = len(held)
        values = np.array([diffuse.intensity[v] for v in held])
        squares = sum(diffuse.sigma[v] ** 2 for v in held)
        halves = [[half[v] for v in held if np.isfinite(half[v])] for half in diffuse.halves]
        rows.append(
            [
                n,
                values.mean() if n else math.nan,
                values.std(ddof=1) if n > 1 else math.nan,
                math.sqrt(squares) / n if n else math.nan,
                sum(diffuse.counts[v] for v in held),
                *(np.mean(half) if half else math.nan for half in halves),
            ]
        )
    assert found.arrays.keys() == diffuse.arrays.keys()
    got = [result.multiplicity, found.intensity, result.spread, found.sigma, found.counts]
    for column, values in zip(np.array(rows).T, [*got, *found.halves], strict=True):
        np.testing.assert_allclose(values.ravel(), column, **ROUNDING)


def test_weights_of_sigma() -> None:
    diffuse = random_map(GRIDS["to one side"], TETRAGONAL, holes=0.3)
    result = symmetrize(diffuse, "4/m", weighted=True)
    assert "weighted" in result.map.history[-1]
    expected = equivalents_by_loop(diffuse, FOURFOLD, diffuse.grid)
    rows = []
    for voxels in expected:
        held = [v for v in voxels if np.isfinite(diffuse.intensity[v] + diffuse.sigma[v])]
        values = np.array([diffuse.intensity[v] for v in held])
        weights = np.array([diffuse.sigma[v] ** -2 for v in held])
        mean = (weights * values).sum() / weights.sum() if held else math.nan
        sigma = weights.sum() ** -0.5 if held else math.nan
        rows.append([len(held), mean, sigma])
    got = [result.multiplicity, result.map.intensity, result.map.sigma]
    for column, values in zip(np.array(rows).T, got, strict=True):
        np.testing.assert_allclose(values.ravel(), column, **ROUNDING)
    with pytest.raises(InputError, match="need sigmas"):
        symmetrize(
            DiffuseMap.on_grid(np.ones(8), MapGrid((0, 0, 0), (1, 1, 1), (2, 2, 2)), TRICLINIC),
            "-1",
            weighted=True,
        )


def test_equal_equivalents_have_no_spread_and_stay() -> None:
    grid = GRIDS["symmetric, odd"]
    s = np.linalg.norm(grid.hkl @ numpy_cell(HEXAGONAL).inverse, axis=1).round(12)
    diffuse = DiffuseMap.on_grid(np.exp(-s), grid, HEXAGONAL, spacegroup="P 61 2 2")
    result = symmetrize(diffuse)
    np.testing.assert_allclose(result.map.intensity, diffuse.intensity, **ROUNDING)
    spread = result.spread[result.multiplicity > 1]
    np.testing.assert_allclose(spread, 0, atol=1e-15)
    assert result.multiplicity.max() == 24
    assert result.multiplicity[3, 3].tolist() == [2, 1, 2]  # on the axis
    assert result.map.intensity.dtype == np.float64


def test_float32_stays_float32() -> None:
    diffuse = random_map(GRIDS["even"], TETRAGONAL)
    single = DiffuseMap.on_grid(diffuse.intensity.astype("f4"), diffuse.grid, TETRAGONAL)
    result = symmetrize(single, "P 4")
    assert result.map.intensity.dtype == result.spread.dtype == np.float32
    # The mean is taken in double precision and rounded once.
    expected = symmetrize(
        DiffuseMap.on_grid(single.intensity.astype("f8"), diffuse.grid, TETRAGONAL), "P 4"
    ).map.intensity
    np.testing.assert_array_equal(result.map.intensity, expected.astype("f4"))
    edges = radial_average(single, 5).edges
    assert edges.dtype == np.float64
    for other in (
        resample(single, diffuse.grid, "average"),
        *split_isotropic(single, 3),
        scale(single, 2.5),
        slice_plane(single, "h", 0.3),
        reindex(single, "h+k,k,l"),
    ):
        assert {a.dtype for a in other.arrays.values()} == {np.dtype(np.float32)}


def test_grids_that_the_operators_do_not_keep() -> None:
    # 2 * 22.46 * 13 = 583.96: -h lies between voxels.
    off = MapGrid((-22.46, 0, -1), (1 / 13, 1, 0.5), (585, 1, 5))
    with pytest.raises(InputError, match="-h,-k,-l of '-1' does not map"):
        symmetrize(random_map(off), "-1")
    symmetrize(random_map(MapGrid((-22.4615, 0, -1), (1 / 13, 1, 0.5), (585, 1, 5))), "-1")
    uneven = box((-1, 1, 2), (-1, 1, 3), (-1, 1, 1))
    with pytest.raises(InputError, match="same step"):
        symmetrize(random_map(uneven, TETRAGONAL), "P 4")
    symmetrize(random_map(uneven, TETRAGONAL), "mmm")


@pytest.mark.parametrize("group", ["P 1", "P 1 2 1", "P 41", "P 61"])
def test_between_voxels_equivalents_are_interpolated(group: str) -> None:
    cell, operators = GROUPS[group]
    grid = MapGrid((-1.12, -0.93, -1), (0.25, 1 / 3, 0.5), (10, 7, 5))
    diffuse = random_map(grid, cell, holes=0.02)
    result = symmetrize(diffuse, group, interpolate=True)
    rows = []
    for hkl in grid.hkl:
        distinct = {tuple(np.round(op(*hkl), 9)) for op in operators}
        values = np.array([naive_trilinear(diffuse, np.array(at)) for at in distinct])
        values, sigmas = values[np.isfinite(values[:, 0])].T
        n = len(values)
        sigma = math.sqrt((sigmas**2).sum()) / n if n else math.nan
        rows.append([n, values.mean() if n else math.nan, sigma])
    number, mean, sigma = np.array(rows).T
    assert (number > 1).mean() > 0.3
    np.testing.assert_array_equal(result.multiplicity.ravel(), number)
    # The loop's points are rounded at 1e-9 to tell which are distinct.
    np.testing.assert_allclose(result.map.intensity.ravel(), mean, rtol=1e-8)
    np.testing.assert_allclose(result.map.sigma.ravel(), sigma, rtol=1e-8)
    exact = symmetrize(random_map(GRIDS["even"], cell), group, interpolate=True)
    equal(exact.map, symmetrize(random_map(GRIDS["even"], cell), group).map)


def test_symmetries_that_cannot_be() -> None:
    diffuse = random_map(GRIDS["even"], TRICLINIC)
    with pytest.raises(InputError, match="no space group"):
        symmetrize(diffuse)
    with pytest.raises(InputError, match="'P 7' is not a known"):
        symmetrize(diffuse, "P 7")
    with pytest.raises(InputError, match="does not have the symmetry of '4/m'"):
        symmetrize(diffuse, "4/m")


# Other indices


@pytest.mark.parametrize(
    ("written", "matrix"),
    [
        ("k,h,-l", [[0, 1, 0], [1, 0, 0], [0, 0, -1]]),
        ("k,l,h", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        ("-h,k,l", [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("h+k,-k,-h+l", [[1, 1, 0], [0, -1, 0], [-1, 0, 1]]),
        ("h,k+l,-l", [[1, 0, 0], [0, 1, 1], [0, 0, -1]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reindexing_moves_every_voxel_bit_by_bit(
    written: str, matrix: list[list[int]], dtype: type
) -> None:
    grid = MapGrid((-0.5, 0.25, -0.5), (0.5, 0.5, 0.5), (3, 4, 5))
    diffuse = random_map(grid)
    arrays = {name: values.astype(dtype) for name, values in diffuse.arrays.items()}
    diffuse = diffuse.changed("rounded", arrays)
    np.testing.assert_array_equal(check_reindexing_matrix(written), matrix)
    new = reindex(diffuse, written)
    equal(new, reindex(diffuse, matrix))
    where = {tuple(hkl): i for i, hkl in enumerate(new.hkl)}
    for name, values in diffuse.arrays.items():
        flat = new.arrays[name].ravel()
        assert flat.dtype == dtype
        for hkl, value in zip(diffuse.hkl, values.ravel(), strict=True):
            assert flat[where.pop(tuple(np.array(matrix) @ hkl))].tobytes() == value.tobytes()
        assert np.isnan(flat[list(where.values())]).all()  # what is left is missing
        where = {tuple(hkl): i for i, hkl in enumerate(new.hkl)}
    # Lengths of q are kept, so the cell is the same lattice.
    s_old = np.linalg.norm(diffuse.q_vectors, axis=1)
    moved = diffuse.hkl @ np.array(matrix).T
    s_new = np.linalg.norm(moved @ numpy_cell(new.cell).inverse, axis=1) * 2 * np.pi
    np.testing.assert_allclose(s_new, s_old, rtol=1e-10)  # the cell is rounded at 1e-10
    assert written in new.history[-1]
    back = reindex(new, np.rint(np.linalg.inv(np.array(matrix))))
    np.testing.assert_allclose(back.cell, TRICLINIC, rtol=1e-10)
    inside = crop(back, *((a[0], a[-1]) for a in grid.axes))
    equal(inside, diffuse)


def test_the_space_group_follows_the_axes() -> None:
    def symbol(group: str, cell: tuple[float, ...], by: str) -> str:
        grid = MapGrid((0, 0, 0), (1, 1, 1), (2, 2, 2))
        return reindex(random_map(grid, cell, spacegroup=group), by).spacegroup

    assert symbol("P 1 21 1", MONOCLINIC, "k,l,h") == "P 21 1 1"
    assert symbol("P 21 21 2", ORTHORHOMBIC, "l,h,k") == "P 2 21 21"
    assert symbol("P 41", TETRAGONAL, "k,h,-l") == "P 41"
    assert symbol("P 41", TETRAGONAL, "k,h,l") == "P 43"  # the other hand
    assert symbol("", TETRAGONAL, "k,h,l") == ""
    assert symbol("P 41", TETRAGONAL, "h,k+l,l") == ""  # no symbol for such axes


def test_symmetry_survives_reindexing() -> None:
    grid = box((-1, 1, 2), (-1, 1, 2), (-1, 1, 2))
    diffuse = random_map(grid, MONOCLINIC, spacegroup="P 1 21 1")
    first = symmetrize(diffuse).map
    second = symmetrize(reindex(diffuse, "k,l,h")).map
    reindexed = reindex(first, "k,l,h")
    np.testing.assert_allclose(second.intensity, reindexed.intensity, **ROUNDING)


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3) * 2, np.eye(3) / 2, np.zeros((3, 3)), np.eye(2), "h,h,l", "nonsense", "h,k,l/2",
     np.full((3, 3), np.nan)],
)  # fmt: skip
def test_what_is_no_reindexing(matrix: object) -> None:
    with pytest.raises(InputError, match="determinant"):
        reindex(random_map(GRIDS["even"]), matrix)  # type: ignore[arg-type]


def test_axes_of_different_steps_cannot_be_mixed() -> None:
    with pytest.raises(InputError, match="different steps"):
        reindex(random_map(box((0, 1, 2), (0, 1, 3), (0, 1, 1))), "h+k,k,l")


# Arithmetic


def test_scaling() -> None:
    diffuse = random_map(GRIDS["even"])
    scaled = scale(diffuse, -2.0)
    np.testing.assert_array_equal(scaled.intensity, -2 * diffuse.intensity)
    np.testing.assert_array_equal(scaled.sigma, 2 * diffuse.sigma)
    np.testing.assert_array_equal(scaled.halves[1], -2 * diffuse.halves[1])
    np.testing.assert_array_equal(scaled.counts, diffuse.counts)
    assert scaled.history == ("scaled by -2",)
    for factor in (0.0, math.nan, math.inf):
        with pytest.raises(InputError, match="cannot be scaled"):
            scale(diffuse, factor)


def test_subtracting() -> None:
    grid = GRIDS["even"]
    a = random_map(grid, units="e^2 per cell", history=["made"])
    b = DiffuseMap.on_grid(a.intensity[::-1] + 1, grid, TRICLINIC, sigma=a.sigma * 2, units="")
    found = subtract(a, b)
    np.testing.assert_array_equal(found.intensity, a.intensity - b.intensity)
    np.testing.assert_allclose(found.sigma, a.sigma * math.sqrt(5), rtol=1e-15)
    np.testing.assert_array_equal(found.halves[0], a.halves[0] - b.intensity)
    np.testing.assert_array_equal(found.counts, a.counts)
    assert (found.units, found.history) == ("", ("made", "subtracted: another map"))
    zero = subtract(a, a)
    assert (zero.intensity[zero.mask] == 0).all()
    assert zero.n_valid == a.n_valid
    np.testing.assert_array_equal(zero.halves[1], a.halves[1] - a.halves[1])
    assert zero.counts is None
    exact = DiffuseMap.on_grid(a.intensity, grid, TRICLINIC)
    assert subtract(exact, b).sigma is b.sigma
    assert subtract(exact, exact).sigma is None


def test_only_what_is_at_the_same_points_is_subtracted() -> None:
    a, b = random_map(GRIDS["even"]), random_map(GRIDS["symmetric, odd"])
    with pytest.raises(InputError, match=r"h -1 to 1 in 5.*h -1 to 1 in 7"):
        subtract(a, b)
    listed = DiffuseMap.at_points(a.q_vectors, a.intensity.ravel())
    with pytest.raises(InputError, match="other a list"):
        subtract(a, listed)
    moved = DiffuseMap.at_points(a.q_vectors + 1e-3, a.intensity.ravel())
    with pytest.raises(InputError, match="not the same points"):
        subtract(listed, moved)
    np.testing.assert_array_equal(np.nan_to_num(subtract(listed, listed).intensity), 0)


def test_half_sets() -> None:
    diffuse = random_map(GRIDS["even"])
    for half, values in zip(half_sets(diffuse), diffuse.halves, strict=True):
        np.testing.assert_array_equal(half.intensity, values)
        assert half.arrays.keys() == {"intensity"}
        assert half.grid == diffuse.grid
    with pytest.raises(InputError, match="no half-sets"):
        half_sets(half_sets(diffuse)[0])


# Shells


@pytest.mark.parametrize("edges", [None, [0.01, 0.03, 0.05, 0.051, 0.2]])
def test_radial_average_is_that_of_histograms(edges: list[float] | None) -> None:
    diffuse = random_map(box((-3, 3, 2), (-4, 4, 1), (-3, 4, 2)))
    valid = diffuse.mask
    s = np.linalg.norm(diffuse.q_vectors, axis=1).reshape(valid.shape)[valid] / (2 * np.pi)
    values = diffuse.intensity[valid]
    profile = radial_average(diffuse, 7, edges)
    if edges is None:
        np.testing.assert_allclose(profile.edges, np.histogram_bin_edges(s, 7), rtol=1e-12)
    count = np.histogram(s, profile.edges)[0]
    np.testing.assert_array_equal(profile.count, count)
    # The outermost voxels fall out if another rounding of their s is beyond the last edge.
    total = np.histogram(s, profile.edges, weights=values)[0]
    square = np.histogram(s, profile.edges, weights=values**2)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        std = np.sqrt((square / count - mean**2) * count / (count - 1))
    np.testing.assert_allclose(profile.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(profile.std[count > 1], std[count > 1], rtol=1e-9)  # cancellation
    assert np.isnan(profile.std[count < 2]).all()
    index = np.digitize(s, profile.edges) - 1
    for i in range(len(count) - 1):
        if count[i]:
            assert profile.median[i] == np.median(values[index == i])
            assert profile.position[i] == pytest.approx(s[index == i].mean(), rel=1e-12)
    np.testing.assert_array_equal(profile.centre, (profile.edges[1:] + profile.edges[:-1]) / 2)
    np.testing.assert_array_equal(profile.sem[count > 1], (profile.std / np.sqrt(count))[count > 1])
    if edges is not None:
        assert (count == 0).any()
        assert count.sum() < valid.sum()
    else:
        assert count.sum() == valid.sum()


def test_bins_hold_their_lower_edge_and_the_last_its_upper() -> None:
    edges = np.array([0.0, 1.0, 2.0, 4.0])
    s = np.array([-0.1, 0.0, 0.5, 1.0, 2.0, 3.9, 4.0, 4.1])
    assert bin_of(s, edges).tolist() == [3, 0, 0, 1, 2, 2, 2, 3]


def test_profiles_between_their_bins() -> None:
    diffuse = random_map(box((-3, 3, 2), (-4, 4, 1), (-3, 4, 2)))
    profile = radial_average(diffuse, edges=[0.01, 0.03, 0.0301, 0.05, 0.2])
    assert profile.count[1] == 0
    held = [0, 2, 3]
    np.testing.assert_allclose(profile.at(profile.position[held]), profile.mean[held], rtol=1e-12)
    middle = profile.position[[0, 2]].mean()
    assert profile.at(middle) == pytest.approx(profile.mean[[0, 2]].mean())  # over the empty bin
    assert profile.at(0.0) == profile.mean[0]
    assert profile.at([[9.0]]).shape == (1, 1)
    steps = profile.at([0.005, 0.02, 0.03005, 0.04, 0.2, 0.21], interpolate=False, of="median")
    m = profile.median
    np.testing.assert_array_equal(steps, [np.nan, m[0], np.nan, m[2], m[3], np.nan])
    with pytest.raises(InputError, match="'mode'"):
        profile.at(0.1, of="mode")


def test_wrong_shells_and_nothing_to_average() -> None:
    diffuse = random_map(GRIDS["even"])
    for edges in ([0.1], [0.2, 0.1], [0.1, math.nan]):
        with pytest.raises(InputError, match="increasing"):
            radial_average(diffuse, edges=edges)
    with pytest.raises(InputError, match="0 bins"):
        radial_average(diffuse, 0)
    nothing = scale(diffuse, 1.0).changed("emptied", {"intensity": diffuse.intensity * np.nan})
    with pytest.raises(InputError, match="no voxel"):
        radial_average(nothing)
    single = DiffuseMap.at_points([[0.0, 0.0, 0.0]], [2.0])
    assert radial_average(single, 3).count.sum() == 1
    assert shell_edges(DiffuseMap.at_points([[1.0, 0, 0]], [2.0]), 2)[0] < 1 / (2 * np.pi)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_the_parts_add_up(listed: bool, smooth: bool) -> None:
    diffuse = random_map(box((-3, 3, 2), (-4, 4, 1), (-3, 4, 2)))
    if listed:
        arrays = {name: values.ravel() for name, values in diffuse.arrays.items()}
        halves = (arrays.pop("half1"), arrays.pop("half2"))
        diffuse = DiffuseMap.at_points(diffuse.q_vectors, **arrays, halves=halves)  # type: ignore[arg-type]
    isotropic, rest = split_isotropic(diffuse, 6, interpolate=smooth)
    np.testing.assert_array_equal(rest.intensity, diffuse.intensity - isotropic.intensity)
    # The difference is rounded once, the sum once more: numbers near 1, half a unit each.
    together = isotropic.intensity + rest.intensity
    np.testing.assert_allclose(together, diffuse.intensity, rtol=0, atol=3e-16)
    np.testing.assert_array_equal(isotropic.mask, diffuse.mask)
    np.testing.assert_array_equal(rest.halves[0], diffuse.halves[0] - isotropic.intensity)
    assert isotropic.arrays.keys() == {"intensity"}
    np.testing.assert_array_equal(rest.sigma, diffuse.sigma)
    profile = radial_average(diffuse, 6)
    left = radial_average(rest, edges=profile.edges)
    if not smooth:
        np.testing.assert_allclose(left.mean, 0, atol=1e-15)
        assert len(np.unique(isotropic.intensity[isotropic.mask])) == 6
    s = np.concatenate([s.ravel() for _, s in diffuse.slabs()])[diffuse.mask.ravel()]
    order = np.argsort(s)
    line = isotropic.intensity[isotropic.mask][order]
    np.testing.assert_array_equal(line, profile.at(s[order], interpolate=smooth))
    given, _ = split_isotropic(diffuse, profile=radial_average(diffuse, 2), of="median")
    assert given.intensity[given.mask].min() >= np.median(diffuse.intensity[diffuse.mask]) - 0.2


def test_a_function_of_resolution_leaves_nothing() -> None:
    grid = box((-2, 2, 3), (-2, 2, 3), (-2, 2, 3))
    s = np.linalg.norm(grid.hkl @ numpy_cell(TRICLINIC).inverse, axis=1)
    _, rest = split_isotropic(DiffuseMap.on_grid(5 - 3 * s, grid, TRICLINIC), 20)
    inner = np.abs(rest.intensity).ravel()[(s > 0.01) & (s < s.max() - 0.02)]
    assert inner.max() < 1e-12  # a line is interpolated by lines


def test_operations_on_lists_that_need_a_grid_say_so() -> None:
    listed = DiffuseMap.at_points(np.ones((3, 3)), np.ones(3), TRICLINIC)
    for operation in (
        lambda: crop(listed, h=(0, 1)),
        lambda: slice_plane(listed, "l"),
        lambda: resample(listed, GRIDS["even"]),
        lambda: symmetrize(listed, "-1"),
        lambda: reindex(listed, "k,h,l"),
        lambda: interpolate(listed, [0, 0, 0]),
    ):
        with pytest.raises(InputError, match="a list of q-vectors"):
            operation()


OPERATIONS = {
    "crop_resolution": lambda m: crop_resolution(m, 8.0, 30.0),
    "shrunk": lambda m: crop_resolution(m, 8.0, 30.0, shrink=True),
    "linear": lambda m: resample(m, box((-1, 1, 4), (-0.9, 1, 3), (0, 1, 2))),
    "nearest": lambda m: resample(m, box((-1, 1, 4), (-0.9, 1, 3), (0, 1, 2)), "nearest"),
    "average": lambda m: resample(m, box((-1, 1, 1), (-1, 1, 1), (0, 1, 1)), "average"),
    "symmetrize": lambda m: symmetrize(m, "6/m").map,
    "filled": lambda m: symmetrize(m, "-3m1", fill=True).map,
    "interpolated": lambda m: symmetrize(m, "-1", interpolate=True).map,
    "sheared": lambda m: reindex(m, "h+k,k,l"),
    "isotropic": lambda m: split_isotropic(m, 4)[0],
    "anisotropic": lambda m: split_isotropic(m, 4, of="median", interpolate=False)[1],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_slab_by_slab_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    diffuse = random_map(box((-1, 1.5, 2), (-2, 1, 2), (-1, 1, 3)), HEXAGONAL)
    whole = OPERATIONS[name](diffuse)
    for function in (grid_module.MapGrid.slabs, diffuse_module.DiffuseMap.slabs):
        monkeypatch.setattr(function, "__defaults__", (7,))
    monkeypatch.setattr("onephonon.maps.symmetrizing.SLAB", 7)
    rows = OPERATIONS[name](diffuse)
    assert rows.grid == whole.grid
    for key, values in whole.arrays.items():
        np.testing.assert_allclose(rows.arrays[key], values, **ROUNDING)
