"""Orders on the command line: what is computed, recorded and said."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from onephonon import InputError, OnePhonon, read_map
from onephonon.cli import app
from onephonon.cli.orders import range_of_model, share_text
from onephonon.cli.simulate.options import ModeOptions
from onephonon.scattering import OnePhononShare, OrderError
from onephonon.scattering.multiphonon.higher_orders import SeriesWarning
from onephonon.scattering.multiphonon.settings import Orders
from onephonon.scattering.one_phonon_share import is_quick
from structures import DATA

RANGES = ["--h", "-1", "1", "2", "--k", "-3", "3", "1", "--l", "-6", "6", "1", "--d-min", "2.5"]
SAMPLINGS = ((-1, 1, 2), (-3, 3, 1), (-6, 6, 1))
SHARE = r"one phonon: (\d+) % of the intensity to [\d.]+ Å(, \d+ % at [\d.]+–[\d.]+ Å){3}"


def run(*arguments: object) -> tuple[str, str]:
    """Standard output and error of a command that must succeed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def simulate(path: Path, *options: object) -> str:
    """What is said on standard error."""
    return run("simulate", DATA / "5zck.pdb", *RANGES, "--use-data-adp", "-o", path, *options)[1]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A map of all orders with a coarse mesh, and what was said of it."""
    path = tmp_path_factory.mktemp("maps") / "all.npz"
    return path, simulate(path, "--orders", "all", "--multiphonon-mesh", 3, 3, 3)


def test_a_map_of_all_orders_is_that_of_the_model(every: tuple[Path, str]) -> None:
    found = read_map(every[0])
    mesh = (3, 3, 3)
    model = OnePhonon(
        DATA / "5zck.pdb", *SAMPLINGS, res_limit=2.5, orders="all", multiphonon_mesh=mesh
    )
    with torch.no_grad():
        expected = model(use_data_adp=True).reshape(model.map_shape).numpy()
        first = model(use_data_adp=True, orders=1).reshape(model.map_shape).numpy()
    assert np.array_equal(found.intensity, expected, equal_nan=True)
    assert np.nanmean(first) < 0.97 * np.nanmean(expected)
    assert found.parameters["orders"] == "all"
    assert found.parameters["multiphonon_mesh"] == list(mesh)
    assert 0 < found.parameters["multiphonon_mesh_error"] < 0.1


def test_errors_and_share_are_said(every: tuple[Path, str], tmp_path: Path) -> None:
    said = every[1]
    line = next(line for line in said.splitlines() if line.startswith("orders: "))
    assert re.fullmatch(
        r"orders: all, series of degree \d+; (about|less than) [\d.]+ % left out with high orders, "
        r"about [\d.]+ % from the mesh of the covariances, 3 x 3 x 3; refine it with "
        "--multiphonon-mesh",
        line,
    )
    assert re.search(SHARE, said)
    said = simulate(tmp_path / "three.npz", "--orders", 3)
    assert "orders: 1 to 3, series" in said


def test_of_one_phonon_the_share_is_said_and_what_to_do(tmp_path: Path) -> None:
    said = simulate(tmp_path / "first.npz")
    assert "orders:" not in said
    assert re.search(SHARE, said)
    assert "--orders all" not in said  # it is nearly all of the intensity
    points = tmp_path / "q.txt"
    np.savetxt(points, np.random.default_rng(0).normal(size=(20, 3)) * 4)
    files = [DATA / "5zck.pdb", "--q", points, "-o", tmp_path / "list.npz"]
    assert "; add the rest with --orders all" in run("simulate", *files)[1]


def soft(path: Path, gamma: float, orders: object) -> list[object]:
    """Arguments for a map of 5zck with soft springs."""
    springs = ["--gamma-intra", gamma, "--gamma-inter", gamma, "--thermal-scale", 1]
    mesh = ["--mesh", 3, 3, 3, "--orders", orders]
    return ["simulate", DATA / "5zck.pdb", *RANGES, *springs, *mesh, "-o", path]


def test_of_large_motions_one_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        said = run(*soft(tmp_path / "soft.npz", 0.006, "all"))[1]
    assert [w.category for w in told if "librations" in str(w.message)] == [SeriesWarning]
    line = next(line for line in said.splitlines() if line.startswith("orders: "))
    # A finer mesh is no help where more is left out.
    assert re.search(r"about 10 % left out .* 3 x 3 x 3$", line)


def test_of_motions_too_large_one_error_and_no_map(tmp_path: Path) -> None:
    arguments = [str(a) for a in soft(tmp_path / "soft.npz", 1e-4, "all")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("--orders all: atoms move too far")
    assert "refine it" not in result.stderr
    assert not (tmp_path / "soft.npz").exists()


def test_of_the_first_orders_of_large_motions_no_error_is_known(tmp_path: Path) -> None:
    said = run(*soft(tmp_path / "soft.npz", 1e-6, 3))[1]
    line = next(line for line in said.splitlines() if line.startswith("orders: "))
    assert "an unknown share left out with high orders" in line
    assert "refine it" not in line


def test_nothing_is_said_of_single_modes_or_with_quiet(tmp_path: Path) -> None:
    assert "one phonon" not in simulate(tmp_path / "rank.npz", "--rank", 0)
    assert simulate(tmp_path / "quiet.npz", "--orders", 2, "--quiet") == ""
    assert read_map(tmp_path / "quiet.npz").parameters["orders"] == 2


def test_many_bodies_are_left_alone(tmp_path: Path) -> None:
    atoms = ["--group-by", "atom", "--mesh", 3, 3, 3]
    assert "one phonon" not in simulate(tmp_path / "atoms.npz", *atoms)
    for group_by, quick in (("asu", True), ("residue", True), ("atom", False)):
        model = OnePhonon(DATA / "5zck.pdb", group_by=group_by, mesh=(3, 3, 3))
        assert is_quick(model.lattice) is quick


def test_a_mesh_less_symmetric_than_the_crystal_is_named(tmp_path: Path) -> None:
    cell = "CRYST1   20.000   20.000   20.000  90.00  90.00  90.00 P 4           4"
    text = (DATA / "5zck.pdb").read_text(encoding="ascii")
    structure = tmp_path / "tetragonal.pdb"
    structure.write_text(re.sub("(?m)^CRYST1.*$", cell, text), encoding="ascii")
    ranges = ["--h", 0, 1, 2, "--k", 0, 1, 2, "--l", 0, 1, 2, "--cutoff", 12]
    output = ["-o", tmp_path / "m.npz", "--orders", 2, "--multiphonon-mesh", 2, 3, 2]
    arguments = ["simulate", structure, *ranges, *output]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("--multiphonon-mesh (2, 3, 2) is less symmetric")
    assert "give --multiphonon-mesh (3, 3, 2)" in str(result.exception)


def test_compare_sums_the_orders_and_records_them(every: tuple[Path, str], tmp_path: Path) -> None:
    data, output = every[0], tmp_path / "model.npz"
    how = ["--use-data-adp", "--average", 0, "--remove-shells", 2]
    coarse = ["--orders", "all", "--multiphonon-mesh", 3, 3, 3]
    said = run("compare", DATA / "5zck.pdb", data, *how, *coarse, "-o", output)[1]
    assert "orders: all" in said
    assert re.search(SHARE, said)
    ours, theirs = read_map(output), read_map(data)
    assert ours.parameters["orders"] == "all"
    assert ours.parameters["multiphonon_mesh"] == [3, 3, 3]
    assert ours.parameters["multiphonon_mesh_error"] > 0
    good = np.isfinite(ours.intensity) & np.isfinite(theirs.intensity)
    assert good.sum() > 150
    rms = np.sqrt(np.mean(theirs.intensity[good] ** 2))
    # Both truncated to the default rtol of 1e-6, at slightly different ends of the range.
    assert np.abs(ours.intensity - theirs.intensity)[good].max() < 3e-6 * rms
    run("compare", DATA / "5zck.pdb", data, *how, "-o", output, "--force")
    one = read_map(output)
    assert one.parameters["orders"] == 1
    assert np.nanmean(one.intensity[good]) < 0.97 * np.nanmean(theirs.intensity[good])


# words


def test_shares_are_rounded() -> None:
    share = OnePhononShare(
        ((float("inf"), 5.123), (12.34, 3.2), (2.1, 2.0), (1.0, 0.954)),
        (0.9689, 0.88, 0.431, 0.999),
    )
    assert share_text(share) == (
        "97 % of the intensity to 5.1 Å, 88 % at 12.3–3.2 Å, 43 % at 2.1–2.0 Å, 100 % at 1.0–0.95 Å"
    )


def test_errors_are_rounded() -> None:
    assert str(OrderError(3.2e-9, 0.0173, 64, 0, 7)) == (
        "less than 0.001 % left out with high orders, about 2 % from the mesh of the covariances"
    )
    assert str(OrderError(0.00042, 0.14, 64, 3, 7)) == (
        "about 0.04 % left out with high orders and 3 of 64 pairs of bodies, about 10 % from the "
        "mesh of the covariances"
    )


def test_the_range_is_that_of_valid_points() -> None:
    model = OnePhonon(DATA / "5zck.pdb", *SAMPLINGS, res_limit=3.5)
    assert range_of_model(model) == (pytest.approx(3.5, rel=1e-5), float("inf"))
    model.res_limit = 2.5
    q = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 9.0]], dtype=torch.float64)
    model.set_q(q)
    expected = (np.pi, 2 * np.pi)
    assert range_of_model(model) == pytest.approx(expected)  # the last is beyond 2.5 Å


@pytest.mark.parametrize(
    ("modes", "orders", "refused"),
    [((-1, None), None, False), ((0, None), 1, False), ((0, None), 2, True), ((-1, 3), None, True)],
)
def test_modes_are_selected_of_one_phonon_only(
    modes: tuple[int, int | None], orders: int | None, refused: bool
) -> None:
    options = ModeOptions(*modes)
    if not refused:
        options.check_orders(Orders(orders))
        return
    with pytest.raises(InputError, match="of one phonon only"):
        options.check_orders(Orders(orders))


# fits


class ReachedError(Exception):
    """The fit would begin."""


@pytest.fixture
def begins(monkeypatch: pytest.MonkeyPatch) -> list[OnePhonon]:
    """Models of fits that end before they begin."""
    models: list[OnePhonon] = []

    def fit_springs(model: OnePhonon, *_: object, **__: object) -> None:
        models.append(model)
        raise ReachedError

    monkeypatch.setattr("onephonon.refine.fit.fit_springs", fit_springs)
    return models


def fit(folder: Path, data: Path, *options: object) -> str:
    """What a fit says before it begins."""
    arguments = ["fit", DATA / "5zck.pdb", data, "-o", folder, "--voxels", "all", *options]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert isinstance(result.exception, ReachedError), result.output
    return result.stderr


def test_a_fit_says_how_much_one_phonon_is(
    every: tuple[Path, str],
    begins: list[OnePhonon],
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
) -> None:
    said = fit(tmp_path / "fit", every[0])
    assert re.search(SHARE, said)
    assert "orders:" not in said
    assert begins[0].orders == 1
    assert not [w for w in recwarn if "one phonon" in str(w.message)]  # it is nearly all


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_fit_of_little_of_the_intensity_warns(
    every: tuple[Path, str],
    begins: list[OnePhonon],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quiet: list[str],
) -> None:
    for module in ("orders", "fit.command"):
        monkeypatch.setattr(f"onephonon.cli.{module}.TOO_SMALL", 0.95)
    with pytest.warns(UserWarning, match=r"one phonon, which is \d+ % of .*add --orders all"):
        said = fit(tmp_path / "fit", every[0], *quiet)
    assert len(begins) == 1
    assert ("one phonon: " in said) is (not quiet)


def test_a_fit_has_the_orders_that_are_asked_for(
    every: tuple[Path, str], begins: list[OnePhonon], tmp_path: Path
) -> None:
    coarse = ["--orders", 2, "--multiphonon-mesh", 3, 3, 3]
    said = fit(tmp_path / "fit", every[0], *coarse)
    assert "orders: 1 to 2, series" in said
    assert (begins[0].orders, begins[0].multiphonon_mesh) == (2, (3, 3, 3))
