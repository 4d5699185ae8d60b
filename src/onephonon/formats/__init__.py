"""Files of diffuse maps, of q-vectors and of contacts, chosen by their endings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .choice import check_map_path, format_name, not_kept, read_map, write_map
from .given import MapGuessWarning
from .qlist import read_q_vectors

if TYPE_CHECKING:
    from .contact_table import labelling, read_contact_table, start_values, write_contact_table

__all__ = [
    "MapGuessWarning",
    "check_map_path",
    "format_name",
    "labelling",
    "not_kept",
    "read_contact_table",
    "read_map",
    "read_q_vectors",
    "start_values",
    "write_contact_table",
    "write_map",
]


def __getattr__(name: str) -> Any:
    """Import what concerns contacts on first use: it needs torch, and maps do not."""
    if name in __all__:
        return getattr(import_module(".contact_table", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
