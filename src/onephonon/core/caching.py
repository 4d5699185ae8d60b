"""Caches of results: of an object that never changes, and of inputs whose values are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from .tensors import inside_functorch

T = TypeVar("T")


class ObjectCache:
    """Results of one frozen object by name: its inputs never change, so nothing is compared.

    A result with gradients and one without are kept separately. Nothing is kept in inference mode
    or inside torch.func, since tensors created there must not be used outside.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, bool], Any] = {}

    def get(self, name: str, compute: Callable[[], T], tensors: Sequence[Tensor]) -> T:
        """The result of this name, computed on the first call.

        Parameters
        ----------
        name : str
        compute : callable
        tensors : sequence of Tensor
            Inputs of the result; only whether one of them requires a gradient matters.
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
    """A result with copies of the tensors and the settings it was computed from."""

    tensors: tuple[Tensor, ...]
    settings: tuple[Any, ...]
    value: Any

    def matches(self, tensors: Sequence[Tensor], settings: tuple[Any, ...]) -> bool:
        return (
            settings == self.settings
            and len(tensors) == len(self.tensors)
            and all(_same(a, b) for a, b in zip(self.tensors, tensors, strict=True))
        )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)


class ValueCache:
    """Results by name, each returned for as long as its inputs have the same values.

    The values of tensors are compared with stored copies, not their identities or versions, so
    that changes in place are noticed. Nothing is kept while gradients are recorded, since a graph
    serves one backward pass, nor in inference mode or inside torch.func, since tensors created
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
        """The result of this name for these inputs, computed unless it is cached.

        Parameters
        ----------
        name : str
        tensors : sequence of Tensor
            Inputs of the result.
        compute : callable
        settings : tuple
            Further inputs, compared by ``==``.
        """
        if _graph_is_recorded(tensors) or inside_functorch():
            return compute()
        entry = self._entries.get(name)
        if entry is None or not entry.matches(tensors, settings):
            value = compute()
            if torch.is_inference_mode_enabled():
                return value
            copies = tuple(t.detach().clone() for t in tensors)
            entry = _Entry(copies, settings, value)
            self._entries[name] = entry
        result: T = entry.value
        return result

    def clear(self) -> None:
        """Remove all results."""
        self._entries.clear()


def _graph_is_recorded(tensors: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
