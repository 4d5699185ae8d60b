"""Loops compiled by Numba and run in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import torch
from numba import njit

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


def compiled(function: F) -> F:
    """Compile a function of NumPy arrays on its first call; cached on disk where possible.

    It releases the interpreter's lock, and may reorder sums.
    """
    try:
        return cast(F, njit(nogil=True, fastmath=True, cache=True)(function))
    except RuntimeError:  # no folder for the cache is writable
        return cast(F, njit(nogil=True, fastmath=True)(function))


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
