"""Text of files is data: for terminals, spreadsheets and formats of words."""

from __future__ import annotations

import pytest

from onephonon.core.text import csv_cell, from_csv_cell, one_line, printable, word


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Å² −1\n\tnext", "plain Å² −1\n\tnext"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x9b31m \x07bell \x00 \x7f", "31m bell  "),
        ("right\rwrong", "rightwrong"),
        ("user\u202egnp.exe\u2066", "usergnp.exe"),
        ("two\u2028lines\ufeff", "twolines"),
    ],
)
def test_control_characters_are_left_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_one_line_is_one() -> None:
    assert one_line("a\r\nb \n\n c\x1b]0;title\x07") == "a b c]0;title"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-a,y", "'-a,y"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("-5", "-5"),  # a residue number
        ("+1e3", "+1e3"),
        ("-x+1/2,-y,z+1/2", "-x+1/2,-y,z+1/2"),
        ("-1 0 0", "-1 0 0"),
        ("-inf", "-inf"),
        ("-1+cmd()", "'-1+cmd()"),
        ("A/ALA 1/CA", "A/ALA 1/CA"),
        ("", ""),
        (-5.0, -5.0),
        (None, None),
        ("'", "'"),
        ("'=a", "''=a"),
    ],
)
def test_cells_that_are_no_formulas(value: object, cell: object) -> None:
    assert csv_cell(value) == cell
    if isinstance(cell, str):
        assert from_csv_cell(cell) == value


@pytest.mark.parametrize(
    ("text", "one"), [("C 1", "C_1"), ("[exec rm]", "_exec_rm_"), ("", "_"), ("O5'", "O5'")]
)
def test_words(text: str, one: str) -> None:
    assert word(text) == one
