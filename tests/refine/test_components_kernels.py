"""Prior covariances of intensities: sums over pairs of segments and of atoms."""

import dataclasses

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import InputError
from onephonon.crystal.solvent import with_solvent
from onephonon.disorder import ComponentSpec, Segments
from onephonon.network.bodies import gather_bodies
from onephonon.refine.components.covariance_terms import (
    LiquidTerm,
    SegmentTerm,
    covariance_term,
    strength,
)
from onephonon.refine.components.liquid_ladder import (
    Ladder,
    PattersonMap,
    liquid_features,
    liquid_intensities,
)
from onephonon.refine.components.mirror import mirror_image
from onephonon.refine.components.segment_pairs import (
    SegmentBasis,
    SegmentPrior,
    segment_features,
)
from onephonon.refine.components.smoothness import smoothness_kernel
from onephonon.refine.components.voxel_frame import VoxelFrame

GROUPS = ("P 1", "P 21 21 21", "P 31 2 1")


def frame_of(crystal, box=(1.0, 1.0, 1.0), shift=0.0, seed=0, n=7):
    """Some voxels of a crystal."""
    hkl = np.random.default_rng(seed).integers(-4, 5, (n, 3)) + shift
    hkl = torch.as_tensor(hkl[(hkl != 0).any(1)], dtype=torch.float64)
    edges = torch.diag(torch.tensor(box, dtype=torch.float64))
    return VoxelFrame(hkl, crystal.cell.q_from_hkl(hkl), edges)


def waves_of(crystal, q):
    """``occ f exp(-W + i q.r)`` of every atom of the cell, shape (N, n_cell_atoms)."""
    bodies = gather_bodies(crystal, "asu")
    kinds = crystal.form_factors.evaluate(q.square().sum(1))
    f = kinds[:, crystal.form_factors.kind][:, bodies.asu_atom]
    wq = torch.einsum("qi,jik,qk->qj", q, bodies.U, q)
    occ = crystal.occupancies[bodies.asu_atom]
    return bodies, occ * f * torch.exp(-0.5 * wq + 1j * (q @ bodies.positions.T))


@pytest.mark.parametrize("group", GROUPS)
def test_window_is_the_mean_of_the_wave_over_a_voxel(group):
    frame = frame_of(made_up(group), box=(1.0, 0.5, 0.25))
    vectors = torch.tensor([[0.3, -0.7, 1.1], [0.0, 0.0, 0.0], [2.0, 0.1, 0.4]])
    vectors = vectors.to(torch.float64)
    x, w = np.polynomial.legendre.leggauss(12)
    nodes = np.stack(np.meshgrid(x, x, x, indexing="ij"), -1).reshape(-1, 3) / 2
    weight = np.prod(np.stack(np.meshgrid(w, w, w, indexing="ij"), -1), -1).reshape(-1) / 8
    turns = torch.from_numpy(nodes) @ frame.box @ vectors.T
    expected = torch.from_numpy(weight) @ torch.cos(2 * torch.pi * turns)
    # Twelve nodes integrate two turns to 1e-11.
    torch.testing.assert_close(frame.window(vectors), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("motion", ["isotropic", "tensor"])
def test_segments_give_the_sum_over_pairs_of_segments(group, motion):
    """Intensity of any covariance in the span of the basis, against the sum over atoms."""
    crystal = made_up(group, n_atoms=8)
    segments = Segments.of(crystal, "residue")
    prior = SegmentPrior(reach=5.0, smooth=2.0, motion=motion, functions=3)
    frame = frame_of(crystal, shift=0.25)
    features = segment_features(crystal, segments, frame, prior)
    assert len(features) == (1 if motion == "isotropic" else 6)
    basis = SegmentBasis.of(segments, crystal, prior)
    L, D = basis.functions, basis.deviation
    m = L.shape[1]
    rng = np.random.default_rng(3)
    upper = torch.triu_indices(m, m)
    twice = torch.where(upper[0] == upper[1], 1.0, 2.0**0.5)
    where = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    C = torch.zeros(3, 3, segments.n, segments.n, dtype=torch.float64)
    value = torch.zeros(frame.n, dtype=torch.float64)
    for t, feature in enumerate(features):
        a = torch.from_numpy(rng.normal(size=feature.shape[1]))
        value += feature.double() @ a
        inner = torch.zeros(m, m, dtype=torch.float64)
        inner[upper[0], upper[1]] = a * twice / 2
        inner = inner + inner.T
        pair = (L @ inner @ L.T) * D
        if motion == "isotropic":
            C += torch.eye(3, dtype=torch.float64)[:, :, None, None] * pair
        else:
            i, j = where[t]
            part = pair if i == j else pair / 2**0.5
            C[i, j] += part
            if i != j:
                C[j, i] += part
    # The obvious sum: every copy, every pair of atoms, the covariance turned with the copy.
    bodies, waves = waves_of(crystal, frame.q)
    n_hat = frame.q / frame.q.norm(dim=1, keepdim=True)
    number = torch.tensor(segments.numbers)
    expected = torch.zeros(frame.n, dtype=torch.float64)
    for op in range(crystal.n_ops):
        R = crystal.cell.matrix @ crystal.rotations[op] @ crystal.cell.inverse
        turned = torch.einsum("ik,klab,jl->ijab", R, C, R)
        own = waves[:, bodies.copy == op]
        positions = bodies.positions[bodies.copy == op]
        centre = torch.stack([positions[number == s].mean(0) for s in range(segments.n)])
        between = (centre[None] - centre[:, None]) @ crystal.cell.inverse.T
        window = frame.window(between)
        for j in range(len(number)):
            for k in range(len(number)):
                a, b = number[j], number[k]
                along = torch.einsum("qi,ik,qk->q", n_hat, turned[:, :, a, b], n_hat)
                pair = (own[:, j].conj() * own[:, k]).real
                expected += along * pair * window[a, b]
    # Features are in single precision.
    torch.testing.assert_close(value, expected, rtol=2e-4, atol=2e-4 * float(expected.abs().max()))


def one_kind(group):
    """A crystal of carbon atoms of one B."""
    crystal = made_up(group, n_atoms=5)
    kind = torch.zeros_like(crystal.form_factors.kind)
    alike = dataclasses.replace(crystal.form_factors, kind=kind)
    B = torch.full_like(crystal.B, 20.0)
    return crystal.replace(form_factors=alike).with_tensors(B=B)


def sum_over_pairs(crystal, frame, correlation, cutoff):
    """Liquid-like motions with all factors at q, over pairs of atoms and lattice vectors."""
    bodies, waves = waves_of(crystal, frame.q)
    total = torch.zeros(frame.n, dtype=torch.float64)
    cells = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for R in torch.from_numpy(cells).double() @ crystal.cell.matrix.T:
        apart = bodies.positions[None] + R - bodies.positions[:, None]
        r = apart.norm(dim=-1)
        if not bool((r <= cutoff).any()):
            continue
        value = torch.where(r <= cutoff, correlation(r), 0.0)
        window = frame.window(apart @ crystal.cell.inverse.T)
        pairs = torch.einsum("qj,jk,qk->q", waves.conj(), (value * window) + 0j, waves)
        total += (torch.exp(1j * (frame.q @ R)) * pairs).real
    return total


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("gaussian", [False, True])
def test_liquid_by_the_patterson_map_is_the_sum_over_pairs(group, gaussian):
    crystal = one_kind(group)
    frame = frame_of(crystal, n=6, shift=np.array([0.0, 0.5, 0.25]))
    length = 3.0

    def correlation(r):
        return torch.exp(-0.5 * (r / length) ** 2) if gaussian else torch.exp(-r / length)

    found = liquid_intensities([PattersonMap.of(crystal, frame)], frame, length, gaussian)[:, 0]
    expected = sum_over_pairs(crystal, frame, correlation, 6 * length)
    # Bragg points end where the transform of the correlation is 1 % of its centre (an exponential),
    # beyond which pairs of atoms are taken to interfere at random.
    rtol = 1e-3 if gaussian else 3e-2
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * float(expected.mean()))


def test_liquid_of_atoms_of_several_kinds_is_close_to_the_sum_over_pairs():
    crystal = made_up("P 21 21 21", n_atoms=5)
    frame = frame_of(crystal, n=20)
    found = liquid_intensities([PattersonMap.of(crystal, frame)], frame, 3.0)[:, 0]
    expected = sum_over_pairs(crystal, frame, lambda r: torch.exp(-r / 3.0), 18.0)
    # B-factors of 5 to 20 and C, N, O, S: the ratios of factors are taken at other points.
    assert np.corrcoef(found.log(), expected.log())[0, 1] > 0.98


def test_with_a_correlation_of_one_intensities_are_those_of_bragg_points():
    crystal = made_up("P 21 21 21")
    frame = frame_of(crystal, box=(0.0, 0.0, 0.0))
    patterson = PattersonMap.of(crystal, frame)
    index = tuple((frame.hkl.numpy().astype(int) % patterson.values.shape).T)
    F = waves_of(crystal, frame.q)[1].sum(1)
    expected = (F.real**2 + F.imag**2).numpy()
    found = patterson.factor * (np.fft.ifftn(patterson.values).real[index] + patterson.own)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_ladder_has_a_column_for_each_weight_and_function():
    crystal = made_up("P 21 21 21")
    frame = frame_of(crystal)
    ladder = Ladder(exponential=(2.0, 4.0), gaussian=(3.0,), powers=(0.0, 1.0), solvent=(0.0, 0.3))
    features = liquid_features(crystal, frame, ladder)
    assert features.shape == (frame.n, 4 * 3)
    assert len(ladder.names()) == 3
    torch.testing.assert_close(features.square().mean(0), torch.ones(12), rtol=1e-5, atol=0)
    weighted = with_solvent(
        crystal.with_tensors(occupancies=crystal.occupancies * crystal.B / crystal.B.mean()), 0.3
    )
    own = liquid_intensities([PattersonMap.of(weighted, frame)], frame, 4.0)[:, 0]
    scaled = own / own.square().mean().sqrt()
    torch.testing.assert_close(features[:, 3 * 3 + 1].double(), scaled, rtol=1e-5, atol=1e-5)


def test_smoothness_has_the_symmetry_and_depends_on_distance_alone():
    crystal = made_up("P 21 21 21")
    frame = frame_of(crystal, n=12)
    kernel = smoothness_kernel(crystal, frame, 2.0).double()
    i, j = 0, 1
    expected = 0.0
    for operator in crystal.laue_operators:
        image = crystal.cell.q_from_hkl(frame.hkl[j] @ torch.from_numpy(operator).double())
        expected += (1 + 4.0 * float((frame.q[i] - image).square().sum())) ** -2
    assert float(kernel[i, j]) == pytest.approx(float(expected), rel=1e-5)
    assert float(torch.linalg.eigvalsh(kernel).min()) > -1e-5


def test_strength_falls_with_the_difference_of_resolutions():
    frame = frame_of(made_up("P 1"))
    s = frame.s
    found = strength(frame, 0.1).double()
    expected = (s[0] * s[1]) ** 2 * torch.exp(-0.5 * ((s[0] - s[1]) / 0.1) ** 2)
    assert float(found[0, 1]) == pytest.approx(float(expected), rel=1e-5)


def test_mirror_image_has_the_distances_and_the_other_hand():
    crystal = made_up("P 21 21 21")
    image = mirror_image(crystal)
    x, y = crystal.positions, image.positions
    torch.testing.assert_close(torch.cdist(x, x), torch.cdist(y, y))
    torch.testing.assert_close(x.mean(0), y.mean(0))

    def handedness(p):
        return float(torch.linalg.det(p[1:4] - p[0]))

    assert handedness(y) == pytest.approx(-handedness(x))
    # Intensities of the molecule alone are others, also in a Laue group with mirror planes.
    frame = frame_of(crystal)
    before, after = (waves_of(c, frame.q)[1][:, :5].sum(1).abs() for c in (crystal, image))
    assert float((before - after).abs().max()) > 0.1 * float(before.max())


def test_segments_divide_every_atom():
    crystal = made_up("P 1", n_atoms=8)
    residues = Segments.of(crystal, "residue")
    assert residues.n == 4
    pieces = Segments.of(crystal, "2")
    assert pieces.names[0] == f"{residues.names[0]} to {residues.names[1]}"
    assert set(pieces.numbers) == {0, 1}
    ranges = Segments.of(crystal, "A B")
    assert ranges.names == ("A", "B")
    centre = ranges.centroids(crystal)
    torch.testing.assert_close(centre[0], crystal.positions[:4].mean(0))
    between = torch.cdist(crystal.positions[:4], crystal.positions[4:]).min()
    assert float(ranges.closest(crystal)[0, 1]) == pytest.approx(float(between))
    with pytest.raises(InputError, match="9 segments of 4 residues"):
        Segments.of(crystal, "9")


def test_terms_follow_the_options_and_refuse_what_cannot_be():
    segments = covariance_term(ComponentSpec("segments", {"n": 12, "motion": "isotropic"}))
    assert isinstance(segments, SegmentTerm)
    assert (segments.by, segments.prior.motion) == ("12", "isotropic")
    liquid = covariance_term(ComponentSpec("liquid", {"kernel": "free", "width": 0.05}))
    assert isinstance(liquid, LiquidTerm)
    assert liquid.width == 0.05
    for options in ({"kernel": "free", "scope": "asu"}, {"kernel": "free", "gamma": 3.0}):
        with pytest.raises(InputError, match="leave"):
            covariance_term(ComponentSpec("liquid", options))
    with pytest.raises(InputError, match="give one"):
        covariance_term(ComponentSpec("segments", {"n": 12, "by": "residue"}))
    crystal = made_up("P 1")
    with pytest.raises(InputError, match="without solvent"):
        liquid.kernel(with_solvent(crystal, 0.3), frame_of(crystal), None)
