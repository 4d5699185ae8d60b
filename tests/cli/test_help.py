"""What --help shows, and how soon."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from functools import cache
from typing import Any, get_type_hints

import pytest
import typer

from commands import run_command
from onephonon.cli import app
from onephonon.cli.app import FORMER_SPELLINGS
from onephonon.cli.groups import OptionGroup

GROUP = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands  # type: ignore[attr-defined]


@cache
def shown(*arguments: str, width: int = 100) -> str:
    return run_command(*arguments, COLUMNS=str(width), TERM="dumb")


def test_all_commands_are_listed() -> None:
    listed = re.findall(r"^│ (\w+)  +\w", shown("--help").partition("Commands")[2], re.MULTILINE)
    assert listed == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_panel_for_every_group(command: str) -> None:
    found = shown(command, "--help")
    hints = get_type_hints(inspect.unwrap(COMMANDS[command].callback))
    groups = [h for h in hints.values() if isinstance(h, type) and issubclass(h, OptionGroup)]
    assert groups
    for group in groups:
        assert f"╭─ {group.panel} ─" in found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_sentence_of_help(command: str) -> None:
    found = shown(command, "--help")
    for parameter in COMMANDS[command].params:
        assert parameter.help, parameter.name
        assert re.match(r"[A-Zq.]", parameter.help), parameter.help
        assert parameter.help.endswith("."), parameter.help
        for option in parameter.opts:
            if option.startswith("--"):
                assert f"{option} " in found, option


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_is_spelled_twice(command: str) -> None:
    options = [option for parameter in COMMANDS[command].params for option in parameter.opts]
    assert len(options) == len(set(options))


@pytest.mark.parametrize("command", COMMANDS)
def test_former_spellings_are_not_shown(command: str) -> None:
    found = shown(command, "--help")
    for former in FORMER_SPELLINGS:
        assert not re.search(rf"--{former}\b", found)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_short_h_shows_help_too(command: str) -> None:
    assert shown(command, "-h") == shown(command, "--help")


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(command: str, width: int) -> None:
    lines = shown(command, "--help", width=width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert not [line for line in lines if "…" in line]
    # Text is not squeezed into a narrow column: panels leave it half of the terminal.
    for line in lines:
        if match := re.match(r"│ (?:\*  |   )?(-.*?)  +(<\w+>|[A-Z|a-zαβγ ]+?)  +(?=\S)", line):
            assert match.end() < 0.6 * width, line


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_are_commands(command: str) -> None:
    text = re.sub(r"\[/?(bold)?\]", "", COMMANDS[command].epilog)
    heading, *examples = text.split("\n\n")
    assert heading == ("Example:" if len(examples) == 1 else "Examples:")
    assert examples
    for example in examples:
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("onephonon", command)
        top = GROUP.make_context("onephonon", [], resilient_parsing=True)
        COMMANDS[name].make_context(name, arguments, parent=top)  # a usage error is raised
        assert example in " ".join(shown(command, "--help").split())


def test_help_waits_for_no_large_library() -> None:
    code = (
        "import sys; sys.argv = ['onephonon', '--help']; from onephonon.cli import app\n"
        "app(standalone_mode=False)\n"
        "print(*{'torch', 'numpy', 'scipy', 'h5py', 'matplotlib', 'gemmi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
