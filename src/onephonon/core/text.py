"""Text for people: of files and their names, made safe for terminals and spreadsheets; numbers.

What a file says is data: a terminal must not carry out its control characters, nor a spreadsheet
its formulas.
"""

from __future__ import annotations

import re
from typing import Any

#: Control characters but line feed and tab; marks that reorder text (Unicode TR 9) or break lines.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)

#: White space, and what Tcl interprets.
_NOT_IN_WORDS = re.compile(r'[\s\[\]{}$;"\\]')

#: First characters by which a spreadsheet takes a cell for a formula.
_FORMULA = re.compile("[=+\\-@\t\r]")

#: Numbers, symmetry operators and lattice vectors: they begin so too, and are no formulas.
_HARMLESS = re.compile(r"[-+\d./*xyz, ]*|[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(inf|nan)", re.I)

#: A cell that is quoted, or looks so.
_QUOTED = re.compile("'+[=+\\-@\t\r]")


def printable(text: str) -> str:
    """Text without control characters and marks that reorder it; line feeds and tabs stay."""
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """Printable text with all white space, line feeds among it, as single spaces."""
    return printable(" ".join(text.split()))


def word(text: str) -> str:
    """Text as one word, for formats of words that programs in Tcl read; never empty.

    White space and the characters that Tcl interprets are underscores.
    """
    return _NOT_IN_WORDS.sub("_", printable(text)) or "_"


def csv_cell(value: Any) -> Any:
    """A value for a CSV file, with an apostrophe before text that would be taken for a formula.

    Numbers, symmetry operators and lattice vectors stay as they are.
    """
    if not isinstance(value, str):
        return value
    if _QUOTED.match(value) or (_FORMULA.match(value) and not _HARMLESS.fullmatch(value)):
        return f"'{value}"
    return value


def from_csv_cell(text: str) -> str:
    """The text that `csv_cell` was given."""
    return text[1:] if _QUOTED.match(text) else text


def counted(n: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 atom``, ``2 atoms``."""
    return f"{n} {one if n == 1 else many or one + 's'}"
