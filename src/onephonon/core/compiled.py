"""Loops that no array library has: compiled by Numba, and run in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import torch
from numba import njit

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")


def compiled(function: F) -> F:
    """Compile a function of NumPy arrays when it is first called; kept on disk where possible.

    It releases the interpreter's lock, and may reorder sums.
    """
    try:
        return cast(F, njit(nogil=True, fastmath=True, cache=True)(function))
    except RuntimeError:  # there is no folder that its cache could be written to
        return cast(F, njit(nogil=True, fastmath=True)(function))


def in_threads(work: Callable[[T], None], parts: Iterable[T]) -> None:
    """Do all parts of a work, as many at a time as torch has threads."""
    n, every = torch.get_num_threads(), list(parts)
    if n == 1 or len(every) == 1:
        for part in every:
            work(part)
        return
    with ThreadPoolExecutor(n) as threads:
        for _ in threads.map(work, every):
            pass  # raises what a part raised
