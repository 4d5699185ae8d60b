"""``onephonon fit`` as a user runs it."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from commands import run_command
from onephonon import (
    DiffuseMap,
    FileError,
    InputError,
    MapGrid,
    OnePhonon,
    SpringPlan,
    read_map,
    write_map,
)
from onephonon.cli import app
from onephonon.cli.endings import interruption_notes
from onephonon.cli.fit.folder import RESULTS
from onephonon.core.files import locked
from structures import DATA

STRUCTURE = DATA / "5zck.pdb"
RANGE = ((-2, 2, 3), (-6, 6, 3), (-6, 6, 3))
QUICK = ["--voxels", "all", "--d-min", 2.3, "--levels", "global,interface", "--draws", 4]
#: The measurement has values at points.
QUICK += ["--average", 0]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A made-up measurement: springs that differ between interfaces, noise and a background."""
    truth = OnePhonon(STRUCTURE, *RANGE, springs=SpringPlan(by="interface"), thermal_scale=1.0)
    rng = np.random.default_rng(0)
    start = 1 / float(OnePhonon(STRUCTURE, *RANGE).thermal_scale.detach())
    truth.springs.set_values(start * np.exp(rng.normal(0, 0.7, len(truth.springs.names))))
    with torch.no_grad():
        intensity = truth(use_data_adp=True).numpy().reshape(truth.map_shape)
    noise = 0.03 * float(np.nanmean(intensity))
    values = intensity + rng.normal(0, noise, intensity.shape) + noise
    crystal = truth.crystal
    diffuse = DiffuseMap.on_grid(
        values,
        MapGrid.from_sampling(*RANGE),
        crystal.cell.parameters,
        spacegroup=crystal.spacegroup,
        sigma=np.full(values.shape, noise),
        units="e^2 per cell",
    )
    path = tmp_path_factory.mktemp("data") / "measured.npz"
    write_map(diffuse, path)
    springs = truth.springs.values().detach().numpy()[:, 0]
    return path, dict(zip(truth.springs.names, springs, strict=True))


@pytest.fixture(scope="module")
def fitted(measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "results"
    return folder, run_command("fit", STRUCTURE, measured[0], "-o", folder, *QUICK, "--scenes")


def test_a_fit_writes_a_report_numbers_and_maps(fitted, measured):
    folder, output = fitted
    maps = ("model.h5", "background.h5", "total.h5")
    for name in ("report.html", "fit.json", "springs.csv", *maps):
        assert (folder / name).stat().st_size > 0
        assert name in output
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]
    state = json.loads((folder / "state.json").read_text())
    assert state["complete"]
    assert list(dict.fromkeys(m["level"] for m in state["minimizations"])) == [
        "global",
        "interface",
    ]
    # Five sigma of the noisiest spring; test_recovery checks the uncertainties.
    rows = (folder / "contacts.csv").read_text().splitlines()
    head = rows[0].split(",")
    at, value = head.index("spring_class"), head.index("k_par")
    import csv

    found = {row[at]: float(row[value]) for row in list(csv.reader(rows))[1:]}
    for name, true in measured[1].items():
        assert found[name] == pytest.approx(true, rel=0.3)


def test_fitted_springs_are_shown_beside_the_report(fitted):
    folder, output = fitted
    assert "joint.bild" in output
    script = (folder / "view.pml").read_text(encoding="utf-8")
    rows = [row.split(",") for row in (folder / "contacts.csv").read_text().splitlines()]
    k_par = rows[0].index("k_par") - len(rows[0])  # from the right: names may hold commas
    between = [float(row[k_par]) for row in rows[1:] if "within" not in row]
    assert f"{min(between):.3g} (dark, thin) to {max(between):.3g} kT/A^2" in script


def test_springs_are_compared_with_no_springs(fitted):
    folder, output = fitted
    (null,) = json.loads((folder / "fit.json").read_text())["nulls"]
    assert null["name"] == "independent molecules"
    # The measurement is of springs, with noise of 3 %: no model without them explains it.
    # At the scale of the data, which are absolute, it would be 4000 instead of 216.
    assert 3 < null["chi2"] < 1000
    assert null["gain"]["value"] == pytest.approx(null["chi2"] - 1, rel=0.2)
    assert null["difference"] > 2 * null["difference_error"] > 0
    assert "null model, independent molecules" in output
    assert "the springs are better: by" in output


def test_the_maps_are_the_model_its_background_and_their_sum(fitted, measured):
    model, background, total = (
        read_map(fitted[0] / f"{name}.h5") for name in ("model", "background", "total")
    )
    data = read_map(measured[0])
    assert model.grid == background.grid == total.grid == data.grid
    both = total.mask & data.mask
    assert both.sum() > 1000
    # Two numbers added, each rounded once.
    np.testing.assert_allclose(
        total.intensity[both], (model.intensity + background.intensity)[both], rtol=1e-12
    )
    # The data have a background of 3 % of their mean, as large as the noise of each voxel: its mean
    # over more than 1000 voxels is known to a tenth; a model without it is that much too low.
    noise = float(data.sigma[both].mean())
    without = (data.intensity - model.intensity)[both].mean()
    assert without == pytest.approx(noise, rel=0.3)
    assert abs((data.intensity - total.intensity)[both].mean()) < 0.1 * noise
    assert "without background" in model.history[-1]


def test_the_sum_agrees_with_the_data_in_a_comparison(fitted, measured):
    output = run_command(
        "compare",
        fitted[0] / "total.h5",
        measured[0],
        "--shells",
        2,
        "--json",
        fitted[0].parent / "c.json",
    )
    found = json.loads((fitted[0].parent / "c.json").read_text())
    assert found["indexing"]["used"] == "h,k,l"
    # Noise of 3 % of the mean beside intensities that vary by as much as their mean; the sum is on
    # the data's scale, to the part of the noise that the scale follows.
    assert found["overall"]["cc"] > 0.99
    assert found["scale"] == pytest.approx(1, abs=0.01)
    assert "total.h5" in output


def test_the_report_says_which_map_is_which(fitted):
    page = (fitted[0] / "report.html").read_text("utf-8")
    assert "model.h5, the model without background" in page
    assert "total.h5, their sum, to be compared with the data" in page


def minimizations(folder):
    return json.loads((folder / "state.json").read_text())["minimizations"]


@pytest.fixture
def without_report(monkeypatch):
    """Fits that write only their state."""
    monkeypatch.setattr("onephonon.cli.fit.command._write", lambda *given: given[1].finish([]))


DONE = r"minimizations already done: global \(\d\), interface \(\d\)"


@pytest.mark.usefixtures("without_report")
def test_the_same_command_repeats_nothing(fitted, measured, tmp_path, monkeypatch):
    from onephonon.refine import model_series

    folder = tmp_path / "fit"
    shutil.copytree(fitted[0], folder)
    before = minimizations(folder)
    monkeypatch.setattr(model_series, "minimize_objective", None)  # cannot be called
    output = run_command("fit", STRUCTURE, measured[0], "-o", folder, *QUICK)
    assert re.search(DONE, output)
    assert minimizations(folder) == before


@pytest.mark.usefixtures("without_report")
def test_a_longer_series_continues_a_saved_fit(fitted, measured, tmp_path):
    folder = tmp_path / "fit"
    shutil.copytree(fitted[0], folder)
    before = minimizations(folder)
    longer = [*QUICK, "--levels", "global,interface,hybrid"]
    output = run_command("fit", STRUCTURE, measured[0], "-o", folder, *longer)
    assert re.search(DONE, output)
    after = minimizations(folder)
    assert after[: len(before)] == before
    assert after[len(before)]["level"] == "hybrid"


@pytest.mark.usefixtures("without_report")
def test_a_minimization_stopped_early_goes_on_with_more_steps(measured, tmp_path):
    folder = tmp_path / "fit"
    quick = [*QUICK, "--levels", "interface", "--prior", 0.1]
    run_command("fit", STRUCTURE, measured[0], "-o", folder, *quick, "--max-steps", 1)
    assert not minimizations(folder)[0]["converged"]
    run_command("fit", STRUCTURE, measured[0], "-o", folder, *quick)
    assert minimizations(folder)[0]["converged"]


def test_other_options_in_the_same_folder_raise(fitted, measured):
    with pytest.raises(FileError, match="another structure or other options"):
        run_command("fit", STRUCTURE, measured[0], "-o", fitted[0], *QUICK, "--seed", 5)


def test_a_folder_with_other_files_is_not_changed(measured, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match="is not empty"):
        run_command("fit", STRUCTURE, measured[0], "-o", tmp_path, *QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_damaged_state_raises(measured, tmp_path):
    (tmp_path / "state.json").write_text('{"format": "onephonon fit", "version": 1}')
    with pytest.raises(FileError, match="is not the state of a fit"):
        run_command("fit", STRUCTURE, measured[0], "-o", tmp_path, *QUICK)


@pytest.mark.usefixtures("without_report")
def test_an_interrupted_fit_ends_as_if_it_had_not_been(fitted, measured, tmp_path, monkeypatch):
    from onephonon.refine import model_series

    whole, calls, after = model_series.minimize_objective, [], 3

    def stops(objective, *arguments):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(objective)
        return whole(objective, *arguments)

    monkeypatch.setattr(model_series, "minimize_objective", stops)
    folder = tmp_path / "fit"
    command = [str(a) for a in ("fit", STRUCTURE, measured[0], "-o", folder, *QUICK)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 130
    notes = interruption_notes(result.exception)
    assert len(notes) == 1
    assert f"state.json keeps the fit so far ({after} minimizations)" in notes[0]
    assert "repeat the same command to continue" in notes[0]
    assert [path.name for path in folder.iterdir()] == ["state.json"]
    state = json.loads((folder / "state.json").read_text())
    assert not state["complete"]
    # After a level, and after some weights of the prior of the next.
    assert [m["level"] for m in state["minimizations"]][0::2] == ["global", "interface"]
    monkeypatch.setattr(model_series, "minimize_objective", whole)
    run_command(*command)
    # Exactly: a saved minimum is evaluated again at the same numbers by the same operations.
    assert minimizations(folder) == minimizations(fitted[0])


def test_a_fit_that_did_not_begin_leaves_no_folder(measured, tmp_path, monkeypatch):
    from onephonon.refine import fit

    def stops(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "choose_indexing", stops)
    command = ("fit", STRUCTURE, measured[0], "-o", tmp_path / "fit", *QUICK)
    result = CliRunner().invoke(app, [str(a) for a in command])
    assert result.exit_code == 130
    assert interruption_notes(result.exception) == []
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_not_touched_also_with_force(fitted, measured):
    folder, _ = fitted
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with locked(folder / ".lock", "fit"):
        with pytest.raises(FileError, match="is being written by another onephonon"):
            run_command("fit", STRUCTURE, measured[0], "-o", folder, *QUICK, "--force")
        assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"} == before


@pytest.mark.usefixtures("without_report")
def test_results_of_an_earlier_fit_do_not_stay_beside_new_ones(fitted, measured, tmp_path):
    folder = tmp_path / "fit"
    shutil.copytree(fitted[0], folder)
    assert (folder / "b_factors.csv").exists()
    (folder / "notes.txt").write_text("mine")
    run_command("fit", STRUCTURE, measured[0], "-o", folder, *QUICK, "--draws", 0)
    names = {path.name for path in folder.iterdir()}
    assert "b_factors.csv" not in names  # of the earlier fit: this one has written no report
    assert (folder / "notes.txt").read_text() == "mine"
    assert names - {"notes.txt"} <= set(RESULTS)
    assert {path.name for path in fitted[0].iterdir()} <= set(RESULTS)


@pytest.mark.parametrize("change", ["structure", "data"])
def test_a_fit_to_other_content_is_not_continued(fitted, measured, tmp_path, change):
    folder, structure, data = tmp_path / "fit", tmp_path / "5zck.pdb", tmp_path / "measured.npz"
    shutil.copytree(fitted[0], folder)
    structure.write_bytes(STRUCTURE.read_bytes())
    data.write_bytes(measured[0].read_bytes())
    if change == "structure":
        structure.write_text(
            structure.read_text().replace("  0.50", "  0.40").replace("1.00", "0.99")
        )
    else:
        other = read_map(data)
        other.intensity[np.isfinite(other.intensity)] *= 1.01
        write_map(other, data, force=True)
    with pytest.raises(FileError, match=rf"\(the {change} changed\)"):
        run_command("fit", structure, data, "-o", folder, *QUICK)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--voxels", "some", "not one of auto, halos, all"),
        ("--levels", "global,top", "give one or more of"),
        ("--held-out", "1.5", "--held-out 1.5: must be 0.01 or more"),
        ("--draws", "-1", "0 or more"),
        ("--background", "flat", "not one of"),
        ("--d-max", "1.0", "leave nothing"),
    ],
)
def test_bad_options_are_named(measured, tmp_path, option, value, message):
    with pytest.raises(InputError, match=message):
        run_command("fit", STRUCTURE, measured[0], "-o", tmp_path / "fit", *QUICK, option, value)
    assert not (tmp_path / "fit").exists()
