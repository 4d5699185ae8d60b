"""Whatever happens, the user is told in one line, and the exit code says how it ended."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import onephonon.cli
from foreign_maps import telling_map
from onephonon import InputError, write_map
from onephonon.cli.console import SafeConsole
from onephonon.cli.faults import AT_FAULT, REFUSED, describe
from onephonon.cli.streams import BROKEN_PIPE

CODE = "import sys; from onephonon.cli import main; sys.argv[0] = 'onephonon'; main()"


@pytest.fixture(scope="module")
def a_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map") / "map.npz"
    write_map(telling_map(), path)
    return path


def run(*arguments: object, code: str = CODE, **how: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **how.pop("env", {})}  # type: ignore[dict-item]
    streams: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, text=True, env=env, check=False, **streams)  # type: ignore[call-overload, no-any-return]


def one_line_of(text: str) -> str:
    line, *rest = text.splitlines()
    assert not rest
    return line


def test_an_encoding_without_our_signs(a_map: Path) -> None:
    done = run("info", a_map, env={"PYTHONIOENCODING": "ascii", "COLUMNS": "0"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert " A; " in done.stdout  # the cell, in Å
    assert max(map(len, done.stdout.splitlines())) > 40  # a width of 0 is none


def test_a_full_output(a_map: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = run("info", a_map, "--no-picture", stdout=full)
    assert done.returncode == REFUSED
    said = one_line_of(done.stderr)
    assert said.startswith("onephonon: standard output: No space left on device")


def test_a_closed_output(a_map: Path) -> None:
    again = f"os.execv(sys.executable, [sys.executable, '-c', {CODE!r}, *sys.argv[1:]])"
    closed = f"import os, sys; os.close(1); {again}"
    done = run("info", a_map, "--no-picture", code=closed)
    assert done.returncode == REFUSED
    assert one_line_of(done.stderr).startswith("onephonon: standard output: it is closed")
    quiet = run("info", a_map, "--quiet", code=closed)
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_a_reader_that_goes_away(a_map: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("info", a_map, "--no-picture", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


BROKEN = """
import sys, onephonon.cli
from onephonon.cli.app import app
@app.command()
def broken(how: str): raise {"bug": KeyError("x"), "memory": MemoryError()}[how]
sys.argv[0] = "onephonon"
onephonon.cli.main()
"""


def test_a_fault_of_the_program_says_how_to_report_it() -> None:
    done = run("broken", "bug", code=BROKEN)
    assert done.returncode == AT_FAULT
    said = one_line_of(done.stderr)
    assert "unexpected KeyError in broken" in said
    assert "--traceback" in said
    for shown in (
        run("broken", "bug", "--traceback", code=BROKEN),
        run("broken", "bug", code=BROKEN, env={"ONEPHONON_TRACEBACK": "1"}),
    ):
        assert shown.returncode == AT_FAULT
        assert "Traceback" in shown.stderr
        assert shown.stderr.endswith(done.stderr)


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (InputError("a\x1b[1m\n b"), "a[1m b", REFUSED),
        (MemoryError(), "the memory does not suffice in fit; ask for less", REFUSED),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"),
            "the memory does not suffice in fit (DefaultCPUAllocator",
            REFUSED,
        ),
        (PermissionError(13, "Permission denied", "a\nb.h5"), "a b.h5: Permission denied", REFUSED),
        (OSError(28, "No space left on device"), "a file in fit: No space left", REFUSED),
        (RecursionError("too deep"), "unexpected RecursionError in fit", AT_FAULT),
        (UnicodeDecodeError("utf8", b"\xff", 0, 1, "bad"), "unexpected UnicodeDecode", AT_FAULT),
    ],
)
def test_what_is_said_of_an_exception(error: Exception, message: str, code: int) -> None:
    fault = describe(raised(error), "fit")
    assert fault.message.startswith(message)
    assert fault.code == code


def test_text_of_files_is_not_carried_out_by_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rich.table import Table

    console = SafeConsole(force_terminal=True, width=60)
    table = Table("name", "another wide column", title="[red]\x1b]0;title\x07 :smile:")
    table.add_row("\x1b[2Ja[/b]\rc\u202e")
    console.print(table)
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert "\x1b]" not in shown
    assert "\r" not in shown
    assert "[red]]0;title :smile:" in shown
    assert "[2Ja[/b]c" in shown


def test_commands_print_through_the_terminal_alone() -> None:
    folder = Path(onephonon.cli.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name in ("terminal.py", "console.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("print", "Console", "typer.echo", "typer.secho"), path
