"""Progress and messages: to logging, to a plain function, and to a subclass."""

import logging

import numpy as np
import pytest
import torch

from onephonon import OnePhonon
from onephonon.core.progress import Progress
from onephonon.refine import FitSettings, fit_springs
from structures import DATA

STRUCTURE = DATA / "5zck.pdb"
RANGE = ((-2, 2, 3), (-6, 6, 1), (-6, 6, 1))
QUICK = FitSettings(voxels="all", d_min=2.3, levels=("global", "interface"), prior=1.0)


class Recorded(Progress):
    """Keeps everything."""

    def __init__(self):
        self.steps, self.messages = [], []

    def step(self, task, done, total, detail=""):
        self.steps.append((task, done, total, detail))

    def message(self, text):
        self.messages.append(text)


def test_by_default_messages_are_logged_as_info_and_steps_as_debug(caplog):
    caplog.set_level("DEBUG", logger="onephonon")
    progress = Progress.of(None)
    progress.step("map", 1, 4)
    progress("map", 2, 4, "half")
    progress.message("continuing 100 % of map.h5")
    assert caplog.record_tuples == [
        ("onephonon", logging.DEBUG, "map: 1 of 4"),
        ("onephonon", logging.DEBUG, "map: 2 of 4, half"),
        ("onephonon", logging.INFO, "continuing 100 % of map.h5"),
    ]


def test_a_function_receives_the_steps_and_messages_are_logged(caplog):
    caplog.set_level("INFO", logger="onephonon")
    steps = []
    progress = Progress.of(lambda *step: steps.append(step))
    progress.step("map", 1, 4, "a detail")
    progress.message("a decision")
    assert steps == [("map", 1, 4)]
    assert caplog.messages == ["a decision"]


def test_a_progress_is_used_as_it_is():
    progress = Recorded()
    assert Progress.of(progress) is progress
    progress("map", 1, 4)
    assert progress.steps == [("map", 1, 4, "")]


@pytest.fixture(scope="module")
def model():
    return OnePhonon(STRUCTURE, *RANGE)


def test_a_model_logs_its_steps_without_an_argument(caplog):
    caplog.set_level("DEBUG", logger="onephonon")
    with torch.no_grad():
        OnePhonon(STRUCTURE, *RANGE)()
    assert any(message.startswith("zone mesh: ") for message in caplog.messages)


def test_writing_a_map_reports_the_work_and_the_steps(tmp_path):
    progress = Recorded()
    OnePhonon(STRUCTURE, *RANGE, engine="mesh").write_map(tmp_path / "map.h5", progress=progress)
    assert progress.messages[0].startswith("map: 13 x 13 x 13 = ")
    tasks = [step for step in progress.steps if step[0] == "map"]
    assert tasks[-1][1] == tasks[-1][2] == len(tasks)


def test_a_fit_reports_decisions_levels_and_optimizer_steps(model):
    rng = np.random.default_rng(0)
    data = model.to_map(use_data_adp=True)
    noise = 0.03 * float(np.nanmean(data.intensity))
    data = data.changed(
        "noise", {"intensity": data.intensity + rng.normal(0, noise, data.intensity.shape)}
    )
    progress, levels = Recorded(), []
    fit = fit_springs(
        model, data, QUICK, progress=progress, on_level=lambda fitted: levels.append(fitted)
    )
    assert [fitted.level.name for fitted in levels] == ["global", "interface"]
    assert tuple(levels) == fit.series.levels
    # Everything that the fit records was reported; so was a line for each level.
    assert set(fit.messages) <= set(progress.messages)
    for fitted in levels:
        assert any(
            message.startswith(f"{fitted.level.description}: chi-square ")
            for message in progress.messages
        )
    steps = [step for step in progress.steps if step[0] == "interface, prior 1"]
    assert [done for _, done, _, _ in steps[:2]] == [1, 2]
    assert steps[0][2] == QUICK.max_steps
    assert steps[0][3].startswith("objective ")
    assert "largest change" in steps[0][3]
    assert steps[-1][1] == steps[-1][2]
    assert steps[-1][3] == levels[1].minimum.reason
