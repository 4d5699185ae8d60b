"""Gaussian regression: predictions, their derivatives, and ways of leaving out."""

import numpy as np
import pytest
import torch

from crystals import made_up
from fits import sampling, to_map
from onephonon import InputError, MapGrid
from onephonon.crystal.reindexing import parse_reindexing
from onephonon.refine.components.judgement import judge
from onephonon.refine.components.left_out import (
    LeftOut,
    guarded_blocks,
    small_blocks,
    wide_blocks,
)
from onephonon.refine.components.regression import AnisotropicPart, left_out_error, solve, tune
from onephonon.refine.quality import anisotropic_sums
from onephonon.refine.settings import FitSettings
from onephonon.refine.voxels import select_voxels

CELL = (14.0, 16.0, 18.0, 90.0, 90.0, 90.0)
CRYSTAL = made_up("P 21 21 21", cell=CELL, n_atoms=6)


def voxels_of(seed=0, d_min=1.6):
    """Voxels of a map of random numbers."""
    axes = sampling(CRYSTAL, d_min, (1, 1, 1))
    shape = MapGrid.from_sampling(*axes).shape
    values = np.random.default_rng(seed).normal(10, 2, shape)
    data = to_map(values, axes, CRYSTAL, spacegroup="P 21 21 21")
    settings = FitSettings(d_min=d_min, d_max=8.0, average=0, bragg_radius=0.0)
    return select_voxels(data, CRYSTAL, parse_reindexing("h,k,l", CELL, CELL), settings)


def problem(n=40, n_kernels=2, seed=0):
    """Random kernels and data, and parts that are left out with some that are not predicted."""
    rng = np.random.default_rng(seed)
    kernels = []
    for _ in range(n_kernels):
        root = torch.from_numpy(rng.normal(size=(n, n)))
        kernels.append(root @ root.T / n)
    y = torch.from_numpy(rng.normal(size=n))
    removed = tuple(np.sort(part) for part in np.array_split(rng.permutation(n), 4))
    return kernels, y, LeftOut(removed, tuple(part[::2] for part in removed), "test")


def test_predictions_left_out_are_those_of_fits_without_these_voxels():
    kernels, y, parts = problem()
    found = solve(kernels, (0.7, 0.4), 0.2, y)
    predicted = found.left_out(parts)
    noise = found.noise
    total = 0.7 * kernels[0] + 0.4 * kernels[1]
    for removed, wanted in zip(parts.removed, parts.predicted, strict=True):
        kept = np.setdiff1d(np.arange(len(y)), removed)
        inner = total[kept][:, kept] + noise * torch.eye(len(kept), dtype=y.dtype)
        expected = total[wanted][:, kept] @ torch.linalg.solve(inner, y[kept])
        # Rounding of a 40 x 40 inverse of condition 10^2.
        torch.testing.assert_close(predicted[wanted], expected, rtol=1e-10, atol=1e-10)
        never = np.setdiff1d(removed, wanted)
        assert torch.isnan(predicted[never]).all()


def test_fit_and_number_of_parameters():
    kernels, y, _ = problem(n_kernels=1)
    found = solve(kernels, (1.0,), 0.3, y)
    matrix = kernels[0] @ torch.linalg.inv(
        kernels[0] + found.noise * torch.eye(len(y), dtype=y.dtype)
    )
    torch.testing.assert_close(found.fitted, matrix @ y, rtol=1e-10, atol=1e-10)
    assert found.n_effective == pytest.approx(float(matrix.trace()), rel=1e-10)
    # Without noise everything is fitted, with much noise nothing is.
    assert solve(kernels, (1.0,), 1e-9, y).n_effective > 0.99 * len(y)
    assert solve(kernels, (1.0,), 1e6, y).n_effective < 1e-3


def test_kernels_in_single_precision_are_made_positive_definite():
    rng = np.random.default_rng(0)
    columns = torch.from_numpy(rng.normal(size=(60, 2))).float()
    kernel = 1e3 * columns @ columns.T
    kernel[0, 0] -= 0.05  # as rounding may
    y = torch.from_numpy(rng.normal(size=60))
    found = solve([kernel], (1.0,), 1e-4, y)
    assert bool(torch.isfinite(found.fitted).all())
    assert 1e-3 < found.noise < 11.0
    with pytest.raises(InputError, match="not positive definite"):
        solve([-kernel], (1.0,), 1e-4, y)


def test_derivatives_of_the_error_of_predictions():
    kernels, y, parts = problem()
    rest = LeftOut(parts.removed[:2], parts.removed[:2], "whole")
    ways = [(parts, 1.0), (rest, 0.5)]
    weights = np.array([0.7, 0.4, 0.2])
    _, slopes = left_out_error(kernels, y, ways, weights)
    for i in range(3):
        step = 1e-5 * np.eye(3)[i]
        up, down = (left_out_error(kernels, y, ways, weights + s)[0] for s in (step, -step))
        # Central differences err by the square of the step; noise gets a jitter of 1e-6 of the
        # kernels' variance, which its derivative leaves out.
        assert slopes[i] == pytest.approx((up - down) / 2e-5, rel=1e-4)


def test_weights_of_a_kernel_that_made_the_data_are_found_and_a_wrong_one_is_rejected():
    rng = np.random.default_rng(2)
    x = np.sort(rng.uniform(0, 10, 300))
    right = np.exp(-0.5 * (x[:, None] - x) ** 2)
    elsewhere = rng.permutation(x)
    wrong = np.exp(-0.5 * (elsewhere[:, None] - elsewhere) ** 2)
    signal = np.linalg.cholesky(right + 1e-9 * np.eye(300)) @ rng.normal(size=300)
    y = torch.from_numpy(signal + rng.normal(0, 0.3, 300))
    kernels = [torch.from_numpy(right), torch.from_numpy(wrong)]
    parts = np.array_split(np.arange(300), 30)
    folds = tuple(np.concatenate(parts[i::5]) for i in range(5))
    ways = [(LeftOut(folds, folds, "blocks"), 1.0)]
    start = (1.0, 0.1, 0.3)
    weights = tune(kernels, y, ways, start, max_steps=40)
    before, _ = left_out_error(kernels, y, ways, np.array(start))
    after, _ = left_out_error(kernels, y, ways, np.array(weights))
    assert after < before
    assert weights[1] < 0.02 * weights[0]
    # Predictions depend on ratios alone. That of noise and signal, 0.09 and 1, is known to a
    # factor of about exp(1/sqrt(10)): the signal has 10 independent parts.
    assert 0.03 < weights[2] / weights[0] < 0.27


def test_lines_in_shells_are_projected_out():
    s = torch.linspace(0.1, 0.4, 200, dtype=torch.float64)
    part = AnisotropicPart.of(s, 7)
    Q = part.isotropic
    torch.testing.assert_close(Q.T @ Q, torch.eye(Q.shape[1], dtype=Q.dtype), rtol=0, atol=1e-12)
    edges = torch.linspace(0.1, 0.4, 8, dtype=torch.float64)
    shell = torch.bucketize(s, edges[1:-1].contiguous())
    line = (3.0 + shell) - 5.0 * s * shell  # another line in each shell
    assert float(part.of_values(line).abs().max()) < 1e-12 * float(line.abs().max())
    kernel = torch.exp(-((s[:, None] - s) ** 2) / 0.01)
    found = part.of_kernel(kernel)
    assert float((Q.T @ found).abs().max()) < 1e-10
    assert float(found.diagonal().mean()) == pytest.approx(1.0)
    with pytest.raises(InputError, match="no anisotropic intensity"):
        part.of_kernel(torch.zeros_like(kernel))


def test_every_voxel_is_left_out_once_and_equivalent_blocks_together():
    voxels = voxels_of()
    for parts in (
        small_blocks(voxels),
        wide_blocks(voxels, CRYSTAL),
        guarded_blocks(voxels, CRYSTAL),
    ):
        every = np.concatenate(parts.predicted)
        assert sorted(every) == list(range(voxels.n))
    assert len(small_blocks(voxels).removed) == 5


def test_no_voxel_near_a_guarded_block_is_fitted():
    voxels = voxels_of()
    axes = np.diag(1 / np.array(CELL[:3]))
    reach = 1.5 * (1 / np.prod(CELL[:3])) ** (1 / 3)
    parts = guarded_blocks(voxels, CRYSTAL, guard=1.5)
    laue = CRYSTAL.laue_operators
    for removed, wanted in list(zip(parts.removed, parts.predicted, strict=True))[:5]:
        kept = np.setdiff1d(np.arange(voxels.n), removed)
        near = np.inf
        for operator in laue:
            images = voxels.hkl[kept] @ operator @ axes
            apart = (voxels.hkl[wanted] @ axes)[:, None] - images
            near = min(near, np.linalg.norm(apart, axis=-1).min())
        assert near > reach
        assert set(wanted) <= set(removed)
    wider = guarded_blocks(voxels, CRYSTAL, guard=3.0)
    assert sum(map(len, wider.removed)) > sum(map(len, parts.removed))


def test_judgement_of_a_perfect_a_noisy_and_an_empty_prediction():
    voxels = voxels_of()
    rng = np.random.default_rng(1)
    noisy = voxels.data + rng.normal(0, np.std(voxels.data), voxels.n)
    part = np.where(np.arange(voxels.n) % 2 == 0, voxels.data, np.nan)
    perfect = judge(voxels, voxels.data, {"small": voxels.data, "wide": part})
    other = judge(voxels, noisy, {"small": noisy})
    assert perfect.fitted.cc == pytest.approx(1.0)
    assert perfect.held_out["wide"].n == (voxels.n + 1) // 2
    # The correlation with as much noise as signal is 1/sqrt(2), with error (1 - r^2)/sqrt(N).
    assert abs(other.held_out["small"].cc - 0.5**0.5) < 4 * 0.5 / voxels.n**0.5
    gain, error = perfect.gain_over(other, "small")
    assert gain == pytest.approx(1 - other.held_out["small"].cc)
    assert 0 < error < 0.1
    sums = anisotropic_sums(voxels, voxels.data, 7.0 - 2.0 * voxels.data)
    assert sums.cc == pytest.approx(-1.0)
