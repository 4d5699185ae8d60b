"""Cache of results that are valid as long as their inputs have the same values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from .tensors import inside_functorch

T = TypeVar("T")


class Results:
    """What a frozen object has computed so far, by name.

    A result with a graph and one without are two. Nothing is kept in inference mode and inside
    torch.func: what is made there must not be used outside.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, bool], Any] = {}

    def get(self, name: str, compute: Callable[[], T], tensors: Sequence[Tensor]) -> T:
        """The result, computed if it is not at hand.

        Parameters
        ----------
        name : str
        compute : callable
        tensors : sequence of Tensor
            What it is computed from: whether any of these needs a gradient.
        """
        if inside_functorch():
            return compute()
        key = name, _graph_is_recorded(tensors)
        if key in self._entries:
            entry: T = self._entries[key]
            return entry
        value = compute()
        if not torch.is_inference_mode_enabled():
            self._entries[key] = value
        return value


@dataclass(frozen=True)
class _Entry:
    """A cached result with copies of the tensors and settings it was computed from."""

    tensors: tuple[Tensor, ...]
    settings: tuple[Any, ...]
    value: Any

    def fits(self, tensors: Sequence[Tensor], settings: tuple[Any, ...]) -> bool:
        return (
            settings == self.settings
            and len(tensors) == len(self.tensors)
            and all(_same(a, b) for a, b in zip(self.tensors, tensors, strict=True))
        )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)


class ResultCache:
    """Results by name, each valid for the values of the tensors it was computed from.

    Values are compared, not identities or versions, so that a
    result of other values is never returned. While a graph is being recorded, in inference
    mode and inside torch.func nothing is kept: a graph serves one backward pass, and what is made
    there must not be used outside.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def get(
        self,
        name: str,
        tensors: Sequence[Tensor],
        compute: Callable[[], T],
        settings: tuple[Any, ...] = (),
    ) -> T:
        """The result for these values, computed if it is not cached."""
        if _graph_is_recorded(tensors) or inside_functorch():
            return compute()
        entry = self._entries.get(name)
        if entry is None or not entry.fits(tensors, settings):
            value = compute()
            if torch.is_inference_mode_enabled():
                return value
            copies = tuple(t.detach().clone() for t in tensors)
            entry = _Entry(copies, settings, value)
            self._entries[name] = entry
        result: T = entry.value
        return result

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


def _graph_is_recorded(tensors: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
