"""What commands show while they work: a bar on a terminal, else lines; nothing when quiet."""

import io
import itertools
import os
import pty
import re
import subprocess
import sys

import pytest

from commands import run_command
from onephonon.cli.console import SafeConsole
from onephonon.cli.display import (
    FIRST_LINE,
    LONGEST_INTERVAL,
    LineProgress,
    Task,
    Tasks,
    bar,
    bar_line,
    duration,
    wrapped,
)
from onephonon.cli.terminal import progress, status
from structures import DATA


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_a_terminal_shows_one_bar_and_keeps_only_messages():
    output = io.StringIO()
    console = SafeConsole(file=output, force_terminal=True, width=100, legacy_windows=False)
    with bar(console) as shown:
        shown.step("map", 1, 4)
        shown.step("amplitudes", 7, 200)  # a part of the map
        shown.live.refresh()
        before = output.getvalue()
        shown.message("wrote [bold] a/very/" + "long/" * 30 + "path")
        shown.step("amplitudes", 200, 200)
        shown.step("map", 4, 4)
        assert shown.tasks.current is None
    assert "map  ━━━━" in before
    assert "1/4" in before
    assert "amplitudes" not in before
    # Markup in a message is text, and a long name is not broken.
    assert "wrote [bold]\na/very/" + "long/" * 30 + "path\n" in output.getvalue()


def test_text_is_broken_between_words_only():
    path = "a/very/long/" * 5
    assert wrapped(f"  wrote {path} and more", 20) == f"  wrote\n  {path}\n  and more"
    assert wrapped("one\n\ntwo", 20) == "one\n\ntwo"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_bar_stays_within_one_line(width):
    minimization = Task(
        "interface, prior 1000", 7, 200, "objective 1.234 per voxel, largest change 0.2", 0, 0, 1, 9
    )
    map_task = Task("drawing frames", 12345, 67890, "", 0, 0, 1, 9)
    unknown = Task("drawing " + "a_very_long_name" * 8 + ".png", 0, 0, "", 0, 0, 0, 0)
    assert bar_line(unknown, 10.0, width).endswith("…  10 s so far")
    for task in (minimization, map_task, unknown):
        assert len(bar_line(task, 10.0, width)) <= width
    name = "interface, prior 1000  step 7 of at most 200  10 s so far"
    # A state of which too little would be left is left out.
    assert bar_line(minimization, 10.0, 80) == name
    assert bar_line(minimization, 10.0, 100) == f"{name}  objective 1.234 per voxel, largest chang…"
    assert bar_line(map_task, 10.0, 80).isascii() is False
    assert bar_line(map_task, 10.0, 80, "ascii").isascii()


#: Everything that a command may print while a bar is there.
SCRIPT = """
import time, warnings
from onephonon import cli
from onephonon.cli.terminal import echo, progress, status
warnings.showwarning = cli._show_warning
with status("preparing", {quiet}):
    time.sleep(0.5)
with progress({quiet}) as shown:
    shown.step("map", 1, 4)
    time.sleep(0.5)
    shown.message("a decision")
    warnings.warn("a warning")
    echo("a result")
    time.sleep(0.5)
    shown.step("map", 4, 4)
"""


def run_on_a_terminal(quiet, stdout_too=False, **env):
    """Standard output, and what the terminal on standard error receives."""
    controller, terminal = pty.openpty()
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(quiet=quiet)],
        stdout=terminal if stdout_too else subprocess.PIPE,
        stderr=terminal,
        env={k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        | {"TERM": "xterm", "COLUMNS": "80"}
        | env,
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
    out = "" if stdout_too else result.stdout.decode()
    return out, received.decode().removesuffix("END")


def left_on_screen(received):
    """Lines of a terminal at the end: carriage returns and erased lines carried out."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[[?0-9;]*[A-Za-z]|\r|\n)", received):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part and not part.startswith("\x1b") and part != "\r":
            lines[row] += part
    return [line for line in lines if line]


def test_on_a_real_terminal_messages_warnings_and_results_stand_above_the_bar():
    out, err = run_on_a_terminal(quiet=False)
    assert out == "a result\n"
    assert "preparing  0 s so far" in err
    assert re.search(r"map  ━+─+  1/4", err)
    # The bar is gone at the end, and nothing was printed onto it.
    assert left_on_screen(err) == ["a decision", "onephonon: warning: a warning"]


def test_results_on_the_same_terminal_stand_above_the_bar_too():
    _, both = run_on_a_terminal(quiet=False, stdout_too=True)
    assert left_on_screen(both) == ["a decision", "onephonon: warning: a warning", "a result"]


def test_a_terminal_that_cannot_move_its_cursor_gets_lines_without_colours():
    out, err = run_on_a_terminal(quiet=False, TERM="dumb", COLUMNS="20")
    assert out == "a result\n"
    assert err == "a decision\r\nonephonon: warning:\r\na warning\r\n"


def test_colours_are_left_out_where_they_are_declined():
    assert "\x1b[33m" in run_on_a_terminal(quiet=False)[1]
    assert not re.search(r"\x1b\[\d*m", run_on_a_terminal(quiet=False, NO_COLOR="1")[1])


def test_on_a_real_terminal_quiet_shows_nothing_but_results_and_warnings():
    out, err = run_on_a_terminal(quiet=True)
    assert out == "a result\n"
    assert left_on_screen(err) == ["onephonon: warning: a warning"]


def test_elsewhere_messages_are_lines_on_standard_error(capsys):
    with progress(quiet=False) as shown:
        shown.step("map", 1, 4)
        shown.message("a decision")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a decision\n")


def test_elsewhere_steps_are_lines_at_growing_intervals_with_the_time_left():
    lines, clock = [], Clock()
    shown = LineProgress(lambda line: lines.append((clock(), line)), clock)
    for done in range(101):
        clock.seconds = 4.0 * (done + 1)
        shown.step("map", done, 100)
    # The first line is due at 3 s; the first report comes at 4 s, without an estimate.
    assert lines[0] == (4.0, "map: 0 of 100, 4 s so far")
    # At 12 s two steps of 4 s are done, of 100.
    assert lines[1] == (12.0, "map: 2 of 100, 12 s so far, about 7 min left")
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(lines)]
    # 6 s doubled each time, to a minute, each up to the next step of 4 s.
    assert gaps == [8.0, 12.0, 24.0, 48.0, *[60.0] * len(gaps[4:])]
    assert FIRST_LINE * 2**5 > LONGEST_INTERVAL


def test_elsewhere_a_single_long_step_is_seen_to_go_on():
    lines, clock = [], Clock()
    shown = LineProgress(lines.append, clock)
    shown.step("comparing with a supercell", 0, 0)
    assert not lines
    clock.seconds = 3.0
    shown.tick()
    shown.tick()
    assert lines == ["comparing with a supercell: 3 s so far"]


def test_elsewhere_a_minimization_shows_its_state():
    lines, clock = [], Clock()
    shown = LineProgress(lines.append, clock)
    clock.seconds = 40.0
    shown.step("interface", 7, 200, "objective 1.2 per voxel")
    assert lines == ["interface: 7 of at most 200, objective 1.2 per voxel, 40 s so far"]


def test_elsewhere_a_slow_step_is_watched(monkeypatch, capsys):
    from onephonon.cli import display

    monkeypatch.setattr(display, "FIRST_LINE", 0.05)
    monkeypatch.setattr(display, "TICK", 0.01)
    import time

    with status("reading", quiet=False):
        time.sleep(0.3)
    assert capsys.readouterr().err.startswith("reading: 0 s so far\n")


def test_quiet_shows_nothing(capsys):
    with progress(quiet=True) as shown:
        shown.step("map", 1, 4)
        shown.message("a decision")
    assert capsys.readouterr() == ("", "")


def test_time_left_begins_again_with_the_task():
    clock = Clock()
    tasks = Tasks(clock)
    tasks.step("map", 0, 10)
    assert tasks.current.seconds_left(0.0) is None
    clock.seconds = 10.0
    tasks.step("map", 1, 10)
    # Nine steps of 10 s; 4 s later 4 s less, though no step was reported.
    assert tasks.current.seconds_left(10.0) == 90.0
    assert tasks.current.seconds_left(14.0) == 86.0
    clock.seconds = 1000.0
    tasks.step("map", 0, 10)
    assert tasks.current.seconds_left(1000.0) is None
    clock.seconds = 1001.0
    tasks.step("map", 2, 10)
    assert tasks.current.seconds_left(1001.0) == 4.0
    tasks.step("map", 10, 10)
    assert tasks.current is None


def test_the_first_report_is_enough_if_it_is_on_a_large_part():
    clock = Clock()
    tasks = Tasks(clock)
    clock.seconds = 5.0
    tasks.step("map", 31, 121)
    # 90 steps at 5 s for 31.
    assert tasks.current.seconds_left(5.0) == pytest.approx(90 * 5 / 31)
    tasks.step("map", 121, 121)
    clock.seconds = 8.0
    tasks.step("profile", 1, 100)  # a hundredth, and the preparation
    assert tasks.current.seconds_left(8.0) is None


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
