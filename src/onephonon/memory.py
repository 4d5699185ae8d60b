"""Keeping a result as long as the tensors it came from are the same, and no longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class _Held:
    """A result, and the tensors (with their versions) that it was computed from."""

    tensors: tuple[Tensor, ...]
    versions: tuple[int, ...]
    value: Any

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        return (
            len(tensors) == len(self.tensors)
            and all(a is b for a, b in zip(self.tensors, tensors, strict=True))
            and self.versions == tuple(t._version for t in tensors)
        )


class Memory:
    """Results by name, each valid for the very tensors it was computed from.

    A tensor changed in place (an optimizer's step) or exchanged makes a result stale. While a
    graph is being recorded, or inside torch.func, nothing is kept: a graph serves one backward
    pass, a traced tensor one transformation.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def get(self, name: str, tensors: Sequence[Tensor], compute: Callable[[], T]) -> T:
        """The result for these tensors, computed if it is not at hand."""
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return compute()
        if torch._C._functorch.peek_interpreter_stack() is not None:
            # Inside torch.func: what is made there must not outlive the transformation.
            held = self._held.get(name)
            return held.value if held is not None and held.fits(tensors) else compute()
        held = self._held.get(name)
        if held is None or not held.fits(tensors):
            versions = tuple(t._version for t in tensors)
            held = _Held(tuple(tensors), versions, compute())
            self._held[name] = held
        value: T = held.value
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
