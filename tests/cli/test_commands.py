"""The command line, as a user runs it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from typer.testing import CliRunner

from commands import run_command
from onephonon import OnePhonon, OnePhononError, read_map
from onephonon.cli import app
from structures import DATA

#: Whether the model sums more orders than the first.
SUMS_ORDERS = "orders" in inspect.signature(OnePhonon.apply_disorder).parameters

RANGES = ["--h", "-1", "1", "2", "--k", "-1", "1", "2", "--l", "-1", "1", "3"]


def test_verify_prints_a_table_and_passes() -> None:
    output = run_command("verify", DATA / "2ol9.pdb", "--supercell", 3, 1, 1)
    assert output.count("pass") == 8
    assert "FAIL" not in output


@pytest.mark.skipif(not SUMS_ORDERS, reason="the model sums no orders yet")
@pytest.mark.parametrize(("orders", "what"), [("2", "orders 1 to 2"), ("all", "all orders")])
def test_verify_compares_sums_of_orders(orders: str, what: str) -> None:
    box = ["--supercell", 3, 1, 1, "--points", 3]
    output = run_command("verify", DATA / "2ol9.pdb", *box, "--orders", orders)
    assert output.count("pass") == 12
    assert output.count(what) == 4


def test_verify_fails_with_exit_code_1() -> None:
    box = ["--supercell", "3", "1", "1", "--tolerance", "0"]
    result = CliRunner().invoke(app, ["verify", str(DATA / "2ol9.pdb"), *box])
    assert result.exit_code == 1
    assert "FAIL" in result.output


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_simulate_a_map_then_its_points_then_draw_both(tmp_path: Path, ending: str) -> None:
    first, second = tmp_path / f"map{ending}", tmp_path / "list.npz"
    run_command("simulate", DATA / "5zck.pdb", *RANGES, "--d-min", 5, "-o", first)
    if ending == ".npz":
        run_command("simulate", DATA / "5zck.pdb", "--q", first, "-o", second)
        a, b = np.load(first), np.load(second)
        assert a["map_shape"].tolist() == b["map_shape"].tolist() == [5, 5, 7]
        both = np.isfinite(a["intensity"])
        # The same sums, reached through q instead of hkl: rounding only.
        np.testing.assert_allclose(a["intensity"][both], b["intensity"][both], rtol=1e-10)
        assert both.sum() < np.isfinite(b["intensity"]).sum()
    run_command("visualize", first)
    picture = image.imread(first.with_suffix(".png"))
    assert picture[..., :3].std() > 0.05  # something is drawn


def test_a_list_is_drawn_as_one_and_says_so(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "q.txt", np.random.default_rng(0).uniform(0.1, 2, (40, 3)))
    run_command(
        "simulate", DATA / "5zck.pdb", "--q", tmp_path / "q.txt", "-o", tmp_path / "list.npz"
    )
    output = run_command("visualize", tmp_path / "list.npz", "-o", tmp_path / "list.png")
    assert "no map_shape" in output
    assert image.imread(tmp_path / "list.png")[..., :3].std() > 0.02  # points and bars


def test_structure_options_reach_every_command(tmp_path: Path) -> None:
    wet = ["--waters", "--solvent", 0.334, "--solvent-smoothing", 20, "--conformers", "all"]
    assert run_command("verify", DATA / "2ol9.pdb", *wet).count("pass") == 8
    rows = {}
    for options in ((), ("--isotropic", *wet)):
        table = tmp_path / f"{len(options)}.csv"
        run_command("contacts", DATA / "2ol9.pdb", *options, "-o", table)
        rows[table] = len(table.read_text().splitlines())
    few, many = rows.values()
    assert few < many  # waters touch
    quick = ["--points", 24, "--dos-mesh", 2, 2, 2, "--mesh", 2, 2, 2]
    shown = run_command("modes", DATA / "5zck.pdb", *quick, "--radiation", "neutron")
    assert "speeds of sound" in shown


def test_a_mesh_of_displacements_in_a_comparison(tmp_path: Path) -> None:
    data, model = tmp_path / "data.npz", tmp_path / "model.npz"
    boxed = [*RANGES, "--zone-average", "supercell"]
    run_command("simulate", DATA / "5zck.pdb", *boxed, "-o", data)
    for mesh in ([2, 2, 2], [2, 2, 3]):
        average = "supercell" if mesh == [2, 2, 3] else "crystal"
        given = ["--mesh", *mesh, "--zone-average", average, "--remove-shells", 2, "--average", 0]
        run_command("compare", DATA / "5zck.pdb", data, *given, "-o", model, "--force")
        assert read_map(model).parameters["mesh"] == mesh
    # The data's own mesh: the same model at the same points, to rounding.
    ours, theirs = read_map(model).intensity, read_map(data).intensity
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 100
    np.testing.assert_allclose(ours[both], theirs[both], rtol=1e-10)


def test_null_models_are_compared_unless_they_are_not_wanted(tmp_path: Path) -> None:
    data, saved = tmp_path / "data.npz", tmp_path / "found.json"
    run_command("simulate", DATA / "5zck.pdb", *RANGES, "-o", data)
    given = ["--average", 0, "--remove-shells", 2, "--json", saved, "--force"]
    shown = run_command("compare", DATA / "5zck.pdb", data, *given)
    assert "null models, without any spring" in shown
    (null,) = json.loads(saved.read_text(encoding="utf-8"))["baselines"]
    assert null["name"] == "independent molecules"
    # The data are the model's own.
    assert null["difference"] == pytest.approx(1 - null["cc_anisotropic"], abs=1e-6)
    shown = run_command("compare", DATA / "5zck.pdb", data, *given, "--no-baselines")
    assert "null models" not in shown
    assert json.loads(saved.read_text(encoding="utf-8"))["baselines"] == []


def test_occupation_of_modes_in_maps_and_comparisons(tmp_path: Path) -> None:
    data, model, table = tmp_path / "data.npz", tmp_path / "model.npz", tmp_path / "pdos.txt"
    run_command("simulate", DATA / "5zck.pdb", *RANGES, "--temperature", 20, "-o", data)
    quantum = read_map(data)
    assert quantum.parameters["temperature"] == 20
    assert quantum.parameters["occupation"] == "quantum at 20 K"
    table.write_text("0 1\n9 1\n")
    # A density of states that is that of the model: the same as without a table.
    given = ["--temperature", 20, "--populations", table, "--populations-mode", "thermal"]
    given += ["--average", 0, "--remove-shells", 2]
    run_command("compare", DATA / "5zck.pdb", data, *given, "-o", model)
    found = read_map(model)
    assert found.parameters["populations"] == "pdos.txt"
    assert found.parameters["populations_mode"] == "thermal"
    assert found.parameters["occupation"] == "by a table of frequency at 20 K"
    both = np.isfinite(found.intensity) & np.isfinite(quantum.intensity)
    assert both.sum() > 100
    np.testing.assert_allclose(found.intensity[both], quantum.intensity[both], rtol=1e-8)
    run_command("simulate", DATA / "5zck.pdb", *RANGES, *given[:4], "-o", model, "--force")
    classical = tmp_path / "classical.npz"
    run_command("simulate", DATA / "5zck.pdb", *RANGES, "-o", classical)
    np.testing.assert_allclose(
        read_map(model).intensity[both], read_map(classical).intensity[both], rtol=1e-10
    )


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    out = tmp_path / "m.npz"
    assert run_command("simulate", DATA / "2ol9.pdb", *RANGES, "-o", out, "--quiet") == ""
    assert run_command("visualize", out, "--quiet") == ""
    assert run_command("info", out, "--quiet", "--png", tmp_path / "info.png") == ""
    assert (tmp_path / "info.png").exists()


def test_contacts_are_listed_by_class_and_saved(tmp_path: Path) -> None:
    from onephonon.network import read_contact_table

    table = tmp_path / "contacts.csv"
    output = run_command("contacts", DATA / "5zck.pdb", "--by", "interface", "-o", table)
    rows = read_contact_table(table)
    assert "x+1,y,z" in output
    assert {row.spring_class for row in rows} >= {"within", "x+1,y,z"}
    # Four copies: what is unique stands for all of them.
    assert all(row.multiplicity in (2, 4) for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--h", 0, 1, 2], "--h, --k and --l"),
        ([*RANGES, "--q", "q.txt"], "ranges"),
        ([*RANGES, "--mesh", 2, 2, 0], "--mesh .* each must be 1 or more"),
        ([*RANGES, "--dtype", "int8"], "int8"),
        ([*RANGES, "--device", "nowhere"], "nowhere"),
        ([*RANGES, "--cutoff", -1], "--cutoff -1"),
        ([*RANGES, "--k-perp", 1], "hybrid"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[object], message: str) -> None:
    with pytest.raises(OnePhononError, match=message):
        run_command("simulate", DATA / "2ol9.pdb", *arguments, "-o", tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


def test_nothing_is_computed_for_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_text("mine")
    with pytest.raises(OnePhononError, match="--force"):
        run_command("simulate", "no-such.pdb", *RANGES, "-o", tmp_path / "m.npz")
    with pytest.raises(OnePhononError, match="no folder"):
        run_command("simulate", "no-such.pdb", *RANGES, "-o", tmp_path / "no" / "m.npz")
    with pytest.raises(OnePhononError, match=r"\.xyz"):
        run_command("simulate", "no-such.pdb", *RANGES, "-o", tmp_path / "m.xyz")


def test_an_error_is_one_line_without_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onephonon", "verify", str(tmp_path / "none.pdb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "none.pdb" in done.stderr
    assert "Traceback" not in done.stderr


#: The command line with something in it that is interrupted at a known moment.
INTERRUPTED = """
import signal, sys
import numpy as np
from onephonon.cli import main
from onephonon.scattering.bound_model import BoundModel

# Also where whoever runs the tests ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def compute(self, *arguments, **how):
    signal.raise_signal(signal.SIGINT)
    raise AssertionError("not interrupted")


def write(file, **arrays):
    file.write(b"half of a map")
    file.flush()
    compute(file)


if sys.argv.pop(1) == "computing":
    BoundModel.intensity = compute
else:
    np.savez_compressed = write
main()
"""


@pytest.mark.parametrize("moment", ["computing", "writing"])
def test_ctrl_c_leaves_no_file(tmp_path: Path, moment: str) -> None:
    arguments = ["simulate", DATA / "5zck.pdb", *RANGES, "-o", tmp_path / "map.npz"]
    command = [sys.executable, "-c", INTERRUPTED, moment, *(str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "interrupted; no unfinished file was left" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
