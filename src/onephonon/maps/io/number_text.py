"""Tables of numbers as text, from any program: encodings, comments, separators, exponents.

Numbers are separated by blanks or by commas, not both: a decimal comma is an error, not a second
column. Fortran's exponents (1.5D+02) are numbers, its ``****`` are not. Comments are lines that
begin with #, !, % or //, and whatever follows a #. A first line of words names the columns.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from onephonon.core.errors import FileError

#: Encodings by the bytes that mark them; UTF-32 before UTF-16, whose mark begins the same way.
MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}

#: Bytes from which an encoding is told.
BEGINNING = 4096

#: First characters of a line of comment.
COMMENTS = ("#", "!", "%", "//")

_PLAIN = re.compile(r"[\s0-9.eE+-]*")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.I)
_FORTRAN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))[dD]([+-]?\d+)")
_WORD = re.compile(r"[A-Za-z_][\w()/^+-]*")


@dataclass(frozen=True)
class NumberTable:
    """Rows of numbers of a text, with what stands beside them.

    Parameters
    ----------
    values : ndarray, shape (N, width), float64
    comments : tuple of str
        Without their signs.
    heading : tuple of str
        Names of the columns in a first line without a comment sign; empty if there is none.
    """

    values: NDArray[np.float64]
    comments: tuple[str, ...]
    heading: tuple[str, ...]


def open_text(path: Path) -> TextIO:
    """Open a text in the encoding that its beginning shows; UTF-8 if it shows none.

    Bytes that are not UTF-8, as in older files with comments in Latin-1, are kept as they are.

    Raises
    ------
    FileError
        If it is not text.
    """
    with path.open("rb") as file:
        start = file.read(BEGINNING)
    encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), "")
    if not encoding and b"\0" in start:
        odd, even = start[1::2], start[::2]
        wide = {"utf-16-le": odd.count(0), "utf-16-be": even.count(0)}
        encoding = max(wide, key=wide.__getitem__)
        if wide[encoding] < 0.9 * len(start) / 2:
            raise FileError(f"{path}: not a text, but binary; check the file and its ending")
    return path.open(encoding=encoding or "utf-8", errors="surrogateescape")


def read_table(path: Path) -> NumberTable:
    """Read a table of numbers.

    Raises
    ------
    FileError
        If there are no numbers, or something else stands in their place; names the line.
    """
    comments: list[str] = []
    heading: list[str] = []
    with open_text(path) as file:
        lines = _lines(file, path, comments, heading)
        first = next(lines, None)
        if first is None:
            raise FileError(f"{path}: it has no numbers, only {len(comments)} comments")
        values = np.loadtxt(itertools.chain([first], lines), dtype=np.float64, ndmin=2)
    return NumberTable(values, tuple(comments), tuple(heading))


def _lines(file: TextIO, path: Path, comments: list[str], heading: list[str]) -> Iterator[str]:
    """Lines of numbers separated by blanks; comments and heading are collected."""
    begun = False
    for number, raw in enumerate(file, 1):
        line = raw
        if not _PLAIN.fullmatch(raw):
            line, _, comment = raw.partition("#")
            if line.lstrip().startswith(COMMENTS):
                line, comment = "", line.lstrip().lstrip("!%/") + comment
            if comment.strip():
                comments.append(_readable(comment.strip()))
            words = line.replace(",", " ").split()
            if not begun and not heading and _are_names(words):
                heading.extend(words)
                continue
            line = _numbers(line, f"{path}: line {number}")
        if line.strip():
            begun = True
            yield line


def _are_names(words: list[str]) -> bool:
    """Whether words are names of columns; nan and inf are numbers."""
    names = bool(words) and all(map(_WORD.fullmatch, words))
    return names and not all(map(_NUMBER.fullmatch, words))


def _numbers(line: str, where: str) -> str:
    """A line of numbers as NumPy reads it; raises where something is not a number."""
    fields = line.split()
    if "," in line:
        fields = [field.strip() for field in line.split(",")]
        fields = fields[:-1] if not fields[-1] else fields  # a comma at the end
        if not all(fields) or any(len(field.split()) > 1 for field in fields):
            raise FileError(
                f"{where}, {line.strip()!r}, mixes commas and blanks: separate numbers by one of "
                "them, and write decimals with a point"
            )
    return " ".join(_number(field, where) for field in fields)


def _number(field: str, where: str) -> str:
    if _NUMBER.fullmatch(field):
        return field
    fortran = _FORTRAN.fullmatch(field)
    if fortran is not None:
        return f"{fortran.group(1)}e{fortran.group(2)}"
    if set(field) == {"*"}:
        reason = "a number too wide for its column; write it with more digits"
    else:
        reason = "no number; correct it, write nan where a value is missing"
    raise FileError(f"{where} has {_readable(field)!r}, {reason}")


def _readable(text: str) -> str:
    """Text with bytes that were not UTF-8 taken for Latin-1."""
    if text.isascii():
        return text
    raw = text.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
