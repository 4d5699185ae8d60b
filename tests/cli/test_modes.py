"""``onephonon modes``: its tables, files and pictures."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch
from matplotlib import image

from commands import run_command
from crystals import made_up
from onephonon import FileError, InputError, OnePhonon, OnePhononError
from onephonon.core.units import thermal_frequency, thermal_pressure
from onephonon.crystal.experiment import measured_temperature
from onephonon.dynamics.elastic import elasticity
from onephonon.dynamics.spectra import density_of_states, dispersion, sound_speeds
from onephonon.dynamics.tls import fit_tls, model_tls, principal_rms
from onephonon.viz.plot.modes import LIBRATION, TRANSLATION, draw_modes
from structures import DATA

QUICK = ["--points", "24", "--dos-mesh", "3", "2", "2", "--mesh", "2", "2", "2"]


def run(*arguments: object) -> str:
    return run_command("modes", *arguments)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("modes") / "new"
    options = [*QUICK, "-T", "120", "-o", str(output)]
    printed = run_command("modes", DATA / "5zck.pdb", *options, COLUMNS="120")
    (output.parent / "printed.txt").write_text(printed, encoding="utf-8")
    return output


@pytest.fixture(scope="module")
def model() -> OnePhonon:
    with torch.no_grad():
        return OnePhonon(DATA / "5zck.pdb", mesh=(2, 2, 2))


def test_the_temperature_is_read_from_the_file(tmp_path: Path) -> None:
    remark = "REMARK 200  TEMPERATURE           (KELVIN) : 110.0\n"
    text = "REMARK 200 EXPERIMENTAL DETAILS\nREMARK 200  EXPERIMENT TYPE                : "
    text += "X-RAY DIFFRACTION\n" + remark + (DATA / "5zck.pdb").read_text()
    (tmp_path / "a.pdb").write_text(text)
    assert measured_temperature(tmp_path / "a.pdb") == 110.0
    structure = gemmi.read_structure(str(tmp_path / "a.pdb"))
    structure.make_mmcif_document().write_file(str(tmp_path / "a.cif"))
    assert measured_temperature(tmp_path / "a.cif") == 110.0
    assert measured_temperature(DATA / "5zck.pdb") is None
    assert measured_temperature(tmp_path / "none.pdb") is None
    printed, guessed = run(tmp_path / "a.pdb", *QUICK), run(DATA / "5zck.pdb", *QUICK)
    assert "at 110 K" in printed
    assert "assumed" not in printed
    assert "at 295 K" in guessed
    assert "295 K is assumed" in " ".join(guessed.split())


def printed_rows(printed: str) -> list[list[str]]:
    """Cells of all rows of the printed tables."""
    return [re.split(r" {2,}", line.strip()) for line in printed.splitlines()]


def numbers(*cells: str) -> list[float]:
    return [float(x) for cell in cells for x in cell.split()]


def test_the_printed_tables_match_the_model(folder: Path, model: OnePhonon) -> None:
    printed = (folder.parent / "printed.txt").read_text(encoding="utf-8")
    rows = printed_rows(printed)
    kelvin = 120.0
    with torch.no_grad():
        found = dispersion(model, n_points=24)
        tls, fitted = model_tls(model), fit_tls(model.bodies, model.crystal.U)
        mean_b, mean_adp = float(model.crystal.B.mean()), float(model.ADP.mean())
    frequencies = {
        row[0]: numbers(*row[2:]) for row in rows[3:] if len(row) == 8 and row[0] != "point"
    }
    assert set(frequencies) == set(found.path.points)
    for index, label in found.corners:
        expected = found.frequencies[index, :6] * thermal_frequency(kelvin)
        # Half a unit of the third decimal.
        assert frequencies[label] == pytest.approx(expected.tolist(), abs=5.01e-4)
    start = next(i for i, row in enumerate(rows) if row[0].startswith("speeds of sound"))
    speeds = {row[0]: numbers(*row[1:]) for row in rows[start + 3 : start + 6]}
    assert set(speeds) == {"X", "Y", "Z"}  # a*, b* and c* of this orthorhombic cell
    for label, direction in zip("XYZ", torch.eye(3, dtype=torch.float64), strict=True):
        with torch.no_grad():
            expected = sound_speeds(model, direction, kelvin)
        assert speeds[label] == pytest.approx(expected.tolist(), abs=0.501)  # whole m/s
    bodies = {row[-4]: row[-3:-1] for row in rows if row[-4:-3] in (["model"], ["file"])}
    for source, tensors in (("model", tls), ("file", fitted.tls)):
        T, L = principal_rms(tensors.T[0]), principal_rms(tensors.L[0]) * 180 / math.pi
        # Half a unit of the second decimal.
        assert numbers(bodies[source][0]) == pytest.approx(T.tolist(), abs=5.01e-3)
        assert numbers(bodies[source][1]) == pytest.approx(L.tolist(), abs=5.01e-3)
    text = " ".join(printed.split())
    assert fitted.undetermined() in text
    assert f"mean {mean_b:.1f} Å² in the file, {8 * math.pi**2 * mean_adp:.1f} in the model" in text
    wrote = re.search(r"wrote (.*?) to ", text)
    assert wrote is not None
    assert set(wrote[1].split(", ")) == {path.name for path in folder.iterdir()}


def test_dispersion_table(folder: Path, model: OnePhonon) -> None:
    rows = table(folder / "dispersion.csv")
    with torch.no_grad():
        found = dispersion(model, n_points=24)
    assert len(rows) == found.frequencies.numel()
    written = [float(row["frequency_THz"]) for row in rows]
    expected = (found.frequencies * thermal_frequency(120.0)).flatten().tolist()
    assert written == pytest.approx(expected, rel=1e-5, abs=1e-9)  # six digits
    at_gamma = [row for row in rows if row["point"] == "Γ" and int(row["mode"]) < 3]
    assert {float(row["frequency_THz"]) for row in at_gamma} == {0.0}
    assert {row["point"] for row in rows} == {"", *found.path.points}
    corner = next(row for row in rows if row["point"] == "R")
    assert [float(corner[x]) for x in "hkl"] == [0.5, 0.5, 0.5]


def test_states_table_integrates_to_the_modes(folder: Path) -> None:
    rows = table(folder / "density_of_states.csv")
    nu, g = (np.array([float(r[n]) for r in rows]) for n in ("frequency_THz", "modes_per_THz"))
    assert np.trapezoid(g, nu) == pytest.approx(24, rel=1e-4)  # six digits
    parts = np.array([float(r["translation_per_THz"]) for r in rows])
    assert np.trapezoid(parts, nu) == pytest.approx(12, rel=1e-4)


def test_tls_table(folder: Path, model: OnePhonon) -> None:
    rows = table(folder / "tls.csv")
    kinds = [(row["source"], row["about"]) for row in rows]
    assert kinds == [(s, a) for s in ("model", "file") for a in ("centroid", "reaction")]
    with torch.no_grad():
        tls = model_tls(model)
    degree = 180 / math.pi
    assert float(rows[0]["T12"]) == pytest.approx(float(tls.T[0, 0, 1]), rel=1e-5)
    assert float(rows[0]["L22"]) == pytest.approx(float(tls.L[0, 1, 1]) * degree**2, rel=1e-5)
    assert float(rows[0]["S31"]) == pytest.approx(float(tls.S[0, 2, 0]) * degree, rel=1e-5)
    for row in rows[1::2]:
        # Symmetric at the centre of reaction, to the digits written.
        assert float(row["S12"]) == pytest.approx(float(row["S21"]), rel=1e-4, abs=1e-9)
    assert rows[0]["misfit"] == ""
    assert float(rows[2]["misfit"]) > 0


def test_b_factors_and_summary(folder: Path, model: OnePhonon) -> None:
    rows = table(folder / "b_factors.csv")
    assert len(rows) == model.crystal.n_atoms
    means = {n: np.mean([float(row[n]) for row in rows]) for n in ("file", "model", "tls")}
    # The thermal scale makes the first two equal; T takes care of the third.
    assert means["model"] == pytest.approx(means["file"], rel=1e-4)
    assert means["tls"] == pytest.approx(means["file"], rel=1e-4)
    summary = json.loads((folder / "modes.json").read_text(encoding="utf-8"))
    assert summary["lattice"] == "oP"
    assert summary["points"]["S"] == [0.5, 0.5, 0]
    assert summary["temperature_K"] == 120
    assert len(summary["b_factors"]) == len(rows)
    assert "B alone" in summary["tls_undetermined"]
    speeds = summary["sound_speeds"]
    assert [row["towards"] for row in speeds] == ["X", "Y", "Z"]
    assert 0 < speeds[0]["speed_1"] <= speeds[0]["speed_3"] < 10_000


def test_elastic_constants(folder: Path, model: OnePhonon) -> None:
    rows = {row["constant"]: row for row in table(folder / "elastic.csv")}
    with torch.no_grad():
        found = elasticity(model)
    C, unit = found.voigt, thermal_pressure(120.0)
    for i in range(6):
        for j in range(i, 6):
            row = rows[f"C{i + 1}{j + 1}"]
            assert float(row["kT_per_A3"]) == pytest.approx(float(C[i, j]), rel=1e-5, abs=1e-9)
            assert float(row["GPa"]) == pytest.approx(unit * float(C[i, j]), rel=1e-5, abs=1e-9)
    printed = (folder.parent / "printed.txt").read_text(encoding="utf-8")
    first = next(row for row in printed_rows(printed) if row[0] == "xx" and len(row) == 7)
    assert float(first[1]) == pytest.approx(unit * float(C[0, 0]), rel=5e-3)  # three digits
    assert first[4:] == ["0", "0", "0"]  # orthorhombic
    summary = json.loads((folder / "modes.json").read_text(encoding="utf-8"))["elasticity"]
    assert summary["moduli_GPa"]["Young"] == pytest.approx(unit * float(found.youngs_modulus))
    assert summary["symmetry_error"] < 1e-9
    assert summary["rotation_share"] == pytest.approx(float(found.rotation_share))
    speeds = json.loads((folder / "modes.json").read_text(encoding="utf-8"))["sound_speeds"]
    # Two thousand directions: within a thousandth of the true extremes.
    assert summary["slowest_sound_m_per_s"] <= 1.001 * min(row["speed_1"] for row in speeds)
    assert summary["fastest_sound_m_per_s"] >= 0.999 * max(row["speed_3"] for row in speeds)
    assert "the springs resist a rotation" in " ".join(printed.split())


def test_pictures_are_written(folder: Path) -> None:
    for name in ("modes.png", "b_factors.png", "elastic.png"):
        assert image.imread(folder / name)[..., :3].std() > 0.05


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    with pytest.raises(FileError, match="--force"):
        run(DATA / "5zck.pdb", "-o", folder)


@pytest.mark.parametrize("ending", ["pdb", "cif", "nmd"])
def test_animations(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"wave.{ending}"
    frames = () if ending == "nmd" else ("--frames", 5)
    shown = ("--at", "T", "--atoms", "ca", "--thermal", 1, *frames)
    printed = run(DATA / "5zck.pdb", "--animate", path, *shown)
    assert "mode 0" in printed
    assert "(0, 0.5, 0.5)" in printed
    assert "1 x 2 x 2 cells" in printed
    assert "1 times the thermal amplitude" in printed
    assert "speeds of sound" not in printed
    if ending != "nmd":
        assert len(gemmi.read_structure(str(path))) == 5


def test_several_modes_in_one_nmd(tmp_path: Path) -> None:
    path = tmp_path / "modes.nmd"
    printed = run(DATA / "5zck.pdb", "--animate", path, "--mode", 3, "--mode", 4, "--at", "1/4 0 0")
    assert "mode 3, 4" in printed
    assert path.read_text().count("\nmode ") == 2
    with pytest.raises(InputError, match=r"write \.nmd for several"):
        run(DATA / "5zck.pdb", "--animate", tmp_path / "a.pdb", "--mode", 3, "--mode", 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-T", "0"], "--temperature 0"),
        (["--animate", "wave.xyz"], "wave.xyz"),
        (["--animate", "{}/wave.pdb", "--at", "Q"], "no point 'Q'"),
        (["--animate", "{}/wave.pdb", "--at", "1 2"], "three numbers"),
        (["--animate", "{}/wave.pdb", "--mode", "24"], "modes 0 to 23"),
        (["--points", "3"], "--points 3"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(OnePhononError, match=message):
        run(DATA / "5zck.pdb", *(a.format(tmp_path) for a in arguments))
    assert list(tmp_path.iterdir()) == []


def test_the_picture_shows_what_was_computed() -> None:
    q = torch.zeros(0, 3, dtype=torch.float64)
    with torch.no_grad():
        model = OnePhonon(made_up("C 1 2 1"), q_vectors=q, gnm_cutoff=6.5)
        found = dispersion(model, n_points=60)
        states = density_of_states(model, (2, 3, 2))
    figure = draw_modes(found, states, temperature=300.0, title="modes")
    left, right = figure.axes[:2]
    unit = thermal_frequency(300.0)
    assert "300 K" in left.get_ylabel()
    (branches,) = left.collections
    lines = np.array(branches.get_segments())
    n, m = found.frequencies.shape
    assert len(lines) == (n - len(found.path.pieces)) * m  # none across a break
    assert lines[..., 1].max() == pytest.approx(unit * float(found.frequencies.max()))
    labels = [tick.get_text() for tick in left.get_xticklabels()]
    assert labels[0] == "Γ"
    assert any("|" in label for label in labels)
    assert len(labels) == len(found.corners) - len(found.path.pieces) + 1
    # Short segments are widened, and all corners stand clear of each other.
    assert np.diff(left.get_xticks()).min() > 0.04 * left.get_xlim()[1]
    (total,) = right.get_lines()
    area = np.trapezoid(total.get_xdata(), total.get_ydata())
    assert area == pytest.approx(model.bodies.n_dof, rel=1e-6)  # tails
    colours = {tuple(p.get_facecolor()[0][:3]) for p in right.collections}
    from matplotlib.colors import to_rgb

    assert colours == {to_rgb(TRANSLATION), to_rgb(LIBRATION)}


def test_the_picture_of_atoms_needs_no_key() -> None:
    q = torch.zeros(0, 3, dtype=torch.float64)
    with torch.no_grad():
        model = OnePhonon(made_up("P 1"), q_vectors=q, gnm_cutoff=6.5, group_by="atom")
        found = dispersion(model, n_points=20)
    figure = draw_modes(found, temperature=100.0)
    assert figure.legends == []
    assert len(figure.axes) == 1
