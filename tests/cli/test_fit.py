"""``onephonon fit`` as a user runs it."""

import json

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
    return folder, run_command("fit", STRUCTURE, measured[0], "-o", folder, *QUICK)


def test_a_fit_writes_a_report_numbers_and_maps(fitted, measured):
    folder, output = fitted
    for name in ("report.html", "fit.json", "springs.csv", "model.h5", "background.h5"):
        assert (folder / name).stat().st_size > 0
        assert name in output
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]
    state = json.loads((folder / "state.json").read_text())
    assert state["complete"]
    assert list(state["levels"]) == ["global", "interface"]
    # Five sigma of the noisiest spring; test_recovery checks the uncertainties.
    rows = (folder / "contacts.csv").read_text().splitlines()
    head = rows[0].split(",")
    at, value = head.index("spring_class"), head.index("k_par")
    import csv

    found = {row[at]: float(row[value]) for row in list(csv.reader(rows))[1:]}
    for name, true in measured[1].items():
        assert found[name] == pytest.approx(true, rel=0.3)


def test_the_calculated_map_lies_on_the_data(fitted, measured):
    model, data = read_map(fitted[0] / "model.h5"), read_map(measured[0])
    assert model.grid == data.grid
    both = model.mask & data.mask
    assert both.sum() > 1000
    cc = np.corrcoef(model.intensity[both], data.intensity[both])[0, 1]
    # Noise of 3 % of the mean beside intensities that vary by as much as their mean.
    assert cc > 0.99


def test_the_same_command_continues_a_saved_fit(fitted, measured):
    folder, _ = fitted
    before = json.loads((folder / "state.json").read_text())["levels"]
    output = run_command("fit", STRUCTURE, measured[0], "-o", folder, *QUICK)
    assert "continuing" in output
    after = json.loads((folder / "state.json").read_text())["levels"]
    for name, saved in before.items():
        assert after[name]["x"] == pytest.approx(saved["x"], abs=2e-3)  # the fit's own tolerance


def test_a_longer_series_continues_a_saved_fit(fitted, measured):
    folder, _ = fitted
    longer = [*QUICK, "--levels", "global,interface,hybrid"]
    output = run_command("fit", STRUCTURE, measured[0], "-o", folder, *longer)
    assert "global, interface already fitted" in output
    assert list(json.loads((folder / "state.json").read_text())["levels"])[2] == "hybrid"


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


def test_an_interrupted_fit_keeps_its_levels(measured, tmp_path, monkeypatch):
    from onephonon.refine import model_series as model_series

    whole = model_series.minimize_objective

    def stops(objective, *arguments):
        if objective.parametrization.level.name == "interface":
            raise KeyboardInterrupt
        return whole(objective, *arguments)

    monkeypatch.setattr(model_series, "minimize_objective", stops)
    folder = tmp_path / "fit"
    result = CliRunner().invoke(
        app, [str(a) for a in ("fit", STRUCTURE, measured[0], "-o", folder, *QUICK)]
    )
    assert result.exit_code == 130
    state = json.loads((folder / "state.json").read_text())
    assert list(state["levels"]) == ["global"]
    assert not state["complete"]
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--voxels", "some", "not one of auto, halos, all"),
        ("--levels", "global,top", "give one or more of"),
        ("--held-out", "1.5", "a fraction of the halos"),
        ("--draws", "-1", "0 or more"),
        ("--background", "flat", "not one of"),
        ("--d-max", "1.0", "leave nothing"),
    ],
)
def test_bad_options_are_named(measured, tmp_path, option, value, message):
    with pytest.raises(InputError, match=message):
        run_command("fit", STRUCTURE, measured[0], "-o", tmp_path / "fit", *QUICK, option, value)
    assert not (tmp_path / "fit").exists()
