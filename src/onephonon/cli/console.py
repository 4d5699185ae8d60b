"""The console on which commands print tables: text in it is data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from onephonon.core.text import printable

from .streams import BROKEN_PIPE


class SafeConsole(Console):
    """A console that carries out neither markup nor control characters in the text it is given.

    Styles are given as `rich.text.Text` or `rich.style.Style`.

    Parameters
    ----------
    **how
        As for `rich.console.Console`.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**({"markup": False, "highlight": False, "emoji": False} | how))

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments of what is printed, without control characters in their text."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Stop without a word: nobody reads on."""
        raise SystemExit(BROKEN_PIPE)
