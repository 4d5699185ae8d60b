"""Absurd and ignored options are refused at once, by their names on the command line."""

from __future__ import annotations

import inspect
import math
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from foreign_maps import telling_map
from onephonon import OnePhononError, write_map
from onephonon.cli import app
from onephonon.cli.checks import Check, Limits, Reads, Writes
from onephonon.cli.spelling import with_options
from structures import DATA

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
RANGES = "--h -1 1 2 --k -1 1 2 --l -1 1 2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a map, an array and a structure."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("map.npz", "map.npy", "map.lat"):
        write_map(telling_map(), folder / name)
    (folder / "a.pdb").write_bytes((DATA / "5zck.pdb").read_bytes())
    return folder


def refusal(line: str) -> str:
    """What a command line is told."""
    result = CliRunner().invoke(app, shlex.split(line))
    assert isinstance(result.exception, OnePhononError), result.output
    return str(result.exception)


def numeric(kind: Any) -> bool:
    return kind in (int, float) or any(map(numeric, get_args(kind)))


def all_parameters() -> list[tuple[str, str, Any, list[Check]]]:
    found = []
    for command, made in COMMANDS.items():
        for name, parameter in inspect.signature(made.callback).parameters.items():
            kind, *extras = get_args(parameter.annotation) or (None,)
            checks = [extra for extra in extras if isinstance(extra, Check)]
            found.append((command, name, kind, checks))
    return found


def test_every_number_has_limits_and_every_path_a_use() -> None:
    for command, name, kind, checks in all_parameters():
        if numeric(kind):
            assert checks, (command, name)
        if kind is Path or Path in get_args(kind):
            (use,) = checks
            assert isinstance(use, Reads | Writes), (command, name)


def test_not_a_number_and_infinity_are_refused_everywhere() -> None:
    for command, name, kind, checks in all_parameters():
        if not numeric(kind) or kind is int:
            continue
        (check,) = checks
        n = max((len(get_args(part)) for part in (kind, *get_args(kind))), default=0)
        is_tuple = any("tuple" in str(part) for part in (kind, *get_args(kind)))
        for bad in (math.nan, math.inf, -math.inf):
            value = (bad,) * n if is_tuple else bad
            with pytest.raises(OnePhononError, match=f"--{name}"):
                check.check(f"{command} --{name}", value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"simulate a.pdb {RANGES} -o o.npz --bragg-tolerance 5", "--bragg-tolerance 5: must be 0"),
        (f"simulate a.pdb {RANGES} -o o.npz --cutoff -1", "--cutoff -1: must be above 0, in Å"),
        (f"simulate a.pdb {RANGES} -o o.npz --rank -2", "--rank -2: must be -1 or more"),
        (f"simulate a.pdb {RANGES} -o o.npz --rank 99", "--rank 99: modes are numbered"),
        (f"simulate a.pdb {RANGES} -o o.npz --softest 99", "--softest 99: give a number from 1"),
        (f"simulate a.pdb {RANGES} -o o.npz --d-min -1", "--d-min -1: must be 0 or more"),
        (f"simulate a.pdb {RANGES} -o o.npz --thermal-scale 0", "--thermal-scale 0: must be above"),
        (f"simulate a.pdb {RANGES} -o o.npz --rtol 1", "--rtol 1: must be 1e-12 or more and at"),
        (f"simulate a.pdb {RANGES} -o o.npz --mesh 0 2 2", "--mesh 0 2 2: each must be 1 or more"),
        (f"simulate a.pdb {RANGES} -o o.npz --group-by x", "--group-by 'x' is not one of"),
        (f"simulate a.pdb {RANGES} -o o.npz --model x", "--model 'x' is not one of"),
        ("simulate a.pdb --h 2 1 2 --k 0 1 1 --l 0 1 1 -o o.npz", "--h 2 1 2: MAX is below MIN"),
        ("simulate a.pdb --h 0 1 -2 --k 0 1 1 --l 0 1 1 -o o.npz", "--h 0 1 -2: N, samples per"),
        ("simulate a.pdb --h 0 1 1.5 --k 0 1 1 --l 0 1 1 -o o.npz", "--h asks for 1.5 samples"),
        ("info map.npy --cell 9 9 9 90 90 300 --per-index 2 2 2", "--cell 9 9 9 90 90 300: α, β"),
        ("info map.npy --cell 9 9 9 50 150 50 --per-index 2 2 2", "--cell 9 9 9 50 150 50: no"),
        ("info map.npy --cell 9 9 0 90 90 90 --per-index 2 2 2", "--cell 9 9 0 90 90 90: A, B and"),
        (
            "info map.npy --cell 9 9 9 90 90 90 --per-index 2 3 1 --origin 999 0 0",
            "map.npy: --origin (999, 0, 0): voxel 999 along h is far outside the array",
        ),
        ("info map.lat --cell-from a.pdb --origin 0 0 -99", "map.lat: --origin (0, 0, -99): vox"),
        ("info map.npz --origin 0 0 0", "map.npz: --origin was given, but the file contains it"),
        ("info map.npz --laue x --no-picture", "--laue 'x': 'x' is not a known"),
        ("info map.npz --space-group x", "--space-group 'x' is unknown"),
        ("compare map.npz map.npz --d-min 3 --d-max 2", "--d-min 3 and --d-max 2 leave nothing"),
        (
            "compare map.npz map.npz --shells 1000000000",
            "--shells 1000000000: must be 1 or more",
        ),
        ("compare a.pdb map.npz --average 1", "--average 1: give 2 or more"),
        ("modes a.pdb --animate m.pdb --mode 99", "--mode 99: this wavevector has modes 0 to 23"),
        ("modes a.pdb --animate m.pdb --at Q", "--at 'Q': the zone of lattice oP has no point"),
        ("modes a.pdb --animate m.pdb --at '0 0 1e999'", "--at '0 0 1e999': "),
        ("modes a.pdb --animate m.pdb --cells 9999 9999 1", "a block of 99980001 cells"),
        ("modes a.pdb --points 3", "--points 3: the path has 12 segments"),
        ("modes a.pdb --dos-mesh 9999 9999 99", "density of states on a mesh of 9999 x 9999"),
        (
            "modes a.pdb --mesh 9999 9999 99",
            "--mesh 9999 9999 99: 9.9e+09 in all; give at most 10,",
        ),
        ("contacts a.pdb --by x", "--by 'x': not one of"),
        ("verify a.pdb --supercell 0 1 1", "--supercell 0 1 1: each must be 1 or more"),
        (f"simulate a.pdb {RANGES} -o m.npz --orders 51", "--orders '51': give how many orders"),
        ("compare a.pdb map.npz --orders 0", "--orders '0': give how many orders to sum, 1"),
        ("fit a.pdb map.npz -o f --orders two", "--orders 'two': give how many orders to sum, 1"),
        (
            f"simulate a.pdb {RANGES} -o m.npz --orders 2 --multiphonon-mesh 3 0 3",
            "--multiphonon-mesh 3 0 3: each must be 1 or more",
        ),
        (
            f"simulate a.pdb {RANGES} -o m.npz --multiphonon-mesh 3 3 3",
            "--multiphonon-mesh: only for --orders N or all",
        ),
        (
            f"simulate a.pdb {RANGES} -o m.npz --orders 2 --rank 0",
            "--rank 0: modes can be selected of one phonon only; leave it out, or --orders 2",
        ),
        (
            f"simulate a.pdb {RANGES} -o m.npz --orders all --softest 3",
            "--softest 3: modes can be selected of one phonon only; leave it out, or --orders all",
        ),
        ("compare map.npz map.npz --orders all", "--orders: only for a structure as MODEL"),
        ("verify a.pdb --orders both", "--orders 'both': give how many orders to sum, 1"),
        ("visualize map.npz --range 2 1", "--range 2 1: two numbers, the first the lower"),
        ("visualize map.npz --dpi 1", "--dpi 1: must be 20 or more and at most 2,400"),
        ("info map.npy --space-group 'P\udcff1'", "--space-group 'P\\udcff1': holds bytes"),
        ("view map.npz --voxels 0", "--voxels 0: must be 1 or more"),
        ("fit a.pdb map.npz -o fit --held-out 2", "--held-out 2: must be 0.01 or more and at"),
        ("fit a.pdb map.npz -o fit --draws -1", "--draws -1: must be 0 or more"),
        ("fit a.pdb map.npz -o fit --temperature 0", "--temperature 0: must be above 0"),
    ],
)
def test_absurd_values(
    folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(folder)
    assert refusal(line).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("modes a.pdb --mode 3 --at X", "--at, --mode: only for --animate FILE"),
        ("modes a.pdb --animate m.nmd --travelling", "--travelling: not for .nmd"),
        ("modes a.pdb --animate m.pdb --points 40", "--points: not for an animation alone"),
        ("modes a.pdb --animate m.pdb --amplitude 1 --thermal 1", "--thermal: another amplitude"),
        ("modes a.pdb --histogram --width 1", "--width: broadens, which --histogram does not"),
        ("compare map.npz map.npz --gamma-inter 2", "--gamma-inter: only for a structure as MODEL"),
        # Even where the value is that of the default: it is not used.
        ("compare map.npz map.npz --gamma-inter 1", "--gamma-inter: only for a structure as MODEL"),
        ("compare map.npz map.npz --average 2 --waters", "--waters, --average: only for a struct"),
        ("compare map.npz map.npz --no-baselines", "--no-baselines: only for a structure as MODEL"),
        ("compare map.npz map.npz --remove none --remove-shells 9", "--remove-shells: not with"),
        ("verify a.pdb --solvent-smoothing 20", "--solvent-smoothing: only for --solvent"),
        ("verify a.pdb --k-par 1", "--k-par: only for --model hybrid"),
        ("verify a.pdb --model hybrid --gamma-intra 2", "--gamma-intra: not for --model hybrid"),
        ("verify a.pdb --model hybrid", "--model hybrid needs both"),
        (
            f"simulate a.pdb {RANGES} -o o.npz --engine direct --rtol 1e-3",
            "--rtol: only for the me",
        ),
        (
            f"simulate a.pdb {RANGES} -o o.npz --use-data-adp --thermal-scale 1 --mesh 2 2 2",
            "--mesh: nothing is averaged",
        ),
        ("fit a.pdb map.npz -o fit --outlier 2", "--outlier: only for --loss soft_l1"),
        ("fit a.pdb map.npz -o fit --background none --knots 9", "--knots: only for isotropic"),
        ("fit a.pdb map.npz -o fit --draws 0 -T 100", "--temperature: only for predictions"),
        ("info map.npz --quiet --laue mmm", "--laue: not with --quiet"),
        ("visualize map.npz --animate m.gif --dpi 100", "--dpi: for pictures, and only --animate"),
        ("visualize map.npz --profile --scale log", "--scale: not for --profile alone"),
        ("compare a.pdb map.npz --average 0 --leave-out 0.4", "--leave-out 0.4: only for averages"),
    ],
)
def test_options_that_would_be_ignored(
    folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(folder)
    assert refusal(line).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("info -", "FILE -: standard input and output are neither read nor written"),
        ("info /dev/stdin", "/dev/stdin is a"),
        ("info .", ". is a folder; name a file in it"),
        ("info map.npy --cell-from .", ". is a folder; name a file in it"),
        ("compare - map.npz", "MODEL -: standard input"),
        ("verify .", ". is a folder; name a file in it"),
        ("simulate a.pdb --q - -o o.npz", "--q -: standard input"),
        (f"simulate a.pdb {RANGES} -o -", "--output -: standard input"),
        (f"simulate a.pdb {RANGES} -o /dev/null", "--output /dev/null is a device; name a file"),
        ("convert map.npz .", "OUTPUT . is a folder; name a file in it"),
        ("modes a.pdb -o a.pdb", "--output a.pdb is a file; name a folder"),
        ("demo -o -", "--output -: standard input"),
    ],
)
def test_paths_that_are_no_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(folder)
    assert refusal(line).startswith(message)


def test_limits_admit_their_ends_as_said() -> None:
    Limits(low=0, high=1).check("--x", (0.0, 1.0))
    for limits, bad in ((Limits(low=0, above=True), 0), (Limits(high=1, below=True), 1.0)):
        with pytest.raises(OnePhononError, match=r"^--x [01]: must be (above 0|below 1)$"):
            limits.check("--x", bad)


OPTIONS = ("--cutoff", "--d-min", "--points", "--mode", "--rtol", "--q", "--remove", "--origin")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("gnm_cutoff -1 is", "--cutoff -1 is"),
        ("mode 9: no; give n_points or d_min=2", "--mode 9: no; give --points or --d-min 2"),
        ("rtol=1 is", "--rtol 1 is"),
        ("a mode is a mode", "a mode is a mode"),
        ("gamma_intra and my_file.pdb stay", "gamma_intra and my_file.pdb stay"),
        ("in q_vectors.npy: no", "in q_vectors.npy: no"),
        ("isotropic part 'x' is", "--remove 'x' is"),
        ("a.lat: origin (1, 2, 3): far", "a.lat: --origin (1, 2, 3): far"),
    ],
)
def test_arguments_become_options(message: str, shown: str) -> None:
    assert with_options(message, OPTIONS) == shown


def test_parts_of_a_file_are_no_arguments() -> None:
    message = "a.npz: q_vectors claims 9 values; give n_points"
    assert with_options(message, OPTIONS, of_file=True) == message
    shown = with_options("a.lat: origin (1, 2, 3): far", OPTIONS, of_file=True)
    assert shown == "a.lat: --origin (1, 2, 3): far"
