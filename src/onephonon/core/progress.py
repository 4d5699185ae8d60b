"""Progress of long work."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (name of the stage, steps done, total number of steps).
Progress = Callable[[str, int, int], None]
