"""``--disorder``, and comparisons of the folder of a fit."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from commands import run_command
from fits import starting_model
from onephonon import DiffuseMap, MapGrid, OnePhonon, OnePhononError, read_map, write_map
from onephonon.cli import app
from onephonon.crystal.reindexing import parse_reindexing
from onephonon.maps.symmetrizing import symmetrize
from structures import DATA

STRUCTURE = DATA / "5zck.pdb"
SUM = "lattice+liquid:scope=asu,gamma=4"
AXES = ((-1, 1, 2), (-2, 2, 2), (-3, 3, 2))
RANGES = [
    word for name, axis in zip("hkl", AXES, strict=True) for word in (f"--{name}", *map(str, axis))
]


def refusal(line):
    """What a command line is told."""
    result = CliRunner().invoke(app, shlex.split(line))
    assert isinstance(result.exception, OnePhononError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A map of a sum, and what the command said."""
    path = tmp_path_factory.mktemp("simulated") / "map.h5"
    said = run_command("simulate", STRUCTURE, *RANGES, "--disorder", SUM, "-o", path)
    return path, said


def test_simulate_says_how_the_B_factors_are_divided(simulated):
    path, said = simulated
    line = re.search(r"disorder: of the file's mean B of (.*) Å\^2: (.*)", said)
    B = float(OnePhonon(STRUCTURE, *AXES).crystal.B.mean())
    assert line[1] == f"{B:.3g}"
    assert line[2] == f"lattice {B / 2:.3g}, liquid {B / 2:.3g}, left 0"
    assert "disorder: 24 atoms of 28 would move more" in said
    found = read_map(path)
    assert found.parameters["disorder"] == SUM
    model = OnePhonon(STRUCTURE, *AXES, disorder=SUM)
    with torch.no_grad():
        wanted = model().numpy()
    np.testing.assert_array_equal(found.intensity.reshape(-1), wanted)


def test_simulate_of_several_orders_says_what_is_left_out(tmp_path):
    command = ["simulate", STRUCTURE, *RANGES, "--d-min", 6, "-o", tmp_path / "map.npz"]
    said = run_command(*command, "--disorder", "rigid:share=0.5+atoms", "--orders", "all")
    assert "orders: all of each component; products of two components" in said
    assert "displacements: mean over" not in said  # there is no lattice


def test_compare_computes_the_sum(simulated, tmp_path):
    out = tmp_path / "model.npz"
    command = ["compare", STRUCTURE, simulated[0], "--average", 0, "-o", out]
    said = run_command(*command, "--disorder", SUM)
    assert "disorder: of the file's mean B of" in said
    assert "scale of the model: 1 for intensities" in " ".join(said.split())
    found = read_map(out)
    np.testing.assert_allclose(
        found.intensity, read_map(simulated[0]).intensity, rtol=1e-9, equal_nan=True
    )
    assert found.parameters["disorder"] == SUM
    # Another sum has other intensities.
    said = run_command(*command, "--disorder", "rigid", "--force")
    assert "scale of the model: 1 for" not in " ".join(said.split())


def test_modes_are_those_of_the_lattices_share(tmp_path):
    speeds = {}
    for share in ("", ":share=0.25"):
        folder = tmp_path / f"modes{len(share)}"
        command = ["modes", STRUCTURE, "--temperature", 295, "-o", folder, "--points", 20]
        run_command(*command, *(["--disorder", f"lattice{share}"] if share else []))
        table = np.genfromtxt(folder / "sound_speeds.csv", delimiter=",", names=True, dtype=None)
        speeds[share] = np.array([table[name] for name in table.dtype.names[1:]], dtype=float)
    # A quarter of the mean square is four times the stiffness, twice the speed; tables have six
    # digits.
    known = np.isfinite(speeds[""]) & (speeds[""] > 100)
    assert known.sum() >= 3
    np.testing.assert_allclose(speeds[":share=0.25"][known], 2 * speeds[""][known], rtol=1e-5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("simulate S R -o o.npz --disorder liquidd", "--disorder component 'liquidd' does not"),
        ("simulate S R -o o.npz --disorder liquid", "--disorder component 'liquid' lacks gamma"),
        (
            "simulate S R -o o.npz --disorder segments",
            "--disorder 'segments' is determined by data",
        ),
        ("simulate S R -o o.npz --disorder rigid --rank 2", "--rank: only for the lattice alone"),
        ("simulate S R -o o.npz --disorder rigid --softest 2", "--softest: only for the lattice"),
        ("simulate S R -o o.h5 --disorder rigid --unique", "--unique: only for the lattice alone"),
        ("simulate S R -o o.npz --disorder rigid --mesh 2 2 2", "--mesh: of the lattice, which"),
        ("simulate S R -o o.npz --disorder rigid --gamma-inter 2", "which --disorder rigid lacks"),
        ("compare S M --disorder rigid --temperature 100", "--temperature: of the lattice"),
        ("compare M M --disorder rigid", "--disorder: only for a structure as MODEL"),
        ("modes S --disorder rigid", "--disorder 'rigid' has no lattice"),
    ],
)
def test_what_would_be_ignored_is_refused(simulated, line, message):
    words = {"S": str(STRUCTURE), "M": str(simulated[0]), "R": " ".join(RANGES)}
    line = " ".join(words.get(word, word) for word in line.split())
    assert message in refusal(line)


@pytest.fixture
def fit(tmp_path):
    """The folder of a fit, as its maps and numbers are: one voxel in eight was left out of it."""
    folder = tmp_path / "fit"
    folder.mkdir()
    axes = ((-2, 2, 3), (-6, 6, 3), (-6, 6, 3))
    model = starting_model(STRUCTURE, hsampling=axes[0], ksampling=axes[1], lsampling=axes[2])
    with torch.no_grad():
        whole = model.to_map(use_data_adp=True)
    rng = np.random.default_rng(0)
    # With all equivalent voxels, as fits do: those of any signs of h, k, l.
    fold = [np.abs(np.arange(n) - n // 2) for n in whole.intensity.shape]
    drawn = rng.random(whole.intensity.shape)[np.ix_(*fold)]
    left_out = drawn < 0.125
    predicted = np.where(left_out, whole.intensity * (0.5 + 8 * drawn), np.nan)
    write_map(whole, folder / "model.h5")
    write_map(whole.changed("predictions", {"intensity": predicted}), folder / "held_out.h5")
    (folder / "fit.json").write_text("{}")
    return folder, whole, int(np.isfinite(predicted).sum())


def compared(folder, data, *options):
    file = folder.parent / "c.json"
    said = run_command("compare", folder, data, "--json", file, "--force", *options)
    return json.loads(file.read_text()), said


def test_compare_of_a_fit_has_two_parts(fit, tmp_path):
    folder, whole, n_left_out = fit
    data = tmp_path / "data.h5"
    write_map(whole.changed("scale", {"intensity": 3 * whole.intensity}), data)
    found, said = compared(folder, data)
    # The words stand above the tables, which may be wrapped.
    words = " ".join(said.split())
    assert words.index("fitted model (") < words.index("voxels left out of the fit (held_out.h5)")
    assert found["scale"] == pytest.approx(3, rel=1e-12)
    assert found["overall"]["cc"] == pytest.approx(1, abs=1e-12)
    assert found["held_out"]["overall"]["n"] == n_left_out
    assert 0.5 < found["held_out"]["overall"]["cc"] < 0.99
    (folder / "held_out.h5").unlink()
    found, said = compared(folder, data)
    assert "held_out" not in found
    assert "left out of the fit" not in said


def test_the_sum_with_the_background_is_compared(fit, tmp_path):
    folder, whole, _ = fit
    write_map(
        whole.changed("with background", {"intensity": whole.intensity + 7}), folder / "total.h5"
    )
    write_map(whole, tmp_path / "data.h5")
    found, said = compared(folder, tmp_path / "data.h5")
    assert "total.h5" in "".join(said.split())
    assert found["scale"] < 0.999
    assert found["overall"]["cc"] == pytest.approx(1, abs=1e-12)


def test_another_crystal_may_be_indexed_otherwise(tmp_path):
    """P 2_1 with beta such that c and c + a are equally long: two ways to index."""
    folder = tmp_path / "fit"
    folder.mkdir()
    cell, n = (8.0, 9.0, 8.0, 90.0, 105.0, 90.0), 13
    rng = np.random.default_rng(1)
    axes = ((-3, 3, 2), (-3, 3, 2), (-3, 3, 2))
    grid = MapGrid.from_sampling(*axes)
    values = rng.uniform(1, 2, (n, n, n))
    made = DiffuseMap.on_grid(values, grid, cell, spacegroup="P 1 21 1")
    whole = symmetrize(made).map
    operator = parse_reindexing("l,-k,h", cell)
    turned = np.swapaxes(whole.intensity, 0, 2)[:, ::-1]
    write_map(whole, folder / "model.h5")
    write_map(whole, folder / "held_out.h5")
    (folder / "fit.json").write_text("{}")
    write_map(whole.changed("turned", {"intensity": 2 * turned}), tmp_path / "data.h5")
    found, said = compared(folder, tmp_path / "data.h5")
    assert found["indexing"]["used"] == operator.name
    assert found["scale"] == pytest.approx(2, rel=1e-12)
    assert found["held_out"]["indexing"]["used"] == operator.name
    assert found["held_out"]["overall"]["cc"] == pytest.approx(1, abs=1e-12)
    assert "as of the fitted model" in " ".join(said.split())


def test_folders_that_are_no_fit_and_overwritten_maps_are_refused(fit, tmp_path):
    folder, whole, _ = fit
    data = tmp_path / "data.h5"
    write_map(whole, data)
    assert "would be overwritten" in refusal(
        f"compare {folder} {data} -o {folder}/model.h5 --force"
    )
    assert "is the folder of a fit; leave it out" in refusal(f"compare {folder} {data} --waters")
    assert "is a folder; name a file" in refusal(f"compare {data} {folder}")
    (folder / "model.h5").unlink()
    assert "is a folder without a fit" in refusal(f"compare {folder} {data}")
    (folder / "state.json").write_text("{}")
    assert "a fit that is not complete; repeat" in refusal(f"compare {folder} {data}")
    shutil.rmtree(folder)
    assert str(folder) in refusal(f"compare {folder} {data}")
