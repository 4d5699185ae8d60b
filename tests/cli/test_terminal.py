"""What commands show while they work: bars on a terminal, else lines; nothing when quiet."""

import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from commands import run_command
from onephonon.cli.terminal import (
    LINE_INTERVAL,
    LineProgress,
    TimeLeft,
    duration,
    progress,
    progress_bars,
)
from structures import DATA


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_a_terminal_shows_bars_and_keeps_only_messages():
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, legacy_windows=False)
    with progress_bars(console) as bars:
        bars.step("map", 1, 4)
        bars.step("interface, prior 10", 7, 200, "objective 1.2 per voxel")
        bars.bars.refresh()
        shown = output.getvalue()
        bars.message("wrote [bold] a/very/" + "long/" * 30 + "path")
        bars.step("map", 4, 4)
        bars.step("interface, prior 10", 7, 7)
        assert not bars.tasks
        assert not bars.bars.tasks
    assert "map" in shown
    assert "1/4" in shown
    assert "7/200" in shown
    assert "objective 1.2 per voxel" in shown
    # Markup in a message is text, and a long line is not broken.
    assert "wrote [bold] a/very/" + "long/" * 30 + "path\n" in output.getvalue()


SCRIPT = """
from onephonon.cli.terminal import progress
with progress({quiet}) as shown:
    shown.step("map", 1, 4)
    shown.message("a decision")
    shown.step("map", 4, 4)
"""


def run_on_a_terminal(quiet):
    """Standard output and what the terminal on standard error receives."""
    controller, terminal = pty.openpty()
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(quiet=quiet)],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        check=True,
        timeout=60,
    )
    # Without an end marker a read of nothing would block.
    os.write(terminal, b"END")
    os.close(terminal)
    received = b""
    while not received.endswith(b"END"):
        received += os.read(controller, 4096)
    os.close(controller)
    return result.stdout.decode(), received.decode().removesuffix("END")


def test_on_a_real_terminal_everything_is_on_standard_error():
    out, err = run_on_a_terminal(quiet=False)
    assert out == ""
    assert "map" in err
    assert "1/4" in err
    assert "a decision\r\n" in err


def test_on_a_real_terminal_quiet_shows_nothing():
    assert run_on_a_terminal(quiet=True) == ("", "")


def test_elsewhere_messages_are_lines_on_standard_error(capsys):
    with progress(quiet=False) as shown:
        shown.step("map", 1, 4)
        shown.message("a decision")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a decision\n")


def test_elsewhere_steps_are_occasional_lines_with_the_time_left():
    lines, clock = [], Clock()
    shown = LineProgress(lines.append, clock)
    for done in range(101):
        shown.step("map", done, 100)
        clock.seconds += 4.0
    # The first at 32 s, when 92 steps of 4 s are left.
    assert lines[0] == "map: 8 of 100, 6 min left"
    assert len(lines) == int(100 * 4.0 / (LINE_INTERVAL + 2.0))
    clock.seconds += LINE_INTERVAL
    shown.step("interface", 7, 200, "objective 1.2 per voxel")
    assert lines[-1] == "interface: 7 of at most 200, objective 1.2 per voxel"


def test_quiet_shows_nothing(capsys):
    with progress(quiet=True) as shown:
        shown.step("map", 1, 4)
        shown.message("a decision")
    assert capsys.readouterr() == ("", "")


def test_time_left_begins_again_with_the_task():
    clock = Clock()
    left = TimeLeft(clock)
    assert left("map", 0, 10) == ""
    clock.seconds = 10.0
    assert left("map", 1, 10) == "2 min left"
    assert left("map", 10, 10) == ""
    clock.seconds = 1000.0
    assert left("map", 1, 10) == ""
    clock.seconds = 1001.0
    assert left("map", 2, 10) == "8 s left"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89.0, "89 s"), (90.0, "2 min"), (7200.0, "2 h")]
)
def test_durations_are_in_a_unit_that_suits(seconds, text):
    assert duration(seconds) == text


def test_a_command_says_what_it_computes_unless_quiet(tmp_path):
    arguments = ["--h", -1, 1, 2, "--k", -1, 1, 2, "--l", -1, 1, 2, "--engine", "mesh"]
    loud = run_command("simulate", DATA / "5zck.pdb", *arguments, "-o", tmp_path / "a.h5")
    assert "map: 5 x 5 x 5 = 125 points" in loud
    quiet = run_command(
        "simulate", DATA / "5zck.pdb", *arguments, "-o", tmp_path / "b.h5", "--quiet"
    )
    assert quiet == ""
