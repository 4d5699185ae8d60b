"""Choosing q: every sample lies where it says, and its results go back where they belong."""

import itertools
import math

import gemmi
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck

from crystals import CELLS, made_up
from onephonon import Crystal, InputError, UnitCell
from onephonon.crystal.zone import find_zone_points, fold, is_bragg
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes.direct import structure_factor
from onephonon.scattering.sampling import (
    BraggPeaks,
    Detector,
    Scan,
    Strata,
    bragg_distance,
    bragg_strata,
    detector,
    grid,
    halos,
    minibatch,
    near_bragg,
    nearest_bragg,
    path,
    shell_radii,
    shells,
    strongest_peaks,
)

#: A handful of float64 operations on numbers of size 1 to 100.
ROUNDING = 1e-12

TWO_PI = 2 * math.pi

TRICLINIC = UnitCell.from_parameters(CELLS["P 1"])

#: Right angles, none, hexagonal axes, and cells so skew that the nearest lattice point is not a
#: neighbour of the rounded one.
SKEW = [
    (6.0, 7.0, 30.0, 90.0, 90.0, 90.0),
    CELLS["P 1"],
    CELLS["P 61"],
    (8.0, 8.0, 8.0, 31.0, 31.0, 31.0),
    (5.0, 9.0, 14.0, 20.0, 35.0, 48.0),
    (5.0, 6.0, 21.0, 90.0, 152.0, 90.0),
]


def random_q(cell, n=400, size=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hkl = torch.empty(n, 3, dtype=torch.float64).uniform_(-size, size, generator=generator)
    return cell.q_from_hkl(hkl)


def matrix_leaf(cell):
    return cell.matrix.clone().requires_grad_()


# ---- the nearest Bragg peak -----------------------------------------------------------------


@pytest.mark.parametrize("parameters", SKEW)
def test_distance_is_that_of_a_search_over_many_neighbours(parameters):
    cell = UnitCell.from_parameters(parameters)
    q = random_q(cell)
    reach = range(-8, 9)  # twice what the most skew of these cells needs
    around = torch.tensor(list(itertools.product(reach, repeat=3)), dtype=torch.float64)
    hkl = cell.hkl_from_q(q)
    every = cell.q_from_hkl(hkl - torch.round(hkl))[:, None] - cell.q_from_hkl(around)
    shortest = torch.linalg.vector_norm(every, dim=2).min(dim=1).values
    assert (bragg_distance(cell, q) - shortest).abs().max() < ROUNDING
    again = torch.linalg.vector_norm(q - cell.q_from_hkl(nearest_bragg(cell, q).double()), dim=1)
    assert torch.equal(again, bragg_distance(cell, q))


def test_rounding_alone_would_not_do():
    cell = UnitCell.from_parameters(SKEW[4])
    q = random_q(cell)
    rounded = torch.round(cell.hkl_from_q(q)).to(torch.int64)
    moved = (nearest_bragg(cell, q) - rounded).abs().amax(dim=1)
    assert (moved > 0).double().mean() > 0.3
    assert moved.max() > 1


@given(
    lengths=st.tuples(*[st.floats(3, 40)] * 3),
    angles=st.tuples(*[st.floats(40, 80)] * 3),
    shift=st.tuples(*[st.integers(-5, 5)] * 3),
)
def test_distance_has_the_period_of_the_lattice(lengths, angles, shift):
    try:
        cell = UnitCell.from_parameters((*lengths, *angles))
    except InputError:
        return  # angles that span no cell
    q = random_q(cell, n=30)
    moved = q + cell.q_from_hkl(torch.tensor(shift, dtype=torch.float64))
    difference = bragg_distance(cell, q) - bragg_distance(cell, moved)
    # The skewest of these cells have reciprocal axes of some 1e2 1/Å.
    assert difference.abs().max() < 1e-10


def test_distance_gradient():
    q = random_q(TRICLINIC, n=5).requires_grad_()
    matrix = matrix_leaf(TRICLINIC)
    assert gradcheck(lambda m, q: bragg_distance(UnitCell(m), q), (matrix, q))
    peak = TRICLINIC.q_from_hkl(torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64))
    peak.requires_grad_()
    bragg_distance(TRICLINIC, peak).sum().backward()
    # On the peak itself the distance is rounding, its gradient at most a unit vector.
    assert peak.grad is not None
    assert torch.isfinite(peak.grad).all()


def test_near_bragg_is_the_models_mask_and_then_a_distance():
    hkl = torch.tensor(
        [[1, 2, 3], [1 + 1e-7, 2, 3], [1 + 1e-5, 2, 3], [1.05, 2, 3], [0.5, 2, 3]],
        dtype=torch.float64,
    )
    q = TRICLINIC.q_from_hkl(hkl)
    assert near_bragg(TRICLINIC, q).tolist() == [True, True, False, False, False]
    assert torch.equal(near_bragg(TRICLINIC, q), is_bragg(hkl))
    step = float(bragg_distance(TRICLINIC, q)[3])
    assert near_bragg(TRICLINIC, q, 1.01 * step).tolist() == [True] * 4 + [False]
    assert near_bragg(TRICLINIC, q, 0.99 * step).tolist() == [True] * 3 + [False] * 2
    assert torch.equal(near_bragg(TRICLINIC, q, 0.0), is_bragg(hkl))


def test_strata():
    hkl = torch.tensor([[0.01, 0, 0], [0.1, 0, 0], [0.5, 0, 0]], dtype=torch.float64)
    q = TRICLINIC.q_from_hkl(hkl)
    distance = bragg_distance(TRICLINIC, q).tolist()
    edges = [distance[1], 0.9 * distance[2]]  # a point on an edge belongs to the farther stratum
    assert bragg_strata(TRICLINIC, q, edges).tolist() == [0, 1, 2]


# ---- what all samples share -----------------------------------------------------------------


def every_kind(cell):
    return [
        grid(cell, (-1, 1, 2), (0, 1, 3), (-0.5, 0.5, 4)),
        detector(cell, Detector.square_on(100.0, (2.0, 3.0), (5.0, 5.0), (6, 5), 1.0), Scan(2, 5)),
        shells(cell, [0.5, 1.0, 2.0], 20),
        path(cell, [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]], [3, 4]),
        halos(cell, [[1, 2, 3], [-2, 0, 1]], (3, 2, 4)),
    ]


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_sample_is_consistent(kind, dtype):
    cell = TRICLINIC.to(None, dtype)
    sample = every_kind(cell)[kind]
    assert sample.q.dtype == sample.hkl.dtype == dtype
    assert sample.q.shape == sample.hkl.shape == (sample.n_points, 3)
    assert math.prod(sample.shape) == sample.n_points
    # Indices of a few units and their inverse transform, in the dtype's own rounding.
    scale = 100 * torch.finfo(dtype).eps
    assert (cell.q_from_hkl(sample.hkl) - sample.q).abs().max() < scale
    assert torch.equal(sample.valid, ~near_bragg(cell, sample.q))
    zone = sample.zone_points()
    wrong = fold(zone.k_frac[zone.index] - sample.hkl)
    assert wrong.abs().max() < scale
    assert zone.n_k == find_zone_points(sample.hkl).n_k
    points = sample.points()
    assert points.q is sample.q
    assert torch.equal(points.valid, sample.valid)


@pytest.mark.parametrize("kind", range(5))
def test_put_back_reshapes_and_keeps_the_gradient(kind):
    sample = every_kind(TRICLINIC)[kind]
    values = torch.randn(sample.n_points, 2, dtype=torch.float64).requires_grad_()
    back = sample.restore_shape(values)
    assert back.shape == (*sample.shape, 2)
    assert torch.equal(back.reshape(-1, 2), values)
    assert torch.equal(torch.autograd.grad(back.sum(), values)[0], torch.ones_like(values))
    with pytest.raises(InputError, match="one for each q"):
        sample.restore_shape(values[1:])


@pytest.mark.parametrize("kind", range(5))
def test_q_is_differentiable_in_the_cell(kind):
    matrix = matrix_leaf(TRICLINIC)

    def q_and_hkl(m):
        sample = every_kind(UnitCell(m))[kind]
        return torch.cat([sample.q[::7], sample.hkl[::7]])

    assert gradcheck(q_and_hkl, (matrix,))


def test_grid_has_l_fastest():
    sample = grid(TRICLINIC, (-1, 1, 2), (0, 1, 3), (-0.5, 0.5, 4))
    assert sample.shape == (5, 4, 5)
    hkl = sample.restore_shape(sample.hkl)
    expected = torch.tensor([-1 + 2 / 2, 1 / 3, -0.5 + 3 / 4], dtype=torch.float64)
    assert (hkl[2, 1, 3] - expected).abs().max() < ROUNDING
    # Whole h and k and l = 0.
    assert (~sample.valid).sum() == 3 * 2 * 1


# ---- detector -------------------------------------------------------------------------------

WAVELENGTH = 0.97
GEOMETRY = Detector.square_on(150.0, (10.25, 7.5), (0.5, 0.8), (21, 16), WAVELENGTH)
U = Rotation.from_euler("xyz", [20.0, -35.0, 71.0], degrees=True).as_matrix()


def test_q_of_a_pixel_by_braggs_law():
    sample = detector(TRICLINIC, GEOMETRY)
    assert sample.shape == (1, 16, 21)
    q = sample.restore_shape(sample.q)[0, 3, 18]
    x, y, z = (18 - 10.25) * 0.5, (3 - 7.5) * 0.8, 150.0
    two_theta = math.atan(math.hypot(x, y) / z)
    length = 4 * math.pi / WAVELENGTH * math.sin(two_theta / 2)
    assert abs(float(q.norm()) - length) < ROUNDING
    # Scattered towards the pixel, and against the beam.
    assert abs(math.atan2(q[1], q[0]) - math.atan2(y, x)) < ROUNDING
    assert abs(float(q[2]) + length * math.sin(two_theta / 2)) < ROUNDING


BEAM = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)


def tilted(**changes):
    """A detector in general position, its axes from a rotation."""
    rotation = Rotation.from_euler("zyx", [3.0, 24.0, -8.0], degrees=True).as_matrix()
    options = {
        "origin": (-31.0, 12.0, 88.0),
        "fast": tuple(rotation[:, 0]),
        "slow": tuple(rotation[:, 1]),
        "pixel_size": (1.5, 2.0),
        "n_pixels": (7, 9),
        "wavelength": WAVELENGTH,
        "beam": (0.0, 0.6, 0.8),
    }
    return Detector(**(options | changes))


AXIS = (2 / 3, -1 / 3, 2 / 3)


def test_every_q_is_on_the_ewald_sphere_once_turned_to_the_laboratory():
    scan = Scan(4, 0.5, 33.0, AXIS)
    sample = detector(TRICLINIC, tilted(), scan, rotation=U)
    assert sample.shape == (4, 9, 7)
    assert (sample.angle - torch.tensor([33.25, 33.75, 34.25, 34.75])).abs().max() < ROUNDING
    q = sample.restore_shape(sample.q).numpy()
    beam = TWO_PI / WAVELENGTH * BEAM.numpy()
    for frame, angle in enumerate(sample.angle.tolist()):
        rotation = Rotation.from_rotvec(np.array(AXIS) * angle, degrees=True).as_matrix()
        q_lab = q[frame] @ (rotation @ U).T
        radius = np.linalg.norm(q_lab + beam, axis=-1)
        assert np.abs(radius - TWO_PI / WAVELENGTH).max() < ROUNDING
        assert np.abs(q_lab - sample.q_lab.numpy()).max() < ROUNDING
        # The scattered ray goes through the pixel.
        geometry = tilted()
        j, i = 5, 2
        pixel = (
            np.array(geometry.origin)
            + i * 1.5 * np.array(geometry.fast)
            + j * 2.0 * np.array(geometry.slow)
        )
        ray = (q_lab + beam)[j, i]
        assert np.abs(np.cross(ray, pixel)).max() < 1e-10  # products of some 10 and 100
        assert ray @ pixel > 0


def test_axes_orient_as_the_rotation_does_and_keep_hkl():
    scan = Scan(2, 1.0)
    by_rotation = detector(TRICLINIC, tilted(), scan, rotation=U)
    axes = torch.as_tensor(U) @ TRICLINIC.matrix
    by_axes = detector(TRICLINIC, tilted(), scan, axes=axes)
    assert (by_axes.q - by_rotation.q).abs().max() < ROUNDING
    # A crystal one per cent larger: the same q in the laboratory has larger indices.
    larger = detector(TRICLINIC, tilted(), scan, axes=1.01 * axes)
    assert (larger.hkl - 1.01 * by_rotation.hkl).abs().max() < ROUNDING
    assert (larger.q - TRICLINIC.q_from_hkl(larger.hkl)).abs().max() < ROUNDING


def test_a_bin_is_at_the_mean_of_its_pixels():
    fine = tilted(n_pixels=(6, 9))
    binned = fine.binned(3)
    assert binned.n_pixels == (2, 3)
    like = TRICLINIC.matrix
    size = torch.tensor([1.5, 2.0], dtype=torch.float64)
    middle = (
        torch.tensor(fine.origin, dtype=torch.float64)
        + 4 * size[0] * torch.tensor(fine.fast, dtype=torch.float64)
        + 7 * size[1] * torch.tensor(fine.slow, dtype=torch.float64)
    )
    ray = binned.q_lab(like)[2, 1] + TWO_PI / WAVELENGTH * BEAM
    assert (ray / ray.norm() - middle / middle.norm()).abs().max() < ROUNDING
    assert (fine.q_lab(like)[7, 4] - binned.q_lab(like)[2, 1]).abs().max() < ROUNDING


def test_the_direct_beam_is_not_valid():
    geometry = Detector.square_on(100.0, (2, 1), (1.0, 1.0), (5, 4), 1.0)
    valid = detector(TRICLINIC, geometry, Scan(3, 1.0)).valid
    assert (~valid).nonzero().squeeze(1).tolist() == [7, 27, 47]


def test_detector_gradients():
    starts = ([150.0], [10.25, 7.5], [WAVELENGTH], [0.4], [12.0], U.tolist())
    leaves = [torch.tensor(x, dtype=torch.float64).requires_grad_() for x in starts]

    def q(distance, centre, wavelength, width, start, rotation):
        geometry = Detector.square_on(distance[0], centre, (0.5, 0.8), (3, 2), wavelength[0])
        return detector(TRICLINIC, geometry, Scan(2, width[0], start[0]), rotation=rotation).q

    assert gradcheck(q, tuple(leaves))
    axes = (torch.as_tensor(U) @ TRICLINIC.matrix).requires_grad_()
    matrix = matrix_leaf(TRICLINIC)
    geometry = tilted(n_pixels=(2, 2))
    assert gradcheck(lambda m, a: detector(UnitCell(m), geometry, axes=a).q, (matrix, axes))


# ---- shells ---------------------------------------------------------------------------------


def test_points_of_a_shell_are_evenly_spread():
    sample = shells(TRICLINIC, [0.7, 2.1], 2000)
    radius = torch.linalg.vector_norm(sample.q, dim=1)
    assert (sample.restore_shape(radius) - sample.radius[:, None]).abs().max() < ROUNDING
    assert (sample.restore_shape(sample.weight).sum(1) - 1).abs().max() < ROUNDING
    unit = sample.restore_shape(sample.q)[0] / 0.7
    # Moments of the even sphere: <x> = 0, <x x> = 1/3, <x^4> = 1/5. A spiral of n points has them
    # to about 1/n; random points would miss by 1/sqrt(n) = 0.02.
    assert unit.mean(0).abs().max() < 1e-3
    assert (unit.T @ unit / 2000 - torch.eye(3).double() / 3).abs().max() < 1e-3
    assert ((unit**4).mean(0) - 0.2).abs().max() < 1e-3
    # No two nearer than 0.8 of the distance sqrt(4 pi/n) of an even square arrangement (the
    # spiral keeps 0.87 of it; random points come a hundred times nearer).
    apart = torch.pdist(unit).min()
    assert apart > 0.8 * math.sqrt(4 * math.pi / 2000)


def test_average_of_a_shell_leaves_invalid_points_out():
    sample = shells(TRICLINIC, [1.0, 2.0], 200, bragg_radius=0.15)
    assert 0 < (~sample.valid).sum() < 100
    values = torch.randn(400, dtype=torch.float64)
    values = torch.where(sample.valid, values, math.nan).requires_grad_()
    average = sample.average(values)
    expected = sample.restore_shape(values.detach()).nanmean(1)
    assert (average - expected).abs().max() < ROUNDING
    (gradient,) = torch.autograd.grad(average.sum(), values)
    assert torch.isfinite(gradient).all()
    assert torch.equal(gradient == 0, ~sample.valid)


def test_shell_radii_are_middles_in_q():
    radii = shell_radii(math.inf, 2.0, 4)
    assert (radii - math.pi * torch.tensor([1, 3, 5, 7]).double() / 8).abs().max() < ROUNDING


def test_shell_gradient_in_the_radii():
    radii = torch.tensor([0.5, 1.5], dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda r: shells(TRICLINIC, r, 7).q, (radii,))


# ---- paths ----------------------------------------------------------------------------------


def test_path_goes_from_corner_to_corner_once():
    corners = [[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0.25]]
    sample = path(TRICLINIC, corners, [4, 10], labels=["G", "X", "S"], around=(2, 0, -1))
    assert sample.shape == (15,)
    assert sample.corner.tolist() == [0, 4, 14]
    assert sample.labels == ("G", "X", "S")
    shifted = torch.tensor(corners, dtype=torch.float64) + torch.tensor([2.0, 0.0, -1.0])
    assert (sample.hkl[sample.corner] - shifted).abs().max() < ROUNDING
    steps = torch.linalg.vector_norm(sample.q.diff(dim=0), dim=1)
    assert (sample.distance.diff() - steps).abs().max() < ROUNDING
    assert sample.distance[0] == 0
    # Even steps on each segment, and none of length zero.
    assert (steps[:4] - steps[0]).abs().max() < ROUNDING
    assert (steps[4:] - steps[4]).abs().max() < ROUNDING
    assert steps.min() > 0
    assert sample.valid.tolist() == [False] + [True] * 14


def test_path_labels_and_gradient():
    sample = path(TRICLINIC, [[0, 0, 0], [0.5, 0, -1 / 3]], 3)
    assert sample.labels == ("0 0 0", "0.5 0 -0.3333")
    corners = torch.tensor([[0.1, 0, 0], [0.5, 0, 0], [0.3, 0.2, 0.1]], dtype=torch.float64)
    matrix = matrix_leaf(TRICLINIC)

    def sample_path(m, c):
        sample = path(UnitCell(m), c, 3)
        return torch.cat([sample.q, sample.distance[:, None].expand(-1, 3)])

    assert gradcheck(sample_path, (matrix, corners.requires_grad_()))


# ---- halos ----------------------------------------------------------------------------------


def gemmi_peaks(crystal, d_min, d_max):
    """Orbit representative of every peak of a resolution range that is not absent."""
    group = gemmi.find_spacegroup_by_name(crystal.spacegroup)
    ops, asu = group.operations(), gemmi.ReciprocalAsu(group)
    cell = gemmi.UnitCell(*crystal.cell.parameters)
    found = {}
    for hkl in itertools.product(range(-12, 13), repeat=3):
        d = cell.calculate_d(hkl) if any(hkl) else math.inf
        if d_min <= d <= d_max and not ops.is_systematically_absent(hkl):
            found[hkl] = tuple(asu.to_asu(hkl, ops)[0])
    return found


# P 3 c 1: glide planes askew to the axes, which tell an operator from its transpose.
@pytest.mark.parametrize("spacegroup", [*CELLS, "P 3 c 1"])
def test_peaks_are_gemmis_and_the_strongest(spacegroup):
    crystal = made_up(spacegroup, cell=CELLS.get(spacegroup, CELLS["P 61"]))
    d_min, d_max = 1.013, 1.502  # no peak of these cells is this close to an end
    expected = gemmi_peaks(crystal, d_min, d_max)
    hkl = torch.tensor(sorted(expected))
    bodies = gather_bodies(crystal)
    q = crystal.cell.q_from_hkl(hkl.double())
    everything = structure_factor(bodies, q, bodies.U).abs().square()
    for unique, n in (
        ("all", len(expected)),
        ("friedel", len(expected) // 2),
        ("laue", len(set(expected.values()))),
    ):
        peaks = strongest_peaks(crystal, n, d_min, d_max, unique=unique)
        kept = [tuple(x) for x in peaks.hkl.tolist()]
        assert set(kept) <= set(expected)
        assert len(set(kept)) == n
        if unique == "laue":
            assert len({expected[x] for x in kept}) == n
        if unique == "friedel":
            assert not {tuple(-i for i in hkl) for hkl in kept} & set(kept)
        assert (peaks.strength.diff() <= 0).all()
        where = [sorted(expected).index(x) for x in kept]
        # Copies of one orbit have F from other sums of the same terms.
        assert torch.allclose(peaks.strength, everything[where], rtol=1e-9, atol=1e-9)
        few = strongest_peaks(crystal, 5, d_min, d_max, unique=unique)
        assert torch.equal(few.hkl, peaks.hkl[:5])
        with pytest.raises(InputError, match=f"there are {n} peaks"):
            strongest_peaks(crystal, n + 1, d_min, d_max, unique=unique)


def test_peaks_on_the_end_of_the_range_stay_together():
    # d of (200), (020) and (002) is 2.05 up to rounding, whichever way it falls.
    crystal = Crystal.from_atoms((4.1,) * 3 + (90.0,) * 3, "P 1", ["C"], [[0.1, 0.2, 0.3]])
    peaks = strongest_peaks(crystal, 3, 2.05, 2.2, unique="friedel")
    assert sorted(peaks.hkl.tolist()) == [[0, 0, 2], [0, 2, 0], [2, 0, 0]]


def test_a_halo_covers_the_zone_once_with_the_same_wavevectors():
    sample = halos(TRICLINIC, [[3, -2, 5], [0, 4, 1]], (13, 11, 4))
    assert sample.shape == (2, 13, 11, 4)
    offset = sample.offset
    assert (offset > -0.5).all()
    assert (offset <= 0.5).all()
    steps = offset * torch.tensor([13, 11, 4])
    assert (steps - steps.round()).abs().max() < ROUNDING
    classes = steps.round().to(torch.int64).remainder(torch.tensor([13, 11, 4]))
    assert len({tuple(x) for x in classes.tolist()}) == 13 * 11 * 4
    assert sample.zone_points().n_k == 13 * 11 * 4
    # The peaks themselves and nothing else.
    assert torch.equal(sample.hkl[~sample.valid].to(torch.int64), sample.peaks.hkl)
    middle = sample.restore_shape(sample.hkl)[1, 6, 5, 1]
    assert middle.tolist() == [0, 4, 1]


def test_default_halo_is_the_fields():
    crystal = made_up("P 21 21 21")
    sample = halos(crystal.cell, strongest_peaks(crystal, 10, 1.0, 2.0))
    assert sample.shape == (10, 13, 11, 11)
    assert len(sample.offset) == 1573
    assert not sample.peaks.strength.isnan().any()
    wide = halos(crystal.cell, sample.peaks, bragg_radius=0.2)
    assert (~wide.valid).sum() > 10
    distance = bragg_distance(crystal.cell, wide.q)
    assert torch.equal(wide.valid, distance >= 0.2)


# ---- minibatches ----------------------------------------------------------------------------

PARENT = grid(TRICLINIC, (-1, 1, 5), (-1, 1, 4), (0, 2, 6))


def some_values(sample):
    """Sharp at Bragg peaks as intensities are, NaN at the invalid points."""
    values = 1.0 / bragg_distance(TRICLINIC, sample.q) ** 2
    return torch.where(sample.valid, values, math.nan)


WEIGHTINGS = {
    "uniform": {},
    "weighted": {"weights": 1.0 / (0.01 + bragg_distance(TRICLINIC, PARENT.q))},
    "stratified": {"strata": bragg_strata(TRICLINIC, PARENT.q, [0.25, 0.5])},
    "both": {
        "weights": 1.0 / (0.01 + bragg_distance(TRICLINIC, PARENT.q)),
        "strata": bragg_strata(TRICLINIC, PARENT.q, [0.25, 0.5]),
    },
}


@pytest.mark.parametrize("options", WEIGHTINGS.values(), ids=WEIGHTINGS)
def test_the_mean_is_estimated_without_bias(options):
    values = some_values(PARENT)
    sampler = Strata.of(PARENT, **options)
    batches = [sampler.draw(50, seed) for seed in range(1000)]
    means = torch.stack([batch.mean(values[batch.index]) for batch in batches])
    error = means.std() / math.sqrt(len(means))
    # Four standard errors of a fixed seed; weights forgotten miss by twenty or more.
    assert abs(means.mean() - values.nanmean()) < 4 * error
    # A constant, which weights forgotten would not show, and strata alone give exactly.
    ones = torch.stack([batch.weight.mean() for batch in batches])
    assert abs(ones.mean() - 1) <= max(4 * ones.std() / math.sqrt(len(ones)), ROUNDING)


def test_importance_pays():
    values = some_values(PARENT)
    spread = {}
    for name, options in WEIGHTINGS.items():
        sampler = Strata.of(PARENT, **options)
        batches = [sampler.draw(60, seed) for seed in range(300)]
        spread[name] = float(torch.stack([b.mean(values[b.index]) for b in batches]).std())
    # Each of these halves the error at least, of which 300 draws know 4 %.
    assert max(spread["weighted"], spread["stratified"], spread["both"]) < 0.7 * spread["uniform"]


def test_points_are_drawn_as_their_weights_say():
    weights = torch.zeros(PARENT.n_points)
    chosen = PARENT.valid.nonzero().squeeze(1)[:4]
    weights[chosen] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    batch = minibatch(PARENT, 20000, 3, weights=weights)
    counts = torch.bincount(batch.index, minlength=PARENT.n_points)
    assert counts.sum() == counts[chosen].sum()
    expected = 20000 * torch.tensor([0.1, 0.2, 0.3, 0.4])
    # Four standard deviations of a binomial count.
    assert ((counts[chosen] - expected).abs() < 4 * expected.sqrt()).all()


def test_strata_share_a_minibatch():
    strata = WEIGHTINGS["stratified"]["strata"]
    batch = minibatch(PARENT, 32, 5, strata=strata)
    assert torch.bincount(strata[batch.index]).tolist() == [11, 11, 10]
    assert batch.valid.all()
    assert torch.equal(batch.q, PARENT.q[batch.index])
    assert torch.equal(batch.hkl, PARENT.hkl[batch.index])


def test_seed_and_generator_are_all_the_randomness():
    generator = torch.Generator().manual_seed(7)
    first = minibatch(PARENT, 20, generator)
    second = minibatch(PARENT, 20, generator)
    again = minibatch(PARENT, 20, 7)
    assert torch.equal(first.index, again.index)
    assert not torch.equal(first.index, second.index)


def test_minibatch_goes_back_into_its_sample():
    batch = minibatch(PARENT, 400, 1)
    assert len(batch.index.unique()) < 400  # some are drawn twice
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    back = batch.restore_shape(scale * batch.q)
    assert back.shape == (*PARENT.shape, 3)
    drawn = torch.zeros(PARENT.n_points, dtype=torch.bool)
    drawn[batch.index] = True
    flat = back.reshape(-1, 3)
    assert torch.equal(flat[drawn], 2 * PARENT.q[drawn])
    assert flat[~drawn].isnan().all()
    (gradient,) = torch.autograd.grad(flat[drawn].sum(), scale)
    # Points drawn twice count once.
    assert abs(gradient - PARENT.q[drawn].sum()) < 1e-10


def test_gradient_reaches_what_the_sample_was_made_of():
    matrix = matrix_leaf(TRICLINIC)
    sample = grid(UnitCell(matrix), (-1, 1, 2), (-1, 1, 2), (0, 2, 2))
    batch = minibatch(sample, 10, 0)
    (gradient,) = torch.autograd.grad(batch.q.square().sum(), matrix)
    fixed = UnitCell(matrix.detach().clone().requires_grad_())
    direct = fixed.q_from_hkl(sample.hkl[batch.index]).square().sum()
    assert torch.allclose(gradient, torch.autograd.grad(direct, fixed.matrix)[0], rtol=1e-12)


# ---- errors ---------------------------------------------------------------------------------

CRYSTAL = made_up("P 21 21 21")
EYE = torch.eye(3, dtype=torch.float64)


def pixels(**changes):
    return detector(TRICLINIC, tilted(**changes))


ERRORS = {
    "bragg_radius": (lambda: near_bragg(TRICLINIC, PARENT.q, -1.0), "bragg_radius -1"),
    "edges": (lambda: bragg_strata(TRICLINIC, PARENT.q, [0.5, 0.2]), "ascending"),
    "no edges": (lambda: bragg_strata(TRICLINIC, PARENT.q, []), "edges"),
    "empty stratum": (lambda: bragg_strata(TRICLINIC, PARENT.q, [9.0]), "move the edges"),
    "nothing to sort": (lambda: bragg_strata(TRICLINIC, PARENT.q[:0], [9.0]), "no q"),
    "sampling": (lambda: grid(TRICLINIC, (1, -1, 2), (0, 1, 2), (0, 1, 2)), "hsampling"),
    "wavelength": (lambda: pixels(wavelength=0.0), "wavelength 0 Å"),
    "pixel size": (lambda: pixels(pixel_size=(0.1, -0.1)), "pixel_size"),
    "pixels": (lambda: pixels(n_pixels=(0, 5)), "n_pixels 0"),
    "not orthogonal": (lambda: pixels(fast=(1.0, 0, 0), slow=(0.6, 0.8, 0)), "not orthogonal"),
    "not unit": (lambda: pixels(fast=(1.0, 1.0, 0)), "unit vector"),
    "beam": (lambda: pixels(beam=(0.0, 0.0, 2.0)), "beam"),
    "not finite": (lambda: pixels(origin=(0.0, math.nan, 1.0)), "origin"),
    "in the crystal": (lambda: pixels(origin=(0.0, 0.0, 0.0)), "at the position of the crystal"),
    "distance": (
        lambda: Detector.square_on(-5.0, (1, 1), (1, 1), (2, 2), 1.0),
        "distance -5 mm",
    ),
    "centre": (lambda: Detector.square_on(5.0, (1,), (1, 1), (2, 2), 1.0), "beam_centre"),
    "bins": (lambda: tilted().binned(0), "n 0"),
    "bins too large": (
        lambda: detector(TRICLINIC, tilted().binned(8)),
        "n_pixels 0",
    ),
    "frames": (lambda: detector(TRICLINIC, tilted(), Scan(0)), "n_frames 0"),
    "spindle": (lambda: detector(TRICLINIC, tilted(), Scan(axis=(1, 1, 0))), "axis"),
    "not a rotation": (
        lambda: detector(TRICLINIC, tilted(), rotation=TRICLINIC.matrix),
        "`axes` instead",
    ),
    "mirror": (lambda: detector(TRICLINIC, tilted(), rotation=-EYE), "determinant"),
    "matrix": (lambda: detector(TRICLINIC, tilted(), rotation=EYE[:2]), "3 x 3"),
    "other axes": (
        lambda: detector(TRICLINIC, tilted(), axes=TRICLINIC.matrix[:, [1, 2, 0]]),
        "choice of axes",
    ),
    "other hand": (
        lambda: detector(TRICLINIC, tilted(), axes=-TRICLINIC.matrix),
        "opposite handedness",
    ),
    "both": (
        lambda: detector(TRICLINIC, tilted(), axes=TRICLINIC.matrix, rotation=EYE),
        "give only one",
    ),
    "no shell": (lambda: shells(TRICLINIC, []), "radii"),
    "no shell, a tensor": (lambda: shells(TRICLINIC, torch.zeros(0)), "radii"),
    "radius": (lambda: shells(TRICLINIC, [1.0, 0.0]), "radii"),
    "empty shell": (lambda: shells(TRICLINIC, [1.0], 0), "n_per_shell 0"),
    "shell range": (lambda: shell_radii(2.0, 2.5, 3), "d_min 2.5"),
    "shell number": (lambda: shell_radii(2.5, 2.0, 0), "n_shells 0"),
    "one corner": (lambda: path(TRICLINIC, [[0, 0, 0]]), "two or more corners"),
    "same corner": (lambda: path(TRICLINIC, [[0, 0, 1], [0, 0, 1]]), "corners 0 and 1"),
    "steps": (lambda: path(TRICLINIC, [[0, 0, 0], [1, 0, 0]], 0), "points_per_segment 0"),
    "segments": (lambda: path(TRICLINIC, [[0, 0, 0], [1, 0, 0]], [2, 2]), "1 segments"),
    "labels": (lambda: path(TRICLINIC, [[0, 0, 0], [1, 0, 0]], labels=["G"]), "1 labels"),
    "peak range": (lambda: strongest_peaks(CRYSTAL, 1, 2.5, 2.0), "d_min 2.5"),
    "no peaks": (lambda: strongest_peaks(CRYSTAL, 5, 90.0, 99.0), "there are 0 peaks"),
    "number of peaks": (lambda: strongest_peaks(CRYSTAL, 0), "n_peaks 0"),
    "unique": (lambda: strongest_peaks(CRYSTAL, 1, unique="none"), "laue, friedel, all"),
    "no peak": (lambda: halos(TRICLINIC, torch.zeros(0, 3)), "peaks have shape"),
    "fractional peak": (lambda: halos(TRICLINIC, [[1, 2, 2.5]]), "not a Bragg peak"),
    "samples": (lambda: halos(TRICLINIC, [[1, 2, 2]], (3, 3)), "give three"),
    "no samples": (lambda: halos(TRICLINIC, [[1, 2, 2]], (3, 0, 3)), "samples 0"),
    "size": (lambda: minibatch(PARENT, 0, 0), "size 0"),
    "size below strata": (
        lambda: minibatch(PARENT, 2, 0, **WEIGHTINGS["stratified"]),
        "size 2: give a whole number, 3",
    ),
    "weights": (lambda: minibatch(PARENT, 2, 0, weights=torch.ones(3)), "weights has shape"),
    "negative": (lambda: minibatch(PARENT, 2, 0, weights=-PARENT.q[:, 0].abs()), "negative"),
    "nothing to draw": (
        lambda: minibatch(PARENT, 2, 0, weights=torch.zeros(PARENT.n_points)),
        "can be drawn",
    ),
    "empty": (
        lambda: Strata.of(PARENT, strata=torch.ones(PARENT.n_points, dtype=torch.int64)),
        "none is empty",
    ),
    "not strata": (lambda: Strata.of(PARENT, strata=PARENT.q[:, 0]), "strata must be the index"),
}


@pytest.mark.parametrize(("call", "words"), ERRORS.values(), ids=ERRORS)
def test_errors_name_the_value_and_the_mend(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_peak_list_of_ones_own_has_no_strength():
    peaks = halos(TRICLINIC, [[1, 2, 3]]).peaks
    assert isinstance(peaks, BraggPeaks)
    assert peaks.strength.isnan().all()
