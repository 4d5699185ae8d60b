"""The saved state of a fit: written and read, and what follows from it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fits import peptide
from onephonon import FileError, FitSettings, OnePhonon, fit_springs
from onephonon.refine.minimizations import SavedMinimum
from onephonon.refine.state import FitState, fit_inputs, read_fit_state, write_fit_state
from structures import DATA

QUICK = FitSettings(voxels="all", levels=("global", "interface"), average=0)


@pytest.fixture(scope="module")
def model():
    return OnePhonon(peptide("5zck"), (-1, 1, 3), (-3, 3, 3), (-3, 3, 3))


@pytest.fixture(scope="module")
def data(model):
    rng = np.random.default_rng(0)
    found = model.to_map(use_data_adp=True)
    noise = 0.03 * float(np.nanmean(found.intensity))
    values = found.intensity + rng.normal(0, noise, found.intensity.shape)
    return found.changed("noise", {"intensity": values})


@pytest.fixture(scope="module")
def whole(model, data):
    """A fit that was not interrupted, and all its minimizations."""
    done = []
    return fit_springs(model, data, QUICK, on_minimum=done.append), done


def saved_and_read(done, path):
    write_fit_state(path, FitState({}, tuple(done), False))
    return read_fit_state(path).minimizations


@pytest.mark.parametrize("kept", [1, 3, -1, None])
def test_a_continued_fit_is_the_fit_that_was_not_interrupted(model, data, whole, tmp_path, kept):
    fitted, done = whole
    assert len(done) > 4
    saved = saved_and_read(done[:kept], tmp_path / "state.json")
    again: list[SavedMinimum] = []
    continued = fit_springs(model, data, QUICK, on_minimum=again.append, saved=saved)
    assert len(again) == len(done)
    for one, other in zip(fitted.series.levels, continued.series.levels, strict=True):
        # Exactly: the same operations on the same numbers.
        assert torch.equal(one.x, other.x)
        assert one.minimum.at.objective == other.minimum.at.objective
        assert (one.prior, one.dispersion, one.tried) == (
            other.prior,
            other.dispersion,
            other.tried,
        )
        assert one.minimum.n_steps == other.minimum.n_steps
        assert one.minimum.reason == other.minimum.reason
        assert torch.equal(one.uncertainty.information, other.uncertainty.information)
    assert fitted.messages == continued.messages


def test_results_of_another_level_are_not_used(model, data, whole):
    _, done = whole
    interface_alone = FitSettings(voxels="all", levels=("interface",), average=0)
    again: list[SavedMinimum] = []
    fit_springs(model, data, interface_alone, on_minimum=again.append, saved=done)
    fresh: list[SavedMinimum] = []
    fit_springs(model, data, interface_alone, on_minimum=fresh.append)
    assert [m.x.tolist() for m in again] == [m.x.tolist() for m in fresh]


def test_every_input_of_a_fit_is_known_by_its_content(data, tmp_path):
    structure = tmp_path / "model.pdb"
    structure.write_bytes((DATA / "5zck.pdb").read_bytes())
    before = fit_inputs(structure, data, {"seed": 0})
    assert fit_inputs(structure, data, {"seed": 0}) == before

    def changed(after):
        return [name for name in before if before[name] != after[name]]

    assert changed(fit_inputs(structure, data, {"seed": 1})) == ["seed"]
    other = data.changed("", {"intensity": data.intensity * (1 + 1e-15)})
    assert changed(fit_inputs(structure, other, {"seed": 0})) == ["the data"]
    structure.write_bytes(structure.read_bytes().replace(b"ATOM", b"ATOM", 1) + b"REMARK\n")
    assert changed(fit_inputs(structure, data, {"seed": 0})) == ["the structure"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": "onephonon fit", "version": 2}',
        '{"format": "onephonon fit", "version": 3, "made_with": {}, "complete": false, '
        '"minimizations": [{"level": "global"}]}',
    ],
)
def test_a_damaged_state_is_an_error(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(FileError, match="remove it to start again"):
        read_fit_state(path)


def test_numbers_are_saved_exactly(tmp_path):
    x = torch.tensor([0.1, -1e-300, 1 / 3], dtype=torch.float64)
    one = SavedMinimum("global", 0.1, x, 3, 1e-17, True, "no step", 200)
    (read,) = saved_and_read([one], tmp_path / "state.json")
    assert torch.equal(read.x, x)
    assert (read.largest_change, read.n_steps) == (1e-17, 3)
    assert json.loads((tmp_path / "state.json").read_text())["minimizations"][0]["prior"] == 0.1
