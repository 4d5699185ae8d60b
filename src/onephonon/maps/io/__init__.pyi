from .overrides import MapGuessWarning
from .qlist import read_q_vectors
from .registry import check_map_ending, format_name, not_kept, read_map, write_map

__all__ = [
    "MapGuessWarning",
    "check_map_ending",
    "format_name",
    "not_kept",
    "read_map",
    "read_q_vectors",
    "write_map",
]
