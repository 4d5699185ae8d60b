"""Small tools for tensors: frozen dataclasses moved as one, torch.func, members of groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
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


def inside_functorch() -> bool:
    """Tell whether a transform of torch.func, such as grad or vmap, is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def push_forward(
    fn: Callable[..., Any], primals: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> Any:
    """Forward-mode derivative of a function, a missing tangent being zero."""
    filled = tuple(
        torch.zeros_like(x) if t is None else t for x, t in zip(primals, tangents, strict=True)
    )
    return torch.func.jvp(fn, tuple(primals), filled)[1]


def first_of_each(index: Tensor, n: int) -> Tensor:
    """Position of the first member of each of n groups, shape (n,), from each member's group."""
    first = torch.full((n,), len(index), dtype=torch.int64, device=index.device)
    order = torch.arange(len(index), device=index.device)
    return first.scatter_reduce(0, index, order, reduce="amin")


def rank_rows(rows: Tensor) -> Tensor:
    """Number of each row of integers in the sorted list of the distinct ones, shape (n,).

    What ``torch.unique(rows, dim=0, return_inverse=True)`` gives, column by column and so
    20 times faster.
    """
    rank = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for column in rows.unbind(1):
        of_column = torch.unique(column, return_inverse=True)[1]
        n = int(of_column.max()) + 1 if len(rows) else 0
        rank = torch.unique(rank * n + of_column, return_inverse=True)[1]
    return rank


def match_dtype_and_device(tensor: Tensor, like: Tensor) -> Tensor:
    """Move to another's device, and to its dtype if it holds real numbers."""
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)
