"""What a command says of the structure that it has read."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands import run_command
from onephonon import InputError, StructureError
from onephonon.cli import app
from pdb_text import alanine, atom_line, write_pdb
from structures import DATA

SAID = "2ol9.pdb: 51 atoms with 340.0 electrons, in 6 residues of chain A. dropped: 5 atoms of 5"
RANGES = ["--h", "-1", "1", "2", "--k", "-1", "1", "2", "--l", "-1", "1", "2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["contacts", DATA / "2ol9.pdb"],
        ["verify", DATA / "2ol9.pdb", "--supercell", 2, 1, 1, "--points", 2],
        ["simulate", DATA / "2ol9.pdb", *RANGES, "-o", "map.npz"],
        ["modes", DATA / "2ol9.pdb", "--animate", "wave.pdb", "--mode", 3, "--at", "Z"],
    ],
)
def test_one_line_of_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0
    assert result.stderr.count(SAID) == 1
    assert SAID not in result.stdout


def test_info_describes_a_structure(tmp_path: Path) -> None:
    lines = [
        *alanine(1), "TER",
        atom_line("ZN", "ZN", 9, at=(5, 6, 7), element="ZN", record="HETATM"),
        atom_line("O", "HOH", 10, at=(5, 2, 7), record="HETATM"),
    ]  # fmt: skip
    path = write_pdb(tmp_path / "some.pdb", *lines)
    shown = run_command("info", path, COLUMNS="100")
    for said in (
        "cell         7, 8, 9 Å; 90, 95, 90°; 502.082 Å³",
        "space group  P 1 21 1, 2 operators",
        "B            mean 10 Å², 10 to 10, isotropic",
        "read         5 atoms with 33.0 electrons, in 1 residue of chain A",
        "dropped      1 atom of 1 water",
        "1 atom of 1 ligand or ion (ZN)",
    ):
        assert said in shown
    everything = run_command("info", path, "--ligands", "--waters", COLUMNS="100")
    assert "7 atoms with 71.0 electrons, in 3 residues of chain A" in everything
    with pytest.raises(InputError, match=r"--laue and --png are for maps, but .*some\.pdb is read"):
        run_command("info", path, "--laue", "1")
    assert run_command("info", path, "--quiet") == ""


def test_models_of_a_whole_cell_by_option(tmp_path: Path) -> None:
    copies = [alanine(1), alanine(1, (1.5, 4.2, 4.0))]
    lines = [x for n, copy in enumerate(copies, 1) for x in (f"MODEL     {n:4d}", *copy, "ENDMDL")]
    path = write_pdb(tmp_path / "cell.pdb", *lines)
    shown = run_command("info", path, "--whole-cell", "--model-number", "all", COLUMNS="100")
    assert "10 atoms with 66.0 electrons, in 2 residues of chains A, A#2" in shown
    one = run_command("info", path, "--model-number", "2", COLUMNS="100")
    assert "ignored      1 of 2 models; model 2 is read" in one
    with pytest.raises(StructureError, match="--model-number all"):
        run_command("info", path, "--whole-cell")
    with pytest.raises(InputError, match="--model-number 'two' is neither"):
        run_command("info", path, "--model-number", "two")


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ["contacts", DATA / "2ol9.pdb"],
        ["verify", DATA / "2ol9.pdb", "--supercell", 2, 1, 1, "--points", 2],
        ["simulate", DATA / "2ol9.pdb", *RANGES, "-o", "map.npz"],
    ],
)
def test_proposed_blocks_are_written_as_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object], quiet: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*arguments, "--group-by", "auto:2", *(["--quiet"] if quiet else [])]
    result = CliRunner().invoke(app, [str(a) for a in words])
    assert result.exit_code == 0
    said = "bodies: --group-by 'A:1-2 A:3-6'\n"
    assert result.stderr.count(said) == (0 if quiet else 1)


def test_riding_hydrogens_are_added() -> None:
    bare, riding = (
        run_command("info", DATA / "2ol9.pdb", *options, COLUMNS="100")
        for options in ([], ["--riding-hydrogens"])
    )
    assert "riding hydrogens, placed by geometry" in riding
    assert "riding" not in bare
