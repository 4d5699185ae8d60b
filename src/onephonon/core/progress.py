"""Progress of long work."""

from __future__ import annotations

from collections.abc import Callable

#: Told (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]
