"""``onephonon displacements``: its tables, files and picture."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import run_command
from onephonon import FileError, InputError, OnePhonon, StructureError
from onephonon.dynamics.joint import joint_displacements
from onephonon.viz.plot.joint import draw_joint
from structures import DATA


def run(*arguments: object) -> str:
    return run_command("displacements", *arguments, COLUMNS="120")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("joint") / "new"
    printed = run(DATA / "5zck.pdb", "--within", "10", "-o", output)
    (output.parent / "printed.txt").write_text(printed, encoding="utf-8")
    return output


@pytest.fixture(scope="module")
def model() -> OnePhonon:
    with torch.no_grad():
        return OnePhonon(DATA / "5zck.pdb")


def test_tables_hold_what_was_computed(folder: Path, model: OnePhonon) -> None:
    with torch.no_grad():
        joint = joint_displacements(model, within=10.0)
    assert {path.name for path in folder.iterdir()} == {
        "molecules.csv",  # and none of bodies, since a molecule is one
        "atom_pairs.csv",
        "joint.json",
        "joint.png",
    }
    rows, pairs = table(folder / "molecules.csv"), joint.molecules
    assert [row["operator"] for row in rows] == list(pairs.operators.operator)
    cells = [[int(row[f"cell_{x}"]) for x in "abc"] for row in rows]
    assert cells == pairs.cell.tolist()
    U = [[float(row[f"U{ij}"]) for ij in ("11", "22", "33", "12", "13", "23")] for row in rows]
    symmetric = pairs.symmetric_U
    expected = symmetric[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]].numpy()
    np.testing.assert_allclose(U, expected, rtol=1e-5, atol=1e-12)  # six digits
    # Parts along and across, from the columns alone.
    for row, u in zip(rows[1:], U[1:], strict=True):
        full = np.array([[u[0], u[3], u[4]], [u[3], u[1], u[5]], [u[4], u[5], u[2]]])
        v = np.array([float(row[x]) for x in "xyz"])
        assert float(row["distance"]) == pytest.approx(np.linalg.norm(v), rel=1e-5)
        n = v / np.linalg.norm(v)
        assert float(row["parallel"]) == pytest.approx(n @ full @ n, rel=1e-4, abs=1e-7)
        across = 0.5 * (np.trace(full) - n @ full @ n)
        assert float(row["perpendicular"]) == pytest.approx(across, rel=1e-4, abs=1e-7)


def test_atom_pairs_can_be_joined_with_contacts(folder: Path, tmp_path: Path) -> None:
    run_command("contacts", DATA / "5zck.pdb", "-o", tmp_path / "contacts.csv")
    contacts = {
        (row["atom_1"], row["atom_2"], row["operator"]): float(row["distance"])
        for row in table(tmp_path / "contacts.csv")
    }
    rows = table(folder / "atom_pairs.csv")
    assert rows
    for row in rows:
        key = row["atom_1"], row["atom_2"], row["interface"]
        assert contacts[key] == pytest.approx(float(row["distance"]), abs=1e-4)  # four decimals
    between = [key for key in contacts if key[2] != "within"]
    assert len(rows) == len(between)


def test_json_has_whole_covariances(folder: Path) -> None:
    content = json.loads((folder / "joint.json").read_text(encoding="utf-8"))
    assert content["structure"] == "5zck.pdb"
    assert content["molecules_within"] == 10
    body = content["bodies"][1]
    assert np.shape(body["covariance"]) == (6, 6)
    assert np.shape(content["molecules"][1]["covariance"]) == (3, 3)
    assert np.shape(content["atom_pairs"][0]["covariance"]) == (3, 3)
    own = np.array(content["bodies"][0]["covariance"])
    np.testing.assert_allclose(own, own.T, rtol=0, atol=1e-12 * np.abs(own).max())
    assert np.linalg.eigvalsh(own).min() > 0


def test_printed_tables(folder: Path) -> None:
    printed = (folder.parent / "printed.txt").read_text(encoding="utf-8")
    nearest, _, _ = printed.partition("relative displacement")
    rows = {line.split()[0]: re.split(r" {2,}", line) for line in nearest.splitlines() if line}
    written = {row["operator"]: row for row in table(folder / "molecules.csv")}
    assert float(rows["itself"][-1]) == 1
    shown = rows["x+1,y,z"]
    assert float(shown[1]) == pytest.approx(float(written["x+1,y,z"]["distance"]), abs=0.051)
    assert shown[2] == "yes"
    assert float(shown[3]) == pytest.approx(float(written["x+1,y,z"]["parallel"]), abs=5.1e-5)
    assert "relative displacement of atoms in contact" in printed


def test_several_bodies_have_a_table(tmp_path: Path) -> None:
    run(DATA / "2ol9.pdb", "--group-by", "residue", "--within", "6", "-o", tmp_path, "-q")
    rows = table(tmp_path / "bodies.csv")
    assert len({row["body_1"] for row in rows}) == 6
    assert (tmp_path / "joint.png").stat().st_size > 20_000
    with pytest.raises(FileError, match="--force"):
        run(DATA / "2ol9.pdb", "-o", tmp_path)


def test_the_picture_shows_both_parts(model: OnePhonon) -> None:
    with torch.no_grad():
        joint = joint_displacements(model, within=10.0)
    figure = draw_joint(joint, title="joint")
    left, right = figure.axes
    parallel, across = joint.molecules.along(joint.molecules.U)
    drawn = np.concatenate([line.get_ydata() for line in left.get_lines()[:2]])
    np.testing.assert_allclose(np.sort(drawn), np.sort(parallel.numpy()))
    drawn = np.concatenate([line.get_ydata() for line in left.get_lines()[2:4]])
    np.testing.assert_allclose(np.sort(drawn), np.sort(across.numpy()))
    names = {text.get_text().partition(" (")[0] for text in right.get_yticklabels()}
    assert names == set(joint.contacts.operators.interface)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--within", "0"], InputError, "--within 0"),
        (["--mesh", "0", "1", "1"], InputError, "--mesh 0"),
        (["--disorder", "rigid"], InputError, "has no lattice"),
    ],
)
def test_wrong_arguments_are_named(
    tmp_path: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(DATA / "5zck.pdb", "-o", tmp_path / "new", *arguments)


def test_a_missing_structure(tmp_path: Path) -> None:
    with pytest.raises((FileError, StructureError), match=r"none\.pdb"):
        run(tmp_path / "none.pdb")
