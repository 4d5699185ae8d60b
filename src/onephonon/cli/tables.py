"""Tables and lists of remarks that stay readable at any width of the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: Spaces between columns.
GAP = 2

#: A first column of text is broken between words, to no less than this width.
NARROWEST_KEY = 12


def print_table(
    console: Console,
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    keys: int = 1,
    text_keys: bool = True,
    total: bool = False,
) -> None:
    """Print a table, in parts if the terminal is too narrow for all columns.

    Parameters
    ----------
    console : Console
    title : str
        Empty for none.
    headings : sequence of str
        They may be broken between words; numbers in rows are never broken or shortened.
    rows : sequence of sequences of str or rich.text.Text
    keys : int
        Number of columns, the first ones, that say what a row is about; every part has them.
    text_keys : bool
        The first column is text: flush left, and broken between words if need be.
    total : bool
        The last row is over all others.
    """
    if title:
        console.print(title, style="bold", overflow="fold")
    parts = columns_that_fit(headings, rows, console.width, keys, text_keys)
    for n, (columns, widths) in enumerate(parts):
        if n:
            console.print()
        console.print(_part(headings, rows, columns, widths, text_keys, total))


def print_remarks(console: Console, remarks: Sequence[str]) -> None:
    """Print remarks as a list, broken between words and indented."""
    for remark in remarks:
        for line in indented(remark, console.width):
            console.print(line, overflow="fold")


def indented(remark: str, width: int) -> Iterator[str]:
    """Lines of a remark in a list."""
    yield from textwrap.wrap(
        remark,
        max(width, 20),
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def columns_that_fit(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    width: int,
    keys: int = 1,
    text_keys: bool = True,
) -> list[tuple[list[int], list[int]]]:
    """Divide the columns of a table among as few parts as fit a width, evenly.

    Returns
    -------
    list of (list of int, list of int)
        Columns of each part, and their widths.
    """
    cells = [max((len(row[i]) for row in rows), default=1) for i in range(len(headings))]
    whole = [max(1, len(heading), n) for heading, n in zip(headings, cells, strict=True)]
    if sum(whole) + GAP * (len(whole) - 1) <= width:
        return [(list(range(len(headings))), whole)]
    needs = [max(1, _longest_word(heading), n) for heading, n in zip(headings, cells, strict=True)]
    others = range(keys, len(headings))
    if text_keys:
        rest = sum(needs[i] + GAP for i in range(1, len(headings)))
        words = [_longest_word(text) for text in (headings[0], *(str(row[0]) for row in rows))]
        narrowest = max(NARROWEST_KEY, *words)
        needs[0] = min(needs[0], max(narrowest, width - rest))
    room = max(width - sum(needs[i] + GAP for i in range(keys)), 1)
    fewest = _divided(others, needs, room)
    # The narrowest parts of that number are the most even ones.
    while room > 1 and len(found := _divided(others, needs, room - 1)) == len(fewest):
        fewest, room = found, room - 1
    columns = [[*range(keys), *part] for part in fewest] or [list(range(keys))]
    return [(part, [needs[i] for i in part]) for part in columns]


def _divided(columns: Sequence[int], needs: Sequence[int], room: int) -> list[list[int]]:
    """Columns in parts of at most this width, in order; a wider column is a part of its own."""
    parts: list[list[int]] = []
    left = 0
    for i in columns:
        taken = needs[i] + (GAP if parts and parts[-1] and left < room else 0)
        if not parts or taken > left:
            parts.append([])
            left, taken = room, needs[i]
        parts[-1].append(i)
        left -= taken
    return parts


def _longest_word(text: str) -> int:
    return max((len(word) for word in text.split()), default=0)


def _part(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    columns: Sequence[int],
    widths: Sequence[int],
    text_keys: bool,
    total: bool,
) -> Table:
    """Some columns as a table."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, width in zip(columns, widths, strict=True):
        left = text_keys and i == 0
        table.add_column(headings[i], justify="left" if left else "right", width=width)
    for row in rows:
        bold = total and row is rows[-1]
        table.add_row(*(row[i] for i in columns), style="bold" if bold else None)
    return table
