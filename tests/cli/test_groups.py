"""Groups of options: what a command is given of them, and what Typer is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from onephonon.cli.groups import OptionGroup, expand_options


@dataclass(frozen=True)
class Size(OptionGroup):
    panel: ClassVar[str] = "How large"

    width: Annotated[float, typer.Option(help="Width, in Å.")] = 2.0
    corner: Annotated[tuple[int, int] | None, typer.Option(help="A corner.")] = None
    deep: Annotated[bool, typer.Option("--deep", help="Deep.")] = False


@dataclass(frozen=True)
class Labels(OptionGroup):
    panel: ClassVar[str] = "What it is called"

    owner: Annotated[str, typer.Option(help="Whose it is.")]
    names: Annotated[tuple[str, ...], typer.Option("--name", help="A name; may be repeated.")] = ()
    file: Annotated[Path | None, typer.Option(help="Where it is written.")] = None


@dataclass(frozen=True)
class WideSize(Size):
    panel: ClassVar[str] = "How wide"

    width: Annotated[float, typer.Option(help="Another width, in Å.")] = 9.0


def run(command: Any, *arguments: str) -> Any:
    app = typer.Typer(rich_markup_mode="rich")
    app.command()(expand_options(command))
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100"})


def values(*arguments: str) -> tuple[Any, ...]:
    """What a command of two groups is given for arguments."""
    given: list[Any] = []

    def command(
        place: Annotated[Path, typer.Argument()], size: Size, labels: Labels, plain: int = 4
    ) -> None:
        given.extend((place, size, labels, plain))

    result = run(command, *arguments)
    assert result.exit_code == 0, result.output
    return tuple(given)


def test_defaults_make_groups() -> None:
    assert values("here", "--owner", "me") == (Path("here"), Size(), Labels("me"), 4)


def test_values_reach_their_groups() -> None:
    found = values(
        *("--width", "3", "--corner", "1", "2", "--deep", "--owner", "you", "--name", "a"),
        *("there", "--name", "b", "--file", "x.h5", "--plain", "5"),
    )
    size = Size(3.0, (1, 2), deep=True)
    assert found == (Path("there"), size, Labels("you", ("a", "b"), Path("x.h5")), 5)


def test_an_option_without_default_is_required() -> None:
    def command(labels: Labels) -> None:
        raise AssertionError(labels)

    result = run(command)
    assert result.exit_code == 2
    assert "--owner" in result.output


def test_help_has_a_panel_for_each_group() -> None:
    def command(size: Size, labels: Labels) -> None:
        raise AssertionError((size, labels))

    shown = run(command, "--help").output
    first, second = shown.index("─ How large ─"), shown.index("─ What it is called ─")
    assert first < shown.index("--width") < second < shown.index("--owner")


def test_a_derived_group_has_its_own_default_and_help_and_leaves_the_other_alone() -> None:
    given: list[Any] = []

    def wide(size: WideSize) -> None:
        given.append(size)

    def plain(size: Size) -> None:
        given.append(size)

    run(wide)
    run(plain)
    assert given == [WideSize(9.0), Size(2.0)]
    assert "Another width" in run(wide, "--help").output
    assert "How wide" in run(wide, "--help").output
    assert "Another width" not in run(plain, "--help").output
    assert "How large" in run(plain, "--help").output


def test_a_name_of_two_groups_is_an_error() -> None:
    def command(size: Size, other: WideSize) -> None:
        raise AssertionError((size, other))

    with pytest.raises(TypeError, match="command: 'width' is declared by Size and by WideSize"):
        expand_options(command)


def test_a_name_of_a_group_and_the_command_is_an_error() -> None:
    def command(width: int, size: Size) -> None:
        raise AssertionError((width, size))

    with pytest.raises(TypeError, match="'width' is declared by the command and by Size"):
        expand_options(command)


def test_a_field_that_is_no_option_is_an_error() -> None:
    @dataclass(frozen=True)
    class Bare(OptionGroup):
        panel: ClassVar[str] = "Bare"

        width: float = 1.0

    def command(bare: Bare) -> None:
        raise AssertionError(bare)

    command.__annotations__["bare"] = Bare
    with pytest.raises(TypeError, match=r"Bare\.width is not an option"):
        expand_options(command)
