"""`onephonon patterson`."""

import json

import numpy as np
import pytest

from commands import run_command
from onephonon import InputError, OnePhonon, read_map, write_map
from structures import DATA

RANGES = ((-2, 2, 2), (-4, 4, 2), (-4, 4, 2))


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Two maps of 5ZCK, the second from other springs and three times as strong."""
    folder = tmp_path_factory.mktemp("maps")
    data = OnePhonon(DATA / "5zck.pdb", *RANGES).to_map()
    model = OnePhonon(DATA / "5zck.pdb", *RANGES, gamma_inter=0.3).to_map()
    write_map(data, folder / "data.h5")
    write_map(model.changed("stronger", {"intensity": 3.0 * model.intensity}), folder / "model.h5")
    return folder


def test_against_a_model(maps, tmp_path):
    out, numbers = tmp_path / "p.ccp4", tmp_path / "p.json"
    text = run_command(
        *("patterson", maps / "data.h5", "--against", maps / "model.h5", "-o", out),
        *("--json", numbers, "--csv", tmp_path / "p.csv", "--png", tmp_path / "p.png"),
        *("--shell-width", "1.5", "--radius", "4"),
    )
    assert "std. dev." in text
    found = json.loads(numbers.read_text())
    assert 0.2 < found["against"]["factor"] < 0.5  # the model is three times as strong
    assert all(shell["cc"] > 0.9 for shell in found["distances"])
    assert {row["r_max"] for row in found["resolutions"]} == {4.0, None}
    assert out.stat().st_size > 1024
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_a_model_that_is_the_data_leaves_nothing(maps, tmp_path):
    left = tmp_path / "left.nxs"
    run_command(
        *("patterson", maps / "data.h5", "--subtract", maps / "model.h5"),
        *("--difference", left, "-o", tmp_path / "p.npz"),
    )
    data, model = (read_map(maps / f"{name}.h5").intensity for name in ("data", "model"))
    known = np.isfinite(data)
    difference = read_map(left).intensity
    slope = np.polyfit(model[known], (data - difference)[known], 1)[0]
    assert 0.2 < slope < 0.5
    assert np.allclose((data - difference)[known], slope * model[known], rtol=1e-5)


def test_bad_input(maps, tmp_path):
    for more, message in (
        (("-o", tmp_path / "p.txt"), "a Patterson map is written to"),
        (("-o", tmp_path / "p.npz", "--difference", tmp_path / "d.h5"), "--difference: only for"),
        (("-o", tmp_path / "p.npz", "--fill", "guess"), "fill 'guess' is not one of"),
    ):
        with pytest.raises(InputError, match=message):
            run_command("patterson", maps / "data.h5", *more)
    assert not list(tmp_path.iterdir())
