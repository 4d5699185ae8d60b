"""``onephonon fit --disorder``: components side by side, and the fitted model on another map."""

import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from commands import run_command
from onephonon import DiffuseMap, InputError, MapGrid, OnePhonon, read_map, write_map
from onephonon.cli import app
from structures import DATA

STRUCTURE = DATA / "5zck.pdb"
#: One voxel per hkl, as maps whose Bragg peaks were removed have them.
AXES = ((-3, 3, 1), (-10, 10, 1), (-13, 13, 1))
QUICK = ["--d-min", 1.6, "--d-max", 8, "--leave-out", 0.4, "--average", 2]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two maps of liquid-like motions within each copy, with different noise and scale."""
    grid = MapGrid.from_sampling(*AXES)
    # Beside hkl, which itself is masked.
    q = torch.from_numpy(grid.hkl) + 1e-3
    model = OnePhonon(STRUCTURE, disorder="liquid:scope=asu,gamma=2")
    with torch.no_grad():
        intensity = model(model.crystal.cell.q_from_hkl(q)).numpy().reshape(grid.shape)
    folder, paths = tmp_path_factory.mktemp("data"), []
    for seed, scale in ((0, 1.0), (1, 3.0)):
        noise = np.random.default_rng(seed).normal(0, 0.1 * intensity.std(), intensity.shape)
        made = DiffuseMap.on_grid(
            scale * (intensity + noise),
            grid,
            model.crystal.cell.parameters,
            spacegroup=model.crystal.spacegroup,
        )
        paths.append(folder / f"measured{seed}.npz")
        write_map(made, paths[-1])
    return paths


@pytest.fixture(scope="module")
def fitted(measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "results"
    how = ["--disorder", "rigid+liquid:kernel=free", "--validate", measured[1], *QUICK]
    return folder, run_command("fit", STRUCTURE, measured[0], "-o", folder, *how)


def test_components_are_fitted_alone_and_together_beside_baselines(fitted):
    folder, said = fitted
    numbers = json.loads((folder / "fit.json").read_text())
    kinds = [(m["kind"], m["name"]) for m in numbers["models"]]
    assert [kind for kind, _ in kinds] == [
        *["baseline"] * 3,
        *["component"] * 2,
        "together",
        "control",
    ]
    assert numbers["best"] == "rigid+liquid:kernel=free"
    assert numbers["second"]["name"] == "measured1.npz"
    assert numbers["second"]["cc_anisotropic"] > 0.9
    best = next(m for m in numbers["models"] if m["name"] == numbers["best"])
    line = re.search(r"small blocks left out: anisotropic CC ([\d.]+) ± ([\d.]+)", said)
    assert line[1] == f"{best['held_out']['small']['cc']:.3f}"
    for name in ("report.html", "models.csv", "held_out.h5", "residual.h5"):
        assert (folder / name).stat().st_size > 0
    assert json.loads((folder / "state.json").read_text())["complete"]


def test_the_maps_add_up(fitted):
    folder, _ = fitted
    held_out, residual = (read_map(folder / name) for name in ("held_out.h5", "residual.h5"))
    known = np.isfinite(residual.intensity)
    assert known.sum() > 100
    assert (known == np.isfinite(held_out.intensity)).all()
    # The residual is small against the map: liquid-like motions were in the data.
    assert np.std(residual.intensity[known]) < np.std(held_out.intensity[known])


def test_the_fitted_model_is_compared_with_the_other_map(fitted, measured):
    said = run_command("compare", fitted[0], measured[1], "--d-min", 1.6, "--d-max", 8)
    assert "voxels left out of the fit" in said
    assert "scale of the model" in said


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--validate", STRUCTURE], "only with --disorder"),
        (["--disorder", "rigid", "--levels", "global"], "only for a fit of springs alone"),
        (["--disorder", "rigid", "--scenes"], "only for a fit of springs alone"),
        (["--disorder", "solid"], "'solid' does not exist"),
        (["--disorder", "segments:n=99"], "99 segments"),
        (["--disorder", "liquid:kernel=free,gamma=3"], "lengths and amplitudes are free"),
        (["--disorder", "ensemble"], "nothing to fit"),
    ],
)
def test_what_cannot_be_is_one_error(options, why, measured, tmp_path):
    line = ["fit", STRUCTURE, measured[0], "-o", tmp_path / "fit", *QUICK, *options]
    result = CliRunner().invoke(app, [str(word) for word in line])
    assert isinstance(result.exception, InputError), result.output
    assert why in str(result.exception)
    assert not (tmp_path / "fit").exists()
