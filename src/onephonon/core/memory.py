"""Memory: how much there is, and the refusal of what needs more, before it is allocated.

Whatever needs much is stated first, by `logging`, which the command line shows.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from .errors import InputError
from .files import in_bytes

#: Receives statements of memory, at level INFO.
logger = logging.getLogger("onephonon.memory")

#: Memory of the program itself and its libraries, bytes.
PROGRAM_BYTES = 400_000_000

#: What needs more is stated before it is allocated, bytes.
STATED_BYTES = 500_000_000

#: Fraction of the available memory that one file's values may take: they are copied once or twice.
FILE_FRACTION = 0.5

#: Assumed where the system does not say, bytes.
UNKNOWN_MEMORY = 8_000_000_000

#: Files with limit and use of a control group, in versions 2 and 1.
V2 = ("memory.max", "memory.current")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def check_memory(needed: float, what: str, advice: str) -> None:
    """Refuse what needs more memory than there is.

    Parameters
    ----------
    needed : float
        Bytes.
    what : str
        What needs them, with the numbers that determine it.
    advice : str
        What to do instead.

    Raises
    ------
    InputError
        Names the need, what is available, and the advice.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise InputError(
            f"{what}: about {in_bytes(needed)} of memory are needed, and {in_bytes(available)} are "
            f"available; {advice}"
        )


def state_memory(needed: float, what: str, advice: str) -> None:
    """Refuse what needs more memory than there is, and state what needs more than 0.5 GB.

    Parameters are those of `check_memory`.

    Raises
    ------
    InputError
        Names the need, what is available, and the advice.
    """
    check_memory(needed, what, advice)
    if needed > STATED_BYTES:
        logger.info("%s: about %s of memory", what, in_bytes(needed))


def available_memory() -> int | None:
    """Bytes that the program can still allocate; None if the system does not say.

    The smallest of what is free on the machine, what is left to its control group (containers,
    batch queues) and what is left of the limit of its address space (``ulimit -v``).
    """
    known = [found for found in (_of_machine(), _of_group(), _of_limit()) if found is not None]
    return max(0, min(known)) if known else None


def readable_bytes() -> int:
    """Largest size of a file's values that is read, bytes: half of the available memory."""
    available = available_memory()
    return int(FILE_FRACTION * (UNKNOWN_MEMORY if available is None else available))


def _of_machine() -> int | None:
    """Free memory, with what the system would give back from its caches."""
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    with suppress(AttributeError, ValueError, OSError):  # macOS: all memory, since it swaps
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _of_windows()


def _of_windows() -> int | None:
    import ctypes

    windll = getattr(ctypes, "windll", None)
    if windll is None:
        return None

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "pages", "free_pages")),
            *((name, ctypes.c_ulonglong) for name in ("space", "free_space", "free_extended")),
        )

    status = Status(length=ctypes.sizeof(Status))
    done = windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.free) if done else None


def _of_group() -> int | None:
    """What is left to the control group of the process, version 2 and 1 of Linux's groups."""
    found = []
    for line in _lines(Path("/proc/self/cgroup")):
        _, kinds, name = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup") / kinds
        limit, used = V1 if kinds else V2
        own = root / name.lstrip("/")
        # Every group above limits it, too; in a container its own group may be shown as the root.
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                found.append(_left(folder, limit, used))
    return min((left for left in found if left is not None), default=None)


def _left(folder: Path, limit: str, used: str) -> int | None:
    """Limit of a group less what it uses; cached files do not count, they are given back."""
    total, now = _number(folder / limit), _number(folder / used)
    if total is None or now is None:
        return None
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return total - now + int(value)
    return total - now


def _of_limit() -> int | None:
    """What is left of the limit of the address space."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    for line in _lines(Path("/proc/self/statm")):
        return limit - int(line.split()[0]) * resource.getpagesize()
    return limit


def _number(path: Path) -> int | None:
    """The number in a file of the system; None for "max", or if there is none."""
    for line in _lines(path):
        return int(line) if line.strip().isdigit() else None
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeError):
        return []
