"""The benchmarks run, at toy size."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from structures import DATA

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_gradients(tmp_path: Path) -> None:
    saved = tmp_path / "gradients.json"
    command = [sys.executable, str(BENCHMARKS / "gradients.py"), "--small", "--json", str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "backward_everything" in done.stdout
    assert json.loads(saved.read_text())[0]["n_q"] == 300


def test_speed(tmp_path: Path) -> None:
    saved = tmp_path / "speed.json"
    structure = DATA / "5wkd.pdb"
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--small", str(structure)]
    done = subprocess.run(
        [*command, "--json", str(saved)], capture_output=True, text=True, check=True
    )
    assert "over_plain" in done.stdout
    rows = json.loads(saved.read_text())
    assert [row["mode"] for row in rows] == ["grid", "scattered"]
    # The plain sum shares no code with the mesh; 1e-6 of the rms is the default accuracy.
    assert all(row["error/rms"] < 1e-6 for row in rows)


def test_coverage_with_a_truth_on_a_finer_mesh() -> None:
    structure = DATA / "5zck.pdb"
    options = ["--seeds", "1", "--d-min", "3", "--truth-mesh", "2"]
    command = [sys.executable, str(BENCHMARKS / "coverage.py"), str(structure), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"known to ([\d.]+)%.* at most ([\d.]+) sigma", done.stdout)
    assert found is not None
    # Springs are known to 3 to 4 % from this many photons; of five, one in 2000 is 4 sigma off.
    assert 1.0 < float(found[1]) < 8.0
    assert float(found[2]) < 4.0


def test_orders(tmp_path: Path) -> None:
    saved = tmp_path / "orders.json"
    structure = DATA / "5zck.pdb"
    command = [sys.executable, str(BENCHMARKS / "orders.py"), "--small", str(structure)]
    done = subprocess.run(
        [*command, "--json", str(saved)], capture_output=True, text=True, check=True
    )
    assert "map_over_one" in done.stdout
    rows = json.loads(saved.read_text())
    assert [row["orders"] for row in rows] == ["1", "2", "all"] * 2
    # Each within the accuracy that was asked for.
    assert all(row["error"] < row["rtol"] for row in rows)


def test_one_phonon_fitted_to_every_order() -> None:
    options = ["--seeds", "1", "--b", "10", "--halos", "4", "--d-min", "2.8", "--d-max", "3.5"]
    command = [sys.executable, str(BENCHMARKS / "one_phonon_fits.py"), str(DATA / "2ol9.pdb")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    one, every = (float(x) for x in re.findall(r"off by ([\d.]+)", done.stdout))
    # Without noise springs are known to the tolerance of the fit, 1e-3.
    assert every < 2e-3
    assert one > 0.02


def test_components(tmp_path: Path) -> None:
    saved = tmp_path / "components.json"
    command = [sys.executable, str(BENCHMARKS / "components.py"), str(DATA / "2ol9.pdb")]
    options = [
        "--seeds",
        "1",
        "--d-min",
        "3.5",
        "--per-index",
        "3",
        "--level",
        "global",
        "--json",
        str(saved),
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert "amplitudes:" in done.stdout
    (errors,) = json.loads(saved.read_text())
    # Of three numbers, one in 1000 is 4 standard errors off.
    names = ("amplitude of lattice", "amplitude of liquid", "liquid:gamma")
    assert all(abs(errors[name]) < 4 for name in names)
