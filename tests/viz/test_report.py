"""The report of a fit: the page is self-contained, and its files agree with the fit."""

import base64
import csv
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from onephonon import (
    DiffuseMap,
    FileError,
    MapGrid,
    OnePhonon,
    SpringPlan,
    read_crystal,
    read_map,
)
from onephonon.compare.agreement import Trial
from onephonon.core.units import thermal_frequency
from onephonon.crystal import Reindexing
from onephonon.refine import FitSettings, fit_springs, predict, profile, spring_table
from onephonon.scattering.one_phonon_share import one_phonon_share
from onephonon.viz.report import assess_fit, write_report
from onephonon.viz.report.html import Markup, escaped, number, percent, table
from onephonon.viz.report.numbers import ReportData, to_json_types
from onephonon.viz.report.page import report_page
from structures import DATA

D_MIN = 3.0

#: Contains characters that HTML must escape.
COMMAND = "onephonon fit \"a<b>.pdb\" 'c & d.h5' -o fit/"

VOID = {"meta", "img", "br", "link"}


@pytest.fixture(scope="module")
def fit():
    crystal = read_crystal(DATA / "5zck.pdb")
    reach = [int(length / D_MIN) for length in crystal.cell.parameters[:3]]
    axes = [(-n, n, 3) for n in reach]
    plan = SpringPlan(by="interface", kind="hybrid")
    truth = OnePhonon(crystal, *axes, springs=plan, thermal_scale=1.0, res_limit=D_MIN)
    rng = np.random.default_rng(1)
    values = 20 * np.exp(rng.normal(0, 0.7, (len(truth.springs.names), 2)))
    truth.springs.set_values(torch.tensor(values))
    with torch.no_grad():
        clean = truth(use_data_adp=True).numpy().reshape(truth.map_shape)
    sigma = np.full_like(clean, 0.02 * np.nanmean(clean))
    data = clean + rng.normal(size=clean.shape) * sigma
    measured = DiffuseMap.on_grid(
        data,
        MapGrid.from_sampling(*axes),
        crystal.cell.parameters,
        spacegroup=crystal.spacegroup,
        sigma=sigma,
        units="e^2 per cell",
        history=("beam <script>alert(1)</script> & more",),
    )
    model = OnePhonon(crystal)
    settings = FitSettings(
        voxels="all",
        d_min=D_MIN,
        levels=("global", "interface", "hybrid"),
        patience=9,
        prior=1.0,
        max_steps=20,
        held_out=0.2,
        average=0,
    )
    return fit_springs(model, measured, settings)


@pytest.fixture(scope="module")
def predictions(fit):
    return predict(fit, n_draws=4)


@pytest.fixture(scope="module")
def folder(fit, predictions, tmp_path_factory):
    where = tmp_path_factory.mktemp("fits") / "fit"
    name = spring_table(fit)[0].name
    traced = (profile(fit, name, n_points=5),)
    written = write_report(fit, where, predictions, traced, COMMAND)
    assert {p.name for p in written} == {p.name for p in where.iterdir()}
    return where


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text("utf-8")


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def real(text):
    return float(text) if text else math.nan


class Elements(HTMLParser):
    """Elements of a page, checking that each is closed where it must be."""

    def __init__(self):
        super().__init__()
        self.found, self.stack = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def elements(text):
    parser = Elements()
    parser.feed(text)
    parser.close()
    assert parser.stack == []
    return parser.found


def test_the_page_is_self_contained(page):
    found = elements(page)
    ids = {attrs["id"] for _, attrs in found if "id" in attrs}
    n_pictures = 0
    for tag, attrs in found:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "srcset", "action", "data"):
            if name not in attrs:
                continue
            if tag == "a":
                assert attrs[name].removeprefix("#") in ids
            else:
                assert attrs[name].startswith("data:image/svg+xml;base64,")
                n_pictures += 1
    assert n_pictures >= 9
    assert all(attrs.get("alt") for tag, attrs in found if tag == "img")
    assert not re.search(r"https?://|@import|url\(", page)
    assert "not drawn" not in page


def test_the_page_runs_and_loads_nothing(page):
    policy = re.search(r'Security-Policy" content="([^"]*)"', page)[1]
    style = re.search(r"<style>(.*)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;")
    assert "script" not in policy
    assert " style=" not in page  # which the policy would leave out


def test_text_is_escaped(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "onephonon fit &quot;a&lt;b&gt;.pdb&quot; &#x27;c &amp; d.h5&#x27;" in page
    assert escaped("a<b") == "a&lt;b"
    assert escaped(Markup("<b>")) == "<b>"
    assert "<i>" not in table(["<i>"], [["<i>"]], caption="<i>")


def test_the_page_shows_the_results(fit, page):
    best = fit.best
    for text in (best.level.description, *assess_fit(fit).warnings, *spring_names(fit)):
        assert escaped(text) in page
    for q in (best.used, best.held_out):
        assert f"<b>{q.cc_anisotropic:.3f}</b>" in page
        assert f"<b>{number(q.chi2)}</b>" in page
    for line in fit.messages:
        assert escaped(line.replace("^2", "²")) in page


def spring_names(fit):
    return [row.name for row in spring_table(fit)]


def test_json_is_the_fit(fit, predictions, folder):
    text = (folder / "fit.json").read_text("utf-8")
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    found = json.loads(text)
    assert found["command"] == COMMAND
    assert found["chosen"] == fit.best.level.name
    assert found["settings"]["d_min"] == D_MIN
    assert list(found["levels"]) == ["start", "global", "interface", "hybrid"]
    for r in fit.series.levels:
        saved = found["levels"][r.level.name]
        assert saved["x"] == r.x.tolist()
        assert saved["sigma"] == r.uncertainty.sigma.tolist()
        assert saved["held_out"]["chi2"] == r.held_out.chi2
        assert saved["fitted"]["cc_anisotropic"] == r.used.cc_anisotropic
        assert saved["uncertainty"]["n_determined"] == r.uncertainty.n_determined
        assert [s["value"] for s in saved["springs"]] == [s.value for s in spring_table(fit, r)]
    saved_predictions = found["predictions"]
    assert saved_predictions["b_factors"]["value"] == predictions.b_factors.value.tolist()
    assert saved_predictions["speeds"]["high"] == predictions.speeds.high.tolist()
    assert saved_predictions["elastic"]["low"] == predictions.elastic.low.tolist()
    assert saved_predictions["moduli"]["Young"]["high"] == predictions.moduli.high[4]
    assert saved_predictions["joint"]["values"]["low"] == predictions.joint_parts.low.tolist()
    assert len(found["profiles"]) == 1


def test_the_share_of_one_phonon_is_in_the_report(fit, folder, page):
    found = json.loads((folder / "fit.json").read_text("utf-8"))["one_phonon"]
    low, high = fit.voxels.s.min(), fit.voxels.s.max()
    assert found["d"][0][0] == pytest.approx(1 / low)
    assert found["d"][-1][1] == pytest.approx(1 / high)
    lattice = fit.fitted_lattice()
    expected = one_phonon_share(lattice, 1 / high, 1 / low, use_data_adp=True)
    assert found["share"] == list(expected.share)
    assert 0.5 < found["share"][-1] < found["share"][0] < 1
    assert "the fit is of one phonon alone" in page
    for value in expected.share:
        assert f"<td>{percent(value)}</td>" in page


def test_many_bodies_have_no_share(fit, monkeypatch):
    monkeypatch.setattr("onephonon.viz.report.numbers.is_quick", lambda *_, **__: False)
    data = ReportData.of(fit, None, (), "")
    assert data.share is None
    assert to_json_types(data)["one_phonon"] is None
    assert "the fit is of one phonon alone" not in report_page(data, ("report.html",))


def test_tables_are_the_fit(fit, folder):
    levels = rows_of(folder / "levels.csv")
    every = (fit.series.start, *fit.series.levels)
    assert [row["chosen"] for row in levels].count("True") == 1
    for row, r in zip(levels, every, strict=True):
        assert real(row["chi2_held_out"]) == r.held_out.chi2
        assert real(row["cc_anisotropic_fitted"]) == r.used.cc_anisotropic
        assert real(row["prior"]) == r.prior
        assert (row["chosen"] == "True") is (r is fit.best)
    shells = rows_of(folder / "shells.csv")
    flat = [q for r in every for q in zip(r.used_shells, r.held_out_shells, strict=True)]
    for row, (used, out) in zip(shells, flat, strict=True):
        assert real(row["d_max"]) == used.d_max
        np.testing.assert_equal(real(row["chi2_fitted"]), used.chi2)
        np.testing.assert_equal(real(row["cc_held_out"]), out.cc)
    springs = [row for row in rows_of(folder / "springs.csv") if row["chosen"] == "True"]
    for row, spring in zip(springs, spring_table(fit), strict=True):
        assert row["name"] == spring.name
        for name in ("value", "low", "high", "ratio", "sigma_log", "by_data"):
            assert real(row[name]) == getattr(spring, name)


def test_predictions_are_in_their_tables(fit, predictions, folder):
    atoms = rows_of(folder / "b_factors.csv")
    assert [row["atom"] for row in atoms] == [x.atom_name for x in fit.model.crystal.labels]
    np.testing.assert_array_equal([real(r["b_file"]) for r in atoms], predictions.b_file)
    np.testing.assert_array_equal([real(r["low"]) for r in atoms], predictions.b_factors.low)
    waves = rows_of(folder / "dispersion.csv")
    w = predictions.frequencies
    unit = thermal_frequency(predictions.temperature)
    np.testing.assert_array_equal([real(r["thz"]) for r in waves], (unit * w.value).reshape(-1))
    np.testing.assert_array_equal([real(r["thz_high"]) for r in waves], (unit * w.high).reshape(-1))
    constants = {row["constant"]: row for row in rows_of(folder / "elastic.csv")}
    assert len(constants) == 21
    assert real(constants["C46"]["GPa"]) == predictions.elastic.value[3, 5]
    assert real(constants["C11"]["high"]) == predictions.elastic.high[0, 0]
    molecules, near = predictions.joint.molecules, list(predictions.neighbours)
    rows = rows_of(folder / "joint.csv")
    assert [row["operator"] for row in rows] == [molecules.operators.operator[n] for n in near]
    found = [real(row["U12"]) for row in rows]
    # Averaged over a coarser mesh: 0.2 % of U.
    expected, U = molecules.symmetric_U[near][:, 0, 1], molecules.U_first.max()
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=2e-3 * float(U))
    for part in ("parallel", "correlation"):
        assert all(real(row[f"{part}_low"]) <= real(row[part]) for row in rows)


def test_voxels_are_the_fit(fit, folder):
    with np.load(folder / "voxels.npz") as saved:
        what = fit.best.voxel_results
        for name in ("data", "model", "background", "loss"):
            np.testing.assert_array_equal(saved[name], getattr(what, name))
        for name in ("hkl", "sigma", "held_out"):
            np.testing.assert_array_equal(saved[name], getattr(fit.voxels, name))
        residual = (saved["data"] - saved["model"] - saved["background"]) / saved["sigma"]
        out = saved["held_out"]
        # Squares are the loss here: chi-square comes out of the file to rounding.
        assert float((residual[out] ** 2).mean()) == pytest.approx(fit.best.held_out.chi2, rel=1e-9)


def test_maps_are_those_of_the_fit(fit, folder):
    maps = fit.maps()
    for name in ("model", "background", "total"):
        saved = read_map(folder / f"{name}.h5")
        np.testing.assert_array_equal(saved.intensity, getattr(maps, name).intensity)
    # The sum is what was fitted.
    place, of = fit.voxels.equivalent_place, fit.voxels.equivalent_of
    what = fit.best.voxel_results
    np.testing.assert_array_equal(
        maps.total.intensity.reshape(-1)[place], (what.model + what.background)[of]
    )


def test_files_are_not_overwritten_without_force(fit, folder, tmp_path):
    before = (folder / "fit.json").read_bytes()
    with pytest.raises(FileError, match=r"report\.html exists"):
        write_report(fit, folder)
    assert (folder / "fit.json").read_bytes() == before
    # One file in the way of many: none is written.
    (tmp_path / "voxels.npz").write_text("mine")
    with pytest.raises(FileError, match=r"voxels\.npz exists"):
        write_report(fit, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["voxels.npz"]
    written = write_report(fit, tmp_path, force=True)
    assert (tmp_path / "voxels.npz").read_bytes() != b"mine"
    # Without predictions there is no dispersion.
    assert "dispersion.csv" not in {p.name for p in written}
    assert 'id="dispersion"' not in (tmp_path / "report.html").read_text("utf-8")


def test_the_same_fit_gives_the_same_files(fit, predictions, folder, tmp_path):
    name = spring_table(fit)[0].name
    write_report(fit, tmp_path, predictions, (profile(fit, name, n_points=5),), COMMAND)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def with_best(fit, **changes):
    """A fit whose chosen level is another."""
    levels = list(fit.series.levels)
    levels[fit.series.chosen] = replace(fit.best, **changes)
    return replace(fit, series=replace(fit.series, levels=tuple(levels)))


def test_verdicts(fit):
    used, out = fit.best.used, fit.best.held_out
    good = with_best(fit, used=replace(used, chi2=1.0), held_out=replace(out, chi2=1.05))
    assert assess_fit(good).explained.startswith("The model explains the data within their errors")
    assert assess_fit(good).held_out.startswith("Held-out data are explained as well")
    bad = with_best(fit, used=replace(used, chi2=20.0), held_out=replace(out, chi2=35.0))
    assert "does not explain" in assess_fit(bad).explained
    assert "chi-square is 35.0 per held-out voxel" in assess_fit(bad).explained
    assert assess_fit(bad).held_out.startswith("Held-out data are explained worse")
    assert not assess_fit(bad).good
    unknown = replace(fit, voxels=replace(fit.voxels, sigma_known=False))
    assert "no sigma" in assess_fit(unknown).explained
    wrong = with_best(fit, held_out=replace(out, cc_anisotropic=0.05))
    assert any("hardly agree" in line for line in assess_fit(wrong).warnings)
    stopped = with_best(fit, minimum=replace(fit.best.minimum, converged=False, reason="stopped"))
    assert any("not converged: stopped" in line for line in assess_fit(stopped).warnings)


class Tried:
    """The part of an agreement that a verdict uses."""

    decision = "tried"

    def __init__(self, *trials):
        self.trials = trials


def test_a_better_indexing_gives_a_warning(fit):
    own = fit.reindexing
    other = Reindexing(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]]))

    def warned(behind_own, behind_other):
        trials = Tried(
            Trial(own, 100, 0.5, 0.4 - behind_own, 0.01, behind_own, 0.01),
            Trial(other, 100, 0.5, 0.4 - behind_other, 0.01, behind_other, 0.01),
        )
        return " ".join(assess_fit(replace(fit, indexing=trials)).warnings)

    assert "indexing may be wrong" in warned(0.1, 0.0)
    assert "indexing is not certain" in warned(0.005, 0.0)
    assert "indexing is not certain" in warned(0.0, 0.01)
    assert "indexing" not in warned(0.0, 0.1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.234567, "1.23"),
        (9.999, "10.0"),
        (-1234.5, "−1\u202f234"),
        (0.00012345, "0.000123"),
        (1.5e-9, "1.50 × 10⁻⁹"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers_are_readable(value, text):
    assert number(value) == text
