"""The examples run, find what they set out to find, and draw it."""

import importlib.util
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def springs_are_recovered_within_their_errors(result):
    # Six normal deviates beyond 4 sigma: once in 2600 seeds, and this seed is fixed.
    deviation = (result["found"] - result["true"]) / result["error"]
    assert deviation.abs().max() < 4
    # The start was wrong by up to a factor 8; the noise leaves at most a tenth.
    assert (result["error"] / result["true"]).max() < 0.1
    # 595 data: the mean chi² of pure noise is 1 +- sqrt(2/595) = 0.06.
    assert abs(result["loss"][-1] - 1) < 0.2


def the_displaced_atom_is_found_and_put_back(result):
    assert result["found"] == "A/ILE 33/CG2"
    assert result["before"] == pytest.approx(0.29**0.5)  # (0.3, -0.4, 0.2) Å
    # The error is the rms of three coordinates; beyond 2.5 of it one seed in 3000.
    assert result["after"] < 2.5 * result["error"]
    assert result["error"] < 0.1
    # 638 data: the mean chi² of pure noise is 1 +- sqrt(2/638) = 0.056.
    assert abs(result["loss"] - 1) < 0.2


def climbs_end_at_the_top_of_the_halo(result):
    heights, scan = result["heights"], result["scan"]
    # This halo has one summit: every climb must find it. They stop where the slope of log I, s,
    # is below 1e-5; the height then lacks s²/2, far below 1e-6.
    assert result["slope"].max() < 1e-5
    assert heights.min() > (1 - 1e-6) * heights.max()
    # The scan has a point within 4.3° (0.075 rad) of the summit, where a curvature of log I of
    # the order 1 costs 0.003.
    assert scan.max() <= heights.max()
    assert scan.max() > 0.99 * heights.max()


def one_phonon_is_less_of_the_whole_at_high_resolution(result):
    cold, warm = (np.array(share.share) for share in result["shares"])
    # Shares are known to a few percent of themselves; these steps are larger.
    assert (np.diff(cold) < 0).all()
    assert (np.diff(warm) < 0).all()
    # Four times the B: to second order four times as much is not one phonon.
    assert ((1 - warm) / (1 - cold)).min() > 2
    assert ((1 - warm) / (1 - cold)).max() < 5
    first, every = result["first"], result["every"]
    valid = np.isfinite(every)
    assert valid.sum() > 500
    assert (first[valid] < every[valid]).all()
    assert np.sum(first[valid]) / np.sum(every[valid]) == pytest.approx(0.8, abs=0.15)
    assert result["error"].mesh < 0.03


def the_network_learns_the_stiffness(result):
    wrong = (result["learned"] / result["true"]).log().abs()
    # Springs span a factor 50 and the network starts knowing nothing. At small size (120 data of
    # 2 %, 50 steps) 6 % remained typically and 11 % at most; three times that is still learning.
    assert wrong.median() < 0.2
    assert wrong.max() < 0.35
    assert result["loss"][-1] < 1.5


def b_factors_and_springs_are_refined_together(result):
    start = (result["B_true"].mean() - result["B_true"]).square().mean().sqrt()
    after = (result["B"] - result["B_true"]).square().mean().sqrt()
    # At small size (three data per unknown, stopped early) B are left wrong by 0.3 Å² (rms), from
    # 1.40 at the start; the full size, with more data and steps, leaves 0.1.
    assert after < 0.33 * start
    # Springs move many data at once: some 1 %, and 5 % for the interface of four contacts.
    assert (result["k"] / result["k_true"]).log().abs().max() < 0.15
    assert result["loss"] < 1.5


def springs_follow_from_photon_counts(result):
    # Six normal deviates beyond 4 sigma: once in 2600 seeds, and this seed is fixed.
    deviation = (result["found"] - result["true"]) / result["error"]
    assert deviation.abs().max() < 4
    # Two photons in each of 800 voxels: springs of many contacts to some 20 %.
    assert result["error"].min() < 0.3
    assert abs(result["level"] - 1) < 0.3


def two_maps_reduce_the_uncertainty(result):
    assert abs((result["x"] - result["true"]) / result["sigma"]).max() < 4
    # Information adds up: with both no spring is known worse than with one (rounding aside, and
    # that errors are taken at slightly different springs).
    first, second, both = result["sigma"]
    assert (both < 1.05 * first).all()
    assert (both < 1.05 * second).all()


def motion_of_segments_explains_more_than_the_baselines(result):
    found = result["found"]
    best = found.best.judgement
    for model in found.models:
        if model.kind not in ("baseline", "control"):
            continue
        way = "wide" if "wide" in model.judgement.sums else "small"
        gain, error = best.gain_over(model.judgement, way)
        # Of data that are made of such motion, with noise of 4 % of the variance.
        assert gain > 2 * error, model.name
    assert found.second.cc > 0.8


#: What the result of each example must satisfy.
CHECKS = {
    "explain_map": motion_of_segments_explains_more_than_the_baselines,
    "every_order": one_phonon_is_less_of_the_whole_at_high_resolution,
    "follow_halo": climbs_end_at_the_top_of_the_halo,
    "own_loss": springs_follow_from_photon_counts,
    "recover_atom": the_displaced_atom_is_found_and_put_back,
    "recover_springs": springs_are_recovered_within_their_errors,
    "refine_adp_and_springs": b_factors_and_springs_are_refined_together,
    "several_maps": two_maps_reduce_the_uncertainty,
    "train_network": the_network_learns_the_stiffness,
}


def test_every_example_has_a_check_and_is_listed():
    listed = re.findall(r"`(\w+)\.py`", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(CHECKS) == NAMES
    assert sorted(listed) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_example(name, tmp_path):
    """An example runs at small size, finds what it is about, and draws it."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.main(tmp_path / "new folder", small=True)
    picture = matplotlib.image.imread(tmp_path / "new folder" / f"{name}.png")
    # A blank page has no variance; thin lines on white give some 0.02.
    assert picture[..., :3].var() > 0.002
    assert min(picture.shape[:2]) > 400
    CHECKS[name](result)
