"""Loops compiled by Numba and run in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


class _Cache(FunctionCache):
    """Numba's cache on disk, of which no fault reaches the user: the loop is compiled again.

    Numba looks at the file of a function alone; here a change of any file beside it counts, since
    compiled functions call those of their neighbours.
    """

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        folder = Path(function.__code__.co_filename).parent
        stamp = tuple(
            (file.name, file.stat().st_mtime_ns, file.stat().st_size)
            for file in sorted(folder.glob("*.py"))
        )
        base = self._impl.filename_base
        self._cache_file = IndexDataCacheFile(self._cache_path, base, source_stamp=stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            with suppress(Exception):
                self.flush()  # so that it can be written anew
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):  # a full disk, a folder without rights
            super().save_overload(sig, data)


def compiled(function: F) -> F:
    """Compile a function of NumPy arrays on its first call; cached on disk where possible.

    It releases the interpreter's lock, and may reorder sums. A cache that is damaged, full or not
    writable costs the time to compile, a few seconds, and nothing else.
    """
    loop = njit(nogil=True, fastmath=True)(function)
    with suppress(RuntimeError, OSError):  # no folder for the cache is writable
        setattr(loop, "_cache", _Cache(function))  # noqa: B010  (as `enable_caching` does; untyped)
    return cast(F, loop)


def in_threads(work: Callable[[T], None], parts: Iterable[T]) -> None:
    """Run a function on all parts, in as many threads as torch uses."""
    n, every = torch.get_num_threads(), list(parts)
    if n == 1 or len(every) == 1:
        for part in every:
            work(part)
        return
    with ThreadPoolExecutor(n) as threads:
        for _ in threads.map(work, every):
            pass  # re-raises the exception of a part
