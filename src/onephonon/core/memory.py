"""Memory that this machine can give: what is larger is refused before it is allocated."""

from __future__ import annotations

import os
from pathlib import Path

#: Fraction of the available memory that one file's values may take: they are copied once or twice.
FILE_FRACTION = 0.5

#: Assumed where the system does not say, bytes.
UNKNOWN_MEMORY = 8_000_000_000


def available_bytes() -> int:
    """Memory that can be allocated without swapping, bytes; all physical memory where unknown."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_MEMORY


def readable_bytes() -> int:
    """Largest size of a file's values that is read, bytes: half of the available memory."""
    return int(FILE_FRACTION * available_bytes())


def bytes_text(n: float) -> str:
    """A number of bytes for a message: ``3.2 GB``, ``45 MB``, ``800 bytes``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f} bytes"
