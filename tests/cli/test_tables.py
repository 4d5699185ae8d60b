"""Tables at any width: nothing is cut off, no row is broken but between words of its name."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from onephonon import DiffuseMap, MapGrid, write_map
from onephonon.cli import app
from onephonon.cli.console import SafeConsole
from onephonon.cli.tables import columns_that_fit, indented, print_table
from structures import DATA


def printed(width: int, *table: object, **how: object) -> list[str]:
    output = io.StringIO()
    print_table(SafeConsole(file=output, width=width), *table, **how)  # type: ignore[arg-type]
    return [line.rstrip() for line in output.getvalue().splitlines()]


HEADINGS = ["spring class", "unique contacts", "per cell", "mean / Å"]
ROWS = [["A/ARG 112 - A/PRO 79 (x+1,y+1,z)", "2", "10", "3.54"], ["within", "4000", "100", "3.1"]]


def test_a_wide_table_is_one_table_with_whole_headings() -> None:
    lines = printed(80, "a title", HEADINGS, ROWS)
    assert lines[0] == "a title"
    assert lines[1].split("  ")[0] == "spring class"
    assert "unique contacts" in lines[1]
    assert lines[3].split() == [*ROWS[0][0].split(), "2", "10", "3.54"]
    assert len(lines) == 5


def test_headings_then_names_are_broken_between_words() -> None:
    lines = printed(40, "", HEADINGS, ROWS)
    assert [line.split() for line in lines] == [
        ["unique", "per", "mean"],
        ["spring", "class", "contacts", "cell", "/", "Å"],
        ["─" * 40],
        ["A/ARG", "112", "-", "A/PRO", "2", "10", "3.54"],
        ["79", "(x+1,y+1,z)"],
        ["within", "4000", "100", "3.1"],
    ]


def test_a_narrow_terminal_gets_parts_of_about_equal_width_each_with_its_names() -> None:
    headings = ["point", "h k l", *map(str, range(6))]
    rows = [["Γ", "0 0 0", *["0.123"] * 6], ["M", "-1 0 1/2", *["0.456"] * 6]]
    lines = printed(48, "", headings, rows, keys=2)
    assert [line.split() for line in lines if line[:1] in "pΓM" and line] == [
        ["point", "h", "k", "l", "0", "1", "2"],
        ["Γ", "0", "0", "0", *["0.123"] * 3],
        ["M", "-1", "0", "1/2", *["0.456"] * 3],
        ["point", "h", "k", "l", "3", "4", "5"],
        ["Γ", "0", "0", "0", *["0.123"] * 3],
        ["M", "-1", "0", "1/2", *["0.456"] * 3],
    ]


words = st.text("abc/-+,1", min_size=1, max_size=9)
names = st.lists(words, min_size=1, max_size=4).map(" ".join)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), width=st.integers(34, 90), text_keys=st.booleans())
def test_at_any_width_every_number_is_there_once_and_whole(
    data: st.DataObject, width: int, text_keys: bool
) -> None:
    n = data.draw(st.integers(1, 7))
    headings = ["name", *(data.draw(names) for _ in range(n))]
    # Numbers that no name contains.
    rows = [
        [data.draw(names if text_keys else words), *(f"{9000 + 10 * i + j}.5" for j in range(n))]
        for i in range(data.draw(st.integers(1, 4)))
    ]
    lines = printed(width, "", headings, rows, text_keys=text_keys)
    assert max(map(len, lines)) <= width
    found = re.findall(r"9\d{3}\.5", "\n".join(lines))
    assert sorted(found) == sorted(cell for row in rows for cell in row[1:])
    assert "…" not in "".join(lines)
    parts = columns_that_fit(headings, rows, width, 1, text_keys)
    assert [i for columns, _ in parts for i in columns[1:]] == list(range(1, n + 1))


def test_remarks_are_indented_and_words_are_whole() -> None:
    path = "/a/very/long/path/" * 3
    lines = list(indented(f"the map is in {path} and is read from there", 40))
    assert lines[0] == "- the map is in"
    assert lines[1] == f"  {path}"
    assert lines[2] == "  and is read from there"


@pytest.fixture(scope="module")
def two_maps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two maps with half-sets and sigma, so that tables have all their columns."""
    folder = tmp_path_factory.mktemp("maps")
    grid = MapGrid((-6, -6, -6), (1, 1, 1), (13, 13, 13))
    rng = np.random.default_rng(0)
    truth = 1000 + rng.normal(size=grid.shape)
    files = folder / "model.h5", folder / "data.h5"
    for path in files:
        halves = tuple(truth + rng.normal(size=grid.shape) for _ in range(2))
        write_map(
            DiffuseMap.on_grid(
                (halves[0] + halves[1]) / 2,
                grid,
                (31.0, 31.0, 40.0, 90.0, 90.0, 90.0),
                spacegroup="P 41",
                sigma=np.ones(grid.shape),
                counts=np.full(grid.shape, 3.0),
                halves=halves,
            ),
            path,
        )
    return files


@pytest.mark.parametrize("width", [60, 80])
def test_every_command_keeps_to_the_width(two_maps: tuple[Path, Path], width: int) -> None:
    spectra = ["--points", 24, "--dos-mesh", 2, 2, 2, "--mesh", 2, 2, 2]
    commands: list[list[object]] = [
        ["info", two_maps[1]],
        ["compare", *two_maps],
        ["contacts", DATA / "2ol9.pdb", "--by", "residue"],
        ["modes", DATA / "5wkd.pdb", "-T", 100, *spectra],
        ["verify", DATA / "2ol9.pdb", "--supercell", 3, 1, 1],
    ]
    for arguments in commands:
        words = [str(argument) for argument in arguments]
        # Standard output: what is on standard error is broken by the terminal.
        output = CliRunner().invoke(app, words, env={"COLUMNS": str(width)}).stdout
        assert len(output.splitlines()) > 5
        for line in output.splitlines():
            # Not "..." but the sign of a cell that was cut off.
            assert "…" not in line, (arguments, output)
            assert len(line.rstrip()) <= width, (arguments, line)
