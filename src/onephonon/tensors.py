"""Frozen dataclasses of tensors, moved as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


def map_tensors(record: T, fn: Callable[[Tensor], Tensor]) -> T:
    """Return a dataclass with a function applied to its tensors, and to those inside its parts."""
    assert is_dataclass(record)
    changed: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = fn(value)
        elif is_dataclass(value) and not isinstance(value, type):
            changed[field.name] = map_tensors(value, fn)
    return replace(record, **changed)  # type: ignore[type-var]
