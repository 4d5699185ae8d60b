"""Digests of values: whether an input of a calculation is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def digest(*values: Any) -> str:
    """SHA-256 of tensors, arrays, numbers, text, and containers and dataclasses of these.

    Equal exactly if types, shapes and all bits are equal; where tensors are kept does not matter.

    Raises
    ------
    TypeError
        If a value is of another kind, whose content is not known.
    """
    found = hashlib.sha256()
    _add(found, values)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().to("cpu", copy=False).resolve_conj().resolve_neg().numpy()
    if isinstance(value, np.ndarray):
        found.update(f"{value.dtype.str}{value.shape}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        text = repr(value)
        found.update(f"{type(value).__name__}{len(text)}:{text}".encode("utf-8", "surrogatepass"))
    elif isinstance(value, torch.dtype):
        found.update(str(value).encode())
    elif isinstance(value, Mapping):
        found.update(f"map{len(value)}".encode())
        for key in sorted(value, key=repr):
            _add(found, key)
            _add(found, value[key])
    elif isinstance(value, (tuple, list)):
        found.update(f"row{len(value)}".encode())
        for item in value:
            _add(found, item)
    elif is_dataclass(value) and not isinstance(value, type):
        found.update(type(value).__name__.encode())
        for one in fields(value):
            if one.compare:
                _add(found, getattr(value, one.name))
    else:
        raise TypeError(f"cannot tell whether a {type(value).__name__} has changed")
