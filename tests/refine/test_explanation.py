"""Components side by side: the right one is found, a wrong one and a wrong structure are not."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from crystals import made_up
from fits import sampling, to_map
from onephonon import FileError, InputError, MapGrid, OnePhonon
from onephonon.core.units import TWO_PI
from onephonon.crystal.reindexing import parse_reindexing
from onephonon.disorder import Segments, parse_disorder
from onephonon.maps import reindex
from onephonon.network.bodies import gather_bodies
from onephonon.refine.components.explanation import explain
from onephonon.refine.components.liquid_ladder import CUTOFF
from onephonon.refine.components.liquid_term import PattersonLiquidTerm
from onephonon.refine.components.segment_pairs import SegmentPrior, segment_features
from onephonon.refine.components.voxel_frame import VoxelFrame
from onephonon.refine.settings import FitSettings
from onephonon.refine.voxels import select_voxels
from onephonon.viz.report.explanation import write_explanation

CELL = (17.0, 19.0, 23.0, 90.0, 90.0, 90.0)
MADE_UP = made_up("P 21 21 21", cell=CELL, n_atoms=40)

#: Eight residues of five atoms.
CRYSTAL = MADE_UP.replace(
    labels=tuple(
        replace(label, chain="A", residue_number=str(1 + i // 5))
        for i, label in enumerate(MADE_UP.labels)
    )
)
D_MIN = 2.0
SETTINGS = FitSettings(d_min=D_MIN, d_max=9.0, average=2, reindex="none", leave_out=0.4)


def axes_and_frame():
    """One voxel per hkl, and the frame of all unique voxels in the range."""
    axes = sampling(CRYSTAL, D_MIN, (1, 1, 1))
    shape = MapGrid.from_sampling(*axes).shape
    blank = to_map(np.random.default_rng(0).normal(size=shape), axes, CRYSTAL, units="")
    same = parse_reindexing("h,k,l", CELL, CELL)
    voxels = select_voxels(blank, CRYSTAL, same, SETTINGS)
    return axes, voxels, VoxelFrame.of(voxels, blank, CRYSTAL)


def made_map(intensity, noise, seed=1):
    """A map of intensities at the unique voxels, with noise of some share of their spread."""
    axes, voxels, _ = axes_and_frame()
    rng = np.random.default_rng(seed)
    values = intensity + rng.normal(0, noise * np.std(intensity), len(intensity))
    shape = MapGrid.from_sampling(*axes).shape
    blank = to_map(np.zeros(shape), axes, CRYSTAL, units="")
    return to_map(voxels.to_map_shape(values, blank), axes, CRYSTAL, units="")


def of_segments(seed=2):
    """Intensity of random isotropic covariances of residues, positive semidefinite."""
    _, _, frame = axes_and_frame()
    prior = SegmentPrior(reach=1e6, smooth=3.0, motion="isotropic", functions=40)
    (features,) = segment_features(CRYSTAL, Segments.of(CRYSTAL, "residue"), frame, prior)
    m = int((math.sqrt(8 * features.shape[1] + 1) - 1) / 2)
    root = torch.from_numpy(np.random.default_rng(seed).normal(size=(m, m)))
    C = root @ root.T
    i, j = torch.triu_indices(m, m)
    a = torch.where(i == j, C[i, j], math.sqrt(2) * C[i, j])
    return ((features.double() @ a) * (frame.s * TWO_PI) ** 2).numpy()


@pytest.fixture(scope="module")
def explained():
    """Liquid-like motions with a free correlation and segments, fitted to motion of segments."""
    signal = of_segments()
    data = made_map(signal, 0.2)
    other = made_map(signal, 0.2, seed=7)
    other = other.changed("scaled", {"intensity": 5.0 * other.intensity})
    model = OnePhonon(CRYSTAL)
    return explain(
        model,
        data,
        parse_disorder("liquid:kernel=free+segments:motion=isotropic"),
        SETTINGS,
        second=reindex(other, "h,k,l"),
        second_name="other.h5",
    )


def named(found, kind):
    return [m for m in found.models if m.kind == kind]


def test_the_models_are_baselines_components_alone_together_and_a_control(explained):
    assert [m.kind for m in explained.models] == [
        *["baseline"] * 3,
        *["component"] * 2,
        "together",
        "control",
    ]
    assert explained.best.name == "liquid:kernel=free+segments:motion=isotropic"


def test_motion_of_segments_is_found_where_no_neighbour_is_fitted(explained):
    """And neither by smoothness of the map nor with the mirror image of the molecule."""
    segments = named(explained, "component")[1].judgement
    for wrong in (*named(explained, "baseline"), *named(explained, "control")):
        way = "guarded" if "guarded" in wrong.judgement.sums else "wide"
        gain, error = segments.gain_over(wrong.judgement, way)
        assert gain > 3 * error, wrong.name
    # Noise of 0.2 limits the correlation to 1/sqrt(1.04).
    assert segments.held_out["small"].cc > 0.8


def test_the_second_map_judges_and_is_not_fitted(explained):
    # Both maps have noise of 0.2 of a spread that includes the isotropic part.
    assert 0.85 < explained.second.cc < 1 / 1.04
    best = explained.best.judgement
    assert best.second["small"].cc == pytest.approx(best.held_out["small"].cc, abs=0.05)
    assert any("is not fitted" in line for line in explained.messages)


def test_predictions_are_in_the_units_of_the_data(explained):
    best, voxels = explained.best, explained.voxels
    calculated = explained.to_map(best.held_out["small"], "held out")
    values = calculated.intensity.reshape(-1)[voxels.voxel_index]
    slope = np.polyfit(values, voxels.data, 1)[0]
    # Predictions shrink towards the mean, so the slope is near 1.
    assert 0.9 < slope < 1.2


def test_lattice_and_liquid_in_known_shares_are_told_apart():
    _, _, frame = axes_and_frame()
    true = PattersonLiquidTerm(CRYSTAL, frame, gamma=3.0, fixed=True).intensity(torch.zeros(0))
    data = made_map(true.numpy(), 0.1)
    found = explain(OnePhonon(CRYSTAL), data, parse_disorder("lattice+liquid:gamma=6"), SETTINGS)
    fit = found.best.parametric
    rows = {row.name: row for row in fit.parameters}
    gamma = rows["liquid:gamma"]
    assert abs(gamma.value - 3.0) < 4 * gamma.sigma
    assert gamma.sigma < 0.5
    lattice, liquid = fit.amplitudes
    # The scale of the map is 1 and the liquid has the whole U; there is no lattice in the data.
    assert liquid.value == pytest.approx(1.0, abs=max(0.05, 4 * liquid.sigma))
    assert lattice.value < 0.05
    assert found.best.n_effective < 20


@pytest.mark.parametrize("order", [1, None])
def test_liquid_between_lengths_is_that_of_the_length(order):
    _, _, frame = axes_and_frame()
    term = PattersonLiquidTerm(CRYSTAL, frame, gamma=4.0, order=order)
    x = torch.tensor([0.33], dtype=torch.float64)
    value, slope = term.slopes(x)
    exact = term.at_length(4.0 * math.exp(0.33))
    # The error of splines between lengths that differ by a factor of 1.22.
    # Splines between lengths a factor of 1.22 apart; and correlations end at six lengths, beyond
    # which pairs come and go.
    torch.testing.assert_close(value, exact, rtol=4e-3, atol=4e-3 * float(exact.mean()))
    up, down = (term.at_length(4.0 * math.exp(0.33 + d)) for d in (0.01, -0.01))
    rough = (up - down) / 0.02
    # The correlation ends at six lengths, 0.0025, over which pairs come and go.
    atol = 5e-2 * float(rough.abs().max())
    torch.testing.assert_close(slope[:, 0], rough, rtol=0, atol=atol)


def test_all_orders_of_the_liquid_are_the_sum_of_equation_3():
    """At one voxel, over pairs of atoms, the correlation ending where the ladder's does."""
    crystal = CRYSTAL.with_tensors(B=torch.full_like(CRYSTAL.B, 12.0))
    hkl = torch.tensor([[3.0, -2.0, 4.0], [1.0, 5.0, -2.0]], dtype=torch.float64)
    frame = VoxelFrame(hkl, crystal.cell.q_from_hkl(hkl), torch.zeros(3, 3, dtype=torch.float64))
    found = PattersonLiquidTerm(crystal, frame, gamma=2.0, order=None, fixed=True)
    value = found.intensity(torch.zeros(0))
    bodies = gather_bodies(crystal, "asu")
    square = frame.q.square().sum(1)
    kinds = crystal.form_factors.evaluate(square)
    f = kinds[:, crystal.form_factors.kind][:, bodies.asu_atom]
    u = 12.0 / (8 * math.pi**2)
    waves = (
        f * torch.exp(-0.5 * square * u)[:, None] * torch.exp(1j * (frame.q @ bodies.positions.T))
    )
    total = torch.zeros(len(hkl), dtype=torch.float64)
    cells = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for R in torch.from_numpy(cells).double() @ crystal.cell.matrix.T:
        r = (bodies.positions[None] + R - bodies.positions[:, None]).norm(dim=-1)
        for q in range(len(hkl)):
            C = torch.zeros_like(r)
            for n in range(1, 12):
                kept = torch.where(r <= CUTOFF * 2.0 / n, torch.exp(-n * r / 2.0), 0.0)
                C = C + (square[q] * u) ** n / math.factorial(n) * kept
            turn = torch.exp(1j * (frame.q[q] @ R))
            total[q] += (turn * (waves[q].conj() @ (C + 0j) @ waves[q])).real
    # As for the ladder: Bragg points end, and ratios of factors are taken at them.
    torch.testing.assert_close(value, total, rtol=0.1, atol=0.0)


def test_the_report_has_all_numbers_and_its_maps_can_be_compared(explained, tmp_path):
    written = write_explanation(explained, tmp_path / "fit", "onephonon fit")
    names = {path.name for path in written}
    assert names == {
        *("report.html", "fit.json", "models.csv", "shells.csv", "voxels.npz"),
        *("model.h5", "held_out.h5", "residual.h5"),
    }
    numbers = json.loads((tmp_path / "fit" / "fit.json").read_text())
    best = next(m for m in numbers["models"] if m["name"] == numbers["best"])
    assert best["held_out"]["small"]["cc"] == explained.best.judgement.held_out["small"].cc
    assert set(best["gain_over"]) == {m.name for m in named(explained, "baseline")}
    page = (tmp_path / "fit" / "report.html").read_text()
    assert "mirror image" in page
    assert page.count("<img") == 2
    table = (tmp_path / "fit" / "models.csv").read_text().splitlines()
    assert len(table) == 1 + len(explained.models)
    with pytest.raises(FileError):
        write_explanation(explained, tmp_path / "fit")


def test_two_divisions_into_segments_are_both_fitted():
    found = explain(
        OnePhonon(CRYSTAL),
        made_map(of_segments(), 0.2),
        parse_disorder("segments:n=3+segments:motion=isotropic"),
        SETTINGS,
        controls=False,
    )
    assert set(found.best.weights) == {"segments:n=3", "segments:motion=isotropic", "noise"}


def test_what_cannot_be_fitted_is_refused():
    data = made_map(of_segments(), 0.2)
    for text, why in (("ensemble", "nothing to fit"), ("segments:n=99", "99 segments")):
        with pytest.raises(InputError, match=why):
            explain(OnePhonon(CRYSTAL), data, parse_disorder(text), SETTINGS)
    with pytest.raises(InputError, match="given twice"):
        explain(OnePhonon(CRYSTAL), data, parse_disorder("segments+rigid+segments"), SETTINGS)
    with pytest.raises(InputError, match="no component"):
        explain(OnePhonon(CRYSTAL), data, (), SETTINGS)
